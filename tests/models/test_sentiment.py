"""Texts of any length and kind; padding that changes nothing; the model against Keras's own masked LSTM."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import tiny_model

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.models.sentiment import LONGEST_TEXT, CountTokens, SentimentConfig, TextClassifier, WordDropout, build

TEXTS = ["great", "a dull film, dull", "", "unheard gibberish", "it is great fun and great"]


@pytest.fixture(scope="module")
def model():
    return tiny_model("sentiment")


def test_probabilities_of_texts(model):
    answers = np.asarray(model(TEXTS))
    assert answers.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-6)
    assert np.ptp(answers[:, 0]) > 1e-3  # the texts make a difference


def test_answer_does_not_depend_on_what_else_is_in_the_batch(model):
    together = np.asarray(model(TEXTS))
    alone = np.concatenate([model([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("padding", [1, 30])
def test_padding_changes_nothing(model, padding):
    ids = model.tokenize(TEXTS)
    np.testing.assert_allclose(model(np.pad(ids, ((0, 0), (0, padding)))), model(ids), atol=1e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_reading_is_that_of_keras_with_masks(bidirectional):
    """The same weights in Keras's layers, whose masks stand in for the reversal and the pooling by length."""
    config = tiny_model("sentiment").config.model_dump() | {"bidirectional": bidirectional}
    model = build(SentimentConfig.create(config))
    generator = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(generator.normal(0.0, 0.5, variable.shape))
    ids = model.tokenize(TEXTS)
    x = keras.layers.Embedding(*model.get_layer("embedding").embeddings.shape, mask_zero=True)
    embedded = x(ids)
    x.set_weights(model.get_layer("embedding").get_weights())
    embedded, mask, pooled = x(ids), np.asarray(x.compute_mask(ids)), []
    for name in ("forward", "backward")[: 1 + bidirectional]:
        lstm = keras.layers.LSTM(model.config.units, return_sequences=True, go_backwards=name == "backward")
        lstm(embedded, mask=mask)
        lstm.set_weights(model.get_layer(name).get_weights())
        states = np.asarray(lstm(embedded, mask=mask))
        states = states[:, ::-1] if name == "backward" else states
        rows = [row[kept] for row, kept in zip(states, mask, strict=True)]
        pooled += [np.stack([row.mean(0) for row in rows]), np.stack([row.max(0) for row in rows])]
    kernel, bias = model.get_layer("probabilities").get_weights()
    logits = np.concatenate(pooled, axis=1) @ kernel + bias
    np.testing.assert_allclose(model(ids), keras.ops.softmax(logits), atol=1e-5)


def test_forms_that_texts_come_in(model):
    expected = model(["great"])
    for texts in (
        "great",
        b"great",
        ("great",),
        np.array(["great"]),
        np.array(["great"], object),
        tf.constant(["great"]),
    ):
        np.testing.assert_array_equal(model(texts), expected)
        np.testing.assert_array_equal(model.predict(texts, verbose=0), expected)


def test_predict_keeps_the_order(model):
    texts = [" ".join(["great"] * (number % 7) + ["dull"] * (number % 3)) for number in range(150)]
    np.testing.assert_allclose(model.predict(texts, verbose=0), model(texts), atol=1e-6)
    np.testing.assert_allclose(model.predict(texts, batch_size=7, verbose=0), model(texts), atol=1e-6)
    with pytest.raises(InvalidInputError, match="batch_size: got 0"):
        model.predict(texts, batch_size=0)


def test_predict_takes_ids_and_datasets_of_them_as_keras_does(model):
    ids = model.tokenize(TEXTS)
    np.testing.assert_allclose(model.predict(ids, verbose=0), model(ids), atol=1e-6)
    batches = tf.data.Dataset.from_tensor_slices(ids).batch(2)
    np.testing.assert_allclose(model.predict(batches, verbose=0), model(ids), atol=1e-6)


def test_predict_shows_its_progress(model, capsys):
    model.predict(TEXTS)
    assert f"{len(TEXTS)}/{len(TEXTS)}" in capsys.readouterr().out
    model.predict(TEXTS, verbose=0)
    assert capsys.readouterr().out == ""


def test_classify_names_the_label(model):
    for text, found in zip(TEXTS, model.classify(TEXTS), strict=True):
        row = np.asarray(model([text]))[0]
        assert found.label == model.labels[row.argmax()]
        assert found.probability == pytest.approx(row.max())


@pytest.mark.parametrize("tokens", [1, 10, 1_000, 10_000])
def test_texts_of_any_length(model, tokens):
    answer = np.asarray(model("great " * tokens))
    assert answer.shape == (1, 2)
    assert np.isfinite(answer).all()


def test_empty_and_unknown_texts_are_told_apart_from_padding(model):
    empty, unknown = np.asarray(model(["", "gibberish"]))
    assert np.isfinite(empty).all()
    assert not np.allclose(empty, unknown)


@pytest.mark.parametrize(
    "text", ["\x00\x01\x07", "<br /><p class='x'>great</p>", "🎉🎉 great 🎉", "سيئ جدا", "ﷺ" * 50, "\r\n\t", "'" * 9]
)
def test_odd_texts_are_answered(model, text):
    assert np.isfinite(model(text)).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "texts: got None"),
        (7, "ids: got int64 ()"),
        ([], "texts: got none"),
        ([None], "position 0 is None"),
        (["a", 3], "position 1 is 3"),
        ([["a"], ["b", "c"]], "position 0 is"),
        (b"\xff", "not UTF-8"),
        ([float("nan")], "position 0 is nan"),
        ([[1, 10**6]], "ids: got int64 (1, 2)"),
        ([[1, -1]], "ids: got int64 (1, 2)"),
        ([[0, 1]], "ids: 0 is padding"),
        ([[1, 2], [1]], "ids: the rows are of several lengths"),
        (np.zeros((2, 2)), "position 0 is"),
        ("great " * LONGEST_TEXT, "has 65,537 tokens, expected at most 65,536"),
    ],
)
def test_what_is_no_text_is_refused(model, inputs, message):
    for call in (model, model.predict):
        with pytest.raises(InvalidInputError) as caught:
            call(inputs)
        assert message in str(caught.value)


def test_word_dropout_leaves_padding_and_start(model):
    ids = np.array([[1, 5, 6, 7, 0, 0]] * 200)
    dropped = np.asarray(WordDropout(0.5)(ids, training=True))
    assert (dropped[:, 0] == 1).all()
    assert (dropped[:, 4:] == 0).all()
    assert 0.4 < (dropped[:, 1:4] == 2).mean() < 0.6
    np.testing.assert_array_equal(WordDropout(0.5)(ids, training=False), ids)


def test_tokens_are_counted_without_padding():
    np.testing.assert_array_equal(CountTokens()(np.array([[1, 3, 0], [1, 0, 0], [0, 0, 0]])), [2, 1, 0])


def test_rows_of_padding_alone_give_numbers(model):
    assert np.isfinite(model(np.zeros((2, 3), "int32"))).all()


def test_config_round_trip(model):
    again = TextClassifier.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(TEXTS), model(TEXTS))


def test_long_vocabularies_are_not_printed(model):
    assert "great" not in repr(model.config)
