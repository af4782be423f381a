"""What an exported file was seen to do: replayed in a fresh process and compared with the model it came from."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pydantic

from lstm_zoo.config import Config
from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters.failures import refused_by, scratch_folder
from lstm_zoo.exporters.processes import run_python

if TYPE_CHECKING:
    import keras
    from rich.table import Table

SCHEMA_VERSION = 1
TOLERANCES = {None: 1e-4, "float16": 5e-3, "dynamic_int8": 0.3}  # of the largest difference in any output
AGREEMENTS = {None: 0.999, "float16": 0.99, "dynamic_int8": 0.97}  # least share of inputs with the same top output
FEWEST_FOR_AGREEMENT = 100  # inputs; of fewer, a single near tie would decide
LARGEST_CERTIFICATE = 10_000_000  # bytes
PROBES, PROBE_SEED = 8, 20_260_101
BATCH = 64
LATENCY_SECONDS, LATENCY_CALLS = 1.0, 200
PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")


class Probe(Config):
    """Signals that any machine can make again (see :func:`probe_signals`) and what the model answers to them."""

    seed: int
    shape: tuple[int, ...]
    expected: tuple[tuple[float, ...], ...]


class Certificate(Config):
    """The measured facts of one exported file, kept as ``<file>.json`` beside it.

    Differences are between the file's outputs and the Keras model's on the same inputs; times in milliseconds for
    one input on one thread.
    """

    schema_version: Literal[1] = 1
    file: str
    kind: Literal["tflite", "saved_model"]
    bytes: int
    sha256: str
    profile: str
    quantize: str | None
    ops: dict[str, int]
    inputs: str = pydantic.Field(description="what was replayed")
    largest_difference: float
    tolerance: float
    top1_agreement: float = pydantic.Field(description="share of inputs with the same highest output")
    two_invokes_equal: bool
    latency_ms: float
    model_sha256: str
    versions: dict[str, str]
    probe: Probe

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table("", "", title=self.file, show_header=False, title_justify="left")
        table.add_row("size", f"{self.bytes:,} bytes")
        table.add_row("form", f"{self.kind}, profile {self.profile}, {self.quantize or 'float32'}")
        table.add_row("replayed on", self.inputs)
        table.add_row("largest difference", f"{self.largest_difference:.1e} (at most {self.tolerance:g} allowed)")
        table.add_row("same top answer", f"{self.top1_agreement:.1%}")
        table.add_row("second call equal", "yes" if self.two_invokes_equal else "NO")
        table.add_row("latency, one thread", f"{self.latency_ms:.2f} ms")
        if self.ops:
            table.add_row("operators", ", ".join(f"{name} {count}" for name, count in sorted(self.ops.items())))
        table.add_row("sha256", self.sha256)
        return table


def certify(
    path: Path,
    model: keras.Model,
    shape: tuple[int, ...],
    *,
    name: str,
    quantize: str | None = None,
    profile: str = "default",
    check_inputs: np.ndarray | None = None,
) -> Certificate:
    """Replay the file or folder at ``path``, to be called ``name``, against ``model``.

    Args:
        shape: the file's input shape, with a batch of one.
        check_inputs: float32 ``[count, *shape[1:]]``; default: the model's golden input, else the probe signals.

    Raises:
        InvalidInputError: ``check_inputs`` has another shape or type, or is not finite.
        ExportError: the file does not run, keeps state, uses custom operators, is further from the model than its
            tolerance, or has another top answer too often; or the model does not take ``shape``.
    """
    inputs, described = _check_inputs(model, shape, check_inputs)
    probes = probe_signals(shape)
    with refused_by(model, shape):
        expected, expected_of_probes = answers(model, inputs), answers(model, probes)
    replayed = replay(path, np.concatenate([inputs, probes]))
    outputs, of_probes = replayed.outputs[: len(inputs)], replayed.outputs[len(inputs) :]
    certificate = Certificate(
        file=name,
        kind="tflite" if path.is_file() else "saved_model",
        bytes=size(path),
        sha256=sha256(path),
        profile=profile,
        quantize=quantize,
        ops=builtin_ops(path) if path.is_file() else {},
        inputs=described,
        largest_difference=max(_difference(outputs, expected), _difference(of_probes, expected_of_probes)),
        tolerance=TOLERANCES[quantize],
        top1_agreement=_top1_agreement(outputs, expected),
        two_invokes_equal=replayed.two_invokes_equal,
        latency_ms=replayed.latency_ms,
        model_sha256=model_sha256(model),
        versions=_versions(),
        probe=Probe(
            seed=PROBE_SEED, shape=shape, expected=tuple(map(tuple, expected_of_probes.reshape(PROBES, -1).tolist()))
        ),
    )
    _require(certificate, len(inputs))
    return certificate


def verify(path: str | Path, model: keras.Model | None = None) -> Certificate:
    """Replay the exported ``path`` again, on this machine, against what its certificate says.

    Args:
        path: the file or folder, with its certificate beside it.
        model: when given, the file must also be this very model's.

    Returns:
        The certificate, with the difference, agreement and latency measured now, on the probe signals.

    Raises:
        ExportError: file or certificate is missing or changed, or the answers are no longer those of the model.
    """
    path = Path(path)
    stored = read(certificate_path(path))
    if not path.exists():
        raise ExportError(f"{path} does not exist, though its certificate does")
    if (found := sha256(path)) != stored.sha256:
        raise ExportError(f"{path} is not the certified file: its sha256 is {found}, the certificate's {stored.sha256}")
    if model is not None and (found := model_sha256(model)) != stored.model_sha256:
        raise ExportError(f"{path} is of another model: sha256 {stored.model_sha256}, the given one's is {found}")
    probes = probe_signals(stored.probe.shape, seed=stored.probe.seed)
    expected = np.asarray(stored.probe.expected, "float32")
    if len(expected) != len(probes):
        raise ExportError(f"{path}: its certificate has {len(expected)} probe answers, expected {len(probes)}")
    replayed = replay(path, probes)
    outputs = replayed.outputs.reshape(len(probes), -1)
    if outputs.shape != expected.shape:
        raise ExportError(f"{path}: outputs of shape {outputs.shape}, its certificate has {expected.shape}")
    measured = stored.replace(
        inputs=_describe_probes(),
        largest_difference=_difference(outputs, expected),
        top1_agreement=_top1_agreement(outputs, expected),
        two_invokes_equal=replayed.two_invokes_equal,
        latency_ms=replayed.latency_ms,
    )
    _require(measured, len(probes))
    return measured


def certificate_path(path: Path) -> Path:
    """Where the certificate of the exported ``path`` is."""
    return path.with_name(f"{path.name}.json")


def read(path: Path) -> Certificate:
    """Read a certificate.

    Raises:
        ExportError: it is missing, too large, not a certificate, or of a newer version of this package.
    """
    try:
        if path.stat().st_size > LARGEST_CERTIFICATE:
            raise ExportError(f"{path} is too large for a certificate")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path} does not exist: export the model again to get a certificate") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read as a certificate: {error}") from None
    if isinstance(values, dict) and isinstance(found := values.get("schema_version"), int) and found > SCHEMA_VERSION:
        raise ExportError(f"{path} is of a newer version of this package (schema {found}): upgrade lstm-zoo to read it")
    try:
        return Certificate.create(values)
    except InvalidInputError as error:
        raise ExportError(f"{path} is not a certificate: {error}") from None


# === What is replayed ===


def probe_signals(shape: tuple[int, ...], seed: int = PROBE_SEED) -> np.ndarray:
    """Noise of rising loudness, half of it over a tone: float32 ``[8, *shape[1:]]``, the same on every machine."""
    random = np.random.RandomState(seed)  # the one generator whose numbers NumPy promises never to change
    level = np.geomspace(1e-3, 0.5, PROBES).reshape(-1, *[1] * (len(shape) - 1))
    signals = level * random.uniform(-1.0, 1.0, (PROBES, *shape[1:]))
    steps = np.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2))
    period = random.uniform(8.0, 160.0, (PROBES // 2, *[1] * (len(shape) - 1)))
    signals[::2] += 0.3 * np.sin(2 * np.pi * steps / period)
    return signals.astype("float32")


def answers(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """The Keras model's outputs, a batch at a time."""
    import keras

    # As tensors, which models take as they are: raw arrays they may pad.
    batches = (keras.ops.convert_to_tensor(inputs[at : at + BATCH]) for at in range(0, len(inputs), BATCH))
    return np.concatenate([np.asarray(model(batch, training=False)) for batch in batches])


def _check_inputs(model: keras.Model, shape: tuple[int, ...], given: np.ndarray | None) -> tuple[np.ndarray, str]:
    if given is None:
        golden = getattr(model, "golden_input", None)
        if golden is None or np.shape(golden)[1:] != shape[1:]:
            return probe_signals(shape), _describe_probes()
        given, what = golden, "golden inputs"
    else:
        what = "given inputs"
    inputs = np.asarray(given)
    if inputs.dtype.kind != "f" or not inputs.size or inputs.shape[1:] != shape[1:] or not np.isfinite(inputs).all():
        raise InvalidInputError(
            f"check_inputs: expected finite floats of shape [count, {', '.join(map(str, shape[1:]))}], "
            f"got {inputs.dtype} of shape {list(inputs.shape)}"
        )
    return inputs.astype("float32"), f"{len(inputs)} {what}, and {_describe_probes()}"


def _describe_probes() -> str:
    return f"{PROBES} seeded probe signals (noise and tones)"


# === What is measured ===


class Replayed(pydantic.BaseModel):
    """What a file did in a process of its own."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    outputs: np.ndarray
    two_invokes_equal: bool
    latency_ms: float


def replay(path: Path, inputs: np.ndarray) -> Replayed:
    """Run ``inputs`` one by one through the TFLite file or SavedModel folder, in a fresh process.

    A TFLite file runs in ``ai_edge_litert`` without TensorFlow, a SavedModel in TensorFlow without this package.
    """
    with scratch_folder() as folder:
        given, returned = folder / "inputs.npy", folder / "outputs.npz"
        np.save(given, inputs, allow_pickle=False)
        script = _TFLITE if path.is_file() else _SAVED_MODEL
        run_python(["-P", "-c", script + _MEASURE, path.resolve(), given, returned], f"replaying {path.name}")
        with np.load(returned, allow_pickle=False) as arrays:
            return Replayed(
                outputs=arrays["outputs"],
                two_invokes_equal=bool(arrays["equal"]),
                latency_ms=round(float(arrays["latency_ms"]), 4),
            )


# Scripts and not modules, so that they run as a stranger's program would: without this package.
_TFLITE = """
import sys
sys.modules["lstm_zoo"] = sys.modules["tensorflow"] = None
import numpy as np
from ai_edge_litert.interpreter import Interpreter
path, given, returned = sys.argv[1:]
runner = Interpreter(model_path=path, num_threads=1).get_signature_runner("serving_default")
name = next(iter(runner.get_input_details()))
def call(x):
    return next(iter(runner(**{name: x}).values())).copy()
"""
_SAVED_MODEL = """
import sys
sys.modules["lstm_zoo"] = sys.modules["keras"] = None
import numpy as np
import tensorflow as tf
path, given, returned = sys.argv[1:]
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
loaded = tf.saved_model.load(path)
signature = loaded.signatures["serving_default"]
name = next(iter(signature.structured_input_signature[1]))
def call(x):
    return next(iter(signature(**{name: tf.constant(x)}).values())).numpy()
"""
_MEASURE = f"""
import time
inputs = np.load(given, allow_pickle=False)
outputs, equal = [], True
for x in inputs:
    outputs.append(call(x[None]))
    equal = equal and np.array_equal(outputs[-1], call(x[None]))
equal = equal and np.array_equal(outputs[0], call(inputs[:1]))  # and not touched by what came in between
times, end = [], time.perf_counter() + {LATENCY_SECONDS}
while not times or (time.perf_counter() < end and len(times) < {LATENCY_CALLS}):
    start = time.perf_counter()
    call(inputs[:1])
    times.append(time.perf_counter() - start)
np.savez(returned, outputs=np.concatenate(outputs), equal=equal, latency_ms=1e3 * np.median(times))
"""


def builtin_ops(path: Path) -> dict[str, int]:
    """How often each operator occurs in the TFLite file.

    Raises:
        ExportError: the file is not TFLite, or has operators that are not builtin.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ExportError(f"{path.name} is not a TFLite file")
    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    kinds = [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    if "CUSTOM" in kinds:
        custom = [str(code.CustomCode(), "utf-8") for code in codes if code.CustomCode()]
        raise ExportError(f"{path.name} has operators that runtimes lack: {', '.join(custom)}")
    graphs = (model.Subgraphs(index) for index in range(model.SubgraphsLength()))
    used = (graph.Operators(index) for graph in graphs for index in range(graph.OperatorsLength()))
    return dict(sorted(Counter(kinds[operator.OpcodeIndex()] for operator in used).items()))


def model_sha256(model: keras.Model) -> str:
    """A hash of the model's configuration, where it has one, and of its weights' names, shapes and values.

    Of the configuration, the family and what differs from the defaults: options that the family gets later, with
    defaults that leave earlier models as they were, leave their hashes too.
    """
    digest = hashlib.sha256()
    config = getattr(model, "config", None)
    if isinstance(config, pydantic.BaseModel):
        chosen = config.model_dump(mode="json", exclude_defaults=True)
        family = getattr(config, "family", type(config).__name__)
        digest.update(json.dumps(chosen | {"family": family}, sort_keys=True).encode())
    for variable in model.weights:
        values = np.asarray(variable.value)
        digest.update(f"{variable.path} {values.dtype} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Of a file's content; of a folder's names and contents."""
    digest = hashlib.sha256()
    for file in _files(path):
        if path.is_dir():
            digest.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        return iter([path])
    return (file for file in sorted(path.rglob("*")) if file.is_file())


def _difference(outputs: np.ndarray, expected: np.ndarray) -> float:
    if outputs.shape != expected.shape:
        raise ExportError(f"the exported file gives outputs of shape {outputs.shape}, the model {expected.shape}")
    difference = np.abs(outputs.astype("float64") - expected)
    return float("inf") if np.isnan(difference).any() else float(difference.max())


def _top1_agreement(outputs: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean(outputs.argmax(axis=-1) == expected.argmax(axis=-1)))


def _require(certificate: Certificate, count: int) -> None:
    """Refuse what was measured on ``count`` inputs where it is not good enough."""
    form = certificate.quantize or "float32"
    if not certificate.two_invokes_equal:
        raise ExportError(f"{certificate.file}: a second call with the same input gives another answer")
    if not certificate.largest_difference <= certificate.tolerance:
        raise ExportError(
            f"{certificate.file}: outputs differ from the model's by up to {certificate.largest_difference:.2g}, "
            f"more than the {certificate.tolerance:g} allowed for {form}"
        )
    least = AGREEMENTS[certificate.quantize]
    if count >= FEWEST_FOR_AGREEMENT and certificate.top1_agreement < least:
        raise ExportError(
            f"{certificate.file}: the top answer is the model's for {certificate.top1_agreement:.1%} of {count} "
            f"inputs, less than the {least:.1%} required for {form}"
        )


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
