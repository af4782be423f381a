"""Where a dataset is: found on this machine, or downloaded from its official address.

:func:`find` gives a folder or an archive, :func:`open_files` reads either; archives are never unpacked to disk.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import posixpath
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Protocol

from lstm_zoo.data.catalogue import KNOWN_SHA256, SOURCES, Source
from lstm_zoo.errors import DataError, UnknownNameError

ENVIRONMENT_VARIABLE = "LSTM_ZOO_DATA"
MEGABYTE = 1_000_000
LARGEST_MEMBER = 64 * MEGABYTE
LARGEST_ARCHIVE = 8_000 * MEGABYTE
# An archive of up to this many bytes, unpacked, is read once and kept; a larger one is read once more for its clips.
KEPT_IN_MEMORY = 512 * MEGABYTE
# Endings of the files that a loader may ask for; some datasets name their splits or labels so.
WANTED = (".wav", ".txt", ".tsv", ".tsv.gz", ".train", ".dev", ".test", ".pos", ".neg")


# === Finding ===


def find(dataset: str, directory: str | PathLike[str] | None = None) -> Path:
    """The folder or archive of ``dataset``, downloaded where this machine has none.

    Args:
        dataset: a key of :data:`SOURCES`.
        directory: where to look, and nowhere else: an unpacked copy, its archive, or a folder that holds either
            (also in the folders that :class:`~lstm_zoo.data.catalogue.Source` calls ``below``). ``None`` looks in
            ``$LSTM_ZOO_DATA``, then in the cache, then downloads into the cache.

    Raises:
        UnknownNameError: there is no such dataset.
        DataError: ``directory`` does not hold it; an archive is not what its checksum says; it is not on this
            machine and cannot be downloaded (the message says what to fetch and where to put it).
    """
    source = _source(dataset)
    found = locate(dataset, directory)
    if found is None and directory is not None:
        raise DataError(
            f"directory: {dataset} is not in {Path(directory)}; expected an archive {' or '.join(source.archives)} "
            f"or an unpacked copy with {' or '.join(source.markers)} (also in {' or '.join(source.below)}). "
            f"Official archive: {source.url}"
        )
    if found is None:
        _refuse_wrong_environment()
        return _download(source)
    if found.is_file():
        _check_sha256(found, KNOWN_SHA256.get(found.name))
    return found


def locate(dataset: str, directory: str | PathLike[str] | None = None) -> Path | None:
    """Where :func:`find` would find ``dataset`` without a download; ``None`` where it would not."""
    source = _source(dataset)
    for root in [Path(directory)] if directory is not None else _roots(source):
        for place in (root, *(root / folder for folder in source.below)):
            if found := _look(place, source):
                return found
    return None


def cache_folder(dataset: str) -> Path:
    """Where downloads of ``dataset`` go."""
    import pooch

    return Path(pooch.os_cache("lstm_zoo")) / _source(dataset).name


def _source(dataset: str) -> Source:
    if dataset not in SOURCES:
        raise UnknownNameError("dataset", dataset, SOURCES)
    return SOURCES[dataset]


def _roots(source: Source) -> list[Path]:
    configured = os.environ.get(ENVIRONMENT_VARIABLE)
    return [*([Path(configured)] if configured else []), cache_folder(source.name)]


def _refuse_wrong_environment() -> None:
    """A misspelt folder is better said than answered by a download of gigabytes."""
    configured = os.environ.get(ENVIRONMENT_VARIABLE)
    if configured and not Path(configured).exists():
        raise DataError(f"{ENVIRONMENT_VARIABLE}: {configured} does not exist; set it to the folder of your datasets")


def _look(place: Path, source: Source) -> Path | None:
    """``place`` itself, or what stands in it under a name of the dataset: an unpacked copy before an archive."""
    if place.is_file():
        return place if _is_tar_name(place) else None
    if not place.is_dir():
        return None
    if _is_unpacked(place, source):
        return place
    entries = sorted(place.iterdir())
    for entry in entries:
        if entry.is_dir() and _matches(entry, source.folders) and _is_unpacked(entry, source):
            return entry
    return next((entry for entry in entries if entry.is_file() and _matches(entry, source.archives)), None)


def _is_unpacked(folder: Path, source: Source) -> bool:
    return any(next(folder.glob(marker), None) is not None for marker in source.markers)


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in patterns)


def _is_tar_name(path: Path) -> bool:
    """Whether ``path`` is named like a tar archive."""
    return ".tar" in path.suffixes or path.suffix in {".tgz", ".txz"}


def _check_sha256(archive: Path, expected: str | None) -> None:
    if expected is None:
        return
    with archive.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise DataError(
            f"{archive} has sha256 {actual}; expected {expected}: it is truncated or changed; "
            "fetch it again, or give your own archive another name"
        )


def _download(source: Source) -> Path:
    """Into a temporary file beside the target, renamed when it is complete and its checksum, if known, is right."""
    import pooch
    import requests

    folder = cache_folder(source.name)
    by_hand = f"fetch {source.url} by hand, put it in {folder} or in any folder, and set {ENVIRONMENT_VARIABLE} to that"
    notice = f"downloading {source.title}: {source.megabytes:,} MB, licence {source.licence}, into {folder}"
    print(notice, file=sys.stderr)
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known_hash = f"sha256:{source.sha256}" if source.sha256 else None
        fetched = pooch.retrieve(source.url, known_hash, source.file_name, folder, downloader=downloader)
    except (requests.RequestException, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{source.name} is not here and cannot be downloaded ({reason}); {by_hand}") from None
    except ValueError as error:  # pooch's way to say that the checksum is wrong; it names both
        raise DataError(f"{source.url}: {error} Nothing was kept; {by_hand}") from None
    return Path(fetched)


# === Reading ===


class Files(Protocol):
    """The sounds and texts of a dataset (:data:`WANTED`), wherever they are.

    Names are relative, with ``/``, and sorted.
    """

    path: Path
    names: tuple[str, ...]

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """``(name, content)`` of the named files, in whatever order is fastest."""
        ...


def open_files(path: Path) -> Files:
    """Read a dataset that :func:`find` found.

    Raises:
        DataError: an archive is truncated, not a tar archive, too large, or has members that point outside it.
    """
    return Folder(path) if path.is_dir() else Archive(path)


def read_text(files: Files, name: str) -> str:
    """The content of one text file."""
    return next(text for _, text in read_texts(files, [name]))


def read_texts(files: Files, names: Iterable[str], encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """``(name, text)`` of the named files, in whatever order is fastest; ``.gz`` is unpacked.

    Raises:
        DataError: a file is missing or is not a text in ``encoding``.
    """
    for name, content in files.read(names):
        try:
            yield name, _gunzip(content).decode(encoding) if name.endswith(".gz") else content.decode(encoding)
        except (UnicodeDecodeError, EOFError, zlib.error, OSError):
            raise DataError(f"{files.path}: {name} is not a text file in {encoding.upper()}; fetch it again") from None


def _gunzip(content: bytes) -> bytes:
    with gzip.open(io.BytesIO(content)) as stream:
        unpacked = stream.read(LARGEST_MEMBER + 1)
    if len(unpacked) > LARGEST_MEMBER:
        raise OSError("it unpacks to too much")
    return unpacked


class Folder:
    """An unpacked dataset."""

    def __init__(self, path: Path):
        self.path = path
        found = (file for pattern in ("*", "*/*", "*/*/*") for file in path.glob(pattern))
        self.names = tuple(sorted(name for file in found if _wanted(name := file.relative_to(path).as_posix())))

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for name in names:
            try:
                yield name, (self.path / name).read_bytes()
            except OSError as error:
                raise DataError(f"{self.path / name} cannot be read: {error.strerror}") from None


class Archive:
    """A tar archive (gz, xz, bz2), read from front to back and never unpacked to disk."""

    def __init__(self, path: Path):
        self.path = path
        total, kept = 0, dict[str, bytes]()
        members = set[str]()
        for member, content in self._members(None):
            total += member.size
            if total > LARGEST_ARCHIVE:
                limit = f"{LARGEST_ARCHIVE // MEGABYTE:,} MB"
                raise DataError(f"{path} unpacks to more than {limit}; this is not the dataset")
            members.add(member.name)
            kept[member.name] = content
            if total > KEPT_IN_MEMORY:
                kept.clear()
        self._prefix = _common_folder(members)
        self.names = tuple(sorted(name.removeprefix(self._prefix) for name in members))
        self._kept = kept if total <= KEPT_IN_MEMORY else None

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        if self._kept is not None:
            yield from ((name, self._kept[self._prefix + name]) for name in names)
            return
        for member, content in self._members({self._prefix + name for name in names}):
            yield member.name.removeprefix(self._prefix), content

    def _members(self, names: set[str] | None) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        """The members that are wanted (or those in ``names``) with their content, their names without ``./``."""
        try:
            with tarfile.open(self.path, "r:*") as archive:
                for member in archive:
                    member.name = _safe_name(member.name, self.path)
                    wanted = _wanted(member.name) if names is None else member.name in names
                    if not (wanted and member.isreg()):
                        continue
                    if member.size > LARGEST_MEMBER:
                        raise DataError(f"{self.path}: {member.name} is larger than {LARGEST_MEMBER // MEGABYTE} MB")
                    stream = archive.extractfile(member)
                    assert stream is not None  # regular files always have one
                    yield member, stream.read()
        except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError) as error:
            raise DataError(f"{self.path} is truncated or not a tar archive ({error}); fetch it again") from None


def _wanted(name: str) -> bool:
    """Hidden files are left out: macOS puts ``._x.wav`` beside ``x.wav``."""
    return name.endswith(WANTED) and not PurePosixPath(name).name.startswith(".")


def _safe_name(name: str, archive: Path) -> str:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise DataError(f"{archive} has a member that points outside it ({name!r}); do not use this archive")
    return PurePosixPath(*parts).as_posix()


def _common_folder(names: set[str]) -> str:
    """``"top/"`` where everything stands in one folder ``top``, as in the archives that GitHub makes."""
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    common = posixpath.commonpath(folders) if folders else ""
    return f"{common}/" if common not in {"", "."} else ""
