"""The sLSTM against its recurrent definition, without stabiliser, in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from backends import gradients, to_numpy
from keras import ops

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers import SLSTM, GatedLSTM

BATCH, TIME, FEATURES, UNITS = 2, 6, 3, 4


def defined(x: np.ndarray, layer: SLSTM, exponential: bool) -> list[np.ndarray]:
    """Equations 8 to 13 of the paper as they stand, in float64: outputs, and the last ``h``, ``c`` and ``n``."""
    kernel, recurrent, bias = (np.float64(w) for w in layer.get_weights())
    recurrent = recurrent.reshape(layer.heads, UNITS // layer.heads, 4, -1)
    h, c, n, outputs = *np.zeros((3, len(x), UNITS)), []
    for t in range(x.shape[1]):
        heads = h.reshape(len(x), layer.heads, -1)
        fed_back = np.concatenate(
            [np.concatenate([heads[:, k] @ recurrent[k, :, b] for k in range(layer.heads)], 1) for b in range(4)], 1
        )
        i, f, g, o = np.split(np.float64(x[:, t]) @ kernel + fed_back + bias, 4, axis=1)
        i, o = np.exp(i), 1 / (1 + np.exp(-o))
        f = np.exp(f) if exponential else 1 / (1 + np.exp(-f))
        c = f * c + i * np.tanh(g)
        n = f * n + i
        h = o * c / n
        outputs.append(h)
    return [np.stack(outputs, 1), h, c, n]


def layer_and_input(scale: float = 1.0, **arguments: object) -> tuple[SLSTM, np.ndarray]:
    random = np.random.default_rng(0)
    layer = SLSTM(UNITS, return_sequences=True, return_state=True, **arguments)
    layer.build((BATCH, TIME, FEATURES))
    layer.set_weights([scale * random.normal(size=w.shape) for w in layer.get_weights()])
    return layer, random.normal(size=(BATCH, TIME, FEATURES)).astype("float32")


@pytest.mark.parametrize("forget_activation", ["sigmoid", "exponential"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("implementation", ["reference", "scan"])
def test_values_are_those_of_the_definition(implementation: str, heads: int, forget_activation: str) -> None:
    layer, x = layer_and_input(heads=heads, forget_activation=forget_activation, implementation=implementation)
    outputs, h, c, n, m = (to_numpy(y) for y in layer(x))
    expected = defined(x, layer, forget_activation == "exponential")
    for ours, theirs in zip((outputs, h, c * np.exp(m), n * np.exp(m)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_paths_have_the_same_gradients() -> None:
    scan, x = layer_and_input(heads=2, implementation="scan")
    reference, _ = layer_and_input(heads=2, implementation="reference")
    tensors = [ops.convert_to_tensor(value) for value in (x, *scan.get_weights())]
    weight = ops.convert_to_tensor(np.random.default_rng(1).normal(size=(BATCH, TIME, UNITS)).astype("float32"))

    def loss(layer: SLSTM):  # type: ignore[no-untyped-def]
        def of(tensors):  # type: ignore[no-untyped-def]
            y = layer.stateless_call(tensors[1:], layer.non_trainable_variables, tensors[0])[0]
            return ops.sum(y[0] * weight) + ops.sum(y[2])

        return of

    for ours, theirs in zip(gradients(loss(scan), tensors), gradients(loss(reference), tensors), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_extreme_gates_stay_finite() -> None:
    layer, x = layer_and_input(scale=60.0, forget_activation="exponential")
    tensors = [ops.convert_to_tensor(value) for value in (x, *layer.get_weights())]

    def loss(tensors):  # type: ignore[no-untyped-def]
        return ops.sum(layer.stateless_call(tensors[1:], layer.non_trainable_variables, tensors[0])[0][0])

    assert all(np.isfinite(to_numpy(y)).all() for y in layer(x))
    assert all(np.isfinite(g).all() for g in gradients(loss, tensors))


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_forgets(dtype: str) -> None:
    """An old input of great weight, then others: the stabiliser is rounded, but the forgetting is not lost by it."""
    x = np.concatenate([np.ones((1, 20, 1)), -np.ones((1, 400, 1))], axis=1).astype("float32")
    outputs = []
    for policy in ("float32", dtype):
        layer = SLSTM(1, dtype=policy)
        layer.build(x.shape)
        layer.set_weights([np.array([[2.0, 0, 2, 0]]), np.zeros((1, 4)), np.array([3.0, 4, 0, 5])])
        outputs.append(to_numpy(ops.cast(layer(x), "float32")))
    assert outputs[0] < -0.9  # it began with more than 0.9
    assert outputs[1] < -0.6


def test_a_head_does_not_see_another() -> None:
    layer, x = layer_and_input(heads=2)
    states = [np.random.default_rng(2).normal(size=(BATCH, UNITS)).astype("float32") for _ in range(4)]
    states[2] = np.abs(states[2]) + 1
    once = to_numpy(layer(x, initial_state=[ops.convert_to_tensor(s) for s in states])[0])
    states[0][:, 2:] += 1  # h of the second head
    again = to_numpy(layer(x, initial_state=[ops.convert_to_tensor(s) for s in states])[0])
    np.testing.assert_array_equal(once[:, :, :2], again[:, :, :2])
    assert np.abs(once[:, :, 2:] - again[:, :, 2:]).max() > 1e-3


def test_steps_one_by_one_are_the_whole() -> None:
    layer, x = layer_and_input()
    whole, *last = layer(x)
    states = None
    for t in range(TIME):
        output, *states = layer(x[:, t : t + 1], initial_state=states)
        np.testing.assert_allclose(to_numpy(output[:, 0]), to_numpy(whole[:, t]), rtol=1e-5, atol=1e-6)
    for one, other in zip(states, last, strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), rtol=1e-5, atol=1e-6)


def test_config_round_trip() -> None:
    layer, x = layer_and_input(heads=2, forget_activation="exponential")
    again = SLSTM.from_config(layer.get_config())
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(to_numpy(layer(x)[0]), to_numpy(again(x)[0]))
    assert keras.saving.get_registered_name(SLSTM) == "lstm_zoo>SLSTM"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"forget_activation": "tanh"}, "forget_activation='tanh': expected one of 'sigmoid', 'exponential'"),
        ({"heads": 3}, "heads=3 does not divide units=4"),
        ({"heads": 0}, "heads=0: expected a positive integer"),
        ({"peepholes": True}, "'slstm' has no use for peepholes"),
        ({"gates": "vanilla"}, "gates= is fixed"),
        ({"cell_clip": 1.0}, "cell_clip=1.0: 'slstm' cannot have it"),
        ({"zoneout_cell": 0.1}, "zoneout_cell=0.1: 'slstm' cannot have it"),
        ({"cell_activation": "tanh"}, "'slstm' cannot have it"),
        ({"heads": 2, "projection_units": 2}, "neither projection nor feedback"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        SLSTM(UNITS, **arguments)


def test_peepholes_are_refused_by_name_too() -> None:
    with pytest.raises(InvalidInputError, match="no use for peepholes"):
        GatedLSTM(UNITS, gates="slstm", peepholes=("input",))
