import numpy as np
import pytest
import tensorflow as tf

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters.representative import MOST, representative_arrays

AUDIO = (tf.TensorSpec((1, 6), tf.float32, name="audio"),)
BOTH = (tf.TensorSpec((1, 4), tf.int32, name="ids"), tf.TensorSpec((1, 2, 3), tf.float32, name="series"))


def test_one_array_is_of_the_one_input():
    data = np.arange(18.0).reshape(3, 6)
    (given,) = representative_arrays(data, AUDIO).items()
    assert given[0] == "audio"
    assert given[1].dtype == np.float32
    np.testing.assert_array_equal(given[1], data)
    np.testing.assert_array_equal(representative_arrays(data.tolist(), AUDIO)["audio"], data)


def test_forms_of_several_inputs_are_the_same():
    ids, series = np.arange(8).reshape(2, 4), np.ones((2, 2, 3))
    forms = [
        [ids, series],
        {"series": series, "ids": ids},
        lambda: ([ids[at : at + 1], series[at : at + 1]] for at in range(2)),
    ]
    for form in forms:
        arrays = representative_arrays(form, BOTH)
        assert arrays["ids"].dtype == np.int32
        np.testing.assert_array_equal(arrays["ids"], ids)
        np.testing.assert_array_equal(arrays["series"], series)


def test_tensorflows_own_form_is_taken():
    rows = np.random.default_rng(0).standard_normal((5, 6)).astype("float32")
    given = representative_arrays(lambda: ([row[None]] for row in rows), AUDIO)
    np.testing.assert_array_equal(given["audio"], rows)


def test_no_more_are_kept_than_help():
    assert len(representative_arrays(np.zeros((MOST + 5, 6)), AUDIO)["audio"]) == MOST
    many = np.arange(2 * MOST)[:, None] * np.ones((1, 6))
    assert representative_arrays(many, AUDIO)["audio"][-1, 0] == 2 * MOST - 1  # of all, not the first ones
    endless = iter(lambda: [np.zeros((1, 6))], None)
    assert len(representative_arrays(lambda: endless, AUDIO)["audio"]) == MOST


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((0, 6)), r"at least one example, got float64 of shape \[0, 6\]"),
        (np.zeros((3, 5)), r"expected \[count, 6\] float32 for audio.*\[3, 5\]"),
        (np.zeros(6), r"\[6\]"),
        (np.zeros((3, 6), "int16"), "got int16"),
        (np.full((3, 6), np.nan), "NaN"),
        ([[1.0, 2.0], [1.0]], r"expected \[count, 6\] float32"),
        (["a"], "got <U1"),
        ({"sound": np.zeros((3, 6))}, r"\['sound'\].*\['audio'\]"),
        (lambda: iter(()), "gave 0 examples"),
        (lambda: iter([[np.zeros((1, 6)), np.zeros((1, 6))]]), "a list of 1 arrays"),
        (lambda: iter([[np.zeros((1, 6))], [np.zeros((1, 5))]]), "arrays of different shapes"),
        (lambda: 5, "the function gave 5"),
        (lambda: [[[[1.0, 2.0], [1.0]]]], "gave what is no array"),
        (lambda: [[5.0]], "with a batch of one"),
    ],
)
def test_what_does_not_fit_is_refused(data, message):
    with pytest.raises(InvalidInputError, match=f"(?s)representative_data: .*{message}"):
        representative_arrays(data, AUDIO)


def test_inputs_must_be_as_many():
    with pytest.raises(InvalidInputError, match="as many examples of each input"):
        representative_arrays([np.zeros((2, 4), int), np.zeros((3, 2, 3))], BOTH)
    with pytest.raises(InvalidInputError, match="an array for each of the inputs"):
        representative_arrays([np.zeros((2, 4), int)], BOTH)
