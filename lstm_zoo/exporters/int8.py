"""Weights and activations in 8 bits: ranges are learnt by running the float32 file on representative data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstm_zoo.exporters import fused_file
from lstm_zoo.exporters.flatbuffer import pack, parse
from lstm_zoo.exporters.fused import CELL_STATE

CELL_STATES = (1.0, 64.0)  # the operator's 8-bit form computes tanh of cell states within these bounds, else nothing


def quantize(content: bytes, representative: dict[str, np.ndarray], float_layers: list[str]) -> Any:
    """The float32 TFLite file ``content`` with 8-bit weights and activations, taken apart as by ``flatbuffer.parse``.

    Inputs and outputs stay float32.

    Args:
        content: a file of one signature, without loops: calibrating those crashes the process. Its LSTM operators start
            from zero, as they do in the file that is returned.
        representative: of each input, by its name in the signature, ``[count, ...]``.
        float_layers: names of layers whose operators stay in float32.
    """
    # What TFLiteConverter does after it has converted. It is done here because the converter cannot run the LSTM
    # operators that are written into the file afterwards, nor be told which operators to leave alone.
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.optimize import calibrator

    count = len(next(iter(representative.values())))

    def examples() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for at in range(count):
            yield key, {name: values[at : at + 1] for name, values in representative.items()}

    content = calibrator.add_intermediate_tensors(content)
    model = parse(content)
    key = model.signatureDefs[0].signatureKey.decode()
    calibrated = calibrator.Calibrator(content, [], []).calibrate(examples)
    ranges = parse(calibrated)
    # Only the examples have to start from zero. The quantiser takes no two operators with one state.
    fused_file.without_start(ranges)
    _bound_cell_states(ranges)
    quantized = mlir_quantize(
        pack(ranges),
        disable_per_channel_for_dense_layers=True,  # FULLY_CONNECTED of a version that runtimes in the field have
        denylisted_nodes=_outputs_of(model, float_layers),
    )
    result = parse(quantized)
    fused_file.start_from_zero(result)
    return result


def _bound_cell_states(model: Any) -> None:
    for graph, operator in fused_file.fused_operators(model):
        seen = graph.tensors[operator.inputs[CELL_STATE]].quantization
        largest = float(np.clip(np.abs([*seen.min, *seen.max]).max(), *CELL_STATES))
        seen.min, seen.max = [-largest], [largest]


def _outputs_of(model: Any, layers: list[str]) -> list[str]:
    """Names of the tensors that operators of ``layers`` make.

    Tensors are called after the layers they come from, such as ``speech_1/log_mel_1/Log``: TensorFlow numbers the names
    of layers that are traced once more.
    """
    names = [
        graph.tensors[output].name.decode()
        for graph in model.subgraphs
        for operator in graph.operators
        for output in operator.outputs
    ]
    any_layer = "|".join(map(re.escape, layers))
    return [name for name in names if layers and re.search(rf"(^|[/;])({any_layer})(_\d+)?/", name)]
