"""Stand-ins for methods of single layers, for as long as a model is called."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from lstm_zoo.errors import ExportError
from lstm_zoo.layers.gated_lstm import GatedLSTM

_lock = threading.RLock()

StandIn = tuple[keras.layers.Layer, str, Callable[..., Any]]


@contextlib.contextmanager
def stand_ins(replacements: Iterable[StandIn]) -> Iterator[None]:
    """Within this context ``layer.method(...)`` calls ``function(layer, original, ...)``, for each of the three.

    ``original`` is what was in place before, be it the method of the layer's class or another stand-in. An
    :class:`ExportError` comes out without the words that Keras adds to errors inside a layer.
    """
    replacements = list(replacements)
    previous = [vars(layer).get(method) for layer, method, _ in replacements]
    try:
        for layer, method, function in replacements:
            # Into the instance's own dictionary, past Keras's attribute tracking: it hides the method of the class.
            vars(layer)[method] = functools.partial(function, layer, getattr(layer, method))
        yield
    except ExportError as error:
        cause: BaseException = error
        while isinstance(cause.__context__, ExportError):
            cause = cause.__context__
        raise cause from None
    finally:
        for (layer, method, _), before in zip(replacements, previous, strict=True):
            if before is None:
                vars(layer).pop(method, None)
            else:
                vars(layer)[method] = before


@contextlib.contextmanager
def not_unrolled(layers: Iterable[Any]) -> Iterator[None]:
    """Within this context layers of ``unroll=True`` take inputs whose length is open."""
    unrolled = [layer for layer in layers if layer.unroll]
    try:
        for layer in unrolled:
            layer.unroll = False
        yield
    finally:
        for layer in unrolled:
            layer.unroll = True


def recurrent_layers(model: keras.Model) -> list[Any]:
    """Every LSTM of ``model``, those inside ``Bidirectional`` and nested models too."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.LSTM | GatedLSTM)]


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
