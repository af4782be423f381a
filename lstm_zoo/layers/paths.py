"""Which way a gated LSTM is computed, and why not another way.

- ``"reference"``: the equations, step by step, in the loop of ``keras.layers.RNN``.
- ``"scan"``: the same equations in this package's own loop, whose gradient is made of few large matrix products.
- ``"cudnn"``: the built-in LSTM of cuDNN, through Keras; without masks.

All three give the same answers. ``implementation="auto"`` takes cuDNN where it can be had, and the scan elsewhere.
The conditions of cuDNN are those of Keras 3.15 (``keras/src/backend/tensorflow/rnn.py``: ``cudnn_ok``,
``_do_lstm_arguments_support_cudnn``, ``_assert_valid_mask``; ``keras/src/layers/rnn/lstm.py``: ``inner_loop``), that
there is no mask, and that nothing is asked for that the built-in LSTM does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras

from lstm_zoo.errors import InvalidInputError

if TYPE_CHECKING:
    from lstm_zoo.layers.gated_lstm import GatedLSTM

PATHS = ("cudnn", "scan", "reference")  # in the order in which "auto" tries them


@dataclass(frozen=True)
class Explanation:
    """What runs, and why nothing else does. Prints as a few lines.

    Attributes:
        path: ``"cudnn"``, ``"scan"`` or ``"reference"``.
        reasons: for each path that is not taken, the first condition that failed.
        notes: what else decides the speed: compilation, masks.
    """

    layer: str
    path: str
    reasons: dict[str, str]
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        lines = [f"{self.layer} runs as {self.path!r}"]
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  not as {path!r}: {reason}" for path, reason in self.reasons.items()]
        return "\n".join(lines)

    __repr__ = __str__


def explain(layer: GatedLSTM, length: int | None, masked: bool) -> Explanation:
    """Which path ``layer`` takes for sequences of ``length`` steps (None: not known beforehand)."""
    path = choose(layer, masked)
    chosen_by = f"{'auto' if layer.implementation == 'auto' else 'implementation'} took {path!r}"
    reasons = {other: first_obstacle(layer, other, masked) or chosen_by for other in PATHS if other != path}
    name = f"{layer.name} (gates={layer.gates!r}, units={layer.units})"
    return Explanation(name, path, reasons, tuple(_notes(layer, path, length)))


def choose(layer: GatedLSTM, masked: bool = False) -> str:
    """The path that ``layer`` takes in a call with a mask, or without.

    Raises:
        InvalidInputError: the path asked for by ``implementation`` cannot run; the message says why.
    """
    if layer.implementation == "auto":
        path = next((path for path in PATHS if first_obstacle(layer, path, masked) is None), None)
        if path is None:
            obstacles = "; ".join(f"not {path!r}: {first_obstacle(layer, path, masked)}" for path in PATHS)
            raise InvalidInputError(f"{layer.name} cannot be computed in any way: {obstacles}")
        return path
    obstacle = first_obstacle(layer, layer.implementation, masked)
    if obstacle is not None:
        raise InvalidInputError(
            f"implementation={layer.implementation!r} cannot run in {layer.name}: {obstacle}; "
            "implementation='auto' takes the fastest that can"
        )
    return layer.implementation


def first_obstacle(layer: GatedLSTM, path: str, masked: bool = False) -> str | None:
    """The first condition of ``path`` that does not hold, or None."""
    obstacles = {"cudnn": _cudnn_obstacles, "scan": _scan_obstacles, "reference": _reference_obstacles}
    return next(obstacles[path](layer, masked), None)


def compiles(layer: GatedLSTM, length: int | None, training: bool = False) -> bool:
    """Whether the scan is compiled by XLA, which is TensorFlow's to do, for sequences of ``length`` steps.

    ``jit_compile="auto"`` compiles where the length is known while tracing: every other length is compiled anew, which
    takes about a second, and with lengths of all kinds that would never end. ``"training"`` compiles in training, too.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    if layer.jit_compile == "training":
        return training or length is not None
    return length is not None if layer.jit_compile == "auto" else bool(layer.jit_compile)


def _notes(layer: GatedLSTM, path: str, length: int | None) -> Iterator[str]:
    if path != "scan" or keras.backend.backend() != "tensorflow":
        return
    if compiles(layer, length):
        yield "compiled by XLA; another length or batch size is compiled when it first comes"
    elif layer.jit_compile is False:
        yield "not compiled by itself: jit_compile=False"
    elif layer.jit_compile == "training":
        yield "compiled by XLA in training alone, as the number of steps is not known; every length when it first comes"
    else:
        yield "not compiled by itself, as the number of steps is not known: give the Input a length to have it faster"


def _reference_obstacles(layer: GatedLSTM, masked: bool) -> Iterator[str]:
    if layer.rematerialize:
        yield "rematerialize=True is the scan's"


def _scan_obstacles(layer: GatedLSTM, masked: bool) -> Iterator[str]:
    if layer.unroll:
        yield "unroll=True asks for a graph without a loop"


def _cudnn_obstacles(layer: GatedLSTM, masked: bool) -> Iterator[str]:
    cell = layer.cell
    if keras.backend.backend() != "tensorflow":
        yield f"Keras has it for the TensorFlow backend alone, and this is {keras.backend.backend()!r}"
        return
    if cell.gates.name != "vanilla":
        yield f"cuDNN has the vanilla gates alone, and these are {cell.gates.name!r}"
    for name, plain in _PLAIN.items():
        if getattr(cell, name) != plain:
            yield f"{name}={getattr(cell, name)!r}: cuDNN has no such thing"
    for name, function in (("activation", "tanh"), ("recurrent_activation", "sigmoid"), ("cell_activation", "linear")):
        if getattr(cell, name) is not keras.activations.get(function):
            yield f"{name} is not {function!r}"
    if not cell.use_bias:
        yield "use_bias=False"
    if layer.unroll:
        yield "unroll=True"
    if layer.rematerialize:
        yield "rematerialize=True is the scan's"
    if cell.recurrent_dropout:
        yield f"recurrent_dropout={cell.recurrent_dropout}"
    if cell.compute_dtype not in ("float16", "float32", "float64"):
        yield f"cuDNN's kernel takes float16, float32 and float64, not {cell.compute_dtype}"
    if masked:
        yield "a mask: cuDNN has right padding alone, finds out while it runs, and puts out zeros there"
    if layer.use_cudnn is False:
        yield "use_cudnn=False"
    if not _sees_gpu():
        yield "TensorFlow sees no GPU"


_PLAIN: dict[str, Any] = {
    "peephole_gates": (),
    "projection_units": None,
    "cell_clip": None,
    "layer_normalization": False,
    "zoneout_cell": 0.0,
    "zoneout_hidden": 0.0,
    "heads": 1,
}


def _sees_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))
