"""Texts that the command line is given, read piece by piece: arguments, files of one text a line, standard input."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import typer

from lstm_zoo.errors import DataError

STANDARD_INPUT = "-"
PIECE = 1 << 18  # bytes read at a time: some hundred reviews, so that texts of one length find each other
LONGEST = 1_000_000  # bytes of a line; a file without line ends would have to be held as a whole


@dataclass(frozen=True)
class Line:
    """One text, or why it could not be read.

    Attributes:
        source: the file's name, ``"-"`` for standard input; None for a text that was given as an argument.
        number: of the line in its source, from 1; of the argument among all.
        text: without the end of the line; empty where there is an ``error``.
    """

    source: str | None
    number: int
    text: str
    error: str | None = None


def check(inputs: Sequence[str]) -> None:
    """Refuse what is meant as a file but cannot be read as one, before a model is loaded.

    Raises:
        DataError: there is no such file, or it is a folder.
    """
    for given in inputs:
        if os.path.isdir(given):
            raise DataError(f"{printable(given)} is a folder; name the files in it, or pipe the text in and give -")
        if not os.path.exists(given) and _looks_like_path(given):
            raise DataError(f"{printable(given)} does not exist; if it is a text, pipe it in and give - instead")


def blocks(inputs: Sequence[str], read: Callable[[int], None] = lambda count: None) -> Iterator[list[Line]]:
    """The lines of all ``inputs``, as many at a time as one piece of a file has.

    Empty lines are left out. A pipe's lines come as soon as they are there.

    Args:
        inputs: texts, names of files, or ``"-"``.
        read: is told the number of bytes whenever some were read from a file.
    """
    for number, given in enumerate(inputs, start=1):
        if given == STANDARD_INPUT or os.path.exists(given):
            yield from _blocks_of(given, read)
        else:
            yield [_decoded(None, number, os.fsencode(given))]


def known_bytes(inputs: Sequence[str]) -> int | None:
    """Of all files together; None where something comes through a pipe."""
    sources = [given for given in inputs if given == STANDARD_INPUT or os.path.exists(given)]
    return sum(map(os.path.getsize, sources)) if all(map(os.path.isfile, sources)) else None


def printable(text: str) -> str:
    """``text`` without control characters and broken encodings, which would do things to a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _looks_like_path(given: str) -> bool:
    if given.lower().endswith(".txt"):
        return True
    return any(each in given for each in (os.sep, os.altsep) if each) and not any(map(str.isspace, given))


def _blocks_of(source: str, read: Callable[[int], None]) -> Iterator[list[Line]]:
    number, rest = 1, b""  # of the line that rest begins
    try:
        with _opened(source) as stream:
            while piece := stream.read1(PIECE):  # which does not wait for as many bytes as were asked for
                read(len(piece))
                *whole, rest = (rest + piece).split(b"\n")
                yield _present(_decoded(source, at, line) for at, line in enumerate(whole, start=number))
                number += len(whole)
                rest = rest[: LONGEST + 1]  # which is too long already
    except OSError as error:
        yield [Line(source, number, "", f"{printable(source)} cannot be read: {error.strerror or error}")]
    else:
        yield _present([_decoded(source, number, rest)])


def _present(lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line.text or line.error]


def _opened(source: str) -> AbstractContextManager[Any]:
    if source == STANDARD_INPUT:
        return nullcontext(typer.get_binary_stream("stdin"))
    return open(source, "rb")


def _decoded(source: str | None, number: int, line: bytes) -> Line:
    where = f"text {number}" if source is None else f"{printable(source)}, line {number}"
    if len(line) > LONGEST:
        return Line(source, number, "", f"{where} has over {LONGEST:,} bytes; expected one text a line")
    if number == 1 and source is not None:
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = f"byte {line[error.start]:#04x} at {error.start}"
        return Line(source, number, "", f"{where} is not UTF-8 ({wrong}); convert it, such as with iconv")
    return Line(source, number, text if source is None else text.strip())
