"""The sLSTM: exponential gating, with a normaliser and a stabiliser."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.gated_lstm import GatedLSTM
from lstm_zoo.layers.gates import register_gates

FORGET_ACTIVATIONS = ("sigmoid", "exponential")


def _stabilized(log_f: Any, z: tuple[Any, ...], c: Any, n: Any, m: Any, cell: Any) -> tuple[Any, ...]:
    """The step with the logarithm of the forget gate given; see :class:`SLSTM` for the equations."""
    log_i, g, o = z
    dtype = c.dtype
    log_f, log_i, c, n, m = (ops.cast(x, "float32") for x in (log_f, log_i, c, n, m))
    # Nothing is stored as long as n is zero: then there is nothing to stabilise against but the new input.
    new_m = ops.where(n == 0, log_i, ops.maximum(log_f + m, log_i))
    # Rounded before it is used, so that in half precision the next step starts from what this one divided by.
    new_m = ops.cast(ops.cast(new_m, dtype), "float32")
    i, f = ops.exp(log_i - new_m), ops.where(n == 0, 0.0, ops.exp(ops.minimum(log_f + m - new_m, 1.0)))
    c = f * c + i * ops.cast(cell.activation(g), "float32")
    n = f * n + i
    h = cell.recurrent_activation(o) * ops.cast(cell.normalize(c / n), dtype)
    return h, ops.cast(c, dtype), ops.cast(n, dtype), ops.cast(new_m, dtype)


@register_gates("slstm", states=("normalizer", "stabilizer"), peepholes=None, cell_options=False)
def slstm(z, h, c, n, m, cell):  # type: ignore[no-untyped-def]
    """The gates of :class:`SLSTM` with a sigmoid forget gate. Shapes: ``z`` ``[batch, 4 * units]``, else ``units``."""
    i, f, g, o = cell.split(z)
    # The logarithm of the sigmoid, in operators that TFLite has; it has no softplus.
    log_f = ops.minimum(f, 0.0) - ops.log(1.0 + ops.exp(-ops.abs(f)))
    return _stabilized(log_f, (i, g, o), c, n, m, cell)


@register_gates("slstm_exponential", states=("normalizer", "stabilizer"), peepholes=None, cell_options=False)
def slstm_exponential(z, h, c, n, m, cell):  # type: ignore[no-untyped-def]
    """The gates of :class:`SLSTM` with an exponential forget gate; shapes as in :func:`slstm`."""
    i, f, g, o = cell.split(z)
    return _stabilized(f, (i, g, o), c, n, m, cell)


@keras.saving.register_keras_serializable(package="lstm_zoo")
class SLSTM(GatedLSTM):
    r"""An LSTM with exponential gates, which can revise what it has stored, and heads that do not mix.

    .. math::
        i_t &= \exp(z^i_t), \quad f_t = \sigma(z^f_t) \text{ or } \exp(z^f_t), \quad o_t = \sigma(z^o_t) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot \tanh(z^g_t) \\
        n_t &= f_t \odot n_{t-1} + i_t \\
        h_t &= o_t \odot c_t / n_t

    computed with the stabiliser :math:`m_t = \max(\log f_t + m_{t-1}, \log i_t)` in place of overflowing exponentials:
    :math:`c` and :math:`n` are stored divided by :math:`e^{m_t}`. Source: Beck et al. 2024, *xLSTM*
    (https://arxiv.org/abs/2405.04517), equations 8 to 17; without its block of convolutions and projections.

    Args:
        units: size of the output and of each state.
        heads: the recurrent kernel has this many blocks, ``[heads, units / heads, 4, units / heads]``: a unit sees the
            last outputs of its own head alone.
        forget_activation: ``"sigmoid"`` or ``"exponential"``.
        **arguments: those of :class:`~lstm_zoo.layers.GatedLSTM`, but for ``gates``, ``peepholes`` and what is done to
            the cell state, which is stored on a scale of its own: ``cell_clip``, ``cell_activation``, ``zoneout_cell``.

    States: ``h``, ``c``, the normaliser ``n`` and the stabiliser ``m``, ``[batch, units]`` each. Zeros are the right
    initial states.

    Raises:
        InvalidInputError: ``heads`` does not divide ``units``; an unknown ``forget_activation``; an argument that
            it cannot have.
    """

    def __init__(self, units: int, heads: int = 1, *, forget_activation: str = "sigmoid", **arguments: Any):
        if forget_activation not in FORGET_ACTIVATIONS:
            raise InvalidInputError(
                f"forget_activation={forget_activation!r}: expected one of {', '.join(map(repr, FORGET_ACTIVATIONS))}"
            )
        if "gates" in arguments:
            raise InvalidInputError("gates= is fixed in an sLSTM: use GatedLSTM for another variant")
        self.forget_activation = forget_activation
        gates = "slstm" if forget_activation == "sigmoid" else "slstm_exponential"
        super().__init__(units, gates, heads=heads, **arguments)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["gates"]
        return {**config, "forget_activation": self.forget_activation}
