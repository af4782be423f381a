"""What is installed, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lstm_zoo import __version__, artifact
from lstm_zoo.errors import LstmZooError
from lstm_zoo.registry import ENTRIES

State = Literal["ok", "missing", "problem"]

DISTRIBUTION = "lstm-zoo"
FREE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Check:
    """One line of the report. Only ``"problem"`` means that something that should work does not."""

    name: str
    state: State
    finding: str


def check_all() -> Iterator[Check]:
    """Every check, one by one as they are done; the last ones import TensorFlow."""
    yield from _installation()
    yield _disk()
    yield _try("TensorFlow runs", _devices)
    for name in ENTRIES:
        yield _model(name)


def _installation() -> Iterator[Check]:
    """Python and packages, against what this package's own metadata asks for."""
    where = Path(__file__).parent
    try:
        own = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        finding = f"{__version__} in {where} is not installed: pip install -e {where.parent}"
        yield Check(DISTRIBUTION, "problem", finding)
        return
    yield Check(DISTRIBUTION, "ok", f"{__version__} in {where}")
    yield _python(SpecifierSet(own["Requires-Python"]))
    requirements = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            problem = _problem(requirement)
            finding = problem or metadata.version(requirement.name)
            yield Check(requirement.name, "problem" if problem else "ok", finding)
    for extra in own.get_all("Provides-Extra") or ():
        asked = [each for each in requirements if each.marker and each.marker.evaluate({"extra": extra})]
        yield _extra(extra, [each for each in asked if each.marker and not each.marker.evaluate({"extra": ""})])


def _python(supported: SpecifierSet) -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if supported.contains(platform.python_version(), prereleases=True):
        return Check("Python", "ok", found)
    return Check("Python", "problem", f"{found}; supported: {supported}")


def _problem(requirement: Requirement) -> str:
    """What is wrong with a required package; empty if nothing is."""
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"not installed: pip install '{requirement.name}{requirement.specifier}'"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{found} is installed: pip install '{requirement.name}{requirement.specifier}'"


def _extra(extra: str, requirements: list[Requirement]) -> Check:
    missing = [each.name for each in requirements if each.name != DISTRIBUTION and _problem(each)]
    if not missing:
        return Check(f"extra {extra}", "ok", "complete")
    return Check(
        f"extra {extra}", "missing", f"without {', '.join(missing)}; to have it: pip install '{DISTRIBUTION}[{extra}]'"
    )


def _disk() -> Check:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    return Check("disk", "ok" if free >= FREE_BYTES else "problem", f"{free / 1e9:.1f} GB free in {folder}")


def _devices() -> str:
    import tensorflow as tf

    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    return f"{tf.__version__} on {os.cpu_count()} processor cores and {', '.join(gpus) if gpus else 'no GPU'}"


def _model(name: str) -> Check:
    folder = artifact.shipped_folder(name)
    if not folder.is_dir():
        return Check(f"model {name}", "missing", f"no pretrained weights in {folder}")
    return _try(f"model {name}", lambda: f"{len(artifact.read(folder).manifest.files)} files as in the manifest")


def _try(name: str, find: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", find())
    except (LstmZooError, ImportError, OSError, RuntimeError) as error:
        return Check(name, "problem", str(error))
