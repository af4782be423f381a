"""The artefact folder of a pretrained model: write it whole, check it before use, read it without running code.

A folder holds ``config.json``, ``weights.safetensors``, ``labels.txt``, ``golden_output.npy``, ``golden_input.npy`` or,
for a model of text, ``golden_input.txt`` and ``vocabulary.txt``, ``card.md``, any further files (TFLite files with
their certificates) and ``manifest.json``, which lists every file with its size and SHA-256. It is read in this order:
manifest, sizes, hashes, configuration, weights; nothing in it is ever turned into code, and files that the manifest
does not list are not opened.
"""

from lstm_zoo.artifact.files import LARGEST_TEXT, LARGEST_VOCABULARY, MANIFEST
from lstm_zoo.artifact.manifest import (
    GOLDEN_INPUTS,
    REQUIRED,
    SCHEMA_VERSION,
    VOCABULARY,
    Facts,
    FileRecord,
    Manifest,
    Metric,
    read_manifest,
    shipped_folder,
)
from lstm_zoo.artifact.reading import GOLDEN_TOLERANCE, Artifact, Verification, golden_difference, read, verify
from lstm_zoo.artifact.writing import write

__all__ = [
    "GOLDEN_INPUTS",
    "GOLDEN_TOLERANCE",
    "LARGEST_TEXT",
    "LARGEST_VOCABULARY",
    "MANIFEST",
    "REQUIRED",
    "SCHEMA_VERSION",
    "VOCABULARY",
    "Artifact",
    "Facts",
    "FileRecord",
    "Manifest",
    "Metric",
    "Verification",
    "golden_difference",
    "read",
    "read_manifest",
    "shipped_folder",
    "verify",
    "write",
]
