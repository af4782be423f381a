"""One training run of any model: its settings, and the run itself with its record and its resuming."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras

from lstm_zoo.config import Config
from lstm_zoo.training import TrainingConfig, train

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

HISTORY = "history.csv"  # a row an epoch
PRETRAINING = "pretraining.csv"  # the same of what the model was trained on first, where there is such


class Experiment(Config):
    """All that decides what a training run makes; each task adds its own fields."""

    training: TrainingConfig = TrainingConfig()


class Feed(NamedTuple):
    """What a model is trained on; see :func:`lstm_zoo.training.train`."""

    batches: tf.data.Dataset
    steps_per_epoch: int
    validation: tf.data.Dataset | tuple[np.ndarray, np.ndarray]


def run(
    build: Callable[[], keras.Model],
    feed: Callable[[], Feed],
    experiment: Experiment,
    training_data: str,
    folder: Path,
    verbose: str | int = "auto",
    prepare: Callable[[keras.Model], None] = lambda model: None,
) -> keras.Model:
    """Build a model and train it as ``experiment`` says.

    A run that was killed goes on where it was (see :func:`lstm_zoo.training.train`), and one that was finished with
    the same settings and data is read back from ``folder``. With others it starts anew.

    Args:
        build: makes the untrained model, with the seed of ``experiment`` set.
        feed: makes what it is trained on; not called for a run that was finished.
        training_data: a :func:`fingerprint` of the data.
        folder: receives ``experiment.json``, ``history.csv`` and ``model.weights.h5``.
        verbose: as in :meth:`keras.Model.fit`.
        prepare: what is done to the model before it is trained, such as pretraining.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, weights = folder / "experiment.json", folder / "model.weights.h5"
    keras.utils.set_random_seed(experiment.training.seed)
    model = build()
    if not _is_of(record, experiment, training_data):
        weights.unlink(missing_ok=True)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        present = {"experiment": experiment.model_dump(mode="json"), "training_data": training_data}
        record.write_text(json.dumps(present, indent=1))
    if weights.exists():
        model.load_weights(weights)
        return model
    prepare(model)
    train(model, *feed(), experiment.training, folder, verbose)
    unfinished = folder / "unfinished.weights.h5"
    model.save_weights(unfinished)
    unfinished.replace(weights)
    return model


def _is_of(record: Path, experiment: Experiment, training_data: str) -> bool:
    """Whether ``record`` is of such a run; settings that an older version did not have get their defaults."""
    try:
        stored: dict[str, Any] = json.loads(record.read_text())
        same_data = stored["training_data"] == training_data
        return same_data and type(experiment).model_validate(stored["experiment"]) == experiment
    except (OSError, ValueError, KeyError, TypeError):
        return False


def fingerprint(parts: Iterable[bytes]) -> str:
    """SHA-256 of what a model is trained on, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def minutes(folder: Path) -> float:
    """How long the training run in ``folder`` took, over all its interruptions, and the pretraining before it."""
    seconds = 0.0
    for history in filter(Path.exists, (folder / PRETRAINING, folder / HISTORY)):
        with history.open(newline="") as file:
            seconds += sum(float(row["seconds"]) for row in csv.DictReader(file))
    return seconds / 60.0
