"""Conversion and replay for the tests of TFLite files."""

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from lstm_zoo.exporters import flatbuffer, tflite
from lstm_zoo.exporters.signatures import input_specs, whole

DELEGATED, PLAIN = OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def convert(model: keras.Model, quantize: str | None = None, samples: int | None = None, **options) -> bytes:
    return tflite.convert(model, (whole(model, input_specs(model, samples)),), quantize=quantize, **options)


def run(content: bytes, inputs: np.ndarray, resolver: OpResolverType = DELEGATED) -> np.ndarray:
    """The answers to ``inputs``, one after the other in one interpreter."""
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
    runner = interpreter.get_signature_runner("serving_default")
    (name,) = runner.get_input_details()
    return np.concatenate([next(iter(runner(**{name: x[None]}).values())) for x in inputs])


def operators(content: bytes) -> list[str]:
    model = flatbuffer.parse(content)
    return [flatbuffer.kind(model, operator) for graph in model.subgraphs for operator in graph.operators]
