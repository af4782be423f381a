"""Accuracy of the speech models over seeds, beside what they have to beat: trained here, by the recipes' own command.

    python benchmarks/speech_accuracy.py --data DIR --synthetic DIR    # train what is missing (hours), print the table
    python benchmarks/speech_accuracy.py --data DIR --table-only       # print what the runs folder holds
    python benchmarks/speech_accuracy.py --data DIR --table-only --markdown

Each run is ``python recipes/<recipe>.py --name NAME --profile full --out RUNS/NAME-full-SEED seed=SEED`` in a process
of its own. A run with an ``evaluation.json`` is finished and not repeated; one that was killed goes on where it was.

The table: accuracy on the test clips as mean ± standard deviation over the seeds, and each seed's. The TFLite columns
are not the recipe's word: each file is replayed here on every test clip, in a process without TensorFlow.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lstm_zoo.data import AudioSplit, fsdd, sources, speech_commands
from lstm_zoo.exporters.replay import answers_of

ROOT = Path(__file__).parent.parent
RECIPES = {
    "speech": "speech",
    "speech_attention": "speech",
    "speech_tiny": "speech",
    "ds_cnn": "speech",
    "digits": "digits",
}
LOADERS: dict[str, Callable[..., Any]] = {"speech": speech_commands.load, "digits": fsdd.load}
DATASETS = {"speech": "speech_commands", "digits": "fsdd"}
BASELINES = ("logistic regression on log-mel means", "most frequent class")
COLUMNS = ("", "parameters", "test accuracy", "each seed", "without silence", "validation", "minutes", "TFLite float",
           "TFLite int8", "int8 - float, points, each seed")  # fmt: skip
UNKNOWN = "-"

console = Console(width=None if sys.stdout.isatty() else 220)  # in a file, every row on one line
messages = Console(stderr=True)


# === Runs ===


@dataclass(frozen=True)
class Run:
    """One training run: which model, which seed, and the folder of its results."""

    name: str
    seed: int
    folder: Path

    @property
    def recipe(self) -> str:
        return RECIPES[self.name]

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation.json"

    def figures(self) -> dict[str, Any]:
        """What the recipe wrote down."""
        return json.loads(self.evaluation.read_text(encoding="utf-8"))


def planned(arguments: argparse.Namespace) -> list[Run]:
    return [
        Run(name, seed, arguments.runs / f"{name}-{arguments.profile}-{seed}")
        for name in arguments.models
        for seed in arguments.seeds
    ]


def command(run: Run, arguments: argparse.Namespace) -> list[str]:
    """The recipe's own command line."""
    options = ["--name", run.name, "--profile", arguments.profile, "--out", str(run.folder)]
    for option in ("data", "synthetic"):
        if value := getattr(arguments, option):
            options += [f"--{option}", str(value)]
    return [sys.executable, str(ROOT / "recipes" / f"{run.recipe}.py"), *options, f"seed={run.seed}"]


def train_missing(runs: Iterable[Run], arguments: argparse.Namespace) -> list[Run]:
    """Train what has no results yet; returns the runs that failed."""
    failed = []
    for run in runs:
        if run.evaluation.exists():
            continue
        line = command(run, arguments)
        messages.print("$ " + " ".join(line), style="dim", markup=False, soft_wrap=True)
        if subprocess.run(line).returncode:
            failed.append(run)
    return failed


# === Replaying files ===


@functools.cache
def test_clips(recipe: str, directory: Path | None) -> AudioSplit:
    return LOADERS[recipe](directory).testing


def file_accuracies(run: Run, data: Path | None) -> tuple[float, float] | None:
    """Share of the test clips that the float and the int8 file get right; None without the files or the clips."""
    files = [run.folder / f"{run.name}.tflite", run.folder / f"{run.name}_int8.tflite"]
    generated = run.folder / "generated"  # what the smoke profile trains and tests on
    directory = generated if generated.exists() else data
    if not all(file.exists() for file in files) or sources.locate(DATASETS[run.recipe], directory) is None:
        return None
    clips = test_clips(run.recipe, directory)
    audio = clips.as_float()
    messages.print(f"replaying {run.folder.name} on {len(clips):,} clips", style="dim")
    right = [float(np.mean(answers_of(file, audio).argmax(axis=1) == clips.labels)) for file in files]
    return right[0], right[1]


# === The table ===


def percent(values: list[float]) -> str:
    """Mean ± sample standard deviation, in percent."""
    if not values:
        return UNKNOWN
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.2f}{spread} %"


def each(values: list[float]) -> str:
    return ", ".join(f"{100 * value:.2f}" for value in values) or UNKNOWN


def accuracies(figures: list[dict[str, Any]], key: str) -> list[float]:
    return [found["accuracies"][key] for found in figures if key in found["accuracies"]]


def model_row(name: str, runs: list[Run], data: Path | None) -> tuple[str, ...]:
    figures = [run.figures() for run in runs]
    tested = accuracies(figures, name)
    files = [found for run in runs if (found := file_accuracies(run, data))]
    # Over the same runs, so that the two columns compare.
    points = [f"{100 * (int8 - whole):+.2f}" for whole, int8 in files]
    return (
        name,
        " / ".join(sorted({f"{found['parameters']:,}" for found in figures})),
        percent(tested),
        each(tested),
        percent(accuracies(figures, f"{name}, without the silence clips")),
        percent([found["validation accuracy"] for found in figures]),
        f"{statistics.fmean(found['minutes'] for found in figures):.0f}",
        percent([whole for whole, _ in files]),
        percent([int8 for _, int8 in files]),
        ", ".join(points) or UNKNOWN,
    )


def accuracy_row(title: str, values: list[float]) -> tuple[str, ...]:
    """A row with nothing but test accuracies."""
    return (title, UNKNOWN, percent(values), each(values), *[UNKNOWN] * (len(COLUMNS) - 4))


def left_out_rows(figures: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Leave one speaker out: the mean over the speakers, then each speaker."""
    folds = [found["leaving one speaker out"] for found in figures if "leaving one speaker out" in found]
    if not folds:
        return []
    rows = [accuracy_row("digits, leaving one speaker out", [statistics.fmean(fold.values()) for fold in folds])]
    return rows + [accuracy_row(f"  without {speaker}", [fold[speaker] for fold in folds]) for speaker in folds[0]]


def section(runs: list[Run], data: Path | None) -> list[tuple[str, ...]]:
    """All rows of the finished runs of one dataset."""
    names = dict.fromkeys(run.name for run in runs)
    rows = [model_row(name, [run for run in runs if run.name == name], data) for name in names]
    figures = [run.figures() for run in runs]
    rows += left_out_rows(figures)
    of_one = [found for found in figures if found["name"] == next(iter(names))]  # the baselines are the same in all
    prefix = "digits: " if "digits" in names else ""
    return rows + [accuracy_row(f"{prefix}{baseline}", accuracies(of_one, baseline)) for baseline in BASELINES]


def markdown(sections: list[list[tuple[str, ...]]]) -> str:
    rule = ("---", *["---:"] * (len(COLUMNS) - 1))
    rows = [COLUMNS, rule, *(row for rows in sections for row in rows)]
    return "\n".join(f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows)


def table(sections: list[list[tuple[str, ...]]], caption: str) -> Table:
    drawn = Table(title="Accuracy on the test clips", title_justify="left", caption=caption, caption_justify="left")
    for number, column in enumerate(COLUMNS):
        drawn.add_column(column, justify="right" if number else "left", overflow="fold")
    for rows in sections:
        for row in rows:
            drawn.add_row(*row)
        drawn.add_section()
    return drawn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds the datasets (default: as the loaders look)")
    parser.add_argument("--synthetic", type=Path, help="folder of synthetic training clips; made where there is none")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--profile", default="full", help="profile of the recipes (default: full)")
    parser.add_argument("--models", nargs="+", choices=RECIPES, default=list(RECIPES), help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    runs = planned(arguments)
    failed = [] if arguments.table_only else train_missing(runs, arguments)
    finished = [run for run in runs if run.evaluation.exists()]
    for recipe in DATASETS:
        if (names := {run.name for run in finished if run.recipe == recipe}) and sources.locate(
            DATASETS[recipe], arguments.data
        ) is None:
            messages.print(f"no {DATASETS[recipe]} here, so no TFLite columns for {', '.join(sorted(names))}")
    by_dataset = [[run for run in finished if run.recipe == recipe] for recipe in DATASETS]
    sections = [section(group, arguments.data) for group in by_dataset if group]
    caption = f"{len(finished)} of {len(runs)} runs finished; mean ± standard deviation over seeds"
    if arguments.markdown:
        print(markdown(sections) + f"\n\n{caption}.")
    else:
        console.print(table(sections, caption))
    for run in failed:
        messages.print(f"[red]failed:[/] {run.folder}", soft_wrap=True)
    return 1 if failed or not finished else 0


if __name__ == "__main__":
    sys.exit(main())
