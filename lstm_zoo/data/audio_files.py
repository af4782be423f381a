"""Audio files to mono samples: wav, flac and ogg, any number of channels, any sample rate."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path

import numpy as np

from lstm_zoo.errors import DataError
from lstm_zoo.frontends.pcm import resample

# What a program that writes a wav into a pipe puts for a length that it cannot know.
_UNKNOWN_LENGTHS = (0, 0xFFFFFFFF)


def read_audio(path: str | PathLike[str], sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    """Read one file: ``(samples, original_rate)``.

    Args:
        path: a wav, flac or ogg file. Several channels are mixed down to their mean.
        sample_rate: in hertz; the samples are resampled to it. ``None`` leaves them at the file's own rate.

    Returns:
        float32 samples ``[samples]`` in -1..1, and the sample rate that the *file* has, in hertz.

    Raises:
        DataError: no such file; empty, truncated or not audio; no samples; NaN or infinite samples.
        InvalidInputError: ``sample_rate`` is not a positive whole number.
    """
    file = Path(path)
    if file.is_dir():
        raise DataError(f"{file} is a folder; expected an audio file (wav, flac or ogg)")
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file; give the path of a wav, flac or ogg file") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    samples, rate = decode(content, str(file))
    return (samples, rate) if sample_rate is None else (resample(samples, rate, sample_rate), rate)


def decode(content: bytes, name: str) -> tuple[np.ndarray, int]:
    """Like :func:`read_audio`, from the bytes of a file; ``name`` is what error messages call it."""
    import soundfile  # here, as it loads a shared library that most of the package does without

    if not content:
        raise DataError(f"{name} is empty (0 bytes); expected a wav, flac or ogg file")
    refuse_truncated_wav(content[:8], len(content), name)
    try:
        frames, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)  # [samples, channels]
    except soundfile.SoundFileError as error:
        reason = str(error).rsplit(">:", 1)[-1].strip().rstrip(".")
        raise DataError(f"{name} is not audio that can be read ({reason}); expected wav, flac or ogg") from None
    if not len(frames):
        raise DataError(f"{name} holds 0 samples: it is empty or truncated; expected at least one")
    if not np.isfinite(frames).all():
        raise DataError(f"{name} holds NaN or infinite samples; expected finite numbers: write the file again")
    return frames.mean(axis=1, dtype=np.float32), int(rate)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """float32 in -1..1 to int16, rounded and clipped; undoes the scaling of 16-bit files exactly."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)


def fit(samples: np.ndarray, length: int, centre: bool = False) -> np.ndarray:
    """Crop or zero-pad ``[samples]`` to ``[length]``, at the end, or with ``centre`` on both sides alike."""
    spare = length - len(samples)
    before = spare // 2 if centre else 0
    if spare < 0:
        return samples[-before : length - before]
    return np.pad(samples, (before, spare - before))


def refuse_truncated_wav(head: bytes, size: int, name: str) -> None:
    """libsndfile reads what is left of a truncated wav without a word; its first eight bytes say how long it should be.

    Raises:
        DataError: the file of ``size`` bytes is shorter.
    """
    declared = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF" or declared in _UNKNOWN_LENGTHS:
        return
    missing = declared + 8 - size
    if missing > 1:  # many writers count a padding byte that they do not write
        raise DataError(f"{name} is truncated: {missing:,} of {declared + 8:,} bytes are missing; copy the file again")
