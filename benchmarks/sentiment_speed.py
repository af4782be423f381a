"""How many reviews a second a sentiment model reads and learns from, beside keras.layers.LSTM on padded reviews.

    python benchmarks/sentiment_speed.py --data DIR
    python benchmarks/sentiment_speed.py --data DIR --reviews 512 --rounds 3 --markdown

The same reviews of IMDB, cut after the same number of tokens, go through models with the same embedding, units,
directions and batch size:

padded, masked    keras.layers.LSTM as most examples have it: each review padded to that number of tokens, and an
                  embedding with mask_zero=True.
padded            the same without a mask.
in buckets        lstm_zoo's: batches of reviews of much the same length (lstm_zoo.data.text_batches), and GatedLSTM,
                  which XLA compiles for each bucket in training, as it does Adam's update (the recipe's compiled=true).

Training is an epoch of model.fit with Adam, inference an epoch of model.predict, each with its input pipeline. Keras's
layer is not compiled: under XLA its gradient takes time that grows with the square of the length. The sides take turns,
every second round in the opposite order, and a ratio is the median over the rounds: a machine that is busy for a while
slows all of them. Each side runs once before it is timed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from layers import Sheet, interleaved, ratio, verdict  # benchmarks/layers.py
from rich.console import Console

from lstm_zoo import registry
from lstm_zoo.config import override
from lstm_zoo.data import imdb
from lstm_zoo.data.text_batches import training_batches, validation_batches
from lstm_zoo.data.texts import TextSplit
from lstm_zoo.frontends.text import PADDING, tokenizer
from lstm_zoo.models import keras_lstm, sentiment
from lstm_zoo.tasks.text import TextExperiment, compile_in_training, fit_to
from lstm_zoo.training import compile_updates

TARGET = 3.0  # times as many reviews as Keras's LSTM on padded ones
MASKED, PADDED, BUCKETS = "keras.layers.LSTM, padded, masked", "keras.layers.LSTM, padded", "lstm_zoo, in buckets"

messages = Console(stderr=True)


@dataclass(frozen=True)
class Work:
    """The reviews, and how they are read."""

    split: TextSplit
    tokenize: Callable[[Any], tf.RaggedTensor]
    classes: int
    batch: int
    tokens: int  # of a review, at most

    def cut(self, texts: Any) -> tf.RaggedTensor:
        """Ids of at most so many tokens, ``[batch, (tokens)]``."""
        return self.tokenize(texts)[:, : self.tokens]

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them as int32 ``[reviews, tokens]``, and one-hot labels."""
        ids = self.cut(list(self.split.texts)).to_tensor(PADDING, shape=[None, self.tokens])
        return ids.numpy(), np.eye(self.classes, dtype="float32")[self.split.labels]


@dataclass(frozen=True)
class Side:
    """A model, and the batches that it is trained on and asked about."""

    model: keras.Model
    training: tf.data.Dataset
    asked: tf.data.Dataset

    def learn(self) -> None:
        self.model.fit(self.training, verbose=0, shuffle=False)

    def answer(self) -> None:
        self.model.predict(self.asked, verbose=0)

    def counted(self) -> tuple[int, int]:
        """Tokens that are no padding, in training and in inference."""
        seen = [sum(int(np.sum(ids != PADDING)) for ids in batches.as_numpy_iterator())
                for batches in (self.training.map(lambda ids, _: ids), self.asked)]  # fmt: skip
        return seen[0], seen[1]


def prepared(arguments: argparse.Namespace) -> tuple[Work, TextExperiment]:
    """Reviews drawn from the training split, and the settings of the registry's model with their vocabulary."""
    dataset = imdb.load(arguments.data)
    options = {f"model.{name}": value for name, value in registry.entry(arguments.model).options.items()}
    experiment = fit_to(override(TextExperiment(), options), dataset)
    drawn = np.random.default_rng(0).permutation(len(dataset.training)) < arguments.reviews
    tokenize = tokenizer(experiment.model.tokenizer, experiment.model.vocabulary)
    return Work(dataset.training.where(drawn), tokenize, 2, arguments.batch, arguments.tokens), experiment


def sides(work: Work, experiment: TextExperiment) -> dict[str, Side]:
    ids, labels = work.padded()
    plain = tf.data.Dataset.from_tensor_slices((ids, labels))
    learned = plain.shuffle(len(ids), seed=0).batch(work.batch).prefetch(4)
    asked = plain.map(lambda each, _: each).batch(work.batch).prefetch(4)
    endless, steps = training_batches(
        work.split, work.cut, work.batch, 0, crop=work.tokens, classes=work.classes, few_shapes=True
    )
    epoch = endless.take(steps).apply(tf.data.experimental.assert_cardinality(steps))
    by_length = validation_batches(work.split, work.cut, work.batch, work.classes).map(lambda each, _: each)
    found = {
        MASKED: Side(keras_lstm.build(experiment.model), learned, asked),
        PADDED: Side(keras_lstm.build(experiment.model, mask=False), learned, asked),
        BUCKETS: Side(sentiment.build(experiment.model), epoch, by_length),
    }
    compile_in_training(found[BUCKETS].model)
    for side in found.values():
        side.model.compile("adam", "categorical_crossentropy", jit_compile=False)
    compile_updates(found[BUCKETS].model.optimizer)
    if len({side.counted() for side in found.values()}) > 1:
        sys.exit("the sides read different tokens: nothing to compare")
    return found


def measured(
    title: str, calls: dict[str, Callable[[], Any]], compared: dict[str, Side], work: Work, rounds: int
) -> Sheet:
    """Reviews and tokens a second of each side, and how many times as many the last one does."""
    for name, call in calls.items():
        messages.print(f"{title}: {name}", style="dim")
        call()
    times = interleaved(calls, 0.0, least=rounds)
    tokens, _ = compared[BUCKETS].counted()
    sheet = Sheet(
        title, ("", "parameters", "reviews a second", "tokens a second", "in buckets: times as many", "rounds")
    )
    for name, taken in times.items():
        seconds = float(np.median(taken))
        faster = "" if name == BUCKETS else verdict(ratio(times, name, BUCKETS), TARGET, at_least=True)
        rates = f"{len(work.split) / seconds:,.1f}", f"{tokens / seconds:,.0f}"
        sheet.rows.append((name, f"{compared[name].model.count_params():,}", *rates, faster, str(len(taken))))
    sheet.notes.append(
        f"{len(work.split):,} reviews of {tokens / len(work.split):.0f} tokens on average, cut after {work.tokens}; "
        f"batches of {work.batch}."
    )
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="IMDB, as its loader takes it (default: as the loader looks)")
    parser.add_argument("--model", default="sentiment", help="entry that gives the sizes (default: sentiment)")
    parser.add_argument("--reviews", type=int, default=1024, help="reviews of an epoch (default: 1024)")
    parser.add_argument("--batch", type=int, default=32, help="reviews of a batch (default: 32)")
    parser.add_argument("--tokens", type=int, default=400, help="a review is cut after so many (default: 400)")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each side (default: 5)")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    arguments = parser.parse_args()
    work, experiment = prepared(arguments)
    compared = sides(work, experiment)
    learning = {name: side.learn for name, side in compared.items()}
    answering = {name: side.answer for name, side in compared.items()}
    sheets = [
        measured("Training", learning, compared, work, arguments.rounds),
        measured("Inference", answering, compared, work, arguments.rounds),
    ]
    console = Console(width=None if sys.stdout.isatty() else 220)  # in a file, every row on one line
    for sheet in sheets:
        if arguments.markdown:
            print(sheet.markdown())
        else:
            console.print(sheet.table())


if __name__ == "__main__":
    main()
