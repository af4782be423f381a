"""Sentence polarity dataset (MR): 10,662 snippets from reviews of films, half of them positive.

Pang and Lee, "Seeing stars", ACL 2005, CC BY 4.0. The Stanford Sentiment Treebank (:mod:`lstm_zoo.data.sst`) is made of
these very sentences: what was trained on one, never test on the other.
"""

from __future__ import annotations

from os import PathLike

import numpy as np

from lstm_zoo.data.sources import find, open_files
from lstm_zoo.data.texts import LABELS, TextDataset, dataset_of, read_lines, split_of
from lstm_zoo.errors import InvalidInputError

FILES = {"negative": "rt-polarity.neg", "positive": "rt-polarity.pos"}
SEED = 0  # draws the folds


def load(source: str | PathLike[str] | None = None, *, fold: int = 0, folds: int = 10) -> TextDataset:
    """One fold of a cross-validation: there is no official split, published figures are means over ten folds.

    The snippets of each class are dealt to the folds at random, always in the same way. Fold ``fold`` is for testing,
    the next one for validation, the others for training.

    Args:
        source: archive or folder, see :func:`lstm_zoo.data.sources.find`; ``None`` looks on this machine, then
            downloads (1 MB).
        fold: from 0 to ``folds - 1``.
        folds: at least 3.

    Returns:
        Snippets in lower case, tokens between spaces, and labels from "negative" and "positive".

    Raises:
        DataError: the dataset is not there, lacks a class or cannot be read.
        InvalidInputError: there is no such fold.
    """
    if folds < 3 or not 0 <= fold < folds:
        raise InvalidInputError(f"fold: got {fold} of {folds}; expected 0 to folds - 1, and at least 3 folds")
    files = open_files(find("movie_reviews", source))
    texts, labels, names, dealt = [], [], [], []
    generator = np.random.default_rng(SEED)
    for label, name in FILES.items():
        lines = read_lines(files, [name], "iso-8859-1")
        texts += [line.strip() for _, line in lines]
        labels += [LABELS.index(label)] * len(lines)
        names += [each for each, _ in lines]
        dealt += generator.permutation(np.arange(len(lines)) % folds).tolist()
    every, number = split_of(texts, labels, names), np.array(dealt)
    testing, validation = number == fold, number == (fold + 1) % folds
    parts = (every.where(chosen) for chosen in (~testing & ~validation, validation, testing))
    return dataset_of(files.path, "movie_reviews", LABELS, *parts)
