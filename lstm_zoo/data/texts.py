"""Labelled texts in three splits: what the loaders of text datasets return, and what they share."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lstm_zoo.data import ThreeSplits
from lstm_zoo.data.sources import Files, read_texts
from lstm_zoo.errors import DataError

LABELS = ("negative", "positive")


@dataclass(frozen=True, eq=False)
class TextSplit:
    """The texts of one split, in a fixed order that is NOT shuffled: shuffle before training.

    Attributes:
        texts: what a model is given.
        labels: int32 ``[texts]``, indices into :attr:`TextDataset.label_names`.
        names: one per text: its file, with ``:<line>`` where a file has several. No name is in two splits.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    names: tuple[str, ...]

    def where(self, chosen: Iterable[bool]) -> TextSplit:
        """The texts for which ``chosen`` is true, one truth for each."""
        rows = np.flatnonzero(np.fromiter(chosen, bool))
        return TextSplit(
            tuple(self.texts[row] for row in rows), self.labels[rows], tuple(self.names[row] for row in rows)
        )

    def without(self, *others: TextSplit) -> TextSplit:
        """The texts that are in none of ``others``, compared without case and spaces."""
        known = {_essence(text) for other in others for text in other.texts}
        return self.where(_essence(text) not in known for text in self.texts)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class TextDataset(ThreeSplits[TextSplit]):
    """Labelled texts (see :class:`TextSplit`).

    Attributes:
        name: as ``lstm-zoo data`` lists it.
        label_names: what the labels mean, from the most negative on.
    """

    name: str
    label_names: tuple[str, ...]
    training: TextSplit
    validation: TextSplit
    testing: TextSplit

    @property
    def title(self) -> str:
        characters = np.mean([len(text) for part in self.splits.values() for text in part.texts])
        return f"{self.name}, texts of {characters:,.0f} characters on average"


def split_of(texts: Iterable[str], labels: Iterable[int], names: Iterable[str]) -> TextSplit:
    """A :class:`TextSplit` of what is listed."""
    return TextSplit(tuple(texts), np.array(list(labels), np.int32), tuple(names))


def read_lines(files: Files, wanted: Collection[str], encoding: str = "utf-8") -> list[tuple[str, str]]:
    """``("<file>:<number>", line)`` for the lines of the first of the files ``wanted`` that is there, in any folder.

    Raises:
        DataError: none is there, or it is empty or not a text in ``encoding``.
    """
    found = [name for each in wanted for name in files.names if f"/{name}".endswith(f"/{each}")]
    if not found:
        raise DataError(f"{files.path} has no file {' or '.join(wanted)}; fetch the dataset again")
    ((name, content),) = read_texts(files, found[:1], encoding)
    if not content:
        raise DataError(f"{files.path}: {name} is empty; fetch the dataset again")
    # Not splitlines(), for which the byte 0x85 ends a line: in ISO-8859-1 that is a character of some snippets.
    lines = [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]
    return [(f"{PurePosixPath(name).name}:{number}", line) for number, line in enumerate(lines, start=1)]


def dataset_of(
    path: Path, name: str, label_names: tuple[str, ...], training: TextSplit, validation: TextSplit, testing: TextSplit
) -> TextDataset:
    """The dataset, of which no class may be missing in any split.

    Raises:
        DataError: one is.
    """
    dataset = TextDataset(name, label_names, training, validation, testing)
    for split, counts in dataset.counts().items():
        if missing := [label for label, count in counts.items() if not count]:
            raise DataError(f"{path} has no texts for {split} that are: {', '.join(missing)}; fetch the dataset again")
    return dataset


def _essence(text: str) -> str:
    return "".join(text.lower().split())
