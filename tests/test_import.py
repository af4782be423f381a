"""Importing the package, its help and its lists do without TensorFlow, and are quick."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lstm_zoo

ROOT = Path(__file__).parent.parent
AFTER = "; heavy = {'tensorflow', 'keras', 'librosa', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"


@pytest.mark.parametrize(
    "code",
    [
        "import lstm_zoo",
        "import lstm_zoo; print(lstm_zoo.list_models(max_bytes=80_000, streaming=True), lstm_zoo.info('speech'))",
        "from lstm_zoo import get, read_audio, LstmZooError",
        "from lstm_zoo.cli import app; app(['--help'], standalone_mode=False)",
        "from lstm_zoo.cli import app; app(['predict', '--help'], standalone_mode=False)",
        "from lstm_zoo.cli import app; app(['inspect', '--help'], standalone_mode=False)",
        "from lstm_zoo.cli import app; app(['list'], standalone_mode=False)",
    ],
)
def test_without_tensorflow(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}{AFTER}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists() -> None:
    assert set(lstm_zoo.__all__) <= set(dir(lstm_zoo))
    for name in lstm_zoo.__all__:
        assert getattr(lstm_zoo, name) is not None


def test_unknown_attribute_says_what_exists() -> None:
    with pytest.raises(AttributeError, match="'gett'; there are: .*get"):
        lstm_zoo.gett  # noqa: B018


def test_version_is_the_one_that_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert lstm_zoo.__version__ == project["version"]
