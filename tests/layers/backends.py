"""Gradients and NumPy arrays, the same way under each backend of Keras.

``KERAS_BACKEND=jax python -m pytest tests/layers/test_runners.py`` runs a file of tests under another backend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

BACKEND = keras.backend.backend()


def to_numpy(tensor: Any) -> np.ndarray:
    """A copy of a tensor, whether or not gradients are recorded for it."""
    return np.array(keras.ops.convert_to_numpy(tensor))


def gradients(function: Callable[..., Any], tensors: Sequence[Any], *, compiled: bool = False) -> list[np.ndarray]:
    """Those of the scalar ``function(tensors)`` with regard to each tensor or array; zeros where it has no part.

    For a layer's weights let ``function`` call ``layer.stateless_call(weights, [], inputs)``. ``compiled``: TensorFlow
    uses XLA, as JAX always does.
    """
    tensors = [keras.ops.convert_to_tensor(tensor) for tensor in tensors]
    by_backend = {"tensorflow": _tensorflow_gradients, "jax": _jax_gradients, "torch": _torch_gradients}
    return [to_numpy(gradient) for gradient in by_backend[BACKEND](function, tensors, compiled)]


def kept_numbers(function: Callable[..., Any], tensors: Sequence[Any]) -> int:
    """How many numbers wait for the backward pass of ``function(tensors)``; for JAX and PyTorch."""
    tensors = [keras.ops.convert_to_tensor(tensor) for tensor in tensors]
    if BACKEND == "jax":
        import jax

        return sum(leaf.size for leaf in jax.tree.leaves(jax.vjp(function, tensors)[1]))
    import torch

    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = function([tensor.detach().requires_grad_() for tensor in tensors])
    assert value.requires_grad  # and the graph lives until here, so that no address was used twice
    return sum(kept.values())


def double_precision() -> contextlib.AbstractContextManager[Any]:
    """Within it float64 arrays stay float64, which JAX has to be asked for."""
    if BACKEND != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(True)


def _tensorflow_gradients(function: Callable[..., Any], tensors: list[Any], compiled: bool) -> Any:
    import tensorflow as tf

    def run(tensors: list[Any]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(tensors)
        return tape.gradient(value, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return (tf.function(run, jit_compile=True, autograph=False) if compiled else run)(tensors)


def _jax_gradients(function: Callable[..., Any], tensors: list[Any], compiled: bool) -> Any:
    import jax

    return jax.jit(jax.grad(function))(tensors)  # to compile each small operation by itself takes ten times as long


def _torch_gradients(function: Callable[..., Any], tensors: list[Any], compiled: bool) -> Any:
    import torch

    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    return torch.autograd.grad(function(tensors), tensors, materialize_grads=True)
