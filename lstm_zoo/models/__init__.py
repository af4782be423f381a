"""One module per model family, each with ``build(config) -> keras.Model`` and ``CONFIG``, its configuration class."""

from __future__ import annotations

import importlib
from types import ModuleType

from lstm_zoo.errors import UnknownNameError

FAMILIES = {"speech": "lstm_zoo.models.speech", "sentiment": "lstm_zoo.models.sentiment"}


def family_module(family: str) -> ModuleType:
    """The module of ``family``. Only names in :data:`FAMILIES` are ever imported, whatever a file asks for.

    Raises:
        UnknownNameError: no such family.
    """
    if family not in FAMILIES:
        raise UnknownNameError("model family", family, FAMILIES)
    return importlib.import_module(FAMILIES[family])
