"""The accuracy benchmark: what it makes of a folder of runs, and what it would run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_zoo.data import small

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "speech_accuracy.py"


def write_run(runs: Path, name: str, seed: int, accuracy: float, **more: object) -> None:
    folder = runs / f"{name}-full-{seed}"
    folder.mkdir(parents=True)
    own = {name: accuracy, f"{name}, without the silence clips": accuracy - 0.01}
    baselines = {"logistic regression on log-mel means": 0.4125, "most frequent class": 0.0756}
    figures = {"name": name, "seed": seed, "parameters": 270_756, "minutes": 12.0 + seed, "confusion": []}
    figures |= {"validation accuracy": 0.9, "accuracies": own | baselines} | more
    (folder / "evaluation.json").write_text(json.dumps(figures))


def table(runs: Path, *options: str, status: int = 0) -> dict[str, list[str]]:
    """The rows that the command prints as Markdown, by their first cell."""
    line = [sys.executable, str(SCRIPT), "--runs", str(runs), "--markdown", *options]
    done = subprocess.run(line, capture_output=True, text=True, cwd=runs, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == status, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows[1:]}) <= 1
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs of speech, one of the yardstick and one of digits; neither data nor TFLite files."""
    for seed, accuracy in enumerate((0.92, 0.93, 0.94)):
        write_run(tmp_path, "speech", seed, accuracy)
    write_run(tmp_path, "ds_cnn", 0, 0.9)
    write_run(tmp_path, "digits", 0, 0.99, **{"leaving one speaker out": {"george": 0.8, "theo": 0.9}})
    return tmp_path


def test_table_gives_mean_spread_and_each_seed(runs: Path) -> None:
    rows = table(runs, "--table-only", "--data", str(runs))
    assert rows["speech"] == [
        "270,756", "93.00 ± 1.00 %", "92.00, 93.00, 94.00", "92.00 ± 1.00 %", "90.00 ± 0.00 %", "13", "-", "-", "-",
    ]  # fmt: skip
    assert rows["ds_cnn"][1] == "90.00 %", "one seed has no spread"
    assert rows["logistic regression on log-mel means"][1] == "41.25 ± 0.00 %"
    assert rows["most frequent class"][2] == "7.56, 7.56, 7.56"
    assert rows["digits"][1] == "99.00 %"
    assert rows["digits, leaving one speaker out"][1] == "85.00 %"
    assert rows["without theo"][1] == "90.00 %"
    assert "speech_tiny" not in rows


def test_finished_runs_are_not_repeated(runs: Path) -> None:
    """Nothing is trained: the recipes would fail at once, as there is no data in that folder."""
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    rows = table(runs, "--models", "speech", "--data", str(runs))
    assert set(rows) == {"speech", "logistic regression on log-mel means", "most frequent class"}
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_a_run_that_fails_is_named_and_the_others_are_shown(runs: Path) -> None:
    (runs / "speech-full-1" / "evaluation.json").unlink()
    options = ["--models", "speech", "--data", str(runs / "nowhere")]
    line = [sys.executable, str(SCRIPT), "--runs", str(runs), *options]
    done = subprocess.run(line, capture_output=True, text=True, cwd=runs, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert "speech-full-1" in done.stderr.splitlines()[-1]
    assert "2 of 3 runs finished" in done.stdout


def test_files_are_replayed_on_the_test_clips(tmp_path: Path) -> None:
    """A file that always gives the same answer is right as often as that class occurs among the test clips."""
    import keras

    from lstm_zoo import exporters
    from lstm_zoo.data import speech_commands

    data = small.write_speech_commands(tmp_path / "data")
    testing = speech_commands.load(data).testing
    write_run(tmp_path, "speech", 0, 0.5)
    for file, label in (("speech.tflite", 0), ("speech_int8.tflite", speech_commands.UNKNOWN)):
        audio = keras.Input((16_000,), name="audio")
        bias = keras.initializers.Constant([9.0 * (index == label) for index in range(12)])
        pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((1_600, 10))(audio))
        dense = keras.layers.Dense(12, "softmax", kernel_initializer="zeros", bias_initializer=bias)
        model = keras.Model(audio, dense(pooled))
        exporters.export(model, tmp_path / "speech-full-0" / file)
    right = [100 * float((testing.labels == label).mean()) for label in (0, speech_commands.UNKNOWN)]
    row = table(tmp_path, "--table-only", "--models", "speech", "--seeds", "0", "--data", str(data))["speech"]
    assert row[-3:] == [f"{right[0]:.2f} %", f"{right[1]:.2f} %", f"{right[1] - right[0]:+.2f}"]
