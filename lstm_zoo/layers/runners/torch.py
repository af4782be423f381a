"""The loop over time in PyTorch: a plain loop, from which everything that can be is taken out.

See :func:`lstm_zoo.layers.runners.scan` for what ``scan`` is given and returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from lstm_zoo.layers.runners.feedback import Feedback


def scan(
    step: Callable[..., tuple[Any, ...]],
    inputs: torch.Tensor,
    recurrent_kernel: torch.Tensor,
    parameters: Mapping[str, torch.Tensor],
    states: tuple[torch.Tensor, ...],
    constants: tuple[torch.Tensor, ...],
    *,
    kernel: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    feedback: Feedback[torch.Tensor] | None = None,
    recurrent_mask: torch.Tensor | None = None,
    additive: bool = True,
    rematerialize: bool = False,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The contract and the arguments are those of :func:`lstm_zoo.layers.runners.scan`."""
    fused = additive and recurrent_kernel.ndim == 2  # one call for the product and the sum

    def segment(
        inputs: torch.Tensor, constants: tuple[torch.Tensor, ...], states: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        z_input: torch.Tensor
        z_recurrent: torch.Tensor | float
        outputs = []
        # unbind, and not indexing: its gradient is one stack, that of indexing is quadratic in time
        slices = zip(*(constant.unbind() for constant in constants), strict=True) if constants else None
        for z in _project(inputs, kernel, bias).unbind():
            h = states[0] if recurrent_mask is None else states[0] * recurrent_mask
            if fused:
                z_input, z_recurrent = torch.addmm(z, h, recurrent_kernel), 0.0
            else:
                z_input, z_recurrent = z, _recur(h, recurrent_kernel)
            if feedback is not None:
                z_recurrent = z_recurrent + feedback.spread(states[-1] @ feedback.kernel)
            states = tuple(step(z_input, z_recurrent, states, parameters, next(slices) if slices else ()))
            outputs.append(states[0])
        return torch.stack(outputs), states

    if not rematerialize:
        return segment(inputs, constants, tuple(states))

    length = math.ceil(math.sqrt(inputs.shape[0]))
    outputs = []
    for start in range(0, inputs.shape[0], length):
        span = slice(start, start + length)
        cut = inputs[span], tuple(constant[span] for constant in constants)
        output, states = checkpoint(segment, *cut, states, use_reentrant=False, preserve_rng_state=False)
        outputs.append(output)
    return torch.cat(outputs), states


def _project(inputs: torch.Tensor, kernel: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    """The ``z_input`` of all steps, in one product."""
    if kernel is None:
        return inputs
    rows = inputs.flatten(0, 1)
    z = rows @ kernel if bias is None else torch.addmm(bias, rows, kernel)
    return z.unflatten(0, inputs.shape[:2])


def _recur(h: torch.Tensor, recurrent_kernel: torch.Tensor) -> torch.Tensor:
    """``z_recurrent`` ``[batch, columns]`` of ``h`` ``[batch, width]``; the kernel may be one block for each head."""
    if recurrent_kernel.ndim == 2:
        return h @ recurrent_kernel
    heads, width, *columns = recurrent_kernel.shape  # of each head: columns is [blocks, units]
    # "bnd,ndge->bgne" in one batched product, which costs half of what einsum does
    z = torch.bmm(h.unflatten(1, (heads, width)).transpose(0, 1), recurrent_kernel.flatten(2))
    return z.unflatten(2, columns).permute(1, 2, 0, 3).flatten(1)
