"""Packs the pretrained models into the wheel, as ``lstm_zoo/saved_models``; all the rest is in pyproject.toml."""

import json
from pathlib import Path

from setuptools import find_packages, setup


def packing_list() -> list[str]:
    """Each artefact's manifest and the files it names; whatever else lies in its folder (a SavedModel) stays out."""
    files = []
    for manifest in sorted(Path("saved_models").glob("*/manifest.json")):
        names = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        files += [f"{manifest.parent.name}/{name}" for name in ("manifest.json", *names)]
    return files


setup(
    packages=[*find_packages(include=["lstm_zoo", "lstm_zoo.*"]), "lstm_zoo.saved_models"],
    package_dir={"lstm_zoo.saved_models": "saved_models"},
    package_data={"lstm_zoo": ["assets/*"], "lstm_zoo.saved_models": packing_list()},
)
