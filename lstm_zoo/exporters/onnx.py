"""ONNX, through tf2onnx: a ``keras.layers.LSTM`` without a mask becomes ONNX's own LSTM operator, all else a loop."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from lstm_zoo.errors import ExportError, MissingExtraError
from lstm_zoo.exporters.failures import scratch_folder
from lstm_zoo.exporters.processes import run_python
from lstm_zoo.exporters.saved_model import trace
from lstm_zoo.layers.stand_ins import without_cudnn

if TYPE_CHECKING:
    import keras

    from lstm_zoo.exporters.signatures import Signature

OPSET = 17
PACKAGES = ("tf2onnx", "onnxruntime")


def save(model: keras.Model, file: Path, signatures: tuple[Signature, ...]) -> None:
    """Write the one signature of ``model`` to ``file``, with its names; the batch is open where that can be.

    Raises:
        MissingExtraError: tf2onnx, or onnxruntime for the certificate, is not installed.
        ExportError: tf2onnx cannot convert the model.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "onnx", "ONNX export")
    (signature,) = signatures
    try:
        # With a batch of one, Keras's loop is simplified to a form in which tf2onnx does not recognise an LSTM.
        inputs = (tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, spec.name) for spec in signature.inputs)
        _convert(model, replace(signature, inputs=tuple(inputs)), file)
    except ExportError as error:
        if "ComplexAbs" not in str(error):
            raise
        _convert(model, signature, file)  # with an open batch, it cannot convert the spectrum of a front end


def _convert(model: keras.Model, signature: Signature, file: Path) -> None:
    with scratch_folder() as folder:
        with without_cudnn(model):
            trace(model, (signature,), folder / "traced")
        arguments = ["--saved-model", str(folder / "traced"), "--output", str(file), "--opset", str(OPSET)]
        run_python(["-m", "tf2onnx.convert", *arguments], "converting to ONNX")
