"""Streams: the answers do not depend on the chunks, and are those of the model to the same second of sound."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import Any

import keras
import numpy as np
import pytest
import soxr
from tones import HERTZ, MODEL, RATE

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.models import speech
from lstm_zoo.streaming import Answer, Stream

# A second of this recording differs from every other one, so that an answer cannot be right by chance.
SAMPLES = np.random.default_rng(0).normal(0.0, 0.1, 3 * RATE).astype("float32")
SAMPLES += 0.3 * np.sin(np.cumsum(np.linspace(0.1, 1.5, len(SAMPLES)))).astype("float32")


def small(**options: Any) -> Any:
    """A keyword spotter of a few weights, none of which has its initial value."""
    keras.utils.set_random_seed(1)
    model = speech.build(speech.SpeechConfig.create(MODEL | options))
    generator = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(generator.normal(0.3, 0.4, variable.shape) ** 2)  # positive: variances are among them
    return model


@pytest.fixture(scope="module")
def model() -> Any:
    return small()


@pytest.fixture(scope="module")
def shared(model: Any) -> Stream:
    return Stream(model, threshold=0.0, smoothing=0.1, refractory=0.2)


@pytest.fixture
def stream(shared: Stream) -> Stream:
    """At the beginning of a recording; its function is traced once for all tests."""
    shared.reset()
    return shared


def table(answers: list[Answer]) -> tuple[np.ndarray, np.ndarray]:
    """Times ``[n]`` and probabilities ``[n, labels]``."""
    return np.array([each.time for each in answers]), np.stack([each.probabilities for each in answers])


def in_chunks(stream: Stream, samples: np.ndarray, lengths: Any) -> list[Answer]:
    """All answers, from chunks of the given lengths in turn."""
    answers, start = [], 0
    for length in itertools.cycle(lengths):
        if start >= len(samples):
            return answers
        answers += stream.answers(samples[start : start + length])
        start += length
    return answers


def offline(model: Any, samples: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The model's own answer to the second before each time, silence before the beginning; ``[n, labels]``."""
    padded = np.concatenate([np.zeros(RATE, np.float32), samples])
    windows = np.stack([padded[end : end + RATE] for end in np.round(times * RATE).astype(int)])
    return np.asarray(keras.Model.__call__(model, windows, training=False))


# === Answers ===


@pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_answer_is_the_models_own_to_the_last_second(pooling: str, bidirectional: bool) -> None:
    other = small(pooling=pooling, bidirectional=bidirectional, layers=2)
    times, probabilities = table(other.stream().answers(SAMPLES))
    assert len(times) == len(SAMPLES) // 128
    np.testing.assert_allclose(times, 128 / RATE * np.arange(1, len(times) + 1))
    expected = offline(other, SAMPLES, times + latency(other))
    assert np.ptp(expected, axis=0).max() > 1e-3, "the model tells the seconds apart"
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


def latency(model: Any) -> float:
    """Seconds from the last step's end to the end of the clip that the step model places around it."""
    from lstm_zoo.streaming.steps import StepModel

    steps = StepModel(model, "sliding")
    assert steps.window is not None
    return (RATE - steps.window) / RATE


@pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
def test_continuous_answers_are_about_everything_since_the_beginning(pooling: str) -> None:
    other = small(pooling=pooling)
    times, probabilities = table(other.stream(streaming="continuous").answers(SAMPLES))
    heard = [SAMPLES[None, : round(time * RATE)] for time in times]
    expected = np.concatenate([keras.Model.__call__(other, each, training=False) for each in heard[1:]])
    np.testing.assert_allclose(probabilities[1:], expected, rtol=0, atol=1e-5)
    assert len(heard[0][0]) >= 128 + 64, "no answer before there is a whole step"


@pytest.mark.parametrize("length", [1, 7, 128, 160, 441, 640, len(SAMPLES)])
def test_chunks_make_no_difference(stream: Stream, length: int) -> None:
    samples = SAMPLES[:RATE] if length == 1 else SAMPLES
    times, expected = table(stream.answers(samples))
    stream.reset()
    got_times, got = table(in_chunks(stream, samples, [length]))
    np.testing.assert_array_equal(got_times, times)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_random_chunks_make_no_difference(stream: Stream, seed: int) -> None:
    times, expected = table(stream.answers(SAMPLES))
    stream.reset()
    lengths = np.random.default_rng(seed).integers(0, 400, 50).tolist()
    got_times, got = table(in_chunks(stream, SAMPLES, lengths))
    np.testing.assert_array_equal(got_times, times)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_longer_hops_are_every_other_answer(model: Any, stream: Stream) -> None:
    _, every = table(stream.answers(SAMPLES))
    other = Stream(model, hop=0.1)
    assert other.period == pytest.approx(3 * 128 / RATE), "rounded to whole steps"
    times, probabilities = table(other.answers(SAMPLES))
    np.testing.assert_allclose(times, other.period * np.arange(1, len(times) + 1))
    np.testing.assert_allclose(probabilities, every[2::3][: len(times)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_other_rates_are_resampled_without_seams(model: Any, stream: Stream, rate: int) -> None:
    time = np.arange(2 * rate) / rate
    wave = (0.3 * np.sin(2 * np.pi * HERTZ[1] * time * (1 + time / 4))).astype("float32")
    _, expected = table(stream.answers(soxr.resample(wave, rate, RATE)))
    other = Stream(model, sample_rate=rate)
    _, whole = table(other.answers(wave))
    other.reset()
    _, pieces = table(in_chunks(other, wave, [441, 3, 0, 1000]))
    count = len(whole)
    assert len(expected) - 8 <= count <= len(expected), "the resampler holds back some samples"
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-5)
    np.testing.assert_allclose(whole, expected[:count], rtol=0, atol=1e-3)
    assert other.time == pytest.approx(2.0)


# === What can be fed ===


def test_every_form_of_one_recording(stream: Stream) -> None:
    integers = np.round(SAMPLES[:RATE].clip(-1, 1) * 32767).astype(np.int16)
    _, expected = table(stream.answers(integers / np.float32(32768)))
    stereo = np.stack([integers, integers], axis=1)
    forms: list[Any] = [integers, integers.astype("float64") / 32768, integers[None], integers[:, None], stereo]
    forms += [integers.astype(np.int32) << 16, (integers / 32768).tolist()]
    for form in forms:
        stream.reset()
        _, got = table(stream.answers(form))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    stream.reset()
    _, got = table(in_chunks(stream, stereo, [1, 5, 9, 300]))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6, err_msg="stereo, in chunks of few samples")
    stream.reset()
    stream.feed(np.zeros((100, 2), np.int16))
    assert stream.time == 100 / RATE


@pytest.mark.parametrize("empty", [[], np.zeros(0, np.int16), np.zeros((0, 2), np.float32)])
def test_nothing_is_no_error(stream: Stream, empty: Any) -> None:
    assert stream.feed(empty) == []
    assert stream.time == 0.0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([0.1, math.nan], "1 samples are NaN or infinite"),
        (np.array([math.inf] * 300), "300 samples"),
        (np.zeros((3, 400)), "3 recordings"),
        (np.zeros((1, 2, 3, 4)), "shape"),
        (["yes"], "float or integer"),
        (np.zeros(5, np.int64), "no agreed scale"),
        (0.5, "shape"),
    ],
)
def test_a_stream_survives_what_it_refuses(stream: Stream, samples: Any, message: str) -> None:
    _, expected = table(stream.answers(SAMPLES[:RATE]))
    stream.reset()
    answers = stream.answers(SAMPLES[:1000])
    with pytest.raises(InvalidInputError, match=message):
        stream.feed(samples)
    answers += stream.answers(SAMPLES[1000:RATE])
    np.testing.assert_allclose(table(answers)[1], expected, rtol=0, atol=1e-6)
    assert stream.time == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": 1}, "sample_rate: got 1; expected whole hertz from 1000 to 384000"),
        ({"sample_rate": 999_999_999}, "sample_rate"),
        ({"sample_rate": 16_000.0}, "sample_rate"),
        ({"sample_rate": True}, "sample_rate"),
        ({"hop": 0}, "hop"),
        ({"hop": 1.5}, "at most a clip's 1"),
        ({"hop": math.nan}, "hop"),
        ({"threshold": 2}, "threshold"),
        ({"smoothing": -1}, "smoothing"),
        ({"refractory": "long"}, "refractory"),
        ({"streaming": "sometimes"}, "sometimes"),
    ],
)
def test_wrong_options_are_refused_by_name(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Stream(model, **options)


# === Events ===


def test_events_follow_from_the_answers(model: Any) -> None:
    """The events are those of a detector over the answers, whatever the chunks."""
    stream = model.stream(threshold=0.4, smoothing=0.1, refractory=0.3)
    detector = stream._detector
    expected = [event for answer in stream.answers(SAMPLES) if (event := detector.update(*answer))]
    assert len(expected) > 2
    stream.reset()
    got = [event for start in range(0, len(SAMPLES), 333) for event in stream.feed(SAMPLES[start : start + 333])]
    assert [event[:2] for event in got] == [event[:2] for event in expected]


def test_flush_hears_the_end_and_begins_anew(model: Any) -> None:
    """Each answer is an event here, so that their probabilities say what was heard."""
    stream = Stream(model, threshold=0.0, smoothing=0.0, refractory=0.0, ignored=())
    recording = SAMPLES[: RATE + 50]
    first, last = stream.feed(recording), stream.flush()
    assert {event.time for event in last} == {len(recording) / RATE}, "no time is after the end"
    steps = math.ceil((len(recording) + RATE) / 128)
    assert len(first + last) == steps, "a clip's length of silence follows, in whole blocks"
    silence = np.zeros(2 * RATE, np.float32)
    times = np.arange(1, steps + 1) * 128 / RATE
    expected = offline(model, np.concatenate([recording, silence]), times + latency(model)).max(axis=1)
    np.testing.assert_allclose([event.probability for event in first + last], expected, rtol=0, atol=1e-5)
    assert stream.time == 0.0
    assert [event.time for event in stream.feed(SAMPLES[:130])] == [128 / RATE]


def test_flush_at_another_rate_loses_nothing(model: Any) -> None:
    """What the resampler has held back is heard at the end."""
    options: dict[str, Any] = {"threshold": 0.0, "smoothing": 0.0, "refractory": 0.0, "ignored": ()}
    for rate in (RATE, 2 * RATE, 11_025):
        stream = Stream(model, sample_rate=rate, **options)
        for _ in range(2):
            wave = soxr.resample(SAMPLES, RATE, rate)
            events = stream.feed(wave) + stream.flush()
            assert abs(len(events) - math.ceil(4 * RATE / 128)) <= 1
            assert max(event.time for event in events) == pytest.approx(3.0, abs=1e-3)


def test_flush_without_a_recording(stream: Stream) -> None:
    assert all(event.time == 0.0 for event in stream.flush())


# === Hours ===


def test_an_hour_neither_drifts_nor_fills_the_memory() -> None:
    """The same 33 seconds again and again: the last answer is the model's own, and nothing was kept."""
    tiny = small(units=2, convolutions=[{"filters": 1, "strides": (2, 2)}], pooling="last")
    stream = Stream(tiny, hop=1.0)
    chunk = np.resize(SAMPLES, 33 * RATE + 1) * np.linspace(0.1, 1.0, 33 * RATE + 1, dtype="float32")
    stream.feed(chunk)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(109):
        stream.feed(chunk)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < chunk.nbytes, "not even one of the chunks was kept"
    last = stream.answers(chunk)[-1]
    assert stream.time == 111 * len(chunk) / RATE > 3600
    assert 0 <= stream.time - last.time < stream.period
    end = round((last.time + latency(tiny)) * RATE)
    window = chunk[np.arange(end - RATE, end) % len(chunk)]
    expected = np.asarray(keras.Model.__call__(tiny, window[None], training=False))[0]
    np.testing.assert_allclose(last.probabilities, expected, rtol=0, atol=1e-5)
