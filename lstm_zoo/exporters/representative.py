"""Representative data: what full int8 quantisation learns the ranges of the activations from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_zoo.errors import InvalidInputError

if TYPE_CHECKING:
    import tensorflow as tf

MOST = 1_000  # examples; the ranges have settled long before


def representative_arrays(data: Any, specs: tuple[tf.TensorSpec, ...]) -> dict[str, np.ndarray]:
    """``data`` as one array for each of the model's inputs, ``[count, ...]``, at most 1,000 examples of them.

    Args:
        data: as Keras takes inputs: one array, a list or tuple of them, or a dictionary by name; or, as TensorFlow
            Lite's own converter takes it, a function that returns an iterable of lists, one array with a batch of one
            for each input.
        specs: the inputs, with a batch of one and static shapes.

    Raises:
        InvalidInputError: there are no data, or they do not fit the model's inputs.
    """
    if callable(data):
        data = data()
        if not isinstance(data, Iterable):
            raise InvalidInputError(f"representative_data: the function gave {data!r}, expected lists of arrays")
        data = _collected(data, len(specs))
    names = [spec.name for spec in specs]
    if isinstance(data, Mapping):
        if set(data) != set(names):
            raise InvalidInputError(
                f"representative_data: has {sorted(map(str, data))}, the model's inputs are {names}"
            )
        parts = [data[name] for name in names]
    else:
        several = isinstance(data, list | tuple) and len(specs) > 1
        parts = list(data) if several else [data]
    if len(parts) != len(specs):
        raise InvalidInputError(f"representative_data: expected an array for each of the inputs {names}")
    arrays = {spec.name: _checked(part, spec) for part, spec in zip(parts, specs, strict=True)}
    if len({len(array) for array in arrays.values()}) != 1:
        counts = {name: len(array) for name, array in arrays.items()}
        raise InvalidInputError(f"representative_data: expected as many examples of each input, got {counts}")
    return arrays


def _collected(examples: Iterable[Any], inputs: int) -> Any:
    given = [row if isinstance(row, list | tuple) else [row] for row in islice(examples, MOST)]
    try:
        rows = [[np.asarray(part) for part in row] for row in given]
    except ValueError as error:  # lists of different lengths
        raise InvalidInputError(f"representative_data: the function gave what is no array: {error}") from None
    if not rows or any(len(row) != inputs or not all(part.ndim for part in row) for row in rows):
        raise InvalidInputError(
            f"representative_data: the function gave {len(rows)} examples, expected at least one, each a list of "
            f"{inputs} arrays with a batch of one"
        )
    if len({tuple(part.shape[1:] for part in row) for row in rows}) != 1:
        raise InvalidInputError("representative_data: the function gave arrays of different shapes; pad or cut them")
    columns = zip(*rows, strict=True)
    return [np.concatenate(column) for column in columns] if inputs > 1 else np.concatenate([row[0] for row in rows])


def _checked(part: Any, spec: tf.TensorSpec) -> np.ndarray:
    expected = f"[count, {', '.join(map(str, spec.shape[1:]))}] {spec.dtype.name}"
    try:
        array = np.asarray(part)
    except ValueError as error:  # examples of different lengths
        raise InvalidInputError(f"representative_data: expected {expected} for {spec.name}: {error}") from None
    same_kind = array.dtype.kind == "f" if spec.dtype.is_floating else array.dtype.kind in "iub"
    if array.shape[1:] != tuple(spec.shape[1:]) or not array.size or not same_kind:
        raise InvalidInputError(
            f"representative_data: expected {expected} for {spec.name}, with at least one example, "
            f"got {array.dtype} of shape {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise InvalidInputError(f"representative_data: {spec.name} has NaN or infinite values")
    rows = np.linspace(0, len(array) - 1, min(MOST, len(array))).astype(int)  # from everywhere, not the first class
    return array[rows].astype(spec.dtype.as_numpy_dtype)
