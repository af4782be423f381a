"""The command line. Commands print tables for people, or one JSON document with ``--json``."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column, Table

import lstm_zoo
from lstm_zoo.errors import LstmZooError, UnknownNameError

FAILED = 2

console = Console()
messages = Console(stderr=True)

# BadParameter is a UsageError, which is a ClickException: the base of all errors of usage, for which typer has no name.
_HANDLED_BY_TYPER = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2], BrokenPipeError)


class _Commands(typer.core.TyperGroup):
    """Turns errors into one line and exit status 2; ``$LSTM_ZOO_DEBUG`` shows the traceback of unexpected ones."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LstmZooError as error:
            _complain(error)
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

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Name = Annotated[str, typer.Argument(help="A model's name, as `lstm-zoo list` shows it.", show_default=False)]
Model = Annotated[str, typer.Argument(help="A model's name, or an artefact folder.", show_default=False)]


def main() -> None:
    """The ``lstm-zoo`` command."""
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


# === Models ===


@app.command("list", epilog="Example: lstm-zoo list --max-bytes 80000 --min-metric 0.9")
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
        _print_json([each.as_dict() for each in models])
    elif markdown:
        print(models.markdown())
    else:
        console.print(models)


@app.command(epilog="Example: lstm-zoo info speech")
def info(name: Name, as_json: Json = False) -> None:
    """Show a model's facts, files and card."""
    found = lstm_zoo.info(name)
    if as_json:
        _print_json(found.as_dict() | {"card": found.card})
        return
    facts = Table(show_header=False, title=escape(name))
    for key, cell in found.row().items():
        facts.add_row(key, escape(cell))
    facts.add_row("task", found.entry.task)
    facts.add_row("input", f"PCM at {found.entry.sample_rate:,} Hz")
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


# === Predict ===


@app.command(epilog="Example: lstm-zoo predict speech kitchen.wav door.flac --top 3")
def predict(
    name: Model,
    files: Annotated[list[Path], typer.Argument(help="wav, flac or ogg files of any length and rate.")],
    top: Annotated[int, typer.Option(min=1, help="Show this many words for each piece of sound.")] = 1,
    hop: Annotated[float, typer.Option(min=0.01, help="Seconds from one window's start to the next one's.")] = 0.5,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Leave out what is less probable.")] = 0.6,
    every: Annotated[bool, typer.Option("--all", help="Show each window, whatever its probability.")] = False,
    as_json: Json = False,
) -> None:
    """Say which words are in sound files, and when.

    The model listens to windows of one second. Neighbouring windows with the same word are shown as one, with the
    highest of their probabilities; where nothing reaches the threshold, the most probable is shown.
    """
    with messages.status(f"loading {escape(name)}"):
        model = _pretrained(name)
    documents = []
    with _progress(len(files)) as advance:
        for file in files:
            document = _predict_file(model, file, top, hop, threshold)
            documents.append(document)
            if not as_json:
                _show_prediction(document, "detections" if every else "words")
            advance()
    if as_json:
        _print_json({"model": name, "files": documents})
    if any("error" in document for document in documents):
        raise typer.Exit(FAILED)


def _predict_file(model: Any, file: Path, top: int, hop: float, threshold: float) -> dict[str, Any]:
    """What was heard in ``file``, or why it could not be read, as JSON values."""
    rate = model.config.front_end.sample_rate
    try:
        samples, original_rate = lstm_zoo.read_audio(file, rate)
        found = model.classify(samples, rate, hop=hop)
    except LstmZooError as error:
        _complain(error)
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


# === Export and verify ===


@app.command(epilog="Example: lstm-zoo export speech speech.tflite --quantize dynamic_int8")
def export(
    name: Model,
    path: Annotated[Path, typer.Argument(help="A .tflite file, or a folder for a SavedModel.")],
    quantize: Annotated[str | None, typer.Option(help="float16 or dynamic_int8; float32 without it.")] = None,
    profile: Annotated[str, typer.Option(help="The form of the exported loop.")] = "default",
    samples: Annotated[int | None, typer.Option(help="Length of the input; one second without it.")] = None,
) -> None:
    """Write a model as a TFLite file or SavedModel, replay it, and certify that it gives the same answers."""
    with messages.status(f"exporting {escape(name)} to {escape(str(path))}"):
        certificate = lstm_zoo.export(_pretrained(name), path, quantize=quantize, profile=profile, samples=samples)
    console.print(certificate)


@app.command(epilog="Examples: lstm-zoo verify speech; lstm-zoo verify speech.tflite; lstm-zoo verify ./saved_model")
def verify(
    targets: Annotated[
        list[str], typer.Argument(help="Names of models, artefact folders, or exported files and folders.")
    ],
) -> None:
    """Hash files again and replay stored inputs: does everything still give the answers it gave when it was made?"""
    failed = False
    for target in targets:
        try:
            with messages.status(f"verifying {escape(target)}"):
                found = _verify(target)
            console.print(f"[green]ok[/] {escape(target)}: {found}")
        except LstmZooError as error:
            _complain(error)
            failed = True
    if failed:
        raise typer.Exit(FAILED)


def _verify(target: str) -> str:
    from lstm_zoo import artifact, registry
    from lstm_zoo.exporters import certificate

    if _is_exported(Path(target)) and target not in registry.ENTRIES:
        checked = certificate.verify(Path(target))
        return f"answers as certified, largest difference {checked.largest_difference:.2g}"
    folder = registry.pretrained_folder(target)
    _start_tensorflow()
    found = artifact.verify(folder)
    return (
        f"{found.files} files as in the manifest, golden output reproduced (largest difference "
        f"{found.largest_difference:.2g}), {len(found.certificates)} TFLite files answer as certified"
    )


def _is_exported(path: Path) -> bool:
    from lstm_zoo.exporters import certificate

    return path.suffix == ".tflite" or (bool(path.name) and certificate.certificate_path(path).is_file())


# === Data, doctor, demo ===


@app.command(epilog="Examples: lstm-zoo data; lstm-zoo data speech_commands --directory ~/speech")
def data(
    name: Annotated[str | None, typer.Argument(help="A dataset, to read and summarise it.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Where to look.")] = None,
) -> None:
    """List the datasets and where they were found, or summarise one by class and split."""
    from lstm_zoo.data import sources

    if name is None:
        table = Table("dataset", "licence", "size", "checksum", Column("found in", overflow="fold"))
        for each in sources.SOURCES.values():
            found = sources.locate(each.name, directory)
            checksum = "sha256" if each.sha256 else "no checksum published"
            where = escape(str(found)) if found else f"not on this machine; to fetch it: lstm-zoo data {each.name}"
            table.add_row(each.name, each.licence, f"{each.megabytes:,} MB", checksum, where)
        console.print(table)
        return
    if name not in sources.SOURCES:
        raise UnknownNameError("dataset", name, sources.SOURCES)
    place = sources.find(name, directory)
    with messages.status(f"reading {escape(str(place))}"):
        dataset = importlib.import_module(f"lstm_zoo.data.{name}").load(directory)
    console.print(f"found in {escape(str(place))}")
    console.print(dataset.summary())


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation: Python, packages, disk, TensorFlow and the pretrained models."""
    from dataclasses import asdict

    from lstm_zoo.doctor import check_all

    with messages.status("checking"):
        with suppress(ImportError):  # which is then what the doctor reports
            _start_tensorflow()
        checks = list(check_all())
    if as_json:
        _print_json([asdict(check) for check in checks])
    else:
        colours = {"ok": "green", "missing": "yellow", "problem": "red"}
        table = Table("what", "state", "finding")
        for check in checks:
            table.add_row(check.name, f"[{colours[check.state]}]{check.state}[/]", escape(check.finding))
        console.print(table)
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(FAILED)


@app.command()
def demo() -> None:
    """Name the words in a bundled clip with the Keras model and with its TFLite file, side by side."""
    from lstm_zoo.demo import run

    with messages.status("loading, classifying, exporting and replaying"):
        _start_tensorflow()
        result = run()
    console.print(result)


# === Loading and printing ===


def _pretrained(name: str) -> Any:
    from lstm_zoo import registry

    registry.pretrained_folder(name)  # a wrong name is an error at once, not after TensorFlow has started
    _start_tensorflow()
    return lstm_zoo.get(name)


def _start_tensorflow() -> None:
    """Import TensorFlow without its notes on processors and CUDA libraries, which none of its settings silences."""
    if "tensorflow" in sys.modules:
        return
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _complain(error: LstmZooError) -> None:
    messages.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
