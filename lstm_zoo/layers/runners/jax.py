"""The loop over time in JAX: ``jax.lax.scan``.

See :func:`lstm_zoo.layers.runners.scan` for what ``scan`` is given and returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lstm_zoo.layers.runners.feedback import Feedback


def scan(
    step: Callable[..., tuple[Any, ...]],
    inputs: jax.Array,
    recurrent_kernel: jax.Array,
    parameters: Mapping[str, jax.Array],
    states: tuple[jax.Array, ...],
    constants: tuple[jax.Array, ...],
    *,
    kernel: jax.Array | None = None,
    bias: jax.Array | None = None,
    feedback: Feedback[jax.Array] | None = None,
    recurrent_mask: jax.Array | None = None,
    additive: bool = True,
    rematerialize: bool = False,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The contract and the arguments are those of :func:`lstm_zoo.layers.runners.scan`."""

    def one_step(states: Any, time_step: Any) -> Any:
        z_input, constants = time_step
        h = states[0] if recurrent_mask is None else states[0] * recurrent_mask
        z_recurrent: Any = _recur(h, recurrent_kernel)
        if feedback is not None:
            z_recurrent += feedback.spread(states[-1] @ feedback.kernel)
        if additive:
            z_input, z_recurrent = z_input + z_recurrent, 0.0
        states = tuple(step(z_input, z_recurrent, states, parameters, constants))
        return states, states[0]

    def segment(states: Any, span: Any) -> Any:
        inputs, constants = span
        return jax.lax.scan(one_step, states, (_project(inputs, kernel, bias), constants))

    states, everything = tuple(states), (inputs, tuple(constants))
    if not rematerialize:
        states, outputs = segment(states, everything)
        return outputs, states

    # prevent_cse=False: inside a scan nothing can be computed in common, and XLA optimises better
    segment = jax.checkpoint(segment, prevent_cse=False)
    length = math.ceil(math.sqrt(inputs.shape[0]))
    whole = inputs.shape[0] // length
    segments = jax.tree.map(lambda x: x[: whole * length].reshape(whole, length, *x.shape[1:]), everything)
    states, outputs = jax.lax.scan(segment, states, segments)
    outputs = outputs.reshape(whole * length, *outputs.shape[2:])
    if whole * length == inputs.shape[0]:
        return outputs, states
    states, rest = segment(states, jax.tree.map(lambda x: x[whole * length :], everything))
    return jnp.concatenate([outputs, rest]), states


def _project(inputs: jax.Array, kernel: jax.Array | None, bias: jax.Array | None) -> jax.Array:
    """The ``z_input`` of all steps, in one product."""
    if kernel is None:
        return inputs
    z = inputs @ kernel
    return z if bias is None else z + bias


def _recur(h: jax.Array, recurrent_kernel: jax.Array) -> jax.Array:
    """``z_recurrent`` ``[batch, columns]`` of ``h`` ``[batch, width]``; the kernel may be one block for each head."""
    if recurrent_kernel.ndim == 2:
        return h @ recurrent_kernel
    heads = h.reshape(h.shape[0], recurrent_kernel.shape[0], -1)
    return jnp.einsum("bnd,ndge->bgne", heads, recurrent_kernel).reshape(h.shape[0], -1)
