"""What makes TFLite's own LSTM operators of the custom operators in a converted file, and starts each from zero.

The operator keeps its state in two variable tensors from one call of the file to the next. So before each there is a
second one, of a single step, that has the same two variables and gates which are shut whatever it receives: it leaves
the cell state and the hidden state at zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers  # type: ignore[import-untyped]

from lstm_zoo.exporters.flatbuffer import add_tensor, constant, kind, operator_code
from lstm_zoo.exporters.fused import (
    BIASES,
    CELL_STATE,
    CUSTOM_OPERATOR,
    GATES,
    HIDDEN_STATE,
    INPUT,
    INPUTS,
    KERNELS,
    PEEPHOLE_GATES,
    PEEPHOLES,
    PROJECTION,
    RECURRENT_KERNELS,
)

FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"
VERSION = 3
MATRICES = (*range(KERNELS, RECURRENT_KERNELS + len(GATES)), PROJECTION)
PEEPHOLE_SLOTS = range(PEEPHOLES, PEEPHOLES + len(PEEPHOLE_GATES))
FEWEST_TO_QUANTIZE = 1_024  # elements, as the converter has it for other operators
SHUT = 1e4  # minus this is added to every gate while the states are cleared: the sigmoid of it is 0
# In 8 bits a shut gate lets a little through: the first step clears h, the second what that left of c.
INTEGER_STEPS = 3


def fuse(model: Any) -> None:
    """Put the builtin operator in the place of each custom one of a float32 file, not yet started from zero."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            if _is_ours(model, operator):
                _make_builtin(model, graph, operator)


def quantize_weights(model: Any) -> None:
    """Put the operators' matrices into 8 bits, as the converter does with those of other operators."""
    for graph, operator in fused_operators(model):
        matrices = [slot for slot in MATRICES if operator.inputs[slot] >= 0]
        if sum(np.prod(graph.tensors[operator.inputs[slot]].shape) for slot in matrices) < FEWEST_TO_QUANTIZE:
            continue
        # All or none: the operator wants them of one type, and the peepholes too.
        for slot in (*matrices, *(slot for slot in PEEPHOLE_SLOTS if operator.inputs[slot] >= 0)):
            operator.inputs[slot] = _in_8_bits(model, graph, operator.inputs[slot])


def start_from_zero(model: Any) -> None:
    """Have the state of every LSTM operator cleared at the beginning of each call."""
    for graph, operator in fused_operators(model):
        graph.operators.insert(graph.operators.index(operator), _clearing(model, graph, operator))


def without_start(model: Any) -> None:
    """The opposite of :func:`start_from_zero`."""
    for graph, operator in fused_operators(model):
        used = {*graph.outputs, *(index for reader in graph.operators for index in reader.inputs)}
        if operator.outputs[0] not in used:  # that of the one that clears the states is not
            graph.operators.remove(operator)


def fused_operators(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every LSTM operator, those that clear states included, with its graph; the graph may be changed meanwhile."""
    for graph in model.subgraphs:
        for operator in list(graph.operators):
            if kind(model, operator) == FUSED:
                yield graph, operator


def _is_ours(model: Any, operator: Any) -> bool:
    return model.operatorCodes[operator.opcodeIndex].customCode == CUSTOM_OPERATOR.encode()


def _make_builtin(model: Any, graph: Any, operator: Any) -> None:
    settings = flexbuffers.Loads(bytes(operator.customOptions))
    inputs = [-1] * INPUTS
    slots = [slot for slot in range(INPUTS) if settings["slots"] >> slot & 1]
    inputs[INPUT], *weights = map(int, operator.inputs)
    for slot, index in zip(slots, weights, strict=True):
        inputs[slot] = index
    units = graph.tensors[inputs[BIASES + 1]].shape[0]
    batch, _, size = graph.tensors[operator.outputs[0]].shape
    inputs[HIDDEN_STATE] = add_tensor(model, graph, "hidden_state", None, [batch, size], isVariable=True)
    inputs[CELL_STATE] = add_tensor(model, graph, "cell_state", None, [batch, units], isVariable=True)
    operator.inputs, operator.customOptions = inputs, None
    operator.opcodeIndex = operator_code(model, FUSED, VERSION)
    operator.builtinOptionsType = schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    operator.builtinOptions = _options(settings["cell_clip"], settings["projection_clip"])


def _options(cell_clip: float = 0.0, projection_clip: float = 0.0) -> Any:
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    options.cellClip, options.projClip = cell_clip, projection_clip  # 0 is none
    options.timeMajor = options.asymmetricQuantizeInputs = options.diagonalRecurrentTensors = False
    return options


# === Weights in 8 bits ===


def _in_8_bits(model: Any, graph: Any, index: int) -> int:
    """Symmetric, with one scale."""
    values = constant(model, graph, index)
    assert values is not None, "the weights of an LSTM operator are constants"
    scale = float(np.abs(values).max()) / 127 or 1.0
    quantized = np.clip(np.round(values / scale), -127, 127).astype("int8")
    return add_tensor(model, graph, "weights", quantized, quantization=_scale(scale))


def _scale(scale: float, zero_point: int = 0) -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [scale], [zero_point]
    quantization.quantizedDimension = 0
    return quantization


# === State ===


def _clearing(model: Any, graph: Any, operator: Any) -> Any:
    """The operator that leaves both variables of ``operator`` at zero.

    It shares the recurrent kernels, which cost nothing so; no gate opens whatever they add.
    """
    integer = graph.tensors[operator.inputs[INPUT]].type == schema.TensorType.INT8
    recurrent = list(operator.inputs[RECURRENT_KERNELS : RECURRENT_KERNELS + len(GATES)])
    if recurrent[0] < 0:  # coupled gates: shut, the forget gate would let everything in; a gate of its own does not
        recurrent[0] = recurrent[1]
    units = graph.tensors[operator.inputs[CELL_STATE]].shape[1]
    inputs = [-1] * INPUTS
    shut, still = _kernels(model, graph, units, graph.tensors[recurrent[0]].type, integer)
    inputs[INPUT] = _one(model, graph, graph.tensors[operator.inputs[CELL_STATE]].shape[0], integer)
    inputs[KERNELS : KERNELS + len(GATES)] = [shut, shut, still, shut]
    inputs[RECURRENT_KERNELS : RECURRENT_KERNELS + len(GATES)] = recurrent
    inputs[BIASES : BIASES + len(GATES)] = [
        add_tensor(model, graph, "no_bias", np.zeros(units, "int32" if integer else "float32"))
    ] * len(GATES)
    inputs[PROJECTION] = operator.inputs[PROJECTION]
    inputs[HIDDEN_STATE], inputs[CELL_STATE] = operator.inputs[HIDDEN_STATE], operator.inputs[CELL_STATE]
    cleared = graph.tensors[operator.outputs[0]]
    clearing = schema.OperatorT()
    clearing.inputs, clearing.opcodeIndex = inputs, operator.opcodeIndex
    clearing.intermediates = operator.intermediates
    steps = INTEGER_STEPS if integer else 1
    shape = [cleared.shape[0], steps, cleared.shape[2]]
    clearing.outputs = [
        add_tensor(model, graph, "cleared", None, shape, type=cleared.type, quantization=cleared.quantization)
    ]
    clearing.builtinOptionsType = operator.builtinOptionsType
    clearing.builtinOptions = _options()
    return clearing


def _one(model: Any, graph: Any, batch: int, integer: bool) -> int:
    """The input of the clearing operator, 1 at each step."""
    if integer:
        ones = np.full((batch, INTEGER_STEPS, 1), 127, "int8")
        return add_tensor(model, graph, "one", ones, quantization=_scale(1 / 127))
    return add_tensor(model, graph, "one", np.ones((batch, 1, 1), "float32"))


def _kernels(model: Any, graph: Any, units: int, weights_type: int, integer: bool) -> tuple[int, int]:
    """Kernels ``[units, 1]`` that shut a gate, and that leave the cell input alone, of the type of the others."""
    if weights_type != schema.TensorType.INT8:
        shut = add_tensor(model, graph, "shut", np.full((units, 1), -SHUT, "float32"))
        return shut, add_tensor(model, graph, "still", np.zeros((units, 1), "float32"))
    size = (1e3 if integer else SHUT) / 127
    shut = add_tensor(model, graph, "shut", np.full((units, 1), -127, "int8"), quantization=_scale(size))
    return shut, add_tensor(model, graph, "still", np.zeros((units, 1), "int8"), quantization=_scale(size))
