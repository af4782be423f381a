"""How fast the gated LSTM layers are beside the built-in one, torch's and onnxruntime's: ratios, one thread, one core.

    python benchmarks/layers.py
    python benchmarks/layers.py --only times --shapes 49,40,128 --seconds 10
    python benchmarks/layers.py --only lengths --slow
    python benchmarks/layers.py --quick --markdown

Four tables, each with the project's targets beside the figures; what misses its target says so.

times     One training step (the whole sequence forward, gradients of inputs and weights, no optimizer) and inference,
          as ratios to keras.layers.LSTM in a tf.function; below 1 is faster.
lengths   Seconds and memory of a training step for sequences of up to 8192 steps, each layer in a process of its own.
variants  Every gate variant and option beside the vanilla GatedLSTM.
fit       A step of model.fit, two layers and a dense head, beside keras.layers.LSTM, as Keras compiles by default.

The calls that are compared are made in turn, every second round in the opposite order, and a ratio is the median over
the rounds: a machine that is busy for a while slows all of them. Before anything is timed, all sides have to agree in
their outputs and gradients to 1e-4 of the largest element; if they do not, nothing is printed but the difference.
Packages that are not installed (torch; onnx and onnxruntime) are named and left out.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["KERAS_BACKEND"] = "tensorflow"  # tf.function is what the layers are timed in

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from lstm_zoo import layers
from lstm_zoo.layers import VARIANTS, gates

ROOT = Path(__file__).parent.parent
SHAPES = [(49, 40, 128), (100, 128, 256), (512, 64, 128), (16, 256, 128)]  # T, D, H
LENGTHS = [512, 2048, 4096, 8192]
VARIANT_SHAPES = [(49, 32, 40, 128), (100, 64, 128, 256)]  # T, B, D, H
FIT_SHAPES = [(512, 32, 64, 128), (49, 64, 40, 128)]  # T, B, D, H
TOLERANCE = 1e-4  # relative to the largest element
MISSED = "missed"
PACKAGES = {"torch": ("torch",), "onnxruntime": ("onnx", "onnxruntime")}  # what each side needs

messages = Console(stderr=True)
Call = Callable[[], list[Any]]  # returns the outputs and, in training, the gradients of x, kernel, U and bias


# === What is computed ===


@dataclass(frozen=True)
class Problem:
    """A sequence layer's work: random inputs ``[batch, frames, features]`` through ``units`` units."""

    frames: int
    batch: int
    features: int
    units: int
    training: bool = True

    @property
    def shape(self) -> str:
        return f"{self.frames}, {self.features}, {self.units}"

    @property
    def work(self) -> str:
        return f"{'training' if self.training else 'inference'}, batch {self.batch}"

    def random(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """Float32, the same for the same shape in every process."""
        return (scale * np.random.default_rng(shape).standard_normal(shape)).astype("float32")

    def inputs(self) -> np.ndarray:
        return self.random(self.batch, self.frames, self.features)

    def cotangent(self) -> np.ndarray:
        """What the outputs are multiplied with for the loss, ``[batch, frames, units]``."""
        return self.random(self.batch, self.frames, self.units)

    def weights(self) -> list[np.ndarray]:
        """Kernel, recurrent kernel and bias in the layout of ``keras.layers.LSTM``."""
        width = 4 * self.units
        return [
            self.random(self.features, width, scale=self.features**-0.5),
            self.random(self.units, width, scale=0.5 * self.units**-0.5),
            self.random(width, scale=0.1),
        ]


def tensorflow_call(layer: keras.Layer, problem: Problem, same_weights: bool = True, **options: Any) -> Call:
    """The layer in a ``tf.function`` with these options; ``same_weights`` are those of every other side."""
    x = tf.constant(problem.inputs())
    layer.build(x.shape)
    if same_weights:
        layer.set_weights(problem.weights())

    @tf.function(autograph=False, **options)
    def infer(x: tf.Tensor) -> list[tf.Tensor]:
        return [layer(x, training=False)]

    @tf.function(autograph=False, **options)
    def train(x: tf.Tensor, cotangent: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(outputs * cotangent[..., : outputs.shape[-1]])
        return [outputs, *tape.gradient(loss, [x, *layer.trainable_weights])]

    if not problem.training:
        return lambda: infer(x)
    cotangent = tf.constant(problem.cotangent())
    return lambda: train(x, cotangent)


def torch_call(problem: Problem) -> Call:
    import torch

    torch.set_num_threads(1)
    module = torch.nn.LSTM(problem.features, problem.units, batch_first=True)
    kernel, recurrent_kernel, bias = problem.weights()  # torch has the gates in the same order
    with torch.no_grad():
        values = (kernel.T, recurrent_kernel.T, bias, np.zeros_like(bias))
        for parameter, value in zip(module.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    x = torch.from_numpy(problem.inputs())

    def infer() -> list[Any]:
        with torch.inference_mode():
            return [module(x)[0]]

    if not problem.training:
        return infer
    x.requires_grad_()
    cotangent = torch.from_numpy(problem.cotangent())

    def train() -> list[Any]:
        outputs, _ = module(x)
        loss = (outputs * cotangent).sum()
        dx, kernel, recurrent_kernel, bias, _ = torch.autograd.grad(loss, [x, *module.parameters()])
        return [outputs.detach(), dx, kernel.T, recurrent_kernel.T, bias]

    return train


def onnxruntime_call(problem: Problem) -> Call:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    def arranged(weight: np.ndarray) -> np.ndarray:  # Keras's blocks are i f c o, ONNX's rows i o f c
        i, f, c, o = np.split(weight, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1).T[None]

    kernel, recurrent_kernel, bias = map(arranged, problem.weights())
    values = {"W": kernel, "R": recurrent_kernel, "B": np.concatenate([bias, np.zeros_like(bias)], axis=-1)}
    values["axis"] = np.array([2])
    nodes = [
        helper.make_node("Transpose", ["x"], ["time_major"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["time_major", "W", "R", "B"], ["steps"], hidden_size=problem.units),
        helper.make_node("Transpose", ["steps"], ["batch_major"], perm=[2, 0, 1, 3]),
        helper.make_node("Squeeze", ["batch_major", "axis"], ["y"]),
    ]
    shapes = {"x": problem.inputs().shape, "y": problem.cotangent().shape}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    constants = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "lstm", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {"x": problem.inputs()}
    return lambda: session.run(None, given)


def keras_lstm(problem: Problem, **options: Any) -> keras.Layer:
    return keras.layers.LSTM(problem.units, return_sequences=True, **options)


def gated_lstm(problem: Problem, **options: Any) -> keras.Layer:
    return layers.GatedLSTM(problem.units, return_sequences=True, **options)


SIDES: dict[str, Callable[[Problem], Call]] = {
    "Keras graph": lambda problem: tensorflow_call(keras_lstm(problem), problem),
    "Keras XLA": lambda problem: tensorflow_call(keras_lstm(problem), problem, jit_compile=True),
    "Keras unrolled": lambda problem: tensorflow_call(keras_lstm(problem, unroll=True), problem),
    "torch": torch_call,
    "onnxruntime": onnxruntime_call,
    "GatedLSTM": lambda problem: tensorflow_call(gated_lstm(problem), problem),
    "GatedLSTM rematerialize": lambda problem: tensorflow_call(gated_lstm(problem, rematerialize=True), problem),
    "MinLSTM": lambda problem: tensorflow_call(
        layers.MinLSTM(problem.units, return_sequences=True), problem, same_weights=False
    ),
}


def missing(side: str) -> list[str]:
    """Packages that this side needs and that are not installed."""
    return [package for package in PACKAGES.get(side, ()) if importlib.util.find_spec(package) is None]


def check(results: Mapping[str, Sequence[Any]], where: str) -> None:
    """Refuse to go on where one side computes something else than the first."""
    first, *others = results
    for side in others:
        for number, (value, expected) in enumerate(zip(results[side], results[first], strict=True)):
            value, expected = np.asarray(value), np.asarray(expected)
            error = np.abs(value - expected).max() / np.abs(expected).max()
            if not error <= TOLERANCE:
                what = ("outputs", *(f"gradient of {name}" for name in ("x", "kernel", "recurrent kernel", "bias")))
                sys.exit(f"{where}: {side} and {first} differ by {error:.1e} in the {what[number]}: nothing to compare")


# === Timing ===


def interleaved(calls: Mapping[str, Callable[[], Any]], seconds: float, least: int = 5) -> dict[str, list[float]]:
    """Seconds of each call in each round; rounds, of alternating order, for ``seconds`` and at least ``least``."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    for number in itertools.count():
        if number >= least and time.perf_counter() > end:
            return times
        for name in list(calls)[:: -1 if number % 2 else 1]:
            began = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - began)
    raise AssertionError("rounds go on until the time is up")


def ratio(times: Mapping[str, Sequence[float]], side: str, base: str) -> float:
    """Median over the rounds of the time of ``side`` by that of ``base``; NaN if one is not there."""
    if side not in times or base not in times:
        return float("nan")
    return float(np.median(np.divide(times[side], times[base])))


def verdict(value: float, target: float | None = None, at_least: bool = False) -> str:
    """The figure beside its target: ``0.64 ≤ 0.75``, ``0.90 > 0.75 missed``; without a target, the figure alone."""
    if np.isnan(value):
        return "-"
    if target is None:
        return f"{value:.2f}"
    reached = value >= target if at_least else value <= target
    sign = ("≥" if reached else "<") if at_least else ("≤" if reached else ">")
    return f"{value:.2f} {sign} {target:g}" + ("" if reached else f" {MISSED}")


def milliseconds(times: Sequence[float]) -> str:
    median = 1e3 * float(np.median(times))
    return f"{median:.0f}" if median >= 100 else f"{median:.3g}"


@dataclass
class Sheet:
    """A table to print."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        rule = ("---", *["---:"] * (len(self.columns) - 1))
        rows = [f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *rows, "", *self.notes, ""])

    def table(self) -> Table:
        caption = "\n".join(self.notes)
        drawn = Table(title=self.title, title_justify="left", caption=caption, caption_justify="left")
        for number, column in enumerate(self.columns):
            drawn.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            drawn.add_row(*(Text(cell, style="bold red" if MISSED in cell else "") for cell in row))
        return drawn


@dataclass(frozen=True)
class Effort:
    """How long and how large to measure; the rest of the code is the same for a quick try."""

    shapes: list[tuple[int, int, int]]
    lengths: list[int]
    variant_shapes: list[tuple[int, int, int, int]]
    fit_shapes: list[tuple[int, int, int, int]]
    seconds: float
    least: int
    slow: bool
    progress: Progress

    def track(self, cases: Iterable[Any], title: str) -> Iterable[Any]:
        return self.progress.track(list(cases), description=title)


# === The four tables ===


def times_target(problem: Problem) -> tuple[float | None, float | None]:
    """The most that GatedLSTM may take of the time of Keras in a graph, and of torch."""
    if problem.training:
        return 0.75, 1.0 if problem.batch >= 64 else 1.2
    if problem.batch == 1:
        return (0.5 if problem.frames <= 16 else 0.35), None
    return None, None


def times_sides(problem: Problem) -> list[str]:
    sides = ["Keras graph", "Keras XLA", "Keras unrolled", "torch", "onnxruntime", "GatedLSTM"]
    left_out = {"Keras unrolled"} if problem.frames > 100 else set()
    left_out |= {"onnxruntime"} if problem.training else set()
    return [side for side in sides if side not in left_out and not missing(side)]


def times(effort: Effort) -> Sheet:
    """GatedLSTM beside everything else, for each shape."""
    columns = ("T, D, H", "work", "Keras graph ms", "Keras XLA", "Keras unrolled", "torch", "onnxruntime", "GatedLSTM",
               "GatedLSTM / torch", "rounds")  # fmt: skip
    sheet = Sheet("One layer, time as a ratio to keras.layers.LSTM in a graph", columns)
    work = [(True, 32), (True, 64), (False, 1), (False, 32), (False, 64)]
    for (frames, features, units), (training, batch) in effort.track(itertools.product(effort.shapes, work), "times"):
        problem = Problem(frames, batch, features, units, training)
        calls = {side: SIDES[side](problem) for side in times_sides(problem)}
        check({side: call() for side, call in calls.items()}, f"T, D, H = {problem.shape}, {problem.work}")
        measured = interleaved(calls, effort.seconds, effort.least)
        of_keras, of_torch = times_target(problem)
        others = [verdict(ratio(measured, side, "Keras graph")) for side in columns[3:7]]
        ours = ratio(measured, "GatedLSTM", "Keras graph"), ratio(measured, "GatedLSTM", "torch")
        cells = verdict(ours[0], of_keras), verdict(ours[1], of_torch), str(len(measured["GatedLSTM"]))
        sheet.rows.append((problem.shape, problem.work, milliseconds(measured["Keras graph"]), *others, *cells))
        del calls
        gc.collect()
    return sheet


def variant_options(units: int) -> dict[str, tuple[dict[str, Any], float]]:
    """Arguments of GatedLSTM for each variant and option, and how many times vanilla's time it may take."""
    limits = {"full_gate_recurrence": 2.5}
    published = [name for name, found in VARIANTS.items() if found.step.__module__ == gates.__name__]  # not SLSTM's own
    variants = {name: ({"gates": name}, limits.get(name, 1.2)) for name in published if name != "vanilla"}
    options: dict[str, tuple[dict[str, Any], float]] = {
        "projection to half the units": ({"projection_units": units // 2}, 1.2),
        "cell clip": ({"cell_clip": 3.0}, 1.2),
        "projection with both clips": (
            {"projection_units": units // 2, "cell_clip": 3.0, "projection_clip": 3.0}, 1.2,
        ),
        "layer normalization": ({"layer_normalization": True}, 1.6),
        "layer normalization per gate": ({"layer_normalization": "per_gate"}, 1.6),
        "zoneout": ({"zoneout_cell": 0.1, "zoneout_hidden": 0.1}, 1.2),
        "dropout": ({"dropout": 0.2}, 1.2),
        "recurrent dropout": ({"recurrent_dropout": 0.2}, 1.2),
        "outer cell activation tanh": ({"cell_activation": "tanh"}, 1.2),
    }  # fmt: skip
    return variants | options


def variant_layers(problem: Problem) -> dict[str, tuple[keras.Layer, float | None]]:
    """Every layer of the family and the most it may take of vanilla's time."""
    found: dict[str, tuple[keras.Layer, float | None]] = {"vanilla": (gated_lstm(problem), None)}
    for name, (options, limit) in variant_options(problem.units).items():
        found[name] = gated_lstm(problem, **options), limit
    for name, limit in (("SLSTM", 1.2), ("MLSTM", None), ("MinLSTM", None)):
        if family := getattr(layers, name, None):
            found[name] = family(problem.units, return_sequences=True), limit
    return found


def check_variant(layer: keras.Layer, problem: Problem, name: str) -> None:
    """The first steps, beside the layer's own reference path."""
    x = problem.inputs()
    whole = layer(x, training=False)
    if isinstance(layer, layers.GatedLSTM):
        reference = type(layer).from_config(layer.get_config() | {"implementation": "reference"})
        reference.build(x.shape)
        reference.set_weights(layer.get_weights())
        check({"the reference path": [reference(x[:, :5], training=False)], name: [whole[:, :5]]}, "variants")


def variants(effort: Effort) -> Sheet:
    """Every variant and option beside vanilla, training and inference."""
    problems = [Problem(*shape, training=training) for shape in effort.variant_shapes for training in (True, False)]
    heads = [f"T{p.frames} B{p.batch} D{p.features} H{p.units} {p.work.split(',')[0]}" for p in problems]
    sheet = Sheet("Variants and options, time as a ratio to GatedLSTM('vanilla')", ("", *heads))
    cells: dict[str, list[str]] = {}
    for problem in effort.track(problems, "variants"):
        calls, limits = {}, {}
        for name, (layer, limit) in variant_layers(problem).items():
            calls[name], limits[name] = tensorflow_call(layer, problem, same_weights=False), limit
            check_variant(layer, problem, name)
            calls[name]()
        measured = interleaved(calls, 2 * effort.seconds, effort.least)
        for name, limit in limits.items():
            cells.setdefault(name, []).append(verdict(ratio(measured, name, "vanilla"), limit))
        cells["vanilla"][-1] = f"{milliseconds(measured['vanilla'])} ms"
        del calls
        gc.collect()
    sheet.rows = [(name, *row) for name, row in cells.items()]
    return sheet


def fit_model(problem: Problem, lstm: Callable[..., keras.Layer]) -> keras.Model:
    inputs = keras.Input((problem.frames, problem.features))
    hidden = lstm(problem.units, return_sequences=True)(inputs)
    hidden = lstm(problem.units)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def fit_row(problem: Problem, effort: Effort) -> tuple[str, ...]:
    steps = max(2, 512 // problem.frames)
    x = problem.random(steps * problem.batch, problem.frames, problem.features)
    y = np.arange(len(x)) % 10
    models = {
        "Keras": fit_model(problem, keras.layers.LSTM),
        "GatedLSTM": fit_model(problem, layers.GatedLSTM),
    }
    models["GatedLSTM"].set_weights(models["Keras"].get_weights())
    where = f"model of two layers, T, D, H = {problem.shape}"
    check({name: [model(x[: problem.batch], training=False)] for name, model in models.items()}, where)

    def caller(model: keras.Model) -> Callable[[], list[float]]:
        return lambda: model.fit(x, y, batch_size=problem.batch, shuffle=False, verbose=0).history["loss"]

    calls = {name: caller(model) for name, model in models.items()}
    check({name: [call()] for name, call in calls.items()}, f"loss of a {where}")
    measured = interleaved(calls, 2 * effort.seconds, effort.least)
    of_keras = verdict(ratio(measured, "GatedLSTM", "Keras"))
    a_step = milliseconds(np.divide(measured["Keras"], steps))
    return problem.shape, str(problem.batch), a_step, of_keras, str(len(measured["Keras"]))


def fit(effort: Effort) -> Sheet:
    """Two layers and a dense head inside ``model.fit``."""
    columns = ("T, D, H", "batch", "keras.layers.LSTM ms a step", "GatedLSTM", "rounds")
    sheet = Sheet("Inside model.fit, time as a ratio to keras.layers.LSTM", columns)
    sheet.notes.append("There is no target for a step with all that model.fit does around the layers.")
    sheet.rows = [fit_row(Problem(*shape), effort) for shape in effort.track(effort.fit_shapes, "fit")]
    return sheet


# === Long sequences: each layer in a process of its own ===


def resident(which: str) -> float | None:
    """Megabytes of this process now (``VmRSS``) or at most since the last reset (``VmHWM``); None without /proc."""
    status = Path("/proc/self/status")
    return int(re.search(rf"{which}:\s+(\d+)", status.read_text())[1]) / 1024 if status.exists() else None  # type: ignore[index]


def reset_peak() -> None:
    """Give freed memory back to the system and make what is resident now the new peak."""
    gc.collect()
    if Path("/proc/self/clear_refs").exists():
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def growth(base: float | None) -> float:
    return float("nan") if base is None else resident("VmHWM") - base  # type: ignore[operator]


def worker(side: str, frames: int, steps: int, results: Path) -> None:
    """Take a first step, a second one for its memory, and then one for each line on standard input.

    Each step is reported as a line of JSON. With ``steps`` 1 the first step is the only one.
    """
    call = SIDES[side](Problem(frames, 16, 64, 128))
    reset_peak()
    base = resident("VmRSS")
    began = time.perf_counter()
    values = [np.asarray(value) for value in call()]
    report = {"first seconds": time.perf_counter() - began, "first megabytes": growth(base)}
    if side != "MinLSTM":  # which computes something else
        (outputs, dx), weights = values[:2], values[2:]
        np.savez(results, outputs[:, -1], dx[:, 0], *weights)
        del outputs, dx, weights
    del values
    if steps > 1:
        reset_peak()
        call()
        report["megabytes"] = growth(base)
    print(json.dumps(report), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        call()
        print(json.dumps(time.perf_counter() - began), flush=True)


class Worker:
    """The other end: starts the process, waits for its first steps; a call makes it take one more."""

    def __init__(self, side: str, frames: int, folder: Path, steps: int):
        self.results = folder / f"{side}.npz"
        line = [sys.executable, __file__, "--worker", side, str(frames), str(steps), str(self.results)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.report = self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            sys.exit(f"{' '.join(self.process.args)} failed")  # type: ignore[arg-type]
        return json.loads(line)

    def __call__(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self.process.communicate()


def length_sides(frames: int) -> list[str]:
    if frames == 4096:
        return ["GatedLSTM", "MinLSTM"]
    sides = ["Keras graph", "Keras XLA", "torch", "GatedLSTM", "GatedLSTM rematerialize", "MinLSTM"]
    return [side for side in sides if not missing(side)]


def length_verdicts(side: str, frames: int, longest: int, seconds: Mapping[str, Sequence[float]],
                    reports: Mapping[str, Mapping[str, float]]) -> str:  # fmt: skip
    """What the project aims at for this side at this length, beside the figures."""
    said = []
    if frames == longest and side == "GatedLSTM":
        said.append(f"of torch's time {verdict(ratio(seconds, side, 'torch'), 1.0)}")
        if "Keras XLA" in reports:
            faster = reports["Keras XLA"]["first seconds"] / float(np.median(seconds[side]))
            said.append(f"times faster than Keras XLA {verdict(faster, 50, at_least=True)}")
        else:
            said.append("times faster than Keras XLA (≥ 50) not measured, see --slow")
    if frames == longest and side == "GatedLSTM rematerialize" and "torch" in reports:
        memory = reports[side]["megabytes"] / reports["torch"]["megabytes"]
        said.append(f"of torch's memory {verdict(memory, 0.5)}")
        said.append(f"of torch's time {verdict(ratio(seconds, side, 'torch'), 1.5)}")
    if side == "MinLSTM" and "GatedLSTM" in seconds:
        target = 1.0 if frames == 4096 else None
        said.append(f"of GatedLSTM's time {verdict(ratio(seconds, side, 'GatedLSTM'), target)}")
    return "; ".join(said)


def lengths(effort: Effort) -> Sheet:
    """Seconds and memory of a training step against the length of the sequence."""
    columns = ("T", "layer", "seconds a step", "of Keras graph", "of torch", "first step s", "peak MB",
               "peak MB, first step", "targets")  # fmt: skip
    sheet = Sheet("Long sequences: a training step, batch 16, D 64, H 128", columns)
    sheet.notes.append(
        "MB: growth of the resident set over what the process had before its first step. The first step includes"
        " tracing and compilation; Keras XLA at the greatest length is that one step alone."
    )
    longest = effort.lengths[-1]
    for frames in effort.track(effort.lengths, "lengths"):
        sides = length_sides(frames)
        alone = frames == longest  # Keras XLA takes two minutes for 8192 steps: one has to do
        if alone and not effort.slow:
            sides.remove("Keras XLA")
            sheet.notes.append(f"Keras XLA at T = {frames} takes minutes: left out, --slow measures it.")
        with tempfile.TemporaryDirectory() as folder:
            workers: dict[str, Worker] = {}
            try:
                for side in sides:
                    workers[side] = Worker(side, frames, Path(folder), 1 if alone and side == "Keras XLA" else 2)
                files = {side: np.load(worker.results) for side, worker in workers.items() if worker.results.exists()}
                check({side: list(file.values()) for side, file in files.items()}, f"T = {frames}")
                calls = {side: worker for side, worker in workers.items() if "megabytes" in worker.report}
                seconds = interleaved(calls, 2 * effort.seconds, min(3, effort.least))
            finally:
                for worker in workers.values():
                    worker.close()
        reports = {side: worker.report for side, worker in workers.items()}
        for side, report in reports.items():
            ratios = [verdict(ratio(seconds, side, base)) for base in ("Keras graph", "torch")]
            taken = float(np.median(seconds.get(side, report["first seconds"])))
            memory = [f"{report[name]:.0f}" if name in report else "-" for name in ("megabytes", "first megabytes")]
            said = length_verdicts(side, frames, longest, seconds, reports)
            sheet.rows.append(
                (str(frames), side, f"{taken:.3g}", *ratios, f"{report['first seconds']:.3g}", *memory, said)
            )
    return sheet


# === The command ===

TABLES = {"times": times, "lengths": lengths, "variants": variants, "fit": fit}


def shape(text: str) -> tuple[int, int, int]:
    if not re.fullmatch(r"[1-9]\d*,[1-9]\d*,[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected T,D,H, as in 49,40,128")
    frames, features, units = map(int, text.split(","))
    return frames, features, units


def one_core() -> None:
    """Before the first tensor is made, as TensorFlow's threads are started with it."""
    if hasattr(os, "sched_setaffinity"):  # Linux; elsewhere the thread settings have to do
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")  # every side is a function of its own, which TensorFlow takes for retracing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), help="which tables (default: all)")
    parser.add_argument("--shapes", nargs="+", type=shape, metavar="T,D,H", help="of the first table (default: four)")
    parser.add_argument("--seconds", type=float, default=3.0, help="to measure each row (default: 3)")
    parser.add_argument("--slow", action="store_true", help="also Keras XLA at T = 8192, which takes minutes")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, few rounds: whether it works, not how fast")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    one_core()
    if arguments.worker:
        side, frames, steps, results = arguments.worker
        worker(side, int(frames), int(steps), Path(results))
        return
    for side in PACKAGES:
        if absent := missing(side):
            messages.print(f"{side} is left out: {' and '.join(absent)} not installed")
    began = time.perf_counter()
    with Progress(console=messages, transient=True) as progress:
        effort = Effort(SHAPES, LENGTHS, VARIANT_SHAPES, FIT_SHAPES, arguments.seconds, 5, arguments.slow, progress)
        if arguments.quick:
            small = [(8, 2, 4, 8)]
            effort = replace(effort, shapes=[(8, 4, 8)], lengths=[64], variant_shapes=small, fit_shapes=small,
                             seconds=0.1, least=2)  # fmt: skip
        effort = replace(effort, shapes=arguments.shapes or effort.shapes)
        sheets = [TABLES[name](effort) for name in arguments.only]
    console = Console(width=None if sys.stdout.isatty() else 220)  # in a file, every row on one line
    for sheet in sheets:
        if arguments.markdown:
            print(sheet.markdown())
        else:
            console.print(sheet.table())
    cells = [cell for sheet in sheets for row in sheet.rows for cell in row]
    missed = sum(cell.count(MISSED) for cell in cells)
    messages.print(f"{missed} targets missed; {(time.perf_counter() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
