"""How much of a model's input one step of its first recurrent layers sees, measured on the model itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lstm_zoo.errors import ExportError
from lstm_zoo.layers.stand_ins import not_unrolled, recurrent_layers, stand_ins, without_cudnn

LONG, LONGEST = 2**14, 2**18  # elements of input, a second of PCM; positions after which no step is expected
WINDOWS = 4
TOLERANCE = 1e-4  # of the largest value; float32 differs by 1e-6, padding by more than 1e-2


class ReceptiveField:
    """What the first recurrent layers of a model see of its input.

    Attributes:
        size: positions of the input (axis 1: PCM samples, or steps of features) that one recurrent step depends on.
        stride: positions from one recurrent step to the next.
        groups: the recurrent layers that no other one precedes, those that receive the same tensor together: the two
            directions of a ``Bidirectional`` are one group.
        features: the size of the tensor that each group receives, ``[batch, steps, features]``.

    Raises:
        ExportError: the model has no recurrent layer; or what precedes it is not local, so that a step depends on
            more than ``size`` positions, or on where it is in the recording.
    """

    def __init__(self, model: keras.Model):
        front = _Front(model)
        self.groups, self.features = front.groups, front.features
        self.size, self.stride = front.measure()
        if self.size < 1:
            raise ExportError(_not_local(self.groups[0]))
        self._check(front, noise(model.inputs[0], self.size + (WINDOWS - 1) * self.stride))

    def steps(self, length: int) -> int:
        """Recurrent steps that ``length`` positions of input give."""
        return max(0, 1 + (length - self.size) // self.stride)

    def _check(self, front: _Front, x: np.ndarray) -> None:
        """Each step of a long input has to be what its own window gives alone."""
        whole = front(x)
        for i in range(WINDOWS):
            window = front(x[:, i * self.stride : i * self.stride + self.size])
            for layers, expected, alone in zip(self.groups, whole, window, strict=True):
                if expected.shape[1] != WINDOWS or alone.shape[1] != 1:
                    raise ExportError(f"{layers[0].name} takes other steps than {self.groups[0][0].name}")
                if not np.abs(expected[:, i] - alone[:, 0]).max() <= TOLERANCE * max(1.0, np.abs(expected).max()):
                    raise ExportError(_not_local(layers))


class _Front:
    """The model up to its first recurrent layers, as a function of inputs ``[1, length, ...]`` of any length."""

    def __init__(self, model: keras.Model):
        self._model = model
        self._recurrent_ops: set[Any] = set()
        self._found: list[tuple[Any, tf.Tensor]] = []
        self.groups: list[list[Any]] = []
        self.features: list[int] = []
        source = model.inputs[0]
        spec = tf.TensorSpec([1, None, *source.shape[2:]], source.dtype)
        self._call = tf.function(self._trace, autograph=False).get_concrete_function(spec)

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        return [sequences.numpy() for sequences in self._call(tf.constant(x))]

    def steps(self, length: int) -> int:
        source = self._model.inputs[0]
        return self(np.zeros((1, length, *source.shape[2:]), source.dtype))[0].shape[1]

    def measure(self) -> tuple[int, int]:
        """Size and stride, from the lengths of input at which one more step appears.

        Long inputs alone are tried: kernels differ in what they do to inputs that are shorter than a window.
        """
        source = self._model.inputs[0]
        length = source.shape[1] or max(64, LONG // math.prod(source.shape[2:]))
        first = self._next_step(length)
        while self.steps(first) < 2:
            first = self._next_step(2 * first)
        stride = self._next_step(first) - first
        return first - (self.steps(first) - 1) * stride, stride

    def _next_step(self, length: int) -> int:
        """The smallest length that gives more steps than ``length`` does."""
        before, low, more = self.steps(length), length, 1
        while self.steps(length + more) <= before:
            low, more = length + more, 2 * more
            if length + more > LONGEST:
                raise ExportError(f"{self.groups[0][0].name} does not get one more step for every so many positions")
        high = length + more
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.steps(middle) <= before else (low, middle)
        return high

    def _trace(self, x: tf.Tensor) -> list[tf.Tensor]:
        layers = recurrent_layers(self._model)
        replacements = ((layer, "inner_loop", self._inner_loop) for layer in layers)
        with without_cudnn(self._model), not_unrolled(layers), stand_ins(replacements):
            try:
                self._model.call(x, training=False)
            except (ValueError, TypeError) as error:
                # What follows the recurrent layers may insist on the length of a clip; it has no part in this.
                if not self._found:
                    raise ExportError(f"the model does not take inputs of another length: {error}") from error
        if not self._found:
            raise ExportError("streaming needs a model with keras.layers.LSTM, GatedLSTM or SLSTM layers")
        inputs: dict[int, tf.Tensor] = {}
        groups: dict[int, list[Any]] = {}
        for layer, sequences in self._found:
            inputs[id(sequences)] = sequences
            groups.setdefault(id(sequences), []).append(layer)
        self.groups, self.features = list(groups.values()), [x.shape[2] for x in inputs.values()]
        return list(inputs.values())

    def _inner_loop(
        self, layer: Any, _: Callable[..., Any], sequences: tf.Tensor, initial_state: Any, mask: Any, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """In place of the loop: notes what it would receive, and passes on zeros that are known as its outputs."""
        if any(part is not None for part in tf.nest.flatten(mask)):
            raise ExportError(f"{layer.name} receives a mask, which streams do not have: remove the mask")
        if not self._is_recurrent(sequences):
            self._found.append((layer, sequences))
        outputs = tf.zeros([1, tf.shape(sequences)[1], layer.cell.output_size], sequences.dtype)
        self._recurrent_ops.add(outputs.op)
        states = [tf.identity(state) for state in initial_state]
        self._recurrent_ops.update(state.op for state in states)
        return outputs[:, 0], outputs, states

    def _is_recurrent(self, tensor: tf.Tensor) -> bool:
        """Whether ``tensor`` depends on outputs or states of a recurrent layer."""
        seen, waiting = set(), [tensor.op]
        while waiting:
            op = waiting.pop()
            if op in self._recurrent_ops:
                return True
            if op not in seen:
                seen.add(op)
                waiting += [source.op for source in op.inputs]
        return False


def noise(source: Any, length: int) -> np.ndarray:
    """``[1, length, ...]`` of the type of the input ``source``, the same at every call: what checks are made on."""
    random, shape = np.random.default_rng(0), (1, length, *source.shape[2:])
    if not np.issubdtype(source.dtype, np.floating):
        return random.integers(0, 2, shape).astype(source.dtype)  # ids that every vocabulary has
    loudness = np.linspace(0.1, 1.0, length).reshape(1, -1, *[1] * (len(shape) - 2))
    return (random.standard_normal(shape) * loudness).astype(source.dtype)


def _not_local(layers: list[Any]) -> str:
    return (
        f"what precedes {layers[0].name} pads over time, or depends on the whole recording: streaming needs "
        'padding="valid" and no pooling or normalisation over time before the first recurrent layer'
    )
