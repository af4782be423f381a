"""Batches of token ids from texts: rows of much the same length together, so that little is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lstm_zoo.data.texts import TextSplit
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.text import PADDING

Tokenize = Callable[[Sequence[str]], tf.RaggedTensor]
TEXTS_AT_ONCE = 1_000  # are tokenised together
BUCKETS = 20


def training_batches(
    split: TextSplit,
    tokenize: Tokenize,
    batch_size: int,
    seed: int,
    *,
    crop: int,
    classes: int,
    few_shapes: bool = False,
) -> tuple[tf.data.Dataset, int]:
    """Batches for ever, and how many make an epoch.

    Each text is drawn once an epoch, in another order each time. ``tf.data`` collects texts of much the same length
    until they make a batch; what is left in the buckets when the epoch ends makes smaller batches. As many texts are
    in a bucket in every epoch, so the number of batches is the same too: the sum over the buckets of their texts
    divided by ``batch_size``, rounded up.

    Args:
        split: the texts, tokenised once and kept as ids.
        tokenize: from strings ``[batch]`` to int32 ids ``[batch, (tokens)]``: a model's ``tokenizer``.
        batch_size: rows of a batch, at least 1.
        seed: the same seed gives the same batches.
        crop: tokens, at least 2. A longer text is cut, each time it is drawn, to its first token (``<START>``) and a
            random window of ``crop - 1`` tokens of the others.
        classes: how many labels there are.
        few_shapes: pad rows to the greatest length in their bucket, so that there are two shapes of each bucket, that
            of full batches and that of the last one: for layers that are compiled for each shape.

    Returns:
        ``(ids, labels)``: int32 ``[batch, time]``, padded on the right with 0, and one-hot float32
        ``[batch, classes]``; and the number of batches in an epoch.

    Raises:
        InvalidInputError: no texts, labels beyond ``classes``, or a number that is too small.
    """
    if crop < 2:
        raise InvalidInputError(f"crop: got {crop}; expected at least 2 tokens, <START> and one of the text")
    rows = _tokenized(split, tokenize, batch_size, classes)
    lengths = np.minimum(rows.lengths, crop)
    boundaries = _boundaries(lengths, batch_size)
    in_buckets = np.bincount(np.searchsorted(boundaries, lengths, side="right"))
    if few_shapes:
        boundaries = [*boundaries, int(lengths.max()) + 1]  # a bucket's rows are padded to one less
    steps = int(np.ceil(in_buckets / batch_size).sum())

    def load(row: tf.Tensor, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start, end = rows.starts[row], rows.starts[row + 1]
        length = tf.minimum(end - start, crop)
        window = tf.random.stateless_uniform([], [seed, draw], 0, end - start - length + 1, tf.int64)
        first, others = rows.ids[start : start + 1], rows.ids[start + window + 1 : start + window + length]
        return tf.concat([first, others], 0), rows.labels[row]

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(len(split), dtype=tf.int64), seed=[seed, number])
        draws = number * len(split) + tf.range(len(split), dtype=tf.int64)
        texts = tf.data.Dataset.from_tensor_slices((order, draws)).map(load, tf.data.AUTOTUNE)
        return texts.bucket_by_sequence_length(
            lambda ids, _: tf.size(ids),
            boundaries,
            [batch_size] * (len(boundaries) + 1),
            padded_shapes=([None], [classes]),
            padding_values=(PADDING, 0.0),
            pad_to_bucket_boundary=few_shapes,
        )

    return tf.data.Dataset.counter().flat_map(epoch).prefetch(4), steps


def validation_batches(split: TextSplit, tokenize: Tokenize, batch_size: int, classes: int) -> tf.data.Dataset:
    """Every text once and whole, from the shortest to the longest, in batches as of :func:`training_batches`.

    Raises:
        InvalidInputError: no texts, labels beyond ``classes``, or ``batch_size`` below 1.
    """
    rows = _tokenized(split, tokenize, batch_size, classes)
    ragged = tf.RaggedTensor.from_row_splits(rows.ids, rows.starts)
    order = tf.data.Dataset.from_tensor_slices(np.argsort(rows.lengths, kind="stable"))
    batches = order.batch(batch_size).map(
        lambda chosen: (tf.gather(ragged, chosen).to_tensor(PADDING), tf.gather(rows.labels, chosen))
    )
    return batches.prefetch(4)


@dataclass(frozen=True)
class _Rows:
    """Tokenised texts: text ``n`` is ``ids[starts[n] : starts[n + 1]]``."""

    ids: tf.Tensor  # int32 [tokens of all texts]
    starts: tf.Tensor  # int64 [texts + 1]
    labels: tf.Tensor  # float32 [texts, classes]
    lengths: np.ndarray  # int64 [texts]


def _tokenized(split: TextSplit, tokenize: Tokenize, batch_size: int, classes: int) -> _Rows:
    if batch_size < 1:
        raise InvalidInputError(f"batch_size: got {batch_size}; expected at least 1")
    if not len(split):
        raise InvalidInputError("split: got no texts; expected at least one")
    if split.labels.max() >= classes:
        raise InvalidInputError(f"classes: got {classes}, but the split has the label {split.labels.max()}")
    ids: list[Any] = []
    lengths: list[Any] = []
    with tf.device("CPU"):  # where tf.data works
        for first in range(0, len(split), TEXTS_AT_ONCE):
            tokens = tokenize(split.texts[first : first + TEXTS_AT_ONCE])
            ids.append(tokens.flat_values.numpy())
            lengths.append(tokens.row_lengths().numpy())
        counts = np.concatenate(lengths).astype(np.int64)
        starts = tf.constant(np.concatenate([[0], np.cumsum(counts)]))
        labels = tf.constant(np.eye(classes, dtype="float32")[split.labels])
        return _Rows(tf.constant(np.concatenate(ids), tf.int32), starts, labels, counts)


def _boundaries(lengths: np.ndarray, batch_size: int) -> list[int]:
    """Lengths at which a new bucket begins, so that each has as many texts; fewer buckets for few texts.

    An epoch ends with a smaller batch of every bucket: there should be many full ones for each of them.
    """
    buckets = min(BUCKETS, max(1, len(lengths) // (4 * batch_size)))
    quantiles = np.quantile(lengths, np.linspace(0.0, 1.0, buckets + 1)[1:-1], method="lower")
    return np.unique(quantiles + 1).tolist()
