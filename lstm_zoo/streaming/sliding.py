"""Recurrent layers that start afresh over the last clip at every call: the answer is about that clip alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lstm_zoo.errors import ExportError
from lstm_zoo.layers.stand_ins import StandIn
from lstm_zoo.streaming.receptive_field import ReceptiveField

States = dict[str, tf.Tensor]


class Sliding:
    """The last ``steps`` inputs of the first recurrent layers; nothing that follows them needs a state.

    Raises:
        ExportError: a layer is called on several inputs.
    """

    def __init__(self, field: ReceptiveField, steps: int, name_of: Callable[[Any], str]):
        self._name: dict[Any, str] = {}
        self.states: dict[str, tf.TensorSpec] = {}
        for layers, features in zip(field.groups, field.features, strict=True):
            if not self._name.keys().isdisjoint(layers):
                raise ExportError(f"{layers[0].name} is called on several inputs, which a stream cannot serve")
            name = f"{name_of(layers[0])}_inputs"
            self.states[name] = tf.TensorSpec([1, steps, features], layers[0].compute_dtype, name)
            self._name |= dict.fromkeys(layers, name)

    def stand_ins(self, states: States, new: States) -> list[StandIn]:
        """What lengthens the new inputs by the earlier ones in ``states``, and puts the last of both into ``new``."""

        def inner_loop(
            layer: Any, original: Any, sequences: tf.Tensor, initial_state: Any, mask: Any, training: bool = False
        ) -> Any:
            name = self._name[layer]
            if name not in new:  # the two directions of a Bidirectional share one
                new[name] = tf.concat([states[name], sequences], axis=1)[:, -states[name].shape[1] :]
            return original(sequences=new[name], initial_state=initial_state, mask=None, training=training)

        return [(layer, "inner_loop", inner_loop) for layer in self._name]
