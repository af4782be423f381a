"""What an exported LSTM costs: beside Keras's own loop, in each profile; and as a stream, block by block. One thread.

    python benchmarks/export_latency.py
    python benchmarks/export_latency.py --only loops --shapes 2,98,128 --seconds 10
    python benchmarks/export_latency.py --only streaming --model speech_tiny --markdown

loops      Stacked LSTMs on 40 features and a classifier of their last output. Keras's own loop is what TensorFlow's
           converter makes of the same signature without this package; its shape is static, because its file does not
           run otherwise. The profile `universal` writes every step out, so it is left out of long sequences.
streaming  One call of the signature `step` of a model of the zoo (`streaming="sliding"`), states handed over from call
           to call, float and with 8-bit weights.

All files run in the same interpreter, LiteRT's, in turn, every second round in the opposite order. Times are
medians of one call, and times faster the median over the rounds: a machine that is busy for a while slows all of them.
Before anything is timed, every float file has to say what the model says, to 1e-5.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from layers import MISSED, Sheet, interleaved, milliseconds, one_core, ratio, verdict  # benchmarks/layers.py
from rich.console import Console

import lstm_zoo
from lstm_zoo.exporters import saved_model, tflite
from lstm_zoo.exporters.signatures import Signature, input_specs, streaming_signatures, whole
from lstm_zoo.layers.stand_ins import without_cudnn
from lstm_zoo.streaming.steps import StepModel

FEATURES, CLASSES = 40, 12
TARGETS = {(1, 49, 64): 1.3, (2, 98, 64): 2.0, (2, 1000, 64): 4.0}  # layers, frames, units: times Keras's loop
MOST_UNROLLED = 200  # steps that `universal` is measured with
KERAS, PROFILES = "Keras's loop", ("default", "universal", "mediapipe")
TOLERANCE = 1e-5
WEIGHTS = {None: "float32", "dynamic_int8": "8 bits"}

messages = Console(stderr=True)
Call = Callable[[], Any]


def check(difference: float, where: str) -> None:
    """Refuse to go on where a file says something else than the model."""
    if not difference <= TOLERANCE:
        sys.exit(f"{where} differs from the model by {difference:.1e}: nothing to compare")


# === Whole sequences ===


def build(layers: int, frames: int, units: int) -> keras.Model:
    """``[batch, frames, 40]`` to 12 probabilities."""
    inputs = keras.Input((frames, FEATURES), name="features")
    x = inputs
    for number in range(1, layers + 1):
        x = keras.layers.LSTM(units, return_sequences=number < layers)(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax", name="probabilities")(x))


def keras_loop(model: keras.Model, signature: Signature) -> bytes:
    """What TensorFlow's converter alone makes of ``signature``."""
    with tempfile.TemporaryDirectory() as folder:
        with without_cudnn(model):
            saved_model.trace(model, (signature,), Path(folder))
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


def files(model: keras.Model, frames: int) -> dict[str, bytes]:
    signature = whole(model, input_specs(model))
    profiles = [name for name in PROFILES if name != "universal" or frames <= MOST_UNROLLED]
    exported = {profile: tflite.convert(model, (signature,), profile=profile) for profile in profiles}
    return {KERAS: keras_loop(model, signature)} | exported


def caller(content: bytes, x: np.ndarray) -> Call:
    """One call of a file with one input and one output, which it returns."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()

    def call() -> np.ndarray:
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(returned["index"])

    return call


def loops_row(shape: tuple[int, int, int], seconds: float) -> tuple[str, ...]:
    layers, frames, units = shape
    name = f"{layers} x {units}, {frames}"
    keras.utils.set_random_seed(0)
    model = build(*shape)
    x = np.random.default_rng(0).standard_normal((1, frames, FEATURES)).astype("float32")
    contents = files(model, frames)
    calls = {side: caller(content, x) for side, content in contents.items()}
    expected = np.asarray(model(x, training=False))
    for side, call in calls.items():  # which is their first call, too: the slow one
        check(float(np.abs(call() - expected).max()), f"{name}: {side}")
    times = interleaved(calls, seconds)
    cells = [name, milliseconds(times[KERAS]), f"{len(contents[KERAS]):,}"]
    for profile in PROFILES:
        if profile not in times:
            cells += ["-", "-", "-"]
            continue
        target = TARGETS.get(shape) if profile == "default" else None
        faster = verdict(ratio(times, KERAS, profile), target, at_least=True)
        cells += [milliseconds(times[profile]), faster, f"{len(contents[profile]):,}"]
    return (*cells, str(len(times[KERAS])))


def loops(arguments: argparse.Namespace) -> Sheet:
    columns = [f"{profile} {what}" for profile in PROFILES for what in ("ms", "times faster", "bytes")]
    sheet = Sheet(
        "Exported LSTMs beside Keras's own loop, one thread, one call",
        ("layers x units, frames", f"{KERAS} ms", f"{KERAS} bytes", *columns, "rounds"),
    )
    for shape in arguments.shapes:
        messages.print(f"loops: {shape[0]} x {shape[2]}, {shape[1]} frames", style="dim")
        sheet.rows.append(loops_row(shape, arguments.seconds))
    return sheet


# === Streams ===


def stepper(content: bytes, model: keras.Model, audio: np.ndarray) -> tuple[Call, float]:
    """One step, of noise, from the states of the step before; and how far the first whole answer is from the model's.

    Args:
        audio: ``[1, samples]``, at least until the first answer.
    """
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner("step")
    steps = StepModel(model, "sliding")
    states = {name: np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for name, spec in steps.states.items()}
    block = steps.block(1)
    (name,) = runner.get_input_details().keys() - states.keys()

    def call(start: int = 0) -> np.ndarray:
        outputs = runner(**{name: audio[:, start : start + block.shape[1]]}, **states)
        states.update((state, outputs.pop(state)) for state in tuple(states))
        (answer,) = outputs.values()
        return answer

    for number in range(steps.warm_up):
        answer = call(number * block.shape[1])
    expected = np.asarray(model(audio[:, : steps.samples], training=False))
    return call, float(np.abs(answer - expected).max())


def streaming(arguments: argparse.Namespace) -> Sheet:
    model = lstm_zoo.get(arguments.model)
    rate, samples = model.config.front_end.sample_rate, StepModel(model, "sliding").stride
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 2 * model.config.clip_samples)).astype("float32")
    signatures = streaming_signatures(model, input_specs(model), "sliding")
    contents, calls, differences = {}, {}, {}
    for quantize, weights in WEIGHTS.items():
        messages.print(f"streaming: {arguments.model}, {weights}", style="dim")
        contents[weights] = tflite.convert(model, signatures, quantize=quantize)
        calls[weights], differences[weights] = stepper(contents[weights], model, audio)
    check(differences[WEIGHTS[None]], f"a step of {arguments.model}")
    times = interleaved(calls, arguments.seconds)
    sheet = Sheet(
        f"{arguments.model}, streaming='sliding': a step of {samples} samples, {1e3 * samples / rate:g} ms, one thread",
        ("weights", "a step, ms", "20 ms of audio, ms", "times real time", "bytes", "largest difference", "rounds"),
    )
    for weights, taken in times.items():
        speed = samples / rate / float(np.median(taken))
        cells = milliseconds(taken), f"{20 / speed:.3g}", f"{speed:,.0f}", f"{len(contents[weights]):,}"
        sheet.rows.append((weights, *cells, f"{differences[weights]:.1e}", str(len(taken))))
    sheet.notes.append("Largest difference: from the model itself, in the probabilities for the same clip of noise.")
    return sheet


TABLES = {"loops": loops, "streaming": streaming}


def shape(text: str) -> tuple[int, int, int]:
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if len(numbers) != 3 or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected layers,frames,units, as 2,98,64")
    return numbers[0], numbers[1], numbers[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), help="tables (default: both)")
    parser.add_argument("--shapes", nargs="+", type=shape, default=list(TARGETS), help="layers,frames,units of loops")
    parser.add_argument("--model", default="speech", help="of the stream: a name of `lstm-zoo list`, or a folder")
    parser.add_argument("--seconds", type=float, default=5.0, help="to measure each comparison (default: 5)")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    arguments = parser.parse_args()
    one_core()
    sheets = [TABLES[name](arguments) for name in arguments.only]
    console = Console(width=None if sys.stdout.isatty() else 220)  # in a file, every row on one line
    for sheet in sheets:
        if arguments.markdown:
            print(sheet.markdown())
        else:
            console.print(sheet.table())
    missed = sum(cell.count(MISSED) for sheet in sheets for row in sheet.rows for cell in row)
    messages.print(f"{missed} targets missed")


if __name__ == "__main__":
    main()
