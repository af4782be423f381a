"""Recurrent layers and poolings that go on from call to call: the answer is about everything heard so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from lstm_zoo.errors import ExportError
from lstm_zoo.layers.stand_ins import StandIn, recurrent_layers
from lstm_zoo.streaming.pooling import Pooling, Steps, running_form

States = dict[str, tf.Tensor]


class Continuous:
    """The states of every recurrent layer and of every pooling over time.

    Raises:
        ExportError: a layer needs to hear what is still to come.
    """

    def __init__(self, model: keras.Model, name_of: Callable[[Any], str]):
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.Bidirectional) or getattr(layer, "go_backwards", False):
                raise ExportError(
                    f"{layer.name} runs backwards, from the end of the recording: use streaming='sliding', which "
                    "answers about the last clip"
                )
        self._recurrent = {layer: _state_names(layer, name_of(layer)) for layer in recurrent_layers(model)}
        self._pooling: dict[Any, tuple[str, Pooling]] = {}
        self.states = {
            name: tf.TensorSpec([1, size], layer.compute_dtype, name)
            for layer, names in self._recurrent.items()
            for name, size in zip(names, layer.cell.state_size, strict=True)
        }
        for layer in model._flatten_layers():
            pooling = running_form(layer)
            if pooling is not None:
                self._pooling[layer] = (name_of(layer), pooling)
                for part, size in pooling.sizes(_features(layer)).items():
                    name = f"{name_of(layer)}_{part}"
                    self.states[name] = tf.TensorSpec([1, size], layer.compute_dtype, name)

    @property
    def counts(self) -> bool:
        """Whether the number of steps before a call matters."""
        return bool(self._pooling)

    def stand_ins(self, states: States, new: States, steps: Steps, masked: bool) -> list[StandIn]:
        """What reads ``states`` in place of the layers' own zeros, and puts those after the call into ``new``.

        Args:
            masked: whether ``steps`` may hold some that were not heard.
        """

        def inner_loop(
            layer: Any, original: Any, sequences: tf.Tensor, initial_state: Any, mask: Any, training: bool = False
        ) -> Any:
            _check_call(layer, sequences, steps, self._recurrent[layer][0], new)
            names = self._recurrent[layer]
            given = [states[name] for name in names]
            heard = steps.heard[:, :, 0] > 0.0 if masked else None
            last, outputs, after = original(sequences=sequences, initial_state=given, mask=heard, training=training)
            new.update(zip(names, after, strict=True))
            return last, outputs, after

        def call(layer: Any, _: Any, inputs: tf.Tensor, **options: Any) -> tf.Tensor:
            prefix, pooling = self._pooling[layer]
            names = {part: f"{prefix}_{part}" for part in pooling.sizes(inputs.shape[2])}
            _check_call(layer, inputs, steps, next(iter(names.values())), new)
            pooled, after = pooling.run(layer, inputs, {part: states[name] for part, name in names.items()}, steps)
            new.update({name: after[part] for part, name in names.items()})
            return pooled

        return [
            *((layer, "inner_loop", inner_loop) for layer in self._recurrent),
            *((layer, "call", call) for layer in self._pooling),
        ]


def _check_call(layer: Any, inputs: tf.Tensor, steps: Steps, state: str, new: States) -> None:
    if inputs.shape[1] != steps.heard.shape[1]:
        raise ExportError(
            f"{layer.name} receives {inputs.shape[1]} steps where the first recurrent layer takes "
            f"{steps.heard.shape[1]}: a layer before it mixes steps; use streaming='sliding'"
        )
    if state in new:
        raise ExportError(f"{layer.name} is called on several inputs, which one state cannot serve")


def _features(layer: Any) -> int:
    try:
        return layer.input.shape[2]
    except AttributeError:  # of a layer that is called twice
        raise ExportError(f"{layer.name} is called on several inputs, which one state cannot serve") from None


def _state_names(layer: Any, name: str) -> list[str]:
    gates = getattr(layer.cell, "gates", None)
    own = (*gates.states, *(["feedback"] if gates.feedback else [])) if gates else ()
    return [f"{name}_{part}" for part in ("h", "c", *own)]
