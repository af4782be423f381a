"""A model that listens: samples in pieces of any length in, words out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.pcm import MOST_CHANNELS, as_pcm
from lstm_zoo.streaming.detection import IGNORED, REFRACTORY, SMOOTHING, THRESHOLD, Detector, Event
from lstm_zoo.streaming.sources import HIGHEST_RATE, LOWEST_RATE
from lstm_zoo.streaming.steps import StepModel

if TYPE_CHECKING:
    from lstm_zoo.models.speech import KeywordSpotter


class Answer(NamedTuple):
    """What the model says ``time`` seconds into the recording; ``probabilities`` is float32 ``[labels]``."""

    time: float
    probabilities: np.ndarray


class Stream:
    """One recording, heard while it is made: memory and work for a second of sound stay the same for hours.

        >>> stream = model.stream(sample_rate=44_100)
        >>> for chunk in microphone:
        ...     for event in stream.feed(chunk):
        ...         print(event.label, event.time)

    Chunks may have any length; the answers do not depend on where the recording is cut. Before its beginning there
    is silence.

    Args:
        model: a keyword spotter, such as ``lstm_zoo.get("speech")``.
        sample_rate: of what is fed, 1,000 to 384,000 hertz; the model's own where ``None``. Other rates are resampled.
        streaming: ``"sliding"``: each answer is what the model says to the last clip (one second for the pretrained
            models). ``"continuous"``: to everything since the beginning; for models whose recurrent layers are
            trained so.
        hop: seconds from one answer to the next, rounded to whole steps of the model; one step where ``None`` (40 ms
            for ``speech``). Longer ones are less work.
        threshold, smoothing, refractory, ignored: see :class:`lstm_zoo.streaming.detection.Detector`.

    Attributes:
        period: seconds from one answer to the next.

    Raises:
        InvalidInputError: an argument is out of range, or the model cannot be run in this way.
    """

    def __init__(
        self,
        model: KeywordSpotter,
        *,
        sample_rate: int | None = None,
        streaming: Literal["sliding", "continuous"] = "sliding",
        hop: float | None = None,
        threshold: float = THRESHOLD,
        smoothing: float = SMOOTHING,
        refractory: float = REFRACTORY,
        ignored: Iterable[str] = IGNORED,
    ):
        self._model_rate = model.config.front_end.sample_rate
        self._rate = self._model_rate if sample_rate is None else _whole_hertz(sample_rate)
        self._clip = model.config.clip_samples
        steps = StepModel(model, streaming)
        at_once = _steps(hop, self._clip / self._model_rate, steps.stride / self._model_rate)
        self._block = at_once * steps.stride
        self.period = self._block / self._model_rate
        self._detector = Detector(
            model.labels,
            self.period,
            threshold=threshold,
            smoothing=smoothing,
            refractory=refractory,
            ignored=ignored,
        )
        self._step = tf.function(steps, input_signature=[steps.block(at_once), steps.states])
        self._fresh = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in steps.states.items()}
        self._warm_up = math.ceil(steps.warm_up / at_once)  # the number of the first answer that means something
        self.reset()
        if streaming == "sliding":  # the clip before the first sample is silence, as in clips that are padded
            self._answer(np.zeros(self._warm_up * self._block, np.float32))
            self._fresh, self._warm_up = self._states, 0
            self.reset()

    @property
    def time(self) -> float:
        """Seconds heard since the beginning of the recording."""
        return self._heard / self._rate

    def feed(self, samples: Any) -> list[Event]:
        """The words that the next piece of the recording brings, in the order of their times.

        Args:
            samples: ``[samples]``, or ``[samples, channels]`` with at most 8 channels, which are mixed down; float in
                -1..1, or integers of up to 32 bits, scaled by the range of their type. None at all are no error.

        Raises:
            InvalidInputError: not samples of one recording, or NaN or infinite ones. Nothing of them has been heard
                then, and the stream goes on.
        """
        return self._events(self.answers(samples))

    def answers(self, samples: Any) -> list[Answer]:
        """What the model says after each hop within the next piece of the recording, without looking for words.

        A recording is either fed or answered: words that end in a piece which went through here are not events.

        Raises:
            InvalidInputError: see :meth:`feed`.
        """
        mono = _one_recording(samples)
        self._heard += len(mono)
        return self._answer(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def flush(self) -> list[Event]:
        """The words that only the silence after the end of the recording makes certain; another one can follow.

        One clip's length of silence is heard. No event has a time after the end.
        """
        end = self.time
        tail = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True) if self._resampler else []
        left = len(self._pending) + len(tail) + self._clip
        events = self._events(self._answer(np.concatenate([tail, np.zeros(self._clip + -left % self._block)])))
        self.reset()
        return [event._replace(time=min(event.time, end)) for event in events]

    def reset(self) -> None:
        """Forget what was heard: another recording begins, at 0 seconds."""
        self._heard = 0  # samples at the rate of what is fed
        self._steps = 0
        self._pending = np.zeros(0, np.float32)  # at the model's rate, less than a block
        self._states = self._fresh
        self._resampler = _resampler(self._rate, self._model_rate)
        self._detector.reset()

    def _answer(self, samples: np.ndarray) -> list[Answer]:
        """Run the model over all whole blocks; what is left waits for more."""
        samples = np.concatenate([self._pending, samples], dtype=np.float32)
        answers = []
        whole = len(samples) // self._block * self._block
        for block in samples[:whole].reshape(-1, 1, self._block):
            outputs, self._states = self._step(tf.constant(block), self._states)
            self._steps += 1  # counted, as adding up seconds would drift
            if self._steps >= self._warm_up:
                (probabilities,) = outputs.values()
                answers.append(Answer(self._steps * self._block / self._model_rate, probabilities.numpy()[0]))
        self._pending = samples[whole:].copy()  # a view would keep all the samples
        return answers

    def _events(self, answers: Iterable[Answer]) -> list[Event]:
        found = (self._detector.update(*answer) for answer in answers)
        return [event for event in found if event]


def _one_recording(samples: Any) -> np.ndarray:
    """float32 ``[samples]``. Two axes are samples and channels even in a chunk of fewer samples than channels."""
    array = np.asarray(samples)
    if array.size == 0 and array.ndim in (1, 2):
        return np.zeros(0, np.float32)
    if array.ndim == 2 and array.shape[1] <= MOST_CHANNELS:
        array = array[None]
    recordings = as_pcm(array)
    if len(recordings) != 1:
        raise InvalidInputError(
            f"samples: expected [samples] or [samples, channels] of one recording, got {len(recordings)} recordings; "
            "make a stream for each"
        )
    return recordings[0]


def _resampler(from_rate: int, to_rate: int) -> Any:
    if from_rate == to_rate:
        return None
    import soxr

    return soxr.ResampleStream(from_rate, to_rate, num_channels=1, dtype="float32")


def _whole_hertz(rate: Any) -> int:
    whole = isinstance(rate, int | np.integer) and not isinstance(rate, bool)
    if not whole or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InvalidInputError(
            f"sample_rate: got {rate!r}; expected whole hertz from {LOWEST_RATE} to {HIGHEST_RATE}, such as 16000: "
            "give the rate at which the sound was recorded"
        )
    return int(rate)


def _steps(hop: Any, longest: float, step: float) -> int:
    """How many steps of ``step`` seconds are one hop."""
    if hop is None:
        return 1
    if isinstance(hop, bool) or not isinstance(hop, int | float) or not 0.0 < hop <= longest:
        raise InvalidInputError(f"hop: got {hop!r}; expected seconds above 0, at most a clip's {longest:g}")
    return max(1, round(hop / step))
