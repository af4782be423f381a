"""Files as users export them, and the clips to run them on."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import lstm_zoo
from lstm_zoo.demo import CLIP


@pytest.fixture(scope="session")
def speech() -> keras.Model:
    return lstm_zoo.get("speech")


@pytest.fixture(scope="session")
def speech_tiny() -> keras.Model:
    return lstm_zoo.get("speech_tiny")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, clips: np.ndarray) -> Callable[..., Path]:
    """``exported(model, profile, quantize=None)``: the file, written once for each of them."""
    windows = np.lib.stride_tricks.sliding_window_view(clips.reshape(-1), 16_000)[::1600]  # a second, every 0.1 s

    @functools.cache
    def export(model: keras.Model, profile: str, quantize: str | None = None) -> Path:
        file = tmp_path_factory.mktemp(profile) / f"{model.name}.tflite"
        examples = windows if quantize == "int8" else None
        lstm_zoo.export(model, file, profile=profile, quantize=quantize, representative_data=examples)
        return file

    return export


@pytest.fixture(scope="session")
def clips() -> np.ndarray:
    """Float32 ``[5, 16000]``: a real voice, one word in each, five different words."""
    return lstm_zoo.read_audio(CLIP, 16_000)[0].reshape(5, 16_000)


@pytest.fixture
def missing() -> Callable[[str], None]:
    """What a test calls where a tool outside Python is not there: a reason to skip it, but on CI to fail."""
    return pytest.fail if os.environ.get("CI") else pytest.skip
