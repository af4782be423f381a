"""One LSTM's equations, run step by step and watched."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from lstm_zoo.layers.cell import GatedLSTMCell
from lstm_zoo.layers.equations import CellEquations
from lstm_zoo.layers.gated_lstm import GatedLSTM

GATES = ("input", "forget", "output")


class Watched(CellEquations):
    """Keeps what the gate function does with each of its blocks.

    An activation belongs to the block whose pre-activation, with what its peephole saw, it was given.

    Attributes:
        values: by the name of the block, ``[1, units]``.
    """

    def __init__(self, cell: GatedLSTMCell, parameters: dict[str, Any], values: dict[str, Any]):
        super().__init__(cell, parameters)
        self.values = values
        self._sums: dict[str, Any] = {}
        self.activation = self._watch(self.activation, ("cell",))
        self.recurrent_activation = self._watch(self.recurrent_activation, cell.gates.gates)

    def split(self, z: Any) -> Any:
        parts = super().split(z)
        self._sums = dict(zip(self._cell.gates.blocks, parts, strict=True))
        return parts

    def peephole(self, gate: str, c: Any) -> Any:
        seen = super().peephole(gate, c)
        self._sums[gate] = self._sums[gate] + seen
        return seen

    def cell_activation(self, c: Any) -> Any:
        if "cell" in self._sums:
            self.values.setdefault("cell", self._sums["cell"])  # no activation has come up to here: it is linear
        return super().cell_activation(c)

    def _watch(self, function: Callable[[Any], Any], blocks: tuple[str, ...]) -> Callable[[Any], Any]:
        def watched(x: Any) -> Any:
            y = function(x)
            for block in blocks:
                if block in self._sums and block not in self.values and bool(ops.all(x == self._sums[block])):
                    self.values[block] = y
                    break
            return y

        return watched


def run_watched(layer: Any, sequences: Any, states: tuple[Any, ...], mask: Any) -> dict[str, Any]:
    """What the layer's cell does with ``sequences`` ``[1, time, features]``, step by step.

    Args:
        layer: a ``keras.layers.LSTM`` or ``GatedLSTM``.
        states: the first ones, ``[1, units]`` each.
        mask: ``[1, time]`` bool, or None.

    Returns:
        The gates, ``"candidate"``, ``"cell"`` and ``"hidden"``, ``[time, units]`` float32 each, see
        :class:`lstm_zoo.inspect.GateValues`.
    """
    cell = layer.cell if isinstance(layer, GatedLSTM) else _same_cell(layer)
    z_input = cell.project_inputs(ops.cast(sequences, cell.compute_dtype))  # [1, time, blocks * units]
    present = np.ones(z_input.shape[1], bool) if mask is None else np.asarray(mask).reshape(-1)
    parameters = cell.step_parameters()
    rows: list[dict[str, Any]] = [{} for _ in present]
    for t in reversed(range(len(rows))) if layer.go_backwards else range(len(rows)):
        if present[t]:
            z_recurrent, watch = cell.recur(states), functools.partial(Watched, values=rows[t])
            states = cell.advance(z_input[:, t], z_recurrent, states, parameters, equations=watch)
        rows[t] |= {"c": states[1], "h": states[0]}
    fields = {name: _stacked(rows, name) for name in GATES}
    states_over_time = {"cell": _stacked(rows, "c"), "hidden": _stacked(rows, "h")}
    return {**fields, "candidate": _stacked(rows, "cell"), **states_over_time}


def _stacked(rows: list[dict[str, Any]], name: str) -> np.ndarray | None:
    """``[time, units]`` float32, NaN where a step has none; None where no step has any."""
    found = [np.asarray(ops.cast(row[name], "float32"))[0] for row in rows if name in row]
    if not found:
        return None
    stacked = np.full((len(rows), len(found[0])), np.nan, "float32")
    stacked[[name in row for row in rows]] = found
    return stacked


def _same_cell(layer: Any) -> GatedLSTMCell:
    """The cell of a ``keras.layers.LSTM`` as this package's own, which can be watched; the weights are the same."""
    cell = GatedLSTMCell(
        layer.units,
        activation=layer.activation,
        recurrent_activation=layer.recurrent_activation,
        use_bias=layer.use_bias,
        dtype=layer.dtype_policy,
    )
    cell.build((None, layer.cell.kernel.shape[0]))
    cell.set_weights(layer.get_weights())
    return cell
