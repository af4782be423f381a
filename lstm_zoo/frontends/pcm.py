"""Arrays as users have them (int16, stereo, one clip, short clips) to the PCM a model takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_zoo.errors import InvalidInputError

MOST_CHANNELS = 8


def as_pcm(audio: Any, shortest: int = 1) -> np.ndarray:
    """``[batch, samples]`` float32 in -1..1 from what libraries that read audio return.

    Integers of up to 32 bits are scaled by the range of their type. One axis is one clip; ``[samples, channels]``
    (recognised by its at most eight columns) and ``[batch, samples, channels]`` are mixed down. Clips shorter than
    ``shortest`` samples are put into the middle of silence.

    Raises:
        InvalidInputError: not numbers, 64-bit integers, no samples, NaN or infinite samples, or more than three axes.
    """
    try:
        array = np.asarray(audio)
    except ValueError as error:  # clips of different lengths
        raise InvalidInputError(f"audio: the clips cannot be one array ({error}); pad them to one length") from None
    if array.dtype.kind not in "iuf":
        raise InvalidInputError(f"audio: expected float or integer samples, got an array of {array.dtype}")
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4:  # a list of Python's integers, too
        raise InvalidInputError(f"audio: {array.dtype} has no agreed scale; pass int16, int32, or floats in -1..1")
    if array.ndim not in (1, 2, 3):
        raise InvalidInputError(f"audio: expected [batch, samples], got an array of shape {array.shape}")
    if array.size == 0:
        raise InvalidInputError(f"audio: there are no samples in an array of shape {array.shape}")
    array = _mix_down(_as_float(array))
    if not np.isfinite(array).all():
        raise InvalidInputError(f"audio: {np.count_nonzero(~np.isfinite(array)):,} samples are NaN or infinite")
    spare = max(0, shortest - array.shape[1])
    return np.pad(array, ((0, 0), (spare // 2, spare - spare // 2)))


def _as_float(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what becomes infinite is refused by name
            return array.astype("float32")
    middle = np.iinfo(array.dtype).max / 2 + 0.5 if array.dtype.kind == "u" else 0.0
    scale = middle or -float(np.iinfo(array.dtype).min)
    return ((array - middle) / scale).astype("float32")


def _mix_down(array: np.ndarray) -> np.ndarray:
    if array.ndim == 1:
        return array[None]
    if array.ndim == 2:
        channels_last = array.shape[1] <= MOST_CHANNELS < array.shape[0]
        return array.mean(axis=1)[None] if channels_last else array
    if array.shape[2] > MOST_CHANNELS:
        raise InvalidInputError(
            f"audio: expected [batch, samples, channels] with at most {MOST_CHANNELS} channels, got {array.shape}"
        )
    return array.mean(axis=2)


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Band-limited resampling of float32 ``[samples]``; the rates are in hertz.

    Raises:
        InvalidInputError: a rate is not a positive whole number.
    """
    for rate in (from_rate, to_rate):
        if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate < 1:
            raise InvalidInputError(f"sample_rate: got {rate!r}; expected whole hertz above 0, such as 16000")
    if from_rate == to_rate:
        return samples
    import soxr

    resampled = np.asarray(soxr.resample(samples, from_rate, to_rate), np.float32)
    # A few samples at a high rate are less than one at a low rate; nothing that is not empty becomes empty.
    return resampled if len(resampled) else samples[:1]
