"""What the audio recipes and benchmarks share: settings from a profile and the command line, and one training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lstm_zoo.config import Config
from lstm_zoo.data.augment import AugmentConfig
from lstm_zoo.models.speech import SpeechConfig
from lstm_zoo.training import TrainingConfig, train

if TYPE_CHECKING:
    import keras

    from lstm_zoo.data import AudioDataset, AudioSplit


class Experiment(Config):
    """All that decides what a training run makes."""

    model: SpeechConfig
    training: TrainingConfig = TrainingConfig()
    augmentation: AugmentConfig = AugmentConfig()
    synthetic_share: float = Field(0.0, ge=0.0, lt=1.0, description="share of each epoch that is synthetic speech")


def read_settings(arguments: list[str]) -> dict[str, Any]:
    """``["epochs=5", "units=64"]`` to ``{"epochs": 5, "units": 64}``; values are JSON, or else text."""
    return {name: _value(text) for name, _, text in (argument.partition("=") for argument in arguments)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def run(
    model: keras.Model,
    experiment: Experiment,
    dataset: AudioDataset,
    folder: Path,
    synthetic: AudioSplit | None = None,
    verbose: str | int = "auto",
) -> None:
    """Train ``model`` on ``dataset`` as ``experiment`` says; see :func:`lstm_zoo.training.train`."""
    from lstm_zoo.data.batches import one_hot, training_batches

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.json").write_text(experiment.model_dump_json(indent=1))
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
