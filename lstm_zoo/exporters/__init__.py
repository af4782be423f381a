"""Models as files for other programs, each with a certificate of what it was seen to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters.files import beside, certificate_path, check_destination, form_of, put

if TYPE_CHECKING:
    import keras

    from lstm_zoo.exporters.certificate import Certificate
    from lstm_zoo.exporters.metadata import AudioMetadata, TextMetadata

PROFILES = ("default", "universal", "mediapipe")
QUANTIZATIONS = (None, "float16", "dynamic_int8", "int8")
STREAMINGS = (None, "continuous", "sliding")
CHECKED = 256  # representative examples, about, that an int8 file is compared on where no other inputs are given

__all__ = ["PROFILES", "QUANTIZATIONS", "STREAMINGS", "export", "verify"]


def export(
    model: keras.Model,
    path: str | Path,
    *,
    profile: str = "default",
    quantize: str | None = None,
    representative_data: Any = None,
    samples: int | None = None,
    dynamic: bool = False,
    streaming: str | None = None,
    text: bool = False,
    metadata: AudioMetadata | TextMetadata | None = None,
    check_inputs: Any = None,
) -> Certificate:
    """Write ``model`` as a TFLite file (``.tflite``), a SavedModel (a folder) or ONNX (``.onnx``), and prove it.

    For models of the zoo and for any functional or Sequential Keras model, whether it has a ``keras.layers.LSTM``, a
    ``GatedLSTM``, either of them in ``Bidirectional``, or none. TFLite files have builtin operators only, but for those
    with ``text``. A SavedModel of a model of text has a second signature, ``text``, which takes strings ``[batch]``; if
    it was trained on subwords, programs that load it import ``tensorflow_text`` first.

    The result is replayed in a fresh process and compared with the model. Only if it agrees is it put at ``path``,
    with its certificate beside it as ``<path>.json``; if not, what was there before stays. What agreeing means for
    each quantisation says :mod:`lstm_zoo.exporters.certificate`.

    Args:
        model: a built Keras model.
        path: the file or folder to write.
        profile: the form of a TFLite file's recurrent layers.

            - ``"default"``: a loop over time with everything taken out that needs no state; for every TFLite and
              LiteRT interpreter, CompiledModel and LiteRT.js.
            - ``"universal"``: every step written out; larger, runs everywhere, MediaPipe included.
            - ``"mediapipe"``: TFLite's own fused LSTM operator; smallest, for MediaPipe Tasks and interpreters.
        quantize: for TFLite: None (float32); ``"float16"``: weights in 16 bits; ``"dynamic_int8"``: weights in 8 bits;
            ``"int8"``: activations too (not in the default profile's loop). Inputs and outputs stay float32.
        representative_data: for ``"int8"``: examples of the inputs, from training data; one array, a list or
            dictionary of arrays ``[count, ...]``, or a function as TFLiteConverter's ``representative_dataset``.
        samples: length of dimensions that the model leaves open, for a model of text in tokens: longer texts are to be
            cut, shorter ones padded with 0. Default: that of the clips the model was trained on, 256 tokens.
        dynamic: leave batch and length open in the file, for interpreters that resize; default profile only.
        streaming: give the file the signatures ``clip``, ``step`` and ``chunk``, with explicit state: an output
            that has an input's name is that input's next value, and all zeros is the start. ``"sliding"`` answers
            about the last clip at each step, ``"continuous"`` about everything since the start.
        text: the TFLite file takes one string ``[1]`` instead of ids, with the tokenizer inside; for models of subwords
            and runtimes that carry tensorflow-text's operators. ``samples`` tokens of the text are read.
        metadata: labels and the like, for MediaPipe Tasks; default: a zoo model's own, in files without streaming.
        check_inputs: what to compare on, as Keras takes it, ``[count, ...]``; default: the model's golden input where
            it has one, and seeded noise; for int8 some of the representative data. The certificate says which. For a
            model of text also a list of texts, as ``representative_data``.

    Returns:
        The certificate: size, operators, largest difference, agreement, latency.

    Raises:
        InvalidInputError: an argument is out of range, or a combination cannot be had; says which can.
        ExportError: the model cannot be exported or does not take inputs of that length, the file does not agree
            with it, or the disk is full.
        MissingExtraError: ONNX needs packages that are not installed.
    """
    if not isinstance(path, str | Path):
        raise InvalidInputError(f"path: got {path!r}, expected a name such as 'model.tflite'")
    path = Path(os.path.abspath(path))  # "." and "x/.." have no name of their own to put a certificate beside
    form = form_of(path)
    _check_options(form, profile, quantize, representative_data, samples, dynamic, streaming, metadata)
    if text:
        _check_text(form, profile, quantize, dynamic, streaming, metadata)
    check_destination(path)
    # Imported here, so that the replay and converter processes do without TensorFlow or Keras where they can.
    from lstm_zoo.exporters import certificate, signatures, texts
    from lstm_zoo.exporters.representative import representative_arrays

    specs = signatures.input_specs(model, samples, dynamic)
    faces: tuple[signatures.Signature, ...] = (signatures.whole(model, specs),)
    if text:
        faces = (texts.fixed_signature(model, specs[0].shape[1]),)
    if streaming:
        faces = signatures.streaming_signatures(model, specs, streaming)
    representative = None
    if quantize == "int8":
        representative = representative_arrays(texts.as_ids(model, representative_data, specs[0].shape[-1]), specs)
    if representative and check_inputs is None:  # noise would be outside of the ranges that the file has learnt
        step = max(1, len(next(iter(representative.values()))) // CHECKED)
        check_inputs = {name: values[::step] for name, values in representative.items()}
    write = _writer(form, model, faces, profile, quantize, representative, metadata)
    with beside(path) as temporary:
        write(temporary)
        facts = certificate.certify(
            temporary,
            model,
            faces,
            name=path.name,
            profile=profile,
            quantize=quantize,
            streaming=streaming,
            check_inputs=check_inputs,
        )
        certificate_path(temporary).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
        put(temporary, path)
    return facts


def verify(path: str | Path, model: keras.Model | None = None) -> Certificate:
    """Replay an exported file against its certificate: see :func:`lstm_zoo.exporters.certificate.verify`."""
    from lstm_zoo.exporters import certificate

    return certificate.verify(path, model)


def _writer(
    form: str,
    model: keras.Model,
    faces: tuple[Any, ...],
    profile: str,
    quantize: str | None,
    representative: Any,
    metadata: Any,
) -> Callable[[Path], Any]:
    from lstm_zoo.exporters import onnx, saved_model, tflite
    from lstm_zoo.exporters.metadata import default_metadata

    if form == "onnx":
        return lambda file: onnx.save(model, file, faces)
    if form == "saved_model":
        return lambda folder: saved_model.save(model, folder, faces)
    takes_ids = faces[0].inputs[0].dtype.name != "string"
    if metadata is None and len(faces) == 1 and takes_ids:  # the format describes one entry, and no text
        metadata = default_metadata(model)
    return lambda file: file.write_bytes(
        tflite.convert(
            model, faces, profile=profile, quantize=quantize, representative=representative, metadata=metadata
        )
    )


def _check_options(
    form: str,
    profile: str,
    quantize: str | None,
    representative_data: Any,
    samples: int | None,
    dynamic: bool,
    streaming: str | None,
    metadata: Any,
) -> None:
    """Refuse what does not exist, and what cannot be had together."""
    _one_of("profile", profile, PROFILES)
    if quantize in ("int16x8", "16x8"):
        raise InvalidInputError(f"quantize: TFLite cannot quantise an LSTM to {quantize}; 'int8' is the nearest")
    _one_of("quantize", quantize, QUANTIZATIONS)
    _one_of("streaming", streaming, STREAMINGS)
    if form != "tflite":
        only = {"profile": profile != "default", "quantize": quantize, "dynamic": dynamic, "metadata": metadata}
        for name in (name for name, given in only.items() if given):
            raise InvalidInputError(f"{name}: is for .tflite files; a SavedModel or ONNX file is float32")
    if metadata is not None and not hasattr(metadata, "labels"):
        raise InvalidInputError(
            f"metadata: got {metadata!r}, expected AudioMetadata or TextMetadata from lstm_zoo.exporters.metadata"
        )
    if form == "onnx" and streaming:
        raise InvalidInputError("streaming: an ONNX file has one entry; use .tflite, or a folder for a SavedModel")
    if dynamic and samples is not None:
        raise InvalidInputError(f"samples: got {samples!r} with dynamic=True, which leaves the length open; use one")
    if dynamic and (profile != "default" or streaming or quantize == "int8"):
        raise InvalidInputError(
            "dynamic: only files of profile='default' without streaming and int8 can leave batch and length open"
        )
    if streaming and profile == "mediapipe":
        raise InvalidInputError(
            "streaming: MediaPipe takes files of one signature that keep no state; use profile='default' or 'universal'"
        )
    if streaming and quantize == "int8":
        raise InvalidInputError("quantize: 'int8' cannot be had with streaming; 'dynamic_int8' can")
    if (quantize == "int8") != (representative_data is not None):
        raise InvalidInputError(
            "representative_data: quantize='int8', and it alone, needs examples of the inputs to learn the ranges of "
            "the activations from; pass some hundred from the training data"
            if quantize == "int8"
            else f"representative_data: quantize={quantize!r} has no use for it; only 'int8' has"
        )


def _check_text(
    form: str, profile: str, quantize: str | None, dynamic: bool, streaming: str | None, metadata: Any
) -> None:
    """Refuse what files that take text cannot have."""
    if form != "tflite":
        raise InvalidInputError("text: is for .tflite files; a SavedModel has a signature 'text' in any case")
    if profile == "mediapipe":
        raise InvalidInputError(
            "text: MediaPipe does not carry tensorflow-text's operators; use profile='default' or 'universal'"
        )
    others = {"quantize='int8'": quantize == "int8", "dynamic": dynamic, "streaming": streaming, "metadata": metadata}
    for name in (name for name, given in others.items() if given):
        raise InvalidInputError(f"text: cannot be had with {name}; export the ids model for that")


def _one_of(name: str, value: Any, choices: tuple[str | None, ...]) -> None:
    if not isinstance(value, str | None) or value not in choices:
        raise InvalidInputError(f"{name}: got {value!r}, there are: {', '.join(map(repr, choices))}")
