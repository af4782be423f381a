"""Stanford Sentiment Treebank: sentences from reviews of films, in two classes (SST-2) or five (SST-5).

Socher et al., "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank", EMNLP 2013. No licence
is known. :mod:`lstm_zoo.data.movie_reviews` has the same sentences: what was trained on one, never test on the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from os import PathLike

from lstm_zoo.data.sources import Files, find, open_files
from lstm_zoo.data.texts import LABELS, TextDataset, TextSplit, dataset_of, read_lines, split_of
from lstm_zoo.errors import DataError, InvalidInputError

KINDS = {2: "binary", 5: "fine"}
LABEL_NAMES = {2: LABELS, 5: ("very negative", "negative", "neutral", "positive", "very positive")}
PHRASES = ("SST-2/train.tsv.gz", "SST-2/train.tsv")
GLUE = "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip"
# How the Penn Treebank writes characters that have a meaning in its trees. GLUE's phrases have the characters
# themselves: a model trained on those would meet words in the test split that it cannot know.
_ESCAPES = {"-lrb-": "(", "-rrb-": ")", r"\/": "/", r"\*": "*"}


def load(source: str | PathLike[str] | None = None, *, classes: int = 2, phrases: bool = True) -> TextDataset:
    """The official splits: 6,920 / 872 / 1,821 sentences in two classes, or 8,544 / 1,101 / 2,210 in five.

    Training texts that are also a sentence for validation or testing, compared without case and spaces, are left out:
    2 of the 67,349 phrases; 3 of the 6,920 sentences in two classes; 4 of the 8,544 in five.

    Args:
        source: archive or folder with ``stsa.binary.train`` and the like, see :func:`lstm_zoo.data.sources.find`;
            ``None`` looks on this machine, then downloads (6 MB, without the phrases).
        classes: 2, for which neutral sentences are left out, or 5.
        phrases: train on the phrases of which the training sentences are made (GLUE's ``SST-2/train.tsv``), as most
            published figures do, rather than on the sentences alone. There are none in five classes.

    Returns:
        Texts in lower case, tokens between spaces, with brackets and slashes for the treebank's ``-lrb-`` and ``\\/``.

    Raises:
        DataError: the dataset is not there, lacks a file, cannot be read, or has a line without a label.
        InvalidInputError: ``classes`` is neither 2 nor 5.
    """
    if classes not in KINDS:
        raise InvalidInputError(f"classes: got {classes!r}; expected 2 (negative, positive) or 5 (from very negative)")
    files = open_files(find(f"sst{classes}", source))
    training, validation, testing = (_sentences(files, classes, part) for part in ("train", "dev", "test"))
    if classes == 2 and phrases:
        training = _phrases(files)
    training = training.without(validation, testing)
    return dataset_of(files.path, f"sst{classes}", LABEL_NAMES[classes], training, validation, testing)


def _sentences(files: Files, classes: int, part: str) -> TextSplit:
    lines = read_lines(files, [f"stsa.{KINDS[classes]}.{part}"])
    return _parse(files, lines, rf"(?P<label>[0-{classes - 1}]) (?P<text>.+)")


def _phrases(files: Files) -> TextSplit:
    if not any(name.endswith(PHRASES) for name in files.names):
        raise DataError(
            f"{files.path} has no phrases ({' or '.join(PHRASES)}); unpack {GLUE} beside the sentences in one folder "
            "and name it, or train on the sentences alone with phrases=False"
        )
    _, *lines = read_lines(files, PHRASES)
    return _parse(files, lines, r"(?P<text>[^\t]+)\t(?P<label>[01])")


def _parse(files: Files, lines: Iterable[tuple[str, str]], pattern: str) -> TextSplit:
    """``lines`` with their names, all of which ``pattern`` matches in full."""
    texts, labels, names = [], [], []
    for name, line in lines:
        match = re.fullmatch(pattern, line)
        if match is None:
            raise DataError(f"{files.path}: {name} is {line[:80]!r}; expected {pattern}: fetch the dataset again")
        texts.append(_unescape(match["text"].strip()))
        labels.append(int(match["label"]))
        names.append(name)
    return split_of(texts, labels, names)


def _unescape(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text
