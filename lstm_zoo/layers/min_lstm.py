"""minLSTM: an LSTM whose gates see the input alone, so that all time steps are computed at once."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.arguments import positive_integer
from lstm_zoo.layers.parallel import InputOnlyCell, ParallelRNN

STEPS = 64  # in a block of time
SMALLEST = 1e-30  # stands for zero where a logarithm is taken
LOG_ZERO = -1e30  # adds nothing, and unlike infinity has gradients that are numbers


@keras.saving.register_keras_serializable(package="lstm_zoo")
class MinLSTM(ParallelRNN):
    r"""The minLSTM of Feng et al. 2024, computed in parallel over time.

    .. math::
        f_t &= \sigma(W_f x_t + b_f) \\
        i_t &= \sigma(W_i x_t + b_i) \\
        \tilde h_t &= g(W_h x_t + b_h), \quad g(x) = x + 0.5 \text{ if } x \ge 0, \text{ else } \sigma(x) \\
        h_t &= \frac{f_t}{f_t + i_t} \odot h_{t-1} + \frac{i_t}{f_t + i_t} \odot \tilde h_t

    Call arguments, masks and states are those of ``keras.layers.LSTM``, but there is one state, ``h``
    ``[batch, units]``. Outputs: ``[batch, time, units]`` with ``return_sequences``, else ``[batch, units]``, in the
    layer's compute dtype. They are never negative unless a negative initial state makes them so.

    Weights: ``kernel`` ``[features, 3 * units]`` and ``bias`` ``[3 * units]``, in the blocks forget, input, cell.

    The paper computes the recurrence by a parallel scan of logarithms, which is ``implementation="log_scan"``. By
    default both factors, which lie between 0 and 1, and the positive :math:`\tilde h` are used as they are: that is as
    stable, since only products and sums of numbers of one sign occur, several times faster, and takes initial states
    of any sign. See :func:`linear_recurrence`.

    Args:
        units: number of units.
        use_bias, kernel_initializer, bias_initializer, unit_forget_bias, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint, return_sequences, return_state, go_backwards,
            stateful: as in ``keras.layers.LSTM``.
        implementation: ``"scan"``, parallel; ``"log_scan"``, parallel over logarithms, for sequences of known length
            and states that are not negative; ``"sequential"``, step by step as the equations are written; ``"auto"``
            is ``"scan"``.
        **kwargs: ``zero_output_for_mask`` and ``unroll`` (of the sequential form) as in ``keras.layers.LSTM``, and the
            arguments of every Keras layer.

    Raises:
        InvalidInputError: ``units`` is not a positive integer, there is no such implementation, or the input is not
            ``[batch, time, features]``.

    Source: Feng et al. 2024, *Were RNNs All We Needed?* (https://arxiv.org/abs/2410.01201).
    """

    IMPLEMENTATIONS = ("auto", "scan", "log_scan", "sequential")

    def __init__(
        self,
        units: int,
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        implementation: str = "auto",
        **kwargs: Any,
    ):
        cell = MinLSTMCell(
            units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="min_lstm_cell",
        )
        super().__init__(cell, implementation=implementation, **kwargs)

    def scan(self, sequences: Any, states: Any, mask: Any) -> Any:
        if self.implementation == "log_scan":
            return self._log_scan(sequences, states, mask)
        keep, add = self.cell.gates(to_blocks(sequences))
        if mask is not None:
            mask = to_blocks(mask[..., None])
            keep = ops.where(mask, keep, ops.ones_like(keep))
            add = ops.where(mask, add, ops.zeros_like(add))
        h = linear_recurrence(keep, add, ops.cast(states[0], keep.dtype))
        h = from_blocks(h, ops.shape(sequences)[1])
        return h, [h[:, -1]]

    def _log_scan(self, sequences: Any, states: Any, mask: Any) -> Any:
        if sequences.shape[1] is None:
            raise InvalidInputError('implementation="log_scan" needs sequences of known length: use "scan"')
        log_keep, log_add = self.cell.log_gates(sequences)
        if mask is not None:
            log_keep = ops.where(mask[..., None], log_keep, ops.zeros_like(log_keep))
            log_add = ops.where(mask[..., None], log_add, LOG_ZERO)
        # The initial state comes in beside the first step's input; zero, which has no logarithm, as nearly nothing.
        initial = ops.log(ops.maximum(ops.cast(states[0], log_keep.dtype), SMALLEST))
        first = ops.logaddexp(log_add[:, :1], log_keep[:, :1] + initial[:, None])
        log_add = ops.concatenate([first, log_add[:, 1:]], axis=1)
        _, log_h = ops.associative_scan(_compose, (log_keep, log_add), axis=1)
        h = ops.exp(log_h)
        return h, [h[:, -1]]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_forget_bias": self.cell.unit_forget_bias}


class MinLSTMCell(InputOnlyCell):
    """One step of :class:`MinLSTM`, and its weights."""

    def __init__(self, units: int, *, unit_forget_bias: bool = True, **kwargs: Any):
        units = positive_integer("units", units)
        super().__init__(units, 3 * units, **kwargs)
        self.unit_forget_bias = unit_forget_bias
        self.state_size = units

    def make_bias(self, shape: Any, dtype: Any = None) -> Any:
        bias = super().make_bias(shape, dtype)
        if self.unit_forget_bias:
            bias = ops.concatenate([ops.ones(self.units, dtype=bias.dtype), bias[self.units :]])
        return bias

    def gates(self, inputs: Any) -> tuple[Any, Any]:
        r"""``[..., features]`` to :math:`f / (f + i)` and :math:`i / (f + i) \odot \tilde h`, ``[..., units]`` each."""
        f, i, h = ops.split(self.project(inputs), 3, axis=-1)
        # f / (f + i) is the sigmoid of log f - log i, which no pre-activation can make 0 / 0.
        log_ratio = ops.softplus(-i) - ops.softplus(-f)
        candidate = ops.where(h >= 0, h + 0.5, ops.sigmoid(h))
        return ops.sigmoid(log_ratio), ops.sigmoid(-log_ratio) * candidate

    def log_gates(self, inputs: Any) -> tuple[Any, Any]:
        """The logarithms of what :meth:`gates` returns."""
        f, i, h = ops.split(self.project(inputs), 3, axis=-1)
        log_ratio = ops.softplus(-i) - ops.softplus(-f)
        log_candidate = ops.where(h >= 0, ops.log(ops.maximum(h, 0.0) + 0.5), -ops.softplus(-h))
        return -ops.softplus(-log_ratio), log_candidate - ops.softplus(log_ratio)

    def step(self, inputs: Any, states: Any) -> Any:
        keep, add = self.gates(inputs)
        h = ops.cast(keep * ops.cast(states[0], keep.dtype) + add, self.compute_dtype)
        return h, [h]


def _compose(early: Any, late: Any) -> tuple[Any, Any]:
    r"""Two steps :math:`h \to a \odot h + b` as one, all in logarithms."""
    (log_a, log_b), (log_a_late, log_b_late) = early, late
    return log_a + log_a_late, ops.logaddexp(log_a_late + log_b, log_b_late)


def to_blocks(x: Any) -> Any:
    """``[batch, time, n]`` to ``[steps, blocks, batch, n]``, with zeros after the end where the last block is short."""
    batch, length, size = ops.shape(x)
    steps = min(STEPS, length) if isinstance(length, int) else STEPS
    blocks = -(-length // steps)
    missing = blocks * steps - length
    if not isinstance(missing, int) or missing:
        x = ops.concatenate([x, ops.zeros((batch, missing, size), dtype=x.dtype)], axis=1)
    return ops.transpose(ops.reshape(x, (batch, blocks, steps, size)), (2, 1, 0, 3))


def from_blocks(x: Any, length: Any) -> Any:
    """The inverse of :func:`to_blocks`."""
    steps, blocks, batch, size = ops.shape(x)
    return ops.reshape(ops.transpose(x, (2, 1, 0, 3)), (batch, blocks * steps, size))[:, :length]


@ops.custom_gradient
def linear_recurrence(a: Any, b: Any, initial: Any) -> Any:
    r"""All of :math:`h_t = a_t \odot h_{t-1} + b_t`, with memory and work linear in time.

    The steps of all blocks are taken side by side, as if each block began with zero; then what the blocks before leave
    behind is handed from block to block. That is ``steps + blocks`` operations one after the other.

    The gradient is the same recurrence backwards. With :math:`u_t` the derivative with respect to :math:`h_t` as the
    output that it is, :math:`d_t = u_t + a_{t+1} \odot d_{t+1}` is that with respect to :math:`b_t`, and
    :math:`d_t \odot h_{t-1}` that with respect to :math:`a_t`.

    Args:
        a: ``[steps, blocks, batch, n]``, between 0 and 1.
        b: as ``a``.
        initial: ``[batch, n]``, what precedes the first step.

    Returns:
        h, as ``a``.
    """

    def forwards(carry: Any, inputs: Any) -> Any:
        (h, product), (a, b) = carry, inputs
        carry = (a * h + b, a * product)
        return carry, carry

    h, starts, _ = _both_levels(forwards, (a, b), initial)
    before = ops.concatenate([starts[None], h[:-1]])  # h of the step before

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
        if upstream is None:
            (upstream,) = args  # except on PyTorch

        def backwards(carry: Any, inputs: Any) -> Any:
            (later, product), (a, u) = carry, inputs
            d = u + later
            return (a * d, a * product), (d, product)

        d, _, first = _both_levels(backwards, (a, upstream), ops.zeros_like(initial), reverse=True)
        return d * before, d, first

    return h, gradient


def _both_levels(step: Any, inputs: Any, initial: Any, reverse: bool = False) -> tuple[Any, Any, Any]:
    """Runs ``step`` within the blocks, then adds what enters each block; returns those too, and what leaves at last."""

    def hop(entering: Any, block: Any) -> Any:
        return block[0] + block[1] * entering, entering

    zeros = ops.zeros_like(inputs[0][0])
    left, (values, products) = ops.scan(step, (zeros, ops.ones_like(zeros)), inputs, reverse=reverse)
    # As one tensor: Keras's scan takes no more than one of unknown length on TensorFlow.
    last, entering = ops.scan(hop, initial, ops.stack(left, axis=1), reverse=reverse)
    return values + products * entering, entering, last
