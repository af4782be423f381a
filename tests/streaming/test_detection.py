"""Posterior handling: smoothing, threshold, refractory time and ignored labels, on literal arrays."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.streaming.detection import REFRACTORY, SMOOTHING, THRESHOLD, Detector, Event

LABELS = ("yes", "no", "silence")
YES, NO, SILENCE = np.eye(3)


def heard(rows: Any, period: float = 0.1, labels: tuple[str, ...] = LABELS, **options: Any) -> list[tuple[float, str]]:
    """Times and labels of the events of one answer each ``period``."""
    detector = Detector(labels, period, **options)
    events = [detector.update((number + 1) * period, row) for number, row in enumerate(rows)]
    return [(round(event.time, 6), event.label) for event in events if event]


def test_smoothing_is_the_mean_over_the_last_answers() -> None:
    detector = Detector(LABELS, 0.1, threshold=0.0, smoothing=0.3, refractory=0.0, ignored=())
    column = [0.9, 0.6, 0.3, 0.0, 0.6]
    events = [detector.update(number, [value, 0.0, 0.0]) for number, value in enumerate(column)]
    assert all(event is not None for event in events)
    smoothed = [event.probability for event in events if event]
    assert smoothed == pytest.approx([0.9, 0.75, 0.6, 0.3, 0.3]), "at first over as many as there are"


def test_a_word_has_to_reach_the_threshold() -> None:
    rows = [[0.79, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.81, 0.1]]
    assert heard(rows, threshold=0.8, smoothing=0.0) == [(0.2, "yes"), (0.3, "no")]
    assert heard(rows, threshold=0.0, smoothing=0.0, refractory=0.0)[0] == (0.1, "yes")


def test_no_second_event_of_a_word_within_the_refractory_time() -> None:
    rows = [YES] * 8
    assert heard(rows, smoothing=0.0, refractory=0.3) == [(0.1, "yes"), (0.4, "yes"), (0.7, "yes")]
    assert len(heard(rows, smoothing=0.0, refractory=0.0)) == 8
    other = [YES, NO, YES, NO]
    assert heard(other, smoothing=0.0, refractory=9.0) == [(0.1, "yes"), (0.2, "no")], "each word has its own time"


def test_times_after_days_are_compared_as_exactly_as_at_the_start() -> None:
    detector = Detector(LABELS, 0.04, smoothing=0.0, refractory=1.0)
    first = 7 * 24 * 3600 * 25
    found = [detector.update(number * 0.04, YES) for number in range(first, first + 101)]
    assert [number for number, event in enumerate(found) if event] == [0, 25, 50, 75, 100]


def test_ignored_labels_are_no_events_but_suppress() -> None:
    assert heard([SILENCE] * 5, smoothing=0.0) == []
    suppressed = [[0.45, 0.0, 0.55]]
    assert heard(suppressed, threshold=0.4, smoothing=0.0) == []
    assert heard(suppressed, threshold=0.4, smoothing=0.0, ignored=()) == [(0.1, "silence")]
    assert heard([YES], smoothing=0.0, ignored="yes") == []
    without = [[0.9, 0.1]]
    assert heard(without, labels=("yes", "no"), smoothing=0.0) == [(0.1, "yes")]


def test_reset_forgets_probabilities_and_events() -> None:
    detector = Detector(LABELS, 0.1, threshold=0.6, smoothing=0.4, refractory=100.0)
    assert detector.update(0.1, YES) == Event(0.1, "yes", 1.0)
    assert detector.update(0.2, YES) is None
    detector.reset()
    assert detector.update(0.1, NO) == Event(0.1, "no", 1.0), "nothing of yes is in the mean"
    detector.reset()
    assert detector.update(0.1, YES) == Event(0.1, "yes", 1.0)


def test_against_the_equation() -> None:
    """The recursion beside a direct evaluation of the docstring's formula over random posteriors."""
    generator = np.random.default_rng(0)
    rows = generator.dirichlet([0.4, 0.4, 0.4], 400)
    window, refractory, last, expected = 3, 0.5, {"yes": -math.inf, "no": -math.inf}, []
    for number in range(400):
        smoothed = rows[max(0, number - window + 1) : number + 1].mean(axis=0)
        label, time = LABELS[smoothed.argmax()], (number + 1) * 0.1
        if label in last and smoothed.max() >= 0.6 and time - last[label] > refractory - 1e-6:
            last[label] = time
            expected.append((round(time, 6), label))
    assert len(expected) > 20
    assert heard(rows, threshold=0.6, smoothing=0.3, refractory=refractory) == expected


@pytest.mark.parametrize(
    "probabilities", [[0.1, 0.9], [[0.1, 0.8, 0.1]], [0.1, math.nan, 0.1], [math.inf, 0.0, 0.0], []]
)
def test_wrong_probabilities_are_refused_and_change_nothing(probabilities: Any) -> None:
    detector = Detector(LABELS, 0.1, threshold=0.9, smoothing=1.0)
    with pytest.raises(InvalidInputError, match="each of the 3 labels"):
        detector.update(0.1, probabilities)
    assert detector.update(0.1, YES) == Event(0.1, "yes", 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.1}, "threshold: got 1.1; expected a probability"),
        ({"threshold": math.nan}, "threshold"),
        ({"threshold": "high"}, "threshold: got 'high'"),
        ({"smoothing": -0.1}, "smoothing"),
        ({"smoothing": math.inf}, "smoothing"),
        ({"refractory": True}, "refractory: got True"),
        ({"period": 0.0}, "period"),
        ({"ignored": LABELS}, "leave none of the labels"),
    ],
)
def test_wrong_arguments_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Detector(LABELS, **{"period": 0.1} | options)


def test_defaults_are_in_range_and_bound_the_memory() -> None:
    detector = Detector(LABELS, 0.04)
    assert (detector.threshold, detector.smoothing, detector.refractory) == (THRESHOLD, SMOOTHING, REFRACTORY)
    for number in range(1000):
        detector.update(number * 0.04, YES)
    assert len(detector._recent) == round(SMOOTHING / 0.04)


def test_needs_no_tensorflow() -> None:
    code = "import sys, lstm_zoo.streaming.detection; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
