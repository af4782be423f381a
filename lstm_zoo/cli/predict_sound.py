"""``lstm-zoo predict`` for models that hear: which words are in sound files, and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table

import lstm_zoo
from lstm_zoo.cli.console import FAILED, complain, console, messages, pretrained, print_json
from lstm_zoo.errors import LstmZooError

HOP = 0.5  # seconds
THRESHOLD = 0.6


def predict_sounds(
    name: str,
    files: list[Path],
    *,
    top: int = 1,
    hop: float = HOP,
    threshold: float = THRESHOLD,
    every: bool = False,
    as_json: bool = False,
) -> None:
    """Print what is heard in each file, or with ``as_json`` one document about all of them.

    The model listens to windows of one second. Neighbouring windows with the same word are shown as one, with the
    highest of their probabilities; where nothing reaches the threshold, the most probable is shown.
    """
    with messages.status(f"loading {escape(name)}"):
        model = pretrained(name)
    documents = []
    with _progress(len(files)) as advance:
        for file in files:
            document = _predict_file(model, file, top, hop, threshold)
            documents.append(document)
            if not as_json:
                _show_prediction(document, "detections" if every else "words")
            advance()
    if as_json:
        print_json({"model": name, "files": documents})
    if any("error" in document for document in documents):
        raise typer.Exit(FAILED)


def _predict_file(model: Any, file: Path, top: int, hop: float, threshold: float) -> dict[str, Any]:
    """What was heard in ``file``, or why it could not be read, as JSON values."""
    rate = model.config.front_end.sample_rate
    try:
        samples, original_rate = lstm_zoo.read_audio(file, rate)
        found = model.classify(samples, rate, hop=hop)
    except LstmZooError as error:
        complain(error)
        return {"file": str(file), "error": str(error)}
    detections = [_detection(each, model.labels, top) for each in found]
    return {
        "file": str(file),
        "seconds": round(len(samples) / rate, 3),
        "sample_rate": original_rate,
        "resampled_to": rate if original_rate != rate else None,
        "words": merge_windows(detections, threshold),
        "detections": detections,
    }


def merge_windows(detections: list[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """Neighbouring windows with the same label as one, as probable as the most probable of them.

    Those below ``threshold`` are left out, for a window across two words often resembles a third; where none
    reaches it, the most probable one stays.
    """
    merged = []
    for _, run in groupby(detections, key=itemgetter("label")):
        windows = list(run)
        best = max(windows, key=itemgetter("probability"))
        span = {"start_seconds": windows[0]["start_seconds"], "end_seconds": windows[-1]["end_seconds"]}
        merged.append(best | span)
    sure = [each for each in merged if each["probability"] >= threshold]
    return sure or [max(merged, key=itemgetter("probability"))]


def _detection(detection: Any, labels: tuple[str, ...], top: int) -> dict[str, Any]:
    start, end, label, probability, probabilities = detection
    ranked = sorted(zip(labels, map(float, probabilities), strict=True), key=lambda pair: -pair[1])
    return {
        "start_seconds": round(start, 3),
        "end_seconds": round(end, 3),
        "label": label,
        "probability": float(probability),
        "top": [{"label": label, "probability": probability} for label, probability in ranked[:top]],
    }


def _show_prediction(document: dict[str, Any], rows: str) -> None:
    if "error" in document:
        return
    table = Table("time", "word", "probability", "", title=f"{escape(document['file'])}, {document['seconds']:.2f} s")
    if document["resampled_to"]:
        table.caption = f"resampled from {document['sample_rate']:,} Hz to {document['resampled_to']:,} Hz"
    for detection in document[rows]:
        time = f"{detection['start_seconds']:.2f} to {detection['end_seconds']:.2f} s"
        for each in detection["top"]:
            bar = ProgressBar(total=1.0, completed=each["probability"], width=20)
            table.add_row(time, escape(each["label"]), f"{each['probability']:.1%}", bar)
            time = ""
    console.print(table)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on standard error, for more than one file and only while it runs."""
    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=messages, transient=True, disable=total < 2) as progress:
        task = progress.add_task("files", total=total)
        yield lambda: progress.advance(task)
