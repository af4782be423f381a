"""What an exported file was seen to do: replayed in a fresh process and compared with the model it came from."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from lstm_zoo.config import Config
from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters.files import certificate_path, form_of, sha256, size
from lstm_zoo.exporters.measuring import Measured, Probe, measure, measure_again

if TYPE_CHECKING:
    import keras
    from rich.table import Table

    from lstm_zoo.exporters.signatures import Signature

SCHEMA_VERSION = 2
TOLERANCES = {None: 1e-5, "float16": 5e-3, "dynamic_int8": 0.3, "int8": 0.3}  # of the largest difference
# The least share of same top answers. 8 bits decide near ties anew, of which a barely trained model has many; those of
# the zoo agree on more than 99 %.
AGREEMENTS = {None: 0.999, "float16": 0.995, "dynamic_int8": 0.95, "int8": 0.95}
FEWEST_FOR_AGREEMENT = 200  # inputs; of fewer, a single near tie would decide
EIGHT_BITS = ("dynamic_int8", "int8")
LARGEST_CERTIFICATE = 10_000_000  # bytes
PACKAGES = ("tensorflow", "tensorflow-text", "keras", "ai-edge-litert", "onnxruntime", "tf2onnx", "numpy")


class Certificate(Config):
    """The measured facts of one exported file, kept as ``<file>.json`` beside it.

    Differences are between the file's outputs and the Keras model's on the same inputs; those of outputs with values
    above 1, and in 8-bit files of all that are no probabilities, are shares of the largest value. Times in milliseconds
    for one input on one thread.

    An int8 file is compared on inputs like those it learnt its ranges from. Its probes, which leave them, keep what the
    file itself answered, so that :func:`verify` sees whether it still does.
    """

    schema_version: Literal[2] = 2
    file: str
    kind: Literal["tflite", "saved_model", "onnx"]
    bytes: int
    sha256: str
    profile: str
    quantize: Literal["float16", "dynamic_int8", "int8"] | None
    streaming: Literal["continuous", "sliding"] | None = None
    ops: dict[str, int]
    inputs: str = pydantic.Field(description="what was replayed")
    largest_difference: float
    streaming_difference: float | None = pydantic.Field(
        default=None, description="of answers to streams, block by block"
    )
    tolerance: float = pydantic.Field(ge=0, allow_inf_nan=False)
    top1_agreement: float | None = pydantic.Field(description="share of inputs with the same highest output")
    compared: int | None = pydantic.Field(default=None, ge=0, description="inputs that the agreement is of")
    two_invokes_equal: bool
    latency_ms: float
    model_sha256: str
    versions: dict[str, str]
    probe: Probe
    stream_probe: Probe | None = None

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", title=Text(self.file), show_header=False, title_justify="left")
        for name, fact in self._facts():
            table.add_row(name, Text(fact, overflow="fold"))
        return table

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "size", f"{self.bytes:,} bytes"
        streaming = f", {self.streaming} streaming" if self.streaming else ""
        form = f"{self.kind}, profile {self.profile}" if self.kind == "tflite" else self.kind
        yield "form", f"{form}, {self.quantize or 'float32'}{streaming}"
        yield "replayed on", self.inputs
        allowed = f"(at most {self.tolerance:g} allowed)"
        yield "largest difference", f"{self.largest_difference:.1e} {allowed}"
        if self.streaming_difference is not None:
            yield "of streams", f"{self.streaming_difference:.1e} {allowed}"
        if self.top1_agreement is not None:
            few = self.compared is not None and self.compared < FEWEST_FOR_AGREEMENT
            note = f" (of {self.compared} inputs: too few to judge by)" if few else ""
            yield "same top answer", f"{self.top1_agreement:.1%}{note}"
        yield "second call equal", "yes" if self.two_invokes_equal else "NO"
        yield "latency, one thread", f"{self.latency_ms:.2f} ms"
        if self.ops:
            yield "operators", ", ".join(f"{name} {count}" for name, count in sorted(self.ops.items()))
        yield "sha256", self.sha256


def certify(
    path: Path,
    model: keras.Model,
    signatures: tuple[Signature, ...],
    *,
    name: str,
    profile: str = "default",
    quantize: str | None = None,
    streaming: str | None = None,
    check_inputs: Any = None,
) -> Certificate:
    """Replay the file or folder at ``path``, to be called ``name``, against ``model``.

    Args:
        signatures: what the file has; the first one is the whole model.
        check_inputs: as Keras takes inputs, ``[count, ...]``; default: the model's golden input, else the probes alone.

    Raises:
        InvalidInputError: ``check_inputs`` have other shapes or types, or are not finite.
        ExportError: the file does not run, keeps state, uses custom operators (texts: but tensorflow-text's),
            is further from the model than its
            tolerance, or has another top answer too often; or the model does not take such inputs.
    """
    measured = measure(
        path,
        model,
        signatures,
        streaming=streaming,
        check_inputs=check_inputs,
        eight_bits=quantize in EIGHT_BITS,
        learnt_ranges=quantize == "int8",
    )
    certificate = Certificate.create(
        {
            "file": name,
            "kind": form_of(path),
            "bytes": size(path),
            "sha256": sha256(path),
            "profile": profile,
            "quantize": quantize,
            "streaming": streaming,
            "ops": measured.replayed.operators,
            "tolerance": TOLERANCES[quantize],
            "model_sha256": model_sha256(model),
            "versions": _versions(),
            "probe": measured.probe,
            "stream_probe": measured.stream,
            **_measured_facts(measured),
        }
    )
    _require(certificate, measured.count)
    return certificate


def verify(path: str | Path, model: keras.Model | None = None) -> Certificate:
    """Replay the exported ``path`` again, on this machine, against what its certificate says.

    Args:
        path: the file or folder, with its certificate beside it.
        model: when given, the file must also be this very model's.

    Returns:
        The certificate, with the differences, agreement and latency measured now, on the probes.

    Raises:
        ExportError: file or certificate is missing or changed, or the answers are no longer those of the model.
    """
    if not isinstance(path, str | Path):
        raise InvalidInputError(f"path: got {path!r}, expected the name of an exported file or folder")
    if model is not None and not hasattr(model, "weights"):
        raise InvalidInputError(f"model: got {model!r}, expected a Keras model")
    path = Path(os.path.abspath(path))  # "." has no name of its own to look for a certificate beside
    if not path.name:
        raise ExportError(f"{path} is no exported file or folder")
    if not path.exists() and not certificate_path(path).exists():
        raise ExportError(f"{path} does not exist, and no certificate of it either")
    stored = read(certificate_path(path))
    found = _hash(path)
    if found != stored.sha256:
        raise ExportError(f"{path} is not the certified file: its sha256 is {found}, the certificate's {stored.sha256}")
    if model is not None and (found := model_sha256(model)) != stored.model_sha256:
        raise ExportError(f"{path} is of another model: sha256 {stored.model_sha256}, the given one's is {found}")
    measured = measure_again(
        path,
        stored.kind,
        stored.probe,
        stored.stream_probe,
        streaming=stored.streaming,
        eight_bits=stored.quantize in EIGHT_BITS,
    )
    certificate = stored.replace(**_measured_facts(measured))
    _require(certificate, measured.count)
    return certificate


def read(path: Path) -> Certificate:
    """Read a certificate.

    Raises:
        ExportError: it is missing, too large, not a certificate, or of a newer version of this package.
    """
    try:
        if path.stat().st_size > LARGEST_CERTIFICATE:
            raise ExportError(f"{path} is too large for a certificate")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path} does not exist: export the model again to get a certificate") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read as a certificate: {error}") from None
    found = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise ExportError(f"{path} is of a newer version of this package (schema {found}): upgrade lstm-zoo to read it")
    if isinstance(found, int) and found < SCHEMA_VERSION:
        raise ExportError(f"{path} is of an older version of this package (schema {found}): export the model again")
    try:
        certificate = Certificate.create(values)
    except InvalidInputError as error:
        raise ExportError(f"{path} is not a certificate: {error}") from None
    if certificate.tolerance > TOLERANCES[certificate.quantize]:
        raise ExportError(f"{path} is not a certificate: a tolerance of {certificate.tolerance:g} is none of ours")
    return certificate


def model_sha256(model: keras.Model) -> str:
    """A hash of the model's configuration, where it has one, and of its weights' names, shapes and values.

    Of the configuration, the family and what differs from the defaults: options that the family gets later, with
    defaults that leave earlier models as they were, leave their hashes too.
    """
    digest = hashlib.sha256()
    config = getattr(model, "config", None)
    if isinstance(config, pydantic.BaseModel):
        chosen = config.model_dump(mode="json", exclude_defaults=True)
        family = getattr(config, "family", type(config).__name__)
        digest.update(json.dumps(chosen | {"family": family}, sort_keys=True).encode())
    for variable in model.weights:
        values = np.asarray(variable.value)
        digest.update(f"{variable.path} {values.dtype} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _hash(path: Path) -> str:
    if not path.exists():
        raise ExportError(f"{path} does not exist, though its certificate does")
    try:
        return sha256(path)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error}") from error


def _measured_facts(measured: Measured) -> dict[str, Any]:
    return {
        "inputs": measured.inputs,
        "largest_difference": measured.largest_difference,
        "streaming_difference": measured.streaming_difference,
        "top1_agreement": measured.agreement,
        "compared": measured.count,
        "two_invokes_equal": measured.replayed.two_invokes_equal,
        "latency_ms": measured.replayed.latency_ms,
    }


def _require(certificate: Certificate, count: int) -> None:
    """Refuse what was measured on ``count`` inputs where it is not good enough."""
    form = certificate.quantize or "float32"
    if not certificate.two_invokes_equal:
        raise ExportError(f"{certificate.file}: a second call with the same input gives another answer")
    for what, found in (
        ("outputs", certificate.largest_difference),
        ("a stream's answers", certificate.streaming_difference),
    ):
        if found is not None and not found <= certificate.tolerance:
            raise ExportError(
                f"{certificate.file}: {what} differ from the model's by up to {found:.2g}, "
                f"more than the {certificate.tolerance:g} allowed for {form}"
            )
    least, share = AGREEMENTS[certificate.quantize], certificate.top1_agreement
    if share is not None and share < least and count >= FEWEST_FOR_AGREEMENT:
        raise ExportError(
            f"{certificate.file}: the top answer is the model's for {share:.1%} of {count} "
            f"inputs, less than the {least:.1%} required for {form}"
        )


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
