"""Checks of the layers' arguments: each returns the value, or raises an error that names the argument."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

from lstm_zoo.errors import InvalidInputError


def positive_integer(name: str, value: Any) -> int:
    """An ``int`` of at least 1, from whatever Python and NumPy take for an integer."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise InvalidInputError(f"{name}={value!r}: expected a positive integer")
    return number


def rate(name: str, value: Any) -> float:
    """A share from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise InvalidInputError(f"{name}={value!r}: expected a share from 0 to 1")
    return float(value)


def clip(name: str, value: Any) -> float | None:
    """A positive number, or None."""
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Real)
        or not (float(value) > 0 and math.isfinite(value))
    ):
        raise InvalidInputError(f"{name}={value!r}: expected a positive number, or None for no clipping")
    return float(value)


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """One of ``choices``; True and False are themselves alone, not 1 and 0."""
    if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in choices):
        raise InvalidInputError(f"{name}={value!r}: expected one of {', '.join(map(repr, choices))}")
    return value
