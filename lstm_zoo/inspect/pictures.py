"""What was found as matplotlib figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_zoo.inspect.shades import relative, shade
from lstm_zoo.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lstm_zoo.inspect.gates import GateValues
    from lstm_zoo.inspect.words import WordScores

COLUMNS = 100  # characters of a line of words
MOST_TICKS = 60  # words that can be read below an axis


def plot_words(found: WordScores) -> Figure:
    """The words of a text coloured by their scores, above the probabilities after each of them."""
    places = list(_places(found.tokens))
    lines = 1 + max((line for line, _ in places), default=0)
    figure = new_figure(figsize=(10, 3.6 + 0.27 * lines))
    above, below = figure.subplots(2, 1, height_ratios=(0.27 * lines + 0.1, 3.0))
    above.set(xlim=(0, COLUMNS), ylim=(lines, 0), title=f"{found.heading}; blue: for {found.target}, red: against it")
    above.axis("off")
    for token, value, (line, column) in zip(found.tokens, relative(found.scores), places, strict=True):
        background, foreground = shade(float(value))
        box = {"facecolor": background, "edgecolor": "none", "pad": 1.5}
        style = {"family": "monospace", "fontsize": 10, "color": foreground, "bbox": box, "parse_math": False}
        above.text(column, line + 0.5, token[:COLUMNS], va="center", **style)
    _plot_running(below, found)
    return figure


def _plot_running(axes: Any, found: WordScores) -> None:
    shown = (found.target,) if len(found.labels) == 2 else found.labels
    for label in shown:
        axes.plot(found.running[:, found.labels.index(label)], label=label, marker=".")
    axes.set(ylim=(-0.02, 1.02), ylabel=f"probability of {shown[0]}" if len(shown) == 1 else "probability")
    axes.set_xlabel("after each word, as if the text ended there")
    axes.grid(alpha=0.3)
    if len(shown) > 1:
        axes.legend()
    _name_steps(axes, found.tokens)


def plot_gates(found: GateValues) -> Figure:
    """Heat maps of the gates, the candidate and the cell state: time from left to right, a row for each unit."""
    maps = {f"{name} gate": (values, "viridis", (0.0, 1.0)) for name, values in found.gates.items()}
    for name, values in (("candidate", found.candidate), ("cell state", found.cell)):
        if values is not None:
            largest = float(np.nanpercentile(np.abs(values), 99)) or 1.0  # single units run far ahead of the others
            maps[name] = (values, "RdBu", (-largest, largest))
    figure = new_figure(figsize=(10, 1.7 * len(maps) + 0.8))
    rows = figure.subplots(len(maps), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, (values, colours, (low, high))) in zip(rows, maps.items(), strict=True):
        image = axes.imshow(values.T, aspect="auto", interpolation="nearest", cmap=colours, vmin=low, vmax=high)
        axes.set(ylabel="unit", title=name)
        figure.colorbar(image, ax=axes)
    if found.steps is not None:
        _name_steps(rows[-1], found.steps)
    elif found.seconds is not None:
        rows[-1].xaxis.set_major_formatter(lambda step, _: f"{step * found.seconds:.2f}")
        rows[-1].set_xlabel("seconds")
    else:
        rows[-1].set_xlabel("step")
    figure.suptitle(found.layer)
    return figure


def _places(tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Line and column of each token, in lines of up to :data:`COLUMNS` characters."""
    line = column = 0
    for token in tokens:
        if column and column + len(token) > COLUMNS:
            line, column = line + 1, 0
        yield line, column
        column += len(token) + 1


def _name_steps(axes: Any, names: Sequence[str]) -> None:
    """As many of ``names`` below the axis as can be read."""
    shown = range(0, len(names), 1 + len(names) // MOST_TICKS)
    axes.set_xticks(list(shown), [names[at][:20] for at in shown], rotation=90, fontsize=8, parse_math=False)
