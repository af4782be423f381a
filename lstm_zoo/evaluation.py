"""Accuracy and confusion on a split, beside the baselines that keep a bad model from hiding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from lstm_zoo.data import AudioSplit, ThreeSplits
from lstm_zoo.data.texts import TextSplit
from lstm_zoo.errors import InvalidInputError

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure


class Evaluation(pydantic.BaseModel):
    """How often a classifier is right, and what it takes for what."""

    model_config = pydantic.ConfigDict(frozen=True)

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]  # rows: the true label; columns: the answer

    @property
    def examples(self) -> int:
        """How many clips or texts were asked about."""
        return int(np.sum(self.confusion))

    @property
    def accuracy(self) -> float:
        return float(np.trace(np.array(self.confusion)) / self.examples)

    def accuracy_without(self, label: str) -> float:
        """Accuracy over the examples whose true label is another than ``label``."""
        rows = np.delete(np.array(self.confusion), self.labels.index(label), axis=0)
        hits = np.delete(np.diag(np.array(self.confusion)), self.labels.index(label))
        return float(hits.sum() / rows.sum())

    def plot(self) -> Figure:
        """The confusion matrix as a matplotlib figure."""
        from lstm_zoo.plots import plot_confusion

        title = f"{self.accuracy:.1%} of {self.examples:,} are right"
        return plot_confusion(self.labels, np.array(self.confusion), title)


def score(labels: tuple[str, ...], expected: np.ndarray, answered: np.ndarray) -> Evaluation:
    """Count answers: ``expected`` and ``answered`` are class numbers, ``[examples]``."""
    if len(expected) != len(answered) or not len(expected):
        raise InvalidInputError(f"expected {len(expected)} labels and as many answers, got {len(answered)}")
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (expected, answered), 1)
    return Evaluation(labels=labels, confusion=tuple(map(tuple, counts.tolist())))


def inputs_of(split: AudioSplit | TextSplit) -> np.ndarray | list[str]:
    """What a model takes of a split: float32 ``[clips, samples]``, or texts."""
    return list(split.texts) if isinstance(split, TextSplit) else split.as_float()


def evaluate(model: keras.Model, dataset: ThreeSplits[Any], split: str = "testing") -> Evaluation:
    """The model's answers on one split of a dataset."""
    part = getattr(dataset, split)
    answers = model.predict(inputs_of(part), batch_size=128, verbose=0).argmax(axis=1)
    return score(dataset.label_names, part.labels, answers)


def majority_baseline(dataset: ThreeSplits[Any], split: str = "testing") -> Evaluation:
    """Always the most frequent training class."""
    part = getattr(dataset, split)
    most_frequent = np.bincount(dataset.training.labels).argmax()
    return score(dataset.label_names, part.labels, np.full(len(part), most_frequent))
