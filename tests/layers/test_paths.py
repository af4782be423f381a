"""Which path runs, why no other one does, and what is refused before anything is computed."""

from __future__ import annotations

from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers import GatedLSTM, paths


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorFlow saw one."""
    monkeypatch.setattr(paths, "_sees_gpu", lambda: True)


OBSTACLES: list[tuple[dict[str, Any], str]] = [
    ({"gates": "no_input_gate"}, "cuDNN has the vanilla gates alone, and these are 'no_input_gate'"),
    ({"peepholes": True}, "peephole_gates"),
    ({"projection_units": 2}, "projection_units=2"),
    ({"cell_clip": 1.0}, "cell_clip=1.0"),
    ({"layer_normalization": True}, "layer_normalization=True"),
    ({"zoneout_cell": 0.1}, "zoneout_cell=0.1"),
    ({"zoneout_hidden": 0.1}, "zoneout_hidden=0.1"),
    ({"activation": "relu"}, "activation is not 'tanh'"),
    ({"recurrent_activation": "hard_sigmoid"}, "recurrent_activation is not 'sigmoid'"),
    ({"cell_activation": "tanh"}, "cell_activation is not 'linear'"),
    ({"use_bias": False}, "use_bias=False"),
    ({"unroll": True}, "unroll=True"),
    ({"rematerialize": True}, "rematerialize=True is the scan's"),
    ({"recurrent_dropout": 0.2}, "recurrent_dropout=0.2"),
    ({"dtype": "bfloat16"}, "not bfloat16"),
    ({"use_cudnn": False}, "use_cudnn=False"),
]


@pytest.mark.parametrize(("arguments", "reason"), OBSTACLES)
def test_each_obstacle_to_cudnn_is_named(arguments: dict[str, Any], reason: str, gpu: None) -> None:
    assert reason in GatedLSTM(4, **arguments).explain((2, 5, 3)).reasons["cudnn"]
    if "use_cudnn" not in arguments:
        with pytest.raises(InvalidInputError, match="implementation='cudnn' cannot run") as caught:
            GatedLSTM(4, implementation="cudnn", **arguments)
        assert reason in str(caught.value)


def test_a_gpu_makes_the_difference(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = GatedLSTM(4, dropout=0.1, forget_bias="zero")
    assert layer.explain((2, 5, 3)).path == "cudnn"
    assert not layer.supports_jit  # cuDNN's kernels cannot be compiled by XLA
    masked = layer.explain((2, 5, 3), masked=True)
    assert (masked.path, "a mask" in masked.reasons["cudnn"]) == ("scan", True)
    monkeypatch.setattr(paths, "_sees_gpu", lambda: False)
    layer = GatedLSTM(4)
    assert layer.explain((2, 5, 3)).reasons["cudnn"] == "TensorFlow sees no GPU"
    assert layer.supports_jit


@pytest.mark.parametrize("arguments", [{"implementation": "cudnn"}, {"use_cudnn": True}])
def test_cudnn_without_a_gpu_is_refused_when_the_layer_is_made(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "_sees_gpu", lambda: False)
    with pytest.raises(InvalidInputError, match="cannot run in .*: TensorFlow sees no GPU; implementation='auto'"):
        GatedLSTM(4, **arguments)


@pytest.mark.parametrize("arguments", [{}, {"go_backwards": True, "return_sequences": True}])
def test_cudnn_gets_what_keras_gives_it(arguments: dict[str, Any], gpu: None) -> None:
    """Keras's own function is called, with the weights and states; a stand-in computes what cuDNN would."""
    built_in = keras.layers.LSTM(4, use_cudnn=False, return_state=True, **arguments)
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    expected = built_in(x)
    seen = {}

    def cudnn(inputs: Any, h: Any, c: Any, kernel: Any, recurrent: Any, bias: Any, mask: Any, *rest: Any) -> Any:
        seen["weights"] = [kernel, recurrent, bias]
        assert mask is None
        time_major, go_backwards, return_sequences = rest
        assert (time_major, go_backwards, return_sequences) == (
            False,
            built_in.go_backwards,
            built_in.return_sequences,
        )
        output, h, c = expected
        return h, output if return_sequences else h[:, None], [h, c]

    rnn = __import__("importlib").import_module("keras.src.backend.tensorflow.rnn")
    with mock.patch.object(rnn, "_is_gpu_available", return_value=True), mock.patch.object(rnn, "_cudnn_lstm", cudnn):
        layer = GatedLSTM(4, return_state=True, **arguments)
        layer.build(x.shape)
        layer.set_weights(built_in.get_weights())
        results = layer(x)
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    for ours, theirs in zip(seen["weights"], built_in.get_weights(), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), theirs)


def test_a_mask_is_refused_where_cudnn_was_asked_for(gpu: None) -> None:
    layer = GatedLSTM(4, implementation="cudnn")
    with pytest.raises(InvalidInputError, match="a mask"):
        layer(np.ones((2, 5, 3), "float32"), mask=np.ones((2, 5), bool))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"implementation": "scan", "unroll": True}, "unroll=True asks for a graph without a loop"),
        ({"implementation": "reference", "rematerialize": True}, "rematerialize=True is the scan's"),
        ({"rematerialize": True, "unroll": True}, "cannot be computed in any way"),
        ({"implementation": "fast"}, "expected one of 'auto', 'cudnn', 'scan', 'reference'"),
        ({"use_cudnn": "no"}, "use_cudnn='no'"),
        ({"jit_compile": "no"}, "jit_compile='no'"),
        ({"rematerialize": "no"}, "rematerialize='no'"),
        ({"forget_bias": "one", "use_bias": False}, "there is no bias to set"),
    ],
)
def test_impossible_combinations(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        GatedLSTM(4, **arguments)


def test_paths_and_notes_of_a_plain_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_sees_gpu", lambda: False)
    layer = GatedLSTM(4, name="layer")
    known, unknown = layer.explain((2, 5, 3)), layer.explain((2, None, 3))
    assert known.path == unknown.path == "scan"
    assert known.reasons["reference"] == "auto took 'scan'"
    assert "compiled by XLA" in known.notes[0]
    assert "give the Input a length" in unknown.notes[0]
    assert str(known).startswith("layer (gates='vanilla', units=4) runs as 'scan'\n")
    assert GatedLSTM(4, unroll=True).explain((2, 5, 3)).path == "reference"
    with pytest.raises(InvalidInputError, match=r"expected \(batch, time, features\)"):
        layer.explain((5, 3))


@pytest.mark.parametrize(
    ("choice", "length", "training", "expected"),
    [
        ("auto", 5, False, True), ("auto", None, True, False),
        ("training", 5, False, True), ("training", None, True, True), ("training", None, False, False),
        (True, None, False, True), (False, 5, True, False),
    ],
)  # fmt: skip
def test_what_is_compiled(choice: Any, length: int | None, training: bool, expected: bool) -> None:
    assert paths.compiles(GatedLSTM(4, jit_compile=choice), length, training) is expected


def test_compiled_in_training_with_a_length_that_is_not_known() -> None:
    import tensorflow as tf

    layer = GatedLSTM(4, jit_compile="training")
    layer.build((None, None, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3])])
    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(loss, layer.trainable_variables[0].value)

    plain = GatedLSTM.from_config(layer.get_config() | {"jit_compile": False})
    plain.build((None, None, 3))
    plain.set_weights(layer.get_weights())
    for shape in ((2, 5, 3), (4, 7, 3)):
        x = tf.random.normal(shape, seed=1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(plain(x, training=True))
        expected = tape.gradient(loss, plain.trainable_variables[0].value)
        np.testing.assert_allclose(gradient(x), expected, rtol=1e-5, atol=1e-6)
    assert "in training alone" in layer.explain((2, None, 3)).notes[0]


@pytest.mark.parametrize(
    ("states", "message"),
    [([(2, 4)], r"expected 2 states of \[4, 4\] units"), ([(2, 4), (2, 5)], r"got 2 of \[4, 5\]")],
)
def test_wrong_initial_states(states: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        GatedLSTM(4)(np.ones((2, 5, 3), "float32"), initial_state=[np.zeros(shape, "float32") for shape in states])


def test_wrong_weights_name_what_is_expected() -> None:
    layer = GatedLSTM(4, gates="coupled_input_forget")
    layer.build((2, 5, 3))
    built_in = keras.layers.LSTM(4)
    built_in.build((2, 5, 3))
    with pytest.raises(InvalidInputError, match=r"gates='coupled_input_forget' has kernel \(3, 12\)"):
        layer.set_weights(built_in.get_weights())


def test_no_steps_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="expected at least one step"):
        GatedLSTM(4)(np.ones((2, 0, 3), "float32"))


def test_integers_and_wide_masks_are_taken_as_keras_takes_them() -> None:
    x, mask = np.arange(30).reshape(2, 5, 3), np.ones((2, 5, 1), bool)
    built_in, layer = keras.layers.LSTM(4), GatedLSTM(4)
    built_in.build(x.shape)
    layer.build(x.shape)
    layer.set_weights(built_in.get_weights())
    np.testing.assert_allclose(np.asarray(layer(x)), np.asarray(built_in(x.astype("float32"))), atol=1e-6)
    np.testing.assert_allclose(np.asarray(layer(x, mask=mask)), np.asarray(layer(x)), atol=1e-6)
