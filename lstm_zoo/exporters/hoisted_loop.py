"""The context in which a model's LSTMs trace in the form that TFLite runs fast."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters.sequence_loop import has_known_equations, lstm_loop
from lstm_zoo.layers.stand_ins import recurrent_layers, stand_ins, without_cudnn


@contextlib.contextmanager
def hoisted_lstm(model: keras.Model, unrolled: bool = False) -> Iterator[None]:
    """Within this context every ``keras.layers.LSTM`` and ``GatedLSTM`` of ``model`` traces as :func:`lstm_loop`.

    Layers inside ``Bidirectional`` and inside nested models are reached too; other recurrent layers trace as they do in
    Keras, and other models are not touched. One context is open at a time: a second thread waits. The model is as it
    was afterwards, whatever happened.

    Args:
        unrolled: write every step out instead of a loop, for runtimes that take a single graph.

    Raises:
        ExportError: a recurrent layer is stateful; or, while tracing with ``unrolled``, batch or time is left open.
    """
    refuse_stateful(model)
    loops = [(layer, "inner_loop", functools.partial(_inner_loop, unrolled)) for layer in recurrent_layers(model)]
    with without_cudnn(model), stand_ins(loops):
        yield


def refuse_stateful(model: keras.Model) -> None:
    """Raise an ExportError if a recurrent layer of any kind keeps its state."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ExportError(f"{layer.name} is stateful=True: exported files keep no state; build it stateful=False")


def _inner_loop(
    unrolled: bool,
    layer: Any,
    own: Any,
    sequences: tf.Tensor,
    initial_state: Any,
    mask: Any,
    training: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """What stands in for ``inner_loop`` of the two layers, which is ``own``."""
    if not has_known_equations(layer.cell):
        return own(sequences, initial_state, mask, training)
    if unrolled and not sequences.shape.is_fully_defined():
        raise ExportError(
            f"{layer.name} receives {sequences.shape}: only static shapes can be unrolled; give the length, or export "
            "with profile='default', dynamic=True"
        )
    mask = next((part for part in tf.nest.flatten(mask) if part is not None), None)
    last, outputs, states = lstm_loop(
        layer.cell,
        sequences,
        tuple(initial_state),
        mask=mask,
        zero_output_for_mask=layer.zero_output_for_mask,
        go_backwards=layer.go_backwards,
        return_sequences=layer.return_sequences,
        unrolled=unrolled,
    )
    return last, last[:, None] if outputs is None else outputs, list(states)
