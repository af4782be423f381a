"""Exported files on the disk: checked before the work, written whole or not at all, the certificate beside them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lstm_zoo.errors import ExportError, InvalidInputError

FORMS = {".tflite": "tflite", ".onnx": "onnx", "": "saved_model"}
PIECE = 1 << 20  # bytes read at a time
LONGEST_NAME = 200  # bytes; the temporary folder beside it and the certificate have longer ones
FILES_OF_OTHERS = (".h5", ".keras", ".lite", ".pb", ".pt")


def form_of(path: Path) -> str:
    """``"tflite"``, ``"onnx"`` or, for whatever has another ending, ``"saved_model"``."""
    return FORMS.get(path.suffix.lower(), FORMS[""])


def certificate_path(path: Path) -> Path:
    """Where the certificate of the exported ``path`` is."""
    return path.with_name(f"{path.name}.json")


def sha256(path: Path) -> str:
    """Of a file's content; of a folder's names and contents."""
    digest = hashlib.sha256()
    for file in _files(path):
        if path.is_dir():
            digest.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            while piece := content.read(PIECE):
                digest.update(piece)
    return digest.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        return iter([path])
    return (file for file in sorted(path.rglob("*")) if file.is_file())


def check_destination(path: Path) -> None:
    """Refuse a ``path`` where nothing can be written, or where something would be lost.

    Raises:
        InvalidInputError: says what is there, and what to use instead.
    """
    if "\0" in str(path) or len(os.fsencode(path.name)) > LONGEST_NAME:
        raise InvalidInputError(f"path: {str(path)[:60]!r}... has a null byte or a name of over {LONGEST_NAME} bytes")
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES):
            raise InvalidInputError(f"path: {str(path)[:60]!r}... cannot be used: {error.strerror}") from None
    if not path.name or Path.cwd().is_relative_to(path.resolve()):
        raise InvalidInputError(f"path: {path} is the current folder or one above it; give the name of a new one in it")
    if certificate_path(path).is_dir():
        raise InvalidInputError(f"path: the certificate would be {path}.json, which is a folder; use another name")
    if path.suffix.lower() in FILES_OF_OTHERS:
        raise InvalidInputError(
            f"path: {path.suffix} is not written here; use .tflite, .onnx, or a folder for a SavedModel"
        )
    if form_of(path) != "saved_model":
        if path.is_dir():
            raise InvalidInputError(f"path: {path} is a folder, expected a file to write")
        return
    ours = path.is_dir() and ((path / "saved_model.pb").exists() or not any(path.iterdir()))
    if path.exists() and not ours:
        raise InvalidInputError(f"path: {path} exists and is not a SavedModel folder; name another one or remove it")


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path of the same name in a temporary folder on the same disk; a full disk is an ExportError.

    Folders above it are made, and stay only if there is something in them at the end.
    """
    folder, made = None, []
    try:
        made = [above for above in path.parents if not above.exists()]  # the innermost first
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield folder / path.name
    except OSError as error:
        raise ExportError(f"{path} could not be written: {error}") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # what is not empty stays
            for above in made:
                above.rmdir()


def put(new: Path, path: Path) -> None:
    """Move the exported ``new``, its certificate beside it, to ``path``, in the place of what was there before."""
    with _certificate_aside(certificate_path(path), new.parent):
        if new.is_dir():
            _replace_folder(new, path)
        else:
            new.replace(path)
    certificate_path(new).replace(certificate_path(path))


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


def _replace_folder(new: Path, target: Path) -> None:
    """Put the complete folder ``new`` where ``target`` is; the old one is gone only once the new one is there."""
    if not target.exists():
        new.rename(target)
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.old.") as aside:
        old = target.rename(Path(aside) / target.name)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old)
