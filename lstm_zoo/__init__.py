"""Pretrained LSTM models that take raw input and give the same answers in Keras and in TFLite.

    >>> import lstm_zoo
    >>> lstm_zoo.list_models()
    >>> model = lstm_zoo.get("speech")
    >>> samples, sample_rate = lstm_zoo.read_audio("clip.wav")
    >>> model.classify(samples, sample_rate)
    >>> lstm_zoo.export(model, "speech.tflite")

Importing this package does not import TensorFlow; the first call that needs it does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lstm_zoo.errors import (
    ArtifactError,
    DataError,
    ExportError,
    InvalidInputError,
    LstmZooError,
    MissingExtraError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from lstm_zoo import inspect, layers
    from lstm_zoo.data.audio_files import read_audio
    from lstm_zoo.exporters import export, verify
    from lstm_zoo.registry import get, info, list_models

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "DataError",
    "ExportError",
    "InvalidInputError",
    "LstmZooError",
    "MissingExtraError",
    "UnknownNameError",
    "__version__",
    "export",
    "get",
    "info",
    "inspect",
    "layers",
    "list_models",
    "read_audio",
    "verify",
]

_WHERE = {
    "export": "lstm_zoo.exporters",
    "get": "lstm_zoo.registry",
    "info": "lstm_zoo.registry",
    "list_models": "lstm_zoo.registry",
    "read_audio": "lstm_zoo.data.audio_files",
    "verify": "lstm_zoo.exporters",
}


def __getattr__(name: str) -> Any:
    if name in ("inspect", "layers"):
        return importlib.import_module(f"lstm_zoo.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'lstm_zoo' has no attribute {name!r}; there are: {', '.join(__all__)}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
