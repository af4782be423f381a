"""``lstm-zoo inspect``: words and gates, as a table, JSON and a picture."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import lstm_zoo
from lstm_zoo import cli, plots
from lstm_zoo.cli import inspect as command
from lstm_zoo.cli.console import console

TEXT = "A great film, so plumptious!"

get = functools.cache(lstm_zoo.get)


@pytest.fixture(autouse=True)
def loaded_once(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "pretrained", get)
    monkeypatch.setattr(console, "_width", 160)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).normal(0, 0.1, 8_000)
    soundfile.write(tmp_path / "clip.wav", samples, 8_000)
    return tmp_path / "clip.wav"


def run(*arguments: Any, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(cli.app, ["inspect", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


def test_words_of_a_text(tmp_path: Path) -> None:
    found = lstm_zoo.inspect.words(get("sentiment"), TEXT)
    out, err = run("sentiment", TEXT, "--plot", tmp_path / "new" / "words.png")
    assert "A great film so plumptious" in out
    assert f"{found.scores[1]:+.3f}" in out
    assert "words.png written" in err
    assert (tmp_path / "new" / "words.png").read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["words.png"]
    document = json.loads(run("sentiment", TEXT, "--json")[0])
    assert (document["label"], document["target"]) == (found.label, "positive")
    assert [each["word"] for each in document["words"]] == list(found.tokens)
    assert [each["score"] for each in document["words"]] == pytest.approx(found.scores.tolist(), abs=1e-5)
    assert document["words"][-1]["probability"] == pytest.approx(float(found.probabilities[1]), abs=1e-6)


def test_gates_over_a_recording(clip: Path, tmp_path: Path) -> None:
    samples, _ = lstm_zoo.read_audio(clip, 16_000)
    found = lstm_zoo.inspect.gates(get("speech"), samples)
    out, _ = run("speech", clip, "--plot", tmp_path / "gates.svg")
    assert "lstm_1, 4 units" in out
    assert "forget" in out
    assert "<svg" in (tmp_path / "gates.svg").read_text()
    document = json.loads(run("speech", clip, "--json")[0])
    assert document["layer"] == "lstm_1"
    assert document["gates"]["forget"] == pytest.approx(found.summary()["forget"], abs=1e-5)


def test_gates_over_a_text() -> None:
    out, _ = run("sentiment", TEXT, "--layer", "forward")
    assert "forward, 4 units, 6 steps" in out
    assert "did you mean 'forward'" in run("sentiment", TEXT, "--layer", "forwart", status=2)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sentimen", TEXT], "did you mean 'sentiment'"),
        (["sentiment", TEXT, "--plot", "words.gif"], "--plot: got 'words.gif', expected a file that ends in .png"),
        (["sentiment", "film " * 1001], "text: got 1,001 tokens, expected up to 1,000"),
        (["speech", "missing.wav"], "missing.wav"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    out, err = run(*arguments, status=2)
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "words.png"
    old.write_text("old")

    def broken(**settings: Any) -> Any:
        figure = plots.new_figure(**settings)

        def savefig(path: Path) -> None:
            path.write_text("half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(figure, "savefig", savefig)
        return figure

    monkeypatch.setattr("lstm_zoo.inspect.pictures.new_figure", broken)
    _, err = run("sentiment", TEXT, "--plot", old, status=2)
    assert err.startswith("error: ")
    assert "No space left" in err
    assert old.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["words.png"]


def test_letters_without_a_picture_are_no_warning(tmp_path: Path) -> None:
    run("sentiment", "电影 很好 great", "--plot", tmp_path / "words.png")
    assert (tmp_path / "words.png").stat().st_size > 1_000
