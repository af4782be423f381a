"""An LSTM's sequence loop in the form that TFLite runs fast: everything that needs no state is taken out of it.

Keras's own loop converts to a ``WHILE`` that multiplies the input by the kernel step by step and copies the whole
list of outputs at each step, which is quadratic in time. Here the input meets the kernel once, for all steps, in one
product; the loop holds the recurrent product alone; and outputs are written into one tensor, several steps at a time.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from lstm_zoo.errors import ExportError
from lstm_zoo.layers.cell import GatedLSTMCell
from lstm_zoo.layers.gated_lstm import GatedLSTM

# Each iteration that collects outputs copies all of them, so that over long sequences fewer iterations pay; from 8
# steps on, the further copies of the weights that the runtime packs cost more than that saves. Over short ones, and
# with nothing to collect, one step is fastest, and makes the smallest file.
STEPS_OF_LONG_SEQUENCES = 4
LONG_SEQUENCE = 64

States = tuple[tf.Tensor, ...]

_lock = threading.RLock()


@contextlib.contextmanager
def hoisted_lstm(model: keras.Model) -> Iterator[None]:
    """Within this context every ``keras.layers.LSTM`` and ``GatedLSTM`` of ``model`` traces as :func:`lstm_loop`.

    Layers inside ``Bidirectional`` and inside nested models are reached too; other models are not touched. One
    context is open at a time: a second thread waits. The model is as it was afterwards, whatever happened.

    Raises:
        ExportError: a layer is stateful; or, while tracing, it receives a mask or a length that is not static.
    """
    layers: list[Any] = [x for x in model._flatten_layers() if isinstance(x, keras.layers.LSTM | GatedLSTM)]
    for layer in layers:
        if layer.stateful:
            raise ExportError(f"{layer.name} is stateful=True: exported files keep no state; build it stateful=False")
    with without_cudnn(model):
        try:
            for layer in layers:
                # Into the instance's own dictionary, past Keras's attribute tracking: it hides the method of the class.
                vars(layer)["inner_loop"] = functools.partial(_inner_loop, layer)
            yield
        except ExportError as error:
            cause: BaseException = error  # without what Keras wraps around the words of an error in a layer's call
            while isinstance(cause.__context__, ExportError):
                cause = cause.__context__
            raise cause from None
        finally:
            for layer in layers:
                vars(layer).pop("inner_loop", None)


@contextlib.contextmanager
def without_cudnn(model: keras.Model) -> Iterator[None]:
    """Within this context ``model`` traces without cuDNN and XLA, so that what is exported here runs elsewhere."""
    portable = {"use_cudnn": False, "jit_compile": False, "implementation": "auto"}
    with _lock:
        previous = [
            (layer, name, getattr(layer, name))
            for layer in model._flatten_layers()
            for name in portable
            if hasattr(layer, "use_cudnn") and hasattr(layer, name)
        ]
        try:
            for layer, name, _ in previous:
                setattr(layer, name, portable[name])
            yield
        finally:
            for layer, name, value in previous:
                setattr(layer, name, value)


def lstm_loop(
    cell: Any,
    sequences: tf.Tensor,
    states: States,
    *,
    go_backwards: bool = False,
    return_sequences: bool = True,
    steps: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None, States]:
    r"""All steps of an LSTM over a sequence of static shape.

    .. math:: z_t = (W x_t + b) + U h_{t-1}, \quad h_t, c_t = \mathrm{gates}(z_t, h_{t-1}, c_{t-1})

    with the bracket computed for all ``t`` at once, before the loop, and the cell's own gates and activations.

    Args:
        cell: the built cell whose weights to use.
        sequences: ``[batch, time, features]``, all static.
        states: ``h``, ``c`` and whatever else the cell has, before the first step, each ``[batch, size]``.
        go_backwards: run from the last step to the first; outputs are in the order in which they were computed.
        return_sequences: whether to collect the outputs of all steps.
        steps: steps in one iteration of the loop, those left over follow it; default: what was measured fastest.

    Returns:
        The last output ``[batch, size]``; all outputs ``[batch, time, size]`` or None; the states at the end.
    """
    time = sequences.shape[1]
    steps = steps or (STEPS_OF_LONG_SEQUENCES if return_sequences and time >= LONG_SEQUENCE else 1)
    project, advance = _equations(cell)
    inputs = _project(project, tf.reverse(sequences, [1]) if go_backwards else sequences)  # [time, batch, columns]
    looped = time - time % steps
    states, outputs = _loop(advance, inputs[:looped], states, steps, return_sequences)
    states, rest = _advance(advance, tf.unstack(inputs[looped:]), states)
    if not return_sequences:
        return states[0], None, states
    parts = ([outputs] if looped else []) + ([tf.stack(rest)] if rest else [])
    return states[0], _swap_time_and_batch(tf.concat(parts, axis=0)), states


def _inner_loop(
    layer: keras.layers.LSTM, sequences: tf.Tensor, initial_state: Any, mask: Any, training: bool = False
) -> tuple[tf.Tensor, tf.Tensor | None, list[tf.Tensor]]:
    """What stands in for ``inner_loop`` of the two layers."""
    if any(part is not None for part in tf.nest.flatten(mask)):
        raise ExportError(f"{layer.name} receives a mask, which the exported loop cannot honour: remove the mask")
    if not sequences.shape.is_fully_defined():
        raise ExportError(f"{layer.name} receives {sequences.shape}: export needs static shapes; pass samples=")
    last, outputs, states = lstm_loop(
        layer.cell,
        sequences,
        tuple(initial_state),
        go_backwards=layer.go_backwards,
        return_sequences=layer.return_sequences,
    )
    return last, last[:, None] if outputs is None else outputs, list(states)


def _equations(cell: Any) -> tuple[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor, States], States]]:
    """``W x + b`` of any number of inputs, and one step from that and the states to the new states."""
    if isinstance(cell, GatedLSTMCell):
        parameters = cell.step_parameters()
        return cell.project_inputs, lambda z, states: cell.advance(z, cell.recur(states), states, parameters)
    gate, activation = cell.recurrent_activation, cell.activation

    def project(x: tf.Tensor) -> tf.Tensor:
        z = tf.matmul(x, tf.convert_to_tensor(cell.kernel))
        return z + tf.convert_to_tensor(cell.bias) if cell.use_bias else z

    def advance(z: tf.Tensor, states: States) -> States:
        h, c = states
        i, f, g, o = tf.split(z + tf.matmul(h, tf.convert_to_tensor(cell.recurrent_kernel)), 4, axis=1)
        c = gate(f) * c + gate(i) * activation(g)
        return gate(o) * activation(c), c

    return project, advance


def _project(project: Callable[[tf.Tensor], tf.Tensor], sequences: tf.Tensor) -> tf.Tensor:
    """``project`` for every step: ``[batch, time, features]`` to ``[time, batch, columns]``."""
    batch, time, features = sequences.shape
    projected = project(tf.reshape(_swap_time_and_batch(sequences), [time * batch, features]))
    return tf.reshape(projected, [time, batch, projected.shape[1]])


def _loop(
    advance: Callable[[tf.Tensor, States], States], inputs: tf.Tensor, states: States, steps: int, collect: bool
) -> tuple[States, tf.Tensor | None]:
    """All of ``inputs``, a multiple of ``steps`` in number; the outputs ``[time, batch, size]`` if collected."""
    length, batch, columns = inputs.shape
    if not length:
        return states, None

    def body(t: tf.Tensor, states: States, collected: States) -> tuple[tf.Tensor, States, States]:
        block = tf.slice(inputs, tf.stack([t, 0, 0]), [steps, batch, columns])
        states, new = _advance(advance, tf.unstack(block), states)
        # The only write in place that TFLite has; a scatter takes twice the time.
        written = tuple(xla.dynamic_update_slice(old, tf.stack(new), tf.stack([t, 0, 0])) for old in collected)
        return t + steps, states, tuple(tf.ensure_shape(new, outputs.shape) for new in written)

    outputs = tf.zeros([length, *states[0].shape], inputs.dtype)
    carried = (tf.constant(0), states, (outputs,) if collect else ())
    _, states, collected = tf.while_loop(lambda t, *_: t < length, body, carried, parallel_iterations=1)
    return states, collected[0] if collect else None


def _advance(
    advance: Callable[[tf.Tensor, States], States], inputs: list[tf.Tensor], states: States
) -> tuple[States, list[tf.Tensor]]:
    """One step for each of ``inputs``, and the output of each."""
    outputs = []
    for z in inputs:
        states = advance(z, states)
        outputs.append(states[0])
    return states, outputs


def _swap_time_and_batch(x: tf.Tensor) -> tf.Tensor:
    """``[a, b, features]`` to ``[b, a, features]``; without moving anything where one of the two is 1."""
    a, b, features = x.shape
    return tf.reshape(x, [b, a, features]) if 1 in (a, b) else tf.transpose(x, [1, 0, 2])
