"""Pictures show what they were given, and need no display."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tones

import lstm_zoo
from lstm_zoo.frontends.audio import LogMelSpectrogram
from lstm_zoo.plots import new_figure, plot_confusion, plot_history, plot_lengths, plot_spectrograms

ROWS = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.2,2.0,0.3,1.9\n1,0.6,1.0,0.5,1.2\n"


def test_spectrograms_are_those_of_the_front_end(tmp_path):
    clips = tones.dataset().training.as_float()[[0, 24, 47]]
    front_end = LogMelSpectrogram(tones.experiment().model.front_end)
    figure = plot_spectrograms(clips, tones.LABELS, front_end)
    waveforms, images = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title() for axes in waveforms] == list(tones.LABELS)
    for clip, axes in zip(clips, waveforms, strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), clip)
        assert axes.lines[0].get_xdata()[-1] == pytest.approx(1.0, abs=1e-3)  # seconds
    for spectrogram, axes in zip(np.asarray(front_end(clips)), images, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), spectrogram.T)
        assert axes.images[0].origin == "lower"
    figure.savefig(tmp_path / "spectrograms.png")
    assert (tmp_path / "spectrograms.png").stat().st_size > 5_000


def test_lengths_are_counted_and_the_crop_is_marked():
    (axes,) = plot_lengths(np.array([3, 3, 10, 40]), crop=20).axes
    assert sum(bar.get_height() for bar in axes.patches) == 4
    assert axes.patches[0].get_height() == 2
    (line,) = axes.lines
    assert set(line.get_xdata()) == {20}
    assert line.get_label() == "20 tokens: 25% are longer"


@pytest.mark.parametrize("epochs", [1, 2])
def test_history_is_that_of_the_file(tmp_path, epochs):
    file = tmp_path / "history.csv"
    file.write_text("".join(ROWS.splitlines(keepends=True)[: epochs + 1]))
    loss, accuracy = plot_history(file).axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    np.testing.assert_array_equal(loss.lines[0].get_xdata(), [1, 2][:epochs])
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), [2.0, 1.0][:epochs])
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), [1.9, 1.2][:epochs])
    np.testing.assert_array_equal(accuracy.lines[1].get_ydata(), [0.3, 0.5][:epochs])


def test_confusion_has_a_number_for_every_count():
    counts = np.array([[7, 1, 0], [0, 5, 2], [0, 0, 0]])
    figure = plot_confusion(("a", "b", "c"), counts, "title")
    (axes,) = figure.axes
    written = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "7", (0, 1): "1", (1, 1): "5", (1, 2): "2"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    np.testing.assert_allclose(axes.images[0].get_array()[0], [7 / 8, 1 / 8, 0])


def test_figures_show_themselves_in_notebooks_without_pyplot():
    code = (
        "import sys; from lstm_zoo.plots import new_figure\n"
        "print(new_figure()._repr_png_()[:4], 'matplotlib.pyplot' in sys.modules)"
    )
    root = Path(lstm_zoo.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == r"b'\x89PNG' False", done.stderr


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(lstm_zoo.MissingExtraError, match=r"pip install 'lstm-zoo\[notebooks\]'"):
        new_figure()
