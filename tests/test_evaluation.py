"""Scores against scikit-learn, and baselines that know the training split alone."""

import dataclasses

import numpy as np
import pytest
import sklearn.metrics
import tones

from lstm_zoo.data import AudioSplit
from lstm_zoo.data.texts import LABELS as FEELINGS
from lstm_zoo.data.texts import TextDataset, split_of
from lstm_zoo.errors import InvalidInputError, LstmZooError
from lstm_zoo.evaluation import Evaluation, evaluate, majority_baseline, score

LABELS = ("yes", "no", "unknown", "silence")
RANDOM = np.random.default_rng(0)
EXPECTED = RANDOM.integers(0, 4, 200)
ANSWERED = np.where(RANDOM.random(200) < 0.6, EXPECTED, RANDOM.integers(0, 4, 200))


def test_score_is_scikit_learns():
    found = score(LABELS, EXPECTED, ANSWERED)
    np.testing.assert_array_equal(found.confusion, sklearn.metrics.confusion_matrix(EXPECTED, ANSWERED))
    assert found.accuracy == pytest.approx(sklearn.metrics.accuracy_score(EXPECTED, ANSWERED))
    assert found.examples == 200
    others = EXPECTED != 3
    expected = sklearn.metrics.accuracy_score(EXPECTED[others], ANSWERED[others])
    assert found.accuracy_without("silence") == pytest.approx(expected)
    assert found.accuracy != pytest.approx(expected)


def test_rows_are_the_true_labels():
    found = score(("a", "b"), np.array([0, 0, 0]), np.array([1, 1, 0]))
    assert found.confusion == ((1, 2), (0, 0))


def test_score_goes_through_json():
    found = score(LABELS, EXPECTED, ANSWERED)
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(("expected", "answered"), [([], []), ([0, 1], [0])])
def test_answers_that_do_not_fit_are_refused(expected, answered):
    with pytest.raises(InvalidInputError, match="labels and as many answers"):
        score(LABELS, np.array(expected, int), np.array(answered, int))


class Listener:
    """Answers with the loudest of three tones, in the order it is asked to have them."""

    def __init__(self, order=(0, 1, 2)):
        self.bins = np.array(tones.HERTZ, int)[list(order)]

    def predict(self, audio, **_):
        assert (audio.dtype, np.abs(audio).max() <= 1) == (np.float32, True)
        return np.abs(np.fft.rfft(audio))[:, self.bins]


@pytest.mark.parametrize("split", ["training", "validation", "testing"])
def test_evaluate_asks_the_model_about_the_split(split):
    dataset = tones.dataset()
    right = evaluate(Listener(), dataset, split)
    assert right.accuracy == 1.0
    assert right.examples == len(getattr(dataset, split))
    assert right.labels == tones.LABELS
    assert evaluate(Listener((1, 2, 0)), dataset, split).accuracy == 0.0


class Reader:
    """Takes a text with an exclamation mark for a positive one."""

    def predict(self, texts, **_):
        assert isinstance(texts, list)
        return np.array([[0.1, 0.9] if "!" in text else [0.9, 0.1] for text in texts])


def test_evaluate_hands_over_texts():
    testing = split_of(["Dull.", "Great!", "Great."], [0, 1, 1], "abc")
    dataset = TextDataset("tiny", FEELINGS, split_of(["x"], [0], "d"), split_of(["y"], [1], "e"), testing)
    assert evaluate(Reader(), dataset).confusion == ((1, 0), (1, 1))
    assert majority_baseline(dataset).confusion == ((1, 0), (2, 0))


def test_majority_is_that_of_training():
    dataset = tones.dataset()
    labels = np.array([2] * 30 + [0] * 2, np.int32)  # of which the training split knows nothing
    testing = AudioSplit(dataset.testing.audio, labels, dataset.testing.names)
    found = majority_baseline(dataclasses.replace(dataset, testing=testing))
    assert found.accuracy == pytest.approx(2 / 32)
    assert majority_baseline(dataset).accuracy == 0.5


def test_confusion_is_drawn():
    figure = score(LABELS, EXPECTED, ANSWERED).plot()
    (axes,) = figure.axes
    assert "of 200 are right" in axes.get_title()


def test_label_that_is_none():
    with pytest.raises((ValueError, LstmZooError)):
        score(LABELS, EXPECTED, ANSWERED).accuracy_without("maybe")
