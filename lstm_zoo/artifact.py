"""The artefact folder of a pretrained model: write it whole, check it before use, read it without running code.

A folder holds ``config.json``, ``weights.safetensors``, ``labels.txt``, ``golden_input.npy``, ``golden_output.npy``,
``card.md``, any further files (TFLite files with their certificates) and ``manifest.json``, which lists every file
with its size and SHA-256. It is read in this order: manifest, sizes, hashes, configuration, weights; nothing in it is
ever turned into code, and files that the manifest does not list are not opened.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from lstm_zoo.config import Config, ModelConfig
from lstm_zoo.errors import ArtifactError, InvalidInputError, LstmZooError
from lstm_zoo.models import family_module

if TYPE_CHECKING:
    import keras

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
REQUIRED = ("config.json", "weights.safetensors", "labels.txt", "golden_input.npy", "golden_output.npy", "card.md")
LARGEST_TEXT = 1_000_000  # bytes; no manifest, configuration, label file or card comes near
GOLDEN_TOLERANCE = 1e-4  # between processors and library versions; on one machine the difference is 0 or nearly

# === Manifest ===


class FileRecord(Config):
    """Size in bytes and SHA-256 (hexadecimal) of one file."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Metric(Config):
    """One measured figure, the split it was measured on, and what simpler methods reach there."""

    name: str
    value: float
    split: str
    baselines: dict[str, float] = Field(default_factory=dict)


class Facts(Config):
    """What was measured of a model. :func:`write` fills in ``parameters`` and ``tflite`` (bytes per file) itself."""

    parameters: int = Field(ge=0)
    streaming: bool = False
    metric: Metric | None = None
    tflite: dict[str, int] = Field(default_factory=dict)
    notes: dict[str, str | float] = Field(default_factory=dict)


class Manifest(Config):
    """The table of contents of an artefact folder."""

    schema_version: int = SCHEMA_VERSION
    name: str
    family: str
    facts: Facts
    files: dict[str, FileRecord]


# === Read ===


@dataclass(frozen=True)
class Artifact:
    """A folder whose files were all found to be as its manifest says."""

    path: Path
    manifest: Manifest
    config: ModelConfig
    labels: tuple[str, ...]
    card: str

    def build(self) -> keras.Model:
        """The model that the configuration describes, with these weights, ``.card`` and ``.golden_input``."""
        model: keras.Model = family_module(self.manifest.family).build(self.config)
        self.load_weights(model)
        model.card = self.card
        model.golden_input, _ = self.golden()
        return model

    def load_weights(self, model: keras.Model) -> None:
        """Assign the stored weights to ``model``.

        Raises:
            ArtifactError: a weight is missing, left over, or of another shape or dtype. ``model`` is then unchanged.
        """
        import safetensors

        variables = _weights(model)
        path = self.path / "weights.safetensors"
        try:
            with safetensors.safe_open(path, framework="numpy") as stored:
                _check_weights(path, variables, stored)
                values = {key: stored.get_tensor(key) for key in variables}
        except (safetensors.SafetensorError, OSError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}") from None
        for key, variable in variables.items():
            variable.assign(values[key])

    def golden(self) -> tuple[np.ndarray, np.ndarray]:
        """The stored input and the output that the model gave for it, both float32 with a leading batch axis."""
        return _read_array(self.path / "golden_input.npy"), _read_array(self.path / "golden_output.npy")


def shipped_folder(name: str) -> Path:
    """Where the artefact ``name`` that comes with this installation would be; it need not exist."""
    package = Path(__file__).parent
    checkout = package.parent
    installed = package / "saved_models" / name
    if not installed.is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / "saved_models" / name
    return installed


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of ``folder``; the files that it lists are not looked at.

    Raises:
        ArtifactError: there is none, it is not valid, or it is of a newer version.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder} is not an artefact folder: it has no {MANIFEST}")
    raw = _read_json(path)
    version = raw.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version}, this lstm_zoo reads up to {SCHEMA_VERSION}: upgrade lstm-zoo"
        )
    with _as_artifact_error(path):
        manifest = Manifest.create(raw)
    missing = sorted(set(REQUIRED) - set(manifest.files))
    if missing:
        raise ArtifactError(f"{path} does not list {', '.join(missing)}")
    for name in manifest.files:
        _check_file_name(name, path)
    return manifest


def read(folder: str | Path) -> Artifact:
    """Check every listed file of ``folder`` by size and hash, then read what is not weights.

    Raises:
        ArtifactError: says which file is missing, changed, too large, a link, or not valid.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, record in manifest.files.items():
        _check_size(folder / name, record)
    for name, record in manifest.files.items():
        _check_hash(folder / name, record)
    raw = _read_json(folder / "config.json")
    with _as_artifact_error(folder / "config.json"):
        config = family_module(manifest.family).CONFIG.create(raw)
    labels = tuple(_read_text(folder / "labels.txt").splitlines())
    if labels != config.labels:
        raise ArtifactError(f"{folder / 'labels.txt'} has the labels {labels}, config.json has {config.labels}")
    return Artifact(folder, manifest, config, labels, _read_text(folder / "card.md"))


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found: number of files hashed, largest difference to the golden output, certificates."""

    name: str
    path: Path
    files: int
    largest_difference: float
    certificates: dict[str, Any]


def verify(folder: str | Path) -> Verification:
    """Hash every file again, replay the golden input in the model, and each TFLite file by its certificate.

    Raises:
        ArtifactError: a file changed, or the model does not give its golden output.
        ExportError: a TFLite file is not this model's, or does not give the answers that its certificate states.
    """
    artifact = read(folder)
    model = artifact.build()
    difference = golden_difference(model, artifact)
    if not difference <= GOLDEN_TOLERANCE:
        raise ArtifactError(
            f"{artifact.path}: the model's answer to golden_input.npy differs from golden_output.npy by "
            f"{difference:.3g}, more than {GOLDEN_TOLERANCE}"
        )
    certificates = {name: _verify_tflite(artifact, name, model) for name in artifact.manifest.facts.tflite}
    return Verification(artifact.manifest.name, artifact.path, len(artifact.manifest.files), difference, certificates)


def golden_difference(model: keras.Model, artifact: Artifact) -> float:
    """Largest absolute difference between ``model``'s answer to the golden input and the golden output."""
    given, expected = artifact.golden()
    got = predict(model, given)
    if got.shape != expected.shape:
        raise ArtifactError(f"{artifact.path}: golden_output.npy is {expected.shape}, the model gives {got.shape}")
    return float(np.max(np.abs(got - expected)))


def predict(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """``model``'s output for one batch, float32, without training behaviour."""
    return np.asarray(model(inputs, training=False), dtype="float32")


def _verify_tflite(artifact: Artifact, name: str, model: keras.Model) -> Any:
    if f"{name}.json" not in artifact.manifest.files:
        raise ArtifactError(f"{artifact.path / name} has no certificate {name}.json")
    from lstm_zoo.exporters import certificate

    return certificate.verify(artifact.path / name, model)


# === Write ===


def write(
    folder: str | Path,
    model: keras.Model,
    *,
    name: str,
    facts: Mapping[str, Any],
    card: str,
    golden_input: np.ndarray,
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Write ``model`` (with ``.config`` and ``.labels``) as an artefact folder, whole or not at all.

    Everything is written to a hidden folder beside the target, read back and checked, and only then renamed; an
    artefact that was there before stays until that moment.

    Args:
        folder: where to; either new, empty, or an artefact folder to be replaced.
        facts: fields of :class:`Facts`; ``parameters`` and ``tflite`` are measured here.
        card: Markdown that says what the model was trained on and how good it is.
        golden_input: float32, a batch of the model's raw input.
        files: further files by the name that they are to have, such as ``{"speech.tflite": path}``.

    Raises:
        ArtifactError: the folder holds something else, the model's golden output is not finite, or writing failed
            (no permission, full disk).
        InvalidInputError: a fact or a file name is not valid.
    """
    folder = Path(folder).absolute()
    _refuse_to_replace_something_else(folder)
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        temporary.chmod(0o755)
        _write_model(temporary, model, card, golden_input)
        for file_name, source in (files or {}).items():
            _check_file_name(file_name, "files")
            shutil.copyfile(source, temporary / file_name)
        _write_manifest(temporary, model, name, facts)
        read(temporary)
        _swap(temporary, folder)
    except OSError as error:
        raise ArtifactError(f"{folder} could not be written, nothing was changed: {error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_model(folder: Path, model: Any, card: str, golden_input: np.ndarray) -> None:
    import safetensors.numpy

    golden_input = np.asarray(golden_input, dtype="float32")
    golden_output = predict(model, golden_input)
    if not np.isfinite(golden_output).all():
        raise ArtifactError("the model's output for golden_input is not finite: the weights or the input are broken")
    weights = {key: np.ascontiguousarray(variable.numpy()) for key, variable in _weights(model).items()}
    _write_text(folder / "config.json", json.dumps(model.config.model_dump(mode="json"), indent=2) + "\n")
    _write_text(folder / "labels.txt", "".join(f"{label}\n" for label in model.labels))
    _write_text(folder / "card.md", card)
    (folder / "weights.safetensors").write_bytes(safetensors.numpy.save(weights))
    np.save(folder / "golden_input.npy", golden_input, allow_pickle=False)
    np.save(folder / "golden_output.npy", golden_output, allow_pickle=False)


def _write_manifest(folder: Path, model: Any, name: str, facts: Mapping[str, Any]) -> None:
    records = {path.name: FileRecord(sha256=_sha256(path), bytes=path.stat().st_size) for path in _sorted_files(folder)}
    tflite = {file: record.bytes for file, record in records.items() if file.endswith(".tflite")}
    measured = {"parameters": model.count_params(), "tflite": tflite}
    manifest = Manifest(name=name, family=model.config.family, facts=Facts.create({**facts, **measured}), files=records)
    _write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def _refuse_to_replace_something_else(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ArtifactError(f"{folder} exists and is not a folder: choose another place")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{folder} holds files that are not an artefact: choose another place or empty it")


def _swap(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target``; if that fails, ``target`` is as it was."""
    old = new.with_name(f"{new.name}.old")
    replaces = target.exists()
    if replaces:
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if replaces:
            old.rename(target)
        raise
    if replaces:
        shutil.rmtree(old, ignore_errors=True)


# === Weights ===


def _weights(model: Any) -> dict[str, Any]:
    """Variables by path. Keras numbers the unnamed cells of recurrent layers by process, so the number is dropped."""
    weights = {re.sub(r"(_cell)_\d+(?=/)", r"\1", variable.path): variable for variable in model.weights}
    if len(weights) != len(model.weights):
        raise InvalidInputError("the model has two weights of one path: give each of its layers a name of its own")
    return weights


_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}


def _check_weights(path: Path, variables: Mapping[str, Any], stored: Any) -> None:
    """Compare names, shapes and dtypes from the file's header, before any tensor is read."""
    stored_keys = set(stored.keys())
    problems = [f"{key} is missing" for key in sorted(set(variables) - stored_keys)]
    problems += [f"{key} is not in the model" for key in sorted(stored_keys - set(variables))]
    for key in sorted(stored_keys & set(variables)):
        header = stored.get_slice(key)
        shape, dtype = tuple(header.get_shape()), _DTYPES.get(header.get_dtype(), header.get_dtype())
        variable = variables[key]
        if (shape, dtype) != (tuple(variable.shape), variable.dtype):
            problems.append(f"{key} is {dtype} {shape}, the model has {variable.dtype} {tuple(variable.shape)}")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ArtifactError(f"{path} does not fit the model: {'; '.join(problems[:5])}{more}")


# === Files ===


def _check_file_name(name: str, where: Any) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}", name) or name == MANIFEST:
        raise ArtifactError(f"{where}: {name!r} is not a plain file name (letters, digits, '_', '.', '-')")


def _check_size(path: Path, record: FileRecord) -> None:
    if path.is_symlink():
        raise ArtifactError(f"{path} is a link: an artefact holds its files itself")
    if not path.is_file():
        raise ArtifactError(f"{path} is missing")
    size = path.stat().st_size
    if size != record.bytes:
        raise ArtifactError(f"{path} has {size} bytes, the manifest says {record.bytes}: fetch or write it again")


def _check_hash(path: Path, record: FileRecord) -> None:
    found = _sha256(path)
    if found != record.sha256:
        raise ArtifactError(f"{path} has changed: sha256 {found}, the manifest says {record.sha256}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sorted_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")  # the same bytes, so the same hash, on every system


def _read_text(path: Path) -> str:
    if path.is_symlink() or path.stat().st_size > LARGEST_TEXT:
        raise ArtifactError(f"{path} is a link or larger than {LARGEST_TEXT:,} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} holds {type(value).__name__}, expected an object")
    return value


def _read_array(path: Path) -> np.ndarray:
    try:
        # Mapped first: a header that claims more than the file holds is refused before memory is taken.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} is not a NumPy array file: {error}") from None
    if array.dtype != np.float32 or array.ndim < 2 or array.size == 0:
        raise ArtifactError(f"{path} holds {array.dtype} {array.shape}, expected float32 with a batch axis")
    return np.array(array)


@contextmanager
def _as_artifact_error(path: Path) -> Iterator[None]:
    try:
        yield
    except LstmZooError as error:
        raise ArtifactError(f"{path}: {error}") from None
