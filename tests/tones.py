"""Three tones in noise, and a model small enough to learn them within a test."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lstm_zoo.config import override
from lstm_zoo.data import AudioDataset, AudioSplit
from lstm_zoo.models import speech
from lstm_zoo.tasks.audio import AudioExperiment

LABELS = ("low", "middle", "high")
HERTZ = (350.0, 700.0, 1_400.0)
RATE = 4_000
SHARES = (0.5, 0.25, 0.25)  # of the classes: the most frequent one is half of the clips
SETTINGS: dict[str, Any] = {
    "epochs": 6,
    "batch_size": 16,
    "learning_rate": 2e-2,
    "average": 0.5,
    "shift": 0.05,
}
MODEL = {
    "labels": LABELS,
    "front_end": {
        "sample_rate": RATE,
        "window_length": 128,
        "hop_length": 64,
        "fft_length": 128,
        "mel_bins": 12,
        "upper_frequency": 1_900.0,
    },
    "convolutions": [{"filters": 4, "strides": (2, 2)}],
    "units": 6,
    "dropout": 0.0,
    "time_mask": 3,
    "frequency_mask": 1,
    "frequency_warp": 0.02,
}


def split(clips: int, seed: int, noise_seconds: int = 0) -> AudioSplit:
    """``clips`` tones of one second, each at its own phase and loudness."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), [round(clips * share) for share in SHARES]).astype(np.int32)
    phase = random.uniform(0, 2 * np.pi, (len(labels), 1))
    tones = np.sin(2 * np.pi * np.array(HERTZ)[labels, None] * np.arange(RATE) / RATE + phase)
    audio = tones * random.uniform(0.2, 0.6, (len(labels), 1)) + random.normal(0, 0.02, tones.shape)
    noise = random.normal(0, 0.1, noise_seconds * RATE)
    names = tuple(f"{seed}/{number}" for number in range(len(labels)))
    return AudioSplit(_int16(audio), labels, names, _int16(noise))


def dataset(training_clips: int = 48) -> AudioDataset:
    return AudioDataset("tones", LABELS, RATE, split(training_clips, 0, noise_seconds=5), split(16, 1), split(32, 2))


def experiment(**settings: Any) -> AudioExperiment:
    start = AudioExperiment(model=speech.SpeechConfig.create(MODEL), synthetic_share=0.0)
    return override(start, SETTINGS | settings)


def model(**options: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    return speech.build(speech.SpeechConfig.create(MODEL | options))


def network() -> keras.Model:
    """What is trained in no time, where it does not matter what is trained."""
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((RATE,)), keras.layers.Dense(3, activation="softmax")])


def _int16(audio: np.ndarray) -> np.ndarray:
    return np.round(audio * 32_767).astype(np.int16)
