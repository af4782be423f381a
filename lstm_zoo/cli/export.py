"""``lstm-zoo export``, ``lstm-zoo export-all`` and ``lstm-zoo verify``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

import lstm_zoo
from lstm_zoo.cli.console import FAILED, complain, console, messages, pretrained, start_tensorflow
from lstm_zoo.errors import InvalidInputError, LstmZooError
from lstm_zoo.exporters import PROFILES, QUANTIZATIONS, STREAMINGS

WINDOW_HOP = 0.1  # seconds between the windows that are cut from recordings as representative data


def _names(choices: tuple[str | None, ...]) -> str:
    return ", ".join(choice for choice in choices if choice)


def export(
    model: Annotated[
        str, typer.Argument(metavar="NAME_OR_FILE", help="A model's name, an artefact folder or your own .keras file.")
    ],
    path: Annotated[Path, typer.Argument(help="A .tflite or .onnx file, or a folder for a SavedModel.")],
    profile: Annotated[str, typer.Option(help=f"The form of the recurrent layers: {_names(PROFILES)}.")] = "default",
    quantize: Annotated[str | None, typer.Option(help=f"{_names(QUANTIZATIONS)}; float32 without it.")] = None,
    representative_data: Annotated[
        Path | None,
        typer.Option(
            help="For int8: a .npy file of inputs, a sound file or folder of them, or a .txt of a text a line."
        ),
    ] = None,
    check_inputs: Annotated[
        Path | None,
        typer.Option(help="What to compare file and model on, such as test data: as for --representative-data."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Length of the input, in tokens of text; the model's clip or 256 without it.")
    ] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Leave batch and length open (default profile).")] = False,
    streaming: Annotated[
        str | None, typer.Option(help=f"Signatures clip, step and chunk with explicit state: {_names(STREAMINGS)}.")
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Take text, with tensorflow-text's operators (models of subwords).")
    ] = False,
    labels: Annotated[Path | None, typer.Option(help="For MediaPipe: a text file with a label on each line.")] = None,
    sample_rate: Annotated[int | None, typer.Option(help="For MediaPipe: of the sound the model takes, hertz.")] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(help="For MediaPipe: of a model that takes ids, a text file with a token on each line."),
    ] = None,
) -> None:
    """Write a model as a TFLite file, SavedModel or ONNX, replay it, and certify that it gives the same answers.

    [bold]default[/] is for TFLite and LiteRT runtimes, [bold]mediapipe[/] for MediaPipe Tasks, [bold]universal[/] runs
    everywhere and is larger. The file gets a certificate beside it, which `lstm-zoo verify` checks anywhere.
    """
    with messages.status(f"exporting {escape(model)} to {escape(str(path))}"):
        loaded = _load(model)
        certificate = lstm_zoo.export(
            loaded,
            path,
            profile=profile,
            quantize=quantize,
            representative_data=_inputs("representative_data", representative_data, loaded, samples),
            check_inputs=_inputs("check_inputs", check_inputs, loaded, samples),
            samples=samples,
            dynamic=dynamic,
            streaming=streaming,
            text=text,
            metadata=_metadata(labels, sample_rate, vocabulary),
        )
    console.print(certificate)


def export_all(
    folder: Annotated[Path, typer.Argument(help="Where the files go; made where it is missing.")],
    names: Annotated[list[str] | None, typer.Option("--model", help="Only these models; may be repeated.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Datasets, to compare on real test data and learn ranges from training data.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Export every model in every profile and quantisation, and show what each file was seen to do."""
    from lstm_zoo.exporters import matrix

    results = []
    for name in names or [each.name for each in lstm_zoo.list_models() if each.pretrained]:
        with messages.status(f"exporting {escape(name)}") as status:
            model = pretrained(name)
            check_inputs, representative = _examples(name, model, data)
            for each in matrix.export_all(name, model, folder, check_inputs, representative):
                results.append(each)
                status.update(f"exporting {escape(name)}: {len(results)} files, the last {each.form}")
    if markdown:
        rows = [list(matrix.COLUMNS), ["---"] * 4 + ["---:"] * 4, *(each.row() for each in results)]
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    else:
        table = Table(*matrix.COLUMNS)
        for each in results:
            table.add_row(*map(escape, each.row()))
        console.print(table)
    if any(each.error for each in results):
        raise typer.Exit(FAILED)


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
            complain(error)
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
    start_tensorflow()
    found = artifact.verify(folder)
    return (
        f"{found.files} files as in the manifest, golden output reproduced (largest difference "
        f"{found.largest_difference:.2g}), {len(found.certificates)} TFLite files answer as certified"
    )


def _is_exported(path: Path) -> bool:
    from lstm_zoo.exporters.files import certificate_path

    return path.suffix in (".tflite", ".onnx") or (bool(path.name) and certificate_path(path).is_file())


# === What the options name ===


def _load(name_or_file: str) -> Any:
    """A model of the zoo, or the user's own from a ``.keras`` file, in which no code is ever run."""
    if not name_or_file.endswith(".keras"):
        return pretrained(name_or_file)
    if not Path(name_or_file).is_file():
        raise InvalidInputError(f"NAME_OR_FILE: there is no file {name_or_file}")
    start_tensorflow()
    import keras

    importlib.import_module("lstm_zoo.layers")  # so that Keras knows the layers of this package
    try:
        return keras.saving.load_model(name_or_file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises what it likes
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidInputError(f"NAME_OR_FILE: Keras cannot load {name_or_file}: {first_line}") from error


def _metadata(labels: Path | None, sample_rate: int | None, vocabulary: Path | None) -> Any:
    if labels is None and sample_rate is None and vocabulary is None:
        return None
    if labels is None or (sample_rate is None) == (vocabulary is None):
        raise InvalidInputError(
            "labels: --labels goes with --sample-rate for models that take sound, and with --vocabulary for models "
            "that take ids of tokens"
        )
    from lstm_zoo.exporters.metadata import AudioMetadata, TextMetadata

    names = _lines("labels", labels)
    if vocabulary is not None:
        return TextMetadata.create({"labels": names, "vocabulary": _lines("vocabulary", vocabulary)})
    return AudioMetadata.create({"labels": names, "sample_rate": sample_rate})


def _lines(option: str, path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{option}: {path} cannot be read: {error}") from None


def _inputs(option: str, path: Path | None, model: Any, samples: int | None) -> np.ndarray | list[str] | None:
    """Of ``model``, from a ``.npy`` file, the lines of a ``.txt`` file, or the windows of recordings."""
    if path is None:
        return None
    if path.suffix == ".txt":
        return _lines(option, path)
    if path.suffix == ".npy":
        try:
            array: np.ndarray = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{option}: {path} cannot be read: {error}") from None
        return array
    files = sorted(each for each in path.rglob("*") if each.suffix in (".wav", ".flac", ".ogg"))
    if not files and not path.is_file():
        raise InvalidInputError(f"{option}: no .wav, .flac or .ogg files in {path}")
    return np.concatenate([_windows(option, file, model, samples) for file in files or [path]])


def _windows(option: str, file: Path, model: Any, samples: int | None) -> np.ndarray:
    """``[count, samples]`` float32: the recording in windows of the model's length, ten a second."""
    config: Any = getattr(model, "config", None)
    rate = getattr(getattr(config, "front_end", None), "sample_rate", None)
    if rate is None:
        raise InvalidInputError(f"{option}: sound files are for models of the zoo; use a .npy file of inputs")
    sound, _ = lstm_zoo.read_audio(file, rate)
    length = samples or config.clip_samples
    sound = np.pad(sound, (0, max(0, length - len(sound))))
    return np.lib.stride_tricks.sliding_window_view(sound, length)[:: round(rate * WINDOW_HOP)]


def _examples(name: str, model: Any, data: Path | None) -> tuple[Any, Any]:
    """What to compare on, and what to learn ranges from: of the dataset, or of what is bundled where there is none."""
    from lstm_zoo import demo
    from lstm_zoo.registry import entry

    of_text = hasattr(model, "tokenize")
    if data is None:
        return None, model.golden_input if of_text else _windows("data", demo.CLIP, model, None)
    dataset = importlib.import_module(f"lstm_zoo.data.{entry(name).dataset}").load(data)
    testing, training = ((each.texts if of_text else each.as_float()) for each in (dataset.testing, dataset.training))
    return testing, training[:: max(1, len(training) // 500)]
