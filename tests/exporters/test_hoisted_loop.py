import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters import tflite
from lstm_zoo.exporters.hoisted_loop import hoisted_lstm, lstm_loop, without_cudnn
from lstm_zoo.layers import SLSTM, VARIANTS, GatedLSTM


def reference(x, h, c, kernel, recurrent, bias, activation):
    """The equations, step by step, in float64; outputs ``[batch, time, units]``."""
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * activation(g)
        h = o * activation(c)
        outputs.append(h)
    return np.stack(outputs, axis=1), h, c


@pytest.mark.parametrize(
    ("batch", "time", "steps"), [(1, 1, 4), (1, 3, 4), (3, 8, 4), (1, 11, 4), (3, 11, 1), (1, 5, None)]
)
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_loop_gives_what_the_equations_give(batch, time, steps, go_backwards, return_sequences):
    _check_loop(batch, time, steps, go_backwards, return_sequences)


def test_loop_uses_the_cells_own_activation_and_does_without_a_bias():
    _check_loop(2, 6, 4, False, True, activation="softsign", use_bias=False)


def _check_loop(batch, time, steps, go_backwards, return_sequences, activation="tanh", use_bias=True):
    random = np.random.default_rng(time)
    features, units = 5, 7
    cell = keras.layers.LSTMCell(units, activation=activation, use_bias=use_bias)
    cell.build((batch, features))
    for variable in cell.weights:
        variable.assign(random.uniform(-1, 1, variable.shape))
    x = random.standard_normal((batch, time, features)).astype("float32")
    h, c = random.standard_normal((2, batch, units)).astype("float32")

    @tf.function(jit_compile=True, autograph=False)  # the write in place has no kernel outside XLA and TFLite
    def run(x, h, c):
        return lstm_loop(cell, x, (h, c), go_backwards=go_backwards, return_sequences=return_sequences, steps=steps)

    last, outputs, state = run(tf.constant(x), tf.constant(h), tf.constant(c))
    functions = {"tanh": np.tanh, "softsign": lambda v: v / (1 + np.abs(v))}
    wide = [np.asarray(weight, "float64") for weight in cell.get_weights()]
    expected, h_end, c_end = reference(
        x[:, ::-1].astype("float64") if go_backwards else x.astype("float64"),
        h.astype("float64"),
        c.astype("float64"),
        wide[0],
        wide[1],
        wide[2] if use_bias else 0.0,
        functions[activation],
    )
    np.testing.assert_allclose(last, expected[:, -1], atol=2e-6)
    np.testing.assert_allclose(state[0], h_end, atol=2e-6)
    np.testing.assert_allclose(state[1], c_end, atol=2e-6)
    if return_sequences:
        np.testing.assert_allclose(outputs, expected, atol=2e-6)
    else:
        assert outputs is None


def two_layers() -> keras.Model:
    inner = keras.Sequential([keras.Input((6, 3)), keras.layers.LSTM(4, return_sequences=True)])
    return keras.Sequential([keras.Input((6, 3)), inner, keras.layers.Bidirectional(keras.layers.LSTM(4))])


def lstms(model):
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.LSTM)]


def test_context_reaches_nested_layers_and_leaves_the_model_as_it_was():
    model, other = two_layers(), two_layers()
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype("float32")
    before = np.asarray(model(x))
    with hoisted_lstm(model):
        assert len(lstms(model)) == 3
        assert all("inner_loop" in vars(layer) for layer in lstms(model))
        assert not any("inner_loop" in vars(layer) for layer in lstms(other))
        inside = tf.function(lambda x: model(x, training=False), jit_compile=True, autograph=False)(tf.constant(x))
    np.testing.assert_allclose(inside, before, atol=1e-6)
    assert not any("inner_loop" in vars(layer) for layer in lstms(model))
    assert [layer.use_cudnn for layer in lstms(model)] == ["auto"] * 3
    np.testing.assert_array_equal(np.asarray(model(x)), before)


@pytest.mark.slow
def test_file_has_the_answers_of_every_gate_variant():
    """One model with all of them side by side, since converting takes longer than anything else here."""
    inputs = keras.Input((7, 3))
    every = [GatedLSTM(4, gates=name, return_sequences=True) for name in VARIANTS]
    every += [
        GatedLSTM(4, gates="peephole", projection_units=3, cell_clip=0.5, projection_clip=0.3, return_sequences=True),
        GatedLSTM(4, layer_normalization=True, zoneout_cell=0.2, zoneout_hidden=0.1, return_sequences=True),
        GatedLSTM(4, layer_normalization="per_gate", cell_activation="tanh", return_sequences=True),
        keras.layers.Bidirectional(GatedLSTM(4, peepholes=("output",), return_sequences=True)),
        SLSTM(4, heads=2, return_sequences=True),
    ]
    model = keras.Model(inputs, keras.layers.Concatenate()([layer(inputs) for layer in every]))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.uniform(-1, 1, variable.shape))
    x = random.standard_normal((1, 7, 3)).astype("float32")

    interpreter = Interpreter(model_content=tflite.convert(model))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    given = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(given, np.asarray(model(x)), atol=2e-6)
    assert not any(op["op_name"].startswith("Flex") for op in interpreter._get_ops_details())


@pytest.mark.parametrize("context", [hoisted_lstm, without_cudnn])
def test_context_restores_after_an_error(context):
    model = two_layers()
    gated = GatedLSTM(4, implementation="scan", jit_compile=True)
    model.add(keras.layers.Reshape((2, 4)))
    model.add(gated)
    seen = []

    def fail():
        assert (gated.use_cudnn, gated.jit_compile, gated.implementation) == (False, False, "auto")
        seen.extend(layer.use_cudnn for layer in lstms(model))
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), context(model):
        fail()
    assert seen == [False] * 3
    assert (gated.use_cudnn, gated.jit_compile, gated.implementation) == ("auto", True, "scan")
    assert "inner_loop" not in vars(gated)
    assert not any("inner_loop" in vars(layer) for layer in lstms(model))
    assert [layer.use_cudnn for layer in lstms(model)] == ["auto"] * 3


def test_second_thread_waits():
    model, order = two_layers(), []
    inside = threading.Event()

    def second():
        inside.wait()
        with hoisted_lstm(model):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with hoisted_lstm(model):
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert not any("inner_loop" in vars(layer) for layer in lstms(model))


def test_mask_is_an_error_that_names_the_layer():
    inputs = keras.Input((6, 3))
    x = keras.layers.LSTM(4, name="masked_lstm")(keras.layers.Masking()(inputs))
    model = keras.Model(inputs, x)
    with pytest.raises(ExportError, match=r"^masked_lstm receives a mask") as caught, hoisted_lstm(model):
        model(np.ones((1, 6, 3), "float32"))
    assert "\x1b" not in str(caught.value)  # Keras's colours, from its own wording around ours


def test_open_length_is_an_error():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4, name="lstm")])

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((1, None, 3))])
    def call(x):
        return model(x)

    with pytest.raises(ExportError, match=r"lstm receives \(1, None, 3\).*static"), hoisted_lstm(model):
        call.get_concrete_function()


def test_stateful_layer_is_an_error():
    model = keras.Sequential([keras.Input(batch_shape=(1, 6, 3)), keras.layers.LSTM(4, stateful=True, name="carry")])
    with pytest.raises(ExportError, match="carry is stateful"), hoisted_lstm(model):
        pass
