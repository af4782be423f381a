"""Accuracy of the sentiment models over seeds, beside what they have to beat: from the runs of their recipe.

    for seed in 0 1 2; do
        python recipes/sentiment.py --profile full --data DIR seed=$seed
        python recipes/sentiment.py --dataset sst2 --profile full --data DIR seed=$seed
    done
    python benchmarks/sentiment_accuracy.py
    python benchmarks/sentiment_accuracy.py --runs FOLDER --profile quick --markdown

A table for each dataset: accuracy on the official test split as mean ± standard deviation over the seeds, and each
seed's; how much the mean is above the best of the linear baselines, which the recipe measures on the same split.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from layers import Sheet, verdict  # benchmarks/layers.py
from rich.console import Console
from speech_accuracy import UNKNOWN, accuracies, each, percent  # benchmarks/speech_accuracy.py

TARGETS = {"imdb": 90.0, "sst2": 83.0}  # percent on the test split, of the default model
DEFAULT = "sentiment"
COLUMNS = ("", "parameters", "test accuracy", "each seed", "target", "points above the best baseline", "validation",
           "minutes")  # fmt: skip

Figures = dict[str, Any]


def finished(runs: Path, profile: str) -> list[Figures]:
    """What the recipe wrote down of each run of ``profile`` that has ended, by name and seed."""
    files = sorted(runs.glob(f"*-{profile}-*/evaluation.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    ours = [figures for figures in found if "dataset" in figures]
    return sorted(ours, key=lambda figures: (figures["name"], figures["seed"]))


def baselines(figures: list[Figures]) -> list[str]:
    """The names of all that was measured beside the models."""
    models = {figure["name"] for figure in figures}
    measured = dict.fromkeys(name for figure in figures for name in figure["accuracies"])
    return [name for name in measured if name not in models]


def model_row(name: str, figures: list[Figures], dataset: str) -> tuple[str, ...]:
    own = [figure for figure in figures if figure["name"] == name]
    tested = accuracies(own, name)
    mean = 100 * statistics.fmean(tested)
    best = max(100 * statistics.fmean(accuracies(own, baseline)) for baseline in baselines(own))
    return (
        name,
        " / ".join(sorted({f"{figure['parameters']:,}" for figure in own})),
        percent(tested),
        each(tested),
        verdict(mean, TARGETS[dataset], at_least=True) if name == DEFAULT and dataset in TARGETS else UNKNOWN,
        f"{mean - best:+.2f}",
        percent([figure["validation accuracy"] for figure in own]),
        f"{statistics.fmean(figure['minutes'] for figure in own):.0f}",
    )


def sheet(dataset: str, figures: list[Figures]) -> Sheet:
    """The models on one dataset, then the baselines, which are the same for all of them."""
    names = dict.fromkeys(figure["name"] for figure in figures)
    drawn = Sheet(dataset, COLUMNS, [model_row(name, figures, dataset) for name in names])
    runs = {name: [figure for figure in figures if figure["name"] == name] for name in names}
    of_one = max(runs.values(), key=len)
    for baseline in baselines(figures):
        values = accuracies(of_one, baseline)
        drawn.rows.append((baseline, UNKNOWN, percent(values), each(values), *[UNKNOWN] * (len(COLUMNS) - 4)))
    return drawn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--profile", default="full", help="profile of the recipe (default: full)")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    arguments = parser.parse_args()
    figures = finished(arguments.runs, arguments.profile)
    if not figures:
        print(
            f"no finished run of recipes/sentiment.py --profile {arguments.profile} in {arguments.runs}",
            file=sys.stderr,
        )
        return 1
    console = Console(width=None if sys.stdout.isatty() else 220)  # in a file, every row on one line
    for dataset in dict.fromkeys(figure["dataset"] for figure in figures):
        drawn = sheet(dataset, [figure for figure in figures if figure["dataset"] == dataset])
        if arguments.markdown:
            print(drawn.markdown())
        else:
            console.print(drawn.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
