"""Everything this package raises on purpose is a :class:`LstmZooError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LstmZooError(Exception):
    """Base of the family. The command line prints its message and exits with status 2."""


class InvalidInputError(LstmZooError, ValueError):
    """An argument is of the wrong type, shape or range."""


class UnknownNameError(LstmZooError, LookupError):
    """A name that does not exist; the message says what is nearest and what exists."""

    def __init__(self, what: str, name: str, known: Iterable[str]):
        known = sorted(known)
        nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        super().__init__(f"unknown {what} {name!r}: {hint}There are: {', '.join(known)}.")


class ArtifactError(LstmZooError):
    """An artefact folder or one of its files is missing, changed, truncated or of a newer version."""


class DataError(LstmZooError):
    """A dataset or audio file is missing, incomplete or cannot be read."""


class ExportError(LstmZooError):
    """A model could not be exported, or the exported file does not give the model's answers."""


class MissingExtraError(LstmZooError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs {package}: pip install 'lstm-zoo[{extra}]'")
