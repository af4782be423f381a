"""``lstm-zoo predict`` for models that read: what texts say, answered as they are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lstm_zoo.cli import text_lines
from lstm_zoo.cli.console import FAILED, complain, console, messages, pretrained
from lstm_zoo.cli.text_lines import Line, printable
from lstm_zoo.errors import InvalidInputError

LARGE = 1_000_000  # bytes from which a bar is shown
_PROBABILITY, _BAR = 6, 10  # characters of a table's columns


def predict_texts(name: str, inputs: Sequence[str], *, top: int = 1, as_json: bool = False) -> None:
    """Print the answer to each text, in its turn; memory does not grow with the number of texts.

    Args:
        name: a model's name, or an artefact folder.
        inputs: texts, files of one text a line, or ``"-"`` for standard input.
        top: labels in the table for each text.
        as_json: a line of JSON for each text in place of the table.
    """
    text_lines.check(inputs)
    with messages.status(f"loading {escape(name)}"):
        model = pretrained(name)
    show = _show_json if as_json else _Table(model.labels, top, several=len(inputs) > 1)
    failed = False
    with _progress(text_lines.known_bytes(inputs)) as advance:
        for block in text_lines.blocks(inputs, advance):
            answers = _answers(model, block)
            show(answers)
            failed |= any("error" in answer for answer in answers)
    if failed:
        raise typer.Exit(FAILED)


def _answers(model: Any, lines: list[Line]) -> list[dict[str, Any]]:
    """For each line what the model says, or what is wrong with it, as JSON values."""
    readable = [line for line in lines if line.error is None]
    said = iter(_classify(model, [line.text for line in readable]))
    answers: list[dict[str, Any]] = []
    for line in lines:
        answer: dict[str, Any] = {"source": line.source, "line": line.number}
        found = line.error or next(said)
        if isinstance(found, str):
            where = "" if line.error else f"{line.source or 'argument'}, line {line.number}: "
            complain(InvalidInputError(where + found))
            answer["error"] = found
        else:
            probabilities = dict(zip(model.labels, map(float, found.probabilities), strict=True))
            answer |= {"text": line.text, "label": found.label, "probability": found.probability}
            answer["probabilities"] = probabilities
        answers.append(answer)
    return answers


def _classify(model: Any, texts: list[str]) -> list[Any]:
    """What the model says to each text, or a string that says why it refuses it."""
    if not texts:
        return []
    try:
        return list(model.classify(texts))
    except InvalidInputError as error:
        if len(texts) == 1:
            return [str(error)]
        return [each for text in texts for each in _classify(model, [text])]  # one of them is at fault


def _show_json(answers: list[dict[str, Any]]) -> None:
    """In ASCII: some encodings of standard output lack letters, and some readers end lines at U+2028."""
    for answer in answers:
        print(json.dumps(answer))
    sys.stdout.flush()


class _Table:
    """Rows as they come, in columns as wide as those before; a heading for each source."""

    def __init__(self, labels: Sequence[str], top: int, several: bool):
        self._top, self._several = top, several
        self._label_width = max(map(len, labels))
        self._headed: set[str | None] = set()

    def __call__(self, answers: list[dict[str, Any]]) -> None:
        rows = [answer for answer in answers if "error" not in answer]
        if not rows:
            return
        source = rows[0]["source"]  # a block is of one source
        table = Table(box=None, show_header=source not in self._headed, pad_edge=False, expand=True)
        if source not in self._headed and self._several and source is not None:
            table.title = Text(printable(source), "bold")
        self._headed.add(source)
        table.add_column("line", justify="right", width=6)
        table.add_column("text", no_wrap=True, ratio=1)
        table.add_column("label", no_wrap=True, width=self._label_width)
        table.add_column("%", justify="right", width=_PROBABILITY)
        table.add_column("", width=_BAR)
        for answer in rows:
            self._add(table, answer)
        console.print(table)

    def _add(self, table: Table, answer: dict[str, Any]) -> None:
        text = Text(printable(answer["text"][: console.width]), overflow="ellipsis")
        ranked = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])
        number = str(answer["line"])
        for label, probability in ranked[: self._top]:
            bar = ProgressBar(total=1.0, completed=probability, width=_BAR)
            table.add_row(number, text, escape(label), f"{probability:.1%}", bar)
            number, text = "", Text()


@contextmanager
def _progress(total: int | None) -> Iterator[Any]:
    """A bar of the bytes read on standard error, for large inputs and pipes; not among answers on the same terminal.

    It leaves standard output alone: rich would send what is printed meanwhile to the bar's own stream.
    """
    columns = (TextColumn("read"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    small = total is not None and total < LARGE
    hidden = small or console.is_terminal or not messages.is_terminal
    bar = Progress(*columns, console=messages, transient=True, disable=hidden, redirect_stdout=False)
    with bar:
        task = bar.add_task("texts", total=total)
        yield lambda count: bar.advance(task, count)
