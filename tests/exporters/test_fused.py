"""The mediapipe profile: TFLite's own LSTM operator with all it can do, and without a memory from call to call."""

import keras
import numpy as np
import pytest
from converted import DELEGATED, PLAIN, convert, operators, run
from small_models import CLIP, answers, clips, own_cell, scramble, small_model

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters import flatbuffer, fused_file
from lstm_zoo.exporters.fused import BIASES, CELL_STATE, KERNELS, fused_lstm, operator_weights
from lstm_zoo.layers import SLSTM, GatedLSTM

UNITS, TIME, FEATURES = 32, 9, 6  # recurrent kernels just large enough for 16 bits


def gated(**options) -> GatedLSTM:
    return GatedLSTM(UNITS, return_sequences=True, **options)


EVERY = {
    "keras": keras.layers.LSTM(UNITS, return_sequences=True),
    "no_bias": keras.layers.LSTM(UNITS, return_sequences=True, use_bias=False),
    "backwards": keras.layers.LSTM(UNITS, return_sequences=True, go_backwards=True),
    "both_directions": keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True)),
    "vanilla": gated(),
    "peephole": gated(gates="peephole"),
    "one_peephole": gated(peepholes=("output",)),
    "coupled": gated(gates="coupled_input_forget"),
    "coupled_with_peepholes": gated(gates="coupled_input_forget", peepholes=True),
    "no_input_gate": gated(gates="no_input_gate"),
    "no_forget_gate": gated(gates="no_forget_gate"),
    "no_output_gate": gated(gates="no_output_gate"),
    "projection": gated(projection_units=5),
    "clips": gated(gates="peephole", projection_units=5, cell_clip=0.5, projection_clip=0.3),
    "per_gate": gated(layer_normalization="per_gate"),
    "per_gate_coupled": gated(gates="coupled_input_forget", layer_normalization="per_gate", cell_clip=0.7),
}


@pytest.fixture(scope="module")
def every_layer() -> keras.Model:
    """One model with all of them side by side, since converting takes longer than anything else here."""
    inputs = keras.Input((TIME, FEATURES), name="series")
    outputs = [keras.layers.Flatten()(layer(inputs)) for layer in EVERY.values()]
    model = keras.Model(inputs, keras.layers.Concatenate()(outputs))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.uniform(-1, 1, variable.shape))
    return model


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((4, TIME, FEATURES)).astype("float32")


@pytest.fixture(scope="module")
def files(every_layer):
    return {
        quantize: convert(every_layer, quantize, profile="mediapipe") for quantize in (None, "float16", "dynamic_int8")
    }


def by_layer(values: np.ndarray) -> dict[str, np.ndarray]:
    sizes = [TIME * (5 if name in ("projection", "clips") else UNITS) for name in EVERY]
    sizes[list(EVERY).index("both_directions")] *= 2
    return dict(zip(EVERY, np.split(values, np.cumsum(sizes)[:-1], axis=1), strict=True))


@pytest.mark.parametrize("resolver", [DELEGATED, PLAIN])
def test_every_option_gives_the_layers_answers(every_layer, files, series, resolver):
    given, expected = by_layer(run(files[None], series, resolver)), by_layer(answers(every_layer, series))
    for name in EVERY:
        assert np.ptp(expected[name]) > 0.1, name
        np.testing.assert_allclose(given[name], expected[name], atol=1e-5, rtol=0, err_msg=name)


def test_what_is_next_to_silence_is_normalised_with_the_layers_epsilon(every_layer, files, series):
    """The operator's own is a thousandth of it, which counts where there is little variance."""
    quiet = 1e-3 * series
    given, expected = by_layer(run(files[None], quiet)), by_layer(answers(every_layer, quiet))
    for name in EVERY:
        np.testing.assert_allclose(given[name], expected[name], atol=1e-5, rtol=0, err_msg=name)
    fresh = keras.Sequential([keras.Input((TIME, FEATURES)), gated(layer_normalization="per_gate")])
    np.testing.assert_allclose(run(convert(fresh, profile="mediapipe"), quiet), answers(fresh, quiet), atol=1e-5)


@pytest.mark.parametrize("resolver", [DELEGATED, PLAIN])
@pytest.mark.parametrize("quantize", [None, "float16", "dynamic_int8"])
def test_no_call_remembers_another(files, series, quantize, resolver):
    order = [0, 1, 2, 3, 3, 1, 0, 0]
    given = run(files[quantize], series[order], resolver)
    for place, which in enumerate(order):
        np.testing.assert_array_equal(given[place], given[order.index(which)])


def test_weights_in_fewer_bits(every_layer, files, series):
    expected = answers(every_layer, series)
    for quantize, tolerance, size in (("float16", 5e-3, 0.75), ("dynamic_int8", 0.2, 0.5)):
        np.testing.assert_allclose(run(files[quantize], series), expected, atol=tolerance, rtol=0)
        assert len(files[quantize]) < size * len(files[None])


def test_one_graph_of_builtin_operators_two_for_each_direction(files):
    for content in files.values():
        model = flatbuffer.parse(content)
        assert len(model.subgraphs) == 1
        used = operators(content)
        assert "CUSTOM" not in used
        assert used.count(fused_file.FUSED) == 2 * (len(EVERY) + 1)
        assert all(code.customCode is None for code in model.operatorCodes)


def test_states_are_cleared_before_each_operator(files):
    model = flatbuffer.parse(files[None])
    (graph,) = model.subgraphs
    fused = [each for each in graph.operators if flatbuffer.kind(model, each) == fused_file.FUSED]
    for clearing, operator in zip(fused[::2], fused[1::2], strict=True):
        assert clearing.inputs[CELL_STATE] == operator.inputs[CELL_STATE]
        assert graph.tensors[clearing.outputs[0]].shape[1] == 1
        assert graph.tensors[operator.outputs[0]].shape[1] == TIME


def test_a_count_beyond_ten_is_not_clipped():
    """The converter's own fused operator clips the cell state at 10."""
    inputs = keras.Input((40, 1))
    model = keras.Model(inputs, keras.layers.LSTM(2)(inputs))
    kernel, recurrent, bias = np.zeros((1, 8)), np.zeros((2, 8)), np.array([50, 50, 50, 50, 3, 3, -3.8, -3.8])
    model.layers[1].set_weights([kernel, recurrent, bias])  # opens all gates, adds 1 a step
    ones = np.ones((1, 40, 1), "float32")
    expected = answers(model, ones)
    np.testing.assert_allclose(run(convert(model, profile="mediapipe"), ones), expected, atol=1e-6)
    content = flatbuffer.parse(convert(model, profile="mediapipe"))
    options = [
        each.builtinOptions for each in content.subgraphs[0].operators if hasattr(each.builtinOptions, "cellClip")
    ]
    assert [each.cellClip for each in options] == [0.0] * 2


def test_weights_are_transposed_and_in_the_operators_order():
    layer = keras.layers.LSTM(3)
    layer.build((1, 2, 4))
    layer.set_weights([np.arange(48.0).reshape(4, 12), np.zeros((3, 12)), np.arange(12.0)])
    weights = operator_weights(layer.cell)
    np.testing.assert_array_equal(weights[KERNELS], layer.get_weights()[0][:, :3].T)
    np.testing.assert_array_equal(weights[KERNELS + 2], layer.get_weights()[0][:, 6:9].T)
    np.testing.assert_array_equal(weights[BIASES + 3], [9, 10, 11])


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (keras.layers.LSTM(3, activation="relu", name="a"), "a has other activations than tanh and sigmoid"),
        (keras.layers.LSTM(3, return_state=True, name="a"), "a gives out its states"),
        (gated(gates="full_gate_recurrence", name="a"), "a has the gates 'full_gate_recurrence'"),
        (gated(gates="no_input_activation", name="a"), "a has the gates 'no_input_activation'"),
        (SLSTM(4, return_sequences=True, name="a"), "a has (the gates|other activations)"),
        (gated(layer_normalization=True, name="a"), "a normalises.*'per_gate' can be had"),
        (gated(layer_normalization="per_gate", peepholes=True, name="a"), "a has peepholes outside"),
        (gated(zoneout_cell=0.1, name="a"), "a has zoneout"),
        (gated(cell_activation="tanh", name="a"), "a has a cell_activation"),
        (gated(heads=2, name="a"), "a has 2 heads"),
        (own_cell(name="a"), r"a has a cell of its own kind \(LeakyCell\)"),
    ],
)
def test_what_the_operator_cannot_do_names_the_layer_and_the_profile_that_can(layer, reason):
    inputs = keras.Input(batch_shape=(1, 5, 3))
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(ExportError, match=f"^{reason}.*use profile='default'"), fused_lstm(model):
        pass


def test_stateful_layer_is_refused_in_every_profile():
    model = keras.Sequential([keras.Input(batch_shape=(1, 5, 3)), keras.layers.LSTM(3, stateful=True, name="carry")])
    with pytest.raises(ExportError, match="^carry is stateful=True.*build it stateful=False"), fused_lstm(model):
        pass


def test_initial_states_of_zeros_and_nested_layers_are_fused():
    inputs = keras.Input((5, 3), name="series")
    inner = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4, return_sequences=True)])
    zeros = keras.ops.zeros((1, 6))
    model = keras.Model(inputs, keras.layers.LSTM(6)(inner(inputs), initial_state=[zeros, zeros]))
    scramble(model)
    x = np.random.default_rng(0).standard_normal((1, 5, 3)).astype("float32")
    content = convert(model, profile="mediapipe")
    assert operators(content).count(fused_file.FUSED) == 4
    np.testing.assert_allclose(run(content, x), answers(model, x), atol=1e-6)


def test_masks_and_initial_states_are_refused():
    inputs = keras.Input((5, 3))
    masked = keras.Model(inputs, keras.layers.LSTM(4, name="lstm")(keras.layers.Masking()(inputs)))
    with pytest.raises(ExportError, match=r"lstm receives a mask.*profile='default'"):
        convert(masked, profile="mediapipe")
    h = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    begun = keras.Model(inputs, keras.layers.LSTM(4, name="lstm")(inputs, initial_state=[h, h]))
    with pytest.raises(ExportError, match=r"lstm has an initial state.*profile='default'"):
        convert(begun, profile="mediapipe")


def test_model_is_as_it_was_afterwards():
    model = small_model()
    (lstm,) = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.LSTM)]
    with pytest.raises(RuntimeError, match="on purpose"), fused_lstm(model):
        assert "inner_loop" in vars(lstm)
        raise RuntimeError("on purpose")
    assert "inner_loop" not in vars(lstm)
    assert lstm.use_cudnn == "auto"


def test_a_loop_of_another_layer_is_an_error():
    inputs = keras.Input((5, 3))
    model = keras.Model(
        inputs, keras.layers.GRU(4, reset_after=False, name="gru")(keras.layers.LSTM(4, return_sequences=True)(inputs))
    )
    scramble(model)
    with pytest.raises(ExportError, match="gru is a loop, which only profile=.default. can have"):
        convert(model, profile="mediapipe")


@pytest.mark.parametrize("options", [{"layers": 2}, {"bidirectional": True, "pooling": "last"}])
def test_audio_model_from_pcm(options):
    model, inputs = small_model(**options), clips()
    content = convert(model, samples=CLIP, profile="mediapipe")
    np.testing.assert_allclose(run(content, inputs), answers(model, inputs), atol=1e-5, rtol=0)
