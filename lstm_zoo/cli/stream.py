"""``lstm-zoo stream``: words as they are heard."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from lstm_zoo.cli.console import Model, console, family, messages, pretrained, start_tensorflow
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.streaming import sources
from lstm_zoo.streaming.detection import REFRACTORY, SMOOTHING, THRESHOLD, Event

EPILOG = (
    "Examples: lstm-zoo stream speech kitchen.wav; "
    "arecord -q -f S16_LE -r 16000 -t raw | lstm-zoo stream speech -; "
    "ffmpeg -i radio.mp3 -f s16le -ac 1 -ar 16000 - | lstm-zoo stream speech - --json"
)


def stream(
    name: Model,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|-]",
            help="A wav, flac or ogg file, or - for raw 16-bit mono PCM on standard input. Without it: the microphone.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=sources.LOWEST_RATE,
            max=sources.HIGHEST_RATE,
            help="Hertz of the raw PCM or the microphone. [default: the model's own]",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Less probable words are not heard.")] = THRESHOLD,
    smoothing: Annotated[float, typer.Option(min=0, help="Seconds over which probabilities are averaged.")] = SMOOTHING,
    refractory: Annotated[float, typer.Option(min=0, help="Seconds without a second event of a word.")] = REFRACTORY,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document for each word, a line each.")
    ] = False,
) -> None:
    """Print words as they are heard, each with its time.

    A file is read in pieces and may be of any length. Ctrl-C ends listening.
    """
    if family(name) != "speech":
        raise InvalidInputError(f"{name} takes no sound; models that do: {', '.join(_hearing())}")
    if rate is not None and source not in (None, "-"):
        raise InvalidInputError(f"--rate: {source} has a sample rate of its own; leave the option out")
    with messages.status(f"loading {escape(name)}"):
        sample_rate, chunks = _open(source, name, rate)  # first, as the model takes seconds to load
        listening = pretrained(name).stream(
            sample_rate=sample_rate, threshold=threshold, smoothing=smoothing, refractory=refractory
        )
    _listen(listening, chunks, as_json, microphone=source is None)


def _open(source: str | None, name: str, rate: int | None) -> tuple[int, Iterator[np.ndarray]]:
    if source not in (None, "-"):
        return sources.file_chunks(source)
    if source == "-" and sys.stdin.isatty():
        raise InvalidInputError("standard input is a terminal; pipe raw PCM into it, such as arecord -t raw | ...")
    rate = rate or _own_rate(name)
    if source is None:
        return rate, sources.microphone_chunks(rate)
    return rate, sources.raw_chunks(typer.get_binary_stream("stdin"))


def _hearing() -> list[str]:
    from lstm_zoo import registry

    return [entry.name for entry in registry.ENTRIES.values() if entry.sample_rate is not None]


def _own_rate(name: str) -> int:
    """Hertz that a model takes; of those of the zoo it is known before TensorFlow has started."""
    from lstm_zoo import artifact, registry

    folder, known = registry.pretrained_folder(name), registry.ENTRIES.get(name)
    if known is not None and known.sample_rate is not None:
        return known.sample_rate
    start_tensorflow()
    config: Any = artifact.read(folder).config
    return int(config.front_end.sample_rate)


def _listen(listening: Any, chunks: Iterable[np.ndarray], as_json: bool, microphone: bool) -> None:
    if microphone:
        messages.print("listening to the microphone; Ctrl-C ends", style="dim")
    words, seconds = 0, 0.0
    try:
        for events in _heard(listening, chunks):
            words += len(events)  # before they are printed, where Ctrl-C may come in between
            seconds = listening.time or seconds  # after the end it is 0 again
            for event in events:
                _show(event, as_json)
    except KeyboardInterrupt:
        seconds = listening.time or seconds
    messages.print(f"{seconds:.1f} s heard, {words} word{'' if words == 1 else 's'}", style="dim", highlight=False)


def _heard(listening: Any, chunks: Iterable[np.ndarray]) -> Iterator[list[Event]]:
    """The words of each chunk, then those that the end makes certain."""
    for chunk in chunks:
        yield listening.feed(chunk)
    yield listening.flush()


def _show(event: Event, as_json: bool) -> None:
    if as_json:
        document = {"time_seconds": round(event.time, 3), "label": event.label, "probability": event.probability}
        print(json.dumps(document, ensure_ascii=False), flush=True)
    else:
        line = f"[dim]{event.time:9.2f} s[/]  [bold]{escape(f'{event.label:<12}')}[/]{event.probability:.1%}"
        console.print(line, highlight=False)
