"""What goes wrong in TensorFlow, in Keras or on the disk, said as one :class:`ExportError`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_zoo.errors import ExportError, LstmZooError

if TYPE_CHECKING:
    import keras


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder; whatever the system refuses to do in it is an ExportError that names it."""
    folder: str | Path = tempfile.gettempdir()
    try:
        with tempfile.TemporaryDirectory(prefix="lstm_zoo_") as made:
            folder = made
            yield Path(made)
    except OSError as error:
        raise ExportError(
            f"the temporary folder {folder} could not be used: {error}; make room there, or set TMPDIR to another one"
        ) from error


@contextlib.contextmanager
def refused_by(model: keras.Model, shape: tuple[int | None, ...]) -> Iterator[None]:
    """Within this context ``model`` gets an input of ``shape``; whatever it raises is an ExportError of one line."""
    try:
        yield
    except LstmZooError:
        raise
    except Exception as error:  # Keras, TensorFlow and the layers of others raise what they like
        front_end = getattr(getattr(model, "config", None), "front_end", None)
        fewest = getattr(front_end, "window_length", None)
        advice = "" if None in shape else f"; give {f'at least {fewest}' if fewest else 'more'} samples"
        raise ExportError(
            f"the model cannot be traced for an input of shape {tuple(shape)}: {_first_line(error)}{advice}"
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".;:") if lines else type(error).__name__
