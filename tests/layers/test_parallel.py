"""What every layer that computes its sequence at once shares with keras.layers.LSTM: calls, masks, states, saving."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import BACKEND, double_precision, gradients, to_numpy
from comparisons import assert_close, draw, numpy_values, randomize

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.min_lstm import MinLSTM
from lstm_zoo.layers.mlstm import MLSTM
from lstm_zoo.layers.parallel import repeat_last_valid

BATCH, TIME, FEATURES, UNITS = 4, 7, 3, 4
LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "min": (MinLSTM, {}),
    "matrix": (MLSTM, {"heads": 2, "chunk_size": 3}),
    "matrix, exponential": (MLSTM, {"chunk_size": 3, "forget_activation": "exponential", "forget_bias": (-2, -1)}),
}
EVERYWHERE = {"return_sequences": True, "return_state": True}
# Left, middle and right padding, and a row of nothing else.
MASK = np.array([[0, 0, 1, 1, 1, 1, 1], [1, 0, 0, 1, 0, 1, 1], [1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]], bool)

each_layer = pytest.mark.parametrize("name", LAYERS)


def make(name: str, **arguments: Any) -> Any:
    layer, own = LAYERS[name]
    layer = layer(UNITS, **{**own, **arguments})
    layer.build((BATCH, TIME, FEATURES))
    return randomize(layer)


def some_state(name: str) -> list[np.ndarray]:
    """What the layer remembers of another sequence."""
    return numpy_values(make(name, return_state=True)(draw(BATCH, 2, FEATURES, seed=9))[1:])


def layer_gradients(layer: Any, x: np.ndarray, state: Any = (), **call: Any) -> list[np.ndarray]:
    """Those of a weighted sum of the outputs of two calls, the second with the states of the first; for input,
    weights and first states. So the states count as what they mean: a scale moved from C and n to m changes nothing."""
    weights = [variable.value for variable in layer.trainable_variables]

    def function(tensors: Any) -> Any:
        x, trained, state = tensors[0], tensors[1 : 1 + len(weights)], tensors[1 + len(weights) :]
        (first, *state), _ = layer.stateless_call(trained, [], x, initial_state=list(state) or None, **call)
        (second, *_), _ = layer.stateless_call(trained, [], x[:, ::2], initial_state=state)
        factors = keras.ops.convert_to_tensor(draw(*first.shape, seed=1))
        outputs = keras.ops.cast(first, "float32") + keras.ops.cast(second[:, -1:], "float32")
        return keras.ops.sum(outputs * factors)

    return gradients(function, [x, *weights, *state])


@each_layer
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("go_backwards", [False, True], ids=["", "backwards"])
def test_scan_and_steps_agree_in_values_and_gradients(name: str, masked: bool, go_backwards: bool) -> None:
    scan, steps = (
        make(name, implementation=path, go_backwards=go_backwards, **EVERYWHERE) for path in ("scan", "sequential")
    )
    x, call = draw(BATCH, TIME, FEATURES), {"mask": MASK} if masked else {}
    state = some_state(name)
    assert_close(scan(x, **call), steps(x, **call))
    assert_close(scan(x, initial_state=state, **call), steps(x, initial_state=state, **call))
    assert_close(layer_gradients(scan, x, state, **call), layer_gradients(steps, x, state, **call))


@each_layer
@pytest.mark.parametrize("path", ["scan", "sequential"])
def test_masked_steps_change_nothing(name: str, path: str) -> None:
    layer = make(name, implementation=path, **EVERYWHERE)
    x, state = draw(BATCH, TIME, FEATURES), some_state(name)
    outputs, *states = numpy_values(layer(x, initial_state=state, mask=MASK))
    for row, valid in enumerate(MASK):
        expected, last = np.zeros((TIME, UNITS)), [each[row : row + 1] for each in state]
        for t in range(TIME):
            if valid[t]:
                output, *last = numpy_values(layer(x[row : row + 1, t : t + 1], initial_state=last))
                expected[t:] = output
        np.testing.assert_allclose(outputs[row], expected, atol=1e-6)
        for one, other in zip(states, last, strict=True):
            np.testing.assert_allclose(one[row : row + 1], other, atol=1e-5, rtol=1e-5)


@each_layer
def test_zero_output_for_mask(name: str) -> None:
    x = draw(BATCH, TIME, FEATURES)
    repeated = make(name, return_sequences=True)(x, mask=MASK)
    zeros = make(name, return_sequences=True, zero_output_for_mask=True)(x, mask=MASK)
    assert_close(zeros, to_numpy(repeated) * MASK[..., None])
    assert_close(make(name)(x, mask=MASK), to_numpy(repeated)[:, -1])


@each_layer
@pytest.mark.parametrize("path", ["scan", "sequential"])
def test_carried_states_make_one_sequence_of_many(name: str, path: str) -> None:
    layer = make(name, implementation=path, **EVERYWHERE)
    stateful = make(name, implementation=path, stateful=True)
    x = draw(BATCH, TIME, FEATURES)
    state, outputs = None, []
    for t in range(TIME):
        output, *state = layer(x[:, t : t + 1], initial_state=state)
        outputs.append(to_numpy(output))
        assert_close(stateful(x[:, t : t + 1]), outputs[-1][:, 0])
    whole, *last = numpy_values(layer(x))
    assert_close(np.concatenate(outputs, axis=1), whole)
    assert_close(stateful.states[0], last[0])
    stateful.reset_state()
    assert_close(stateful(x[:, :1]), outputs[0][:, 0])


@each_layer
def test_double_precision_is_accepted(name: str) -> None:
    expected = make(name, **EVERYWHERE)(draw(BATCH, TIME, FEATURES))
    with double_precision():
        double = make(name, dtype="float64", **EVERYWHERE)(draw(BATCH, TIME, FEATURES))
        assert {keras.backend.standardize_dtype(each.dtype) for each in double} == {"float64"}
        assert_close(double, expected)


@each_layer
def test_zeros_are_the_initial_state(name: str) -> None:
    layer, x = make(name, **EVERYWHERE), draw(BATCH, TIME, FEATURES)
    zeros = layer.get_initial_state(BATCH)
    assert_close(layer(x, initial_state=zeros), layer(x))
    assert [tuple(each.shape) for each in layer(x)] == list(layer.compute_output_shape(x.shape))


@each_layer
def test_any_length_and_batch_in_a_model(name: str) -> None:
    x = keras.Input((None, FEATURES))
    layer = make(name, return_sequences=True)
    model = keras.Model(x, layer(keras.layers.Masking()(x)))
    assert model.output_shape == (None, None, UNITS)
    for batch, time in ((2, 1), (3, 5), (1, 130)):
        x = draw(batch, time, FEATURES)
        x[0, time // 2 :] = 0  # masked, if there is anything before
        expected = layer(x, mask=np.any(x != 0, axis=-1))
        assert_close(model.predict(x, verbose=0), expected)


@each_layer
def test_trains_in_a_bidirectional_wrapper(name: str) -> None:
    wrapper = keras.layers.Bidirectional(make(name, return_sequences=True))
    x = draw(BATCH, TIME, FEATURES)
    wrapper.build(x.shape)
    randomize(wrapper)
    one, other = make(name, return_sequences=True), make(name, return_sequences=True)
    one.set_weights(wrapper.forward_layer.get_weights())
    other.set_weights(wrapper.backward_layer.get_weights())
    ahead, back = to_numpy(one(x)), to_numpy(other(x[:, ::-1].copy()))[:, ::-1]
    assert_close(wrapper(x), np.concatenate([ahead, back], axis=-1))
    assert_close(np.any(to_numpy(wrapper(x, mask=MASK))[3]), np.array(False))

    model = keras.Sequential([wrapper, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    before = wrapper.get_weights()
    history = model.fit(x, draw(BATCH, TIME, 1), epochs=8, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert all(np.any(a != b) for a, b in zip(before, wrapper.get_weights(), strict=True))


@each_layer
def test_saved_model_gives_the_same_answers_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"use_bias": False, "kernel_regularizer": "l2", "kernel_constraint": "non_neg"}
    layer = make(name, kernel_initializer="ones", **arguments)
    config = layer.get_config()
    assert config["use_bias"] is False
    assert config["kernel_initializer"]["class_name"] == "Ones"
    assert type(layer).from_config(config).get_config() == config
    x = draw(BATCH, TIME, FEATURES)
    model = keras.Sequential([keras.Input((None, FEATURES)), make(name, return_sequences=True)])
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    program = """
import keras, numpy
import lstm_zoo.layers.min_lstm, lstm_zoo.layers.mlstm
numpy.save("y.npy", keras.saving.load_model("model.keras").predict(numpy.load("x.npy"), verbose=0))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert_close(np.load(tmp_path / "y.npy"), model(x))


@each_layer
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_mixed_precision(name: str, half: str) -> None:
    layer, mixed = make(name, **EVERYWHERE), make(name, dtype=f"mixed_{half}", **EVERYWHERE)
    x = draw(BATCH, 300, FEATURES)
    expected = numpy_values(layer(x))
    actual = mixed(x)
    assert {keras.backend.standardize_dtype(each.dtype) for each in actual} == {half}
    # A state handed on in half precision says the same as the whole sequence.
    first = mixed(x[:, :200])
    rest = mixed(x[:, 200:], initial_state=list(first[1:]))
    for outputs, right in ((actual[0], expected[0]), (rest[0], expected[0][:, 200:])):
        error = np.abs(to_numpy(keras.ops.cast(outputs, "float32")) - right) / (1 + np.abs(right))
        # Not all: where the divisor of the matrix memory is almost zero, any rounding shows.
        assert np.quantile(error, 0.95) < (0.01 if half == "float16" else 0.05)
    if (name, half) != ("matrix, exponential", "float16"):  # its gradients are larger than any such number
        assert all(np.isfinite(each).all() for each in layer_gradients(mixed, x))


@each_layer
@pytest.mark.parametrize("size", [50.0, 200.0])
def test_extreme_gates_stay_finite(name: str, size: float) -> None:
    x = np.sign(draw(BATCH, 40, FEATURES)) * size
    state = some_state(name)
    for path in ("scan", "sequential"):
        layer = make(name, implementation=path, **EVERYWHERE)
        kernel, bias = layer.get_weights()
        layer.set_weights([np.sign(kernel) * (np.arange(kernel.size).reshape(kernel.shape) % 3 == 0), bias])
        for call in ({}, {"mask": np.arange(40) % 3 > np.arange(BATCH)[:, None] % 3}):
            assert all(np.isfinite(each).all() for each in numpy_values(layer(x, **call)))
            assert all(np.isfinite(each).all() for each in layer_gradients(layer, x, state, **call))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the others have no unknown lengths in compiled functions")
@each_layer
def test_unknown_length_in_a_graph(name: str) -> None:
    import tensorflow as tf

    layer = make(name, **EVERYWHERE)

    def step(x: Any, mask: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            results = layer(x, mask=mask)
            loss = sum(tf.reduce_sum(each**2) for each in results)
        return [*results, tape.gradient(loss, x)]

    signature = [tf.TensorSpec((None, None, FEATURES)), tf.TensorSpec((None, None), tf.bool)]
    for compiled in (False, True):
        run = tf.function(step, input_signature=signature, jit_compile=compiled)
        for x, mask in ((draw(BATCH, TIME, FEATURES), MASK), (draw(1, 131, FEATURES), np.arange(131)[None] % 5 > 0)):
            x, mask = tf.constant(x), tf.constant(mask)
            assert_close(run(x, mask), step(x, mask), 3e-4)  # the exponential one squares large numbers


@each_layer
def test_bad_input(name: str) -> None:
    layer, own = LAYERS[name]
    for units in (0, -1, 2.5, "4", True, None):
        with pytest.raises(InvalidInputError, match=f"units={units!r}"):
            layer(units, **own)
    with pytest.raises(InvalidInputError, match="implementation='fast'"):
        layer(UNITS, implementation="fast", **own)
    for shape in ((BATCH, FEATURES), (BATCH, TIME, None), (BATCH, TIME, 2, FEATURES)):
        with pytest.raises(InvalidInputError, match="batch, time, features"):
            layer(UNITS, **own).build(shape)


def test_repeat_last_valid() -> None:
    outputs = np.arange(1.0, 29.0, dtype="float32").reshape(4, 7, 1)
    expected = [[0, 0, 3, 4, 5, 6, 7], [8, 8, 8, 11, 11, 13, 14], [15, 16, 17, 18, 18, 18, 18], [0] * 7]
    np.testing.assert_array_equal(
        to_numpy(repeat_last_valid(keras.ops.convert_to_tensor(outputs), MASK))[..., 0], expected
    )
