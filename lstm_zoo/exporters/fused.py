"""TFLite's own LSTM operator: every recurrent layer as one ``UNIDIRECTIONAL_SEQUENCE_LSTM``.

A layer is traced as a call of a function that the converter leaves alone and writes as one custom operator, with the
weights as its arguments. :func:`fuse` then makes the builtin operator of it, with the optional tensors that the
converter itself never uses: peepholes, coupled gates, projection, layer normalisation and clips.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters.hoisted_loop import refuse_stateful
from lstm_zoo.exporters.sequence_loop import has_known_equations
from lstm_zoo.layers.gated_lstm import GatedLSTM
from lstm_zoo.layers.stand_ins import recurrent_layers, stand_ins, without_cudnn

CUSTOM_OPERATOR = "LstmZooFused"
SHUT_OPEN = 50.0  # pre-activation at which the sigmoid is 1 in float32: the gate of a variant that lacks it

# Where the operator has its inputs; those of the gates are in the order input, forget, cell, output.
INPUT, KERNELS, RECURRENT_KERNELS, PEEPHOLES, BIASES = 0, 1, 5, 9, 12
PROJECTION, HIDDEN_STATE, CELL_STATE, NORM_SCALES, INPUTS = 16, 18, 19, 20, 24
GATES = ("input", "forget", "cell", "output")
PEEPHOLE_GATES = ("input", "forget", "output")
NORM_EPSILON = 1e-8  # of the operator's layer normalisation in float, beside the variance

INTEGER_GATES = ("vanilla", "peephole", "coupled_input_forget")
FUSED_GATES = (*INTEGER_GATES, "no_input_gate", "no_forget_gate", "no_output_gate")


@contextlib.contextmanager
def fused_lstm(model: keras.Model, integer: bool = False) -> Iterator[None]:
    """Within this context every ``keras.layers.LSTM`` and ``GatedLSTM`` of ``model`` traces as the custom operator.

    Args:
        integer: the operator is to have 8-bit activations, in which it can do less.

    Raises:
        ExportError: a layer has what TFLite's operator lacks; says which profile can.
    """
    refuse_stateful(model)
    loops = []
    for layer in recurrent_layers(model):
        if reason := _obstacle(layer):
            raise _refused(layer, reason)
        if integer and (reason := _integer_obstacle(layer)):
            raise ExportError(
                f"{layer.name} {reason}, which TFLite's own LSTM operator cannot in int8: use "
                "quantize='dynamic_int8' or profile='universal'"
            )
        # The weights are read here, because within the traced function variables have no values.
        loops.append((layer, "inner_loop", functools.partial(_inner_loop, operator_weights(layer.cell, integer))))
    with without_cudnn(model), stand_ins(loops):
        yield


def _refused(layer: Any, reason: str) -> ExportError:
    return ExportError(
        f"{layer.name} {reason}, which TFLite's own LSTM operator cannot: use profile='default' or 'universal'"
    )


def _obstacle(layer: Any) -> str | None:
    """What of the layer the operator cannot do."""
    cell = layer.cell
    if not has_known_equations(cell):
        return f"has a cell of its own kind ({type(cell).__name__})"
    if layer.return_state:
        return "gives out its states (return_state=True)"
    if cell.activation is not keras.activations.tanh or cell.recurrent_activation is not keras.activations.sigmoid:
        return "has other activations than tanh and sigmoid"
    if not isinstance(layer, GatedLSTM):
        return None
    if cell.gates.name not in FUSED_GATES:
        return f"has the gates {cell.gates.name!r}"
    if cell.layer_normalization is True:
        return "normalises input, recurrent part and cell state apart (layer_normalization=True; 'per_gate' can be had)"
    if cell.layer_normalization and cell.peephole_gates:
        return "has peepholes outside the layer normalisation"
    if cell.zoneout_cell or cell.zoneout_hidden:
        return "has zoneout"
    if cell.cell_activation is not keras.activations.linear:
        return "has a cell_activation"
    if cell.heads > 1:
        return f"has {cell.heads} heads"
    return None


def _integer_obstacle(layer: Any) -> str | None:
    """What of the layer the operator does in float32, and with 8-bit activations computes wrongly."""
    cell = layer.cell
    if not isinstance(layer, GatedLSTM):
        return None
    if cell.gates.name not in INTEGER_GATES:
        return f"has the gates {cell.gates.name!r}"
    if cell.gates.name == "coupled_input_forget" and cell.layer_normalization:
        return "has coupled gates with layer normalisation"
    if cell.peephole_gates and cell.projection_units:
        return "has peepholes and a projection"
    return None


def _inner_loop(
    weights: dict[int, np.ndarray],
    layer: Any,
    _: Any,
    sequences: tf.Tensor,
    initial_state: Any,
    mask: Any,
    training: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """What stands in for ``inner_loop`` of the two layers."""
    if any(part is not None for part in tf.nest.flatten(mask)):
        raise _refused(layer, "receives a mask")
    if not sequences.shape.is_fully_defined():
        raise _refused(layer, f"receives {sequences.shape}, not static shapes")
    for state in initial_state:
        values = tf.get_static_value(state)
        if values is None or values.any():
            raise _refused(layer, "has an initial state")
    cell = layer.cell
    size = getattr(cell, "output_size", cell.units)
    fused = _custom_operator(
        size,
        slots=sum(1 << slot for slot in weights),
        cell_clip=float(getattr(cell, "cell_clip", None) or 0.0),
        projection_clip=float(getattr(cell, "projection_clip", None) or 0.0),
    )
    outputs = fused(
        tf.reverse(sequences, [1]) if layer.go_backwards else sequences,
        *(tf.constant(values) for values in weights.values()),
    )
    last = outputs[:, -1]
    return last, outputs, [last, *initial_state[1:]]


def _custom_operator(size: int, *, slots: int, cell_clip: float, projection_clip: float) -> Any:
    """A function that the converter writes as one operator, attributes included."""
    attributes = "".join(
        f' attr {{ key: "{key}" value {{ {kind}: {value} }} }}'
        for key, kind, value in (
            ("tfl_fusable_op", "b", "true"),
            ("slots", "i", slots),
            ("cell_clip", "f", cell_clip),
            ("projection_clip", "f", projection_clip),
        )
    )

    def stand_in(sequences: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
        # The converter drops it; it has only to have the shape, and to need all of its arguments.
        needed = tf.add_n([tf.reduce_sum(each) for each in (sequences, *weights)])
        return tf.zeros([*sequences.shape[:2], size]) + needed

    implements = f'name: "{CUSTOM_OPERATOR}"{attributes}'
    return tf.function(stand_in, experimental_implements=implements, autograph=False)


# === The weights as the operator has them ===


def operator_weights(cell: Any, integer: bool = False) -> dict[int, np.ndarray]:
    """Of an LSTM cell, float32, in the operator's layout (``[units, features]``), by the operator's input."""
    blocks = cell.gates.blocks if hasattr(cell, "gates") else GATES
    coupled = hasattr(cell, "gates") and cell.gates.name == "coupled_input_forget"
    kernels, recurrent = _columns(cell.kernel, blocks), _columns(cell.recurrent_kernel, blocks)
    biases = _columns(cell.bias, blocks) if cell.use_bias else {}
    weights: dict[int, np.ndarray] = {}
    for at, gate in enumerate(GATES):
        if gate == "input" and coupled:
            continue  # left out, which is what couples the gates
        missing = gate not in blocks
        for start, parts in ((KERNELS, kernels), (RECURRENT_KERNELS, recurrent)):
            some = next(iter(parts.values()))
            weights[start + at] = np.zeros_like(some.T) if missing else parts[gate].T
        weights[BIASES + at] = (
            np.full(cell.units, SHUT_OPEN, "float32") if missing else biases.get(gate, np.zeros(cell.units, "float32"))
        )
    weights |= _optional_weights(cell, blocks, coupled)
    if getattr(cell, "layer_normalization", False) and not integer:
        # What is normalised may be of any size, but for the epsilon: small enough, it has that of the layer.
        for slot in range(KERNELS, RECURRENT_KERNELS + len(GATES)):
            if slot in weights:
                weights[slot] = weights[slot] * np.float32(np.sqrt(NORM_EPSILON / cell.EPSILON))
    return dict(sorted(weights.items()))


def _optional_weights(cell: Any, blocks: tuple[str, ...], coupled: bool) -> dict[int, np.ndarray]:
    if not hasattr(cell, "gates"):
        return {}
    weights: dict[int, np.ndarray] = {}
    if cell.peephole_gates:  # all of them or none, but for the input gate that coupling leaves out
        for at, gate in enumerate(PEEPHOLE_GATES):
            if gate in cell.peephole_gates:
                weights[PEEPHOLES + at] = np.asarray(getattr(cell, f"{gate}_peephole"), "float32")
            elif not (gate == "input" and coupled):
                weights[PEEPHOLES + at] = np.zeros(cell.units, "float32")
    if cell.projection_units:
        weights[PROJECTION] = np.asarray(cell.projection_kernel, "float32").T
    if cell.layer_normalization == "per_gate":
        scales = _columns(cell.gate_norm_scale, blocks)
        for at, gate in enumerate(GATES):
            if gate in blocks:
                weights[NORM_SCALES + at] = scales[gate]
            elif not (gate == "input" and coupled):
                weights[NORM_SCALES + at] = np.zeros(cell.units, "float32")
    return weights


def _columns(weight: Any, blocks: tuple[str, ...]) -> dict[str, np.ndarray]:
    return dict(zip(blocks, np.split(np.asarray(weight, "float32"), len(blocks), axis=-1), strict=True))
