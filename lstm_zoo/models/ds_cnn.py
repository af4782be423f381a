"""The yardstick for keyword spotting: a depthwise separable convolutional network, no LSTM in it.

DS-CNN of Zhang et al. 2017, "Hello Edge: Keyword Spotting on Microcontrollers" (arXiv:1711.07128), size small:
ten mel-frequency cepstral coefficients of 40 ms frames every 20 ms, one convolution of 64 filters, four
depthwise separable ones, average pooling. It is trained and measured beside our models, and is no entry of the zoo.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lstm_zoo.frontends.audio import LogMelConfig, LogMelSpectrogram, SpecAugment

FRONT_END = LogMelConfig(window_length=640, hop_length=320, fft_length=1024, upper_frequency=4_000.0)
COEFFICIENTS = 10


def cosine_transform(mel_bins: int, coefficients: int) -> np.ndarray:
    """Orthonormal DCT-II, ``[mel_bins, coefficients]``: log-mel bins to cepstral coefficients."""
    bins = np.arange(mel_bins)[:, None] + 0.5
    matrix = np.cos(np.pi / mel_bins * bins * np.arange(coefficients)) * np.sqrt(2.0 / mel_bins)
    matrix[:, 0] /= np.sqrt(2.0)
    return matrix.astype("float32")


def _normalised(x: Any) -> Any:
    return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))


def build(classes: int, filters: int = 64, blocks: int = 4, dropout: float = 0.2) -> keras.Model:
    """``[batch, samples]`` float32 PCM at 16 kHz to ``[batch, classes]`` probabilities."""
    audio = keras.Input((None,), name="audio")
    x = LogMelSpectrogram(FRONT_END)(audio)  # [batch, frames, 40]
    x = SpecAugment(time_mask=10)(x)
    transform = cosine_transform(FRONT_END.mel_bins, COEFFICIENTS)
    x = keras.layers.Dense(
        COEFFICIENTS, use_bias=False, trainable=False, kernel_initializer=lambda shape, dtype=None: transform
    )(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Reshape((-1, COEFFICIENTS, 1))(x)
    x = _normalised(keras.layers.Conv2D(filters, (10, 4), (2, 2), padding="same", use_bias=False)(x))
    x = keras.layers.Dropout(dropout)(x)
    for _ in range(blocks):
        x = _normalised(keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = _normalised(keras.layers.Conv2D(filters, 1, use_bias=False)(x))
    x = keras.layers.Dropout(dropout)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(audio, keras.layers.Dense(classes, activation="softmax")(x), name="ds_cnn")
