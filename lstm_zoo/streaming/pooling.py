"""Pooling over time as a running value: what it would give for everything heard so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from lstm_zoo.models.speech import AttentionPooling

LOWEST = -1e30
SMALLEST = 1e-30

States = dict[str, tf.Tensor]


class Steps(NamedTuple):
    """The steps of one call.

    ``before``: how many came earlier, float32 scalar. ``heard``: float32 ``[1, steps, 1]``, 1 where the step is one,
    0 where too little input had come to compute it: such steps are at the very beginning.
    """

    before: tf.Tensor
    heard: tf.Tensor


class Pooling(NamedTuple):
    """``sizes(features)`` of the states by name; ``run(layer, inputs, states, steps)`` to the result and new states."""

    sizes: Callable[[int], dict[str, int]]
    run: Callable[[Any, tf.Tensor, States, Steps], tuple[tf.Tensor, States]]


def running_form(layer: keras.layers.Layer) -> Pooling | None:
    """Of a layer that pools over time; None for other layers."""
    kinds: list[tuple[Any, Pooling]] = [
        (keras.layers.GlobalAveragePooling1D, Pooling(lambda size: {"mean": size, "mean_rest": size}, _average)),
        (keras.layers.GlobalMaxPooling1D, Pooling(lambda size: {"maximum": size}, _maximum)),
        (
            AttentionPooling,
            Pooling(lambda size: {"mean": size + 1, "mean_rest": size + 1, "maximum": 1}, _attention),
        ),
    ]
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    return next((pooling for kind, pooling in kinds if isinstance(layer, kind)), None)


def _average(layer: Any, inputs: tf.Tensor, states: States, steps: Steps) -> tuple[tf.Tensor, States]:
    states = _running_mean(inputs, states, steps)
    return _keep_dimensions(layer, states["mean"]), states


def _maximum(layer: Any, inputs: tf.Tensor, states: States, steps: Steps) -> tuple[tf.Tensor, States]:
    maximum = _running_maximum(inputs, states, steps)
    return _keep_dimensions(layer, maximum), {"maximum": maximum}


def _attention(layer: Any, inputs: tf.Tensor, states: States, steps: Steps) -> tuple[tf.Tensor, States]:
    """The mean of the weighted inputs over the mean of the weights, relative to the largest weight so far."""
    score = layer.score(layer.hidden(inputs))  # [1, steps, 1]
    maximum = _running_maximum(score, states, steps)
    # A new largest weight makes what is stored smaller; before the first step there is nothing stored.
    rescale = tf.exp(tf.minimum(states["maximum"] - maximum, 0.0))
    stored = {"mean": states["mean"] * rescale, "mean_rest": states["mean_rest"] * rescale}
    # Steps that were not heard may have any score; exp of it must not overflow.
    weights = tf.exp(tf.minimum(score - maximum[:, None], 0.0))
    stored = _running_mean(tf.concat([weights * inputs, weights], axis=2), stored, steps)
    weighted, total = stored["mean"][:, :-1], stored["mean"][:, -1:]
    return weighted / tf.maximum(total, SMALLEST), {**stored, "maximum": maximum}


def _running_mean(inputs: tf.Tensor, states: States, steps: Steps) -> States:
    """The mean with what rounding took from it (Kahan's summation): hours of small changes are not lost."""
    total = steps.before + tf.reduce_sum(steps.heard)
    change = tf.reduce_sum(steps.heard * (inputs - states["mean"][:, None]), axis=1) / tf.maximum(total, 1.0)
    share = tf.reduce_sum(steps.heard) / tf.maximum(total, 1.0)
    change += states["mean_rest"] * (1.0 - share)
    mean = states["mean"] + change
    return {"mean": mean, "mean_rest": change - (mean - states["mean"])}


def _running_maximum(inputs: tf.Tensor, states: States, steps: Steps) -> tf.Tensor:
    """``[1, features]``; zero as long as nothing was heard."""
    earlier = tf.where(steps.before > 0.0, states["maximum"], LOWEST)
    maximum = tf.maximum(earlier, tf.reduce_max(tf.where(steps.heard > 0.0, inputs, LOWEST), axis=1))
    return tf.where(steps.before + tf.reduce_sum(steps.heard) > 0.0, maximum, 0.0)


def _keep_dimensions(layer: Any, pooled: tf.Tensor) -> tf.Tensor:
    return pooled[:, None] if layer.keepdims else pooled
