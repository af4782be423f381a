"""TFLite: one file of builtin operators for phones, browsers and small boards."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters.failures import scratch_folder
from lstm_zoo.exporters.processes import run_python

if TYPE_CHECKING:
    import keras

    from lstm_zoo.exporters.metadata import ClassifierMetadata
    from lstm_zoo.exporters.signatures import Signature


def convert(
    model: keras.Model,
    signatures: tuple[Signature, ...],
    *,
    profile: str = "default",
    quantize: str | None = None,
    representative: dict[str, np.ndarray] | None = None,
    metadata: ClassifierMetadata | None = None,
) -> bytes:
    """The model as the bytes of a TFLite file with ``signatures``, without a certificate.

    It keeps no state from one call to the next. The arguments are those of :func:`lstm_zoo.export`.

    Args:
        representative: for ``"int8"``: of each input, by name, ``[count, ...]``.

    Raises:
        InvalidInputError: the profile cannot have the quantisation, or the metadata is not the model's.
        ExportError: the model does not take those inputs or cannot be converted, the converter crashed, or the
            temporary folder is full.
    """
    # Only here, because the converter's own process needs neither Keras nor the loop.
    from lstm_zoo.exporters import metadata as metadata_module
    from lstm_zoo.exporters.saved_model import trace

    if quantize == "int8" and profile == "default" and _recurrent_layers(model):
        raise InvalidInputError(
            "quantize: 'int8' cannot be had in profile='default', because TensorFlow cannot calibrate a loop; use "
            "profile='universal' or 'mediapipe', or quantize='dynamic_int8'"
        )
    with scratch_folder() as folder:
        with _form(model, profile, quantize):
            trace(model, signatures, folder / "traced")
        settings = {
            "profile": profile,
            "quantize": quantize,
            "float_layers": _float_layers(model),
            "other_loops": _other_loops(model),
            "signatures": len(signatures),
            "text": any(spec.dtype.name == "string" for spec in signatures[0].inputs),
        }
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        np.savez(folder / "representative.npz", allow_pickle=False, **(representative or {}))
        weights = f"{quantize} weights" if quantize else "float32"
        run_python(["-m", __name__, folder], f"converting to TFLite (profile {profile}, {weights})")
        content = (folder / "model.tflite").read_bytes()
    return metadata_module.attach(content, metadata) if metadata else content


def _form(model: keras.Model, profile: str, quantize: str | None) -> AbstractContextManager[None]:
    """The context in which the model's recurrent layers trace as the profile has them."""
    from lstm_zoo.exporters.fused import fused_lstm
    from lstm_zoo.exporters.hoisted_loop import hoisted_lstm

    if profile == "mediapipe":
        return fused_lstm(model, integer=quantize == "int8")
    return hoisted_lstm(model, unrolled=profile == "universal")


def _recurrent_layers(model: keras.Model) -> list[keras.Layer]:
    import keras

    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]


def _other_loops(model: keras.Model) -> list[str]:
    """Names of the recurrent layers that trace as they do in Keras."""
    import keras

    from lstm_zoo.layers import GatedLSTM

    ours = (keras.layers.LSTM, GatedLSTM)
    return [layer.name for layer in _recurrent_layers(model) if not isinstance(layer, ours)]


def _float_layers(model: keras.Model) -> list[str]:
    """Names of the layers that say of themselves that 8 bits are too few for what they compute."""
    return [layer.name for layer in model._flatten_layers() if getattr(layer, "float_in_int8", False)]


# === In the converter's own process ===


def _convert_in(folder: Path) -> None:
    """From the SavedModel and the settings in ``folder`` to ``model.tflite`` there."""
    from lstm_zoo.exporters import flatbuffer, float16, fused_file, int8

    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    quantize = settings["quantize"]
    if settings["text"]:
        importlib.import_module("tensorflow_text")  # whose operators TensorFlow must know
    custom = settings["text"] or settings["profile"] == "mediapipe"  # which become builtin ones right after
    # Taken apart once, because that takes long: an unrolled loop has some ten thousand operators.
    model = flatbuffer.parse(_convert_saved_model(folder / "traced", quantize, custom))
    fused_file.fuse(model)
    if quantize == "float16":
        float16.store_in_16_bits(model)
    if quantize == "dynamic_int8":
        fused_file.quantize_weights(model)
    fused_file.start_from_zero(model)
    _check_loops(len(model.subgraphs), settings)
    if quantize == "int8":
        with np.load(folder / "representative.npz", allow_pickle=False) as arrays:
            model = int8.quantize(flatbuffer.pack(model), dict(arrays), settings["float_layers"])
    flatbuffer.compact(model)
    try:
        (folder / "model.tflite").write_bytes(flatbuffer.pack(model))
    except OSError as error:
        sys.exit(f"{folder} could not be written: {error}")


def _check_loops(graphs: int, settings: dict[str, Any]) -> None:
    """Loops are graphs of their own, beside one for each signature; running them to calibrate crashes the process."""
    fitting = settings["profile"] == "default" and settings["quantize"] != "int8"
    if not fitting and graphs > settings["signatures"]:
        names = ", ".join(settings["other_loops"]) or "a layer"
        sys.exit(
            f"error: {names} is a loop, which only profile='default' can have, and not in int8; keras.layers.LSTM and "
            "GatedLSTM become none in the other profiles"
        )


def _convert_saved_model(traced: Path, quantize: str | None, custom: bool) -> Any:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(traced))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = custom
    if quantize == "dynamic_int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # A scale for each channel would need FULLY_CONNECTED version 12, which runtimes in the field do not have.
        converter._experimental_disable_per_channel = True
    return converter.convert()


if __name__ == "__main__":
    _convert_in(Path(sys.argv[1]))
