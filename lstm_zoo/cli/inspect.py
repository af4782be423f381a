"""``lstm-zoo inspect``: which words moved a decision, and what the gates did."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

import lstm_zoo
from lstm_zoo.cli import text_lines
from lstm_zoo.cli.console import Json, Model, console, family, messages, pretrained, print_json
from lstm_zoo.errors import DataError, InvalidInputError

EPILOG = (
    'Examples: lstm-zoo inspect sentiment "Slow at first, but what an ending!" --plot words.png; '
    "lstm-zoo inspect speech clip.wav --plot gates.png"
)
PICTURES = (".png", ".svg", ".pdf", ".jpg")


def inspect(
    name: Model,
    given: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A text or a file with one; or a wav, flac or ogg file.", show_default=False
        ),
    ],
    plot: Annotated[
        Path | None, typer.Option(help=f"Write a picture: a {', '.join(PICTURES)} file.", show_default=False)
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Show the gates of this LSTM, of a model that takes texts in place of its words. "
            "[default for sound: the first]",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which words of a text moved the decision; or what the gates of an LSTM did over time."""
    takes_sound = family(name) == "speech"
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise InvalidInputError(f"--plot: got {plot.name!r}, expected a file that ends in {', '.join(PICTURES)}")
    with messages.status(f"loading {escape(name)}"):
        model = pretrained(name)
        if takes_sound:
            raw: Any = lstm_zoo.read_audio(given, model.config.front_end.sample_rate)[0]
        else:
            raw = _text(given)
        shows_gates = takes_sound or layer is not None
        found: Any
        found = lstm_zoo.inspect.gates(model, raw, layer) if shows_gates else lstm_zoo.inspect.words(model, raw)
    if as_json:
        print_json({"model": name, **(_gates_document(found) if shows_gates else _words_document(found))})
    else:
        console.print(found)
    if plot is not None:
        _write(found, plot)


def _text(given: str) -> str:
    """``given``, or what is in the file of that name."""
    text_lines.check([given])
    if not os.path.isfile(given):  # which a text may be too long to be
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{text_lines.printable(given)} cannot be read as a text: {error}") from None


def _words_document(found: Any) -> dict[str, Any]:
    words = [
        {"word": token, "score": float(score), "probability": float(row[found.labels.index(found.target)])}
        for token, score, row in zip(found.tokens, found.scores, found.running, strict=True)
    ]
    probability = float(found.probabilities.max())
    return {"label": found.label, "probability": probability, "target": found.target, "words": words}


def _gates_document(found: Any) -> dict[str, Any]:
    steps, units = found.cell.shape
    return {"layer": found.layer, "steps": steps, "units": units, "gates": found.summary()}


def _write(found: Any, path: Path) -> None:
    """The picture, whole or not at all."""
    from lstm_zoo.exporters import files

    with files.beside(path) as new, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for it
        found.plot().savefig(new)
        new.replace(path)
    messages.print(f"{escape(str(path))} written", soft_wrap=True, highlight=False)
