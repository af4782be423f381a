"""An LSTM's sequence loop in the form that TFLite runs fast: everything that needs no state is taken out of it.

Keras's own loop converts to a ``WHILE`` that multiplies the input by the kernel step by step and copies the whole
list of outputs at each step, which is quadratic in time. Here the input meets the kernel once, for all steps, in one
product; the loop holds the recurrent product alone; and outputs are written into one tensor, several steps at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from lstm_zoo.layers.cell import GatedLSTMCell

# Steps in one iteration, for sequences of at least so many. An iteration costs a microsecond of its own, and one that
# collects outputs copies all of them; each further step makes the file larger, and beyond 8 nothing is won any more.
STEPS_BY_LENGTH = {512: 8, 32: 4, 0: 1}
STEPS_OF_OPEN_LENGTH = 4

Tensors = tuple[tf.Tensor, ...]
Step = Callable[[Tensors, Tensors], Tensors]  # what one step receives and the states, to the new states
Size = Any  # an int, or a scalar tensor where the size is not known while tracing


def lstm_loop(
    cell: Any,
    sequences: tf.Tensor,
    states: Tensors,
    *,
    mask: tf.Tensor | None = None,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    return_sequences: bool = True,
    unrolled: bool = False,
    steps: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None, Tensors]:
    r"""All steps of an LSTM over a sequence.

    .. math:: z_t = (W x_t + b) + U h_{t-1}, \quad h_t, c_t = \mathrm{gates}(z_t, h_{t-1}, c_{t-1})

    with the bracket computed for all ``t`` at once, before the loop, and the cell's own gates and activations.

    Args:
        cell: the built cell whose weights to use.
        sequences: ``[batch, time, features]``; batch and time may be open unless ``unrolled``.
        states: ``h``, ``c`` and whatever else the cell has, before the first step, each ``[batch, size]``.
        mask: ``[batch, time]`` or ``[batch, time, 1]``, zero or False where a step does not count: the states stay, and
            the output is the last one, or zeros where there was none yet.
        zero_output_for_mask: the output of a step that does not count is zeros.
        go_backwards: run from the last step to the first; outputs are in the order in which they were computed.
        return_sequences: whether to collect the outputs of all steps.
        unrolled: write every step out, without a loop.
        steps: steps in one iteration of the loop, those left over follow it; default: what was measured fastest.

    Returns:
        The last output ``[batch, size]``; all outputs ``[batch, time, size]`` or None; the states at the end.
    """
    if go_backwards:
        sequences = tf.reverse(sequences, [1])
    project, advance = _equations(cell)
    inputs: Tensors = (_project(project, sequences),)  # [time, batch, columns]
    if mask is not None:
        mask = _as_steps(mask, go_backwards)
        inputs += (mask,)
    states, outputs = _run(_masked(advance), inputs, states, return_sequences, unrolled, steps)
    last = states[0]
    if mask is not None:
        counts = mask if zero_output_for_mask else tf.cumsum(tf.cast(mask, tf.int32)) > 0
        last = tf.where(counts[-1], last, tf.zeros_like(last))
        outputs = None if outputs is None else tf.where(counts, outputs, tf.zeros_like(outputs))
    return last, None if outputs is None else _swap_time_and_batch(outputs), states


def _run(
    step: Step, inputs: Tensors, states: Tensors, collect: bool, unrolled: bool, steps: int | None
) -> tuple[Tensors, tf.Tensor | None]:
    """The states after all steps, and the outputs ``[time, batch, size]`` if collected."""
    time, known = _sizes(inputs[0])[0], inputs[0].shape[0]
    if steps is None and known is None:
        steps = STEPS_OF_OPEN_LENGTH
    elif steps is None:
        steps = next(some for length, some in STEPS_BY_LENGTH.items() if known >= length)
    looped = 0 if unrolled else time - time % steps
    if unrolled:  # traced once, and not for every step; the converter writes the calls out
        step = tf.function(step, autograph=False)
    if known is None:  # nor is then the number of the steps left over, for which there is a second loop
        outputs = _empty(time, states) if collect else None
        states, outputs = _loop(step, inputs, states, outputs, 0, looped, steps)
        return _loop(step, inputs, states, outputs, looped, time, 1) if steps > 1 else (states, outputs)
    parts = []
    if looped:
        outputs = _empty(looped, states) if collect else None
        states, outputs = _loop(step, tuple(x[:looped] for x in inputs), states, outputs, 0, looped, steps)
        parts.append(outputs)
    states, rest = _advance(step, tuple(x[looped:] for x in inputs), states)
    if not collect:
        return states, None
    if rest:
        parts.append(tf.stack(rest))
    return states, tf.concat(parts, axis=0)


def has_known_equations(cell: Any) -> bool:
    """Whether the loop computes what ``cell`` does: not that of a user's own kind, derived from Keras's."""
    return type(cell) in (keras.layers.LSTMCell, GatedLSTMCell)


def _equations(cell: Any) -> tuple[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor, Tensors], Tensors]]:
    """``W x + b`` of any number of inputs, and one step from that and the states to the new states."""
    if isinstance(cell, GatedLSTMCell):
        parameters = cell.step_parameters()
        return cell.project_inputs, lambda z, states: cell.advance(z, cell.recur(states), states, parameters)
    gate, activation = cell.recurrent_activation, cell.activation

    def project(x: tf.Tensor) -> tf.Tensor:
        z = tf.matmul(x, tf.convert_to_tensor(cell.kernel))
        return z + tf.convert_to_tensor(cell.bias) if cell.use_bias else z

    def advance(z: tf.Tensor, states: Tensors) -> Tensors:
        h, c = states
        i, f, g, o = tf.split(z + tf.matmul(h, tf.convert_to_tensor(cell.recurrent_kernel)), 4, axis=1)
        c = gate(f) * c + gate(i) * activation(g)
        return gate(o) * activation(c), c

    return project, advance


def _masked(advance: Callable[[tf.Tensor, Tensors], Tensors]) -> Step:
    """``advance`` where the step's mask, if it has one, is True; else the states stay."""

    def step(received: Tensors, states: Tensors) -> Tensors:
        z, *mask = received
        new = advance(z, states)
        return tuple(tf.where(mask[0], a, b) for a, b in zip(new, states, strict=True)) if mask else new

    return step


def _project(project: Callable[[tf.Tensor], tf.Tensor], sequences: tf.Tensor) -> tf.Tensor:
    """``project`` for every step: ``[batch, time, features]`` to ``[time, batch, columns]``."""
    batch, time, features = _sizes(sequences)
    projected = project(tf.reshape(_swap_time_and_batch(sequences), [time * batch, features]))
    projected = tf.reshape(projected, [time, batch, projected.shape[1]])
    return tf.ensure_shape(projected, [sequences.shape[1], sequences.shape[0], projected.shape[2]])


def _as_steps(mask: tf.Tensor, go_backwards: bool) -> tf.Tensor:
    """``[batch, time]`` or ``[batch, time, 1]`` as bool ``[time, batch, 1]``, in the order of the steps."""
    mask = tf.cast(mask if len(mask.shape) == 3 else tf.expand_dims(mask, 2), tf.bool)
    return _swap_time_and_batch(tf.reverse(mask, [1]) if go_backwards else mask)


def _empty(time: Size, states: Tensors) -> tf.Tensor:
    return tf.zeros([time, *_sizes(states[0])], states[0].dtype)


def _loop(
    step: Step, inputs: Tensors, states: Tensors, outputs: tf.Tensor | None, start: Size, end: Size, steps: int
) -> tuple[Tensors, tf.Tensor | None]:
    """From ``start`` to ``end``, a multiple of ``steps`` later; the outputs are written into ``outputs``, if any."""
    shapes = [x.shape for x in inputs]

    def body(t: tf.Tensor, states: Tensors, collected: Tensors) -> tuple[tf.Tensor, Tensors, Tensors]:
        sizes = [[steps, -1 if batch is None else batch, columns] for _, batch, columns in shapes]
        block = tuple(tf.slice(x, tf.stack([t, 0, 0]), size) for x, size in zip(inputs, sizes, strict=True))
        block = tuple(tf.ensure_shape(x, [steps, *shape[1:]]) for x, shape in zip(block, shapes, strict=True))
        states, new = _advance(step, block, states)
        # The only write in place that TFLite has; a scatter takes twice the time.
        written = tuple(xla.dynamic_update_slice(old, tf.stack(new), tf.stack([t, 0, 0])) for old in collected)
        return t + steps, states, tuple(tf.ensure_shape(x, shape) for x, shape in zip(written, room, strict=True))

    batch = shapes[0][1]
    kept = () if outputs is None else (outputs,)
    room = tuple(tf.TensorShape([x.shape[0], batch, x.shape[2]]) for x in kept)
    invariants = (tf.TensorShape([]), tuple(tf.TensorShape([batch, x.shape[1]]) for x in states), room)
    _, states, collected = tf.while_loop(
        lambda t, *_: t < end,
        body,
        (tf.convert_to_tensor(start), states, kept),
        parallel_iterations=1,
        shape_invariants=invariants,
    )
    return states, collected[0] if collected else None


def _advance(step: Step, inputs: Tensors, states: Tensors) -> tuple[Tensors, list[tf.Tensor]]:
    """One step for each row of ``inputs``, of a known number of rows, and the output of each."""
    outputs = []
    for received in zip(*(tf.unstack(x) for x in inputs), strict=True):
        states = step(received, states)
        outputs.append(states[0])
    return states, outputs


def _swap_time_and_batch(x: tf.Tensor) -> tf.Tensor:
    """``[a, b, features]`` to ``[b, a, features]``; without moving anything where one of the two is 1."""
    a, b, features = _sizes(x)
    return tf.reshape(x, [b, a, features]) if 1 in x.shape[:2] else tf.transpose(x, [1, 0, 2])


def _sizes(x: tf.Tensor) -> list[Size]:
    """The shape of ``x``, with a scalar tensor for each size that is not known while tracing."""
    if x.shape.is_fully_defined():
        return list(x.shape)
    dynamic = tf.shape(x)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(x.shape)]
