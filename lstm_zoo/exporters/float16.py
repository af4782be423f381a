"""Weights in 16 bits, from which the runtime makes 32 when it loads the file."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lstm_zoo.exporters.flatbuffer import add_tensor, constant, operator_code

FEWEST = 1_024  # elements, as in files with 8-bit weights; the constants of a front end are smaller, and need 32 bits


def store_in_16_bits(model: Any) -> None:
    """Put every constant of 1,024 elements and more of a float32 file into 16 bits.

    The converter's own float16 takes small constants too, which saves a few bytes and costs digits: the floor under a
    logarithm, the scale of a normalisation.
    """
    for graph in model.subgraphs:
        indices = [
            index
            for index, tensor in enumerate(graph.tensors)
            if tensor.type == schema.TensorType.FLOAT32 and tensor.shape is not None and np.prod(tensor.shape) >= FEWEST
        ]
        used = {int(index) for operator in graph.operators for index in operator.inputs}
        for index in used.intersection(indices):
            values = constant(model, graph, index)
            if values is not None:
                graph.operators.insert(0, _dequantize(model, graph, index, values))


def _dequantize(model: Any, graph: Any, index: int, values: np.ndarray) -> Any:
    """The operator that makes the tensor ``index``, which is a constant no more, of the same values in 16 bits."""
    operator = schema.OperatorT()
    operator.opcodeIndex = operator_code(model, "DEQUANTIZE", 3)
    operator.inputs = [add_tensor(model, graph, "half", values.astype("float16"))]
    operator.outputs = [index]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    graph.tensors[index].buffer = 0
    return operator
