"""Models small enough to be built by any test."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_zoo import registry

# Overrides by family that keep every kind of layer and cost milliseconds.
TINY: dict[str, dict[str, Any]] = {
    "speech": {"units": 4, "convolutions": [{"filters": 2, "kernel": (5, 5), "strides": (2, 2)}]},
}


def tiny_model(name: str, seed: int = 0) -> Any:
    """A small untrained model of the entry ``name`` of which no weight has its initial value."""
    model = registry.get(name, weights=None, **TINY[registry.ENTRIES[name].family])
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(generator.uniform(0.05, 0.5, variable.shape))
    return model


def noise(model: Any, clips: int = 2) -> np.ndarray:
    """Seeded noise, ``[clips, samples]`` float32, as long as the model's clips."""
    generator = np.random.default_rng(1)
    return generator.normal(0.0, 0.1, (clips, model.config.clip_samples)).astype("float32")
