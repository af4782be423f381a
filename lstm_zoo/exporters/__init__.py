"""Models as files for other programs, each with a certificate of what it was seen to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_zoo.errors import ExportError, InvalidInputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from lstm_zoo.exporters.certificate import Certificate

PROFILES = ("default",)
FILES_OF_OTHERS = (".h5", ".keras", ".lite", ".onnx", ".pb", ".pt")

__all__ = ["export", "verify"]


def export(
    model: keras.Model,
    path: str | Path,
    *,
    quantize: str | None = None,
    profile: str = "default",
    samples: int | None = None,
    check_inputs: np.ndarray | None = None,
) -> Certificate:
    """Write ``model`` as a TFLite file (``path`` ends in ``.tflite``) or a SavedModel folder, and prove it.

    The result is replayed in a fresh process and compared with the model. Only if it agrees is it put at ``path``,
    with its certificate beside it as ``<path>.json``; if not, what was there before stays. To agree is

    - to differ in no output by more than 1e-4 for float32, 5e-3 for float16, 0.3 for dynamic_int8; and
    - where there are 100 check inputs or more, to have the same highest output for at least 99.9 % of them for
      float32, 99 % for float16, 97 % for dynamic_int8.

    Args:
        model: a built model of one float32 input, such as ``[batch, samples]`` PCM, and one output.
        path: the file or folder to write.
        quantize: for TFLite: None (float32), ``"float16"`` or ``"dynamic_int8"`` (weights in 8 bits).
        profile: ``"default"``, for every TFLite and LiteRT interpreter.
        samples: input length of a TFLite file; default: that of the clips the model was trained
            on (one second for most). A SavedModel takes any length.
        check_inputs: float32 ``[count, samples]`` to compare on; default: the model's golden input where it has one,
            else seeded noise and tones. The certificate says which.

    Returns:
        The certificate: size, operators, largest difference, agreement, latency.

    Raises:
        InvalidInputError: an argument is out of range.
        ExportError: the model cannot be exported or does not take inputs of that length, the file does not agree
            with it, or the disk is full.
    """
    path = Path(os.path.abspath(path))  # "." and "x/.." have no name of their own to put a certificate beside
    _check(path, quantize, profile)
    # Imported here, so that the replay and converter processes do without TensorFlow or Keras where they can.
    from lstm_zoo.exporters import certificate, saved_model, tflite

    shape = saved_model.input_shape(model, samples)
    with _beside(path) as temporary:
        if path.suffix == ".tflite":
            temporary.write_bytes(tflite.convert(model, quantize, samples))
        else:
            saved_model.save(model, temporary)
        facts = certificate.certify(
            temporary, model, shape, name=path.name, quantize=quantize, profile=profile, check_inputs=check_inputs
        )
        note = certificate.certificate_path(temporary)
        note.write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
        with _certificate_aside(certificate.certificate_path(path), temporary.parent):
            if temporary.is_dir():
                saved_model.replace_folder(temporary, path)
            else:
                temporary.replace(path)
        note.replace(certificate.certificate_path(path))
    return facts


def verify(path: str | Path, model: keras.Model | None = None) -> Certificate:
    """Replay an exported file against its certificate: see :func:`lstm_zoo.exporters.certificate.verify`."""
    from lstm_zoo.exporters import certificate

    return certificate.verify(path, model)


def _check(path: Path, quantize: str | None, profile: str) -> None:
    if profile not in PROFILES:
        raise InvalidInputError(f"profile: got {profile!r}, there are: {', '.join(map(repr, PROFILES))}")
    if not path.name or Path.cwd().is_relative_to(path.resolve()):
        raise InvalidInputError(f"path: {path} is the current folder or one above it; give the name of a new one in it")
    if path.with_name(f"{path.name}.json").is_dir():
        raise InvalidInputError(f"path: the certificate would be {path}.json, which is a folder; use another name")
    if path.suffix in FILES_OF_OTHERS:
        raise InvalidInputError(f"path: {path.suffix} is not written here; use .tflite, or a folder for a SavedModel")
    if path.suffix == ".tflite":
        if path.is_dir():
            raise InvalidInputError(f"path: {path} is a folder, expected a file to write")
        return
    if quantize is not None:
        raise InvalidInputError(f"quantize: {quantize!r} is for .tflite files; a SavedModel is float32")
    ours = path.is_dir() and ((path / "saved_model.pb").exists() or not any(path.iterdir()))
    if path.exists() and not ours:
        raise InvalidInputError(f"path: {path} exists and is not a SavedModel folder; name another one or remove it")


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path of the same name in a temporary folder on the same disk; a full disk is an ExportError."""
    folder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield folder / path.name
    except OSError as error:
        raise ExportError(f"{path} could not be written: {error}") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _certificate_aside(note: Path, folder: Path) -> Iterator[None]:
    """Without the old certificate ``note`` while its file is replaced, and back with it if that fails.

    So at no moment is a certificate beside a file that is not the one it is of.
    """
    if not note.exists():
        yield
        return
    aside = note.rename(folder / f"{note.name}.old")
    try:
        yield
    except BaseException:
        aside.rename(note)
        raise
