"""minLSTM against its equations in NumPy, and the scan it is computed by."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from backends import BACKEND, double_precision, gradients, to_numpy
from comparisons import assert_close, draw, randomize

from lstm_zoo.layers.min_lstm import STEPS, MinLSTM, from_blocks, linear_recurrence, to_blocks

PATHS = ["scan", "log_scan", "sequential"]


def sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0, -x))


def by_the_paper(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Feng et al. 2024, algorithms 3 and 8, in float64: the outputs ``[batch, time, units]``."""
    outputs = []
    for t in range(x.shape[1]):
        f, i, z = np.split(x[:, t].astype("float64") @ kernel + bias, 3, axis=-1)
        f, i = sigmoid(f), sigmoid(i)
        candidate = np.where(z >= 0, z + 0.5, sigmoid(z))
        h = f / (f + i) * h + i / (f + i) * candidate
        outputs.append(h)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("time", [1, 5, STEPS, STEPS + 1, 3 * STEPS - 1])
def test_equations(path: str, time: int) -> None:
    layer = MinLSTM(4, return_sequences=True, return_state=True, implementation=path)
    x, h = draw(3, time, 2), np.abs(draw(3, 4))
    layer.build(x.shape)
    weights = randomize(layer).get_weights()
    expected = by_the_paper(x, *weights, h)
    assert_close(layer(x, initial_state=[h]), [expected, expected[:, -1]], 1e-6)
    assert_close(layer(x)[0], by_the_paper(x, *weights, np.zeros((3, 4))), 1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_equations_at_extreme_gates(path: str) -> None:
    layer = MinLSTM(4, return_sequences=True, implementation=path, use_bias=False)
    x = np.random.default_rng(0).choice([-200.0, -50.0, 0.0, 50.0, 200.0], size=(3, 90, 12)).astype("float32")
    layer.build(x.shape)
    layer.set_weights([np.eye(12)])
    assert_close(layer(x), by_the_paper(x, np.eye(12), np.zeros(12), np.zeros((3, 4))), 1e-6)


@pytest.mark.parametrize("forget", [0.0, 9.0])
def test_long_sequences_stay_exact(forget: float) -> None:
    layer = MinLSTM(2, return_sequences=True)
    x = draw(1, 20_000, 3)
    layer.build(x.shape)
    kernel, bias = randomize(layer).get_weights()
    bias[:2] = forget  # with 9 it remembers thousands of steps
    layer.set_weights([kernel, bias])
    expected = by_the_paper(x, kernel, bias, np.zeros((1, 2)))
    np.testing.assert_allclose(to_numpy(layer(x)), expected, rtol=2e-5)


def test_gradients_are_those_of_the_recurrence() -> None:
    """By finite differences, in float64."""
    generator = np.random.default_rng(0)
    a, b, initial = (
        generator.uniform(size=(2, 130, 3)),
        generator.normal(size=(2, 130, 3)),
        generator.normal(size=(2, 3)),
    )
    upstream = generator.normal(size=(2, 130, 3))

    def value(a: np.ndarray, b: np.ndarray, h: np.ndarray) -> float:
        total = 0.0
        for t in range(a.shape[1]):
            h = a[:, t] * h + b[:, t]
            total += np.sum(h * upstream[:, t])
        return total

    def function(tensors: Any) -> Any:
        h = linear_recurrence(to_blocks(tensors[0]), to_blocks(tensors[1]), tensors[2])
        return keras.ops.sum(from_blocks(h, 130) * keras.ops.convert_to_tensor(upstream))

    with double_precision():
        found = gradients(function, [a, b, initial])
    for index, gradient in enumerate(found):
        direction = generator.normal(size=gradient.shape)
        moved = []
        for sign in (1, -1):
            arguments = [a, b, initial]
            arguments[index] = arguments[index] + sign * 1e-6 * direction
            moved.append(arguments)
        slope = (value(*moved[0]) - value(*moved[1])) / 2e-6
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-6)


def test_forget_gates_begin_open() -> None:
    for unit_forget_bias, expected in ((True, [1, 1, 0, 0, 0, 0]), (False, [0] * 6)):
        layer = MinLSTM(2, unit_forget_bias=unit_forget_bias)
        layer.build((None, None, 3))
        np.testing.assert_array_equal(layer.get_weights()[1], expected)
        assert layer.get_weights()[0].shape == (3, 6)


@pytest.mark.skipif(BACKEND != "torch", reason="a matter of PyTorch's reference counts")
def test_nothing_is_left_behind() -> None:
    import gc

    import torch

    def tensors() -> int:
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    layer, x = MinLSTM(4, return_sequences=True), keras.ops.convert_to_tensor(draw(2, 5, 3))
    layer(x).sum().backward()
    gc.collect()
    before = tensors()
    for _ in range(3):
        layer(x).sum().backward()
    gc.collect()
    assert tensors() == before
