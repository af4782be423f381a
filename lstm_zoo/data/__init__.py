"""Datasets with their official splits: one loader per dataset, each returning an :class:`AudioDataset` or a
:class:`~lstm_zoo.data.texts.TextDataset`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

SPLITS = ("training", "validation", "testing")
_LOADERS: dict[str, tuple[str, dict[str, Any]]] = {  # where the module is not named like the dataset
    "sst2": ("sst", {"classes": 2}),
    "sst5": ("sst", {"classes": 5}),
}


def load(name: str, directory: str | PathLike[str] | None = None) -> Any:
    """A dataset by the name under which ``lstm-zoo data`` lists it, as its own loader gives it by default.

    Args:
        name: "speech_commands", "fsdd", "imdb", "sst2", "sst5" or "movie_reviews".
        directory: see :func:`lstm_zoo.data.sources.find`.

    Raises:
        UnknownNameError: there is no such dataset.
        DataError: it is not there, or its files are not what they should be.
    """
    from lstm_zoo.data.catalogue import SOURCES
    from lstm_zoo.errors import UnknownNameError

    if name not in SOURCES:
        raise UnknownNameError("dataset", name, SOURCES)
    module, options = _LOADERS.get(name, (name, {}))
    return importlib.import_module(f"lstm_zoo.data.{module}").load(directory, **options)


class Split(Protocol):
    """What the splits of every kind of dataset have."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...


S = TypeVar("S", bound=Split)


class ThreeSplits(Generic[S]):
    """What datasets of every kind say of their three splits; a base for dataclasses with these fields."""

    name: str
    label_names: tuple[str, ...]
    training: S
    validation: S
    testing: S

    @property
    def splits(self) -> Mapping[str, S]:
        """The three splits by name."""
        return {split: getattr(self, split) for split in SPLITS}

    @property
    def title(self) -> str:
        """What is in the dataset, in a line."""
        return self.name

    def counts(self) -> dict[str, dict[str, int]]:
        """Examples by split and label: ``{"training": {"yes": 2057, ...}, ...}``."""
        counted = {}
        for split, part in self.splits.items():
            numbers = np.bincount(part.labels, minlength=len(self.label_names)).tolist()
            counted[split] = dict(zip(self.label_names, numbers, strict=True))
        return counted

    def summary(self) -> Table:
        """A table of examples per class and split, for the terminal (``rich.print``) and for notebooks."""
        from rich.table import Table

        counts = self.counts()
        table = Table("class", title=self.title)
        for split in SPLITS:
            table.add_column(split, justify="right", footer=f"{len(self.splits[split]):,}")
        table.columns[0].footer = "all"
        table.show_footer = True
        for label in self.label_names:
            table.add_row(label, *(f"{counts[split][label]:,}" for split in SPLITS))
        return table


def _no_noise() -> np.ndarray:
    return np.zeros(0, np.int16)


@dataclass(frozen=True, eq=False)
class AudioSplit:
    """The clips of one split, in a fixed order that is NOT shuffled: shuffle before training.

    Attributes:
        audio: int16 PCM ``[clips, samples]``.
        labels: int32 ``[clips]``, indices into :attr:`AudioDataset.label_names`.
        names: one per clip: its path in the dataset, or ``"silence/<n>"``. No name is in two splits.
        noise: int16 ``[samples]``, background noise that belongs to this split alone; may be empty.
    """

    audio: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    noise: np.ndarray = field(default_factory=_no_noise)

    def as_float(self) -> np.ndarray:
        """The clips as float32 ``[clips, samples]`` in -1..1, which is what the models take."""
        return self.audio.astype(np.float32) / 32768.0

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class AudioDataset(ThreeSplits[AudioSplit]):
    """Labelled clips of one length (see :class:`AudioSplit`); ``sample_rate`` is in hertz."""

    name: str
    label_names: tuple[str, ...]
    sample_rate: int
    training: AudioSplit
    validation: AudioSplit
    testing: AudioSplit

    @property
    def title(self) -> str:
        length = self.training.audio.shape[1] / self.sample_rate
        return f"{self.name}, {length:g} s clips, {self.sample_rate:,} Hz"
