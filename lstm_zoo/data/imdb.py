"""IMDB reviews of films, negative and positive: 25,000 for training, 25,000 for testing.

Maas et al., "Learning Word Vectors for Sentiment Analysis", ACL 2011, https://aclanthology.org/P11-1015. No licence is
stated; the authors ask to be cited.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike

import numpy as np

from lstm_zoo.data.sources import Files, find, open_files, read_text, read_texts
from lstm_zoo.data.texts import LABELS, TextDataset, TextSplit, dataset_of, split_of
from lstm_zoo.errors import DataError, InvalidInputError

FOLDERS = {"neg": LABELS.index("negative"), "pos": LABELS.index("positive")}
SEED = 0  # draws the films of the validation split
# <id>_<stars>: what got 5 or 6 stars is in neither folder.
_FILE_NAME = {"neg": re.compile(r"([0-9]{1,9})_[1-4]\.txt"), "pos": re.compile(r"([0-9]{1,9})_(?:[7-9]|10)\.txt")}
_FILM = re.compile(r"tt[0-9]+")


def load(source: str | PathLike[str] | None = None, *, validation: float = 0.1) -> TextDataset:
    """The official split, with a validation split cut from its training reviews.

    The official split is kept as it is, so that figures compare with published ones: 123 of its texts are in both
    training and testing. No film is in both. There is no official validation split. With the archive's lists of
    addresses (``urls_pos.txt``), it is drawn film by film. Without them, it is the last ids of each class: reviews of
    a film have neighbouring ids. Reviews whose text (without case and spaces) is in training too are left out of
    it: 13 of 2,500, where there are no lists.

    Args:
        source: archive or folder, see :func:`lstm_zoo.data.sources.find`; ``None`` looks on this machine, then
            downloads (84 MB).
        validation: share of the official training reviews, between 0 and 1.

    Returns:
        Reviews as they were written, with HTML's ``<br />`` in them, and labels from "negative" and "positive".

    Raises:
        DataError: the dataset is not there, lacks a class, is truncated or cannot be read, or a name of a file is not
            ``<id>_<stars>.txt`` with stars that fit its folder.
        InvalidInputError: ``validation`` is not between 0 and 1.
    """
    if not 0.0 < validation < 1.0:
        raise InvalidInputError(f"validation: got {validation!r}; expected a share between 0 and 1, such as 0.1")
    files = open_files(find("imdb", source))
    names = {part: _names(files, part) for part in ("train", "test")}
    training, testing = _read(files, names["train"]), _read(files, names["test"])
    held_out = _held_out(files, names["train"], validation)
    kept = training.where(not each for each in held_out)
    return dataset_of(files.path, "imdb", LABELS, kept, training.where(held_out).without(kept), testing)


def _names(files: Files, part: str) -> dict[str, tuple[str, int]]:
    """``{file name: (class, id)}`` of one part, class after class, by id."""
    names: dict[str, tuple[str, int]] = {}
    for folder, pattern in _FILE_NAME.items():
        prefix, numbers = f"{part}/{folder}/", {}
        for name in files.names:
            if not name.startswith(prefix):
                continue
            match = pattern.fullmatch(name.removeprefix(prefix))
            if match is None:
                raise DataError(f"{files.path}: {name} is not named <id>_<stars>.txt with stars of {folder}; remove it")
            numbers[name] = int(match[1])
        if not numbers:
            raise DataError(f"{files.path} has no reviews in {prefix}; expected <id>_<stars>.txt: fetch it again")
        names |= {name: (folder, number) for name, number in sorted(numbers.items(), key=lambda item: item[1])}
    return names


def _read(files: Files, names: Mapping[str, tuple[str, int]]) -> TextSplit:
    texts = dict(read_texts(files, names))
    return split_of((texts[name] for name in names), (FOLDERS[folder] for folder, _ in names.values()), names)


def _held_out(files: Files, names: Mapping[str, tuple[str, int]], share: float) -> list[bool]:
    """Which of the official training reviews are for validation."""
    lists = {folder: f"train/urls_{folder}.txt" for folder in FOLDERS}
    if all(name in files.names for name in lists.values()):
        films = _films(files, lists, names)
        chosen = _draw(films, share)
        return [film in chosen for film in films]
    numbers = {folder: [number for each, number in names.values() if each == folder] for folder in FOLDERS}
    first = {folder: ids[min(round(len(ids) * (1.0 - share)), len(ids) - 1)] for folder, ids in numbers.items()}
    return [number >= first[folder] for folder, number in names.values()]


def _films(files: Files, lists: Mapping[str, str], names: Mapping[str, tuple[str, int]]) -> list[str]:
    """The film of each review, such as "tt0453418": the review with id ``n`` has line ``n`` of its class's list."""
    addresses = {folder: read_text(files, name).split() for folder, name in lists.items()}
    films = []
    for name, (folder, number) in names.items():
        match = _FILM.search(addresses[folder][number]) if number < len(addresses[folder]) else None
        if match is None:
            raise DataError(f"{files.path}: {lists[folder]} names no film for {name}; fetch it again, or remove it")
        films.append(match[0])
    return films


def _draw(films: list[str], share: float) -> set[str]:
    """Films with ``share`` of all reviews, or little more."""
    distinct, reviews = np.unique(films, return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(distinct))
    enough = int(np.searchsorted(np.cumsum(reviews[order]), share * len(films))) + 1
    return set(distinct[order[:enough]].tolist())
