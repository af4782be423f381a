"""What holds of every recurrent layer here, whatever the numbers."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import numpy_lstm
import pytest
from backends import to_numpy
from comparisons import assert_close, numpy_values, randomize
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_zoo.layers import MLSTM, SLSTM, GatedLSTM, MinLSTM

BATCH, TIME, FEATURES, UNITS = 3, 6, 2, 3
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"gates": name} for name in numpy_lstm.VARIANTS},
    "options": {
        "gates": "peephole",
        "projection_units": 2,
        "cell_clip": 0.8,
        "layer_normalization": True,
        "zoneout_hidden": 0.2,
    },
    "reference": {"implementation": "reference"},
    "sLSTM": {"layer": SLSTM, "heads": 3},
    "minLSTM": {"layer": MinLSTM},
    "mLSTM": {"layer": MLSTM, "heads": 3, "chunk_size": 4},
}
few = settings(max_examples=5, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
lengths = st.lists(st.integers(0, TIME), min_size=BATCH, max_size=BATCH)


@functools.cache
def layer_of(kind: str, go_backwards: bool = False) -> keras.layers.RNN:
    arguments = {"layer": GatedLSTM, **KINDS[kind]}
    make = arguments.pop("layer")
    layer = make(UNITS, **arguments, return_sequences=True, return_state=True, go_backwards=go_backwards)
    layer.build((BATCH, TIME, FEATURES))
    return randomize(layer)


def run(kind: str, x: np.ndarray, state: Any = None, mask: np.ndarray | None = None, **which: Any) -> list[np.ndarray]:
    return numpy_values(layer_of(kind, **which)(x, initial_state=state, mask=mask))


def noise(seed: int) -> tuple[np.ndarray, np.random.Generator]:
    """An input of some scale, and the generator it came from."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0, generator.choice([0.1, 1, 10]), (BATCH, TIME, FEATURES)).astype("float32")
    return x, generator


@pytest.mark.parametrize("kind", KINDS)
@few
@given(seed=seeds, lengths=lengths)
def test_masked_suffix_changes_nothing_before_it(kind, seed, lengths):
    x, generator = noise(seed)
    mask = np.arange(TIME) < np.array(lengths)[:, None]
    outputs, *states = run(kind, x, mask=mask)
    whole = run(kind, x, mask=np.ones_like(mask))[0]
    assert_close(outputs[mask], whole[mask], 1e-6)
    for row, length in enumerate(lengths):
        last = whole[row, length - 1] if length else 0 * whole[row, 0]
        if KINDS[kind].get("layer") is not MLSTM:  # whose states are a memory; its output is not among them
            assert_close(states[0][row], last, 1e-6)
        assert_close(outputs[row, length:], np.broadcast_to(last, outputs[row, length:].shape), 1e-6)
    other = np.where(mask[:, :, None], x, generator.normal(0, 100, x.shape)).astype("float32")
    for one, two in zip(run(kind, other, mask=mask), [outputs, *states], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(seed=seeds, lengths=lengths)
def test_one_call_is_many_calls_of_one_step(kind, seed, lengths):
    x, _ = noise(seed)
    mask = np.arange(TIME) < np.array(lengths)[:, None]
    outputs, *states = run(kind, x, mask=mask)
    carried = None
    for t in range(TIME):
        output, *carried = run(kind, x[:, t : t + 1], carried, mask[:, t : t + 1])
        valid = mask[:, t]
        assert_close(output[valid, 0], outputs[valid, t])
    assert_close(carried, states)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(seed=seeds, row=st.integers(0, BATCH - 1))
def test_rows_are_independent(kind, seed, row):
    x, generator = noise(seed)
    other = generator.normal(size=x.shape).astype("float32")
    other[row] = x[row]
    for one, two in zip(run(kind, x), run(kind, other), strict=True):
        assert_close(one[row], two[row], 1e-6)
    order = generator.permutation(BATCH)
    for one, two in zip(run(kind, x), run(kind, x[order]), strict=True):
        assert_close(two, one[order], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(seed=seeds, lengths=lengths)
def test_go_backwards_reverses_the_input(kind, seed, lengths):
    x, _ = noise(seed)
    mask = np.arange(TIME) < np.array(lengths)[:, None]
    backwards = run(kind, x, mask=mask, go_backwards=True)
    assert_close(backwards, run(kind, x[:, ::-1], mask=mask[:, ::-1]), 1e-6)
    assert to_numpy(backwards[0]).shape == (BATCH, TIME, layer_of(kind).cell.output_size)
