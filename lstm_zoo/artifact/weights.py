"""The weights of an artefact: one safetensors file, compared with the model before any tensor is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_zoo.errors import ArtifactError, InvalidInputError

WEIGHTS = "weights.safetensors"


def load(model: Any, path: Path) -> None:
    """Assign the stored weights to ``model``.

    Raises:
        ArtifactError: a weight is missing, left over, or of another shape or dtype. ``model`` is then unchanged.
    """
    import safetensors

    variables = _weights(model)
    try:
        with safetensors.safe_open(path, framework="numpy") as stored:
            _check_weights(path, variables, stored)
            values = {key: stored.get_tensor(key) for key in variables}
    except (safetensors.SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    for key, variable in variables.items():
        variable.assign(values[key])


def save(model: Any, path: Path) -> None:
    """Write the weights of ``model``."""
    import safetensors.numpy

    weights = {key: np.ascontiguousarray(variable.numpy()) for key, variable in _weights(model).items()}
    path.write_bytes(safetensors.numpy.save(weights))


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
