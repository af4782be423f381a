"""Runs an exported file as a stranger's program would: by itself, without this package.

:mod:`lstm_zoo.exporters.replay` starts it as a process of its own and never imports it: whatever a damaged file does to
a runtime, it does here.

    python -P player.py KIND PATH FOLDER

``FOLDER`` has ``plan.json`` and ``inputs.npz``, and gets ``report.json`` and ``outputs.npz``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN = {  # from the runtimes: what they must do without
    "tflite": ("lstm_zoo", "tensorflow", "keras"),
    "tflite_text": ("lstm_zoo",),
    "saved_model": ("lstm_zoo", "keras"),
    "onnx": ("lstm_zoo", "tensorflow", "keras"),
}
MEMORY = 8 << 30  # bytes for files whose sizes are made up; TensorFlow alone reserves more than it uses
LATENCY_SECONDS, LATENCY_CALLS = 1.0, 200

Arrays = dict[str, np.ndarray]


class Signature:
    """One entry point: ``call`` from arrays to arrays by name, and of each input its shape and type."""

    def __init__(self, call: Callable[[Arrays], Arrays], inputs: dict[str, tuple[list[int], Any]]):
        self.call, self.inputs = call, inputs

    def stream(self, arrays: Arrays) -> Arrays:
        """Hand over the one array ``[1, positions, ...]`` block by block; the answer to the last whole block.

        An output that has an input's name is that input's next value, at first zeros.
        """
        ((name, signal),) = arrays.items()
        size = self.inputs[name][0][1]
        states = {other: np.zeros(*kind) for other, kind in self.inputs.items() if other != name}
        answers: Arrays = {}
        for start in range(0, signal.shape[1] // size * size, size):
            answers = self.call({name: signal[:, start : start + size], **states})
            states = {state: answers.pop(state) for state in states}
        return answers


def tflite(path: Path) -> tuple[dict[str, int], Callable[[str], Signature]]:
    """The operators and the signatures of a TFLite file."""
    from ai_edge_litert.interpreter import Interpreter

    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        sys.exit(f"{path.name} is not a TFLite file")
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    return operator_counts(content), signatures_of(interpreter)


def tflite_text(path: Path) -> tuple[dict[str, int], Callable[[str], Signature]]:
    """The same of a file that takes texts, with operators that the interpreter has from tensorflow-text."""
    import tensorflow_text
    from tensorflow.lite.python.interpreter import InterpreterWithCustomOps

    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        sys.exit(f"{path.name} is not a TFLite file")
    operators = tensorflow_text.tflite_registrar.SELECT_TFTEXT_OPS
    interpreter = InterpreterWithCustomOps(operators, model_path=str(path), num_threads=1)
    return operator_counts(content, custom=True), signatures_of(interpreter)


def signatures_of(interpreter: Any) -> Callable[[str], Signature]:
    """What gives the signature of a name."""

    def signature(name: str) -> Signature:
        runner = interpreter.get_signature_runner(name)
        details = runner.get_input_details()
        inputs = {key: (detail["shape"].tolist(), detail["dtype"]) for key, detail in details.items()}
        return Signature(lambda arrays: {key: value.copy() for key, value in runner(**arrays).items()}, inputs)

    return signature


def operator_counts(content: bytes, custom: bool = False) -> dict[str, int]:
    """How often each operator occurs in a TFLite file; ends this process if one is not builtin, or not ``custom``."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(index) for index in range(_length(model.OperatorCodesLength(), content))]
    kinds = [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    own = [str(code.CustomCode() or b"?", "utf-8", "replace") for code in codes]
    if "CUSTOM" in kinds and not custom:
        lacking = [name for name, kind in zip(own, kinds, strict=True) if kind == "CUSTOM"]
        sys.exit(f"it has operators that runtimes lack: {', '.join(lacking)}")
    kinds = [f"CUSTOM {name}" if kind == "CUSTOM" else kind for name, kind in zip(own, kinds, strict=True)]
    counts: Counter[str] = Counter()
    for index in range(_length(model.SubgraphsLength(), content)):
        graph = model.Subgraphs(index)
        for place in range(_length(counts.total() + graph.OperatorsLength(), content) - counts.total()):
            counts[kinds[graph.Operators(place).OpcodeIndex()]] += 1
    return dict(sorted(counts.items()))


def _length(found: int, content: bytes) -> int:
    """A file has no more parts than bytes: a made-up length would keep this process busy for hours."""
    if found > len(content):
        sys.exit(f"the file says that it has {found} parts, and has {len(content)} bytes")
    return found


def saved_model(path: Path) -> tuple[dict[str, int], Callable[[str], Signature]]:
    """The signatures of a SavedModel folder."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        signatures = tf.saved_model.load(str(path)).signatures
    except RuntimeError as error:
        if "Op type not registered" not in str(error):
            raise
        sys.modules.pop("keras")
        importlib.import_module("tensorflow_text")  # as programs do that load models of subwords; it imports Keras
        signatures = tf.saved_model.load(str(path)).signatures

    def signature(name: str) -> Signature:
        function = signatures[name]
        specs = function.structured_input_signature[1]
        inputs = {key: (list(spec.shape), spec.dtype.as_numpy_dtype) for key, spec in specs.items()}

        def call(arrays: Arrays) -> Arrays:
            answers = function(**{key: tf.constant(value) for key, value in arrays.items()})
            return {key: value.numpy() for key, value in answers.items()}

        return Signature(call, inputs)

    return {}, signature


def onnx(path: Path) -> tuple[dict[str, int], Callable[[str], Signature]]:
    """The operators and the one entry point of an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    inputs = {source.name: (list(source.shape), source.type) for source in session.get_inputs()}

    def call(arrays: Arrays) -> Arrays:
        return dict(zip(outputs, session.run(outputs, arrays), strict=True))

    return _onnx_operators(path), lambda name: Signature(call, inputs)


def _onnx_operators(path: Path) -> dict[str, int]:
    import onnx

    graphs = [onnx.load(str(path)).graph]
    counts: Counter[str] = Counter()
    while graphs:
        graph = graphs.pop()
        counts.update(node.op_type for node in graph.node)
        graphs += [part.g for node in graph.node for part in node.attribute if part.HasField("g")]
    return dict(sorted(counts.items()))


RUNTIMES = {"tflite": tflite, "tflite_text": tflite_text, "saved_model": saved_model, "onnx": onnx}


def play(kind: str, path: Path, folder: Path) -> None:
    """Do what the plan in ``folder`` says, each call twice."""
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    operators, signature = RUNTIMES[kind](path)
    returned: Arrays = {}
    names, equal, latency = [], True, None
    with np.load(folder / "inputs.npz", allow_pickle=False) as stored:
        for number, session in enumerate(plan):
            face = signature(session["signature"])
            call = face.stream if session["streams"] else face.call
            given = [name or next(iter(face.inputs)) for name in session["inputs"]]
            columns = [stored[f"{number}_{place}"] for place in range(len(given))]
            calls = [dict(zip(given, row, strict=True)) for row in zip(*columns, strict=True)]
            answers = [call(one) for one in calls]
            # Once more, all of them: whatever a call leaves behind shows in the next one's answer.
            equal &= all(same(answer, call(one)) for answer, one in zip(answers, calls, strict=True))
            latency = milliseconds(lambda: call(calls[0])) if latency is None else latency  # noqa: B023
            names.append(list(answers[0]))
            for place, name in enumerate(answers[0]):
                returned[f"{number}_{place}"] = np.stack([answer[name] for answer in answers])
    np.savez(folder / "outputs.npz", **returned)  # type: ignore[arg-type]
    report = {"operators": operators, "equal": bool(equal), "latency_ms": latency, "outputs": names}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


def same(one: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


def milliseconds(call: Callable[[], Any]) -> float:
    """The median of some calls."""
    times: list[float] = []
    end = time.perf_counter() + LATENCY_SECONDS
    while not times or (time.perf_counter() < end and len(times) < LATENCY_CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def limit_memory(most: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has none, macOS refuses some
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main(kind: str, path: str, folder: str) -> None:
    sys.modules.update(dict.fromkeys(HIDDEN[kind]))  # type: ignore[arg-type]  # None: the import is refused
    if kind != "saved_model":
        limit_memory(MEMORY + 16 * Path(path).stat().st_size)
    try:
        play(kind, Path(path), Path(folder))
    except Exception as error:  # of one line, where a traceback would tell a user nothing
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
