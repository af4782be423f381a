"""``lstm-zoo list`` and ``lstm-zoo info``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

import lstm_zoo
from lstm_zoo.cli.console import Json, Name, console, print_json


def list_command(
    task: Annotated[str | None, typer.Option(help="Only this task or family.")] = None,
    max_parameters: Annotated[int | None, typer.Option(help="At most so many weights.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Smallest TFLite file of at most so many bytes.")] = None,
    streaming: Annotated[
        bool | None, typer.Option(help="Causal, or not: needs no sound that is still to come.")
    ] = None,
    min_metric: Annotated[float | None, typer.Option(help="At least this accuracy, such as 0.92.")] = None,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table, as in the README.")] = False,
) -> None:
    """Show the models, filtered by measured facts."""
    models = lstm_zoo.list_models(
        task, max_parameters=max_parameters, max_bytes=max_bytes, streaming=streaming, min_metric=min_metric
    )
    if as_json:
        print_json([each.as_dict() for each in models])
    elif markdown:
        print(models.markdown())
    else:
        console.print(models)


def info(name: Name, as_json: Json = False) -> None:
    """Show a model's facts, files and card."""
    found = lstm_zoo.info(name)
    if as_json:
        print_json(found.as_dict() | {"card": found.card})
        return
    facts = Table(show_header=False, title=escape(name))
    for key, cell in found.row().items():
        facts.add_row(key, escape(cell))
    facts.add_row("task", found.entry.task)
    facts.add_row("input", found.entry.takes)
    facts.add_row("dataset", found.entry.dataset)
    if found.metric:
        facts.add_row("measured on", escape(found.metric.split))
        for baseline, value in found.metric.baselines.items():
            facts.add_row(escape(f"baseline: {baseline}"), f"{value:.2%}")
    for note, text in (found.facts.notes if found.facts else {}).items():
        facts.add_row(escape(note), escape(str(text)))
    for file, size in found.files.items():
        facts.add_row(escape(f"file: {file}"), f"{size:,} bytes")
    console.print(facts)
    console.print(Markdown(found.card or "This installation has no pretrained weights for it."))
