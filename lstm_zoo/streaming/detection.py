"""From the probabilities of each step to words: smoothing, threshold, refractory time. Needs NumPy only."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lstm_zoo.errors import InvalidInputError

THRESHOLD = 0.7  # these three were chosen for `speech` on validation clips, by benchmarks/detection.py
SMOOTHING = 0.4  # seconds
REFRACTORY = 1.0  # seconds
IGNORED = ("silence", "unknown")


class Event(NamedTuple):
    """A word that was heard.

    ``time`` is in seconds from the beginning of the recording, where the word was decided: some tenths of a second
    after its end. ``probability`` is the smoothed one.
    """

    time: float
    label: str
    probability: float


class Detector:
    r"""Posterior handling of a keyword spotter: turns one row of probabilities after another into events.

    With :math:`p_{i,t}` the probability of label :math:`i` in answer :math:`t`, and :math:`w` answers in
    ``smoothing`` seconds,

    .. math::
        \hat p_{i,t} = \frac{1}{t - s + 1} \sum_{k=s}^{t} p_{i,k}, \quad s = \max(0, t - w + 1), \qquad
        i^* = \arg\max_i \hat p_{i,t}

    (posterior smoothing, Chen, Parada and Heigold 2014, "Small-footprint keyword spotting using deep neural
    networks"). The label :math:`i^*` is an event if it is not an ignored one, :math:`\hat p_{i^*,t}` reaches the
    ``threshold``, and no event of the same label lies less than ``refractory`` seconds back. Ignored labels are never
    events, but take part in the maximum: where "unknown" is the most probable, nothing else is heard.

    Args:
        labels: names of the probabilities, in order.
        period: seconds from one answer to the next.
        threshold: 0..1.
        smoothing: seconds; up to one ``period`` smooths nothing.
        refractory: seconds.
        ignored: labels that are no words; those that ``labels`` lacks do not matter.

    Raises:
        InvalidInputError: an argument is out of range, or ``ignored`` leaves no label.
    """

    def __init__(
        self,
        labels: Iterable[str],
        period: float,
        *,
        threshold: float = THRESHOLD,
        smoothing: float = SMOOTHING,
        refractory: float = REFRACTORY,
        ignored: Iterable[str] = IGNORED,
    ):
        self.labels = tuple(labels)
        self.ignored = (ignored,) if isinstance(ignored, str) else tuple(ignored)
        if not set(self.labels) - set(self.ignored):
            raise InvalidInputError(f"ignored: {', '.join(self.ignored)} leave none of the labels to be heard")
        self.period = _number("period", period, "seconds from one answer to the next, above 0", lowest=1e-9)
        self.threshold = _number("threshold", threshold, "a probability, 0 to 1", highest=1.0)
        self.smoothing = _number("smoothing", smoothing, "seconds, 0 or more")
        self.refractory = _number("refractory", refractory, "seconds, 0 or more")
        self._recent: deque[np.ndarray] = deque(maxlen=max(1, round(smoothing / period)))
        self._last: dict[str, float] = {}  # time of the last event of each label: at most one entry a label

    def update(self, time: float, probabilities: Any) -> Event | None:
        """The event, if any, that the answer at ``time`` brings.

        Args:
            time: seconds; never less than before.
            probabilities: float ``[labels]``.

        Raises:
            InvalidInputError: not one finite probability for each label; nothing has changed then.
        """
        row = np.asarray(probabilities, np.float64)
        if row.shape != (len(self.labels),) or not np.isfinite(row).all():
            raise InvalidInputError(
                f"probabilities: got {row.shape}, finite: {np.isfinite(row).all()}; expected one finite number for "
                f"each of the {len(self.labels)} labels"
            )
        self._recent.append(row)
        smoothed = np.mean(self._recent, axis=0)  # anew each time: a running sum would drift in hours
        best = int(smoothed.argmax())
        label, probability = self.labels[best], float(smoothed[best])
        if label in self.ignored or probability < self.threshold or self._is_refractory(label, time):
            return None
        self._last[label] = time
        return Event(time, label, probability)

    def reset(self) -> None:
        """Forget what was heard: another recording begins."""
        self._recent.clear()
        self._last.clear()

    def _is_refractory(self, label: str, time: float) -> bool:
        # A hundredth of a period is for the rounding of times, which are multiples of the period.
        return label in self._last and time - self._last[label] < self.refractory - self.period / 100


def _number(name: str, value: Any, expected: str, lowest: float = 0.0, highest: float = math.inf) -> float:
    numeric = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not numeric or not lowest <= value <= highest or math.isinf(value):
        raise InvalidInputError(f"{name}: got {value!r}; expected {expected}")
    return float(value)
