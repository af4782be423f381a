"""Weights and activations in 8 bits: answers, sizes, types, and what stays in float."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from converted import DELEGATED, PLAIN, convert, operators, run
from small_models import answers, scramble

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import flatbuffer
from lstm_zoo.exporters.signatures import output_names
from lstm_zoo.frontends.audio import LogMelSpectrogram
from lstm_zoo.layers import GatedLSTM

SAMPLES = 2_000
PROFILES = ("universal", "mediapipe")


def audio(count: int, seed: int) -> np.ndarray:
    """Tones of one of two pitches over noise: float32 ``[count, samples]``."""
    random = np.random.default_rng(seed)
    pitch = np.where(random.random((count, 1)) < 0.5, 0.05, 0.3)
    level = random.uniform(0.05, 0.4, (count, 1))
    tones = level * np.sin(pitch * np.arange(SAMPLES)) + 0.02 * random.standard_normal((count, SAMPLES))
    return tones.astype("float32")


@pytest.fixture(scope="module")
def spotter() -> keras.Model:
    inputs = keras.Input((SAMPLES,), name="audio")
    x = keras.layers.Rescaling(0.3, offset=1.5)(LogMelSpectrogram(name="log_mel")(inputs))
    x = keras.layers.LSTM(32, return_sequences=True, name="first")(x)
    x = keras.layers.Bidirectional(GatedLSTM(16, gates="coupled_input_forget"), name="second")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="probabilities")(x))
    scramble(model)
    model.get_layer("probabilities").kernel.assign(np.random.default_rng(0).uniform(-3, 3, (32, 2)))
    return model


@pytest.fixture(scope="module")
def files(spotter):
    representative = {"audio": audio(60, seed=1)}
    return {profile: convert(spotter, "int8", profile=profile, representative=representative) for profile in PROFILES}


@pytest.mark.parametrize("profile", PROFILES)
def test_answers_are_near_the_models(spotter, files, profile):
    inputs = audio(40, seed=2)
    expected, given = answers(spotter, inputs), run(files[profile], inputs)
    assert np.ptp(expected[:, 0]) > 0.1
    np.testing.assert_allclose(given, expected, atol=0.05, rtol=0)
    assert np.corrcoef(given[:, 0], expected[:, 0])[0, 1] > 0.98


@pytest.mark.parametrize("profile", PROFILES)
def test_no_call_remembers_another(files, profile):
    inputs, order = audio(3, seed=3), [0, 1, 2, 2, 1, 0, 0]
    given = run(files[profile], inputs[order])
    for place, which in enumerate(order):
        np.testing.assert_array_equal(given[place], given[order.index(which)])


@pytest.mark.parametrize("profile", PROFILES)
def test_activations_have_8_bits_and_the_front_end_has_not(files, profile):
    model = flatbuffer.parse(files[profile])
    (graph,) = model.subgraphs
    types = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}

    def made_by(kind: str) -> set[str]:
        used = [each for each in graph.operators if flatbuffer.kind(model, each) == kind]
        assert used, kind
        return {types[graph.tensors[each.outputs[0]].type] for each in used}

    assert made_by("LOG") == {"FLOAT32"}
    recurrent = "UNIDIRECTIONAL_SEQUENCE_LSTM" if profile == "mediapipe" else "LOGISTIC"
    assert made_by(recurrent) == {"INT8"}
    assert {types[graph.tensors[index].type] for index in (*graph.inputs, *graph.outputs)} == {"FLOAT32"}


def test_fused_file_is_the_smallest(spotter, files):
    assert len(files["mediapipe"]) < 0.6 * len(convert(spotter, profile="mediapipe"))
    assert len(files["mediapipe"]) < len(files["universal"])
    assert operators(files["mediapipe"]).count("UNIDIRECTIONAL_SEQUENCE_LSTM") == 6


def test_loop_is_refused_before_any_work(spotter):
    with pytest.raises(InvalidInputError, match=r"quantize: 'int8' .*universal.*mediapipe.*dynamic_int8"):
        convert(spotter, "int8", representative={"audio": audio(2, seed=0)})


def test_default_profile_without_a_loop_can_have_it():
    inputs = keras.Input((12,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Dense(64, activation="relu")(inputs)))
    x = np.random.default_rng(0).standard_normal((50, 12)).astype("float32")
    content = convert(model, "int8", representative={"x": x})
    assert "QUANTIZE" in operators(content)
    np.testing.assert_allclose(run(content, x), answers(model, x), atol=0.05)


# === What the fused operator can do ===

UNITS, TIME, FEATURES = 20, 9, 6
FUSED = {
    "keras": keras.layers.LSTM(UNITS, return_sequences=True),
    "no_bias_backwards": keras.layers.LSTM(UNITS, return_sequences=True, use_bias=False, go_backwards=True),
    "peephole": GatedLSTM(UNITS, return_sequences=True, gates="peephole"),
    "coupled": GatedLSTM(UNITS, return_sequences=True, gates="coupled_input_forget", peepholes=True),
    "cell_clip": GatedLSTM(UNITS, return_sequences=True, cell_clip=0.4),
    "projection": GatedLSTM(UNITS, return_sequences=True, projection_units=UNITS, projection_clip=0.5),
    "per_gate": GatedLSTM(UNITS, return_sequences=True, layer_normalization="per_gate", cell_clip=0.7),
}


def series(count: int, seed: int, scale: float = 1.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (scale * random.standard_normal((count, TIME, FEATURES))).astype("float32")


def in_8_bits(layer: keras.layers.Layer, scale: float = 1.0) -> tuple[keras.Model, bytes]:
    """The layer with random weights, as a model and as a file."""
    inputs = keras.Input((TIME, FEATURES), name="series")
    model = keras.Model(inputs, layer(inputs))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.uniform(-1, 1, variable.shape) * scale)
    return model, convert(model, "int8", profile="mediapipe", representative={"series": series(60, seed=1)})


@pytest.fixture(scope="module")
def side_by_side() -> tuple[keras.Model, bytes]:
    """All of them in one model, since converting takes longer than anything else here."""
    inputs = keras.Input((TIME, FEATURES), name="series")
    model = keras.Model(inputs, [layer(inputs) for layer in FUSED.values()])
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.uniform(-1, 1, variable.shape))
    return model, convert(model, "int8", profile="mediapipe", representative={"series": series(60, seed=1)})


@pytest.mark.parametrize("resolver", [DELEGATED, PLAIN])
def test_every_option_of_the_fused_operator(side_by_side, resolver):
    model, content = side_by_side
    runner = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=resolver
    ).get_signature_runner("serving_default")
    inputs = series(30, seed=2)
    order = [*range(30), *reversed(range(30))]
    calls = [runner(series=inputs[at : at + 1]) for at in order]
    expected = model(inputs)
    for name, output, right in zip(FUSED, output_names(model), expected, strict=True):
        given = np.concatenate([call[output] for call in calls])
        assert np.std(right) > 0.1, name
        assert np.abs(given[:30] - right).mean() < 0.02 * np.ptp(right), name
        np.testing.assert_array_equal(given[30:], given[:30][::-1], err_msg=name)


def test_small_cell_states_do_not_vanish():
    """Below 0.5 the operator would find no table for the hyperbolic tangent."""
    model, content = in_8_bits(keras.layers.LSTM(8), scale=0.05)
    inputs = series(30, seed=2)
    expected, given = answers(model, inputs), run(content, inputs)
    assert 0.005 < np.abs(expected).max() < 0.2
    assert np.corrcoef(given.ravel(), expected.ravel())[0, 1] > 0.95


def test_large_cell_states_are_held_where_the_hyperbolic_tangent_is_one():
    """So are those above 64, the largest that the operator knows."""
    inputs = keras.Input((100, 1), name="series")
    model = keras.Model(inputs, keras.layers.LSTM(2)(inputs))
    bias = np.array([9.0, 9, 9, 9, 3, -3, 9, 9])  # opens all gates and adds almost 1 a step
    model.layers[1].set_weights([np.full((1, 8), 0.1), np.zeros((2, 8)), bias])
    ones = np.ones((4, 100, 1), "float32")
    content = convert(model, "int8", profile="mediapipe", representative={"series": ones})
    np.testing.assert_allclose(run(content, ones), answers(model, ones), atol=0.02)


def test_calibration_starts_each_example_from_zero():
    """A layer that never forgets would otherwise gather all the examples, and its range be that of the last."""
    inputs = keras.Input((TIME, 1), name="series")
    model = keras.Model(inputs, keras.layers.LSTM(1)(inputs))
    model.layers[1].set_weights([np.full((1, 4), 0.1), np.zeros((1, 4)), np.array([9.0, 9, 0, 9])])
    x = np.linspace(0.1, 1, 40 * TIME, dtype="float32").reshape(40, TIME, 1)
    content = convert(model, "int8", profile="mediapipe", representative={"series": x})
    (graph,) = flatbuffer.parse(content).subgraphs
    (scale,) = {float(each.quantization.scale[0]) for each in graph.tensors if each.type == schema.TensorType.INT16}
    assert scale == 2.0**-15  # of cell states of at most 0.9, in 16 bits
    np.testing.assert_allclose(run(content, x), answers(model, x), atol=0.02)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"gates": "no_forget_gate"}, "lstm has the gates 'no_forget_gate'"),
        ({"gates": "coupled_input_forget", "layer_normalization": "per_gate"}, "lstm has coupled gates with layer"),
        ({"peepholes": True, "projection_units": 5}, "lstm has peepholes and a projection"),
    ],
)
def test_what_the_fused_operator_cannot_do_in_8_bits_is_refused(options, reason):
    with pytest.raises(ExportError, match=rf"^{reason}.*int8: use quantize='dynamic_int8' or profile='universal'"):
        in_8_bits(GatedLSTM(4, name="lstm", **options))


def test_another_loop_is_an_error_and_no_crash():
    inputs = keras.Input((TIME, FEATURES), name="series")
    model = keras.Model(inputs, keras.layers.GRU(3, name="gru")(inputs))
    with pytest.raises(ExportError, match="gru is a loop, which only profile=.default. can have"):
        convert(model, "int8", profile="universal", representative={"series": series(2, seed=0)})


def test_layers_are_told_apart_by_their_whole_names():
    """What a layer's name begins with is another layer's name."""
    inputs = keras.Input((12,), name="x")
    kept = keras.layers.Dense(40, name="head")
    kept.float_in_int8 = True
    model = keras.Model(inputs, keras.layers.Dense(40, name="header")(kept(inputs)))
    x = np.random.default_rng(0).standard_normal((50, 12)).astype("float32")
    parsed = flatbuffer.parse(convert(model, "int8", representative={"x": x}))
    (graph,) = parsed.subgraphs
    products = [each for each in graph.operators if flatbuffer.kind(parsed, each) == "FULLY_CONNECTED"]
    types = [graph.tensors[each.outputs[0]].type for each in products]
    assert types == [schema.TensorType.FLOAT32, schema.TensorType.INT8]
