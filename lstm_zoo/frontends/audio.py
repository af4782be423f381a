"""PCM to log-mel spectrogram, and the augmentation of spectrograms while training."""

from __future__ import annotations

from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, model_validator

from lstm_zoo.config import Config
from lstm_zoo.errors import InvalidInputError

FILTERS_PER_BLOCK = 8


class LogMelConfig(Config):
    """Settings of :class:`LogMelSpectrogram`; lengths in samples, frequencies in hertz."""

    sample_rate: int = Field(16_000, ge=4_000, le=48_000)
    window_length: int = Field(480, ge=32, le=8_192)
    hop_length: int = Field(160, ge=16, le=8_192)
    fft_length: int = Field(512, ge=32, le=8_192)
    mel_bins: int = Field(40, ge=8, le=256)
    lower_frequency: float = Field(20.0, ge=0.0)
    upper_frequency: float = Field(7_600.0, gt=0.0)
    floor: float = Field(1e-4, gt=0.0, description="added to the mel power before the logarithm")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.window_length > self.fft_length:
            raise ValueError(f"window_length {self.window_length} is more than fft_length {self.fft_length}")
        if not self.lower_frequency < self.upper_frequency <= self.sample_rate / 2:
            raise ValueError(
                f"expected lower_frequency {self.lower_frequency:g} < upper_frequency {self.upper_frequency:g} <= "
                f"half the sample_rate, {self.sample_rate / 2:g}"
            )
        return self


def hertz_to_mel(frequency: np.ndarray | float) -> np.ndarray:
    r"""HTK's mel scale, :math:`m = 2595 \log_{10}(1 + f / 700)`."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency) / 700.0)


def mel_filter_bank(config: LogMelConfig) -> np.ndarray:
    """Triangular filters with peak 1, equally spaced on the mel scale: ``[fft_length // 2 + 1, mel_bins]``."""
    lowest, highest = hertz_to_mel(config.lower_frequency), hertz_to_mel(config.upper_frequency)
    edges = 700.0 * (10.0 ** (np.linspace(lowest, highest, config.mel_bins + 2) / 2595.0) - 1.0)
    bins = np.linspace(0.0, config.sample_rate / 2, config.fft_length // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype("float32")


def _diagonal_blocks(filters: np.ndarray) -> list[tuple[slice, np.ndarray]]:
    """Cut the filter bank, which is nearly diagonal, into dense blocks of neighbouring filters.

    A quarter of the constants and of the arithmetic; and the converter's dynamic-range quantisation leaves
    constants of fewer than 1,024 elements alone, so that the logarithm keeps its precision in an int8 file.
    """
    blocks = []
    for first in range(0, filters.shape[1], FILTERS_PER_BLOCK):
        block = filters[:, first : first + FILTERS_PER_BLOCK]
        touched = np.flatnonzero(block.any(axis=1))
        if not touched.size:
            raise InvalidInputError(f"mel_bins: {filters.shape[1]} are too many for this fft_length; raise fft_length")
        run = slice(int(touched[0]), int(touched[-1]) + 1)
        blocks.append((run, block[run]))
    return blocks


@keras.saving.register_keras_serializable(package="lstm_zoo")
class LogMelSpectrogram(keras.layers.Layer):
    r"""Log-mel spectrogram of PCM, frame by frame, without padding: causal and fit for streaming.

    .. math:: y_{t,m} = \log\Big(\sum_k w_{k,m}\,|\mathrm{FFT}(a \cdot x_{tH:tH+N})_k|^2 + \epsilon\Big)

    with a periodic Hann window :math:`a` of length :math:`N` (``window_length``), hop :math:`H`, mel filters
    :math:`w` of peak 1 on HTK's scale and :math:`\epsilon` the ``floor``. The same as
    ``log(librosa.feature.melspectrogram(..., center=False, htk=True, norm=None) + floor)``.

    Input: ``[batch, samples]`` float32 in -1..1. Output: ``[batch, frames, mel_bins]`` with
    ``frames = 1 + (samples - window_length) // hop_length``.
    """

    float_in_int8 = True  # the powers span too many decades for 8 bits: exports leave this layer in float32

    def __init__(self, config: LogMelConfig | dict[str, Any] | None = None, **kwargs: Any):
        kwargs.setdefault("trainable", False)
        super().__init__(**kwargs)
        self.settings = config if isinstance(config, LogMelConfig) else LogMelConfig.create(config or {})
        self._blocks = _diagonal_blocks(mel_filter_bank(self.settings))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        settings = self.settings
        spectrum = tf.signal.stft(
            tf.cast(inputs, tf.float32), settings.window_length, settings.hop_length, settings.fft_length
        )
        power = tf.square(tf.abs(spectrum))  # [batch, frames, fft_length // 2 + 1]
        mel = tf.concat([tf.matmul(power[..., run], block) for run, block in self._blocks], axis=-1)
        return tf.math.log(mel + settings.floor)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, samples = input_shape
        settings = self.settings
        frames = None if samples is None else max(0, 1 + (samples - settings.window_length) // settings.hop_length)
        return (batch, frames, settings.mel_bins)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"config": self.settings.model_dump()}


@keras.saving.register_keras_serializable(package="lstm_zoo")
class SpecAugment(keras.layers.Layer):
    """Masks runs of frames and of mel bins, shifts the pitch and changes the microphone while training.

    It passes its input otherwise.

    The masks are those of Park et al. 2019, "SpecAugment" (arXiv:1904.08779), filled with the example's mean.
    The pitch shift stretches the mel axis by up to ``frequency_warp`` (vocal tract length perturbation, Jaitly
    and Hinton 2013). The equalizer adds a smooth curve over the mel axis, up to ``equalizer`` decibels at each of its
    two ends, as another microphone or room would. Input and output: ``[batch, frames, mel_bins]``.
    """

    def __init__(
        self,
        time_mask: int = 20,
        frequency_mask: int = 6,
        masks: int = 2,
        frequency_warp: float = 0.1,
        equalizer: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.time_mask = time_mask
        self.frequency_mask = frequency_mask
        self.masks = masks
        self.frequency_warp = frequency_warp
        self.equalizer = equalizer
        self.seed = seed
        self._random = keras.random.SeedGenerator(seed)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return inputs
        warped = self._warp(inputs)
        if self.equalizer:
            warped += self._curve(inputs)
        mean = tf.reduce_mean(warped, axis=[1, 2], keepdims=True)
        frames, mel_bins = tf.shape(inputs)[1], tf.shape(inputs)[2]
        keep = self._keep(inputs, frames, self.time_mask)[:, :, None]
        keep &= self._keep(inputs, mel_bins, self.frequency_mask)[:, None, :]
        return tf.where(keep, warped, mean)

    def _keep(self, inputs: tf.Tensor, length: tf.Tensor, longest: int) -> tf.Tensor:
        """``[batch, length]`` booleans, false inside the masks."""
        shape = (tf.shape(inputs)[0], self.masks, 1)
        width = keras.random.uniform(shape, 0.0, longest + 1.0, seed=self._random)
        length = tf.cast(length, tf.float32)
        start = keras.random.uniform(shape, 0.0, 1.0, seed=self._random) * (length - width)
        position = tf.range(length)
        return ~tf.reduce_any((position >= start) & (position + 1.0 <= start + width), axis=1)

    def _warp(self, inputs: tf.Tensor) -> tf.Tensor:
        """Read each example's mel axis at ``bin * factor``, between bins by linear interpolation."""
        mel_bins = inputs.shape[2]
        warp = self.frequency_warp
        factor = keras.random.uniform((tf.shape(inputs)[0], 1), 1.0 - warp, 1.0 + warp, seed=self._random)
        position = tf.clip_by_value(tf.range(mel_bins, dtype=tf.float32) * factor, 0.0, mel_bins - 1.0)
        # A sparse interpolation matrix of its own for each example: [batch, mel_bins (read), mel_bins (written)].
        distance = tf.abs(tf.range(mel_bins, dtype=tf.float32)[None, :, None] - position[:, None, :])
        return tf.matmul(inputs, tf.nn.relu(1.0 - distance))

    def _curve(self, inputs: tf.Tensor) -> tf.Tensor:
        """A tilt and a bulge, ``[batch, 1, mel_bins]``, in natural logarithms of power."""
        position = np.linspace(0.0, np.pi, inputs.shape[2], dtype="float32")
        waves = np.cos(np.array([[1.0], [2.0]], "float32") * position)  # [2, mel_bins]
        shape, largest = (tf.shape(inputs)[0], 1, 2), self.equalizer * np.log(10.0) / 10.0 / 2.0
        return tf.matmul(keras.random.uniform(shape, -largest, largest, seed=self._random), waves[None])

    def get_config(self) -> dict[str, Any]:
        names = ("time_mask", "frequency_mask", "masks", "frequency_warp", "equalizer", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}
