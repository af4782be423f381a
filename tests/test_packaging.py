"""What people install: the sdist and the wheel, and the words that the README teaches."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("lstm_zoo", "saved_models", "setup.py", "pyproject.toml", "README.md", "LICENSE")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def build(project: Path, kind: str, target: Path) -> Path:
    """Build ``project`` with its own backend, without a network: ``kind`` is "sdist" or "wheel"."""
    target.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return target / result.stdout.split()[-1]


def copy_sources(target: Path) -> Path:
    """A copy to build in, so that nothing is left in the working tree; with things that have no place in a wheel."""
    for name in SOURCES:
        source, copy = ROOT / name, target / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    artefact = target / "saved_models" / "sample"
    (artefact / "saved_model").mkdir(parents=True)
    (artefact / "saved_model" / "saved_model.pb").touch()
    (artefact / "checkpoint.tmp").touch()
    (artefact / "config.json").write_text("{}")
    (artefact / "manifest.json").write_text(json.dumps({"files": {"config.json": {}}}))
    for stray in ("tests", "recipes", "benchmarks"):
        (target / stray).mkdir()
        (target / stray / "__init__.py").touch()
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made as pip makes it: from an unpacked sdist."""
    folder = tmp_path_factory.mktemp("packaging")
    (folder / "sources").mkdir()
    sdist = build(copy_sources(folder / "sources"), "sdist", folder / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [unpacked] = (folder / "unpacked").iterdir()
    return build(unpacked, "wheel", folder / "dist")


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_wheel_holds_every_module_and_asset(wheel_names: set[str]):
    package = ROOT / "lstm_zoo"
    expected = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py")}
    expected |= {path.relative_to(ROOT).as_posix() for path in (package / "assets").glob("*")}
    assert "lstm_zoo/errors.py" in expected
    assert expected <= wheel_names


def test_wheel_holds_the_files_of_every_artefact(wheel_names: set[str]):
    expected = {"lstm_zoo/saved_models/sample/manifest.json", "lstm_zoo/saved_models/sample/config.json"}
    for manifest in (ROOT / "saved_models").glob("*/manifest.json"):
        folder = f"lstm_zoo/saved_models/{manifest.parent.name}"
        names = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        expected |= {f"{folder}/{name}" for name in ("manifest.json", *names)}
    assert {name for name in wheel_names if name.startswith("lstm_zoo/saved_models/")} == expected


def test_wheel_holds_nothing_else(wheel_names: set[str]):
    others = {name for name in wheel_names if not name.startswith("lstm_zoo/")}
    assert {name.split("/")[0] for name in others} == {f"lstm_zoo-{PROJECT['version']}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in others)


# What a new user does first, in a process that has the unzipped wheel and no network.
FIRST_USE = """
import socket

def refuse(*_):
    raise AssertionError("the network is not needed")

socket.socket.connect = socket.socket.connect_ex = refuse
import numpy as np
import lstm_zoo
from lstm_zoo import registry
model = lstm_zoo.get("speech")
print(lstm_zoo.__file__)
print(registry.pretrained_folder("speech"))
print([each.label for each in model.classify(np.zeros(16_000, "float32"), 16_000)])
"""


def test_wheel_works_by_itself(wheel: Path, tmp_path: Path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    result = subprocess.run(
        [sys.executable, "-P", "-c", FIRST_USE],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    package = site / "lstm_zoo"
    expected = [str(package / "__init__.py"), str(package / "saved_models" / "speech"), "['silence']"]
    assert result.stdout.splitlines()[-3:] == expected


def test_setup_py_is_thin():
    source = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 30
    nodes = list(ast.walk(ast.parse(source)))
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= {"json", "pathlib", "setuptools"}, "setup.py runs before any dependency is installed"


def test_readme_teaches_words_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    taught = set(re.findall(r"(?:^|`)make ([a-z]+)", readme, re.MULTILINE))
    assert {"demo", "test"} <= taught <= targets
    assert targets == taught, "every word of the Makefile has its place in the README"


def test_readme_teaches_commands_that_exist():
    from typer.main import get_command

    from lstm_zoo import cli

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = get_command(cli.app).commands
    taught = re.findall(r"(?:^|`)lstm-zoo ([a-z]+)([^#`\n]*)", readme, re.MULTILINE)
    assert {"list", "predict"} <= {name for name, _ in taught} <= set(commands)
    for name, rest in taught:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, f"lstm-zoo {name}{rest}"


def test_console_script_points_at_the_command_line():
    assert PROJECT["scripts"] == {"lstm-zoo": "lstm_zoo.cli:main"}
    tree = ast.parse((ROOT / "lstm_zoo" / "cli" / "__init__.py").read_text(encoding="utf-8"))
    assert "main" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_readme_lists_every_extra():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)) == set(PROJECT["optional-dependencies"])


def test_errors_name_extras_that_exist():
    named = set()
    for path in (ROOT / "lstm_zoo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingExtraError":
                [_, extra, *_] = (*node.args, *(keyword.value for keyword in node.keywords))
                named.add(ast.literal_eval(extra))
    assert named <= set(PROJECT["optional-dependencies"])


def test_pythons_agree():
    """The Makefile accepts the Pythons that pyproject.toml promises, and no other."""
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text(encoding="utf-8")
