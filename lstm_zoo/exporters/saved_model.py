"""SavedModel: for TensorFlow Serving and every program that has TensorFlow but not this package."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters.failures import refused_by
from lstm_zoo.exporters.signatures import WHOLE, Signature, input_specs, whole
from lstm_zoo.exporters.texts import open_signature, takes_texts
from lstm_zoo.layers.stand_ins import without_cudnn


def save(model: keras.Model, folder: Path, signatures: tuple[Signature, ...]) -> None:
    """Write ``model`` to a new ``folder``, runnable without ``lstm_zoo``.

    It has the signature ``serving_default``, the whole model with batch and length left open, and beside it those of
    ``signatures`` that have other names. A model of text has ``text`` too, which takes strings ``[batch]``.
    """
    served = whole(model, input_specs(model, dynamic=True))
    others = [signature for signature in signatures if signature.name != WHOLE]
    if takes_texts(model):
        others.append(open_signature(model))
    with without_cudnn(model):
        trace(model, (served, *others), folder)


def trace(model: keras.Model, signatures: tuple[Signature, ...], folder: Path) -> None:
    """Write a SavedModel with ``signatures`` of ``model`` as it stands at this moment.

    Raises:
        ExportError: the model does not take the shapes of a signature, or the folder could not be written.
    """
    # The variables alone: an ExportArchive that tracks the model traces it once more, for its own open shape.
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.tables = [table for signature in signatures for table in signature.tables]
    traced = {}
    for signature in signatures:
        with refused_by(model, signature.inputs):
            traced[signature.name] = signature.trace()
    try:
        tf.saved_model.save(module, str(folder), signatures=traced)
    except (tf.errors.OpError, OSError) as error:  # a full disk is whichever of the two TensorFlow makes of it
        raise ExportError(f"{folder} could not be written: {getattr(error, 'message', error)}") from error
