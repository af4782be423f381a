"""Scale and bias that make probabilities mean what they say."""

import keras
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from tiny import tiny_model

from lstm_zoo.calibration import calibrate, fit_calibration
from lstm_zoo.data.texts import split_of
from lstm_zoo.errors import InvalidInputError


def drawn(classes, examples=20_000):
    """True probabilities, and labels that were drawn from them."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (examples, classes))
    true = softmax(logits, axis=1)
    labels = (random.uniform(size=(examples, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return true, np.minimum(labels, classes - 1)


@pytest.mark.parametrize("classes", [2, 5])
def test_what_was_bent_is_straightened(classes):
    true, labels = drawn(classes)
    bias = np.linspace(0, 1, classes)
    bent = softmax(2.0 * np.log(true) + bias, axis=1)
    found = fit_calibration(bent, labels)
    assert found.scale == pytest.approx(0.5, rel=0.05)
    assert found.bias == pytest.approx(-0.5 * bias, abs=0.06)
    straight = softmax(found.scale * np.log(bent) + found.bias, axis=1)
    assert np.abs(straight - true).max() < 0.03


def test_of_two_labels_it_is_logistic_regression():
    true, labels = drawn(2, 500)
    bent = softmax(3 * np.log(true) + [0.5, 0], axis=1)
    odds = np.log(bent[:, 1] / bent[:, 0])
    expected = LogisticRegression(C=1e9, tol=1e-9).fit(odds[:, None], labels)
    found = fit_calibration(bent, labels)
    assert found.scale == pytest.approx(expected.coef_[0, 0], rel=1e-3)
    assert found.bias[1] == pytest.approx(expected.intercept_[0], rel=1e-3)


def test_certain_answers_do_no_harm():
    found = fit_calibration(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0, 1, 1, 0]))
    assert np.isfinite([found.scale, *found.bias]).all()


def test_a_label_without_examples_is_an_error():
    with pytest.raises(InvalidInputError, match="none is 1"):
        fit_calibration(np.full((4, 3), 1 / 3), np.array([0, 2, 0, 2]))


def test_model_answers_as_calibrated_and_ranks_as_before():
    keras.utils.set_random_seed(1)
    model = tiny_model("sentiment")
    texts = ["great film", "dull", "not so great", "a film", "great", "it's dull", "not great", "so so"]
    split = split_of(texts, [1, 0, 0, 1, 1, 0, 1, 0], map(str, range(8)))
    before = model.predict(texts, verbose=0)
    found = calibrate(model, split)
    after = model.predict(texts, verbose=0)
    np.testing.assert_allclose(after, softmax(found.scale * np.log(before) + found.bias, axis=1), atol=1e-6)
    np.testing.assert_array_equal(np.argsort(after[:, 1]), np.argsort(before[:, 1]))
