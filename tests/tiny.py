"""Models small enough to be built by any test."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_zoo import registry
from lstm_zoo.frontends.text import SPECIAL_TOKENS

# Overrides by family that keep every kind of layer and cost milliseconds.
TINY: dict[str, dict[str, Any]] = {
    "speech": {"units": 4, "convolutions": [{"filters": 2, "kernel": (5, 5), "strides": (2, 2)}]},
    "sentiment": {"units": 4, "embedding": 3},
}
# By tokenizer. Pieces that go on with a word begin with ##.
WORDS = (*SPECIAL_TOKENS, "a A", "great Great GREAT", "film Film", "dull", "don't", "it's It's", "été", "not", "so")
PIECES = (*SPECIAL_TOKENS, *"abcdefghilmnorstu", *(f"##{letter}" for letter in "aefilmnrstuy"), "great", "##ly", "film")
TEXTS = ("A great film, so GREAT!<br />It's not dull.", "", "Don't. Été — greatly unknown \U0001f600", "film " * 40)


def entries(family: str) -> tuple[str, ...]:
    """The names of the entries of ``family``."""
    return tuple(name for name, entry in registry.ENTRIES.items() if entry.family == family)


def options(name: str) -> dict[str, Any]:
    """The overrides with which the entry ``name`` is tiny."""
    entry = registry.ENTRIES[name]
    vocabulary = PIECES if entry.options.get("tokenizer") == "subwords" else WORDS
    return TINY[entry.family] | ({"vocabulary": vocabulary} if entry.family == "sentiment" else {})


def tiny_model(name: str, seed: int = 0) -> Any:
    """A small untrained model of the entry ``name`` of which no weight has its initial value."""
    model = registry.get(name, weights=None, **options(name))
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.dtype == "float32":  # and not the states of random generators
            variable.assign(generator.uniform(0.05, 0.5, variable.shape))
    return model


def raw_input(model: Any, count: int = 2) -> Any:
    """What ``model`` takes: seeded noise, float32 ``[count, samples]``, as long as its clips, or texts."""
    if model.config.family == "sentiment":
        return list(TEXTS[:count])
    generator = np.random.default_rng(1)
    return generator.normal(0.0, 0.1, (count, model.config.clip_samples)).astype("float32")
