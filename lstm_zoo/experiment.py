"""One training run of an audio model: its settings, the run itself, and what it is measured against."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import keras
from pydantic import Field

from lstm_zoo.config import Config
from lstm_zoo.data.augment import AugmentConfig
from lstm_zoo.data.batches import one_hot, training_batches
from lstm_zoo.evaluation import evaluate, linear_baseline, majority_baseline
from lstm_zoo.models.speech import SpeechConfig
from lstm_zoo.training import TrainingConfig, train

if TYPE_CHECKING:
    from lstm_zoo.data import AudioDataset, AudioSplit


class Experiment(Config):
    """All that decides what a training run makes."""

    model: SpeechConfig
    training: TrainingConfig = TrainingConfig()
    augmentation: AugmentConfig = AugmentConfig()
    synthetic_share: float = Field(0.3, ge=0.0, lt=1.0, description="share of synthetic speech, where it is used")


class Record(Config):
    """What a run's folder says of it: its settings, and a fingerprint of the clips that it is trained on."""

    experiment: Experiment
    training_data: str


def run(
    build: Callable[[], keras.Model],
    experiment: Experiment,
    dataset: AudioDataset,
    folder: Path,
    synthetic: AudioSplit | None = None,
    verbose: str | int = "auto",
) -> keras.Model:
    """Build a model and train it on ``dataset`` as ``experiment`` says.

    A run that was killed goes on where it was (see :func:`lstm_zoo.training.train`), and one that was finished with
    the same settings and data is read back from ``folder``. With others it starts anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, weights = folder / "experiment.json", folder / "model.weights.h5"
    present = Record(experiment=experiment, training_data=_fingerprint(dataset.training, synthetic))
    keras.utils.set_random_seed(experiment.training.seed)
    model = build()
    if _read_record(record) != present:
        weights.unlink(missing_ok=True)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        record.write_text(present.model_dump_json(indent=1))
    if weights.exists():
        model.load_weights(weights)
        return model
    batches, steps = training_batches(
        dataset,
        experiment.augmentation,
        experiment.training.batch_size,
        experiment.training.seed,
        synthetic,
        experiment.synthetic_share,
    )
    validation = (dataset.validation.as_float(), one_hot(dataset.validation, len(dataset.label_names)))
    train(model, batches, steps, validation, experiment.training, folder, verbose)
    unfinished = folder / "unfinished.weights.h5"
    model.save_weights(unfinished)
    unfinished.replace(weights)
    return model


def _read_record(path: Path) -> Record | None:
    """``None`` where there is none that can be read; settings that an older version did not have get their defaults."""
    try:
        return Record.model_validate_json(path.read_text())
    except (OSError, ValueError):
        return None


def _fingerprint(*splits: AudioSplit | None) -> str:
    digest = hashlib.sha256()
    for split in splits:
        if split is not None:
            digest.update(split.audio.tobytes())
            digest.update(split.labels.tobytes())
    return digest.hexdigest()


def minutes(folder: Path) -> float:
    """How long the training run in ``folder`` took, over all its interruptions."""
    with (folder / "history.csv").open(newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file)) / 60.0


def measure(model: keras.Model, dataset: AudioDataset, front_end: keras.layers.Layer, name: str) -> dict[str, float]:
    """Accuracy on the test clips by name: of the model, and of what needs no LSTM."""
    tested = evaluate(model, dataset)
    accuracies = {name: tested.accuracy}
    if "silence" in dataset.label_names:
        accuracies[f"{name}, without the silence clips"] = tested.accuracy_without("silence")
    accuracies["logistic regression on log-mel means"] = linear_baseline(dataset, front_end).accuracy
    accuracies["most frequent class"] = majority_baseline(dataset).accuracy
    return accuracies
