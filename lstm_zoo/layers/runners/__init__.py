r"""One loop over time for every gate variant, written once for each backend of Keras.

The module of the backend in use is imported at the first call, so that none of the others has to be installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import keras

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.runners.feedback import Feedback

BACKENDS = ("tensorflow", "jax", "torch")  # each a module of this package


def scan(
    step: Callable[..., tuple[Any, ...]],
    inputs: Any,
    recurrent_kernel: Any,
    parameters: Mapping[str, Any],
    states: tuple[Any, ...],
    constants: tuple[Any, ...],
    *,
    kernel: Any = None,
    bias: Any = None,
    feedback: Feedback[Any] | None = None,
    recurrent_mask: Any = None,
    prepare: Callable[[Any, Mapping[str, Any]], Any] | None = None,
    prepare_parameters: Mapping[str, Any] | None = None,
    additive: bool = True,
    rematerialize: bool = False,
    compiled: bool = False,
) -> tuple[Any, tuple[Any, ...]]:
    r"""Run ``step`` over time, with gradients to everything but ``recurrent_mask`` and ``constants``.

    .. math::
        \text{states}_t = \text{step}(x_t W + b,\; (h_{t-1} \odot m) U,\; \text{states}_{t-1}, \ldots),
        \quad h_t = \text{the first of states}_t

    All tensors are of one floating dtype; the constants may be of any.

    Args:
        step: ``step(z_input, z_recurrent, states, parameters, constants) -> states``, a pure function of tensors:
            ``z_input`` and ``z_recurrent`` are ``[batch, columns]``, ``constants`` the slices of its time step.
        inputs: ``[time, batch, features]`` with ``kernel``; without, the ``z_input`` of all steps,
            ``[time, batch, columns]``. At least one step.
        recurrent_kernel: :math:`U` ``[width, columns]``, ``width`` that of the first state; or one block for each
            head, ``[heads, width / heads, blocks, columns / blocks / heads]``, whose product is laid out as
            ``[batch, blocks, heads, columns / blocks / heads]`` and then flattened to ``[batch, columns]``.
        parameters: tensors by name that ``step`` uses at every time step.
        states: those before the first step, ``[batch, *]`` each; the first one is :math:`h` ``[batch, width]``.
        constants: tensors ``[time, batch, *]`` of which every step gets its own slice ``[batch, *]``.
        kernel: :math:`W` ``[features, columns]``.
        bias: :math:`b` ``[columns]``; only with ``kernel``.
        feedback: the product of the last state with the feedback's own kernel, added to some blocks of columns.
        recurrent_mask: :math:`m` ``[batch, width]``, the same at every step (variational dropout).
        prepare: ``prepare(inputs, prepare_parameters) -> inputs`` is done first, and compiled with the loop.
        prepare_parameters: tensors by name that ``prepare`` uses.
        additive: ``step`` uses nothing but ``z_input + z_recurrent``, and may be given ``(sum, 0.0)`` for the two.
        rematerialize: keep the states of only about ``sqrt(time)`` steps for the gradient and compute those in
            between once more: less memory, more time. ``step`` must draw no random numbers.
        compiled: TensorFlow only: compile the loop with XLA whatever surrounds it. What was compiled is kept with
            ``step``, so pass the same object for the same work.

    Returns:
        :math:`h` after every step, ``[time, batch, width]``, and the states after the last one.

    Raises:
        InvalidInputError: the backend of Keras has no such loop.
    """
    module = importlib.import_module(f"{__name__}.{_backend()}")
    more: dict[str, Any] = {}
    if compiled:
        more = {"compiled": True, "prepare": prepare, "prepare_parameters": prepare_parameters}
    elif prepare is not None:
        inputs = prepare(inputs, prepare_parameters or {})
    return module.scan(
        step,
        inputs,
        recurrent_kernel,
        parameters,
        states,
        constants,
        kernel=kernel,
        bias=bias,
        feedback=feedback,
        recurrent_mask=recurrent_mask,
        additive=additive,
        rematerialize=rematerialize,
        **more,
    )


def _backend() -> str:
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise InvalidInputError(
            f"KERAS_BACKEND={backend!r}: expected a backend with a scan, one of {', '.join(BACKENDS)}"
        )
    return str(backend)
