"""Artefact folders read: nothing is used before its size and hash are found to be as the manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_zoo.artifact import files, weights
from lstm_zoo.artifact.manifest import GOLDEN_INPUTS, VOCABULARY, Manifest, read_manifest
from lstm_zoo.config import ModelConfig
from lstm_zoo.errors import ArtifactError
from lstm_zoo.models import family_module

if TYPE_CHECKING:
    import keras

GOLDEN_TOLERANCE = 1e-4  # between processors and library versions; on one machine the difference is 0 or nearly


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
        weights.load(model, self.path / weights.WEIGHTS)

    def golden(self) -> tuple[np.ndarray | list[str], np.ndarray]:
        """The stored input and the output that the model gave for it, float32 ``[count, ...]``; an input may be texts.

        Raises:
            ArtifactError: they are not.
        """
        arrays, texts = (self.path / name for name in GOLDEN_INPUTS)
        given = files.read_lines(texts) if texts.name in self.manifest.files else files.read_array(arrays)
        return given, files.read_array(self.path / "golden_output.npy")


def read(folder: str | Path) -> Artifact:
    """Check every listed file of ``folder`` by size and hash, then read what is not weights.

    Raises:
        ArtifactError: says which file is missing, changed, too large, a link, or not valid.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, record in manifest.files.items():
        files.check_size(folder / name, record)
    for name, record in manifest.files.items():
        files.check_hash(folder / name, record)
    config = _read_config(folder, manifest)
    labels = tuple(files.read_text(folder / "labels.txt").splitlines())
    if labels != config.labels:
        raise ArtifactError(f"{folder / 'labels.txt'} has the labels {labels}, config.json has {config.labels}")
    return Artifact(folder, manifest, config, labels, files.read_text(folder / "card.md"))


def _read_config(folder: Path, manifest: Manifest) -> ModelConfig:
    """``config.json``, with the vocabulary from its own file where the manifest lists one."""
    path = folder / "config.json"
    raw = files.read_json(path)
    if VOCABULARY in manifest.files:
        if "vocabulary" in raw:
            raise ArtifactError(f"{path} has a vocabulary, and {VOCABULARY} another: expected it in the latter alone")
        raw["vocabulary"] = tuple(files.read_lines(folder / VOCABULARY, files.LARGEST_VOCABULARY))
    with files.as_artifact_error(path):
        config: ModelConfig = family_module(manifest.family).CONFIG.create(raw)
    return config


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
            f"{artifact.path}: the model's answer to its golden input differs from golden_output.npy by "
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


def predict(model: keras.Model, inputs: np.ndarray | list[str]) -> np.ndarray:
    """``model``'s output for one batch, float32, without training behaviour."""
    return np.asarray(model(inputs, training=False), dtype="float32")


def _verify_tflite(artifact: Artifact, name: str, model: keras.Model) -> Any:
    if f"{name}.json" not in artifact.manifest.files:
        raise ArtifactError(f"{artifact.path / name} has no certificate {name}.json")
    from lstm_zoo.exporters import certificate

    return certificate.verify(artifact.path / name, model)
