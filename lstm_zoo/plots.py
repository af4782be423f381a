"""Pictures: what a model hears, how it learned. Each function returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_zoo.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lstm_zoo.frontends.audio import LogMelSpectrogram


def new_figure(**settings: Any) -> Figure:
    """A figure that needs no display, and shows itself in notebooks."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "notebooks", "a plot") from None

    class ShownFigure(Figure):
        """IPython knows how to show a figure only after pyplot was imported, which is not needed here."""

        def _repr_png_(self) -> bytes:
            content = BytesIO()
            self.savefig(content, format="png")
            return content.getvalue()

    return ShownFigure(layout="constrained", **settings)


def plot_spectrograms(clips: np.ndarray, titles: Sequence[str], front_end: LogMelSpectrogram) -> Figure:
    """Waveform above log-mel spectrogram for each clip, ``[clips, samples]`` float32."""
    figure = new_figure(figsize=(2.2 * len(clips) + 0.6, 4.0))
    axes = figure.subplots(2, len(clips), sharex=True, squeeze=False, height_ratios=(1, 2))
    settings = front_end.settings
    spectrograms = np.asarray(front_end(clips))  # [clips, frames, mel_bins]
    for column, (clip, title, spectrogram) in enumerate(zip(clips, titles, spectrograms, strict=True)):
        seconds = np.arange(len(clip)) / settings.sample_rate
        axes[0, column].plot(seconds, clip, linewidth=0.4)
        axes[0, column].set(title=title, ylim=(-1, 1))
        end = len(spectrogram) * settings.hop_length / settings.sample_rate
        axes[1, column].imshow(spectrogram.T, origin="lower", aspect="auto", extent=(0, end, 0, settings.mel_bins))
        axes[1, column].set(xlabel="seconds")
    axes[0, 0].set(ylabel="amplitude")
    axes[1, 0].set(ylabel="mel bin")
    return figure


def plot_lengths(lengths: np.ndarray, crop: int) -> Figure:
    """How many texts have how many tokens, ``[texts]``, and from where on training cuts them."""
    figure = new_figure(figsize=(8, 3))
    axes = figure.subplots()
    axes.hist(lengths, bins=60)
    cut = np.mean(lengths > crop)
    axes.axvline(crop, color="black", linestyle="--", label=f"{crop} tokens: {cut:.0%} are longer")
    axes.set(xlabel="tokens", ylabel="texts")
    axes.legend()
    return figure


def plot_history(history: Path) -> Figure:
    """Loss and accuracy over epochs from the ``history.csv`` of a training run."""
    table = np.atleast_1d(np.genfromtxt(history, delimiter=",", names=True))
    figure = new_figure(figsize=(8, 3))
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(table["epoch"] + 1, table[quantity], label="training")
        axes.plot(table["epoch"] + 1, table[f"val_{quantity}"], label="validation")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.legend()
    return figure


def plot_confusion(labels: Sequence[str], confusion: np.ndarray, title: str) -> Figure:
    """Rows: the true label; columns: the predicted one. ``confusion``: counts, ``[labels, labels]``."""
    figure = new_figure(figsize=(7, 6))
    axes = figure.subplots()
    axes.imshow(confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        color = "white" if confusion[row, column] > confusion[row].sum() / 2 else "black"
        axes.text(column, row, confusion[row, column], ha="center", va="center", color=color, fontsize=7)
    return figure
