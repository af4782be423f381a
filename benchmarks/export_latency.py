"""Latency of the hoisted loop against Keras's own export, side by side: one thread, one run, calls taken in turn.

    python benchmarks/export_latency.py
    python benchmarks/export_latency.py --units 128 --frames 98 --layers 2 --seconds 5

For each shape and quantisation: Keras's own loop, converted with the static shape without which its file does not
run at all, and the file this package writes. Times are medians of one call; the ratio is Keras's time over ours, so
above 1 ours is faster. Each pair of calls follows directly one on the other, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import time
from collections.abc import Callable
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console
from rich.table import Table

from lstm_zoo.exporters import tflite

FEATURES, CLASSES = 40, 12


def build(layers: int, units: int, frames: int) -> keras.Model:
    """Stacked LSTMs over ``[1, frames, 40]``, the last of them giving its last output to a classifier."""
    inputs = keras.Input((frames, FEATURES), name="features")
    x = inputs
    for number in range(1, layers + 1):
        x = keras.layers.LSTM(units, return_sequences=number < layers)(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax", name="probabilities")(x))


def keras_loop(model: keras.Model, quantize: str | None) -> bytes:
    """Converted in the same way in everything but the loop, which is Keras's own."""
    with mock.patch("lstm_zoo.exporters.hoisted_loop.hoisted_lstm", contextlib.nullcontext):
        return tflite.convert(model, quantize)


def caller(content: bytes, x: np.ndarray) -> Callable[[], np.ndarray]:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()

    def call() -> np.ndarray:
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(returned["index"])

    return call


def interleaved(calls: list[Callable[[], np.ndarray]], seconds: float) -> tuple[list[float], int]:
    """Median milliseconds of each, called in turn for ``seconds`` in all, and how often."""
    for call in calls * 5:
        call()
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while not times[0] or time.perf_counter() < end:
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(1e3 * (time.perf_counter() - start))
    return [float(np.median(taken)) for taken in times], len(times[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--units", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--frames", type=int, nargs="+", default=[49, 98])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    arguments = parser.parse_args()
    console = Console()
    table = Table(title="LSTM latency, one thread, median of one call", title_justify="left")
    for column in ("layers x units, frames", "weights", "Keras ms", "hoisted ms", "ratio", "Keras bytes",
                   "hoisted bytes", "largest difference", "calls"):  # fmt: skip
        table.add_column(column, justify="right")
    for layers, units, frames in itertools.product(arguments.layers, arguments.units, arguments.frames):
        model = build(layers, units, frames)
        x = np.random.default_rng(0).standard_normal((1, frames, FEATURES)).astype("float32")
        expected = np.asarray(model(x, training=False))
        for quantize in (None, "dynamic_int8"):
            contents = [keras_loop(model, quantize), tflite.convert(model, quantize)]
            calls = [caller(content, x) for content in contents]
            difference = max(float(np.abs(call() - expected).max()) for call in calls)
            (theirs, ours), count = interleaved(calls, arguments.seconds)
            sizes = [f"{len(content):,}" for content in contents]
            table.add_row(
                f"{layers} x {units}, {frames}", quantize or "float32", f"{theirs:.3f}", f"{ours:.3f}",
                f"{theirs / ours:.2f}", *sizes, f"{difference:.1e}", str(count),
            )  # fmt: skip
            console.print(f"{layers} x {units}, {frames}, {quantize or 'float32'}: {theirs / ours:.2f}", style="dim")
    console.print(table)


if __name__ == "__main__":
    main()
