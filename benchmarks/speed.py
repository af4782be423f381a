"""How long until a model is there, and how long one second of audio takes it, on one core.

    python benchmarks/speed.py
    python benchmarks/speed.py --model speech_tiny --seconds 5

Two tables. First, seconds from TensorFlow being imported to ``lstm_zoo.get`` having returned, each time in a fresh
process. Second, milliseconds for one second of audio in Keras and in the two TFLite files that the model comes with,
one thread on one core, and how many times faster than real time that is. The calls are made in turn, so that a busy
machine slows all of them; on a busy machine the fastest call says more than the median, and processor time more than
the clock.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

if hasattr(os, "sched_setaffinity"):  # Linux; elsewhere the thread settings below have to do
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console
from rich.table import Table

import lstm_zoo
from lstm_zoo.registry import pretrained_folder

ROOT = Path(__file__).parent.parent
TARGET = 50  # times real time
GET = """
import sys, time
import tensorflow
import lstm_zoo
began, worked = time.perf_counter(), time.process_time()
lstm_zoo.get(sys.argv[1])
print(time.perf_counter() - began, time.process_time() - worked)
"""


def seconds_to_get(model: str, processes: int) -> np.ndarray:
    """Seconds by the clock and of processor time that ``get(model)`` takes after TensorFlow was imported.

    ``[processes, 2]``, each in a fresh process.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    measured = []
    for _ in range(processes):
        line = [sys.executable, "-c", GET, model]
        done = subprocess.run(line, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        measured.append([float(number) for number in done.stdout.split()])
    return np.array(measured)


def tflite(file: Path, audio: np.ndarray) -> Callable[[], np.ndarray]:
    interpreter = Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()

    def call() -> np.ndarray:
        interpreter.set_tensor(given["index"], audio)
        interpreter.invoke()
        return interpreter.get_tensor(returned["index"])

    return call


def callers(model: str) -> dict[str, Callable[[], np.ndarray]]:
    """Every face of the model that answers to one second of (noise) audio, by what a user would call it."""
    keras_model = lstm_zoo.get(model)
    rate = keras_model.config.front_end.sample_rate
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, (1, rate)).astype("float32")  # [1, one second]
    graph = tf.function(lambda x: keras_model(x, training=False))
    tensor = tf.constant(audio)
    calls: dict[str, Callable[[], np.ndarray]] = {
        "Keras, model(audio)": lambda: np.asarray(keras_model(audio, training=False)),
        "Keras, model.classify(audio)": lambda: keras_model.classify(audio[0])[0].probabilities[None],
        "Keras, in a tf.function": lambda: graph(tensor).numpy(),
    }
    for file in sorted(pretrained_folder(model).glob("*.tflite"), key=lambda path: len(path.name)):
        calls[f"TFLite, {file.name}"] = tflite(file, audio)
    return calls


def milliseconds(calls: dict[str, Callable[[], np.ndarray]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each call, made in turn for ``seconds`` in all."""
    for call in list(calls.values()) * 3:
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 10:
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - began))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="speech", help="a name of `lstm-zoo list`, or an artefact folder")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to measure calls (default: 10)")
    parser.add_argument("--processes", type=int, default=3, help="how often to measure get (default: 3)")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    console = Console()

    taken = seconds_to_get(arguments.model, arguments.processes)
    title = "Loading, one core, after TensorFlow"
    loading = Table("", "median s", "fastest s", "processor s", title=title, title_justify="left")
    median, processor = np.median(taken, axis=0)
    loading.add_row(f"get({arguments.model!r})", f"{median:.2f}", f"{taken[:, 0].min():.2f}", f"{processor:.2f}")
    console.print(loading)

    table = Table(title="One second of audio, one core", title_justify="left")
    for column in ("", "median ms", "fastest ms", "times real time", f"faster than 1/{TARGET}", "calls"):
        table.add_column(column, justify="right" if column else "left")
    for name, times in milliseconds(callers(arguments.model), arguments.seconds).items():
        speed = 1000.0 / float(np.median(times))
        cells = f"{np.median(times):.2f}", f"{min(times):.2f}", f"{speed:.0f}", "yes" if speed > TARGET else "no"
        table.add_row(name, *cells, str(len(times)))
    console.print(table)


if __name__ == "__main__":
    main()
