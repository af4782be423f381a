"""``manifest.json``: what an artefact folder holds, and what was measured of its model."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lstm_zoo.artifact import files
from lstm_zoo.artifact.files import MANIFEST
from lstm_zoo.config import Config
from lstm_zoo.errors import ArtifactError

SCHEMA_VERSION = 1
REQUIRED = ("config.json", "weights.safetensors", "labels.txt", "golden_output.npy", "card.md")
GOLDEN_INPUTS = ("golden_input.npy", "golden_input.txt")  # one of the two: arrays, or a text on each line
VOCABULARY = "vocabulary.txt"  # of models of text


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


def shipped_folder(name: str) -> Path:
    """Where the artefact ``name`` that comes with this installation would be; it need not exist."""
    package = Path(__file__).parents[1]
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
    raw = files.read_json(path)
    version = raw.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version}, this lstm_zoo reads up to {SCHEMA_VERSION}: upgrade lstm-zoo"
        )
    with files.as_artifact_error(path):
        manifest = Manifest.create(raw)
    missing = sorted(set(REQUIRED) - set(manifest.files))
    if missing:
        raise ArtifactError(f"{path} does not list {', '.join(missing)}")
    if len(set(GOLDEN_INPUTS) & set(manifest.files)) != 1:
        raise ArtifactError(f"{path} must list one of {' and '.join(GOLDEN_INPUTS)}")
    for name in manifest.files:
        files.check_file_name(name, path)
    return manifest
