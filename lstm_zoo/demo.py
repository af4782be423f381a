"""The demonstration: a clip with spoken words, answered by the Keras model and by its TFLite file, side by side."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Group
from rich.table import Table

import lstm_zoo
from lstm_zoo.registry import kilobytes

CLIP = Path(__file__).parent / "assets" / "demo.wav"


@dataclass(frozen=True)
class Answer:
    """One word: where it was heard (seconds), and the probability of each label by Keras and by the TFLite file."""

    start_seconds: float
    end_seconds: float
    keras: np.ndarray
    tflite: np.ndarray


@dataclass(frozen=True)
class Demo:
    """All answers, and the size of the TFLite file in bytes."""

    labels: tuple[str, ...]
    answers: list[Answer]
    bytes: int

    @property
    def largest_difference(self) -> float:
        return max((float(np.max(np.abs(each.keras - each.tflite))) for each in self.answers), default=0.0)

    def __rich__(self) -> Group:
        table = Table("time", "Keras", "TFLite", title=f"Words in {CLIP.name}")
        for each in self.answers:
            span = f"{each.start_seconds:.2f} to {each.end_seconds:.2f} s"
            table.add_row(span, self._best(each.keras), self._best(each.tflite))
        return Group(
            table,
            f"Largest difference between the two: {self.largest_difference:.2g}",
            f"Size of the TFLite file: {kilobytes(self.bytes)}",
        )

    def _best(self, probabilities: np.ndarray) -> str:
        best = int(np.argmax(probabilities))
        return f"{self.labels[best]} {probabilities[best]:.2%}"


def run(name: str = "speech", clip: Path = CLIP) -> Demo:
    """Classify ``clip`` with the pretrained model ``name`` and with a TFLite file exported here and now.

    Raises:
        LstmZooError: no pretrained weights, no clip, or the export failed.
    """
    model = lstm_zoo.get(name)
    rate = model.config.front_end.sample_rate
    samples, _ = lstm_zoo.read_audio(clip, rate)
    spans = [(start, end) for start, end, *_ in model.classify(samples, rate, hop=1.0)]  # one word a second
    windows = [_window(samples, round(start * rate), model.config.clip_samples) for start, _ in spans]
    with tempfile.TemporaryDirectory(prefix="lstm_zoo_") as folder:
        file = Path(folder) / f"{name}.tflite"
        lstm_zoo.export(model, file, samples=model.config.clip_samples)
        tflite = _replay(file, windows)
        size = file.stat().st_size
    keras_answers = [np.asarray(model(window, training=False))[0] for window in windows]
    answers = [Answer(*span, *pair) for span, *pair in zip(spans, keras_answers, tflite, strict=True)]
    return Demo(tuple(model.labels), answers, size)


def _window(samples: np.ndarray, start: int, length: int) -> np.ndarray:
    """``length`` samples from ``start``, padded with silence at the end of the clip: ``[1, length]``."""
    cut = samples[start : start + length]
    return np.pad(cut, (0, length - len(cut)))[None].astype("float32")


def _replay(file: Path, windows: list[np.ndarray]) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    run_signature = Interpreter(str(file)).get_signature_runner("serving_default")
    return [run_signature(audio=window)["probabilities"][0] for window in windows]
