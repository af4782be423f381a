"""A text classifier's embedding and LSTMs, trained first to guess words from those around them.

Each LSTM learns a language model of its direction: the forward one guesses the next token, the backward one the one
before. Dai and Le 2015, "Semi-supervised Sequence Learning" (arXiv:1511.01432), begin from a language model; here it
learns from the training texts alone.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from lstm_zoo.config import Config
from lstm_zoo.data.text_batches import training_batches, validation_batches
from lstm_zoo.data.texts import TextDataset
from lstm_zoo.experiment import HISTORY, fingerprint
from lstm_zoo.frontends.text import PADDING, START, UNKNOWN
from lstm_zoo.models.sentiment import CountTokens, ReverseSequence, TextClassifier, build
from lstm_zoo.training import EpochSeconds

WEIGHTS = "weights.npz"
LAYERS = ("embedding", "forward", "backward")
WATCHED = 8  # of so many validation texts one is watched, which is enough to see that the loss falls


class PretrainingConfig(Config):
    """How the language models are trained."""

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=2)
    crop: int = Field(300, ge=2, description="tokens of a text that an epoch trains on")
    learning_rate: float = Field(5e-3, gt=0.0)
    dropout: float = Field(0.2, ge=0.0, lt=1.0)
    seed: int = Field(0, ge=0)
    negatives: int = Field(500, ge=1, description="wrong tokens that the right one is told from, drawn for each batch")


class LanguageModel(keras.Model):
    """Guesses each token from those before it, and from those after it, with ``classifier``'s own layers.

    Calling it with int32 ids ``[batch, time]`` gives, for either direction, the guesses ``[tokens, embedding]``, to be
    compared with the rows of the embedding, and the ids ``[tokens]`` that are right. The loss is the mean sampled
    softmax of both (Jean et al. 2015, arXiv:1412.2007), in nats.
    """

    def __init__(self, classifier: TextClassifier, settings: PretrainingConfig):
        super().__init__(name="language_model")
        self.settings = settings
        self.embedding = classifier.get_layer("embedding")
        self.directions = [classifier.get_layer(name) for name in LAYERS[1 : 2 + classifier.config.bidirectional]]
        self.count_tokens, self.reverse = CountTokens(), ReverseSequence()
        self.input_dropout = keras.layers.SpatialDropout1D(settings.dropout)
        self.output_dropout = keras.layers.Dropout(settings.dropout)
        self.guess = keras.layers.Dense(self.embedding.output_dim, name="guess")
        self.guess.build((None, None, classifier.config.units))
        self.vocabulary_size = len(classifier.config.vocabulary)
        # Words are numbered by how frequent they are, so their number says about how frequent: Zipf's law, which the
        # loss draws the wrong tokens by too. Of subwords, the single characters come first; the rest is so ordered.
        ranks = np.arange(self.vocabulary_size)
        zipf = np.log1p(1.0 / (ranks + 1.0)) / np.log1p(self.vocabulary_size)
        self.bias = self.add_weight(
            shape=(self.vocabulary_size,), initializer=lambda *_, **__: np.log(zipf).astype("float32"), name="bias"
        )

    def call(self, ids: Any, training: bool = False) -> list[tuple[Any, Any]]:
        lengths = self.count_tokens(ids)
        inputs = self.input_dropout(self.embedding(ids), training=training)
        rows = [(ids, inputs), (self.reverse(ids, lengths), self.reverse(inputs, lengths))]
        return [self._guesses(*row, lstm, training) for row, lstm in zip(rows, self.directions, strict=False)]

    def _guesses(self, ids: Any, inputs: Any, lstm: keras.layers.Layer, training: bool) -> tuple[Any, Any]:
        states = self.output_dropout(lstm(inputs, training=training), training=training)
        present = tf.not_equal(ids[:, 1:], PADDING)
        return self.guess(tf.boolean_mask(states[:, :-1], present)), tf.boolean_mask(ids[:, 1:], present)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
        losses = [
            tf.nn.sampled_softmax_loss(
                tf.convert_to_tensor(self.embedding.embeddings),
                tf.convert_to_tensor(self.bias),
                right[:, None],
                guesses,
                min(self.settings.negatives, self.vocabulary_size // 2),
                self.vocabulary_size,
            )
            for guesses, right in y_pred
        ]
        return tf.reduce_mean(tf.concat(losses, axis=0))


def pretrained(
    classifier: TextClassifier,
    dataset: TextDataset,
    settings: PretrainingConfig,
    folder: Path,
    verbose: str | int = "auto",
) -> Path:
    """Give ``classifier``'s embedding and LSTMs pretrained weights, which are made where ``folder`` has none.

    Runs beside each other with the same layers, settings and texts share them, whatever their seed. A run that was
    killed goes on where it was. The state of Keras's random generators is another one afterwards: set the seed again.

    Args:
        dataset: its training texts are learned from, its validation texts watched.
        folder: of the run. The folder above it receives one with ``history.csv`` and the weights, once all is done.
        verbose: as in :meth:`keras.Model.fit`.

    Returns:
        The record of the pretraining, a row an epoch.
    """
    layers = [layer for layer in classifier.layers if layer.name in LAYERS]
    config = classifier.config
    decisive = [config.tokenizer, config.vocabulary, config.embedding, config.units, config.bidirectional, settings]
    name = fingerprint([repr(decisive).encode(), *(text.encode() for text in dataset.training.texts)])[:12]
    own = folder.resolve() / f"pretraining-{name}"
    shared = own.parents[1] / own.name
    if not (shared / WEIGHTS).exists():
        keras.utils.set_random_seed(settings.seed)
        made = build(config)  # anew, so that it does not depend on the seed of the run that comes first
        pretrain(made, dataset, settings, own, verbose)
        trained = {layer.name: made.get_layer(layer.name).get_weights() for layer in layers}
        values = {name + str(number): each for name, arrays in trained.items() for number, each in enumerate(arrays)}
        np.savez(own / WEIGHTS, **values, allow_pickle=False)
        with contextlib.suppress(OSError):  # a run that began at the same time was done first, or it is another disk
            own.rename(shared)
    if (shared / WEIGHTS).exists():
        shutil.rmtree(own, ignore_errors=True)
    else:
        shared = own
    with np.load(shared / WEIGHTS, allow_pickle=False) as stored:
        for layer in layers:
            layer.set_weights([stored[layer.name + str(number)] for number in range(len(layer.weights))])
    return shared / HISTORY


def pretrain(
    classifier: TextClassifier,
    dataset: TextDataset,
    settings: PretrainingConfig,
    folder: Path,
    verbose: str | int = "auto",
) -> None:
    """Train ``classifier``'s embedding and LSTMs in place; see :func:`pretrained`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenize, rows = classifier.tokenizer, settings.batch_size
    batches, steps_per_epoch = training_batches(
        dataset.training, tokenize, rows, settings.seed, crop=settings.crop, classes=len(dataset.label_names)
    )
    watched = dataset.validation.where(number % WATCHED == 0 for number in range(len(dataset.validation)))
    validation = validation_batches(watched, tokenize, rows, len(dataset.label_names))
    model = LanguageModel(classifier, settings)
    model(np.array([[START, UNKNOWN]], "int32"))  # built, as a run that goes on has to be
    steps = settings.epochs * steps_per_epoch
    warm_up = min(200, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate * 0.1,
        max(1, steps - warm_up),
        alpha=0.02,
        warmup_target=settings.learning_rate,
        warmup_steps=warm_up,
    )
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-3, clipnorm=1.0), jit_compile=False)
    checkpoint = folder / "checkpoint"
    log = keras.callbacks.CSVLogger(str(folder / HISTORY), append=checkpoint.exists())
    callbacks = [EpochSeconds(), keras.callbacks.BackupAndRestore(str(checkpoint), double_checkpoint=True), log]
    try:
        model.fit(
            batches.map(lambda ids, _: ids),
            steps_per_epoch=steps_per_epoch,
            epochs=settings.epochs,
            validation_data=validation.map(lambda ids, _: ids),
            callbacks=callbacks,
            shuffle=False,
            verbose=verbose,
        )
    finally:
        log.on_train_end()  # closes the file, which Keras leaves open when training is interrupted
