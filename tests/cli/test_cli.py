"""The command line: what it prints, its exit status, and that errors are one line without a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import lstm_zoo
from lstm_zoo import cli, demo, doctor, registry
from lstm_zoo.cli.console import console
from lstm_zoo.cli.predict_sound import merge_windows
from lstm_zoo.data import small
from lstm_zoo.exporters import certificate


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as on a wide terminal, so that no cell is broken over two lines."""
    monkeypatch.setattr(console, "_width", 240)


def run(*arguments: Any, status: int = 0) -> tuple[str, str]:
    """Standard output and standard error of ``lstm-zoo *arguments``, which must end with ``status``."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


def tone(path: Path, seconds: float, rate: int, channels: int = 1) -> Path:
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)
    return path


# === Models ===


def test_help_names_every_command() -> None:
    out, _ = run("--help")
    for command in (
        "list",
        "info",
        "predict",
        "inspect",
        "stream",
        "export",
        "export-all",
        "verify",
        "doctor",
        "data",
        "demo",
    ):
        assert command in out
        assert run(command, "--help")[0]


def test_version() -> None:
    assert run("--version")[0].strip() == f"lstm-zoo {lstm_zoo.__version__}"


def test_list_takes_the_filters(shipped: Path) -> None:
    out, _ = run("list")
    assert all(name in out for name in registry.ENTRIES)
    limit = sorted(each.parameters or 0 for each in lstm_zoo.list_models())[1]
    for options, filters in (
        (["--max-parameters", limit], {"max_parameters": limit}),
        (["--streaming"], {"streaming": True}),
        (["--no-streaming"], {"streaming": False}),
        (["--min-metric", 0.915], {"min_metric": 0.915}),
        (["--max-bytes", 1], {"max_bytes": 1}),
        (["--task", "keyword spotting"], {"task": "keyword spotting"}),
    ):
        listed = json.loads(run("list", "--json", *options)[0])
        assert [each["name"] for each in listed] == lstm_zoo.list_models(**filters).names


def test_info_shows_facts_and_card(shipped: Path) -> None:
    out, _ = run("info", "digits")
    assert f"{lstm_zoo.info('digits').parameters:,}" in out
    assert "93.00% accuracy" in out
    assert "baseline: majority" in out
    assert "weights.safetensors" in out
    document = json.loads(run("info", "digits", "--json")[0])
    assert document["card"] == "# digits\n"
    assert document["facts"]["metric"]["value"] == 0.93


def test_info_says_what_each_model_takes(shipped: Path) -> None:
    assert "PCM at 8,000 Hz" in run("info", "digits")[0]
    assert "texts, or token ids" in run("info", "sentiment")[0]


# === Predict ===


def test_predict_takes_any_length_rate_and_format(shipped: Path, tmp_path: Path) -> None:
    files = [
        tone(tmp_path / "exact.wav", 1.0, 16_000),
        tone(tmp_path / "long.flac", 3.3, 44_100, channels=2),
        tone(tmp_path / "short.ogg", 0.2, 8_000),
    ]
    documents = json.loads(run("predict", "speech", *files, "--json", "--top", 3)[0])["files"]
    assert [document["file"] for document in documents] == [str(file) for file in files]
    assert [document["sample_rate"] for document in documents] == [16_000, 44_100, 8_000]
    assert [document["resampled_to"] for document in documents] == [None, 16_000, 16_000]
    assert [document["seconds"] for document in documents] == pytest.approx([1.0, 3.3, 0.2], abs=0.01)
    assert len(documents[0]["detections"]) == 1
    assert documents[1]["detections"][-1]["end_seconds"] >= 3.3
    for document in documents:
        for detection in document["detections"]:
            best = detection["top"]
            assert len(best) == 3
            assert best[0] == {"label": detection["label"], "probability": detection["probability"]}
            assert best[0]["probability"] >= best[1]["probability"] >= best[2]["probability"]


def test_predict_agrees_with_the_model(shipped: Path, tmp_path: Path) -> None:
    file = tone(tmp_path / "clip.wav", 1.0, 16_000)
    samples, _ = lstm_zoo.read_audio(file)
    expected = np.asarray(lstm_zoo.get("speech")(samples[None], training=False))[0]
    document = json.loads(run("predict", shipped / "speech", file, "--json")[0])
    assert document["files"][0]["detections"][0]["probability"] == pytest.approx(float(expected.max()), abs=1e-5)


def test_predict_prints_a_table_and_says_when_it_resampled(shipped: Path, tmp_path: Path) -> None:
    out, _ = run("predict", "speech", tone(tmp_path / "a.wav", 1.6, 22_050), "--all")
    assert "resampled from 22,050 Hz to 16,000 Hz" in out
    assert "0.50 to 1.50 s" in out
    assert any(label in out for label in registry.KEYWORD_LABELS)
    assert "%" in out
    assert "resampled" not in run("predict", "speech", tone(tmp_path / "b.wav", 1.0, 16_000))[0]


def heard(*pairs: tuple[str, float]) -> list[dict[str, Any]]:
    """Detections, half a second apart."""
    return [
        {"start_seconds": at / 2, "end_seconds": at / 2 + 1, "label": label, "probability": probability}
        for at, (label, probability) in enumerate(pairs)
    ]


def test_neighbouring_windows_with_the_same_word_are_one() -> None:
    windows = heard(("yes", 0.7), ("yes", 0.9), ("yes", 0.3), ("right", 0.54), ("stop", 0.8), ("yes", 0.6))
    merged = merge_windows(windows, 0.6)
    assert [tuple(each.values()) for each in merged] == [
        (0.0, 2.0, "yes", 0.9),
        (2.0, 3.0, "stop", 0.8),
        (2.5, 3.5, "yes", 0.6),
    ]
    assert windows[0]["probability"] == 0.7, "what was given is left as it is"


def test_the_most_probable_word_is_kept_where_none_is_sure() -> None:
    merged = merge_windows(heard(("yes", 0.2), ("no", 0.4), ("up", 0.3)), 0.6)
    assert [each["label"] for each in merged] == ["no"]


def test_predict_shows_words_or_all_windows(shipped: Path, tmp_path: Path) -> None:
    file = tone(tmp_path / "a.wav", 3.0, 16_000)
    (document,) = json.loads(run("predict", "speech", file, "--json", "--hop", 0.25, "--threshold", 0)[0])["files"]
    assert [each["start_seconds"] for each in document["detections"]] == [at / 4 for at in range(9)]
    assert document["words"] == merge_windows(document["detections"], 0.0)
    assert len(document["words"]) < 9, "a steady tone does not change from window to window"
    assert "0.25 to 1.25 s" in run("predict", "speech", file, "--hop", 0.25, "--all")[0]
    assert "0.25 to 1.25 s" not in run("predict", "speech", file, "--hop", 0.25)[0]


def test_predict_goes_on_after_a_bad_file(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_text("this is not audio")
    (tmp_path / "empty.wav").write_bytes(b"")
    good = tone(tmp_path / "good.wav", 1.0, 16_000)
    files = [tmp_path / "no.wav", tmp_path / "empty.wav", tmp_path / "missing.wav", good]
    out, err = run("predict", "speech", *files, "--json", status=2)
    documents = json.loads(out)["files"]
    assert ["error" in document for document in documents] == [True, True, True, False]
    assert err.count("error:") == 3


# === Errors ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "spech"], "did you mean 'speech'"),
        (["predict", "spech", "x.wav"], "did you mean 'speech'"),
        (["export", "spech", "x.tflite"], "did you mean 'speech'"),
        (["verify", "spech"], "did you mean 'speech'"),
        (["verify", "nothing.tflite"], "nothing.tflite"),
        (["list", "--task", "spech"], "did you mean 'speech'"),
        (["data", "speech_command"], "did you mean 'speech_commands'"),
        (["data", "speech_commands", "--directory", "/nonexistent"], "/nonexistent"),
        (["predict", "./nothing", "x.wav"], "not an artefact folder"),
        (["predict", "[/x]", "x.wav"], "[/x]"),
        (["verify", "[/x]"], "[/x]"),
        (["export", "[/x]", "[/y]"], "[/x]"),
        (["verify", "."], "'.'"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    out, err = run(*arguments, status=2)
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1


def test_the_unexpected_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no [/x] here\nat all")

    monkeypatch.setattr(lstm_zoo, "list_models", fail)
    monkeypatch.delenv("LSTM_ZOO_DEBUG", raising=False)
    out, err = run("list", status=2)
    assert out == ""
    assert err == "unexpected ValueError: no [/x] here (LSTM_ZOO_DEBUG=1 shows the traceback)\n"
    monkeypatch.setenv("LSTM_ZOO_DEBUG", "1")
    with pytest.raises(ValueError, match="at all"):
        CliRunner().invoke(cli.app, ["list"], catch_exceptions=False)


def test_wrong_usage_is_left_to_typer() -> None:
    for arguments in (["dance"], ["list", "--max-bytes", "many"], ["predict", "speech"]):
        assert "Usage:" in run(*arguments, status=2)[1]


def test_no_traceback_in_a_real_process() -> None:
    command = [sys.executable, "-m", "lstm_zoo.cli", "info", "spech"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown model 'spech'")
    assert "Traceback" not in done.stderr


def test_tensorflow_starts_without_its_notes(tiny_artifacts: Path, tmp_path: Path) -> None:
    file = tone(tmp_path / "a.wav", 1.0, 16_000)
    command = [sys.executable, "-m", "lstm_zoo.cli", "predict", str(tiny_artifacts / "speech"), str(file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    assert json.loads(done.stdout)["files"]


# === Export, verify, demo ===


def test_export_then_verify(shipped: Path, tmp_path: Path) -> None:
    file = tmp_path / "digits.tflite"
    out, _ = run("export", "digits", file, "--quantize", "float16")
    assert "largest difference" in out
    assert f"{file.stat().st_size:,} bytes" in out
    assert "ok" in run("verify", file, "digits", shipped / "digits")[0]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    out, err = run("verify", file, "digits", status=2)
    assert err.startswith("error: ")
    assert "digits" in out, "the second target is verified although the first failed"


def test_verify_takes_whatever_has_a_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    verified = []

    def verify(path: Path) -> SimpleNamespace:
        verified.append(path)
        return SimpleNamespace(largest_difference=1e-7)

    monkeypatch.setattr(certificate, "verify", verify)
    monkeypatch.chdir(tmp_path)
    for name in ("sm", "spoken"):
        (tmp_path / name).mkdir()
    (tmp_path / "sm.json").touch()
    for target in ("sm", "sm/", tmp_path / "sm"):
        assert "answers as certified" in run("verify", target)[0]
    run("verify", "./spoken", status=2)
    assert verified == [Path("sm"), Path("sm"), tmp_path / "sm"]


def test_names_of_models_win_over_certificates(shipped: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.json").touch()
    assert "as in the manifest" in run("verify", "digits")[0]


def test_export_refuses_what_does_not_exist(shipped: Path, tmp_path: Path) -> None:
    _, err = run("export", "digits", tmp_path / "x.tflite", "--quantize", "int3", status=2)
    assert "int3" in err
    assert not list(tmp_path.iterdir())


def test_demo_gives_both_answers(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tone(tmp_path / "words.wav", 2.2, 16_000)
    result = demo.run("speech", clip)
    assert len(result.answers) == 3  # a window each second
    assert result.largest_difference < 1e-4
    assert result.bytes > 1000
    monkeypatch.setattr(demo, "run", lambda: result)
    out, _ = run("demo")
    assert "Keras" in out
    assert "TFLite" in out
    assert "Largest difference" in out
    assert "KB" in out


# === Data and doctor ===


def test_data_lists_and_summarises(tmp_path: Path) -> None:
    small.write_fsdd(tmp_path / "fsdd")
    out, _ = run("data", "--directory", tmp_path)
    assert str(tmp_path / "fsdd") in out
    assert "lstm-zoo data speech_commands" in out
    assert out.count("no checksum published") == 4, "the publishers of digits, sentences and snippets state none"
    out, _ = run("data", "fsdd", "--directory", tmp_path)
    assert "seven" in out
    assert "training" in out


def test_doctor_reports_models(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (document,) = [json.loads(CliRunner().invoke(cli.app, ["doctor", "--json"]).stdout)]
    states = {check["name"]: check["state"] for check in document}
    assert all(states[f"model {name}"] == "ok" for name in registry.ENTRIES)
    assert states["TensorFlow runs"] == "ok"


def test_doctor_finds_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lstm_zoo_probe-1.0.dist-info"
    folder.mkdir()
    lines = [
        "Metadata-Version: 2.1",
        "Name: lstm-zoo-probe",
        "Version: 1.0",
        "Requires-Python: >=3.99",
        "Requires-Dist: numpy>=1",
        "Requires-Dist: rich>=9999",
        "Requires-Dist: not-installed-anywhere",
        "Provides-Extra: more",
        'Requires-Dist: also-not-installed; extra == "more"',
    ]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "DISTRIBUTION", "lstm-zoo-probe")
    checks = {check.name: check for check in doctor._installation()}
    assert checks["Python"].state == "problem"
    assert checks["numpy"].state == "ok"
    assert "rich>=9999" in checks["rich"].finding
    assert checks["not-installed-anywhere"].state == "problem"
    assert checks["extra more"].state == "missing"
    assert "lstm-zoo-probe[more]" in checks["extra more"].finding


def test_doctor_fails_when_something_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_all", lambda: [doctor.Check("tea", "problem", "none left")])
    assert "none left" in run("doctor", status=2)[0]
    monkeypatch.setattr(doctor, "check_all", lambda: [doctor.Check("tea", "missing", "optional")])
    run("doctor")
