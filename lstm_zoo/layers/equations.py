"""What the gate functions are written with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import activations, ops

if TYPE_CHECKING:
    from lstm_zoo.layers.cell import GatedLSTMCell


class CellEquations:
    """What a gate function gets as ``cell``: the activations and parameters of its layer.

    Attributes:
        activation: on the cell input and on the cell state that is let out, the hyperbolic tangent by default.
        recurrent_activation: of the gates, the sigmoid by default.
    """

    def __init__(self, cell: GatedLSTMCell, parameters: dict[str, Any]):
        self._cell, self._parameters = cell, parameters
        self.activation = cell.activation
        self.recurrent_activation = cell.recurrent_activation

    def __getitem__(self, name: str) -> Any:
        """A trainable vector ``[units]`` that the variant declares."""
        return self._parameters[name]

    def split(self, z: Any) -> Any:
        """``z`` ``[batch, blocks * units]`` as one ``[batch, units]`` a block."""
        return ops.split(z, len(self._cell.gates.blocks), axis=-1)

    def peephole(self, gate: str, c: Any) -> Any:
        """What the named gate sees of the cell state ``c``; zero without a peephole."""
        name = f"{gate}_peephole"
        return self._parameters[name] * c if name in self._parameters else 0.0

    def cell_activation(self, c: Any) -> Any:
        """The outer function on the new cell state, then the cell clip."""
        cell = self._cell
        c = cell.cell_activation(c)
        return c if cell.cell_clip is None else ops.clip(c, -cell.cell_clip, cell.cell_clip)

    def normalize(self, c: Any) -> Any:
        """The layer normalisation of the cell state, in a layer with ``layer_normalization=True``."""
        if self._cell.layer_normalization is not True:
            return c
        normal = normalized(c, self._cell.EPSILON)
        return normal * self._parameters["cell_norm_scale"] + self._parameters["cell_norm_offset"]


class ScanEquations(CellEquations):
    """The same with the sigmoid as a hyperbolic tangent, of which XLA makes faster code than of an exponential."""

    def __init__(self, cell: GatedLSTMCell, parameters: dict[str, Any]):
        super().__init__(cell, parameters)
        if cell.recurrent_activation is activations.sigmoid and cell.compute_dtype in ("float32", "float64"):
            self.recurrent_activation = sigmoid_by_tanh


def sigmoid_by_tanh(x: Any) -> Any:
    r""":math:`\sigma(x) = (1 + \tanh(x / 2)) / 2`, exact to a few units in the last digit of 1.

    A gate that is shut further than that, below about -17 in float32, is shut for good.
    """
    return 0.5 * ops.tanh(0.5 * x) + 0.5


def normalized(x: Any, epsilon: float) -> Any:
    """Mean 0 and variance 1 over the last axis; not in float16, where the gradient at zero would overflow."""
    dtype = x.dtype
    x = ops.cast(x, "float32") if keras.backend.standardize_dtype(dtype) == "float16" else x
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    return ops.cast(centred * ops.rsqrt(ops.mean(centred * centred, axis=-1, keepdims=True) + epsilon), dtype)
