"""mLSTM against its equations in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends import gradients, to_numpy
from comparisons import assert_close, draw, numpy_values, randomize
from keras import ops

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.mlstm import MLSTM

PATHS = ["scan", "sequential"]
EVERYWHERE = {"return_sequences": True, "return_state": True}


def sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0, -x))


def by_the_paper(layer: MLSTM, x: np.ndarray, kernel: np.ndarray, bias: Any = 0.0, memory: Any = None) -> Any:
    """Beck et al. 2024, equations 19 to 27, in float64 and without stabiliser: outputs, C and n at the end."""
    batch, time, _ = x.shape
    units, heads = layer.cell.units, layer.cell.heads
    size = units // heads
    z = x.astype("float64") @ kernel + bias
    C, n = (np.zeros((batch, heads, size, size)), np.zeros((batch, heads, size))) if memory is None else memory  # noqa: N806
    outputs = np.zeros((batch, time, units))
    for t in range(time):
        q, k, v, o = (z[:, t, block * units : (block + 1) * units].reshape(batch, heads, size) for block in range(4))
        k = k / np.sqrt(size)
        i, f = np.split(z[:, t, 4 * units :], 2, axis=-1)
        i, f = np.exp(i), sigmoid(f) if layer.cell.forget_activation == "sigmoid" else np.exp(f)
        C = f[..., None, None] * C + i[..., None, None] * k[..., :, None] * v[..., None, :]  # noqa: N806
        n = f[..., None] * n + i[..., None] * k
        least = np.maximum(np.abs(np.sum(n * q, axis=-1)), 1)[..., None]
        outputs[:, t] = (sigmoid(o) * np.einsum("bhkv,bhk->bhv", C, q) / least).reshape(batch, units)
    return outputs, C, n


def unscaled(states: Any) -> list[np.ndarray]:
    """C and n as the paper has them."""
    C, n, m = numpy_values(states)  # noqa: N806
    return [C * np.exp(m)[..., None, None], n * np.exp(m)[..., None]]


def make(heads: int = 2, features: int = 3, seed: int = 0, **arguments: Any) -> MLSTM:
    layer = MLSTM(6, heads, **{"chunk_size": 4, **EVERYWHERE, **arguments})
    layer.build((None, None, features))
    return randomize(layer, seed)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("forget_activation", ["sigmoid", "exponential"])
@pytest.mark.parametrize("heads", [1, 2, 6])
@pytest.mark.parametrize("time", [1, 4, 11])
def test_equations(path: str, forget_activation: str, heads: int, time: int) -> None:
    layer, x = make(heads, implementation=path, forget_activation=forget_activation), draw(3, time, 3)
    weights = layer.get_weights()
    expected = by_the_paper(layer, x, *weights)
    output, *states = layer(x)
    assert_close([output, *unscaled(states)], list(expected), 1e-5)
    # The same sequence once more, with what is remembered of it.
    again, *states = layer(x, initial_state=states)
    assert_close([again, *unscaled(states)], list(by_the_paper(layer, x, *weights, memory=expected[1:])), 1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_long_sequences(path: str) -> None:
    layer, x = make(implementation=path, chunk_size=64), draw(3, 300, 3)
    output, *states = layer(x)
    assert_close([output, *unscaled(states)], list(by_the_paper(layer, x, *layer.get_weights())), 2e-6)


@pytest.mark.parametrize("forget_activation", ["sigmoid", "exponential"])
def test_gradients_are_those_of_the_equations(forget_activation: str) -> None:
    """By finite differences of the definition in float64, which has no stabiliser."""
    factors = draw(2, 9, 6, seed=1)
    layer = make(forget_activation=forget_activation, return_state=False)
    x, weights = draw(2, 9, 3), layer.get_weights()

    def function(tensors: Any) -> Any:
        outputs, _ = layer.stateless_call(tensors[1:], [], tensors[0])
        return ops.sum(outputs * ops.convert_to_tensor(factors))

    found = gradients(function, [x, *weights])

    generator = np.random.default_rng(0)
    for index, gradient in enumerate(found):
        direction = generator.normal(size=gradient.shape)
        values = []
        for sign in (1, -1):
            arguments = [each.astype("float64") for each in (x, *weights)]
            arguments[index] = arguments[index] + sign * 1e-6 * direction
            values.append(np.sum(by_the_paper(layer, *arguments)[0] * factors))
        np.testing.assert_allclose(np.sum(gradient * direction), (values[0] - values[1]) / 2e-6, rtol=1e-4)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [50.0, 200.0])
def test_extreme_gates(path: str, size: float) -> None:
    """Input gates of exp(200) overflow float32 by far, and yet the right values come out."""
    layer = make(heads=2, features=28, implementation=path, use_bias=False, chunk_size=16)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3, 50, 28)).astype("float32")
    x[..., 24:] = generator.choice([-size, -1, 0, 1, size], size=(3, 50, 4))
    layer.set_weights([np.eye(28)])
    expected = by_the_paper(layer, x, np.eye(28))[0]
    np.testing.assert_allclose(to_numpy(layer(x)[0]), expected, rtol=5e-4, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_empty_memory_is_empty_whatever_its_stabiliser(path: str) -> None:
    """Also where the forget gates, which multiply nothing, are exp(200)."""
    layer = make(features=28, implementation=path, use_bias=False, forget_activation="exponential")
    x = draw(3, 2, 28)
    x[:, 0, 26:] = 200.0
    x[:, :, 24:26] = -100.0  # input gates, far below
    layer.set_weights([np.eye(28)])
    zeros = [np.zeros(shape, "float32") for shape in ((3, 2, 3, 3), (3, 2, 3), (3, 2))]
    expected = by_the_paper(layer, x, np.eye(28))[0]
    for m in (0.0, 100.0, -100.0):
        output = to_numpy(layer(x, initial_state=[*zeros[:2], zeros[2] + m])[0])
        np.testing.assert_allclose(output, expected, atol=1e-6)
    x[:, :, 24:26] = 3.0
    expected = by_the_paper(layer, x, np.eye(28))[0]
    assert np.abs(expected).max() > 0.1
    for m in (0.0, 100.0, -100.0):
        assert_close(layer(x, initial_state=[*zeros[:2], zeros[2] + m])[0], expected)


def test_chunks_change_nothing() -> None:
    x = draw(3, 21, 3)
    expected = make(chunk_size=1)(x)
    for chunk_size in (2, 7, 20, 64):
        assert_close(make(chunk_size=chunk_size)(x), expected)
        assert make(chunk_size=chunk_size).get_config()["chunk_size"] == chunk_size


def test_forget_gates_begin_open() -> None:
    for forget_bias, expected in (((3.0, 6.0), [3, 4, 5, 6]), (None, [0, 0, 0, 0])):
        layer = MLSTM(8, 4, forget_bias=forget_bias)
        layer.build((None, None, 3))
        kernel, bias = layer.get_weights()
        assert kernel.shape == (3, 40)
        np.testing.assert_allclose(bias, [0] * 36 + expected, rtol=1e-6)


def test_bad_input() -> None:
    for arguments, message in (
        ({"heads": 4}, "heads=4: expected a divisor of units=6"),
        ({"heads": 0}, "heads=0"),
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"chunk_size": 2.0}, "chunk_size=2.0"),
        ({"forget_activation": "tanh"}, "forget_activation='tanh'"),
        ({"forget_bias": 1.0}, "forget_bias=1.0: expected two numbers"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            MLSTM(6, **arguments)
