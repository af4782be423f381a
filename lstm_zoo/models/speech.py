"""Keyword spotting: raw PCM to the probability of each word."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt, model_validator

from lstm_zoo.config import Config, ModelConfig
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.audio import LogMelConfig, LogMelSpectrogram, SpecAugment
from lstm_zoo.frontends.pcm import as_pcm, resample

if TYPE_CHECKING:
    from lstm_zoo.streaming import Stream

WINDOWS_AT_ONCE = 64  # bounds the memory that a recording of hours takes

# === Layers ===


@keras.saving.register_keras_serializable(package="lstm_zoo")
class AttentionPooling(keras.layers.Layer):
    r"""Weighted mean over time, with weights the model learns.

    .. math:: y = \sum_t \alpha_t x_t, \quad \alpha = \mathrm{softmax}_t\big(v^\top \tanh(W x_t + b)\big)

    Bahdanau et al. 2015 (arXiv:1409.0473), with no query. Input: ``[batch, time, features]``; output:
    ``[batch, features]``.
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, activation="tanh", name="hidden")
        self.score = keras.layers.Dense(1, use_bias=False, name="score")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.hidden.build(input_shape)
        self.score.build((*input_shape[:-1], self.units))

    def call(self, inputs: Any) -> Any:
        weights = keras.ops.softmax(self.score(self.hidden(inputs)), axis=1)  # [batch, time, 1]
        return keras.ops.sum(weights * inputs, axis=1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units}


def convolution(inputs: Any, settings: Convolution, name: str) -> Any:
    """Convolution, batch normalisation, ReLU; unpadded in time (so causal), padded in frequency."""
    time, frequency = settings.kernel
    x = keras.layers.ZeroPadding2D(((0, 0), (frequency // 2, frequency // 2)), name=f"{name}_padding")(inputs)
    x = keras.layers.Conv2D(settings.filters, (time, frequency), settings.strides, use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(name=f"{name}_normalization")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


# === Functional Model ===


def build(config: SpeechConfig) -> KeywordSpotter:
    """``[batch, samples]`` float32 PCM in -1..1 to ``[batch, labels]`` probabilities."""
    audio = keras.Input((None,), name="audio")
    x = LogMelSpectrogram(config.front_end, name="log_mel")(audio)  # [batch, frames, mel_bins]
    x = SpecAugment(config.time_mask, config.frequency_mask, frequency_warp=config.frequency_warp, name="spec_augment")(
        x
    )
    x = keras.layers.BatchNormalization(name="mel_normalization")(x)
    x = keras.layers.Reshape((-1, config.front_end.mel_bins, 1), name="as_image")(x)
    for number, settings in enumerate(config.convolutions, start=1):
        x = convolution(x, settings, f"convolution_{number}")  # [batch, frames, bands, filters]
    x = keras.layers.Reshape((-1, x.shape[2] * x.shape[3]), name="as_sequence")(x)
    x = keras.layers.Dropout(config.dropout, name="dropout")(x)
    for number in range(1, config.layers + 1):
        last = number == config.layers and config.pooling == "last"
        lstm = keras.layers.LSTM(config.units, return_sequences=not last, name=f"lstm_{number}")
        x = keras.layers.Bidirectional(lstm, name=f"bidirectional_{number}")(x) if config.bidirectional else lstm(x)
    if config.pooling == "mean":
        x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
    elif config.pooling == "attention":
        x = AttentionPooling(config.units, name="attention")(x)
    x = keras.layers.Dropout(config.dropout, name="output_dropout")(x)
    probabilities = keras.layers.Dense(len(config.labels), activation="softmax", name="probabilities")(x)
    return KeywordSpotter(audio, probabilities, config)


class Detection(NamedTuple):
    """What was heard in one window of a recording; times in seconds."""

    start: float
    end: float
    label: str
    probability: float
    probabilities: np.ndarray  # [labels]


@keras.saving.register_keras_serializable(package="lstm_zoo")
class KeywordSpotter(keras.Model):
    """A model that takes raw PCM; what users hold in their hands.

    Calls and ``predict`` take ``[batch, samples]`` and forgive what audio libraries return: int16, stereo, a
    single clip, clips that are too short (see :func:`lstm_zoo.frontends.pcm.as_pcm`). Tensors pass untouched.

    Attributes:
        config: what was built. labels: names of the outputs, in order. card: what is known of the weights.
    """

    def __init__(self, inputs: Any, outputs: Any, config: SpeechConfig, **kwargs: Any):
        super().__init__(inputs, outputs, name=kwargs.pop("name", "speech"), **kwargs)
        self.config = config
        self.card = "No weights have been loaded: the model is untrained."

    @property
    def labels(self) -> tuple[str, ...]:
        return self.config.labels

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(inputs, (np.ndarray, list)) and not args and not any(kwargs.values()):
            return self._graph(self._prepare(inputs))
        return super().__call__(self._prepare(inputs), *args, **kwargs)

    @functools.cached_property
    def _graph(self) -> Any:
        """The model as one TensorFlow function: calling the layers one by one takes many times as long."""
        return tf.function(
            lambda audio: keras.Model.__call__(self, audio, training=False),
            input_signature=[tf.TensorSpec((None, None), tf.float32)],
        )

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        return super().predict(self._prepare(x), *args, **kwargs)

    def _prepare(self, audio: Any) -> Any:
        raw = isinstance(audio, (np.ndarray, list))
        return as_pcm(audio, self.config.clip_samples) if raw else audio

    def classify(self, audio: Any, sample_rate: int | None = None, hop: float = 0.5) -> list[Detection]:
        """What is heard in a recording of any length, window by window.

        Args:
            audio: one recording, ``[samples]`` or ``[samples, channels]``, float in -1..1 or integers.
            sample_rate: of ``audio``, in hertz; the model's own where ``None``. Other rates are resampled.
            hop: seconds from the start of one window to the start of the next; a window is as long as the clips
                the model was trained on.

        Raises:
            InvalidInputError: see :func:`lstm_zoo.frontends.pcm.as_pcm`; more than one recording; or ``sample_rate``
                or ``hop`` is not above 0.
        """
        if not isinstance(hop, int | float) or not 0.0 < hop < math.inf:
            raise InvalidInputError(f"hop: got {hop!r}, expected seconds above 0, such as 0.5")
        recordings = as_pcm(audio)
        if len(recordings) != 1:
            raise InvalidInputError(f"audio: expected one recording, got {len(recordings)}; call classify for each")
        own_rate = self.config.front_end.sample_rate
        samples = resample(recordings[0], own_rate if sample_rate is None else sample_rate, own_rate)
        window, step = self.config.clip_samples, max(1, round(hop * own_rate))
        samples = as_pcm(samples, window)[0]
        count = 1 + math.ceil((len(samples) - window) / step)
        samples = np.pad(samples, (0, (count - 1) * step + window - len(samples)))
        windows = np.lib.stride_tricks.sliding_window_view(samples, window)[::step]
        rows = np.concatenate([self(windows[i : i + WINDOWS_AT_ONCE]) for i in range(0, count, WINDOWS_AT_ONCE)])
        return [
            Detection(start, start + window / own_rate, self.labels[row.argmax()], float(row.max()), row)
            for start, row in zip((np.arange(count) * step / own_rate).tolist(), rows, strict=True)
        ]

    def stream(self, **options: Any) -> Stream:
        """Words as they are heard, from PCM that comes in pieces: see :class:`lstm_zoo.streaming.Stream`."""
        from lstm_zoo.streaming import Stream

        return Stream(self, **options)

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(mode="json")}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> KeywordSpotter:
        return build(SpeechConfig.create(config["config"]))


# === Config ===


class Convolution(Config):
    """One convolution over the spectrogram; ``kernel`` and ``strides`` are (time, frequency)."""

    filters: int = Field(ge=1, le=1024)
    kernel: tuple[PositiveInt, PositiveInt] = (3, 3)
    strides: tuple[PositiveInt, PositiveInt] = (1, 2)


class SpeechConfig(ModelConfig):
    """What :func:`build` builds."""

    family: Literal["speech"] = "speech"
    front_end: LogMelConfig = LogMelConfig()
    convolutions: tuple[Convolution, ...] = (
        Convolution(filters=32, kernel=(5, 5), strides=(2, 2)),
        Convolution(filters=64, strides=(2, 2)),
        Convolution(filters=64),
    )
    units: int = Field(160, ge=1, le=4096)
    layers: int = Field(1, ge=1, le=8)
    bidirectional: bool = False
    pooling: Literal["last", "mean", "attention"] = "attention"
    dropout: float = Field(0.3, ge=0.0, lt=1.0)
    time_mask: int = Field(20, ge=0)
    frequency_mask: int = Field(6, ge=0)
    frequency_warp: float = Field(0.1, ge=0.0, lt=1.0)
    equalizer: float = Field(0.0, ge=0.0, description="decibels")

    @model_validator(mode="after")
    def _clip_is_long_enough(self) -> Self:
        """One clip has to give the LSTM at least one step."""
        front_end = self.front_end
        steps = 1 + (self.clip_samples - front_end.window_length) // front_end.hop_length
        for convolution in self.convolutions:
            steps = 1 + (steps - convolution.kernel[0]) // convolution.strides[0]
        if steps < 1:
            raise ValueError("hop_length, kernels and strides leave nothing of a one-second clip for the LSTM")
        return self

    @property
    def clip_samples(self) -> int:
        """Samples of the one-second clips that the model is trained on."""
        return self.front_end.sample_rate

    @property
    def streaming(self) -> bool:
        """Whether the answer can be kept up to date frame by frame, without hearing what is still to come."""
        return not self.bidirectional


CONFIG = SpeechConfig

# What tuning draws from, by the names of lstm_zoo.tasks.audio.AudioExperiment: model, front end and training alike.
SEARCH_SPACE: dict[str, tuple[Any, ...]] = {
    "model.front_end.hop_length": (160, 200, 320),
    "model.front_end.window_length": (400, 480, 512),
    "model.front_end.mel_bins": (32, 40, 64),
    "model.units": (32, 48, 64, 96, 128, 160, 192),
    "model.pooling": ("last", "mean", "attention"),
    "model.dropout": (0.1, 0.3, 0.5),
    "model.time_mask": (10, 20, 30),
    "training.batch_size": (32, 64, 128),
    "training.epochs": (20, 40, 80),
    "training.learning_rate": (1e-3, 2e-3, 3e-3, 5e-3),
    "augmentation.speed": (0.0, 0.1, 0.2),
    "augmentation.noise_share": (0.3, 0.5, 0.8),
}
