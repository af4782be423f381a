"""Run a step of an export in a Python process of its own, where a crash is an error and not the end of the work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import lstm_zoo
from lstm_zoo.errors import ExportError

ERRORS_SHOWN, LINES_SHOWN, LONGEST_LINE = 3, 15, 400
# What TensorFlow says of processors and CUDA before any setting reaches it: severity and date, and what goes with it.
NOISE = re.compile(r"[IWE]\d{4} \d\d:|\d{4}-\d\d-\d\d|WARNING: All log messages before|To enable the following")
# How the converter says what it could not convert, behind the place in the model's graph and all who called it; the
# word "error" stands on either side of them.
PLACE = r'loc\(.*?"(?P<place>[^"@]+)(?:@[^"]*)?"\].*?'
LOCATED = re.compile(f"^.*?error: {PLACE}\\)+: (?P<reason>.*)"), re.compile(f"^.*?{PLACE}error: (?P<reason>.*)")
# What follows the reasons and adds nothing.
REPEATED = re.compile(r"(<unknown>:0: )?error: failed while converting: '\w+': *$|tensorflow\.\S*ConverterError: ")


def run_python(arguments: Sequence[str | Path], doing: str, seconds: float | None = None) -> None:
    """Run ``python *arguments`` without a GPU. If this process is interrupted, that one ends, too.

    Args:
        doing: what, for the message.
        seconds: after which it is ended; default: none.

    Raises:
        ExportError: the process failed, was killed or took longer; says while ``doing`` what, with the end of its
            output.
    """
    parent = str(Path(lstm_zoo.__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [parent, os.environ.get("PYTHONPATH")])),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    try:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"{doing} failed: the process did not end within {seconds:g} seconds") from None
    if done.returncode:
        shown = _telling_lines(done.stderr or done.stdout)
        raise ExportError("\n".join([f"{doing} failed: the process {_ending(done.returncode)}", *shown]))


def _telling_lines(output: str) -> list[str]:
    """The lines that speak of an error, which the converter buries under its graphs; else the last ones."""
    lines = [line for line in output.strip().splitlines() if not NOISE.match(line)]
    errors = [line for line in lines if "error: " in line.lower() and not REPEATED.match(line)]
    for located in LOCATED:
        errors = [located.sub(r"error: \g<place>: \g<reason>", line) for line in errors]
    shown = list(dict.fromkeys(errors))[:ERRORS_SHOWN] or lines[-LINES_SHOWN:]
    return [line[:LONGEST_LINE] for line in shown]


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    return f"was killed by {signal.Signals(-status).name}"
