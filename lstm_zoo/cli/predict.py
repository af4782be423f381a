"""``lstm-zoo predict``: what a model says to files and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lstm_zoo.cli.console import Model, family
from lstm_zoo.cli.predict_sound import HOP, THRESHOLD, predict_sounds
from lstm_zoo.cli.predict_text import predict_texts
from lstm_zoo.errors import InvalidInputError

EPILOG = (
    "Examples: lstm-zoo predict speech kitchen.wav door.flac --top 3; "
    'lstm-zoo predict sentiment "What a film!"; '
    "lstm-zoo predict sentiment reviews.txt --json > answers.jsonl; cat *.txt | lstm-zoo predict sentiment -"
)


def predict(
    name: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="For models that hear: wav, flac or ogg files of any length and rate. For models that read: texts, "
            "files with one text a line, and - for standard input.",
            show_default=False,
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Show this many labels for each text or piece of sound.")] = 1,
    hop: Annotated[
        float | None,
        typer.Option(min=0.01, help="Sound: seconds from one window's start to the next one's.", show_default=f"{HOP}"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Sound: leave out what is less probable.", show_default=f"{THRESHOLD}"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Sound: show each window, whatever its probability.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: one document for all sounds, a line for each text.")
    ] = False,
) -> None:
    """Say which words are in sound files, and when; or what texts say.

    Sound is heard in windows of one second. Neighbouring windows with the same word are shown as one, with the highest
    of their probabilities; where nothing reaches the threshold, the most probable is shown. Texts are read and answered
    piece by piece, so that files and pipes may be of any length; empty lines are left out, and counted.
    """
    if family(name) == "speech":
        hop, threshold = HOP if hop is None else hop, THRESHOLD if threshold is None else threshold
        files = list(map(Path, inputs))
        predict_sounds(name, files, top=top, hop=hop, threshold=threshold, every=every, as_json=as_json)
        return
    for option, given in (("--hop", hop is not None), ("--threshold", threshold is not None), ("--all", every)):
        if given:
            raise InvalidInputError(f"{option}: {name} takes texts, and the option is for sound; leave it out")
    predict_texts(name, inputs, top=top, as_json=as_json)
