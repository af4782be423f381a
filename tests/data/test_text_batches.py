"""Batches of texts: every text once an epoch, whole or a window of it, with little padding."""

import numpy as np
import pytest
import tensorflow as tf

from lstm_zoo.data import imdb
from lstm_zoo.data.text_batches import training_batches, validation_batches
from lstm_zoo.data.texts import TextSplit, split_of
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.text import PADDING, START

LENGTHS = np.random.default_rng(0).integers(1, 60, 203)  # tokens without <START>; no multiple of the batch
CROP = 40


def numbered(lengths=LENGTHS) -> TextSplit:
    """Texts that are told apart by their words: text ``n`` counts up from ``1000 * (n + 1)``."""
    texts = [" ".join(str(1000 * (n + 1) + step) for step in range(length)) for n, length in enumerate(lengths)]
    return split_of(texts, [n % 3 for n in range(len(lengths))], map(str, range(len(lengths))))


def tokenize(texts) -> tf.RaggedTensor:
    """The words are the ids."""
    ids = tf.ragged.map_flat_values(tf.strings.to_number, tf.strings.split(tf.constant(texts)), tf.int32)
    return tf.concat([tf.fill([len(texts), 1], START), ids], axis=1)


def drawn(seed=0, epochs=1, batch_size=8, crop=CROP, split=None, **options):
    """``epochs`` lists of batches ``(ids, labels)``."""
    batches, steps = training_batches(split or numbered(), tokenize, batch_size, seed, crop=crop, classes=3, **options)
    arrays = [(ids.numpy(), labels.numpy()) for ids, labels in batches.take(epochs * steps)]
    return [arrays[epoch * steps : (epoch + 1) * steps] for epoch in range(epochs)]


def rows(epoch):
    """Each row's ids without padding, and its label."""
    return [(row[row != PADDING], label) for ids, labels in epoch for row, label in zip(ids, labels, strict=True)]


def text_of(row):
    return row[1] // 1000 - 1


def padding(epoch):
    """The share of all ids that is padding."""
    return 1 - sum(np.count_nonzero(ids) for ids, _ in epoch) / sum(ids.size for ids, _ in epoch)


def test_every_text_once_an_epoch_with_its_label():
    first, second = ([(text_of(row), label) for row, label in rows(epoch)] for epoch in drawn(epochs=2))
    for epoch in (first, second):
        assert sorted(text for text, _ in epoch) == list(range(203))
        for text, label in epoch:
            np.testing.assert_array_equal(label, np.eye(3)[text % 3])
    assert [text for text, _ in first] != [text for text, _ in second]


def test_shapes_and_right_padding():
    for ids, labels in drawn()[0]:
        assert (ids.dtype, labels.dtype) == (np.int32, np.float32)
        assert len(ids) == len(labels) <= 8
        present = ids != PADDING
        assert present.sum(axis=1).max() == ids.shape[1]  # no wider than its longest
        np.testing.assert_array_equal(present, np.arange(ids.shape[1]) < present.sum(axis=1)[:, None])


def test_few_shapes_of_batches_with_the_same_texts():
    plain, few = drawn(epochs=3), drawn(epochs=3, few_shapes=True)
    shapes = [{ids.shape for ids, _ in epoch} for epoch in few]
    assert shapes[0] == shapes[1] == shapes[2]  # nothing new to compile after the first epoch
    assert len(shapes[0]) <= 2 * len({time for _, time in shapes[0]}) <= 2 * (203 // 32)
    assert len({ids.shape for ids, _ in plain[0]}) > len(shapes[0])
    for one, other in zip(plain, few, strict=True):
        texts = [sorted(row.tolist() for row, _ in rows(epoch)) for epoch in (one, other)]
        assert texts[0] == texts[1]
    assert padding(few[0]) < 0.3


def test_longer_texts_are_cut_to_a_window_behind_start():
    starts = set()
    for row, _ in (each for epoch in drawn(epochs=4) for each in rows(epoch)):
        length = LENGTHS[text_of(row)]
        assert row[0] == START
        assert len(row) == min(length + 1, CROP)
        np.testing.assert_array_equal(np.diff(row[1:]), 1)  # neighbours stay neighbours
        assert 0 <= row[1] % 1000 <= max(0, length + 1 - CROP)
        starts.add(row[1] % 1000)
    assert starts == set(range(60 - CROP))  # from the first window to the last one


def test_windows_differ_from_epoch_to_epoch():
    starts = [{text_of(row): row[1] % 1000 for row, _ in rows(epoch)} for epoch in drawn(epochs=2)]
    long = np.flatnonzero(LENGTHS >= CROP + 5)
    assert np.mean([starts[0][text] == starts[1][text] for text in long]) < 0.4


def test_same_seed_same_batches():
    one, two, other = (drawn(seed, epochs=2) for seed in (5, 5, 6))
    for epoch, same in zip(one, two, strict=True):
        for left, right in zip(epoch, same, strict=True):
            np.testing.assert_array_equal(left[0], right[0])
            np.testing.assert_array_equal(left[1], right[1])
    orders = [[text_of(row) for row, _ in rows(epochs[0])] for epochs in (one, other)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_batches_do_not_come_by_length():
    """A model must not see all short texts first."""
    widths = [ids.shape[1] for ids, _ in drawn(batch_size=2)[0]]
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.5


@pytest.mark.parametrize("texts", [1, 7, 8, 64])
def test_few_texts(texts):
    (epoch,) = drawn(split=numbered(LENGTHS[:texts]))
    assert sorted(text_of(row) for row, _ in rows(epoch)) == list(range(texts))


def test_texts_of_one_length_make_full_batches():
    (epoch,) = drawn(split=numbered([10] * 80))
    assert [ids.shape for ids, _ in epoch] == [(8, 11)] * 10


def test_texts_are_tokenised_once():
    calls = []

    def counted(texts):
        calls.append(len(texts))
        return tokenize(texts)

    batches, steps = training_batches(numbered(), counted, 8, 0, crop=CROP, classes=3)
    for _ in batches.take(3 * steps):
        pass
    assert calls == [203]


def test_validation_is_every_text_once_and_whole():
    batches = [(ids.numpy(), labels.numpy()) for ids, labels in validation_batches(numbered(), tokenize, 8, 3)]
    found = rows(batches)
    assert sorted(text_of(row) for row, _ in found) == list(range(203))
    for row, label in found:
        text = text_of(row)
        np.testing.assert_array_equal(row, [START, *range(1000 * (text + 1), 1000 * (text + 1) + LENGTHS[text])])
        np.testing.assert_array_equal(label, np.eye(3)[text % 3])
    assert [len(ids) for ids, _ in batches] == [8] * 25 + [3]
    assert padding(batches) < 0.05
    assert (batches[0][0].dtype, batches[0][1].dtype) == (np.int32, np.float32)


BAD = {
    "crop: got 1; expected at least 2": {"crop": 1},
    "batch_size: got 0; expected at least 1": {"batch_size": 0},
    "split: got no texts": {"split": numbered([])},
    "classes: got 2, but the split has the label 2": {"classes": 2},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    arguments = {"split": numbered(), "tokenize": tokenize, "batch_size": 8, "seed": 0, "crop": CROP, "classes": 3}
    with pytest.raises(InvalidInputError, match=message):
        training_batches(**(arguments | BAD[message]))


# === The real data ===


def test_little_is_padding_in_real_reviews(real_data):
    """Padded in the order of the dataset, more than half would be padding; cut at 400 tokens, a third."""
    split = imdb.load(real_data).validation

    def words(texts):
        pieces = tf.strings.split(tf.constant(texts))
        return tf.concat(
            [tf.fill([len(texts), 1], START), pieces.with_values(tf.ones_like(pieces.values, tf.int32))], 1
        )

    batches, steps = training_batches(split, words, 32, 0, crop=400, classes=2)
    epoch = [(ids.numpy(), labels.numpy()) for ids, labels in batches.take(steps)]
    assert sum(len(ids) for ids, _ in epoch) == len(split)
    assert padding(epoch) < 0.08
    assert padding([(ids.numpy(), None) for ids, _ in validation_batches(split, words, 32, 2)]) < 0.03
    assert steps < len(split) / 32 + 20
    in_order = [words(split.texts[first : first + 32]).to_tensor().numpy() for first in range(0, len(split), 32)]
    assert padding([(ids, None) for ids in in_order]) > 0.5
    assert padding([(ids[:, :400], None) for ids in in_order]) > 0.3
