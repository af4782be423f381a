"""GatedLSTM in the place of keras.layers.LSTM: the same answers, gradients and habits."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import numpy_lstm
import pytest
from backends import to_numpy
from comparisons import assert_close, draw, layer_gradients, numpy_values, randomize

from lstm_zoo.layers import GatedLSTM

BATCH, TIME, FEATURES, UNITS = 4, 6, 3, 4
SHAPE = (BATCH, TIME, FEATURES)
PATHS = ["reference", "scan"]
MASKS = {
    "right": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]],
    "left": [[1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1]],
    "middle": [[1, 1, 0, 0, 1, 1], [1, 0, 1, 0, 1, 0], [0, 1, 1, 0, 0, 1], [0, 0, 1, 1, 0, 0]],
    "whole rows": [[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]],
}
EVERYWHERE = {"return_sequences": True, "return_state": True}


def pair(path: str = "auto", shape: tuple[int | None, ...] = SHAPE, **arguments: Any) -> tuple[Any, GatedLSTM]:
    """Keras's layer and this one, built, with the same weights."""
    keras_lstm = keras.layers.LSTM(UNITS, use_cudnn=False, **arguments)
    layer = GatedLSTM(UNITS, implementation=path, **arguments)
    keras_lstm.build(shape)
    layer.build(shape)
    layer.set_weights(randomize(keras_lstm).get_weights())
    return keras_lstm, layer


def states(seed: int = 1) -> list[np.ndarray]:
    return [draw(BATCH, UNITS, seed=seed), draw(BATCH, UNITS, seed=seed + 1)]


def assert_alike(keras_lstm: Any, layer: GatedLSTM, tolerance: float = 1e-5, state: Any = (), **call: Any) -> None:
    """Values and gradients."""
    x = draw(*SHAPE)
    # Gradients first, as they leave a generator of dropout where it is.
    ours, theirs = (
        {name.split("/")[-1]: slope for name, slope in layer_gradients(each, x, state, **call).items()}
        for each in (layer, keras_lstm)
    )
    assert_close(ours, theirs, tolerance)
    initial = {"initial_state": state} if state else {}
    assert_close(layer(x, **initial, **call), keras_lstm(x, **initial, **call), tolerance)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"return_state": True},
        {"return_sequences": True},
        {**EVERYWHERE, "go_backwards": True},
        {**EVERYWHERE, "use_bias": False, "activation": "relu", "recurrent_activation": "hard_sigmoid"},
    ],
    ids=str,
)
def test_same_as_keras(arguments, path):
    assert_alike(*pair(path, **arguments), state=states())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", MASKS)
def test_masks(kind, path):
    assert_alike(*pair(path, **EVERYWHERE), state=states(), mask=np.array(MASKS[kind], bool))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "arguments",
    [{"go_backwards": True, **EVERYWHERE}, {"zero_output_for_mask": True, **EVERYWHERE}, {"return_sequences": False}],
    ids=["go_backwards", "zero_output_for_mask", "last output"],
)
def test_masks_with_other_arguments(arguments, path):
    assert_alike(*pair(path, **arguments), mask=np.array(MASKS["middle"], bool))


def test_unroll():
    keras_lstm, layer = pair(unroll=True, **EVERYWHERE)
    assert layer.explain(SHAPE).path == "reference"
    assert_alike(keras_lstm, layer, mask=np.array(MASKS["middle"], bool))


@pytest.mark.parametrize("path", PATHS)
def test_dropout_draws_as_keras_does(path):
    keras_lstm, layer = pair(path, seed=5, dropout=0.5, **EVERYWHERE)
    assert_alike(keras_lstm, layer, state=states(), training=True)
    x = draw(*SHAPE)
    assert_close(layer(x, training=True), keras_lstm(x, training=True))  # the second draw


@pytest.mark.parametrize("path", PATHS)
def test_recurrent_dropout_has_one_mask_a_sequence(path):
    """For all steps and gates, drawn with the layer's seed after the mask of the inputs."""
    layer = GatedLSTM(UNITS, dropout=0.3, recurrent_dropout=0.4, seed=5, implementation=path, **EVERYWHERE)
    layer.build(SHAPE)
    weights = {weight.name: to_numpy(weight) for weight in randomize(layer).weights}
    x, (h, c) = draw(*SHAPE), states()
    outputs = numpy_values(layer(x, initial_state=[h, c], training=True))
    again = numpy_values(layer(x, initial_state=[h, c], training=True))
    assert not np.allclose(outputs[0], again[0])
    without = numpy_lstm.run("vanilla", weights, x, state=[h, c])
    assert_close(layer(x, initial_state=[h, c]), [without[0], *without[1]])

    generator = keras.random.SeedGenerator(5)
    dropped, forgotten = (
        to_numpy(keras.random.dropout(np.ones(shape, "float32"), rate, seed=generator))
        for shape, rate in (((BATCH, FEATURES), 0.3), ((BATCH, UNITS), 0.4))
    )
    for t in range(TIME):
        plain = (None, lambda c: c, None, None)
        h, c, _ = numpy_lstm.step("vanilla", weights, x[:, t] * dropped, h * forgotten, c, *plain)
    assert_close(outputs[1:], [h, c])


@pytest.mark.parametrize("path", PATHS)
def test_stateful(path):
    keras_lstm, layer = pair(path, stateful=True, return_sequences=True)
    x = draw(*SHAPE)
    first = to_numpy(layer(x))
    assert_close(first, keras_lstm(x))
    second = to_numpy(layer(x))
    assert_close(second, keras_lstm(x))
    assert not np.allclose(first, second)
    layer.reset_state()
    assert_close(layer(x), first)


@pytest.mark.parametrize("merge_mode", ["concat", "sum"])
def test_bidirectional(merge_mode):
    both = []
    for make in (keras.layers.LSTM, GatedLSTM):
        both.append(keras.layers.Bidirectional(make(UNITS, **EVERYWHERE), merge_mode=merge_mode))
        both[-1].build(SHAPE)
    both[1].set_weights(randomize(both[0]).get_weights())
    assert type(both[1].backward_layer) is GatedLSTM
    mask = np.array(MASKS["middle"], bool)
    x = draw(*SHAPE)
    assert_close(both[1](x, mask=mask), both[0](x, mask=mask))
    assert_close(
        list(layer_gradients(both[1], x, mask=mask).values()), list(layer_gradients(both[0], x, mask=mask).values())
    )


def test_mask_of_an_embedding_arrives():
    words = np.array([[1, 2, 3, 0, 0, 0], [4, 0, 0, 0, 0, 0], [1, 1, 2, 2, 3, 3], [2, 0, 0, 0, 0, 0]])
    embedding = keras.layers.Embedding(5, FEATURES, mask_zero=True)
    keras_lstm, layer = pair(return_sequences=True)
    ours, theirs = (keras.Sequential([embedding, each])(words) for each in (layer, keras_lstm))
    assert_close(ours, theirs)
    np.testing.assert_array_equal(to_numpy(ours)[1, 1:], np.repeat(to_numpy(ours)[1, :1], 5, axis=0))


def trained(make: Any, weights: list[np.ndarray] | None, **arguments: Any) -> tuple[keras.Model, list[float]]:
    """A model of one recurrent layer after four steps of training, and its losses."""
    recurrent = make(UNITS, return_sequences=True, name="recurrent", **arguments)
    model = keras.Sequential([keras.Input((TIME, FEATURES)), recurrent, keras.layers.Dense(1, name="dense")])
    if weights is None:
        randomize(model)
    else:
        model.set_weights(weights)
    start = model.get_weights()
    model.compile(optimizer=keras.optimizers.SGD(0.2), loss="mse")
    x, y = draw(16, TIME, FEATURES), draw(16, TIME, 1)
    losses = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"]
    model.start = start
    return model, losses


def test_training_with_regularizers_and_constraints():
    arguments = {
        "kernel_regularizer": keras.regularizers.L2(0.1),
        "recurrent_regularizer": keras.regularizers.L1(0.1),
        "bias_regularizer": keras.regularizers.L2(0.3),
        "activity_regularizer": keras.regularizers.L2(0.1),
        "kernel_constraint": keras.constraints.MaxNorm(0.6),
        "recurrent_constraint": keras.constraints.NonNeg(),
        "bias_constraint": keras.constraints.MaxNorm(0.2),
    }
    theirs, their_losses = trained(keras.layers.LSTM, None, **arguments)
    ours, our_losses = trained(GatedLSTM, theirs.start, **arguments)
    plain, _ = trained(GatedLSTM, theirs.start)
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-5)
    assert_close(ours.get_weights(), theirs.get_weights())
    assert not np.allclose(ours.get_weights()[0], plain.get_weights()[0])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("mixed_float16", 5e-3), ("mixed_bfloat16", 4e-2), ("float64", 1e-12)]
)
def test_precision(dtype, tolerance, path):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has float64 only where the whole process asks for it")
    keras_lstm, layer = pair(path, dtype=dtype, **EVERYWHERE)
    outputs = layer(draw(*SHAPE))
    assert {keras.backend.standardize_dtype(each.dtype) for each in outputs} == {layer.compute_dtype}
    assert {weight.dtype for weight in layer.weights} == {layer.variable_dtype}
    if dtype == "float64":  # a scalar of float32 would blur the gradients
        assert_close(outputs, keras_lstm(draw(*SHAPE)), tolerance)
    else:
        assert_alike(keras_lstm, layer, tolerance, state=states(), mask=np.array(MASKS["middle"], bool))


def test_mixed_precision_trains():
    model, losses = trained(GatedLSTM, None, dtype="mixed_float16", gates="peephole", layer_normalization=True)
    assert np.isfinite(losses).all()
    assert losses[1] < losses[0]
    assert not np.allclose(model.get_weights()[0], model.start[0])


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_batch_and_time_may_be_unknown(path):
    keras_lstm, layer = pair(path, (None, None, FEATURES), return_sequences=True)
    masked = keras.Input((None,), dtype="bool")
    inputs = keras.Input((None, FEATURES))
    ours, theirs = (keras.Model([inputs, masked], each(inputs, mask=masked)) for each in (layer, keras_lstm))
    assert ours.output_shape == (None, None, UNITS)
    for batch, time in [(2, 3), (1, 5), (3, 1)]:
        data = [draw(batch, time, FEATURES), draw(batch, time) > -0.5]
        assert_close(ours.predict(data, verbose=0), theirs.predict(data, verbose=0))


def test_weights_move_to_keras_and_back():
    keras_lstm, layer = pair()
    weights = keras_lstm.get_weights()
    randomize(layer, seed=7)
    keras_lstm.set_weights(layer.get_weights())
    assert_close(keras_lstm(draw(*SHAPE)), layer(draw(*SHAPE)))
    layer.set_weights(weights)
    for ours, theirs in zip(layer.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("arguments", [{"units": 5}, {"gates": "no_input_gate"}, {"gates": "peephole"}], ids=str)
def test_weights_of_another_shape_are_refused(arguments):
    keras_lstm, _ = pair()
    layer = GatedLSTM(**{"units": UNITS, **arguments})
    layer.build(SHAPE)
    before = layer.get_weights()
    with pytest.raises(ValueError, match="shape|weights"):
        layer.set_weights(keras_lstm.get_weights())
    for ours, theirs in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_begin_as_keras_has_them():
    arguments = {
        "kernel_initializer": keras.initializers.GlorotUniform(1),
        "recurrent_initializer": keras.initializers.Orthogonal(2),
        "bias_initializer": keras.initializers.RandomNormal(seed=3),
    }
    for unit_forget_bias in (True, False):
        theirs = keras.layers.LSTM(UNITS, unit_forget_bias=unit_forget_bias, **arguments)
        ours = GatedLSTM(UNITS, unit_forget_bias=unit_forget_bias, **arguments)
        theirs.build(SHAPE)
        ours.build(SHAPE)
        for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


UNUSUAL: dict[str, Any] = {
    "units": 5,
    "gates": "peephole",
    "activation": "relu",
    "recurrent_activation": "hard_sigmoid",
    "kernel_initializer": keras.initializers.Constant(0.5),
    "recurrent_initializer": "glorot_normal",
    "bias_initializer": "ones",
    "unit_forget_bias": False,
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "recurrent_regularizer": "l1",
    "bias_regularizer": "l2",
    "activity_regularizer": "l1",
    "kernel_constraint": keras.constraints.MaxNorm(0.5),
    "recurrent_constraint": "non_neg",
    "bias_constraint": "non_neg",
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 9,
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "zero_output_for_mask": True,
    "use_cudnn": False,
    "peepholes": ["forget"],
    "peephole_initializer": "ones",
    "projection_units": 3,
    "projection_initializer": "ones",
    "cell_clip": 3.0,
    "projection_clip": 2.0,
    "layer_normalization": "per_gate",
    "zoneout_cell": 0.3,
    "zoneout_hidden": 0.4,
    "cell_activation": "tanh",
    "forget_bias": "chrono",
    "longest_dependency": 20,
    "rematerialize": True,
    "jit_compile": False,
    "implementation": "scan",
    "trainable": False,
    "dtype": "float64",
    "name": "unusual",
}
ALONE = {"unroll": True, "use_bias": False}  # cannot be had with the others
OF_KERAS = set(inspect.signature(keras.layers.LSTM).parameters) | {"zero_output_for_mask"}


def test_config_holds_every_argument():
    layer = GatedLSTM(**UNUSUAL)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is GatedLSTM
    assert again.get_config() == layer.get_config() == GatedLSTM.from_config(layer.get_config()).get_config()
    usual = GatedLSTM(4).get_config()
    for name in UNUSUAL:
        assert again.get_config()[name] != usual[name], name
    alone = GatedLSTM.from_config(GatedLSTM(4, **ALONE).get_config())
    assert (alone.unroll, alone.use_bias) == (True, False)
    assert set(usual) <= set(UNUSUAL) | set(ALONE) | {"heads"}
    assert OF_KERAS - {"kwargs"} <= set(usual)


def test_defaults_are_keras_own():
    theirs, ours = keras.layers.LSTM(4, name="a").get_config(), GatedLSTM(4, name="a").get_config()
    assert {name: ours[name] for name in theirs} == theirs
    assert GatedLSTM(4).recurrent_activation is keras.layers.LSTM(4).recurrent_activation


def model_of_many() -> keras.Model:
    inputs = keras.Input((None, FEATURES))
    x = GatedLSTM(4, "full_gate_recurrence", layer_normalization=True, return_sequences=True)(inputs)
    x = keras.layers.Bidirectional(GatedLSTM(3, "peephole", projection_units=2, return_sequences=True))(x)
    x = GatedLSTM(3, "coupled_input_forget", layer_normalization="per_gate", zoneout_cell=0.1, cell_clip=1)(x)
    return randomize(keras.Model(inputs, x))


def test_clone():
    model = model_of_many()
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x = draw(*SHAPE)
    assert_close(clone(x), model(x))
    assert not set(map(id, clone.weights)) & set(map(id, model.weights))


def test_loads_in_a_new_process_without_custom_objects(tmp_path):
    model, x = model_of_many(), draw(*SHAPE)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    program = """
import sys
import lstm_zoo.layers
import keras, numpy
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
numpy.save(sys.argv[1] + "/y.npy", model.predict(numpy.load(sys.argv[1] + "/x.npy"), verbose=0))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert_close(np.load(tmp_path / "y.npy"), model(x))
