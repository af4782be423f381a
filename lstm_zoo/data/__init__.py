"""Datasets with their official splits: one loader per dataset, each returning an :class:`AudioDataset`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

SPLITS = ("training", "validation", "testing")


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
class AudioDataset:
    """Labelled clips of one length (see :class:`AudioSplit`); ``sample_rate`` is in hertz."""

    name: str
    label_names: tuple[str, ...]
    sample_rate: int
    training: AudioSplit
    validation: AudioSplit
    testing: AudioSplit

    @property
    def splits(self) -> Mapping[str, AudioSplit]:
        """The three splits by name."""
        return {split: getattr(self, split) for split in SPLITS}

    def counts(self) -> dict[str, dict[str, int]]:
        """Clips by split and label: ``{"training": {"yes": 2057, ...}, ...}``."""
        counted = {}
        for split, part in self.splits.items():
            numbers = np.bincount(part.labels, minlength=len(self.label_names)).tolist()
            counted[split] = dict(zip(self.label_names, numbers, strict=True))
        return counted

    def summary(self) -> Table:
        """A table of clips per class and split, for the terminal (``rich.print``) and for notebooks."""
        from rich.table import Table

        counts = self.counts()
        length = self.training.audio.shape[1] / self.sample_rate
        table = Table("class", title=f"{self.name}, {length:g} s clips, {self.sample_rate:,} Hz")
        for split in SPLITS:
            table.add_column(split, justify="right", footer=f"{len(self.splits[split]):,}")
        table.columns[0].footer = "all"
        table.show_footer = True
        for label in self.label_names:
            table.add_row(label, *(f"{counts[split][label]:,}" for split in SPLITS))
        return table
