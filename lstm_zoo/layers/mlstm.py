"""mLSTM, the matrix memory of xLSTM: its recurrent form, and the equal one that is parallel within chunks of time."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.arguments import positive_integer
from lstm_zoo.layers.parallel import WORKING, InputOnlyCell, ParallelRNN

EMPTY = -1e30  # the stabiliser of an empty memory: a logarithm of zero with which one can still reckon
NEVER = -2e30  # log of the weight of a step that writes nothing: nothing even beside an empty memory
# Between these exp(-m) is cut off. Above, outputs are zero in any use; below, what it is compared with, a product of
# vectors whose largest weight is one, is nothing but rounding, and might be zero.
LEAST, MOST = -14.0, 40.0


@keras.saving.register_keras_serializable(package="lstm_zoo")
class MLSTM(ParallelRNN):
    r"""The mLSTM of Beck et al. 2024: every head writes values under keys into a matrix, and reads it with queries.

    .. math::
        q_t, v_t &= W_q x_t + b_q, W_v x_t + b_v, \quad k_t = (W_k x_t + b_k) / \sqrt{d} \\
        i_t &= \exp(w_i x_t + b_i), \quad f_t = \sigma(w_f x_t + b_f) \text{ or } \exp(w_f x_t + b_f) \\
        C_t &= f_t C_{t-1} + i_t k_t v_t^\top \\
        n_t &= f_t n_{t-1} + i_t k_t \\
        h_t &= \sigma(W_o x_t + b_o) \odot \frac{C_t^\top q_t}{\max(|n_t^\top q_t|, 1)}

    for each head by itself, with :math:`d` = ``units / heads``. Since the exponentials would overflow, stored are
    :math:`C_t e^{-m_t}` and :math:`n_t e^{-m_t}`, with the stabiliser :math:`m_t = \max(\log f_t + m_{t-1}, \log i_t)`.
    Outputs do not depend on it, and gradients take it as a constant, which leaves those of outputs as they are.

    Call arguments and masks are those of ``keras.layers.LSTM``. Outputs: ``[batch, time, units]`` with
    ``return_sequences``, else ``[batch, units]``. States: C ``[batch, heads, d, d]`` (keys in rows, values in columns),
    n ``[batch, heads, d]`` and m ``[batch, heads]``. A head whose C and n are zero is empty, whatever its m. All are in
    the layer's compute dtype; inside it is float32.

    Weights: ``kernel`` ``[features, 4 * units + 2 * heads]`` and ``bias`` of that length, in the blocks query, key,
    value, output (``units`` each, head after head), input, forget (``heads`` each).

    Memory and work are linear in time. With chunks of :math:`L` steps, heads work with matrices ``[L, L]`` and
    ``[d, d]``, and only ``time / L`` steps are taken one after the other.

    Args:
        units: number of units, all heads together.
        heads: number of heads; divides ``units``.
        chunk_size: steps computed at once, :math:`L`. It changes speed and memory, and rounding.
        forget_activation: ``"sigmoid"`` or ``"exponential"``.
        forget_bias: the biases of the forget gates at first: evenly spaced over the heads between these two values
            (which are those of the paper's code). None: as ``bias_initializer`` has it.
        use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, return_sequences, return_state, go_backwards, stateful: as in
            ``keras.layers.LSTM``.
        implementation: ``"scan"``, parallel within chunks; ``"sequential"``, step by step as the equations are written;
            ``"auto"`` is ``"scan"``.
        **kwargs: ``zero_output_for_mask`` and ``unroll`` (of the sequential form) as in ``keras.layers.LSTM``, and the
            arguments of every Keras layer.

    Raises:
        InvalidInputError: ``units``, ``heads`` or ``chunk_size`` is not a positive integer, ``heads`` does not divide
            ``units``, there is no such activation or implementation, ``forget_bias`` is not a pair of numbers, or the
            input is not ``[batch, time, features]``.

    Source: Beck et al. 2024, *xLSTM: Extended Long Short-Term Memory* (https://arxiv.org/abs/2405.04517), section 2.3
    and appendix A.
    """

    def __init__(
        self,
        units: int,
        heads: int = 1,
        chunk_size: int = 64,
        *,
        forget_activation: str = "sigmoid",
        forget_bias: tuple[float, float] | None = (3.0, 6.0),
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        implementation: str = "auto",
        **kwargs: Any,
    ):
        chunk_size = positive_integer("chunk_size", chunk_size)
        cell = MLSTMCell(
            units,
            heads,
            forget_activation=forget_activation,
            forget_bias=forget_bias,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="mlstm_cell",
        )
        super().__init__(cell, implementation=implementation, **kwargs)
        self.chunk_size = chunk_size

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        return [ops.zeros((batch_size, *shape), dtype=self.compute_dtype) for shape in self.cell.state_shapes]

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        flat = [ops.reshape(state, (-1, size)) for state, size in zip(initial_state, self.cell.state_size, strict=True)]
        last, outputs, states = super().inner_loop(sequences, flat, mask, training)
        shapes = self.cell.state_shapes
        return last, outputs, [ops.reshape(state, (-1, *shape)) for state, shape in zip(states, shapes, strict=True)]

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        batch, length = sequences_shape[:2]
        output = (batch, length, self.cell.units) if self.return_sequences else (batch, self.cell.units)
        return (output, *((batch, *shape) for shape in self.cell.state_shapes)) if self.return_state else output

    def scan(self, sequences: Any, states: Any, mask: Any) -> Any:
        queries, keys, values, gate, log_i, log_f = self.cell.project_heads(sequences)
        if mask is not None:  # a masked step neither writes nor forgets
            log_i = ops.where(mask[..., None], log_i, ops.full_like(log_i, NEVER))
            log_f = ops.where(mask[..., None], log_f, ops.zeros_like(log_f))
        read, states = chunkwise(
            queries, keys, values, log_i, log_f, *self.cell.unpack(states), chunk_size=self.chunk_size
        )
        outputs = gate * ops.reshape(read, ops.shape(gate))
        return outputs, self.cell.pack(*states)

    def get_config(self) -> dict[str, Any]:
        cell = self.cell
        return {
            **super().get_config(),
            "heads": cell.heads,
            "chunk_size": self.chunk_size,
            "forget_activation": cell.forget_activation,
            "forget_bias": cell.forget_bias,
        }


class MLSTMCell(InputOnlyCell):
    """One step of :class:`MLSTM`, and its weights.

    Its states are flat, ``[batch, heads * d * d]`` and so on, since not every backend of Keras masks others. It works
    with C and n side by side, as one ``memory`` ``[batch, heads, d, d + 1]``: n is C for a value that is always one.
    """

    def __init__(
        self, units: int, heads: int = 1, *, forget_activation: str = "sigmoid", forget_bias: Any = None, **kwargs: Any
    ):
        units, heads = positive_integer("units", units), positive_integer("heads", heads)
        if units % heads:
            raise InvalidInputError(f"heads={heads}: expected a divisor of units={units}")
        if forget_activation not in ("sigmoid", "exponential"):
            raise InvalidInputError(f"forget_activation={forget_activation!r}: expected 'sigmoid' or 'exponential'")
        super().__init__(units, 4 * units + 2 * heads, **kwargs)
        self.heads = heads
        self.forget_activation = forget_activation
        self.forget_bias = None if forget_bias is None else _pair("forget_bias", forget_bias)
        size = units // heads
        self.state_shapes = [(heads, size, size), (heads, size), (heads,)]
        self.state_size = [heads * size * size, heads * size, heads]

    def make_bias(self, shape: Any, dtype: Any = None) -> Any:
        bias = super().make_bias(shape, dtype)
        if self.forget_bias is not None:
            forget = ops.linspace(*self.forget_bias, self.heads, dtype=bias.dtype)
            bias = ops.concatenate([bias[: -self.heads], forget])
        return bias

    def project_heads(self, inputs: Any) -> tuple[Any, ...]:
        """``[..., features]`` to queries, keys, values (with the one), output gate, log of input and forget gate.

        Shapes: ``[..., heads, d]`` twice, ``[..., heads, d + 1]``, ``[..., units]``, ``[..., heads]`` twice.
        """
        z, units, size = self.project(inputs), self.units, self.units // self.heads
        q, k, v, o, gates = ops.split(z, [units, 2 * units, 3 * units, 4 * units], axis=-1)
        log_i, log_f = ops.split(gates, 2, axis=-1)
        if self.forget_activation == "sigmoid":
            log_f = ops.log_sigmoid(log_f)
        q, k, v = (ops.reshape(x, (*ops.shape(x)[:-1], self.heads, size)) for x in (q, k, v))
        v = ops.concatenate([v, ops.ones_like(v[..., :1])], axis=-1)
        return q, k / math.sqrt(size), v, ops.sigmoid(o), log_i, log_f

    def unpack(self, states: Any) -> tuple[Any, Any]:
        """The states to memory and stabiliser, float32."""
        states = [ops.cast(state, WORKING) for state in states]
        C, n, m = (ops.reshape(x, (-1, *shape)) for x, shape in zip(states, self.state_shapes, strict=True))  # noqa: N806
        memory = ops.concatenate([C, n[..., None]], axis=-1)
        return memory, ops.where(ops.any(memory != 0, axis=(-2, -1)), m, ops.full_like(m, EMPTY))

    def pack(self, memory: Any, m: Any) -> list[Any]:
        """The inverse of :meth:`unpack`, in the compute dtype."""
        kept = ops.where(m > 0.5 * EMPTY, m, ops.zeros_like(m))
        m = ops.cast(kept, self.compute_dtype)
        # What rounding changes in m, half precision a lot, is made good in C and n.
        memory = ops.cast(memory * ops.exp(kept - ops.cast(m, kept.dtype))[..., None, None], self.compute_dtype)
        states = memory[..., :-1], memory[..., -1], m
        return [ops.reshape(state, (-1, size)) for state, size in zip(states, self.state_size, strict=True)]

    def step(self, inputs: Any, states: Any) -> Any:
        q, k, v, gate, log_i, log_f = self.project_heads(inputs)
        memory, m_before = self.unpack(states)
        m = ops.stop_gradient(ops.maximum(log_f + m_before, log_i))
        f = ops.exp(log_f + m_before - m)[..., None, None]
        i = ops.exp(log_i - m)[..., None, None]
        memory = f * memory + i * k[..., :, None] * v[..., None, :]
        h = read_out(ops.einsum("bhk,bhkv->bhv", q, memory), m)
        output = gate * ops.reshape(h, ops.shape(gate))
        return ops.cast(output, self.compute_dtype), self.pack(memory, m)


def read_out(found: Any, m: Any) -> Any:
    r"""What a query found: :math:`C^\top q / \max(|n^\top q|, e^{-m})`, which is :math:`\max(|n^\top q|, 1)` unscaled.

    Args:
        found: ``[..., d + 1]``: :math:`C^\top q` and, last, :math:`n^\top q`.
        m: ``[...]``, the stabiliser of both.
    """
    least = ops.exp(ops.clip(-m, LEAST, MOST))
    return found[..., :-1] / ops.maximum(ops.abs(found[..., -1]), least)[..., None]


def chunkwise(
    queries: Any, keys: Any, values: Any, log_i: Any, log_f: Any, memory: Any, m: Any, *, chunk_size: int
) -> tuple[Any, tuple[Any, Any]]:
    r"""The recurrence of :class:`MLSTM` for all steps, chunk by chunk.

    With :math:`F_{ts}` the sum of :math:`\log f` over the steps after :math:`s` up to :math:`t`, the log of
    the weight of step :math:`s` at step :math:`t` of its chunk is :math:`F_{ts} + \log i_s`, and that of what preceded
    the chunk its :math:`m` plus all :math:`\log f` since. The largest of them is :math:`m_t`.

    Args:
        queries, keys: ``[batch, time, heads, d]``.
        values: ``[batch, time, heads, v]``, a one in the last place.
        log_i, log_f: ``[batch, time, heads]``.
        memory: ``[batch, heads, d, v]``, what precedes the first step.
        m: ``[batch, heads]``, its stabiliser.
        chunk_size: steps of a chunk.

    Returns:
        What the queries read ``[batch, time, heads, v - 1]``, and the last memory with its stabiliser.
    """
    length = ops.shape(queries)[1]
    size = min(chunk_size, length) if isinstance(length, int) else chunk_size
    chunks = -(-length // size)

    def split(x: Any, filler: float = 0.0) -> Any:  # [batch, time, heads, ...] to [chunks, batch, heads, size, ...]
        batch, _, heads, *rest = ops.shape(x)
        missing = chunks * size - length
        if not isinstance(missing, int) or missing:
            x = ops.concatenate([x, ops.full((batch, missing, heads, *rest), filler, dtype=x.dtype)], axis=1)
        x = ops.reshape(x, (batch, chunks, size, heads, *rest))
        return ops.transpose(x, (1, 0, 3, 2, *range(4, len(x.shape))))

    def merge(x: Any) -> Any:  # the inverse
        _, batch, heads, _, *rest = ops.shape(x)
        x = ops.transpose(x, (1, 0, 3, 2, *range(4, len(x.shape))))
        return ops.reshape(x, (batch, chunks * size, heads, *rest))[:, :length]

    queries, keys, values, log_f = (split(x) for x in (queries, keys, values, log_f))
    log_i = split(log_i, NEVER)  # the steps beyond the end write nothing
    since_start = ops.cumsum(log_f, axis=-1)  # [chunks, batch, heads, size]
    past = ops.tril(ops.ones((size, size), dtype="bool"))
    # Each sum over the steps between is taken for itself: differences of `since_start` would lose digits.
    between = ops.where(ops.tril(past, -1), log_f[..., None], ops.zeros_like(log_f[..., None]))
    weight = ops.cumsum(between, axis=-2) + log_i[..., None, :]  # log, at step t [row] of step s [column]
    weight = ops.where(past, weight, ops.full_like(weight, NEVER))
    largest = ops.stop_gradient(ops.max(weight, axis=-1))

    # What every chunk adds to the memory, and from that the memory each chunk begins with.
    added = ops.exp(weight[..., -1, :] - largest[..., -1:])[..., None] * values
    added = ops.matmul(ops.swapaxes(keys, -1, -2), added)  # [chunks, batch, heads, d, v]
    m_before, m_after = _stabilisers(since_start[..., -1], largest[..., -1], m)
    kept = ops.exp(since_start[..., -1] + m_before - m_after)[..., None]
    added = ops.exp(largest[..., -1] - m_after)[..., None, None] * added
    shape = ops.shape(added)
    memories = _memories(kept, ops.reshape(added, (*shape[:3], -1)), ops.reshape(memory, (*shape[1:3], -1)))
    memories = ops.reshape(memories, (chunks + 1, *shape[1:]))

    since_start = since_start + m_before[..., None]  # from here on the weight of what preceded the chunk, its log
    m = ops.stop_gradient(ops.maximum(since_start, largest))
    scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) * ops.exp(weight - m[..., None])
    before = ops.exp(since_start - m)[..., None] * ops.matmul(queries, memories[:-1])
    return merge(read_out(ops.matmul(scores, values) + before, m)), (memories[-1], m_after[-1])


def _stabilisers(log_f: Any, largest: Any, m: Any) -> tuple[Any, Any]:
    """``m`` before and after each chunk, ``[chunks, batch, heads]``; constants, but for the first of all."""

    def step(m: Any, chunk: Any) -> Any:
        return ops.maximum(chunk[..., 0] + m, chunk[..., 1]), m

    # As one tensor: Keras's scan takes no more than one of unknown length on TensorFlow.
    chunks = ops.stop_gradient(ops.stack([log_f, largest], axis=-1))
    last, before = ops.scan(step, ops.stop_gradient(m), chunks)
    later = ops.concatenate([before[1:], last[None]])
    return ops.concatenate([m[None], before[1:]]), later


@ops.custom_gradient
def _memories(kept: Any, added: Any, initial: Any) -> Any:
    """All :math:`M_{n+1} = kept_n M_n + added_n`, the first and the last included.

    With a gradient of its own, since TensorFlow's for loops cannot be compiled by XLA when the length is unknown.

    Args:
        kept: ``[chunks, batch, heads, 1]``.
        added: ``[chunks, batch, heads, n]``.
        initial: ``[batch, heads, n]``.

    Returns:
        ``[chunks + 1, batch, heads, n]``.
    """

    def run(added: Any, initial: Any, reverse: bool) -> Any:
        def step(memory: Any, chunk: Any) -> Any:
            return chunk[..., :1] * memory + chunk[..., 1:], memory

        return ops.scan(step, initial, ops.concatenate([kept, added], axis=-1), reverse=reverse)

    last, memories = run(added, initial, reverse=False)

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
        if upstream is None:
            (upstream,) = args  # except on PyTorch
        first, later = run(upstream[:-1], upstream[-1], reverse=True)
        return ops.sum(later * memories, axis=-1, keepdims=True), later, first

    return ops.concatenate([memories, last[None]]), gradient


def _pair(name: str, value: Any) -> tuple[float, float]:
    try:
        first, last = value
        return float(first), float(last)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name}={value!r}: expected two numbers, or None") from None
