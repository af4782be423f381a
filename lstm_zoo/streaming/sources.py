"""Where sound comes from piece by piece: files of any length, raw PCM from a pipe, the microphone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lstm_zoo.data.audio_files import refuse_truncated_wav
from lstm_zoo.errors import DataError, InvalidInputError, MissingExtraError

LOWEST_RATE, HIGHEST_RATE = 1_000, 384_000  # hertz of sound with words in it; the most that recorders offer
CHUNK_SECONDS = 0.1
_READ_BYTES = 1 << 14


def file_chunks(path: str | os.PathLike[str]) -> tuple[int, Iterator[np.ndarray]]:
    """The sample rate of a wav, flac or ogg file, in hertz, and its pieces, float32 ``[samples, channels]``.

    The file is never in memory as a whole.

    Raises:
        DataError: no such file; empty, truncated or not audio. While it is read: it is damaged.
    """
    import soundfile  # here, as it loads a shared library that most of the package does without

    file = Path(path)
    try:
        with file.open("rb") as opened:
            refuse_truncated_wav(opened.read(8), file.stat().st_size, str(file))
        sound = soundfile.SoundFile(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}; expected a wav, flac or ogg file") from None
    except soundfile.SoundFileError as error:
        raise DataError(f"{file} is not audio that can be read ({_reason(error)}); expected wav, flac or ogg") from None
    if not sound.frames:
        raise DataError(f"{file} holds 0 samples: it is empty or truncated; expected at least one")
    return sound.samplerate, _read_file(sound, str(file))


def _read_file(sound: Any, name: str) -> Iterator[np.ndarray]:
    import soundfile

    frames = max(1, round(CHUNK_SECONDS * sound.samplerate))
    with sound:
        try:
            while len(chunk := sound.read(frames, dtype="float32", always_2d=True)):
                yield chunk
        except soundfile.SoundFileError as error:
            after = sound.tell() / sound.samplerate
            raise DataError(f"{name} is damaged after {after:.1f} s ({_reason(error)}); copy the file again") from None


def _reason(error: Exception) -> str:
    """What libsndfile says, without the name of the file in front."""
    return str(error).rsplit(">:", 1)[-1].rsplit("': ", 1)[-1].strip().rstrip(".")


def raw_chunks(pipe: BinaryIO) -> Iterator[np.ndarray]:
    """int16 ``[samples]`` from little-endian 16-bit mono PCM, as soon as some bytes are there.

    Half a sample at the end, where a recorder was stopped, is dropped.

    Raises:
        InvalidInputError: these are the bytes of a wav, flac or ogg file.
        DataError: the pipe ends before the first sample.
    """
    read = getattr(pipe, "read1", pipe.read)  # read1 does not wait for as many bytes as were asked for
    head, left = pipe.read(4), b""
    _refuse_container(head)
    if len(head) < 2:
        raise DataError(
            "standard input holds 0 samples: it is empty; expected raw 16-bit PCM: see whether what writes it failed"
        )
    for content in itertools.chain([head], iter(lambda: read(_READ_BYTES), b"")):
        left += content
        whole = len(left) // 2 * 2
        yield np.frombuffer(left[:whole], "<i2")
        left = left[whole:]


def _refuse_container(content: bytes) -> None:
    """A file's header would be heard as a click, and its sample rate would be ignored."""
    if content[:4] in (b"RIFF", b"fLaC", b"OggS"):
        raise InvalidInputError(
            "standard input is a sound file; expected raw 16-bit PCM: give the file's name instead, or decode it with "
            "ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -"
        )


def microphone_chunks(sample_rate: int) -> Iterator[np.ndarray]:
    """int16 ``[samples, 1]`` from the default microphone, without an end.

    It is opened at once, and records from the first piece that is asked for.

    Raises:
        MissingExtraError: sounddevice is not installed.
        DataError: there is no microphone, or it does not give this sample rate.
    """
    try:
        import sounddevice
    except ImportError:
        raise MissingExtraError("sounddevice", "microphone", "listening to the microphone") from None
    except OSError as error:  # the package without PortAudio, the library of the system
        raise DataError(f"the microphone cannot be used: {error}; on Debian: apt install libportaudio2") from None
    try:
        microphone = sounddevice.InputStream(samplerate=sample_rate, channels=1, dtype="int16")
    except sounddevice.PortAudioError as error:
        raise _unusable(error) from None
    return _record(microphone, round(CHUNK_SECONDS * sample_rate), sounddevice.PortAudioError)


def _record(microphone: Any, frames: int, failure: type[Exception]) -> Iterator[np.ndarray]:
    try:
        with microphone:
            while True:
                chunk, _ = microphone.read(frames)
                yield chunk
    except failure as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> DataError:
    return DataError(f"the microphone cannot be used: {error}; connect one, try another --rate, or give a file's name")
