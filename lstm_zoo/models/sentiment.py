"""Sentiment: texts to the probability of negative and positive."""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from lstm_zoo.config import ModelConfig
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.text import PADDING, START, UNKNOWN, as_texts, tokenizer
from lstm_zoo.layers import GatedLSTM

TEXTS_AT_ONCE = 64
CLIP_TOKENS = 256  # of an exported file with a fixed length
LONGEST_TEXT = 65_536  # tokens; bounds the memory that a text takes to some 2 GB

# === Layers ===


@keras.saving.register_keras_serializable(package="lstm_zoo")
class CountTokens(keras.layers.Layer):
    """How many tokens each row has before its padding: int32 ids ``[batch, time]`` to int32 ``[batch]``."""

    def call(self, ids: Any) -> Any:
        return tf.reduce_sum(tf.cast(tf.not_equal(ids, PADDING), tf.int32), axis=1)


@keras.saving.register_keras_serializable(package="lstm_zoo")
class WordDropout(keras.layers.Layer):
    """Replaces tokens by ``<UNKNOWN>`` at random while training, each with probability ``rate``.

    Iyyer et al. 2015 (doi:10.3115/v1/P15-1162) leave words out; replaced, they keep the others' places.
    """

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, ids: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return ids
        hit = keras.random.uniform(tf.shape(ids), seed=self.seed_generator) < self.rate
        return tf.where(hit & (ids > START), UNKNOWN, ids)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rate": self.rate}


@keras.saving.register_keras_serializable(package="lstm_zoo")
class ReverseSequence(keras.layers.Layer):
    """Reverses each row up to its length and leaves the padding after it where it is.

    Inputs: ``[batch, time, features]`` and int32 lengths ``[batch]``. An LSTM that reads rows so turned around needs no
    mask to read backwards: the padding comes after all that counts.
    """

    float_in_int8 = True  # TFLite's operator does not take 8 bits

    def call(self, inputs: Any, lengths: Any) -> Any:
        return tf.reverse_sequence(inputs, lengths, seq_axis=1)

    def compute_output_shape(self, input_shape: Any, *_: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="lstm_zoo")
class PoolTokens(keras.layers.Layer):
    """Mean and maximum over the first ``lengths`` steps: ``[batch, time, features]`` to ``[batch, 2 * features]``."""

    float_in_int8 = True  # 8 bits are too few for the sum over a long text and for its length

    def call(self, inputs: Any, lengths: Any) -> Any:
        present = tf.sequence_mask(lengths, tf.shape(inputs)[1], inputs.dtype)
        present = tf.expand_dims(present, 2)  # [batch, time, 1]; TFLite has no [..., None] for open shapes
        count = tf.expand_dims(tf.maximum(tf.cast(lengths, inputs.dtype), 1), 1)
        mean = tf.reduce_sum(inputs * present, 1) / count
        highest = tf.reduce_max(inputs * present - 2.0 * (1.0 - present), 1)  # an LSTM's outputs are above -1
        return tf.concat([mean, tf.maximum(highest, -1.0)], -1)


# === Functional Model ===


def build(config: SentimentConfig) -> TextClassifier:
    """``[batch, time]`` int32 token ids, padded on the right with 0, to ``[batch, labels]`` probabilities.

    No mask enters the recurrence, so cuDNN and TFLite's own LSTM operator can run it: padding comes after all tokens
    that count, forwards and, through :class:`ReverseSequence`, backwards; :class:`PoolTokens` leaves it out.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    lengths = CountTokens(name="lengths")(ids)
    x = WordDropout(config.word_dropout, name="word_dropout")(ids)
    x = keras.layers.Embedding(len(config.vocabulary), config.embedding, name="embedding")(x)
    x = keras.layers.SpatialDropout1D(config.embedding_dropout, name="embedding_dropout")(x)
    outputs = [GatedLSTM(config.units, return_sequences=True, name="forward")(x)]
    if config.bidirectional:
        backwards = ReverseSequence(name="reverse")(x, lengths)
        outputs.append(GatedLSTM(config.units, return_sequences=True, name="backward")(backwards))
    pooled = [PoolTokens(name=f"pool_{number}")(each, lengths) for number, each in enumerate(outputs, start=1)]
    x = keras.layers.Concatenate(name="features")(pooled) if len(pooled) > 1 else pooled[0]
    x = keras.layers.Dropout(config.dropout, name="dropout")(x)
    probabilities = keras.layers.Dense(len(config.labels), activation="softmax", name="probabilities")(x)
    return TextClassifier(ids, probabilities, config)


class Sentiment(NamedTuple):
    """What one text says."""

    label: str
    probability: float
    probabilities: np.ndarray  # [labels]


@keras.saving.register_keras_serializable(package="lstm_zoo")
class TextClassifier(keras.Model):
    """A model that takes texts; what users hold in their hands.

    Calls and ``predict`` take a text, a list of texts, or int32 token ids ``[batch, time]``.

    Attributes:
        config: what was built. labels: names of the outputs, in order. card: what is known of the weights.
        tokenizer: from texts to ids, as TensorFlow operations.
    """

    def __init__(self, inputs: Any, outputs: Any, config: SentimentConfig, **kwargs: Any):
        super().__init__(inputs, outputs, name=kwargs.pop("name", "sentiment"), **kwargs)
        self.config = config
        self.card = "No weights have been loaded: the model is untrained."

    @property
    def labels(self) -> tuple[str, ...]:
        return self.config.labels

    @functools.cached_property
    def tokenizer(self) -> Any:
        with tf.init_scope():  # its tables outlive the function that is traced when it is first asked for
            return tokenizer(self.config.tokenizer, self.config.vocabulary)

    def tokenize(self, texts: Any) -> np.ndarray:
        """Texts to int32 ids ``[batch, time]``, padded on the right with 0 to the longest.

        Raises:
            InvalidInputError: see :func:`lstm_zoo.frontends.text.as_texts`; or a text has more than
                :data:`LONGEST_TEXT` tokens.
        """
        ids = self.tokenizer(tf.constant(as_texts(texts)))
        longest = int(ids.bounding_shape()[1])
        if longest > LONGEST_TEXT:
            row = int(tf.argmax(ids.row_lengths()))
            raise InvalidInputError(
                f"texts: the text at position {row} has {longest:,} tokens, expected at most {LONGEST_TEXT:,}; "
                "cut it into parts, such as its paragraphs"
            )
        return np.asarray(ids.to_tensor(PADDING))

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        has_raw_ids = tf.is_tensor(inputs) and inputs.dtype != tf.string  # whose way through the layers may be watched
        if _is_raw(inputs) and not has_raw_ids and not args and not any(kwargs.values()):
            return self._graph(self._prepare(inputs))
        return super().__call__(self._prepare(inputs), *args, **kwargs)

    @functools.cached_property
    def _graph(self) -> Any:
        """The model as one TensorFlow function: calling the layers one by one takes many times as long."""
        return tf.function(
            lambda ids: keras.Model.__call__(self, ids, training=False),
            input_signature=[tf.TensorSpec((None, None), tf.int32)],
            autograph=False,
        )

    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = "auto", **kwargs: Any) -> np.ndarray:
        """Probabilities ``[batch, labels]``, float32.

        Texts are taken in the order of their lengths, so that little is padding, and fewer at once where they are long.

        Args:
            x: texts, or what :meth:`keras.Model.predict` takes.
            batch_size: texts at once, 64 where ``None``.
            verbose: 0 for no progress bar.

        Raises:
            InvalidInputError: the texts are none, or ``batch_size`` is no number of texts.
        """
        if batch_size is not None and batch_size < 1:
            raise InvalidInputError(f"batch_size: got {batch_size}; expected at least 1, or None")
        if not _is_raw(x) or _has_ids(x):
            return super().predict(self._prepare(x), batch_size=batch_size, verbose=verbose, **kwargs)
        texts = as_texts(x)
        batches = _batches([len(text) for text in texts], batch_size or TEXTS_AT_ONCE)
        bar = keras.utils.Progbar(len(texts), verbose=1 if verbose == "auto" else int(verbose), unit_name="text")
        answers = np.empty((len(texts), len(self.labels)), "float32")
        for batch in batches:
            answers[batch] = self([texts[number] for number in batch])
            bar.add(len(batch))
        return answers

    def _prepare(self, inputs: Any) -> Any:
        """Ids ``[batch, time]`` from whatever is raw; numbers in functions that are being traced pass untouched."""
        if not _is_raw(inputs):
            return inputs
        if tf.is_tensor(inputs) and not _is_eager(inputs):
            return self.tokenizer(inputs).to_tensor(PADDING)
        return self._checked(inputs) if _has_ids(inputs) else self.tokenize(inputs)

    def _checked(self, inputs: Any) -> np.ndarray:
        try:
            ids = np.asarray(inputs)
        except ValueError:
            raise InvalidInputError("ids: the rows are of several lengths; pad them on the right with 0") from None
        if (
            ids.dtype.kind not in "iu"
            or ids.ndim != 2
            or 0 in ids.shape
            or ids.min() < 0
            or ids.max() >= len(self.config.vocabulary)
        ):
            raise InvalidInputError(
                f"ids: got {ids.dtype} {ids.shape}, expected integers [batch, time] with ids from 0 to "
                f"{len(self.config.vocabulary) - 1}"
            )
        if (np.diff((ids != PADDING).astype(int), axis=1) > 0).any():
            raise InvalidInputError("ids: 0 is padding, and belongs after all of a row's tokens")
        return ids.astype("int32")

    def classify(self, texts: Any) -> list[Sentiment]:
        """What each of the texts says."""
        return [Sentiment(self.labels[row.argmax()], float(row.max()), row) for row in self.predict(texts, verbose=0)]

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(mode="json")}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TextClassifier:
        return build(SentimentConfig.create(config["config"]))


def _is_raw(inputs: Any) -> bool:
    """All but numbers as Keras takes them: what TensorFlow would say of a ``None`` or a string helps nobody."""
    if isinstance(inputs, keras.KerasTensor):
        return False
    if tf.is_tensor(inputs):
        return _is_eager(inputs) or inputs.dtype == tf.string
    return not isinstance(inputs, dict | tf.data.Dataset)


def _is_eager(tensor: Any) -> bool:
    return hasattr(tensor, "numpy")


def _has_ids(inputs: Any) -> bool:
    """Whether ``inputs`` are numbers, by the first of them: an array of many texts would be as wide as the longest."""
    first = inputs
    while isinstance(first, list | tuple) and first:
        first = first[0]
    return np.asarray(first).dtype.kind in "iu"


def _batches(lengths: list[int], rows: int) -> list[np.ndarray]:
    """Numbers of texts, the shortest first, so that no batch is of more than ``rows`` texts or the longest allowed."""
    batches: list[list[int]] = [[]]
    for number in np.argsort(lengths, kind="stable").tolist():
        # A token has a character at least, and mostly five; it is memory that has to be bounded, not to be foreseen.
        if batches[-1] and (len(batches[-1]) == rows or lengths[number] * (len(batches[-1]) + 1) > 4 * LONGEST_TEXT):
            batches.append([])
        batches[-1].append(number)
    return [np.array(batch) for batch in batches]


# === Config ===


class SentimentConfig(ModelConfig):
    """What :func:`build` builds; a token's id is its position in ``vocabulary``."""

    family: Literal["sentiment"] = "sentiment"
    labels: tuple[str, ...] = Field(("negative", "positive"), min_length=2, max_length=1000)
    tokenizer: Literal["words", "subwords"] = "words"
    vocabulary: tuple[str, ...] = Field(repr=False, min_length=4, max_length=1_000_000)
    embedding: int = Field(96, ge=1, le=4096)
    units: int = Field(96, ge=1, le=4096)
    bidirectional: bool = True
    word_dropout: float = Field(0.1, ge=0.0, lt=1.0)
    embedding_dropout: float = Field(0.3, ge=0.0, lt=1.0)
    dropout: float = Field(0.5, ge=0.0, lt=1.0)

    @property
    def streaming(self) -> bool:
        """Whether the answer can be kept up to date word by word, without reading what is still to come."""
        return not self.bidirectional

    @property
    def clip_tokens(self) -> int:
        """Tokens that exported files of fixed length take where no other length is asked for."""
        return CLIP_TOKENS


CONFIG = SentimentConfig

# What tuning draws from, by the names of the recipe's settings.
SEARCH_SPACE: dict[str, tuple[Any, ...]] = {
    "model.embedding": (32, 64, 96, 128),
    "model.units": (32, 48, 64, 96, 128),
    "model.word_dropout": (0.0, 0.1, 0.2, 0.3),
    "model.embedding_dropout": (0.1, 0.3, 0.5),
    "model.dropout": (0.3, 0.5),
    "training.batch_size": (32, 64, 128),
    "training.epochs": (3, 5, 8),
    "training.learning_rate": (1.5e-3, 4e-3, 1.2e-2),
    "training.epsilon": (1e-7, 2e-4, 2e-3),
}
