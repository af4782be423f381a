"""Which words moved a text classifier's decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.text import PADDING, UNKNOWN
from lstm_zoo.inspect.shades import html, relative, shade

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 1000  # tokens; the time grows with the square of them
TOKENS_AT_ONCE = 25_600  # bounds memory: rows of a batch times their length
STRONGEST = 10  # words in the table for a terminal


@dataclass(frozen=True)
class WordScores:
    """What each word of a text did to the decision. Shows itself in colour in terminals and notebooks.

    Attributes:
        text: what was read.
        labels: names of the model's outputs.
        target: the label that scores are about: with two labels the second one, "positive", else the predicted one.
        tokens: the words that the model read, unknown ones too, in order; of a model of subwords its subwords.
        scores: float32 ``[tokens]``, what the token adds to the log-odds of ``target``; see :func:`words`.
        running: float32 ``[tokens, labels]``, the probabilities after each token, as if the text ended there.
        probabilities: float32 ``[labels]``, those of the whole text.
    """

    text: str
    labels: tuple[str, ...]
    target: str
    tokens: tuple[str, ...]
    scores: np.ndarray
    running: np.ndarray
    probabilities: np.ndarray

    @property
    def label(self) -> str:
        """The label that the model decided on."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def heading(self) -> str:
        return f"{self.label}, {self.probabilities.max():.1%}"

    @property
    def strongest(self) -> list[int]:
        """Positions of the tokens, those with the largest scores of either sign first."""
        return np.argsort(-np.abs(self.scores), kind="stable").tolist()

    def plot(self) -> Figure:
        """The words, coloured by their scores, above the probabilities after each of them.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from lstm_zoo.inspect.pictures import plot_words

        return plot_words(self)

    def __rich__(self) -> Group:
        words = Text()
        for token, value in zip(self.tokens, relative(self.scores), strict=True):
            background, foreground = shade(float(value))
            words.append(token, f"{foreground} on {background}").append(" ")
        table = Table("", "word", "score", caption=f"score: what the word adds to the log-odds of {self.target}")
        for at in self.strongest[:STRONGEST]:
            table.add_row(str(at + 1), Text(self.tokens[at]), f"{self.scores[at]:+.3f}")
        return Group(Text(self.heading, "bold"), words, table)

    def _repr_html_(self) -> str:
        spans = [
            html(token, float(value), f"{score:+.3f}, word {at}")
            for at, (token, value, score) in enumerate(
                zip(self.tokens, relative(self.scores), self.scores, strict=True), start=1
            )
        ]
        scale = f"{html('more', 1, '')} or {html('less', -1, '')} {html(self.target, 0, '')}"
        return f"<p><b>{self.heading}</b> ({scale})</p><p>{' '.join(spans)}</p>"


def words(model: Any, text: str, *, longest: int = LONGEST) -> WordScores:
    r"""What each word of ``text`` adds to the model's decision, by occlusion, and how the decision came about.

    .. math:: s_t = \log\frac{p(y \mid x)}{1 - p(y \mid x)} - \log\frac{p(y \mid x_{-t})}{1 - p(y \mid x_{-t})}

    where :math:`x_{-t}` is the text with token :math:`t` replaced by ``<UNKNOWN>``, and :math:`y` is the target: of two
    labels the second one, so that the score of a negative and a positive label is positive where the word speaks for
    "positive"; of more labels the predicted one. A word that the model does not know scores 0. Occlusion: Zeiler and
    Fergus 2014 (https://arxiv.org/abs/1311.2901); for words: Li et al. 2016 (https://arxiv.org/abs/1612.08220), who
    take the relative change of the log-probability; log-odds differ where a model is sure, too. Words that say the same
    twice each score low, as either alone will do.

    Args:
        model: a text classifier, such as ``lstm_zoo.get("sentiment")``.
        text: one text.
        longest: most tokens that are accepted. A text of ``n`` tokens is run ``2 n`` times; memory is bounded.

    Raises:
        InvalidInputError: ``model`` takes no texts; ``text`` is none, or longer than ``longest``.
    """
    if not hasattr(model, "tokenize"):
        raise InvalidInputError(
            f"model: got {type(model).__name__} {getattr(model, 'name', '')!r}, expected one that takes texts, such as "
            "lstm_zoo.get('sentiment'); for others there is lstm_zoo.inspect.gates"
        )
    if not isinstance(text, str):
        raise InvalidInputError(f"text: got {type(text).__name__}, expected one text as str")
    tokens = tuple(model.tokenizer.tokens(text)[1:])  # without <START>
    if len(tokens) > longest:
        raise InvalidInputError(
            f"text: got {len(tokens):,} tokens, expected up to {longest:,}, as the time grows with the square of their "
            f"number: pass a part of it, or longest={len(tokens)}"
        )
    ids = model.tokenize([text])[0]  # <START> first
    running = _run(model, ids, _prefixes, len(ids))
    occluded = _run(model, ids, _without, len(ids))[1:]
    whole = running[-1]
    target = 1 if len(model.labels) == 2 else int(whole.argmax())
    scores = (_log_odds(whole, target) - _log_odds(occluded, target)).astype("float32")
    return WordScores(text, tuple(model.labels), model.labels[target], tokens, scores, running[1:], whole)


def _run(model: Any, ids: np.ndarray, change: Callable[..., np.ndarray], count: int) -> np.ndarray:
    """Probabilities ``[count, labels]`` of what ``change`` makes of ``ids`` ``[time]`` for 0, 1 and so on."""
    rows = max(1, TOKENS_AT_ONCE // len(ids))
    batches = [np.arange(start, min(start + rows, count)) for start in range(0, count, rows)]
    return np.concatenate([np.asarray(model(change(ids, positions))) for positions in batches])


def _prefixes(ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """A row for each position: ``ids`` up to it, ``[rows, time]``."""
    kept = ids[: positions.max() + 1]
    return np.where(np.arange(len(kept)) <= positions[:, None], kept, PADDING).astype("int32")


def _without(ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """A row for each position: ``ids`` with ``<UNKNOWN>`` there, ``[rows, time]``."""
    return np.where(np.arange(len(ids)) == positions[:, None], UNKNOWN, ids).astype("int32")


def _log_odds(probabilities: np.ndarray, target: int) -> np.ndarray:
    """Of the label ``target``, ``[..., labels]`` to ``[...]``; the sum of the others is exact where 1 - p is not."""
    tiny = float(np.finfo("float32").tiny)
    exact = np.maximum(probabilities.astype("float64"), tiny)
    return np.log(exact[..., target]) - np.log(np.delete(exact, target, axis=-1).sum(axis=-1))
