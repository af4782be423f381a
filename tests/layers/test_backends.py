"""The layers under JAX and PyTorch: their tests once more, each backend in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# How many tests of each file have to run, so that none is skipped unnoticed.
FILES = {
    "test_runners.py": 25,
    "test_gates.py": 250,
    "test_min_lstm.py": 20,
    "test_mlstm.py": 45,
    "test_slstm.py": 18,
}
IMPORT = """
import sys
import keras
assert keras.backend.backend() == {backend!r}, keras.backend.backend()
by_keras = set(sys.modules)
import lstm_zoo.layers
import lstm_zoo.layers.runners.{backend}
loaded = ({{"tensorflow", "jax", "torch"}} & set(sys.modules)) - {{{backend!r}}} - by_keras
assert not loaded, loaded
"""


@pytest.fixture(params=["jax", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        assert "CI" not in os.environ, f"{request.param} is not installed"
        pytest.skip(f"{request.param} is not installed")
    return request.param


def run(backend: str, *arguments: str) -> subprocess.CompletedProcess:
    """Python with these arguments under the backend, as if started by hand."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        errors="replace",
    )


def test_import_loads_no_other_backend(backend: str) -> None:
    done = run(backend, "-c", IMPORT.format(backend=backend))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_file(name: str, backend: str, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = run(backend, "-m", "pytest", *options, str(HERE / name))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    suite = ElementTree.parse(report).getroot()[0]
    ran = int(suite.attrib["tests"]) - int(suite.attrib["skipped"])
    assert ran >= FILES[name], done.stdout[-2000:]
