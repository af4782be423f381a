"""The files of an artefact folder: checked by name, size and hash, read within bounds, written the same everywhere."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_zoo.errors import ArtifactError, InvalidInputError, LstmZooError

if TYPE_CHECKING:
    from lstm_zoo.artifact.manifest import FileRecord

MANIFEST = "manifest.json"
LARGEST_TEXT = 1_000_000  # bytes; no manifest, configuration, label file or card comes near
LARGEST_VOCABULARY = 50_000_000


def check_file_name(name: str, where: Any) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}", name) or name == MANIFEST:
        raise ArtifactError(f"{where}: {name!r} is not a plain file name (letters, digits, '_', '.', '-')")


def check_size(path: Path, record: FileRecord) -> None:
    if path.is_symlink():
        raise ArtifactError(f"{path} is a link: an artefact holds its files itself")
    if not path.is_file():
        raise ArtifactError(f"{path} is missing")
    size = path.stat().st_size
    if size != record.bytes:
        raise ArtifactError(f"{path} has {size} bytes, the manifest says {record.bytes}: fetch or write it again")


def check_hash(path: Path, record: FileRecord) -> None:
    found = sha256(path)
    if found != record.sha256:
        raise ArtifactError(f"{path} has changed: sha256 {found}, the manifest says {record.sha256}")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sorted_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")  # the same bytes, so the same hash, on every system


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    if path.is_symlink() or path.stat().st_size > most:
        raise ArtifactError(f"{path} is a link or larger than {most:,} bytes")
    try:
        return path.read_bytes().decode("utf-8")  # read as text, other line breaks would become "\n"
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """One of ``lines`` on each line of the file.

    Raises:
        InvalidInputError: one of them has a line break.
    """
    lines = list(lines)
    for number, line in enumerate(lines):
        if "\n" in line:
            raise InvalidInputError(f"{path.name}: item {number} has a line break, and each is one line: {line!r:.80}")
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_lines(path: Path, most: int = LARGEST_TEXT) -> list[str]:
    """What :func:`write_lines` wrote; :meth:`str.splitlines` would break lines at other characters, too."""
    text = read_text(path, most)
    if not text.endswith("\n"):
        raise ArtifactError(f"{path} does not end with a line break: its last line is not whole")
    return text[:-1].split("\n")


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} holds {type(value).__name__}, expected an object")
    return value


def read_array(path: Path) -> np.ndarray:
    try:
        # Mapped first: a header that claims more than the file holds is refused before memory is taken.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} is not a NumPy array file: {error}") from None
    if array.dtype != np.float32 or array.ndim < 2 or array.size == 0:
        raise ArtifactError(f"{path} holds {array.dtype} {array.shape}, expected float32 with a batch axis")
    return np.array(array)


@contextmanager
def as_artifact_error(path: Path) -> Iterator[None]:
    try:
        yield
    except LstmZooError as error:
        raise ArtifactError(f"{path}: {error}") from None
