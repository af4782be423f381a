"""Validated, versioned configuration: what a model is, as JSON that never becomes code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypeVar

import pydantic

from lstm_zoo.errors import InvalidInputError, UnknownNameError

SCHEMA_VERSION = 1
PROBLEMS_SHOWN = 5  # in one message
ConfigT = TypeVar("ConfigT", bound="Config")


class Config(pydantic.BaseModel):
    """A frozen record whose unknown keys, wrong types and out-of-range values are refused by name."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def create(cls, values: dict[str, Any]) -> Self:
        """Validate ``values``.

        Raises:
            InvalidInputError: names each offending key, what came and what was expected.
        """
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise InvalidInputError(f"{cls.__name__}: {_describe(error, cls)}") from None

    def replace(self, **changes: Any) -> Self:
        """A copy with ``changes``, validated as a whole."""
        return self.create(self.model_dump() | changes)


class ModelConfig(Config):
    """What every model family's configuration has; families add their own fields."""

    schema_version: int = SCHEMA_VERSION
    family: str
    labels: tuple[str, ...] = pydantic.Field(min_length=2, max_length=1000)


def _describe(error: pydantic.ValidationError, config: type[Config]) -> str:
    parts, problems = [], error.errors()
    for problem in problems[:PROBLEMS_SHOWN]:
        key = ".".join(str(part) for part in problem["loc"]) or "the whole"
        if problem["type"] == "extra_forbidden":
            parts.append(f"unknown option {key!r}; there are: {', '.join(sorted(config.model_fields))}")
        else:
            parts.append(f"{key}: {problem['msg']}, got {problem['input']!r:.80}")
    more = len(problems) - len(parts)
    return "; ".join([*parts, f"and {more} more"] if more else parts)


def override(config: ConfigT, settings: dict[str, Any]) -> ConfigT:
    """``config`` with fields replaced by name: ``{"epochs": 5}`` or, in full, ``{"training.epochs": 5}``.

    Raises:
        UnknownNameError: no such field, or the short name stands for several (the message lists them).
        InvalidInputError: a value is refused.
    """
    fields = _leaves(config)
    values = config.model_dump()
    for name, value in settings.items():
        matches = [path for path in fields if is_given(path, [name])]
        if name not in matches and len(matches) != 1:
            raise UnknownNameError("setting", name, matches or fields)
        *parents, leaf = (name if name in matches else matches[0]).split(".")
        target = values
        for parent in parents:
            target = target[parent]
        target[leaf] = value
    return config.create(values)


def is_given(path: str, settings: Iterable[str]) -> bool:
    """Whether the field at ``path`` is among ``settings``, by its full or its short name, as in :func:`override`."""
    return any(path == name or path.endswith(f".{name}") for name in settings)


def _leaves(config: Config, prefix: str = "") -> list[str]:
    paths = []
    for name in type(config).model_fields:
        value = getattr(config, name)
        paths += _leaves(value, f"{prefix}{name}.") if isinstance(value, Config) else [prefix + name]
    return paths
