"""The benchmark of running sound: what it composes, what counts as a hit, and what it prints."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest

from lstm_zoo.data import small
from lstm_zoo.streaming import Event

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "detection.py"
RATE = 16_000


@pytest.fixture(scope="module")
def detection() -> Iterator[ModuleType]:
    """The benchmark as a module, without what it sets in the environment and for the process."""
    spec = importlib.util.spec_from_file_location("benchmark_of_detection", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    kept = mock.patch.object(os, "sched_setaffinity", create=True)
    with mock.patch.dict(os.environ), mock.patch.dict(sys.modules, {spec.name: module}), kept:
        spec.loader.exec_module(module)
        yield module


def test_every_clip_is_where_the_recording_says(detection: ModuleType) -> None:
    generator = np.random.default_rng(0)
    clips = generator.normal(0.0, 0.1, (5, RATE))
    clips[:, RATE // 2 :] *= 1e-3  # the words are over after half a second
    noise = generator.normal(0.0, 0.02, 3 * RATE)
    made = detection.compose("x", clips, list("abcde"), noise, below=20.0)
    again = detection.compose("x", clips, list("abcde"), noise, below=20.0)
    np.testing.assert_array_equal(made.samples, again.samples)
    assert sorted(word.label for word in made.words) == list("abcde")
    ends = [0.0] + [word.end for word in made.words]
    for word, previous in zip(made.words, ends, strict=False):
        assert 0.5 <= word.start - previous <= 2.0
        assert word.spoken == pytest.approx(word.start + 0.49, abs=0.02)
        start = round(word.start * RATE)
        cut, clip = made.samples[start : start + RATE], clips["abcde".index(word.label)]
        assert np.corrcoef(cut, clip)[0, 1] > 0.9
        noise_power = np.mean((cut - clip) ** 2)
        assert 10 * np.log10(np.mean(clips**2) / noise_power) == pytest.approx(20.0, abs=0.5)
    assert made.hours * 3600 * RATE == pytest.approx(len(made.samples))


def test_hits_false_alarms_and_delays(detection: ModuleType) -> None:
    words = tuple(
        detection.Word(label, start, start + 1.0, start + 0.7) for label, start in (("yes", 1.0), ("no", 4.0))
    )
    recording = detection.Recording("keywords", np.zeros(RATE * 36, np.float32), words)
    score = detection.Score()
    events = [
        Event(0.9, "yes", 0.9),  # before the clip
        Event(1.9, "yes", 0.9),  # a hit, 0.2 s after the word
        Event(2.3, "yes", 0.9),  # the same word again
        Event(4.5, "yes", 0.9),  # another word
        Event(5.5, "no", 0.9),  # a hit, just in time
        Event(5.6, "no", 0.9),  # too late
    ]
    detection.count(score, recording, events)
    assert (score.hits, score.words, score.hit_rate) == (2, 2, 1.0)
    assert score.alarms == {"keywords": 4}
    assert score.alarms_per_hour() == pytest.approx(400.0)
    assert score.delays == {"yes": [pytest.approx(0.2)], "no": [pytest.approx(0.8)]}


def test_recordings_are_of_one_split(detection: ModuleType, tmp_path: Path) -> None:
    from lstm_zoo.data import speech_commands

    dataset = speech_commands.load(small.write_speech_commands(tmp_path / "data"))
    made = {each.name: each for each in detection.recordings(dataset.testing)}
    assert list(made) == ["noise", "keywords, 10 dB", "unknown, 10 dB", "keywords, 20 dB", "unknown, 20 dB"]
    np.testing.assert_array_equal(made["noise"].samples * 32768, dataset.testing.noise)
    keywords = int((dataset.testing.labels < 10).sum())
    assert [len(each.words) for each in made.values()] == [0, keywords, 0, keywords, 0]


def test_the_search_prefers_hits_among_those_with_few_alarms(
    detection: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(stream: object, heard: object, threshold: float, smoothing: float, refractory: float) -> object:
        hits = [0.1] * round(100 * (1 - threshold))
        return detection.Score({"noise": round(1000 * (0.9 - threshold))}, {"noise": 1.0}, 100, {"yes": hits})

    monkeypatch.setattr(detection, "evaluate", evaluate)
    found = detection.best(None, [], most_alarms=60.0)
    assert len(found) == 10
    assert found[0][0]["threshold"] == 0.85, "0.8 has 100 false alarms, 0.9 has fewer hits"


def test_the_command_prints_its_tables(
    detection: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shipped: Path,
) -> None:
    data = small.write_speech_commands(tmp_path / "data")
    arguments = ["detection.py", "--data", str(data), "--markdown", "--seconds", "0.01"]
    monkeypatch.setattr(sys, "argv", arguments)
    detection.main()
    tables = capsys.readouterr().out.split("\n\n")
    rows = [line.strip("| ").split(" | ") for line in tables[0].splitlines()]
    assert tuple(rows[0]) == detection.COLUMNS
    assert [float(row[0]) for row in rows[2:]] == sorted({*detection.THRESHOLDS, detection.THRESHOLD})
    assert "testing split" in tables[1]
    assert [line.split(" | ")[0].strip("| ") for line in tables[2].splitlines()[2:]] == list(
        detection.speech_commands.KEYWORDS
    )
    assert "Python, stream.feed" in tables[4]
