"""What the tests of the layers do again and again, on any backend of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
from backends import gradients, to_numpy
from keras import ops, tree


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded noise, float32."""
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype("float32")


def randomize(layer: Any, seed: int = 0) -> Any:
    """The layer, none of its weights at its initial value."""
    generator = np.random.default_rng(seed)
    layer.set_weights([generator.normal(0, 0.5, weight.shape) for weight in layer.get_weights()])
    return layer


def numpy_values(results: Any) -> list[np.ndarray]:
    """A tensor or a nest of them as a flat list of arrays."""
    return [to_numpy(each) for each in tree.flatten(results)]


def objective(results: list[Any]) -> Any:
    """A scalar that depends on every number, on no two alike; for tensors and for NumPy arrays."""
    total = 0.0
    for index, result in enumerate(results):
        weights = draw(*result.shape, seed=index)
        if isinstance(result, np.ndarray):
            total = total + (result * weights).sum()
        else:
            total = total + ops.sum(ops.cast(result, "float32") * ops.convert_to_tensor(weights))
    return total


def layer_gradients(layer: Any, x: np.ndarray, state: Any = (), **call: Any) -> dict[str, np.ndarray]:
    """Gradients of :func:`objective` by the name of what they belong to: weights, ``x``, ``state 0`` and so on."""
    names = [
        "x",
        *(f"state {index}" for index in range(len(state))),
        *(each.path for each in layer.trainable_variables),
    ]
    inputs = [ops.convert_to_tensor(value) for value in (x, *state)]
    if call.get("mask") is not None:
        call["mask"] = ops.convert_to_tensor(call["mask"])
    others = [variable.value for variable in layer.non_trainable_variables]

    def function(tensors: Any) -> Any:
        if state:
            call["initial_state"] = list(tensors[1 : len(inputs)])
        x = ops.cast(tensors[0], layer.compute_dtype)  # which a layer does only in an ordinary call
        results, _ = layer.stateless_call(list(tensors[len(inputs) :]), others, x, **call)
        return objective(tree.flatten(results))

    found = gradients(function, inputs + [variable.value for variable in layer.trainable_variables])
    return {name.split("/")[-1]: gradient for name, gradient in zip(names, found, strict=True)}


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Arrays, or lists or dictionaries of them, agree; the tolerance is a part of the largest expected number."""
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        actual, expected = list(actual.values()), list(expected.values())
    actual, expected = numpy_values(actual), numpy_values(expected)
    assert len(actual) == len(expected)
    for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
        one, other = one.astype("float64"), other.astype("float64")
        assert one.shape == other.shape
        scale = np.abs(other).max(initial=0)
        assert np.isfinite(scale)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale, err_msg=f"array {index}")
