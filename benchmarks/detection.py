"""Keyword spotting in running sound: false alarms per hour, hits, and how long after a word it is known.

    python benchmarks/detection.py --data DIR                       # the defaults' surroundings, on the test split
    python benchmarks/detection.py --data DIR --split validation    # how the defaults were chosen
    python benchmarks/detection.py --data DIR --markdown --seconds 5 --file stream.tflite

Speech Commands, one split. Four recordings, heard from beginning to end by ``model.stream``:

- *noise*: the split's part of each background noise file, one after the other, as recorded;
- *noise files*: all of each, of which most was in training too; told for its length, and of no use to a choice;
- *unknown*: the split's clips of other words, which are no keywords, each in noise;
- *keywords*: the split's keyword clips, each in noise, so that it is known where they are.

The last two are COMPOSED, with a fixed seed: the clips in random order, half a second to two seconds from the end of
one to the start of the next, added to a cut of the split's background noise whose power over the whole recording is 10
or 20 dB below that of the clips, in turn. A word is a hit if its event comes between the start of its clip and half a
second after its end; every other event is a false alarm. The delay is from the end of the
word, which is taken to be where 98 % of the energy of its clip have passed, to the event.

The table shows several thresholds with the defaults of the rest. With ``--split validation`` it is searched for the
settings with the highest hit rate among those with at most ``--most-alarms`` false alarms per hour, over a grid of
threshold, smoothing and refractory time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if hasattr(os, "sched_setaffinity"):  # Linux: one core, as in benchmarks/speed.py
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
from rich.console import Console
from rich.table import Table

import lstm_zoo
from lstm_zoo.data import AudioSplit, speech_commands
from lstm_zoo.streaming import Answer, Detector, Event, Stream
from lstm_zoo.streaming.detection import REFRACTORY, SMOOTHING, THRESHOLD

RATE = speech_commands.SAMPLE_RATE
GAP = (0.5, 2.0)  # seconds from the end of a clip to the start of the next
NOISE_BELOW = (10.0, 20.0)  # decibels
LATE = 0.5  # seconds after the end of its clip in which a word is still a hit
THRESHOLDS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
SMOOTHINGS = (0.04, 0.2, 0.32, 0.4, 0.48, 0.64)  # seconds
REFRACTORIES = (0.5, 0.75, 1.0)  # seconds; a longer one than the clip would miss a word that is said again
SEED = 0


@dataclass(frozen=True)
class Word:
    """One clip in a recording; times in seconds."""

    label: str
    start: float  # of the clip
    end: float  # of the clip
    spoken: float  # end of the word in it


@dataclass(frozen=True)
class Recording:
    """float32 ``[samples]`` in -1..1, and the keywords in it."""

    name: str
    samples: np.ndarray
    words: tuple[Word, ...] = ()

    @property
    def hours(self) -> float:
        return len(self.samples) / RATE / 3600


@dataclass
class Score:
    """What one setting of the detector made of the recordings."""

    alarms: dict[str, int] = field(default_factory=dict)  # by recording
    hours: dict[str, float] = field(default_factory=dict)
    words: int = 0
    delays: dict[str, list[float]] = field(default_factory=dict)  # of the hits, by label, in seconds

    @property
    def hits(self) -> int:
        return sum(map(len, self.delays.values()))

    @property
    def hit_rate(self) -> float:
        return self.hits / self.words if self.words else float("nan")

    def alarms_per_hour(self, *names: str) -> float:
        names = names or tuple(self.alarms)
        return sum(self.alarms[name] for name in names) / sum(self.hours[name] for name in names)


# === Recordings ===


def compose(name: str, clips: np.ndarray, labels: list[str], noise: np.ndarray, below: float) -> Recording:
    """Clips at known times in noise that is ``below`` decibels weaker; float32 ``[clips, samples]``, ``[samples]``."""
    generator = np.random.default_rng([SEED, len(clips), int(below)])
    gaps = generator.integers(*(round(seconds * RATE) for seconds in GAP), len(clips))
    starts = np.cumsum(gaps) + np.arange(len(clips)) * clips.shape[1]
    length = int(starts[-1]) + clips.shape[1] + gaps[0]
    noise = np.resize(np.roll(noise, generator.integers(len(noise))), length)  # again from its start where it ends
    samples = noise * np.sqrt((clips**2).mean() / (noise**2).mean()) * 10.0 ** (-below / 20.0)
    words = []
    for start, row in zip(starts.tolist(), generator.permutation(len(clips)), strict=True):
        samples[start : start + clips.shape[1]] += clips[row]
        spoken = np.searchsorted(np.cumsum(clips[row] ** 2), 0.98 * (clips[row] ** 2).sum())
        words.append(Word(labels[row], start / RATE, start / RATE + clips.shape[1] / RATE, (start + spoken) / RATE))
    return Recording(name, samples.clip(-1.0, 1.0).astype("float32"), tuple(words))


def recordings(split: AudioSplit) -> list[Recording]:
    """What is listened to; the noise is the part of each file that belongs to this split alone."""
    clips, noise = split.as_float(), split.noise.astype("float32") / 32768.0
    keywords = split.labels < len(speech_commands.KEYWORDS)
    unknown = split.labels == speech_commands.UNKNOWN
    made = [Recording("noise", noise)]
    for below in NOISE_BELOW:
        names = [speech_commands.LABELS[label] for label in split.labels[keywords]]
        made.append(compose(f"keywords, {below:g} dB", clips[keywords], names, noise, below))
        others = compose(f"unknown, {below:g} dB", clips[unknown], ["unknown"] * int(unknown.sum()), noise, below)
        made.append(Recording(others.name, others.samples))  # every event in it is a false alarm
    return made


# === Scores ===


def detect(stream: Stream, answers: Iterable[Answer], **settings: float) -> list[Event]:
    detector = Detector(speech_commands.LABELS, stream.period, **settings)
    found = (detector.update(*answer) for answer in answers)
    return [event for event in found if event]


def count(score: Score, recording: Recording, events: Iterable[Event]) -> None:
    """Add the hits and false alarms of one recording."""
    open_words = list(recording.words)
    score.words += len(open_words)
    score.alarms[recording.name] = 0
    score.hours[recording.name] = recording.hours
    for event in events:
        matching = (w for w in open_words if w.label == event.label and w.start <= event.time <= w.end + LATE)
        if word := next(matching, None):
            open_words.remove(word)
            score.delays.setdefault(word.label, []).append(event.time - word.spoken)
        else:
            score.alarms[recording.name] += 1


def evaluate(stream: Stream, heard: list[tuple[Recording, list[Answer]]], **settings: float) -> Score:
    score = Score()
    for recording, answers in heard:
        count(score, recording, detect(stream, answers, **settings))
    return score


def best(
    stream: Stream, heard: list[tuple[Recording, list[Answer]]], most_alarms: float
) -> list[tuple[dict[str, float], Score]]:
    """The ten best settings: most hits among those with few enough false alarms; then fewest alarms, least delay."""
    tried = []
    for threshold, smoothing, refractory in itertools.product(THRESHOLDS, SMOOTHINGS, REFRACTORIES):
        settings = {"threshold": threshold, "smoothing": smoothing, "refractory": refractory}
        tried.append((settings, evaluate(stream, heard, **settings)))

    def rank(pair: tuple[dict[str, float], Score]) -> tuple[float, ...]:
        alarms = pair[1].alarms_per_hour()
        delays = [delay for each in pair[1].delays.values() for delay in each] or [0.0]
        return (max(0.0, alarms - most_alarms), -pair[1].hits, alarms, float(np.median(delays)))

    return sorted(tried, key=rank)[:10]


# === Tables ===


def figures(settings: dict[str, float], score: Score) -> tuple[str, ...]:
    groups = [[name for name in score.alarms if name.split(",")[0] == kind] for kind in KINDS]
    delays = [delay for each in score.delays.values() for delay in each] or [float("nan")]
    return (
        *(f"{settings[name]:g}" for name in ("threshold", "smoothing", "refractory")),
        f"{score.hit_rate:.1%}",
        *(
            f"{score.alarms_per_hour(*names):.0f} ({sum(score.alarms[name] for name in names)})" if names else "-"
            for names in groups
        ),
        f"{np.median(delays):.2f}",
    )


def words_table(score: Score, recordings_: Iterable[Recording]) -> list[tuple[str, ...]]:
    rows = [("word", "clips", "hit rate", "median delay s", "90 % within s")]
    labels = [word.label for each in recordings_ for word in each.words]
    for label in speech_commands.KEYWORDS:
        delays = score.delays.get(label, [])
        median, within = np.quantile(delays, (0.5, 0.9)) if delays else (float("nan"),) * 2
        number = labels.count(label)
        share = f"{len(delays) / number:.1%}" if number else "-"
        rows.append((label, str(number), share, f"{median:.2f}", f"{within:.2f}"))
    return rows


def milliseconds(stream: Stream, file: Path | None, seconds: float) -> list[tuple[str, ...]]:
    """Mean time of each call, on noise."""
    audio = np.random.default_rng(SEED).normal(0.0, 0.05, RATE).astype("float32")
    stream.reset()
    piece = RATE // 50
    rows = [("20 ms of sound, one core", "mean ms", "times real time")]

    def feed(number: int) -> float:
        stream.feed(audio[number * piece % RATE :][:piece])
        return 0.02

    rows.append(("Python, stream.feed", *_timed(feed, seconds)))
    if file is not None:
        rows.append((f"TFLite, step of {file.name}", *_timed(_tflite_step(file), seconds)))
    return rows


def _tflite_step(file: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    step = interpreter.get_signature_runner("step")
    given = {name: np.zeros(each["shape"], each["dtype"]) for name, each in step.get_input_details().items()}
    (audio,) = set(given) - set(step.get_output_details())  # an output with the name of an input is its next value
    noise = np.random.default_rng(SEED).normal(0.0, 0.05, given[audio].shape).astype("float32")
    states = {name: value for name, value in given.items() if name != audio}

    def call(_: int) -> float:
        outputs = step(**states, **{audio: noise})
        states.update({name: outputs[name] for name in states})
        return noise.shape[1] / RATE

    return call


def _timed(call: Any, seconds: float) -> tuple[str, str]:
    """Milliseconds for 20 ms of sound, and how many times faster than the sound; ``call`` returns its seconds."""
    for number in range(10):
        call(number)
    sound, began, number = 0.0, time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < seconds or number < 100:
        sound += call(number)
        number += 1
    return f"{1e3 * 0.02 * taken / sound:.3f}", f"{sound / taken:.0f}"


def show(rows: list[tuple[str, ...]], title: str, markdown: bool) -> None:
    if markdown:
        rule = ("---", *["---:"] * (len(rows[0]) - 1))
        print("\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])) + f"\n\n{title}\n")
        return
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(rows[0]):
        table.add_column(column, justify="right" if number else "left")
    for row in rows[1:]:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


KINDS = ("noise", "noise files", "unknown", "keywords")
COLUMNS = ("threshold", "smoothing s", "refractory s", "hit rate", *(f"alarms/h, {kind}" for kind in KINDS),
           "median delay s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="speech", help="a name of `lstm-zoo list`, or an artefact folder")
    parser.add_argument("--data", type=Path, help="folder that holds the datasets (default: as the loaders look)")
    parser.add_argument("--split", choices=("validation", "testing"), default="testing", help="default: testing")
    parser.add_argument("--most-alarms", type=float, default=60.0, help="per hour, for the search (default: 60)")
    parser.add_argument("--file", type=Path, help="a TFLite file with the signature `step`, to be timed")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="how long to time each call (default: 0, not at all)"
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    arguments = parser.parse_args()
    dataset = speech_commands.load(arguments.data)
    files = np.concatenate([part.noise for part in dataset.splits.values()]).astype("float32") / 32768.0
    stream = lstm_zoo.get(arguments.model).stream()
    heard = []
    for recording in [*recordings(dataset.splits[arguments.split]), Recording("noise files", files)]:
        stream.reset()
        heard.append((recording, stream.answers(recording.samples)))
    defaults = {"threshold": THRESHOLD, "smoothing": SMOOTHING, "refractory": REFRACTORY}
    scored = [({**defaults, "threshold": value}, evaluate(stream, heard, **defaults | {"threshold": value}))
              for value in sorted({*THRESHOLDS, THRESHOLD})]  # fmt: skip
    sizes = ", ".join(f"{recording.name}: {recording.hours * 60:.1f} min" for recording, _ in heard)
    title = f"{arguments.model}, {arguments.split} split; in brackets: how many false alarms. Heard: {sizes}"
    show([COLUMNS, *(figures(*each) for each in scored)], title, arguments.markdown)
    if arguments.split == "validation":
        found = best(stream, heard[:-1], arguments.most_alarms)
        title = f"The ten best settings with at most {arguments.most_alarms:g} false alarms per hour"
        show([COLUMNS, *(figures(*each) for each in found)], title, arguments.markdown)
    score = evaluate(stream, heard, **defaults)
    show(words_table(score, [each for each, _ in heard]), "Each word, with the default settings", arguments.markdown)
    if arguments.seconds:
        show(milliseconds(stream, arguments.file, arguments.seconds), "Time", arguments.markdown)


if __name__ == "__main__":
    main()
