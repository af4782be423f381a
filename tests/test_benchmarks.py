"""The accuracy benchmark: what it makes of a folder of runs, and what it would run. That of the layers: that it
compares what is the same, in turn, and that it says what misses its target. That of exported files: the same."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest

from lstm_zoo.data import small

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "speech_accuracy.py"
LAYERS = ROOT / "benchmarks" / "layers.py"
EXPORT = ROOT / "benchmarks" / "export_latency.py"


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


def loaded(script: Path) -> Iterator[ModuleType]:
    """A benchmark as a module, without what it sets in the environment; beside its neighbours, as Python runs it."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(os.environ), mock.patch.dict(sys.modules, {spec.name: module}):
        with mock.patch.object(sys, "path", [str(script.parent), *sys.path]):
            spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def layers() -> Iterator[ModuleType]:
    yield from loaded(LAYERS)


@pytest.fixture(scope="module")
def export_latency() -> Iterator[ModuleType]:
    yield from loaded(EXPORT)


@pytest.mark.parametrize(
    ("value", "target", "at_least", "said"),
    [
        (0.64, 0.75, False, "0.64 ≤ 0.75"),
        (0.90, 0.75, False, "0.90 > 0.75 missed"),
        (96.0, 50, True, "96.00 ≥ 50"),
        (8.0, 50, True, "8.00 < 50 missed"),
        (0.5, None, False, "0.50"),
        (float("nan"), 0.75, False, "-"),
    ],
)
def test_a_figure_stands_beside_its_target(
    layers: ModuleType, value: float, target: float | None, at_least: bool, said: str
) -> None:
    assert layers.verdict(value, target, at_least) == said


def test_the_targets_by_shape_and_work(layers: ModuleType) -> None:
    def of(frames: int, batch: int, training: bool) -> tuple[float | None, float | None]:
        return layers.times_target(layers.Problem(frames, batch, 64, 128, training))

    assert of(49, 32, True) == (0.75, 1.2)
    assert of(49, 64, True) == (0.75, 1.0)
    assert of(49, 1, False) == (0.35, None)
    assert of(16, 1, False) == (0.5, None)
    assert of(49, 32, False) == (None, None)
    allowed = {name: limit for name, (_, limit) in layers.variant_options(128).items()}
    assert allowed["peephole"] == 1.2
    assert allowed["layer normalization"] == 1.6
    assert allowed["full_gate_recurrence"] == 2.5


def test_a_ratio_is_the_median_over_rounds(layers: ModuleType) -> None:
    times = {"ours": [1.0, 30.0, 2.0], "theirs": [2.0, 100.0, 1.0]}  # the ratio of the medians would be 1
    assert layers.ratio(times, "ours", "theirs") == 0.5
    assert np.isnan(layers.ratio(times, "ours", "absent"))


def test_rounds_alternate_their_order(layers: ModuleType) -> None:
    made: list[str] = []
    calls = {name: lambda name=name: made.append(name) for name in "abc"}
    times = layers.interleaved(calls, seconds=0.0, least=3)
    assert "".join(made) == "abccbaabc"
    assert [len(taken) for taken in times.values()] == [3, 3, 3]


def test_sides_that_differ_are_not_compared(layers: ModuleType) -> None:
    outputs, gradient = np.ones((2, 3)), np.linspace(-1.0, 1.0, 6)
    layers.check({"a": [outputs, gradient], "b": [outputs, gradient + 5e-5]}, "here")
    with pytest.raises(SystemExit, match=r"here: b and a differ by 2\.0e-04 in the gradient of x"):
        layers.check({"a": [outputs, gradient], "b": [outputs, gradient + 2e-4]}, "here")
    with pytest.raises(SystemExit, match="in the outputs"):
        layers.check({"a": [outputs], "b": [outputs * np.nan]}, "here")


def test_what_is_not_installed_is_left_out(layers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = layers.Problem(49, 1, 40, 128, training=False)
    monkeypatch.setattr(layers.importlib.util, "find_spec", lambda name: object())
    assert {"torch", "onnxruntime"} < set(layers.times_sides(problem))
    monkeypatch.setattr(
        layers.importlib.util, "find_spec", lambda name: None if name in ("torch", "onnx") else object()
    )
    assert not {"torch", "onnxruntime"} & set(layers.times_sides(problem))
    assert layers.missing("onnxruntime") == ["onnx"]


@pytest.mark.parametrize("text", ["49,40", "0,40,128", "a,b,c"])
def test_a_wrong_shape_is_refused(layers: ModuleType, text: str) -> None:
    assert layers.shape("49,40,128") == (49, 40, 128)
    with pytest.raises(argparse.ArgumentTypeError, match="expected T,D,H"):
        layers.shape(text)


def printed(script: Path, *options: str) -> list[list[dict[str, str]]]:
    """The rows of each table that the command prints as Markdown, by column."""
    line = [sys.executable, str(script), "--markdown", *options]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    tables = []
    for section in done.stdout.split("### ")[1:]:
        columns, _, *rows = (line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("|"))
        tables.append([dict(zip(columns, row, strict=True)) for row in rows])
    return tables


def layers_table(*options: str) -> list[dict[str, str]]:
    (rows,) = printed(LAYERS, "--quick", *options)
    return rows


def test_layers_are_compared_with_all_that_is_installed() -> None:
    """The sides agree in values and gradients, or there would be no table."""
    rows = layers_table("--only", "times", "--shapes", "5,3,4")
    assert [row["work"] for row in rows] == [
        "training, batch 32", "training, batch 64", "inference, batch 1", "inference, batch 32", "inference, batch 64",
    ]  # fmt: skip
    for row in rows:
        assert {row["T, D, H"], row["work"]} > {"5, 3, 4"}
        assert all(float(row[side].split()[0]) > 0 for side in ("Keras XLA", "Keras unrolled", "GatedLSTM"))
        assert (row["torch"] == "-") == (importlib.util.find_spec("torch") is None)
        assert row["onnxruntime"] == "-" or row["work"].startswith("inference")
    assert "0.75" in rows[0]["GatedLSTM"]
    assert "0.5" in rows[2]["GatedLSTM"]


@pytest.mark.slow
def test_long_sequences_are_measured_in_processes_of_their_own() -> None:
    rows = {row["layer"]: row for row in layers_table("--only", "lengths")}
    assert {"Keras graph", "GatedLSTM", "GatedLSTM rematerialize", "MinLSTM"} <= set(rows)
    assert "Keras XLA" not in rows, "not without --slow"
    for row in rows.values():
        assert float(row["seconds a step"]) < float(row["first step s"])
        if sys.platform == "linux":
            assert float(row["peak MB, first step"]) > 0
    assert "--slow" in rows["GatedLSTM"]["targets"]


def row_of_times(
    export_latency: ModuleType, monkeypatch: pytest.MonkeyPatch, answer: float, **times: list[float]
) -> tuple[str, ...]:
    """Of two layers of 64 and 98 frames, had each file said ``answer`` for each class and taken those seconds."""
    said = np.full((1, export_latency.CLASSES), answer, "float32")
    taken = {export_latency.KERAS: [2.0, 4.0, 3.0]} | times
    monkeypatch.setattr(export_latency, "build", lambda *shape: lambda x, training: np.full_like(said, 1 / 12))
    monkeypatch.setattr(export_latency, "files", lambda model, frames: dict.fromkeys(taken, b"abc"))
    monkeypatch.setattr(export_latency, "caller", lambda content, x: lambda: said)
    monkeypatch.setattr(export_latency, "interleaved", lambda calls, seconds: {side: taken[side] for side in calls})
    return export_latency.loops_row((2, 98, 64), 0.0)


def test_the_default_profile_has_a_target_and_what_is_not_measured_a_dash(
    export_latency: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"default": [1.0, 4.0, 2.0], "mediapipe": [0.5, 1.0, 1.0]}
    row = row_of_times(export_latency, monkeypatch, 1 / 12, **times)
    assert row == (
        "2 x 64, 98", "3000", "3", "2000", "1.50 < 2 missed", "3", "-", "-", "-", "1000", "4.00", "3", "3",
    )  # fmt: skip


def test_files_that_say_something_else_are_not_compared(
    export_latency: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"2 x 64, 98: Keras's loop differs from the model by 1\.7e-02"):
        row_of_times(export_latency, monkeypatch, 0.1)
    with pytest.raises(SystemExit, match="by nan"):
        row_of_times(export_latency, monkeypatch, float("nan"))


@pytest.mark.parametrize("text", ["2,98", "2,0,64", "a,b,c"])
def test_a_wrong_shape_of_loops_is_refused(export_latency: ModuleType, text: str) -> None:
    assert export_latency.shape("2,98,64") == (2, 98, 64)
    with pytest.raises(argparse.ArgumentTypeError, match="expected layers,frames,units"):
        export_latency.shape(text)


def test_exported_files_are_measured_whole_and_step_by_step() -> None:
    """The files say what the model says, or there would be no tables."""
    (loops,), (full, quantized) = printed(EXPORT, "--shapes", "1,4,3", "--model", "speech_tiny", "--seconds", "0")
    assert loops["layers x units, frames"] == "1 x 3, 4"
    assert loops["rounds"] == "5"
    for side in ("Keras's loop", "default", "universal", "mediapipe"):
        assert float(loops[f"{side} ms"]) > 0
        assert int(loops[f"{side} bytes"].replace(",", "")) > 1000
    assert float(loops["universal times faster"]) > 0
    assert (full["weights"], quantized["weights"]) == ("float32", "8 bits")
    assert float(full["largest difference"]) < 1e-5 < float(quantized["largest difference"]) < 0.05
    assert float(full["20 ms of audio, ms"]) == pytest.approx(float(full["a step, ms"]) / 2, rel=0.01)
