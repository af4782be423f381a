"""Artefact folders written: whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_zoo.artifact import files as folder_files
from lstm_zoo.artifact import weights
from lstm_zoo.artifact.files import MANIFEST
from lstm_zoo.artifact.manifest import GOLDEN_INPUTS, VOCABULARY, Facts, FileRecord, Manifest
from lstm_zoo.artifact.reading import predict, read
from lstm_zoo.errors import ArtifactError

if TYPE_CHECKING:
    import keras


def write(
    folder: str | Path,
    model: keras.Model,
    *,
    name: str,
    facts: Mapping[str, Any],
    card: str,
    golden_input: np.ndarray | Sequence[str],
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Write ``model`` (with ``.config`` and ``.labels``) as an artefact folder, whole or not at all.

    Everything is written to a hidden folder beside the target, read back and checked, and only then renamed; an
    artefact that was there before stays until that moment.

    Args:
        folder: where to; either new, empty, or an artefact folder to be replaced.
        facts: fields of :class:`Facts`; ``parameters`` and ``tflite`` are measured here.
        card: Markdown that says what the model was trained on and how good it is.
        golden_input: a batch of the model's raw input: float32 ``[count, ...]``, or texts without line breaks.
        files: further files by the name that they are to have, such as ``{"speech.tflite": path}``.

    Raises:
        ArtifactError: the folder holds something else, the model's golden output is not finite, or writing failed
            (no permission, full disk).
        InvalidInputError: a fact, a file name or a text is not valid.
    """
    folder = Path(folder).absolute()
    _refuse_to_replace_something_else(folder)
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        temporary.chmod(0o755)
        _write_model(temporary, model, card, golden_input)
        for file_name, source in (files or {}).items():
            folder_files.check_file_name(file_name, "files")
            shutil.copyfile(source, temporary / file_name)
        _write_manifest(temporary, model, name, facts)
        read(temporary)
        _swap(temporary, folder)
    except OSError as error:
        raise ArtifactError(f"{folder} could not be written, nothing was changed: {error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_model(folder: Path, model: Any, card: str, golden_input: np.ndarray | Sequence[str]) -> None:
    texts = isinstance(golden_input, list | tuple) and all(isinstance(each, str) for each in golden_input)
    given = list(golden_input) if texts else np.asarray(golden_input, dtype="float32")
    golden_output = predict(model, given)
    if not np.isfinite(golden_output).all():
        raise ArtifactError("the model's output for golden_input is not finite: the weights or the input are broken")
    config = model.config.model_dump(mode="json")
    if (vocabulary := config.pop("vocabulary", None)) is not None:
        folder_files.write_lines(folder / VOCABULARY, vocabulary)
    folder_files.write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    folder_files.write_text(folder / "labels.txt", "".join(f"{label}\n" for label in model.labels))
    folder_files.write_text(folder / "card.md", card)
    weights.save(model, folder / weights.WEIGHTS)
    arrays_file, texts_file = (folder / name for name in GOLDEN_INPUTS)
    if texts:
        folder_files.write_lines(texts_file, given)
    else:
        np.save(arrays_file, given, allow_pickle=False)
    np.save(folder / "golden_output.npy", golden_output, allow_pickle=False)


def _write_manifest(folder: Path, model: Any, name: str, facts: Mapping[str, Any]) -> None:
    records = {
        path.name: FileRecord(sha256=folder_files.sha256(path), bytes=path.stat().st_size)
        for path in folder_files.sorted_files(folder)
    }
    tflite = {file: record.bytes for file, record in records.items() if file.endswith(".tflite")}
    measured = {"parameters": model.count_params(), "tflite": tflite}
    manifest = Manifest(name=name, family=model.config.family, facts=Facts.create({**facts, **measured}), files=records)
    folder_files.write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def _refuse_to_replace_something_else(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ArtifactError(f"{folder} exists and is not a folder: choose another place")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{folder} holds files that are not an artefact: choose another place or empty it")


def _swap(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target``; if that fails, ``target`` is as it was."""
    old = new.with_name(f"{new.name}.old")
    replaces = target.exists()
    if replaces:
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if replaces:
            old.rename(target)
        raise
    if replaces:
        shutil.rmtree(old, ignore_errors=True)
