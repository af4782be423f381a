"""The command line. Commands print tables for people, or one JSON document with ``--json``."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any

import typer
import typer.core
from rich.markup import escape

import lstm_zoo
from lstm_zoo.cli import export, inspect, installation, models, predict, stream
from lstm_zoo.cli.console import FAILED, complain, messages
from lstm_zoo.errors import LstmZooError

# BadParameter is a UsageError, which is a ClickException: the base of all errors of usage, for which typer has no name.
_HANDLED_BY_TYPER = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2], BrokenPipeError)


class _Commands(typer.core.TyperGroup):
    """Turns errors into one line and exit status 2; ``$LSTM_ZOO_DEBUG`` shows the traceback of unexpected ones."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LstmZooError as error:
            complain(error)
            raise typer.Exit(FAILED) from None
        except Exception as error:
            if isinstance(error, _HANDLED_BY_TYPER) or os.environ.get("LSTM_ZOO_DEBUG"):
                raise
            first_line = next(iter(str(error).splitlines()), "no message")
            text = f"unexpected {type(error).__name__}: {first_line} (LSTM_ZOO_DEBUG=1 shows the traceback)"
            messages.print(escape(text), soft_wrap=True, highlight=False)
            raise typer.Exit(FAILED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Pretrained LSTM models: list them, use them on your files, export them, check them.",
    epilog="Start with: [bold]lstm-zoo demo[/], [bold]lstm-zoo list[/], [bold]lstm-zoo predict speech clip.wav[/]",
)
app.command("list", epilog="Example: lstm-zoo list --max-bytes 80000 --min-metric 0.9")(models.list_command)
app.command(epilog="Example: lstm-zoo info speech")(models.info)
app.command(epilog=predict.EPILOG)(predict.predict)
app.command(epilog=inspect.EPILOG)(inspect.inspect)
app.command(epilog=stream.EPILOG)(stream.stream)
app.command(
    epilog="Examples: lstm-zoo export speech speech.tflite --quantize dynamic_int8; "
    "lstm-zoo export speech phone.tflite --profile mediapipe; lstm-zoo export mine.keras mine.tflite"
)(export.export)
app.command(epilog="Example: lstm-zoo export-all files --data ~/datasets --markdown")(export.export_all)
app.command(epilog="Examples: lstm-zoo verify speech; lstm-zoo verify speech.tflite; lstm-zoo verify ./saved_model")(
    export.verify
)
app.command(epilog="Examples: lstm-zoo data; lstm-zoo data speech_commands --directory ~/speech")(installation.data)
app.command()(installation.doctor)
app.command()(installation.demo)


def main() -> None:
    """The ``lstm-zoo`` command."""
    for stream_out in (sys.stdout, sys.stderr):
        if isinstance(stream_out, io.TextIOWrapper):
            stream_out.reconfigure(errors="backslashreplace")  # where the encoding lacks a letter of somebody's text
    app(prog_name="lstm-zoo")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"lstm-zoo {lstm_zoo.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
