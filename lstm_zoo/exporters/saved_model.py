"""SavedModel: for TensorFlow Serving and every program that has TensorFlow but not this package."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters.failures import refused_by
from lstm_zoo.exporters.hoisted_loop import without_cudnn

SIGNATURE = "serving_default"


def save(model: keras.Model, folder: Path) -> None:
    """Write ``model`` to a new ``folder``, with batch and length left open, runnable without ``lstm_zoo``.

    Its one signature is ``serving_default``: from the model's input (``audio``, float32 ``[None, None]``) to its
    output (``probabilities``, float32 ``[None, labels]``).
    """
    shape = [None, *single_input(model).shape[1:]]
    with without_cudnn(model):
        trace(model, folder, shape)


def trace(model: keras.Model, folder: Path, shape: Sequence[int | None]) -> None:
    """Write a SavedModel whose signature takes ``shape``; the model is traced as it stands at this moment.

    Raises:
        ExportError: the model does not take ``shape``, or the folder could not be written.
    """
    name = single_input(model).name
    output = getattr(model, "output_names", [model.layers[-1].name])[0]  # Sequential has no such attribute

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(shape, tf.float32, name=name)])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: model(x, training=False)}

    # The variables alone: an ExportArchive that tracks the model traces it once more, for its own open shape.
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    with refused_by(model, tuple(shape)):
        traced = serve.get_concrete_function()
    try:
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: traced})
    except (tf.errors.OpError, OSError) as error:  # a full disk is whichever of the two TensorFlow makes of it
        raise ExportError(f"{folder} could not be written: {getattr(error, 'message', error)}") from error


def single_input(model: keras.Model) -> Any:
    """The model's one float32 input, as a symbolic tensor."""
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or len(inputs) != 1 or len(outputs or ()) != 1 or inputs[0].dtype != "float32":
        described = [(tensor.name, tensor.dtype) for tensor in inputs or ()] or "none (not built)"
        raise InvalidInputError(
            f"model: expected a built model of one float32 input and one output, got inputs {described} "
            f"and {len(outputs or ())} outputs"
        )
    return inputs[0]


def input_shape(model: keras.Model, samples: int | None = None) -> tuple[int, ...]:
    """The model's input shape with a batch of one and ``samples`` for the dimension left open.

    ``samples`` defaults to the length of the clips the model was trained on, where its configuration has one.
    """
    open_shape = single_input(model).shape[1:]
    if samples is None:
        samples = getattr(getattr(model, "config", None), "clip_samples", None)
    if None not in open_shape:
        return (1, *open_shape)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise InvalidInputError(
            f"samples: the model's input is {list(open_shape)}, expected the length to export it for, got {samples!r}"
        )
    return (1, *(samples if size is None else size for size in open_shape))


def replace_folder(new: Path, target: Path) -> None:
    """Put the complete folder ``new`` where ``target`` is; the old one is gone only once the new one is there."""
    if not target.exists():
        new.rename(target)
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.old.") as aside:
        old = target.rename(Path(aside) / target.name)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old)
