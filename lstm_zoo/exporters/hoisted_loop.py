"""An LSTM's sequence loop in the form that TFLite runs fast: everything that needs no state is taken out of it.

Keras's own loop converts to a ``WHILE`` that multiplies the input by the kernel step by step and copies the whole
list of outputs at each step, which is quadratic in time. Here the input meets the kernel once, for all steps, in one
product; the loop holds the recurrent product alone; and outputs are written into one tensor, several steps at a time.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from lstm_zoo.errors import ExportError

# Each iteration that collects outputs copies all of them, so that over long sequences fewer iterations pay; from 8
# steps on, the further copies of the weights that the runtime packs cost more than that saves. Over short ones, and
# with nothing to collect, one step is fastest, and makes the smallest file.
STEPS_OF_LONG_SEQUENCES = 4
LONG_SEQUENCE = 64

_lock = threading.RLock()


@contextlib.contextmanager
def hoisted_lstm(model: keras.Model) -> Iterator[None]:
    """Within this context every ``keras.layers.LSTM`` of ``model`` traces as :func:`lstm_loop`.

    Layers inside ``Bidirectional`` and inside nested models are reached too; other models are not touched. One
    context is open at a time: a second thread waits. The model is as it was afterwards, whatever happened.

    Raises:
        ExportError: a layer is stateful; or, while tracing, it receives a mask or a length that is not static.
    """
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.LSTM)]
    for layer in layers:
        if layer.stateful:
            raise ExportError(f"{layer.name} is stateful=True: exported files keep no state; build it stateful=False")
    with _lock:
        previous = [layer.use_cudnn for layer in layers]
        try:
            for layer in layers:
                # Into the instance's own dictionary, past Keras's attribute tracking: it hides the method of the class.
                vars(layer)["inner_loop"] = functools.partial(_inner_loop, layer)
                layer.use_cudnn = False  # or Bidirectional would reach for cuDNN before it asks its layers
            yield
        except ExportError as error:
            cause: BaseException = error  # without what Keras wraps around the words of an error in a layer's call
            while isinstance(cause.__context__, ExportError):
                cause = cause.__context__
            raise cause from None
        finally:
            for layer, use_cudnn in zip(layers, previous, strict=True):
                vars(layer).pop("inner_loop", None)
                layer.use_cudnn = use_cudnn


@contextlib.contextmanager
def without_cudnn(model: keras.Model) -> Iterator[None]:
    """Within this context ``model`` traces without cuDNN, so that what was exported on a GPU also runs elsewhere."""
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")]
    with _lock:
        previous = [layer.use_cudnn for layer in layers]
        try:
            for layer in layers:
                layer.use_cudnn = False
            yield
        finally:
            for layer, use_cudnn in zip(layers, previous, strict=True):
                layer.use_cudnn = use_cudnn


def lstm_loop(
    cell: keras.layers.LSTMCell,
    sequences: tf.Tensor,
    state: tuple[tf.Tensor, tf.Tensor],
    *,
    go_backwards: bool = False,
    return_sequences: bool = True,
    steps: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None, tuple[tf.Tensor, tf.Tensor]]:
    r"""All steps of an LSTM over a sequence of static shape.

    .. math:: z_t = (W x_t + b) + U h_{t-1}, \quad c_t = \sigma(z^f_t) c_{t-1} + \sigma(z^i_t) \tanh(z^c_t),
        \quad h_t = \sigma(z^o_t) \tanh(c_t)

    with the bracket computed for all ``t`` at once, before the loop, and the cell's own activations.

    Args:
        cell: the built cell whose weights to use, in Keras's layout.
        sequences: ``[batch, time, features]``, all static.
        state: ``h`` and ``c`` before the first step, each ``[batch, units]``.
        go_backwards: run from the last step to the first; outputs are in the order in which they were computed.
        return_sequences: whether to collect the outputs of all steps.
        steps: steps in one iteration of the loop, those left over follow it; default: what was measured fastest.

    Returns:
        The last output ``[batch, units]``; all outputs ``[batch, time, units]`` or None; ``(h, c)`` at the end.
    """
    time = sequences.shape[1]
    steps = steps or (STEPS_OF_LONG_SEQUENCES if return_sequences and time >= LONG_SEQUENCE else 1)
    inputs = _project(cell, tf.reverse(sequences, [1]) if go_backwards else sequences)  # [time, batch, 4 * units]
    looped = time - time % steps
    h, c, outputs = _loop(cell, inputs, state, looped, steps, return_sequences)
    h, c, rest = _advance(cell, tf.unstack(inputs[looped:]), h, c)
    if not return_sequences:
        return h, None, (h, c)
    parts = ([outputs] if looped else []) + ([tf.stack(rest)] if rest else [])
    return h, _swap_time_and_batch(tf.concat(parts, axis=0)), (h, c)


def _inner_loop(
    layer: keras.layers.LSTM, sequences: tf.Tensor, initial_state: Any, mask: Any, training: bool = False
) -> tuple[tf.Tensor, tf.Tensor | None, list[tf.Tensor]]:
    """What stands in for ``keras.layers.LSTM.inner_loop``."""
    if any(part is not None for part in tf.nest.flatten(mask)):
        raise ExportError(f"{layer.name} receives a mask, which the exported loop cannot honour: remove the mask")
    if not sequences.shape.is_fully_defined():
        raise ExportError(f"{layer.name} receives {sequences.shape}: export needs static shapes; pass samples=")
    last, outputs, state = lstm_loop(
        layer.cell,
        sequences,
        tuple(initial_state),
        go_backwards=layer.go_backwards,
        return_sequences=layer.return_sequences,
    )
    return last, last[:, None] if outputs is None else outputs, list(state)


def _project(cell: keras.layers.LSTMCell, sequences: tf.Tensor) -> tf.Tensor:
    """``W x + b`` for every step: ``[batch, time, features]`` to ``[time, batch, 4 * units]``."""
    batch, time, features = sequences.shape
    flat = tf.reshape(_swap_time_and_batch(sequences), [time * batch, features])
    projected = tf.matmul(flat, tf.convert_to_tensor(cell.kernel))
    if cell.use_bias:
        projected += tf.convert_to_tensor(cell.bias)
    return tf.reshape(projected, [time, batch, 4 * cell.units])


def _loop(
    cell: keras.layers.LSTMCell,
    inputs: tf.Tensor,
    state: tuple[tf.Tensor, tf.Tensor],
    length: int,
    steps: int,
    collect: bool,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The first ``length`` steps, a multiple of ``steps``; outputs are ``[length, batch, units]`` if collected."""
    batch, units = inputs.shape[1], cell.units
    h, c = state
    outputs = tf.zeros([length if collect else 0, batch, units], inputs.dtype)
    if not length:
        return h, c, outputs

    def body(t: tf.Tensor, h: tf.Tensor, c: tf.Tensor, *outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        block = tf.slice(inputs, tf.stack([t, 0, 0]), [steps, batch, 4 * units])
        h, c, new = _advance(cell, tf.unstack(block), h, c)
        # The only write in place that TFLite has; a scatter takes twice the time.
        written = [xla.dynamic_update_slice(old, tf.stack(new), tf.stack([t, 0, 0])) for old in outputs]
        return t + steps, h, c, *(tf.ensure_shape(new, old.shape) for new, old in zip(written, outputs, strict=True))

    carried = (tf.constant(0), h, c, *([outputs] if collect else []))
    _, h, c, *collected = tf.while_loop(lambda t, *_: t < length, body, carried, parallel_iterations=1)
    return h, c, collected[0] if collect else outputs


def _advance(
    cell: keras.layers.LSTMCell, inputs: list[tf.Tensor], h: tf.Tensor, c: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """One step for each of ``inputs``, ``[batch, 4 * units]`` with the gates in Keras's order: i, f, c, o."""
    outputs = []
    for step_input in inputs:
        z = step_input + tf.matmul(h, tf.convert_to_tensor(cell.recurrent_kernel))
        z_input, z_forget, z_cell, z_output = tf.split(z, 4, axis=1)
        gate, activation = cell.recurrent_activation, cell.activation
        c = gate(z_forget) * c + gate(z_input) * activation(z_cell)
        h = gate(z_output) * activation(c)
        outputs.append(h)
    return h, c, outputs


def _swap_time_and_batch(x: tf.Tensor) -> tf.Tensor:
    """``[a, b, features]`` to ``[b, a, features]``; without moving anything where one of the two is 1."""
    a, b, features = x.shape
    return tf.reshape(x, [b, a, features]) if 1 in (a, b) else tf.transpose(x, [1, 0, 2])
