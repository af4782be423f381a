import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters.hoisted_loop import hoisted_lstm
from lstm_zoo.exporters.sequence_loop import lstm_loop
from lstm_zoo.layers import SLSTM, VARIANTS, GatedLSTM
from lstm_zoo.layers.stand_ins import without_cudnn


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


def convert(model, spec, unrolled=False):
    """The bytes of a file of builtin operators."""
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    call = tf.function(lambda x: model(x, training=False), autograph=False)
    with hoisted_lstm(model, unrolled=unrolled):
        concrete = call.get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    return converter.convert()


def answer(interpreter, x):
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    if tuple(given["shape"]) != x.shape:
        interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(returned["index"])


def operators(interpreter):
    return [op["op_name"] for op in interpreter._get_ops_details()]


def scrambled(inputs, outputs):
    """Weights that are anything but special, and a file's answers in one tensor."""
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(x) if len(x.shape) > 2 else x for x in outputs])
    model = keras.Model(inputs, joined)
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.uniform(-1, 1, variable.shape))
    return model


def every_variant():
    return [GatedLSTM(4, gates=name, return_sequences=True) for name in VARIANTS] + [
        GatedLSTM(4, gates="peephole", projection_units=3, cell_clip=0.5, projection_clip=0.3, return_sequences=True),
        GatedLSTM(4, layer_normalization=True, zoneout_cell=0.2, zoneout_hidden=0.1, return_sequences=True),
        GatedLSTM(4, layer_normalization="per_gate", cell_activation="tanh", return_sequences=True),
        keras.layers.Bidirectional(GatedLSTM(4, peepholes=("output",), return_sequences=True)),
        SLSTM(4, heads=2, return_sequences=True),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["static", "unrolled", "dynamic"])
def test_file_has_the_answers_of_every_gate_variant(form):
    """One model with all of them side by side, since converting takes longer than anything else here."""
    inputs = keras.Input((None if form == "dynamic" else 7, 3))
    model = keras.Model(inputs, keras.layers.Concatenate()([layer(inputs) for layer in every_variant()]))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.uniform(-1, 1, variable.shape))
    spec = tf.TensorSpec((None, None, 3) if form == "dynamic" else (1, 7, 3))
    interpreter = Interpreter(model_content=convert(model, spec, unrolled=form == "unrolled"))
    for shape in [(1, 7, 3), (2, 5, 3), (1, 1, 3)] if form == "dynamic" else [(1, 7, 3)]:
        x = random.standard_normal(shape).astype("float32")
        np.testing.assert_allclose(answer(interpreter, x), np.asarray(model(x)), atol=3e-6)
    assert ("WHILE" in operators(interpreter)) == (form != "unrolled")
    assert not any(name.startswith("Flex") for name in operators(interpreter))


MASKS = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])


def masked_layers(inputs, x):
    """Every way in which a mask shows, with an initial state, which masked steps keep but do not give out."""
    start = [keras.layers.Dense(4)(inputs[:, 0]) for _ in range(2)]
    sequences = {"return_sequences": True}
    last, h, c = keras.layers.LSTM(4, return_state=True)(x, initial_state=start)
    return [
        last,
        h,
        c,
        keras.layers.LSTM(4, **sequences)(x, initial_state=start),
        keras.layers.LSTM(4, go_backwards=True, **sequences)(x, initial_state=start),
        keras.layers.LSTM(4, zero_output_for_mask=True)(x),
        keras.layers.LSTM(4, zero_output_for_mask=True, **sequences)(x),
        keras.layers.Bidirectional(keras.layers.LSTM(4, **sequences))(x),
        GatedLSTM(4, gates="peephole", projection_units=3)(x),
        SLSTM(4, **sequences)(x),
    ]


@pytest.mark.filterwarnings("ignore:Layer .*was passed an input with a mask")  # which the last layer needs no more
@pytest.mark.parametrize("form", ["static", "unrolled", "dynamic"])
def test_masked_steps_are_as_in_keras(form):
    inputs = keras.Input((6, 3))
    model = scrambled(inputs, masked_layers(inputs, keras.layers.Masking()(inputs)))
    x = np.random.default_rng(0).standard_normal((5, 6, 3)).astype("float32") * MASKS[:, :, None]
    x = x.astype("float32")
    spec = tf.TensorSpec((None, 6, 3) if form == "dynamic" else x.shape)
    interpreter = Interpreter(model_content=convert(model, spec, unrolled=form == "unrolled"))
    np.testing.assert_allclose(answer(interpreter, x), np.asarray(model(x)), atol=2e-6)
    assert ("WHILE" in operators(interpreter)) == (form != "unrolled")
    assert not any(name.startswith("Flex") for name in operators(interpreter))


@pytest.mark.filterwarnings("ignore:Layer .*was passed an input with a mask")  # which the last layer needs no more
@pytest.mark.parametrize("unrolled", [False, True])
def test_padding_of_ids_is_masked(unrolled):
    inputs = keras.Input((6,), dtype="int32")
    embedded = keras.layers.Embedding(9, 3, mask_zero=True)(inputs)
    between = keras.layers.LSTM(4, return_sequences=True)(embedded)
    model = scrambled(inputs, [between, keras.layers.LSTM(4)(between)])
    ids = (np.random.default_rng(0).integers(1, 9, MASKS.shape) * MASKS).astype("int32")
    interpreter = Interpreter(model_content=convert(model, tf.TensorSpec(ids.shape, tf.int32), unrolled))
    np.testing.assert_allclose(answer(interpreter, ids), np.asarray(model(ids)), atol=2e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_one_file_takes_every_batch_and_length(masked):
    inputs = keras.Input((None, 3))
    x = keras.layers.Masking()(inputs) if masked else inputs
    x = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))(x)
    x = keras.layers.LSTM(4, return_sequences=True, go_backwards=True)(x)
    sequences = GatedLSTM(4, gates="peephole", return_sequences=True)(x)
    last = keras.layers.RepeatVector(1)(keras.layers.LSTM(4)(x))
    model = keras.Model(inputs, keras.layers.Concatenate(axis=1)([sequences, last]))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.uniform(-1, 1, variable.shape))
    interpreter = Interpreter(model_content=convert(model, tf.TensorSpec((None, None, 3))))
    for batch, time in [(1, 9), (3, 1), (1, 1), (2, 3), (1, 4), (3, 5), (2, 70)]:
        x = random.standard_normal((batch, time, 3)) * (random.random((batch, time, 1)) > 0.4 * masked)
        x = x.astype("float32")
        np.testing.assert_allclose(answer(interpreter, x), np.asarray(model(x)), atol=2e-6)


def test_unrolled_needs_static_shapes():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4, name="lstm")])
    with pytest.raises(ExportError, match=r"^lstm receives \(1, None, 3\).*profile='default', dynamic=True") as caught:
        convert(model, tf.TensorSpec((1, None, 3)), unrolled=True)
    assert "\x1b" not in str(caught.value)  # Keras's colours, from its own wording around ours
    assert not any("inner_loop" in vars(layer) for layer in lstms(model))


def test_model_without_an_lstm_is_left_alone():
    model = keras.Sequential(
        [keras.Input((6, 3)), keras.layers.GRU(4, return_sequences=True), keras.layers.SimpleRNN(4)]
    )
    x = np.random.default_rng(0).standard_normal((1, 6, 3)).astype("float32")
    interpreter = Interpreter(model_content=convert(model, tf.TensorSpec(x.shape)))
    np.testing.assert_allclose(answer(interpreter, x), np.asarray(model(x)), atol=2e-6)


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


@pytest.mark.parametrize("layer", [keras.layers.LSTM, GatedLSTM, keras.layers.GRU])
def test_stateful_layer_is_an_error(layer):
    model = keras.Sequential([keras.Input(batch_shape=(1, 6, 3)), layer(4, stateful=True, name="carry")])
    with pytest.raises(ExportError, match="carry is stateful"), hoisted_lstm(model):
        pass
