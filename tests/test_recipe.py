"""The command line of the recipes."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_zoo.recipe import PROFILES, Arguments, recipe_arguments

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTM_ZOO_PROFILE", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # restored after each test
    for name in ("d", "DATA"):
        (tmp_path / name).mkdir()
    return tmp_path


def given(monkeypatch, line: str, **options) -> Arguments:
    monkeypatch.setattr(sys, "argv", ["/somewhere/recipes/speech.py", *shlex.split(line)])
    return recipe_arguments(["speech", "speech_tiny"], "Train a keyword spotter.", **options)


def test_defaults_run_in_seconds_without_data(monkeypatch, folder):
    arguments = given(monkeypatch, "")
    assert arguments.smoke
    assert (arguments.name, arguments.profile, arguments.data, arguments.tune) == ("speech", "smoke", None, 0)
    assert arguments.settings == {}
    assert arguments.out == Path("runs/speech-smoke-0")
    assert (folder / "runs" / "speech-smoke-0").is_dir()


def test_everything_given(monkeypatch):
    line = "--name speech_tiny --profile full --data d --synthetic s --tune 3 --size-limit 80000 --out o seed=2"
    arguments = given(monkeypatch, line)
    assert not arguments.smoke
    assert (arguments.name, arguments.profile, arguments.tune, arguments.size_limit) == (
        "speech_tiny",
        "full",
        3,
        80_000,
    )
    assert (arguments.data, arguments.synthetic, arguments.out) == (Path("d"), Path("s"), Path("o"))


def test_choice_of_a_dataset_is_offered_where_there_is_one(monkeypatch, capsys):
    choice = {"datasets": ["imdb", "sst2"], "synthetic": False}
    assert given(monkeypatch, "--profile quick", **choice).dataset == "imdb"
    assert given(monkeypatch, "--profile quick", **choice).out == Path("runs/speech-quick-0")
    other = given(monkeypatch, "--dataset sst2 --profile quick seed=1", **choice)
    assert (other.dataset, other.out) == ("sst2", Path("runs/speech-sst2-quick-1"))
    assert "--dataset sst2" in other.command
    for line, options in (("--dataset fsdd", choice), ("--synthetic s", choice), ("--dataset imdb", {})):
        with pytest.raises(SystemExit):
            given(monkeypatch, line, **options)
        assert "--" in capsys.readouterr().err
    without = given(monkeypatch, "")
    assert without.dataset is None
    assert "--dataset" not in without.command


def test_settings_are_json_or_text(monkeypatch):
    line = """epochs=5 learning_rate=1e-3 bidirectional=true pooling=attention noise_ratio='[0, 20]' x= y=a=b"""
    assert given(monkeypatch, line).settings == {
        "epochs": 5,
        "learning_rate": 1e-3,
        "bidirectional": True,
        "pooling": "attention",
        "noise_ratio": [0, 20],
        "x": "",
        "y": "a=b",
    }


@pytest.mark.parametrize("setting", ["seed=3", "training.seed=3"])
def test_each_seed_has_its_own_folder(monkeypatch, setting):
    assert given(monkeypatch, f"--profile quick {setting}").out == Path("runs/speech-quick-3")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--name dance", "dance"),
        ("--profile huge", "huge"),
        ("--tune many", "many"),
        ("--data /nonexistent", "/nonexistent does not exist"),
        ("epochs", "'epochs': expected NAME=VALUE, such as epochs=5"),
    ],
)
def test_what_does_not_exist_is_refused(monkeypatch, capsys, folder, line, message):
    with pytest.raises(SystemExit) as caught:
        given(monkeypatch, line)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "runs").exists()


def test_search_is_offered_only_where_there_is_one(monkeypatch, capsys):
    assert given(monkeypatch, "", tunable=False).tune == 0
    for line in ("--tune 3", "--size-limit 80000"):
        with pytest.raises(SystemExit):
            given(monkeypatch, line, tunable=False)
        assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "debug", "lines"),
    [("DataError('no clips')", "", 1), ("DataError('no clips')", "1", 2), ("KeyError('no clips')", "", 2)],
)
def test_errors_raised_on_purpose_are_one_line(folder, monkeypatch, error, debug, lines):
    monkeypatch.setenv("LSTM_ZOO_DEBUG", debug)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = "from lstm_zoo.recipe import *; from lstm_zoo.errors import *; recipe_arguments(['speech'], ''); raise "
    done = subprocess.run([sys.executable, "-c", code + error], capture_output=True, text=True)
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == (lines > 1)
    if lines == 1:
        assert done.stderr == "error: no clips\n"
    assert "no clips" in done.stderr


def test_help_names_profiles_and_models(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        given(monkeypatch, "--help")
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for word in (*PROFILES, *PROFILES.values(), "speech_tiny", "NAME=VALUE"):
        assert word in text


def test_notebooks_take_the_profile_from_the_environment(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setenv("LSTM_ZOO_PROFILE", "quick")
    before = sys.excepthook
    arguments = given(monkeypatch, "-f kernel.json")  # what a kernel is started with
    assert arguments.profile == "quick"
    assert "notebook" in arguments.command
    assert sys.excepthook is before


def test_command_repeats_the_run_elsewhere(monkeypatch, folder):
    line = f"--profile full --data {folder}/d --synthetic {folder}/s --out {folder}/o --tune 4 seed=2 pooling=last"
    arguments = given(monkeypatch, line)
    assert str(folder) not in arguments.command
    assert arguments.command.startswith("python recipes/speech.py ")
    again = given(monkeypatch, arguments.command.split(maxsplit=2)[2])
    for name in ("name", "profile", "tune", "settings"):
        assert getattr(again, name) == getattr(arguments, name)
