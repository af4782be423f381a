"""What the gates of an LSTM did, step by step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops
from rich.table import Table

from lstm_zoo.errors import InvalidInputError, UnknownNameError
from lstm_zoo.inspect.watching import GATES, run_watched
from lstm_zoo.layers.stand_ins import recurrent_layers, stand_ins, without_cudnn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHUT, OPEN = 0.1, 0.9  # where Karpathy et al. 2015 call a gate saturated


@dataclass(frozen=True)
class GateValues:
    """The gates and states of one LSTM over one input, float32 ``[time, units]`` each.

    Step ``t`` is about step ``t`` of the layer's input, in layers with ``go_backwards=True`` too. Where a mask leaves a
    step out, nothing is computed: gates and candidate are NaN there, the states stay.

    Attributes:
        layer: its name.
        input, forget, output: the gates, from 0 (shut) to 1 (open). None where the variant does without, or takes
            another function than the layer's ``recurrent_activation``, as the sLSTM does.
        candidate: what is let in, before the input gate: in the papers g, or the cell input. None as for the gates.
        cell: the cell state c after the step.
        hidden: the output h after the step, ``[time, projection_units]`` where there is a projection.
        steps: what each step read, for models that take texts; else None.
        seconds: from one step to the next, for models that take sound; else None.
    """

    layer: str
    input: np.ndarray | None
    forget: np.ndarray | None
    output: np.ndarray | None
    candidate: np.ndarray | None
    cell: np.ndarray
    hidden: np.ndarray
    steps: tuple[str, ...] | None = None
    seconds: float | None = None

    @property
    def gates(self) -> dict[str, np.ndarray]:
        """Those of the three gates that there are, by name."""
        found = {name: getattr(self, name) for name in GATES}
        return {name: values for name, values in found.items() if values is not None}

    def summary(self) -> dict[str, dict[str, float]]:
        """For each gate its mean, and the share of its values that are below 0.1 and above 0.9.

        These are the "left- and right-saturated" gates of Karpathy et al. 2015 (https://arxiv.org/abs/1506.02078).
        """
        return {
            name: {
                "mean": float(np.nanmean(values)),
                "shut": float(np.mean(values[~np.isnan(values)] < SHUT)),
                "open": float(np.mean(values[~np.isnan(values)] > OPEN)),
            }
            for name, values in self.gates.items()
        }

    def plot(self) -> Figure:
        """Heat maps over time of the gates, the candidate and the cell state; a row for each unit.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from lstm_zoo.inspect.pictures import plot_gates

        return plot_gates(self)

    def __rich__(self) -> Table:
        time, units = self.cell.shape
        table = Table(
            "gate", "mean", f"below {SHUT}", f"above {OPEN}", title=f"{self.layer}, {units} units, {time} steps"
        )
        for name, facts in self.summary().items():
            table.add_row(name, f"{facts['mean']:.3f}", f"{facts['shut']:.1%}", f"{facts['open']:.1%}")
        return table


def gates(model: Any, inputs: Any, layer: str | Any | None = None) -> GateValues:
    r"""The gates, candidate and states of an LSTM in ``model`` while it reads ``inputs``.

    .. math::
        i_t &= \sigma(W^i x_t + U^i h_{t-1} + b^i) \\
        f_t &= \sigma(W^f x_t + U^f h_{t-1} + b^f) \\
        g_t &= \tanh(W^g x_t + U^g h_{t-1} + b^g) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        o_t &= \sigma(W^o x_t + U^o h_{t-1} + b^o) \\
        h_t &= o_t \odot \tanh(c_t)

    (Greff et al. 2017, https://arxiv.org/abs/1503.04069), and for the variants of :class:`lstm_zoo.layers.GatedLSTM`
    what :mod:`lstm_zoo.layers.gates` says: the layer's own equations are run, as at inference, and watched.

    Args:
        model: any functional or Sequential Keras model with a ``keras.layers.LSTM`` or ``GatedLSTM``, also inside
            ``Bidirectional`` and nested models. It is left as it is, the states of stateful layers too.
        inputs: one input: a text for models that take texts, PCM ``[samples]`` for models that take sound, for others
            an array with or without a batch axis of 1, or a list of arrays with it where there are several inputs.
        layer: the LSTM or its name (inside ``Bidirectional``: ``forward_`` or ``backward_`` and the name); default:
            the first that reads forwards. Of a layer that is called several times, the first call is shown.

    Raises:
        InvalidInputError: the model is of another kind, or has no such LSTM; or ``inputs`` are not one input for it.
        UnknownNameError: no LSTM of that name; the message lists those there are.
    """
    layers = _find(model, layer)
    chosen, sequences, states, mask = _first_call(model, layers, _batch_of_one(model, inputs))
    values = run_watched(chosen, sequences, states, mask)
    steps = None
    if hasattr(model, "tokenize"):
        steps = tuple(model.tokenizer.tokens(inputs))[:: -1 if _reads_reversed(chosen) else 1]
        steps = steps if len(steps) == len(values["cell"]) else None
    return GateValues(chosen.name, steps=steps, seconds=_seconds_per_step(model), **values)


def _find(model: Any, layer: Any) -> list[Any]:
    """The LSTM asked for; without a wish, all there are."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise InvalidInputError(f"model: got {type(model).__name__}, expected a functional or Sequential Keras model")
    known = {each.name: each for each in recurrent_layers(model)}
    if not known:
        raise InvalidInputError(f"model: {model.name!r} has no keras.layers.LSTM and no lstm_zoo.layers.GatedLSTM")
    if layer is None:
        return list(known.values())
    if isinstance(layer, str) and layer not in known:
        raise UnknownNameError("LSTM layer", layer, known)
    found = known[layer] if isinstance(layer, str) else layer
    if not any(found is each for each in recurrent_layers(model)):
        raise InvalidInputError(f"layer: got {found!r}, expected an LSTM of {model.name!r}: {', '.join(known)}")
    return [found]


def _batch_of_one(model: Any, inputs: Any) -> Any:
    """``inputs`` as the model's tensors, with a batch axis of 1."""
    if hasattr(model, "tokenize"):
        if not isinstance(inputs, str):
            raise InvalidInputError(f"inputs: got {type(inputs).__name__}, expected one text as str")
        return ops.convert_to_tensor(model.tokenize([inputs]))
    if hasattr(model, "classify"):
        from lstm_zoo.frontends.pcm import as_pcm

        arrays = [as_pcm(inputs, model.config.clip_samples)]
    elif len(model.inputs) == 1:
        array = np.asarray(inputs)
        arrays = [array[None] if array.ndim == model.inputs[0].ndim - 1 else array]
    elif isinstance(inputs, list | tuple) and len(inputs) == len(model.inputs):
        arrays = [np.asarray(each) for each in inputs]
    else:
        raise InvalidInputError(f"inputs: got {type(inputs).__name__}, expected a list of {len(model.inputs)} arrays")
    for array, expected in zip(arrays, model.inputs, strict=True):
        if array.ndim != expected.ndim or len(array) != 1:
            raise InvalidInputError(
                f"inputs: got shape {array.shape}, expected one input of {tuple(expected.shape[1:])}"
            )
    tensors = [ops.convert_to_tensor(array, x.dtype) for array, x in zip(arrays, model.inputs, strict=True)]
    return tensors[0] if len(tensors) == 1 else tensors


def _first_call(model: Any, layers: list[Any], batch: Any) -> tuple[Any, Any, Any, Any]:
    """Which of ``layers`` is called first, and with what: sequences ``[1, time, features]``, states, mask or None.

    Those that read forwards come before those that read backwards, which Keras may call in either order.
    """
    calls: list[tuple[Any, Any, Any, Any]] = []

    def watch(layer: Any, original: Any, sequences: Any, initial_state: Any, mask: Any, **rest: Any) -> Any:
        states = tuple(ops.copy(state) for state in keras.tree.flatten(initial_state))  # stateful ones are overwritten
        calls.append((layer, sequences, states, mask))
        return original(sequences, initial_state, mask, **rest)

    watched = [(layer, "inner_loop", watch) for layer in layers]
    with without_cudnn(model), _states_kept(model), stand_ins(watched):
        model(batch, training=False)
    if not calls:
        raise InvalidInputError(f"layer: {layers[0].name!r} takes no part in the answer of {model.name!r}")
    return min(
        calls, key=lambda call: call[0].go_backwards or _reads_reversed(call[0])
    )  # min takes the first of equals


@contextlib.contextmanager
def _states_kept(model: Any) -> Iterator[None]:
    """Stateful layers go on after this context from where they were before."""
    layers = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    kept = [(state, np.array(state)) for layer in layers for state in keras.tree.flatten(layer.states or [])]
    try:
        yield
    finally:
        for state, value in kept:
            state.assign(value)


def _reads_reversed(layer: Any) -> bool:
    """Whether the layer's input was turned around on its way from the model's input."""
    from lstm_zoo.models.sentiment import ReverseSequence

    turns, nodes = 0, layer._inbound_nodes[:1]
    while nodes:
        turns += isinstance(nodes[0].operation, ReverseSequence)
        nodes = nodes[0].parent_nodes
    return turns % 2 == 1


def _seconds_per_step(model: Any) -> float | None:
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "front_end"):
        return None
    hops = math.prod(each.strides[0] for each in config.convolutions)
    return float(hops * config.front_end.hop_length / config.front_end.sample_rate)
