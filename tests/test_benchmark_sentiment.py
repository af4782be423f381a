"""The benchmarks of sentiment: what accuracy makes of a folder of runs, and that speed compares what is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import raw_input, tiny_model

import lstm_zoo
from lstm_zoo import artifact
from lstm_zoo.data import small_texts

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    return subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT)


def tables(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """What was printed as Markdown: by title, by the first cell of the row, by column."""
    found = {}
    for section in text.split("### ")[1:]:
        title, *lines = section.splitlines()
        columns, _, *rows = ([cell.strip() for cell in line[2:-1].split("| ")] for line in lines if line[:1] == "|")
        found[title] = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    return found


# === Accuracy ===


def write_run(runs: Path, name: str, dataset: str, seed: int, accuracy: float, profile: str = "full") -> None:
    folder = runs / f"{name}-{dataset}-{profile}-{seed}"
    folder.mkdir(parents=True)
    baselines = {"NB-SVM": 0.88, "TF-IDF": 0.89, "most frequent class": 0.5}
    figures = {"name": name, "dataset": dataset, "seed": seed, "parameters": 2_000_000, "minutes": 20.0 + seed}
    figures |= {"validation accuracy": 0.9, "accuracies": {name: accuracy} | baselines}
    (folder / "evaluation.json").write_text(json.dumps(figures))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three finished runs on IMDB and one that goes on; one of the yardstick, one on SST-2; one of another recipe."""
    for seed, accuracy in enumerate((0.91, 0.92, 0.93)):
        write_run(tmp_path, "sentiment", "imdb", seed, accuracy)
    write_run(tmp_path, "keras_lstm", "imdb", 0, 0.86)
    write_run(tmp_path, "sentiment", "sst2", 0, 0.82)
    write_run(tmp_path, "sentiment", "imdb", 3, 0.1, profile="quick")
    (tmp_path / "sentiment-imdb-full-4").mkdir()
    (tmp_path / "speech-full-0").mkdir()
    (tmp_path / "speech-full-0" / "evaluation.json").write_text(json.dumps({"name": "speech", "accuracies": {}}))
    return tmp_path


def test_table_gives_mean_spread_and_each_seed(runs: Path) -> None:
    done = run("sentiment_accuracy.py", "--runs", str(runs), "--markdown")
    assert done.returncode == 0, done.stderr
    found = tables(done.stdout)
    assert set(found) == {"imdb", "sst2"}
    assert found["imdb"]["sentiment"] == {
        "": "sentiment",
        "parameters": "2,000,000",
        "test accuracy": "92.00 ± 1.00 %",
        "each seed": "91.00, 92.00, 93.00",
        "target": "92.00 ≥ 90",
        "points above the best baseline": "+3.00",
        "validation": "90.00 ± 0.00 %",
        "minutes": "21",
    }
    assert found["imdb"]["keras_lstm"]["points above the best baseline"] == "-3.00"
    assert found["imdb"]["keras_lstm"]["target"] == "-"
    assert found["imdb"]["NB-SVM"]["each seed"] == "88.00, 88.00, 88.00"
    assert found["sst2"]["sentiment"]["target"] == "82.00 < 83 missed"
    assert found["sst2"]["most frequent class"]["test accuracy"] == "50.00 %"


def test_other_profiles_are_other_tables_and_no_run_is_an_error(runs: Path) -> None:
    done = run("sentiment_accuracy.py", "--runs", str(runs), "--profile", "quick")
    assert done.returncode == 0, done.stderr
    assert "10.00 %" in done.stdout
    assert "92.00" not in done.stdout
    done = run("sentiment_accuracy.py", "--runs", str(runs), "--profile", "smoke")
    assert done.returncode == 1
    assert "no finished run" in done.stderr


# === Speed ===


def test_sides_are_measured_on_the_same_tokens(tmp_path: Path) -> None:
    """They read the same tokens, or there would be no tables."""
    data = small_texts.write_imdb(tmp_path / "data")
    sizes = ["--model", "sentiment_tiny", "--reviews", "24", "--batch", "8", "--tokens", "30", "--rounds", "2"]
    done = run("sentiment_speed.py", "--data", str(data), *sizes, "--markdown")
    assert done.returncode == 0, done.stderr
    assert "UserWarning" not in done.stderr
    found = tables(done.stdout)
    assert set(found) == {"Training", "Inference"}
    for rows in found.values():
        masked, padded, ours = rows.values()
        assert masked["parameters"] == padded["parameters"]
        assert float(ours["reviews a second"].replace(",", "")) > 0
        assert ours["in buckets: times as many"] == ""
        for each in (masked, padded):
            assert each["in buckets: times as many"].split()[1:3] in (["<", "3"], ["≥", "3"])
    assert "24 reviews of " in done.stdout


# === Files ===


def test_files_are_asked_about_every_review(tmp_path: Path) -> None:
    """Of open and of fixed length, from ids and from text; those of 8 tokens do not read whole reviews."""
    data, folder = small_texts.write_imdb(tmp_path / "data"), tmp_path / "sentiment"
    model = tiny_model("sentiment")
    open_file, short_file = tmp_path / "sentiment.tflite", tmp_path / "sentiment_int8.tflite"
    lstm_zoo.export(model, open_file, dynamic=True)
    lstm_zoo.export(model, short_file, profile="mediapipe", samples=8)
    files = {file.name: file for file in (open_file, short_file)}
    artifact.write(folder, model, name="sentiment", facts={}, card="", golden_input=raw_input(model), files=files)
    done = run("sentiment_files.py", "--data", str(data), "--model", str(folder), "--every", "2", "--markdown")
    assert done.returncode == 0, done.stderr
    of_ids, of_text = tables(done.stdout).values()
    assert of_ids["sentiment.tflite"]["tokens read"] == "all"
    assert of_ids["sentiment_int8.tflite"]["tokens read"] == "8"
    for row in of_ids.values():
        assert row["same label, same tokens, %"] == "100.00 ≥ 99.5"
        assert float(row["largest difference"]) < 1e-5
    short, long_enough = of_text.values()
    assert long_enough["same label as Python, %"] == "100.00 ≥ 100"
    assert float(long_enough["largest difference"]) < 1e-5 < float(short["largest difference"])
