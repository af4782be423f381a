"""TFLite: one file of builtin operators for phones, browsers and small boards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters.failures import scratch_folder
from lstm_zoo.exporters.processes import run_python

if TYPE_CHECKING:
    import keras

QUANTIZATIONS = (None, "float16", "dynamic_int8")


def convert(model: keras.Model, quantize: str | None = None, samples: int | None = None) -> bytes:
    """The model as the bytes of a TFLite file, without a certificate.

    The file has the signature ``serving_default`` with the model's own names, here ``audio``, float32
    ``[1, samples]``, to ``probabilities``. It keeps no state from one call to the next.

    Args:
        model: a built model of one float32 input and one output.
        quantize: None for float32; ``"float16"`` stores weights in 16 bits; ``"dynamic_int8"`` stores those of
            1,024 elements and more in 8 bits, with one scale for each tensor, which old runtimes read too.
        samples: length of the input; default: the model's clip length, one second for most.

    Raises:
        InvalidInputError: an argument is out of range.
        ExportError: the model does not take that length or cannot be converted, the converter crashed, or the
                temporary folder is full.
    """
    if quantize not in QUANTIZATIONS:
        raise InvalidInputError(f"quantize: got {quantize!r}, there are: {', '.join(map(repr, QUANTIZATIONS))}")
    # Only here, because the converter's own process needs neither Keras nor the loop.
    from lstm_zoo.exporters.hoisted_loop import hoisted_lstm
    from lstm_zoo.exporters.saved_model import input_shape, trace

    shape = input_shape(model, samples)
    with scratch_folder() as folder:
        traced, file = folder / "traced", folder / "model.tflite"
        with hoisted_lstm(model):
            trace(model, traced, shape)
        run_python(["-m", __name__, traced, file, quantize or "float32"], "converting to TFLite")
        return file.read_bytes()


def _convert_saved_model(folder: str, file: str, quantize: str) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "dynamic_int8":
        # A scale for each channel would need FULLY_CONNECTED version 12, which runtimes in the field do not have.
        converter._experimental_disable_per_channel = True
    content = _compact(converter.convert())
    try:
        Path(file).write_bytes(content)
    except OSError as error:
        sys.exit(f"{file} could not be written: {error}")


def _compact(content: bytes) -> bytes:
    """The same graph without the names of inner tensors and with one empty buffer for all that have no constant.

    About 10 KB less for a model with one LSTM; nothing a runtime looks at.
    """
    import flatbuffers  # type: ignore[import-untyped]
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    buffers, empty = [model.buffers[0]], 0  # the format reserves the first buffer for "no constant"
    moved: dict[int, int] = {}
    for index, buffer in enumerate(model.buffers):
        if buffer.data is None or not len(buffer.data):
            moved[index] = empty
        else:
            moved[index] = len(buffers)
            buffers.append(buffer)
    model.buffers = buffers
    for metadata in model.metadata or []:
        metadata.buffer = moved[metadata.buffer]
    for graph in model.subgraphs:
        graph.name = None
        for index, tensor in enumerate(graph.tensors):
            tensor.buffer = moved[tensor.buffer]
            if index not in graph.inputs and index not in graph.outputs:
                tensor.name = None
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    _convert_saved_model(*sys.argv[1:])
