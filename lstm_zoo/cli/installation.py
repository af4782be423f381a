"""``lstm-zoo data``, ``lstm-zoo doctor`` and ``lstm-zoo demo``: what this installation has and can do."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from lstm_zoo.cli.console import FAILED, Json, console, messages, print_json, start_tensorflow
from lstm_zoo.errors import UnknownNameError


def data(
    name: Annotated[str | None, typer.Argument(help="A dataset, to read and summarise it.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Where to look.")] = None,
) -> None:
    """List the datasets and where they were found, or summarise one by class and split."""
    from lstm_zoo.data import load, sources
    from lstm_zoo.data.catalogue import SOURCES

    if name is None:
        table = Table("dataset", "licence", "size", "checksum", Column("found in", overflow="fold"))
        for each in SOURCES.values():
            found = sources.locate(each.name, directory)
            checksum = "sha256" if each.sha256 else "no checksum published"
            where = escape(str(found)) if found else f"not on this machine; to fetch it: lstm-zoo data {each.name}"
            table.add_row(each.name, each.licence, f"{each.megabytes:,} MB", checksum, where)
        console.print(table)
        return
    if name not in SOURCES:
        raise UnknownNameError("dataset", name, SOURCES)
    place = sources.find(name, directory)
    with messages.status(f"reading {escape(str(place))}"):
        dataset = load(name, directory)
    console.print(f"found in {escape(str(place))}")
    console.print(dataset.summary())


def doctor(as_json: Json = False) -> None:
    """Check the installation: Python, packages, disk, TensorFlow and the pretrained models."""
    from dataclasses import asdict

    from lstm_zoo.doctor import check_all

    with messages.status("checking"):
        with suppress(ImportError):  # which is then what the doctor reports
            start_tensorflow()
        checks = list(check_all())
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        colours = {"ok": "green", "missing": "yellow", "problem": "red"}
        table = Table("what", "state", "finding")
        for check in checks:
            table.add_row(check.name, f"[{colours[check.state]}]{check.state}[/]", escape(check.finding))
        console.print(table)
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(FAILED)


def demo() -> None:
    """Name the words in a bundled clip with the Keras model and with its TFLite file, side by side."""
    from lstm_zoo.demo import run

    with messages.status("loading, classifying, exporting and replaying"):
        start_tensorflow()
        result = run()
    console.print(result)
