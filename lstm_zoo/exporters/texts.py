"""Models of text: their ids where an exporter needs ids, and entries of files that take the text itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters.probes import PROBE_SEED
from lstm_zoo.exporters.signatures import WHOLE, Signature, output_names
from lstm_zoo.frontends.text import PADDING, SPECIAL_TOKENS, START, as_texts

if TYPE_CHECKING:
    import keras

TEXT = "text"  # the signature of a SavedModel beside the one that takes ids
AT_ONCE = 1_000  # texts
MOST_WORDS = 1_000  # of a probe
# What tokenizers stumble over: one after each of the probes.
ODD_ENDS = ("", "", "<br />", "\U0001f600 \u05e9\u05dc\u05d5\u05dd", "\t\x00 ...", " e\u0301 \u4e2d", "'s!", "")


def takes_texts(model: keras.Model) -> bool:
    """Whether ``model`` is one of text, with a tokenizer."""
    return hasattr(model, "tokenize")


def are_texts(given: Any) -> bool:
    """Whether ``given`` is a text or a list or array of them; an array of a whole test split would fill the memory."""
    if isinstance(given, str | bytes):
        return True
    return hasattr(given, "__getitem__") and hasattr(given, "__len__") and len(given) > 0 and _is_text(given)


def _is_text(given: Any) -> bool:
    return not isinstance(given, dict) and isinstance(given[0], str | bytes)


def as_ids(model: keras.Model, given: Any, length: int | None) -> Any:
    """Texts as int32 ids ``[count, length]``, cut or padded; as long as the longest where ``length`` is None.

    What are no texts, or for a model that takes none, is given back.

    Raises:
        InvalidInputError: one of the texts is none.
    """
    if not takes_texts(model) or not are_texts(given):
        return given
    texts = as_texts(given)
    parts = [model.tokenize(texts[at : at + AT_ONCE])[:, :length] for at in range(0, len(texts), AT_ONCE)]
    width = length or max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])


def probe_texts(vocabulary: tuple[str, ...]) -> tuple[str, ...]:
    """Seeded words of ``vocabulary``, from none to 1,000 of them in a text, and what tokenizers stumble over."""
    random = np.random.RandomState(PROBE_SEED % 2**32)
    words = [line.split(" ")[0].removeprefix("##") for line in vocabulary[len(SPECIAL_TOKENS) :]]
    counts = (0, *np.geomspace(1, MOST_WORDS, len(ODD_ENDS) - 1).astype(int))
    drawn = [" ".join(words[int(place * len(words))] for place in random.uniform(size=count)) for count in counts]
    return tuple(text + odd for text, odd in zip(drawn, ODD_ENDS, strict=True))


def open_signature(model: keras.Model) -> Signature:
    """``text``: UTF-8 strings ``[batch]`` to the outputs of ``model``, for a SavedModel."""

    def ids(texts: tf.Tensor) -> tf.Tensor:
        return model.tokenizer(texts).to_tensor(PADDING)

    return _signature(model, TEXT, None, ids)


def fixed_signature(model: keras.Model, length: int) -> Signature:
    """``serving_default`` of one string, of which the first ``length`` tokens are read, for TFLite.

    Raises:
        InvalidInputError: ``model`` takes no text, or cuts it with operators that no TFLite runtime has.
    """
    if not takes_texts(model):
        raise InvalidInputError(f"text: {model.name} takes no text; leave text=True out")
    if not hasattr(model.tokenizer, "pieces"):
        raise InvalidInputError(
            f"text: {model.name} cuts words with a regular expression, for which TFLite has no operator; use "
            "profile='mediapipe', whose files have expression and vocabulary for MediaPipe's TextClassifier, or a "
            "model of subwords"
        )

    def ids(texts: tf.Tensor) -> tf.Tensor:
        # Put together here and not as ragged tensors, for which tensorflow-text brings fewer operators.
        pieces = model.tokenizer.pieces(texts).to_tensor(PADDING, shape=(texts.shape[0], length - 1))
        return tf.concat([tf.fill([texts.shape[0], 1], START), pieces], axis=1)

    return _signature(model, WHOLE, 1, ids)


def _signature(model: keras.Model, name: str, batch: int | None, ids: Any) -> Signature:
    outputs = output_names(model)

    def call(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = model(ids(texts), training=False)
        return dict(zip(outputs, tf.nest.flatten(answers), strict=True))

    tables = [part for part in vars(model.tokenizer).values() if isinstance(part, tf.lookup.StaticHashTable)]
    return Signature(name, (tf.TensorSpec([batch], tf.string, "texts"),), call, tuple(tables))
