"""Exported files at work in a process of their own, and how far their answers are from the model's."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters.failures import scratch_folder
from lstm_zoo.exporters.files import form_of
from lstm_zoo.exporters.processes import run_python

PLAYER = Path(__file__).with_name("player.py")
SECONDS, SECONDS_PER_CALL = 300.0, 2.0  # until a replay is taken to hang

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Session:
    """Calls of one signature.

    Attributes:
        signature: its name.
        inputs: by name ``[calls, batch, ...]``. The name ``""`` is the signature's only input.
        streams: hand over each ``[1, positions, ...]`` block by block, from zero states on; the answer is the last one.
    """

    signature: str
    inputs: Arrays
    streams: bool = False


@dataclass(frozen=True)
class Replayed:
    """What a file did.

    Attributes:
        outputs: for each session, by name ``[calls, batch, ...]``.
        operators: how often each occurs; of a SavedModel none.
        two_invokes_equal: whether every call gave the same answer again.
        latency_ms: median time of the first call of all, on one thread.
    """

    outputs: list[Arrays]
    operators: dict[str, int]
    two_invokes_equal: bool
    latency_ms: float


def replay(path: Path, sessions: Sequence[Session], kind: str | None = None) -> Replayed:
    """Run the file or folder in a fresh process, without this package.

    A TFLite file runs in ``ai_edge_litert`` and an ONNX file in ``onnxruntime``, both without TensorFlow; a SavedModel
    in TensorFlow. A TFLite file that takes texts runs in TensorFlow's interpreter with tensorflow-text's operators.

    Args:
        kind: ``"tflite"``, ``"tflite_text"``, ``"saved_model"`` or ``"onnx"``; default: by the name.

    Raises:
        ExportError: it does not run, has operators of its own, or does not come to an end.
    """
    kind = kind or form_of(path)
    if path.is_dir() != (kind == "saved_model") or not path.exists():
        raise ExportError(f"{path} is not there as {'a folder' if kind == 'saved_model' else 'a file'}")
    with scratch_folder() as folder:
        _write_plan(folder, sessions)
        calls = sum(len(next(iter(session.inputs.values()))) for session in sessions)
        run_python(
            ["-P", PLAYER, kind, path.resolve(), folder],
            f"replaying {path.name}",
            seconds=SECONDS + calls * SECONDS_PER_CALL,
        )
        try:
            return _read_report(folder)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ExportError(f"replaying {path.name} failed: what it wrote cannot be read: {error}") from error


def answers_of(path: Path, inputs: np.ndarray) -> np.ndarray:
    """What an exported file of one input and one output answers to ``inputs`` ``[count, ...]``, one by one."""
    (outputs,) = replay(path, [Session("serving_default", {"": inputs[:, None]})]).outputs
    return next(iter(outputs.values()))[:, 0]


def _write_plan(folder: Path, sessions: Sequence[Session]) -> None:
    plan = [{"signature": one.signature, "streams": one.streams, "inputs": list(one.inputs)} for one in sessions]
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    arrays = {
        f"{number}_{place}": values
        for number, session in enumerate(sessions)
        for place, values in enumerate(session.inputs.values())
    }
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]


def _read_report(folder: Path) -> Replayed:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    with np.load(folder / "outputs.npz", allow_pickle=False) as arrays:
        outputs = [
            {name: arrays[f"{number}_{place}"] for place, name in enumerate(names)}
            for number, names in enumerate(report["outputs"])
        ]
    return Replayed(outputs, report["operators"], report["equal"], round(report["latency_ms"], 4))
