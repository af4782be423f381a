"""One way to train every classifier here: AdamW, cosine schedule, averaged weights, resumable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from lstm_zoo.config import Config


class TrainingConfig(Config):
    """How a model is trained; every field is open to tuning."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(64, ge=2)
    warm_up: float = Field(3.0, ge=0.0, description="epochs, or parts of one, in which the learning rate rises")
    learning_rate: float = Field(3e-3, gt=0.0)
    weight_decay: float = Field(1e-3, ge=0.0)
    epsilon: float = Field(1e-7, gt=0.0, description="Adam's; larger ones slow what seldom has a gradient: rare words")
    label_smoothing: float = Field(0.05, ge=0.0, lt=1.0)
    average: float = Field(0.995, ge=0.0, lt=1.0, description="momentum of the moving average of the weights")
    compiled: bool = Field(False, description="XLA compiles the updates, and a text model's LSTMs for each bucket")
    seed: int = Field(0, ge=0)


class EpochSeconds(keras.callbacks.Callback):
    """Adds to the record of each epoch how long it took."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs["seconds"] = time.monotonic() - self.began


def compile_model(model: keras.Model, settings: TrainingConfig, steps_per_epoch: int) -> None:
    """Compile ``model`` with AdamW, a cosine schedule after a warm-up, and averaged weights."""
    warm_up = round(min(settings.warm_up, settings.epochs - 1) * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate * 0.1 if warm_up else settings.learning_rate,
        max(1, settings.epochs * steps_per_epoch - warm_up),
        alpha=0.01,
        warmup_target=settings.learning_rate if warm_up else None,
        warmup_steps=warm_up,
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        epsilon=settings.epsilon,
        weight_decay=settings.weight_decay,
        clipnorm=2.0,
        use_ema=settings.average > 0.0,
        ema_momentum=settings.average,
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing)
    # Keras's LSTM under XLA has a gradient quadratic in time, so XLA stays off.
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
    if settings.compiled:
        compile_updates(optimizer)


def compile_updates(optimizer: keras.optimizers.Optimizer) -> None:
    """Have XLA compile what ``optimizer`` does with the gradients.

    Uncompiled, decay, moments, update and average each go over all weights several times, which for a large embedding
    is a good part of a step. Where a batch uses a row of an embedding more than once, its gradients are added up before
    they are squared, as Adam has it (Kingma and Ba 2015, arXiv:1412.6980); Keras 3.15 squares them first.
    """
    apply = optimizer.apply

    def compiled(grads: Any, trainable_variables: Any = None) -> None:
        # Of one shape, whatever rows of an embedding were used.
        dense = [None if grad is None else tf.convert_to_tensor(grad) for grad in grads]
        update = tf.function(lambda dense: apply(dense, trainable_variables), jit_compile=True, autograph=False)
        update(dense)

    optimizer.apply = compiled


def train(
    model: keras.Model,
    batches: tf.data.Dataset,
    steps_per_epoch: int,
    validation: tf.data.Dataset | tuple[np.ndarray, np.ndarray],
    settings: TrainingConfig,
    folder: Path,
    verbose: str | int = "auto",
) -> None:
    """Train ``model`` in place; killed and started again with the same ``folder``, it goes on where it was.

    Args:
        batches: an endless dataset of ``(input, one-hot label)`` batches.
        steps_per_epoch: batches to an epoch.
        validation: inputs and one-hot labels, or finite batches of them, watched and never trained on. The last
            weights are kept, not the best on validation: with a few hundred examples "best" would be luck.
        folder: receives ``checkpoint/`` while training, and ``history.csv``, a row an epoch.
        verbose: as in :meth:`keras.Model.fit`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compile_model(model, settings, steps_per_epoch)
    log = keras.callbacks.CSVLogger(str(folder / "history.csv"), append=(folder / "checkpoint").exists())
    callbacks: list[Any] = [
        EpochSeconds(),
        # Double: a kill while the checkpoint is written costs an epoch, not the run.
        keras.callbacks.BackupAndRestore(str(folder / "checkpoint"), double_checkpoint=True),
        log,
    ]
    try:
        model.fit(
            batches,
            steps_per_epoch=steps_per_epoch,
            epochs=settings.epochs,
            validation_data=validation,
            validation_batch_size=128,
            callbacks=callbacks,
            shuffle=False,  # the batches are shuffled already; Keras warns where it cannot do so again
            verbose=verbose,
        )
    finally:
        log.on_train_end()  # closes the file, which Keras leaves open when training is interrupted
