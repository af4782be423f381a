"""TFLite files taken apart and put together again, in the object form that the schema's own code has for them."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
LARGE = 64  # bytes of a constant
OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def parse(content: bytes) -> Any:
    """The file as a ``ModelT``, to be changed at will."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))


def pack(model: Any) -> bytes:
    """The opposite of :func:`parse`."""
    builder = _AlignedBuilder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Puts weights at multiples of 16 bytes, as the schema asks and its Python code forgets.

    Not the many constants of a few numbers, which no vector instruction reads.
    """

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        start: int = super().StartVector(elemSize, numElems, 16 if elemSize == 1 and numElems >= LARGE else alignment)
        return start


def kind(model: Any, operator: Any) -> str:
    """The name of a builtin operator, such as ``"FULLY_CONNECTED"``; ``"CUSTOM"`` for any other."""
    code = model.operatorCodes[operator.opcodeIndex]
    return OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def operator_code(model: Any, name: str, version: int) -> int:
    """The index of the builtin operator ``name`` in that version among the model's codes, added where it is new."""
    builtin = getattr(schema.BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_tensor(model: Any, graph: Any, name: str, values: np.ndarray | None, shape: Any = None, **fields: Any) -> int:
    """A new constant of ``values``, or a float32 tensor of ``shape`` without any; returns its index."""
    tensor = schema.TensorT()
    tensor.name, tensor.hasRank, tensor.buffer = name, True, 0
    tensor.shape = list(values.shape if values is not None else shape)
    tensor.type = schema.TensorType.FLOAT32
    if values is not None:
        tensor.type = getattr(schema.TensorType, values.dtype.name.upper())
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), "uint8")
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    for field, value in fields.items():
        setattr(tensor, field, value)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def constant(model: Any, graph: Any, index: int) -> np.ndarray | None:
    """The values of a constant tensor; None where it is computed."""
    tensor = graph.tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data):
        return None
    types = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
    return np.frombuffer(bytes(data), types[tensor.type].lower()).reshape(tensor.shape)


def compact(model: Any) -> None:
    """Take out the names of inner tensors, and store every constant once.

    About 10 KB less for a model with one LSTM, and much where several signatures or unrolled steps share weights;
    nothing a runtime looks at.
    """
    for number, graph in enumerate(model.subgraphs):
        graph.name = None
        signatures = [each for each in model.signatureDefs or [] if each.subgraphIndex == number]
        _drop_unused_tensors(graph, [tensor for each in signatures for tensor in (*each.inputs, *each.outputs)])
        for index, tensor in enumerate(graph.tensors):
            if index not in graph.inputs and index not in graph.outputs:
                tensor.name = None
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
    _keep_operator_codes(model, sorted({each.opcodeIndex for graph in model.subgraphs for each in graph.operators}))
    model.description = None  # by whom it was converted, which the certificate says
    model.metadata = [entry for entry in model.metadata or [] if entry.name != b"CONVERSION_METADATA"]
    _share_buffers(model)


def _drop_unused_tensors(graph: Any, named: list[Any]) -> None:
    """Tensors that no operator knows any more, and new indices for the others and for those that signatures name."""
    lists = [(owner, field) for owner in [graph, *graph.operators] for field in ("inputs", "outputs")]
    lists += [(operator, "intermediates") for operator in graph.operators if operator.intermediates is not None]
    used = sorted({int(index) for owner, field in lists for index in getattr(owner, field) if index >= 0})
    moved = {-1: -1} | {old: new for new, old in enumerate(used)}
    for owner, field in lists:
        setattr(owner, field, [moved[int(index)] for index in getattr(owner, field)])
    for tensor in named:
        tensor.tensorIndex = moved[tensor.tensorIndex]
    graph.tensors = [graph.tensors[index] for index in used]


def _keep_operator_codes(model: Any, used: list[int]) -> None:
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for graph in model.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex = used.index(operator.opcodeIndex)


def _share_buffers(model: Any) -> None:
    """One buffer for each content, and one for all tensors that have none."""
    owners = [tensor for graph in model.subgraphs for tensor in graph.tensors] + (model.metadata or [])
    buffers, places = [model.buffers[0]], {b"": 0}  # the format reserves the first buffer for "no constant"
    for owner in owners:
        data = model.buffers[owner.buffer].data
        content = b"" if data is None else bytes(data)
        if content not in places:
            places[content] = len(buffers)
            buffers.append(model.buffers[owner.buffer])
        owner.buffer = places[content]
    model.buffers = buffers
