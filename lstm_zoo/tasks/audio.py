"""Runs of models that hear: clips and synthetic speech, augmented, and a baseline without an LSTM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from pydantic import Field

from lstm_zoo import experiment as shared
from lstm_zoo.data import AudioDataset, AudioSplit
from lstm_zoo.data.augment import AugmentConfig
from lstm_zoo.data.batches import one_hot, training_batches
from lstm_zoo.errors import MissingExtraError
from lstm_zoo.evaluation import Evaluation, evaluate, majority_baseline, score
from lstm_zoo.models.speech import SpeechConfig


class AudioExperiment(shared.Experiment):
    """All that decides what a training run of an audio model makes."""

    model: SpeechConfig
    augmentation: AugmentConfig = AugmentConfig()
    synthetic_share: float = Field(0.3, ge=0.0, lt=1.0, description="share of synthetic speech, where it is used")


def run(
    build: Callable[[], keras.Model],
    experiment: AudioExperiment,
    dataset: AudioDataset,
    folder: Path,
    synthetic: AudioSplit | None = None,
    verbose: str | int = "auto",
) -> keras.Model:
    """Build a model and train it on ``dataset`` and clips of ``synthetic``; see :func:`lstm_zoo.experiment.run`."""

    def feed() -> shared.Feed:
        batch_size, seed = experiment.training.batch_size, experiment.training.seed
        batches, steps = training_batches(
            dataset, experiment.augmentation, batch_size, seed, synthetic, experiment.synthetic_share
        )
        validation = (dataset.validation.as_float(), one_hot(dataset.validation, len(dataset.label_names)))
        return shared.Feed(batches, steps, validation)

    splits = [dataset.training] + ([synthetic] if synthetic is not None else [])
    data = shared.fingerprint(array.tobytes() for split in splits for array in (split.audio, split.labels))
    return shared.run(build, feed, experiment, data, folder, verbose)


def measure(model: keras.Model, dataset: AudioDataset, front_end: keras.layers.Layer, name: str) -> dict[str, float]:
    """Accuracy on the test clips by name: of the model, and of what needs no LSTM."""
    tested = evaluate(model, dataset)
    accuracies = {name: tested.accuracy}
    if "silence" in dataset.label_names:
        accuracies[f"{name}, without the silence clips"] = tested.accuracy_without("silence")
    accuracies["logistic regression on log-mel means"] = linear_baseline(dataset, front_end).accuracy
    accuracies["most frequent class"] = majority_baseline(dataset).accuracy
    return accuracies


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
