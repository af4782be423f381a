"""Run a step of an export in a Python process of its own, where a crash is an error and not the end of the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import lstm_zoo
from lstm_zoo.errors import ExportError

LINES_SHOWN = 15


def run_python(arguments: Sequence[str | Path], doing: str) -> None:
    """Run ``python *arguments`` without a GPU.

    Raises:
        ExportError: the process failed or was killed; says while ``doing`` what, with the end of its output.
    """
    parent = str(Path(lstm_zoo.__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [parent, os.environ.get("PYTHONPATH")])),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-LINES_SHOWN:]
        raise ExportError("\n".join([f"{doing} failed: the process {_ending(done.returncode)}", *lines]))


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    return f"was killed by {signal.Signals(-status).name}"
