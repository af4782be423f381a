"""What goes wrong in TensorFlow, in Keras or on the disk, said as one :class:`ExportError`."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_zoo.errors import ExportError, LstmZooError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


COLOURS = re.compile("\x1b\\[[0-9;]*m")


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
def refused_by(model: keras.Model, inputs: tuple[tf.TensorSpec, ...]) -> Iterator[None]:
    """Within this context ``model`` gets ``inputs``; whatever it raises is an ExportError of one line."""
    try:
        _check_names(model)
        yield
    except LstmZooError:
        raise
    except Exception as error:  # Keras, TensorFlow and the layers of others raise what they like
        shapes = ", ".join(str(tuple(spec.shape)) for spec in inputs)
        raise ExportError(
            f"the model cannot be traced for inputs of shape {shapes}: {_first_line(error)}{_advice(model, inputs)}"
        ) from error


def _check_names(model: keras.Model) -> None:
    """Let TensorFlow see the layers' names before Keras uses them.

    A name that TensorFlow refuses while Keras enters the layer leaves Keras's stack of name scopes one too high, and
    every model that is built afterwards in this process has weights of other names.
    """
    import tensorflow as tf

    with tf.Graph().as_default():
        for layer in model._flatten_layers():
            with tf.name_scope(layer.name):
                pass


def _advice(model: keras.Model, inputs: tuple[tf.TensorSpec, ...]) -> str:
    """More samples help where a front end's window is longer than the input."""
    fewest = getattr(getattr(getattr(model, "config", None), "front_end", None), "window_length", None)
    if fewest is None or any(None in spec.shape for spec in inputs):
        return ""
    return f"; give at least {fewest} samples"


def _first_line(error: Exception) -> str:
    """What is wrong, past Keras's words on where it was noticed and its colours."""
    lines = [COLOURS.sub("", line).strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    reason = lines[0].rstrip(".;:") if lines else type(error).__name__
    return f"{reason}; rename the layer or input" if "is not a valid" in reason and "scope name" in reason else reason
