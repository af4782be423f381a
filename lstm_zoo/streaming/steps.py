"""A causal model as a function of the next block of input and of explicit state."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.layers.stand_ins import StandIn, recurrent_layers, stand_ins, without_cudnn
from lstm_zoo.streaming.continuous import Continuous
from lstm_zoo.streaming.pooling import Steps
from lstm_zoo.streaming.receptive_field import ReceptiveField, noise
from lstm_zoo.streaming.sliding import Sliding

MODES = ("continuous", "sliding")
MOST_BLOCKS = 2**30  # a year of blocks of 40 ms; the count stays there
TOLERANCE = 1e-5  # of the largest value, at least of 1

Tensors = dict[str, tf.Tensor]


class StepModel:
    r"""A causal model that takes its input in blocks.

    What precedes the first recurrent layer sees ``receptive_field`` positions of the input per recurrent step, and
    moves on by ``stride``. So the last positions are kept, and each block of ``steps * stride`` positions gives exactly
    ``steps`` new recurrent steps; the few positions in between are computed again, which is cheap and exact. Recurrent
    layers and what follows go on from the state:

    - ``"continuous"``: after block :math:`b` the answer is ``model(x[:, : b * stride])``; where the model gives out
      sequences, the new steps of it.
    - ``"sliding"``: it is ``model(x[:, b * stride - window : b * stride - window + samples])``. Where that ends behind
      the last block, the missing positions, fewer than one stride, are those that no step of the clip reaches.

    Answers mean nothing before block ``warm_up``. Training-only layers are off. Any number of calls makes no
    difference: nothing accumulates but the mean of a pooling, and that without drift.

    Args:
        model: functional or Sequential, with one input ``[batch, positions, ...]``.
        streaming: ``"continuous"`` or ``"sliding"``.
        samples: positions of the clip that a sliding answer is about; default: ``model.config.clip_samples``, or the
            length that the model's input has. Of no meaning to ``"continuous"``.

    Attributes:
        receptive_field, stride: in positions of the input, see above.
        states: of each state its static shape, batch 1, and type, by name. Zeros: nothing heard yet.
        warm_up: blocks until the first answer.
        window: positions from the start of the clip to the end of the last block; None if continuous.

    Raises:
        InvalidInputError: ``streaming`` is neither; ``samples`` is missing or gives no recurrent step; several inputs.
        ExportError: the model cannot be computed block by block; the message names the layer.
    """

    def __init__(self, model: keras.Model, streaming: str = "continuous", samples: int | None = None):
        if streaming not in MODES:
            raise InvalidInputError(f"streaming={streaming!r}: expected one of {', '.join(map(repr, MODES))}")
        _check_model(model)
        field = ReceptiveField(model)
        self.model, self.streaming = model, streaming
        self.receptive_field, self.stride = field.size, field.stride
        self._delay = math.ceil(field.size / field.stride) - 1  # blocks that a step needs besides the last one
        (self._name,), self._answers = tensor_names(model)
        self._rest = model.inputs[0].shape[2:]
        names = _state_prefixes(model)
        self._memory: Continuous | Sliding
        if streaming == "continuous":
            self._memory = Continuous(model, names.__getitem__)
            self.samples, self.window, self.warm_up = None, None, self._delay + 1
            counts = self._delay > 0 or self._memory.counts
        else:
            self.samples = _clip_length(model, samples)
            length = field.steps(self.samples)
            if not length:
                raise InvalidInputError(f"samples={self.samples}: a recurrent step alone takes {field.size}")
            self._memory = Sliding(field, length, names.__getitem__)
            self.warm_up = self._delay + length
            self.window = self.warm_up * field.stride
            counts = True
        self.states = self._own_states(counts) | self._memory.states
        for name in (self._name, *self._answers):
            if name in self.states:
                raise ExportError(f"{name} would name a state, too: give that input or output layer another name")

    def _own_states(self, counts: bool) -> dict[str, tf.TensorSpec]:
        """Of the input's last positions, and of the number of blocks heard."""
        source, own = self.model.inputs[0], {}
        if self._delay:
            self._tail = f"{self._name}_tail"
            own[self._tail] = tf.TensorSpec([1, self._delay * self.stride, *self._rest], source.dtype, self._tail)
        if counts:
            own["count"] = tf.TensorSpec([1], tf.int32, "count")
        return own

    def block(self, steps: int) -> tf.TensorSpec:
        """Of the input of a call that takes ``steps`` recurrent steps: ``[1, steps * stride, ...]``."""
        source = self.model.inputs[0]
        return tf.TensorSpec([1, steps * self.stride, *self._rest], source.dtype, self._name)

    def __call__(self, block: Any, states: Tensors) -> tuple[Tensors, Tensors]:
        """The answer after ``block``, and the states to hand over with the next one.

        Args:
            block: ``[1, steps * stride, ...]``, any positive number of steps.
            states: a tensor for each of :attr:`states`.

        Returns:
            The model's outputs by name; the new states by name.

        Raises:
            InvalidInputError: another shape, or states that are missing.
        """
        block = self._checked(tf.convert_to_tensor(block, self.model.inputs[0].dtype))
        missing = self.states.keys() - states.keys()
        if missing:
            raise InvalidInputError(f"states: {', '.join(sorted(missing))} missing; zeros where nothing was heard yet")
        steps = block.shape[1] // self.stride
        new: Tensors = {}
        if self._delay:
            block = tf.concat([states[self._tail], block], axis=1)
            new[self._tail] = block[:, -self._delay * self.stride :]
        if "count" in self.states:
            new["count"] = tf.minimum(states["count"], MOST_BLOCKS) + steps
        inputs = block[:, : (steps - 1) * self.stride + self.receptive_field]
        with without_cudnn(self.model), stand_ins(self._stand_ins(states, new, steps)):
            outputs = keras.tree.flatten(self.model.call(inputs, training=False))
        return dict(zip(self._answers, outputs, strict=True)), {name: new[name] for name in self.states}

    def _stand_ins(self, states: Tensors, new: Tensors, steps: int) -> list[StandIn]:
        if isinstance(self._memory, Sliding):
            return self._memory.stand_ins(states, new)
        heard, before = tf.ones([1, steps, 1]), tf.zeros([])
        if "count" in self.states:
            blocks = tf.minimum(states["count"][0], MOST_BLOCKS) - self._delay
            before = tf.cast(tf.maximum(blocks, 0), tf.float32)
            heard = tf.cast(tf.range(steps) + blocks >= 0, tf.float32)[None, :, None]
        return self._memory.stand_ins(states, new, Steps(before, heard), masked=self._delay > 0)

    def _checked(self, block: tf.Tensor) -> tf.Tensor:
        length = block.shape[1] if block.shape.rank and block.shape.rank > 1 else None
        if not length or length % self.stride or tuple(block.shape) != (1, length, *self._rest):
            expected = ", ".join(map(str, ("1", f"a multiple of {self.stride}", *self._rest)))
            raise InvalidInputError(f"block: got shape {tuple(block.shape)}, expected [{expected}]")
        return block

    def check(self) -> None:
        """Compare with the model itself on noise, over several blocks of several sizes.

        Raises:
            ExportError: an output differs: a layer after the first recurrent one mixes time steps in a way that
                cannot go on from block to block.
        """
        sizes = (self.warm_up + 1, 1, 3)
        x = noise(self.model.inputs[0], (sum(sizes) + 1) * self.stride + (self.samples or 0))
        heard = 0
        try:
            for size, (answers, _) in zip(sizes, self._run(x, sizes), strict=True):
                heard += size
                self._compare(answers, self._offline(x, heard))
        except (ValueError, tf.errors.OpError) as error:
            raise ExportError(f"{self.model.name} cannot be computed block by block: {error}") from error

    def _run(self, x: np.ndarray, sizes: tuple[int, ...]) -> Iterator[tuple[Tensors, Tensors]]:
        states, start = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in self.states.items()}, 0
        for size in sizes:
            answers, states = self(x[:, start : start + size * self.stride], states)
            start += size * self.stride
            yield answers, states

    def _offline(self, x: np.ndarray, blocks: int) -> list[np.ndarray]:
        """What the model itself says to what an answer after so many blocks is about."""
        end = blocks * self.stride
        if self.window is not None and self.samples is not None:
            x = x[:, end - self.window :][:, : self.samples]
        else:
            x = x[:, :end]
        with without_cudnn(self.model):
            return [np.asarray(part) for part in keras.tree.flatten(self.model.call(tf.constant(x), training=False))]

    def _compare(self, answers: Tensors, expected: list[np.ndarray]) -> None:
        for name, whole in zip(answers, expected, strict=True):
            answer = answers[name].numpy()
            if self.streaming == "continuous" and whole.ndim > 2:  # a sequence: the steps that both have
                steps = min(answer.shape[1], whole.shape[1])
                answer, whole = answer[:, -steps:], whole[:, -steps:]
            if answer.shape != whole.shape:
                raise ExportError(f"{name}: a stream gives shape {answer.shape} where the model gives {whole.shape}")
            difference = np.abs(answer - whole).max()
            if not difference <= TOLERANCE * max(1.0, np.abs(whole).max()):
                other = "" if self.streaming == "sliding" else "; streaming='sliding' may do"
                raise ExportError(
                    f"{name} of a stream differs from the model's own by {difference:.1e}: a layer after the first "
                    f"recurrent one mixes time steps in a way that cannot go on from block to block{other}"
                )


def tensor_names(model: keras.Model) -> tuple[list[str], list[str]]:
    """Of inputs and outputs: the model's own, as TensorFlow takes them, and no two of them the same."""
    names: list[str] = []
    functional = getattr(model, "_functional", None) or model
    for given in (*(tensor.name for tensor in model.inputs), *functional.output_names):
        plain, number = identifier(given), 0
        name = plain
        while name in names:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names[: len(model.inputs)], names[len(model.inputs) :]


def _check_model(model: keras.Model) -> None:
    functional = getattr(model, "_functional", model)
    if not hasattr(functional, "output_names") or len(model.inputs) != 1:
        raise InvalidInputError("model: streaming needs a functional or Sequential model with one input")
    source = model.inputs[0]
    if len(source.shape) < 2 or None in source.shape[2:]:
        raise InvalidInputError(f"model: its input has shape {source.shape}; only batch and positions may be open")
    for layer in recurrent_layers(model):
        if layer.stateful:
            raise ExportError(
                f"{layer.name} is stateful=True: a stream keeps its state itself; build it stateful=False"
            )


def _clip_length(model: keras.Model, samples: int | None) -> int:
    default = getattr(getattr(model, "config", None), "clip_samples", None) or model.inputs[0].shape[1]
    length = default if samples is None else samples
    if not isinstance(length, int) or length < 1:
        raise InvalidInputError(f"samples={samples!r}: expected the length of the clip that an answer is about")
    return length


def _state_prefixes(model: keras.Model) -> dict[Any, str]:
    """A name for each layer that no other has: nested models may have layers of the same name."""
    prefixes: dict[Any, str] = {}
    for layer in model._flatten_layers():
        name = identifier(layer.name)
        taken = [other for other in prefixes.values() if other == name or other.startswith(f"{name}__")]
        prefixes[layer] = f"{name}__{len(taken) + 1}" if taken else name
    return prefixes


def identifier(name: str) -> str:
    """``name`` as TensorFlow takes it for an argument."""
    return re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_") or "tensor"
