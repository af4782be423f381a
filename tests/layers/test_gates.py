"""The gate equations: both paths against NumPy, finite differences, literal arrays and each other; bad input."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import numpy_lstm
import pytest
from backends import to_numpy
from comparisons import assert_close, draw, layer_gradients, numpy_values, objective, randomize

from lstm_zoo.errors import InvalidInputError, LstmZooError, UnknownNameError
from lstm_zoo.layers import GatedLSTM
from lstm_zoo.layers.gates import VARIANTS, find_gates, register_gates

BATCH, TIME, FEATURES, UNITS = 3, 5, 3, 4
PATHS = ["reference", "scan"]
NINE = numpy_lstm.VARIANTS
EVERYTHING = {
    "peepholes": True,
    "projection_units": 2,
    "projection_clip": 0.5,
    "cell_clip": 0.9,
    "zoneout_cell": 0.2,
    "zoneout_hidden": 0.1,
    "cell_activation": "tanh",
}
# Left, middle and right padding, and in the second half of a row.
MASK = np.array([[0, 1, 1, 1, 1], [1, 0, 0, 1, 1], [1, 1, 1, 0, 0]], bool)
if keras.backend.backend() == "jax":  # there Keras's loop begins with the initial state, not with zeros
    MASK[:, 0] = True

CASES: dict[str, dict[str, Any]] = {
    **{name: {"gates": name} for name in NINE},
    **{f"{name}, peepholes, mask": {"gates": name, "peepholes": True, "mask": MASK} for name in NINE},
    **{
        f"{name}, everything": {
            "gates": name,
            **EVERYTHING,
            "layer_normalization": normalization,
            "mask": MASK,
            "rematerialize": True,
        }
        for name, normalization in zip(NINE, [True, "per_gate", True] * 3, strict=True)
    },
    "no peepholes": {"gates": "peephole", "peepholes": False},
    "two peepholes": {"peepholes": ("input", "output"), "rematerialize": True},
    "projection": {"projection_units": 3},
    "projection, clip": {"projection_units": 5, "projection_clip": 0.3, "mask": MASK},
    "cell clip": {"cell_clip": 0.4},
    "cell activation": {"cell_activation": "tanh"},
    "normalization": {"layer_normalization": True},
    "normalization per gate": {"layer_normalization": "per_gate"},
    "zoneout": {"zoneout_cell": 0.3, "zoneout_hidden": 0.4, "mask": MASK},
    "no bias": {"use_bias": False},
}
# XLA takes seconds for each of these; the other cases run the same loops without it.
COMPILED = (*NINE, "vanilla, peepholes, mask", "full_gate_recurrence, everything")


def inputs(layer: GatedLSTM) -> tuple[np.ndarray, list[np.ndarray]]:
    """The input and an initial state."""
    states = [draw(BATCH, width, seed=index) for index, width in enumerate(layer.state_size)]
    return draw(BATCH, TIME, FEATURES), states


@functools.cache
def built(case: str, path: str) -> tuple[GatedLSTM, np.ndarray | None]:
    arguments = dict(CASES[case])
    mask = arguments.pop("mask", None)
    if case not in COMPILED:
        arguments["jit_compile"] = False
    if path == "reference":
        arguments.pop("rematerialize", None)  # the scan's alone
    layer = GatedLSTM(UNITS, return_sequences=True, return_state=True, implementation=path, **arguments)
    layer.build((BATCH, TIME, FEATURES))
    assert layer.explain((BATCH, TIME, FEATURES), masked=mask is not None).path == path
    return randomize(layer), mask


@functools.cache
def values(case: str, path: str) -> list[np.ndarray]:
    layer, mask = built(case, path)
    x, state = inputs(layer)
    return numpy_values(layer(x, initial_state=state, mask=mask))


@functools.cache
def slopes(case: str, path: str) -> dict[str, np.ndarray]:
    layer, mask = built(case, path)
    return layer_gradients(layer, *inputs(layer), mask=mask)


def independent(case: str, arrays: dict[str, np.ndarray], mask: np.ndarray | None) -> list[np.ndarray]:
    """Outputs and states by NumPy, of the weights, input and state in ``arrays``."""
    arguments = CASES[case]
    options = {name: arguments[name] for name in EVERYTHING if "_cl" in name or "zone" in name if name in arguments}
    if "cell_activation" in arguments:
        options["cell_activation"] = np.tanh
    state = [value for name, value in arrays.items() if name.startswith("state")]
    variant = arguments.get("gates", "vanilla")
    outputs, states = numpy_lstm.run(variant, arrays, arrays["x"], state=state, mask=mask, **options)
    return [outputs, *states]


def arrays_of(layer: GatedLSTM) -> dict[str, np.ndarray]:
    x, state = inputs(layer)
    weights = {weight.name: weight for weight in layer.weights}
    named = {"x": x, **{f"state {index}": value for index, value in enumerate(state)}, **weights}
    return {name: to_numpy(value).astype("float64") for name, value in named.items()}


def test_the_independent_implementation_has_every_variant():
    assert set(NINE) == {name for name, gates in VARIANTS.items() if gates.step.__module__ == find_gates.__module__}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES)
def test_values_are_numpys(case, path):
    layer, mask = built(case, path)
    assert_close(values(case, path), independent(case, arrays_of(layer), mask))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_finite_differences(case, path):
    layer, mask = built(case, path)
    arrays, found = arrays_of(layer), slopes(case, path)
    assert set(found) == set(arrays)
    for name, gradient in found.items():
        for seed in range(3):
            direction = draw(*gradient.shape, seed=100 + seed).astype("float64")

            def along(distance, name=name, direction=direction):
                moved = {**arrays, name: arrays[name] + distance * direction}
                return objective(independent(case, moved, mask))

            expected = (along(1e-6) - along(-1e-6)) / 2e-6
            size = np.linalg.norm(gradient) * np.linalg.norm(direction)
            assert size > 0, name
            assert abs(np.sum(gradient * direction) - expected) < 1e-5 * size, name


@pytest.mark.parametrize("case", CASES)
def test_paths_agree(case):
    assert_close(values(case, "scan"), values(case, "reference"))
    assert_close(slopes(case, "scan"), slopes(case, "reference"))


WEIGHTS = {
    "vanilla": "kernel recurrent_kernel bias",
    "peephole": "kernel recurrent_kernel bias input_peephole forget_peephole output_peephole",
    "coupled_input_forget, peepholes, mask": "kernel recurrent_kernel bias forget_peephole output_peephole",
    "full_gate_recurrence": "kernel recurrent_kernel bias feedback_kernel",
    "two peepholes": "kernel recurrent_kernel bias input_peephole output_peephole",
    "no bias": "kernel recurrent_kernel",
    "full_gate_recurrence, everything": "kernel recurrent_kernel bias feedback_kernel input_peephole forget_peephole "
    "output_peephole projection_kernel input_norm_scale recurrent_norm_scale cell_norm_scale cell_norm_offset",
    "normalization per gate": "kernel recurrent_kernel bias gate_norm_scale",
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_have_their_order(case):
    assert [weight.name for weight in built(case, "reference")[0].weights] == WEIGHTS[case].split()


# Outputs at four steps. The input is 1, -2, 3, 0 in both features; kernel 0.3, recurrent and feedback kernel 0.2, bias
# 0.1 (forget gate 1), peepholes 0.4.
GOLDEN = {
    "vanilla": [0.2560644, -0.0034592, 0.5868793, 0.394444],
    "peephole": [0.2693979, -0.0057076, 0.60434, 0.4741132],
    "coupled_input_forget": [0.0676041, -0.0930966, -0.2550845, -0.106419],
    "no_input_gate": [0.3609218, -0.1168508, 0.4198674, 0.330051],
    "no_forget_gate": [0.2560644, 0.0528965, 0.6766454, 0.5009147],
    "no_output_gate": [0.3832223, -0.0091858, 0.6764242, 0.692087],
    "no_input_activation": [0.2915735, -0.0118544, 0.8021127, 0.5487956],
    "no_output_activation": [0.269835, -0.003376, 0.7130222, 0.5122466],
    "full_gate_recurrence": [0.2560644, -0.0371125, 0.6190702, 0.6236814],
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_outputs(name, path):
    constant = keras.initializers.Constant
    layer = GatedLSTM(
        2,
        name,
        kernel_initializer=constant(0.3),
        recurrent_initializer=constant(0.2),
        bias_initializer=constant(0.1),
        peephole_initializer=constant(0.4),
        return_sequences=True,
        implementation=path,
    )
    x = np.repeat([[[1.0], [-2.0], [3.0], [0.0]]], 2, axis=2)
    expected = np.repeat(np.array(GOLDEN[name])[None, :, None], 2, axis=2)
    np.testing.assert_allclose(to_numpy(layer(x)), expected, rtol=0, atol=2e-7)


def initial_bias(gates: str = "vanilla", **arguments: Any) -> dict[str, np.ndarray]:
    layer = GatedLSTM(50, gates, bias_initializer=keras.initializers.Constant(0.25), **arguments)
    layer.build((None, None, 1))
    blocks = find_gates(gates).blocks
    return dict(zip(blocks, np.split(to_numpy(layer.cell.bias), len(blocks)), strict=True))


@pytest.mark.parametrize(
    ("arguments", "forget"),
    [
        ({}, 1),
        ({"unit_forget_bias": False}, 0.25),
        ({"forget_bias": "zero"}, 0),
        ({"forget_bias": "one", "unit_forget_bias": False}, 1),
        ({"gates": "coupled_input_forget"}, 1),
        ({"gates": "coupled_input_forget", "forget_bias": "zero"}, 0),
    ],
)
def test_forget_bias(arguments, forget):
    bias = initial_bias(**arguments)
    assert np.all(bias.pop("forget") == forget)
    for block in bias.values():
        assert np.all(block == 0.25)


def test_chrono_bias_spans_the_longest_dependency():
    bias = initial_bias(forget_bias="chrono", longest_dependency=100, seed=1)
    steps = np.exp(bias["forget"])
    assert steps.min() >= 1
    assert 70 < steps.max() <= 99
    assert 35 < steps.mean() < 65  # uniform between 1 and 99: a deviation of 4 for the mean of fifty
    np.testing.assert_array_equal(bias["input"], -bias["forget"])
    assert np.all(bias["cell"] == 0.25)
    assert np.all(bias["output"] == 0.25)


def test_chrono_bias_of_coupled_gates():
    bias = initial_bias("coupled_input_forget", forget_bias="chrono", longest_dependency=100, seed=1)
    assert len(set(bias["forget"])) == 50
    assert set(bias) == {"forget", "cell", "output"}


@pytest.mark.parametrize("path", PATHS)
def test_zoneout_in_training_keeps_old_values(path):
    """Each new value is the old one, exactly, at the stated rate, and otherwise what it is without zoneout."""
    batch, units = 40, 25
    x, state = draw(batch, 1, 2), [draw(batch, units, seed=1), draw(batch, units, seed=2)]
    plain = randomize_built(GatedLSTM(units, return_state=True, implementation=path), (batch, 1, 2))
    layer = GatedLSTM(units, zoneout_hidden=0.2, zoneout_cell=0.6, return_state=True, seed=1, implementation=path)
    layer.build((batch, 1, 2))
    layer.set_weights(plain.get_weights())
    results = numpy_values(layer(x, initial_state=state, training=True))
    expected = numpy_values(plain(x, initial_state=state))
    np.testing.assert_array_equal(results[0], results[1])
    kept = []
    for value, old, new, rate in zip(results[1:], state, expected[1:], [0.2, 0.6], strict=True):
        kept.append(value == old)
        assert abs(kept[-1].mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / value.size)
        np.testing.assert_allclose(value[~kept[-1]], new[~kept[-1]], rtol=0, atol=1e-6)
    assert abs(np.corrcoef(kept[0].ravel(), kept[1].ravel())[0, 1]) < 0.15  # two draws, not one
    assert not np.array_equal(numpy_values(layer(x, initial_state=state, training=True))[1], results[1])


@pytest.mark.parametrize("path", PATHS)
def test_zoneout_draws_anew_at_each_step(path):
    layer = GatedLSTM(20, zoneout_hidden=0.5, return_sequences=True, seed=1, implementation=path)
    outputs = to_numpy(layer(draw(20, 4, 2), training=True))
    kept = outputs[:, 1:] == outputs[:, :-1]
    assert 0.4 < kept.mean() < 0.6
    assert 0.4 < (kept[:, 0] == kept[:, 1]).mean() < 0.6


def randomize_built(layer: GatedLSTM, shape: tuple[int, ...]) -> GatedLSTM:
    layer.build(shape)
    return randomize(layer)


def test_training_is_the_same_on_both_paths():
    """Zoneout and both dropouts: the same draws, so the same values and gradients."""
    noise = {"zoneout_cell": 0.3, "zoneout_hidden": 0.2, "dropout": 0.3, "recurrent_dropout": 0.3, "seed": 3}
    found = []
    for path in PATHS:
        layer = GatedLSTM(UNITS, return_sequences=True, return_state=True, implementation=path, **noise)
        randomize_built(layer, (BATCH, TIME, FEATURES))
        call = {"mask": MASK, "training": True}
        slopes = layer_gradients(layer, *inputs(layer), **call)
        x, state = inputs(layer)
        found.append((numpy_values(layer(x, initial_state=state, **call)), slopes))
    assert_close(found[1][0], found[0][0])
    assert_close(found[1][1], found[0][1])


@pytest.fixture
def leaky():
    """A variant of a user's own, with a vector and a state of its own: the cell leaks, and a trace follows it."""

    @register_gates("leaky", blocks=("input", "cell"), parameters={"leak": "zeros"}, states=("trace",))
    def leaky(z, h, c, trace, cell):
        i, g = cell.split(z)
        i = cell.recurrent_activation(i + cell.peephole("input", c))
        f = cell.recurrent_activation(cell["leak"])
        c = cell.cell_activation(f * c + i * cell.activation(g))
        trace = 0.5 * trace + 0.5 * c
        return cell.activation(trace), c, trace

    yield "leaky"
    del VARIANTS["leaky"]


def test_variant_of_a_users_own(leaky):
    found = []
    for path in PATHS:
        layer = GatedLSTM(UNITS, leaky, peepholes=True, return_sequences=True, return_state=True, implementation=path)
        randomize_built(layer, (BATCH, TIME, FEATURES))
        assert layer.explain((BATCH, TIME, FEATURES)).path == path
        x, state = inputs(layer)
        assert len(state) == 3
        found.append((numpy_values(layer(x, initial_state=state)), layer_gradients(layer, x, state)))
    assert_close(found[1][0], found[0][0])
    assert_close(found[1][1], found[0][1])
    assert "leak" in found[0][1]

    w = {weight.name: to_numpy(weight).astype("float64") for weight in layer.weights}
    h, c, trace = state
    for t in range(TIME):
        i, g = np.split(x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 2, axis=-1)
        i = numpy_lstm.sigmoid(i + w["input_peephole"] * c)
        c = numpy_lstm.sigmoid(w["leak"]) * c + i * np.tanh(g)
        trace = (trace + c) / 2
        h = np.tanh(trace)
    assert_close(found[1][0][1:], [h, c, trace])


def test_a_variant_of_the_package_cannot_be_replaced():
    with pytest.raises(InvalidInputError, match="'vanilla' is a variant of the package"):
        register_gates("vanilla")(lambda z, h, c, cell: (h, c))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"gates": "vanila"}, "unknown gates 'vanila': did you mean 'vanilla'"),
        ({"gates": 3}, "gates=3: expected the name of a variant"),
        ({"gates": "no_forget_gate", "peepholes": ("forget",)}, "peepholes=.*'no_forget_gate' has no 'forget' gate"),
        ({"gates": "coupled_input_forget", "peepholes": ["input"]}, "peepholes=.*no 'input' gate"),
        ({"peepholes": ("cell",)}, "peepholes=.*no 'cell' gate"),
        ({"peepholes": "all"}, "peepholes='all'"),
        ({"peepholes": 1}, "peepholes=1"),
        ({"units": 0}, "units=0: expected a positive integer"),
        ({"units": 2.5}, "units=2.5"),
        ({"units": True}, "units=True"),
        ({"projection_units": -1}, "projection_units=-1"),
        ({"projection_clip": 1.0}, "projection_clip=1.0 without a projection"),
        ({"projection_units": 2, "projection_clip": 0}, "projection_clip=0: expected a positive number"),
        ({"cell_clip": -1}, "cell_clip=-1: expected a positive number"),
        ({"cell_clip": float("nan")}, "cell_clip=nan"),
        ({"zoneout_cell": 1.5}, "zoneout_cell=1.5: expected a share from 0 to 1"),
        ({"zoneout_hidden": "a"}, "zoneout_hidden='a'"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"recurrent_dropout": None}, "recurrent_dropout=None"),
        ({"layer_normalization": "yes"}, "layer_normalization='yes': expected one of False, True, 'per_gate'"),
        ({"layer_normalization": 1}, "layer_normalization=1"),
        ({"forget_bias": "two"}, "forget_bias='two': expected one of None, 'zero', 'one', 'chrono'"),
        ({"forget_bias": "chrono"}, "longest_dependency=None"),
        ({"longest_dependency": 10}, "longest_dependency=10 with forget_bias=None"),
        ({"forget_bias": "chrono", "longest_dependency": 2}, "longest_dependency=2: expected at least 3"),
        ({"gates": "no_forget_gate", "forget_bias": "one"}, "forget_bias='one': 'no_forget_gate' has no forget gate"),
        ({"implementation": "fast"}, "implementation='fast'"),
    ],
)
def test_bad_arguments_are_named(arguments, says):
    with pytest.raises(LstmZooError, match=says) as caught:
        GatedLSTM(**{"units": 4, **arguments})
    assert isinstance(caught.value, InvalidInputError | UnknownNameError)
