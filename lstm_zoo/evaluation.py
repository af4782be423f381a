"""Accuracy and confusion on a split, beside the baselines that keep a bad model from hiding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pydantic

from lstm_zoo.errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from lstm_zoo.data import AudioDataset


class Evaluation(pydantic.BaseModel):
    """How often a classifier is right, and what it takes for what."""

    model_config = pydantic.ConfigDict(frozen=True)

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]  # rows: what was said; columns: what was heard

    @property
    def clips(self) -> int:
        return int(np.sum(self.confusion))

    @property
    def accuracy(self) -> float:
        return float(np.trace(np.array(self.confusion)) / self.clips)

    def accuracy_without(self, label: str) -> float:
        """Accuracy over the clips whose true label is another than ``label``."""
        rows = np.delete(np.array(self.confusion), self.labels.index(label), axis=0)
        hits = np.delete(np.diag(np.array(self.confusion)), self.labels.index(label))
        return float(hits.sum() / rows.sum())

    def plot(self) -> Figure:
        """The confusion matrix as a matplotlib figure."""
        from lstm_zoo.plots import plot_confusion

        title = f"{self.accuracy:.1%} of {self.clips:,} clips"
        return plot_confusion(self.labels, np.array(self.confusion), title)


def score(labels: tuple[str, ...], expected: np.ndarray, answered: np.ndarray) -> Evaluation:
    """Count answers: ``expected`` and ``answered`` are class numbers, ``[clips]``."""
    if len(expected) != len(answered) or not len(expected):
        raise InvalidInputError(f"expected {len(expected)} labels and as many answers, got {len(answered)}")
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (expected, answered), 1)
    return Evaluation(labels=labels, confusion=tuple(map(tuple, counts.tolist())))


def evaluate(model: keras.Model, dataset: AudioDataset, split: str = "testing") -> Evaluation:
    """The model's answers on one split of a dataset."""
    part = getattr(dataset, split)
    answers = model.predict(part.as_float(), batch_size=128, verbose=0).argmax(axis=1)
    return score(dataset.label_names, part.labels, answers)


def majority_baseline(dataset: AudioDataset, split: str = "testing") -> Evaluation:
    """Always the most frequent training class."""
    part = getattr(dataset, split)
    most_frequent = np.bincount(dataset.training.labels).argmax()
    return score(dataset.label_names, part.labels, np.full(len(part), most_frequent))


def linear_baseline(dataset: AudioDataset, front_end: keras.layers.Layer, split: str = "testing") -> Evaluation:
    """Logistic regression on the mean over time of the log-mel spectrogram."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtraError("scikit-learn", "notebooks", "the linear baseline") from None

    def features(audio: np.ndarray) -> np.ndarray:
        return np.concatenate([np.mean(front_end(audio[i : i + 128]), axis=1) for i in range(0, len(audio), 128)])

    part = getattr(dataset, split)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    classifier.fit(features(dataset.training.as_float()), dataset.training.labels)
    return score(dataset.label_names, part.labels, classifier.predict(features(part.as_float())))
