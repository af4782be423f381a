"""What inspect.gates shows is what the equations say, and adds up to the layer's own output."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy_lstm
import pytest
from tiny import tiny_model

import lstm_zoo
from lstm_zoo.errors import InvalidInputError, UnknownNameError
from lstm_zoo.inspect import GateValues, gates
from lstm_zoo.layers import SLSTM, GatedLSTM, register_gates

TIME, FEATURES, UNITS = 7, 3, 4
GATES = ("input", "forget", "output")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomized(layer: Any) -> Any:
    layer.build((None, TIME, FEATURES))
    for seed, variable in enumerate(layer.weights):
        variable.assign(0.5 * draw(*variable.shape, seed=seed))
    return layer


def model_of(*layers: Any, shape: tuple[int | None, ...] = (TIME, FEATURES)) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *layers])


def weights_of(layer: Any) -> dict[str, np.ndarray]:
    return {variable.name: variable.numpy() for variable in layer.weights}


def expected(variant: str, weights: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Gates, candidate and states of every step ``[time, units]``, in NumPy and float64."""
    w = {name: value.astype("float64") for name, value in weights.items()}
    h, c, last = (np.zeros((1, size)) for size in (UNITS, UNITS, 3 * UNITS))
    blocks = numpy_lstm.BLOCKS.get(variant, "ifgo")
    of_g = slice(blocks.index("g") * UNITS, (blocks.index("g") + 1) * UNITS)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (*GATES, "candidate", "cell", "hidden")}
    for x_t in x[0][:, None]:
        g = (x_t @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"])[:, of_g]
        h, c, last = numpy_lstm.step(variant, w, x_t, h, c, last, lambda c: c, None, None)
        g = g if variant == "no_input_activation" else np.tanh(g)
        for name, row in zip(rows, (*np.split(last, 3, axis=-1), g, c, h), strict=True):
            rows[name].append(row[0])
    return {name: np.array(values) for name, values in rows.items()}


def assert_same(found: GateValues, reference: dict[str, np.ndarray], present: set[str]) -> None:
    for name, values in reference.items():
        shown = getattr(found, name)
        if name in GATES and name not in present:
            assert shown is None
        else:
            assert shown.dtype == np.float32
            np.testing.assert_allclose(shown, values, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("variant", numpy_lstm.VARIANTS)
def test_every_variant_is_as_numpy_has_it(variant: str) -> None:
    layer = randomized(GatedLSTM(UNITS, variant, return_sequences=True))
    model, x = model_of(layer), draw(1, TIME, FEATURES, seed=9)
    found = gates(model, x)
    letters = numpy_lstm.BLOCKS.get(variant, "ifgo")
    assert_same(found, expected(variant, weights_of(layer), x), {name for name in GATES if name[0] in letters})
    np.testing.assert_allclose(found.hidden, np.asarray(model(x))[0], atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"go_backwards": True}, {"activation": "softsign"}])
def test_the_lstm_of_keras(options: dict[str, Any]) -> None:
    layer = randomized(keras.layers.LSTM(UNITS, return_sequences=True, **options))
    model, x = model_of(layer), draw(1, TIME, FEATURES, seed=9)
    found = gates(model, x)
    output = np.asarray(model(x))[0]
    if options.get("go_backwards"):
        output = output[::-1]  # Keras gives the steps out as it takes them
    let_out = layer.activation(found.cell)
    np.testing.assert_allclose(found.output * np.asarray(let_out), output, atol=1e-5)
    np.testing.assert_allclose(found.hidden, output, atol=1e-5)
    if not options:
        assert_same(found, expected("vanilla", weights_of(layer), x), set(GATES))


def test_both_directions_and_nested_models() -> None:
    inner = model_of(keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True, name="one")))
    model, x = model_of(inner, keras.layers.LSTM(2, name="two")), draw(TIME, FEATURES)
    both = np.asarray(inner(x[None]))[0]
    assert gates(model, x).layer == "forward_one"
    np.testing.assert_allclose(gates(model, x).hidden, both[:, :UNITS], atol=1e-5)
    np.testing.assert_allclose(gates(model, x, "backward_one").hidden, both[:, UNITS:], atol=1e-5)
    np.testing.assert_allclose(gates(model, x, model.layers[-1]).hidden[-1], np.asarray(model(x[None]))[0], atol=1e-5)


def test_masked_steps_are_empty_and_keep_the_state() -> None:
    layer = randomized(GatedLSTM(UNITS, return_sequences=True))
    model, x = model_of(keras.layers.Masking(), layer), draw(1, TIME, FEATURES)
    x[:, [2, 5, 6]] = 0
    found = gates(model, x)
    assert np.isnan(found.input).any(axis=1).tolist() == [False, False, True, False, False, True, True]
    np.testing.assert_array_equal(found.cell[2], found.cell[1])
    short = gates(model, np.delete(x, [2, 5, 6], axis=1))
    np.testing.assert_allclose(found.cell[[0, 1, 3, 4]], short.cell, atol=1e-6)
    for gate in GATES:
        assert found.summary()[gate] == pytest.approx(short.summary()[gate])


def test_stateful_layers_stay_as_they_were() -> None:
    layer = GatedLSTM(UNITS, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(1, TIME, FEATURES)), layer])
    x = draw(1, TIME, FEATURES)
    model(x)
    before = [np.array(state) for state in layer.states]
    first, second = gates(model, x), gates(model, x)
    np.testing.assert_array_equal(first.hidden, second.hidden)
    np.testing.assert_array_equal(before[0], np.array(layer.states[0]))
    np.testing.assert_allclose(first.hidden[-1], np.asarray(model(x))[0], atol=1e-6)


def test_options_of_the_layer_take_part() -> None:
    options = {"projection_units": 2, "layer_normalization": True, "cell_clip": 0.1, "peepholes": ("output",)}
    layer = randomized(GatedLSTM(UNITS, return_sequences=True, zoneout_hidden=0.1, **options))
    model, x = model_of(layer), draw(1, TIME, FEATURES)
    found = gates(model, x)
    assert found.hidden.shape == (TIME, 2)
    assert np.abs(found.cell).max() == pytest.approx(0.1)
    np.testing.assert_allclose(found.hidden, np.asarray(model(x))[0], atol=1e-5)


def test_a_variant_of_ones_own_is_watched() -> None:
    @register_gates("inspected", blocks=("forget", "cell"))
    def inspected(z, h, c, cell):  # type: ignore[no-untyped-def]
        f, g = cell.split(z)
        f = cell.recurrent_activation(f)
        c = f * c + (1 - f) * cell.activation(g)
        return c, c

    layer = randomized(GatedLSTM(UNITS, "inspected", return_sequences=True))
    x = draw(1, TIME, FEATURES)
    found = gates(model_of(layer), x)
    assert set(found.gates) == {"forget"}
    before = np.vstack([np.zeros((1, UNITS)), found.cell[:-1]])
    np.testing.assert_allclose(found.cell, found.forget * before + (1 - found.forget) * found.candidate, atol=1e-6)


def test_exponential_gates_are_left_out() -> None:
    found = gates(model_of(randomized(SLSTM(UNITS))), draw(TIME, FEATURES))
    assert set(found.gates) == {"output"}
    assert found.candidate.shape == found.cell.shape == (TIME, UNITS)


def test_several_inputs() -> None:
    first, second = keras.Input((TIME, FEATURES)), keras.Input((2,))
    out = keras.layers.Concatenate()([keras.layers.LSTM(UNITS)(first), second])
    model = keras.Model([first, second], out)
    x = [draw(1, TIME, FEATURES), draw(1, 2)]
    np.testing.assert_allclose(gates(model, x).hidden[-1], np.asarray(model(x))[0, :UNITS], atol=1e-6)
    for wrong in (x[:1], x[0]):
        with pytest.raises(InvalidInputError, match="expected a list of 2 arrays"):
            gates(model, wrong)


def test_models_of_the_zoo() -> None:
    speech = tiny_model("speech")
    found = gates(speech, np.zeros(16_000, "int16"))
    assert (found.steps, found.seconds) == (None, 0.02)
    assert len(found.cell) * found.seconds == pytest.approx(1.0, abs=0.15)
    sentiment = tiny_model("sentiment")
    forward = gates(sentiment, "a great film, so dull")
    assert forward.steps == ("<START>", "a", "great", "film", "so", "dull")
    assert forward.cell.shape == (6, 4)


def test_words_stand_where_the_backward_layer_reads_them() -> None:
    sentiment = tiny_model("sentiment")
    names = [layer.name for layer in sentiment.layers if isinstance(layer, GatedLSTM)]
    backward = gates(sentiment, "a great film", names[-1])
    assert backward.steps == ("film", "great", "a", "<START>")
    other = gates(sentiment, "so great film", names[-1])
    same = [np.array_equal(a, b) for a, b in zip(backward.cell, other.cell, strict=True)]
    assert same == [True, True, False, False], "it has not come to the other word before the third step"


@pytest.mark.parametrize(
    ("inputs", "layer", "error", "message"),
    [
        (np.zeros((2, TIME, FEATURES)), None, InvalidInputError, r"inputs: got shape \(2, 7, 3\), expected one input"),
        (np.zeros(TIME), None, InvalidInputError, "expected one input"),
        (np.zeros((TIME, FEATURES)), "lstn", UnknownNameError, "did you mean 'lstm'"),
        (np.zeros((TIME, FEATURES)), keras.layers.LSTM(3), InvalidInputError, "expected an LSTM of"),
    ],
)
def test_wrong_input_is_an_error(inputs: Any, layer: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gates(model_of(keras.layers.LSTM(UNITS, name="lstm")), inputs, layer)


def test_models_without_an_lstm_and_texts_of_other_types_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"has no keras\.layers\.LSTM"):
        gates(model_of(keras.layers.GRU(UNITS)), np.zeros((TIME, FEATURES)))
    with pytest.raises(InvalidInputError, match="got LSTM, expected a functional or Sequential"):
        gates(keras.layers.LSTM(UNITS), np.zeros((TIME, FEATURES)))
    with pytest.raises(InvalidInputError, match="got list, expected one text"):
        gates(tiny_model("sentiment"), ["a text"])


def test_the_picture_shows_the_values() -> None:
    layer = randomized(GatedLSTM(UNITS, "no_output_gate"))
    found = gates(model_of(layer), draw(TIME, FEATURES))
    figure = found.plot()
    maps = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert [axes.get_title() for axes in maps] == ["input gate", "forget gate", "candidate", "cell state"]
    for axes, values in zip(maps, (found.input, found.forget, found.candidate, found.cell), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), values.T)
    assert maps[0].images[0].get_clim() == (0.0, 1.0)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_picture_names_words_or_seconds() -> None:
    words = lstm_zoo.inspect.gates(tiny_model("sentiment"), "a great film").plot()
    ticks = [[label.get_text() for label in axes.get_xticklabels()] for axes in words.axes if axes.get_title()]
    assert ticks[-1] == ["<START>", "a", "great", "film"]
    sound = gates(tiny_model("speech"), np.zeros(16_000, "float32")).plot()
    assert [axes.get_xlabel() for axes in sound.axes if axes.get_xlabel()] == ["seconds"]


def test_the_summary_counts_saturated_gates() -> None:
    values = np.array([[0.05, 0.95], [0.5, 0.91]], "float32")
    found = GateValues("lstm", values, None, None, None, values, values)
    assert found.summary() == {"input": {"mean": pytest.approx(0.6025), "shut": 0.25, "open": 0.5}}
