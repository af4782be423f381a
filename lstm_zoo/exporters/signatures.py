"""What an exported file can be asked: its entry points, with the names, shapes and types of what goes in and out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.streaming.steps import StepModel, tensor_names

WHOLE = "serving_default"
CHUNK_STEPS = 5
TYPES = ("float32", "int32", "bool")
SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*$")  # TensorFlow's own rule
OTHER_PRECISIONS = ("float16", "bfloat16", "float64")


@dataclass(frozen=True)
class Signature:
    """One entry point.

    Attributes:
        name: how a runtime asks for it.
        inputs: shape, type and name of each input; the batch comes first.
        call: takes the inputs by name and returns the outputs by name.
        tables: what a SavedModel must have of it beside the model's variables.
    """

    name: str
    inputs: tuple[tf.TensorSpec, ...]
    call: Callable[..., dict[str, tf.Tensor]]
    tables: tuple[Any, ...] = ()

    def trace(self) -> Any:
        """The TensorFlow function of it, of the model as it stands at this moment."""
        named = {spec.name: spec for spec in self.inputs}
        function = tf.function(lambda **inputs: self.call(**inputs), autograph=False)
        return function.get_concrete_function(**named)


def input_specs(model: keras.Model, samples: int | None = None, dynamic: bool = False) -> tuple[tf.TensorSpec, ...]:
    """Of every input of ``model``, with its name: a batch of one and static, or batch and open dimensions left open.

    Args:
        samples: for dimensions that the model leaves open; default: :func:`usual_length`.
        dynamic: leave what is open open.

    Raises:
        InvalidInputError: the model is not functional or Sequential, or not float32; an input has a type that cannot be
            exported; a dimension is open and there is no ``samples``, or none is and there is.
    """
    _check_model(model)
    if samples is not None and (not isinstance(samples, int) or isinstance(samples, bool) or samples < 1):
        raise InvalidInputError(f"samples: got {samples!r}, expected the length of the input, a whole number above 0")
    shapes = [list(tensor.shape[1:]) for tensor in model.inputs]
    if samples is not None and not any(None in shape or samples in shape for shape in shapes):
        raise InvalidInputError(f"samples: got {samples}, but the model's inputs are of fixed sizes {shapes}; omit it")
    if samples is None:
        samples = usual_length(model)
    names, _ = tensor_names(model)
    return tuple(_spec(tensor, name, samples, dynamic) for tensor, name in zip(model.inputs, names, strict=True))


def usual_length(model: keras.Model) -> int | None:
    """Of a model of the zoo: samples of the clips it was trained on, or the tokens that files of it take."""
    config = getattr(model, "config", None)
    return getattr(config, "clip_samples", None) or getattr(config, "clip_tokens", None)


def _check_model(model: keras.Model) -> None:
    if not isinstance(model, keras.Model):
        raise InvalidInputError(f"model: got {model!r}, expected a Keras model, such as lstm_zoo.get('speech')")
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise InvalidInputError(
            f"model: {type(model).__name__} {model.name!r} has no symbolic inputs and outputs; build it as a "
            "functional or Sequential model, with keras.Input, or wrap it in one: keras.Model(x, model(x))"
        )
    for layer in model._flatten_layers():
        if layer.compute_dtype in OTHER_PRECISIONS:
            raise InvalidInputError(
                f"model: {layer.name} computes in {layer.compute_dtype}, exported files in float32: build the model "
                "with dtype='float32', give it the weights (set_weights) and export that one"
            )
        for weight in layer.weights:
            if not SCOPE.match(weight.path):
                raise InvalidInputError(
                    f"model: TensorFlow does not take {weight.path!r} as the name of a weight; rename the layer: "
                    "letters, digits and _.-, and no _ at the start"
                )


def _spec(tensor: Any, name: str, samples: int | None, dynamic: bool) -> tf.TensorSpec:
    if tensor.dtype not in TYPES:
        raise InvalidInputError(
            f"model: its input {name} is {tensor.dtype}; inputs of {', '.join(TYPES)} can be exported"
            + ("; take ids for text, and keep strings outside" if tensor.dtype == "string" else "")
            + ("; build it with keras.Input(..., dtype='int32')" if tensor.dtype == "int64" else "")
        )
    rest = list(tensor.shape[1:])
    if not dynamic and None in rest:
        if samples is None:
            raise InvalidInputError(
                f"samples: the input {name} is {rest}, expected the length to export it for, got None; pass samples="
            )
        rest = [samples if size is None else size for size in rest]
    return tf.TensorSpec([None if dynamic else 1, *rest], tensor.dtype, name)


def whole(model: keras.Model, specs: tuple[tf.TensorSpec, ...], name: str = WHOLE) -> Signature:
    """The model as it is called, on inputs of ``specs``."""
    outputs, structure = output_names(model), _functional(model).input

    def call(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = [inputs[spec.name] for spec in specs]
        answers = model(keras.tree.pack_sequence_as(structure, tensors), training=False)
        return dict(zip(outputs, keras.tree.flatten(answers), strict=True))

    return Signature(name, specs, call)


def streaming_signatures(
    model: keras.Model, specs: tuple[tf.TensorSpec, ...], streaming: str
) -> tuple[Signature, Signature, Signature]:
    """``clip``, ``step`` and ``chunk``: an output that has an input's name is that input's next value.

    ``clip`` is the model as it is called; ``step`` takes what the input moves on by from one recurrent step to the
    next, ``chunk`` five times as much. All states zero: nothing heard yet.

    Raises:
        InvalidInputError, ExportError: the model cannot be computed block by block; see :class:`StepModel`.
    """
    if len(specs) != 1:
        raise InvalidInputError(
            f"streaming: needs a model with one input, got {', '.join(spec.name for spec in specs)}; export without it"
        )
    clip = whole(model, specs, "clip")
    steps = StepModel(model, streaming, samples=specs[0].shape[1] if streaming == "sliding" else None)
    steps.check()
    return clip, _block(model, steps, "step", 1), _block(model, steps, "chunk", CHUNK_STEPS)


def _block(model: keras.Model, steps: StepModel, name: str, count: int) -> Signature:
    inputs, outputs = tensor_names(model)
    block = steps.block(count)
    block = tf.TensorSpec(block.shape, block.dtype, inputs[0])

    def call(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        answers, states = steps(inputs.pop(block.name), inputs)
        return dict(zip(outputs, answers.values(), strict=True)) | states

    return Signature(name, (block, *steps.states.values()), call)


def output_names(model: keras.Model) -> list[str]:
    """Names of the outputs, in order, as exported files have them."""
    return tensor_names(model)[1]


def _functional(model: keras.Model) -> Any:
    """What a Sequential model is made of: before its first call it has no ``input`` of its own."""
    return getattr(model, "_functional", None) or model
