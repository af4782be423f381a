"""The LSTM layer whose gates can be chosen."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from keras import activations, constraints, initializers, ops, regularizers, tree

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers import paths, runners
from lstm_zoo.layers.arguments import one_of
from lstm_zoo.layers.cell import GatedLSTMCell
from lstm_zoo.layers.equations import ScanEquations

CELL_ARGUMENTS = tuple(
    name for name in inspect.signature(GatedLSTMCell).parameters if name not in ("units", "gates", "kwargs")
)


@keras.saving.register_keras_serializable(package="lstm_zoo")
class GatedLSTM(keras.layers.RNN):
    r"""A long short-term memory whose gates can be chosen, in the place of ``keras.layers.LSTM``.

    .. math::
        z_t &= W x_t + U h_{t-1} + b \\
        h_t, c_t &= \mathrm{gates}(z_t, h_{t-1}, c_{t-1})

    Every argument of ``keras.layers.LSTM`` is taken, with the same meaning and the same default, and weights move to
    and from it unchanged while ``gates`` is ``"vanilla"`` without options. What is there besides:

    Args:
        units: size of the cell state, and of the output where there is no projection.
        gates: name of a variant, one of :data:`lstm_zoo.layers.VARIANTS`, or of your own
            (:func:`~lstm_zoo.layers.register_gates`). Their equations are in :mod:`lstm_zoo.layers.gates`.
        peepholes: True, False or the names of gates (``("input", "forget", "output")``); None: as the variant has it.
        peephole_initializer: of the peepholes' weights. With zeros the layer begins as one without peepholes.
        projection_units: size of the output :math:`h_t = P m_t`, where :math:`m_t` is what the gates let out (Sak et
            al. 2014, https://arxiv.org/abs/1402.1128).
        projection_initializer: of :math:`P`.
        cell_clip: the cell state is kept within plus and minus this.
        projection_clip: the projected output is kept within plus and minus this.
        layer_normalization: True: as Ba et al. 2016 (https://arxiv.org/abs/1607.06450), :math:`z_t = \alpha_1 \odot
            N(W x_t) + \alpha_2 \odot N(U h_{t-1}) + b`, and the cell state is normalised before it is let out;
            ``"per_gate"``: :math:`z_t = \alpha \odot N(W x_t + U h_{t-1}) + b`, with :math:`N` over each gate's units.
        zoneout_cell, zoneout_hidden: share of the units of ``c`` and ``h`` that keep their last value in a training
            step; otherwise the expectation is taken (Krueger et al. 2017, https://arxiv.org/abs/1606.01305).
        cell_activation: the outer function :math:`\gamma` on the new cell state, :math:`c_t = \gamma(f_t \odot c_{t-1}
            + i_t \odot \phi(z^g_t))`.
        dropout, recurrent_dropout: one mask a sequence for all of its steps, which is the variational dropout of Gal
            and Ghahramani 2016 (https://arxiv.org/abs/1512.05287). All gates share it, the paper's "tied weights";
            with ``recurrent_dropout``, Keras 3.15 draws another one for each gate, so that single draws differ.
        forget_bias: first bias of the forget gate: ``"zero"``, ``"one"`` (Jozefowicz et al. 2015,
            https://proceedings.mlr.press/v37/jozefowicz15.html) or ``"chrono"`` (Tallec and Ollivier 2018,
            https://arxiv.org/abs/1804.11188); None: as ``unit_forget_bias`` says.
        longest_dependency: number of steps that the memory should span, for ``"chrono"``.
        rematerialize: keep the states of one step in every :math:`\sqrt{\mathrm{time}}` and compute the others again
            in the backward pass: less than half of the memory for thousands of steps, and a little more time.
        implementation: ``"auto"``, ``"cudnn"``, ``"scan"`` or ``"reference"``, see :mod:`lstm_zoo.layers.paths`.
            Keras's 0, 1 and 2 are read as ``"auto"``.
        jit_compile: whether the scan is compiled by XLA under TensorFlow, even where nothing around it is; ``"auto"``:
            where the number of steps is known while tracing, since each other number is compiled anew;
            ``"training"``: in training besides, for batches of few different lengths.

    Call arguments: ``sequences`` ``[batch, time, features]``, ``initial_state``, ``mask`` ``[batch, time]`` and
    ``training``, as in Keras. Returns ``[batch, units]``, with ``return_sequences`` ``[batch, time, units]``; with
    ``return_state`` also ``h``, ``c`` and whatever states the variant has of its own.

    Raises:
        InvalidInputError: an argument, or a combination of arguments, cannot be had; when the layer is made or built.
        UnknownNameError: there are no gates of that name.
    """

    def __init__(
        self,
        units: int,
        gates: Any = "vanilla",
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        activity_regularizer: Any = None,
        use_cudnn: Any = "auto",
        rematerialize: bool = False,
        implementation: str | int = "auto",
        jit_compile: bool | str = "auto",
        **arguments: Any,
    ):
        of_cell = {name: arguments.pop(name) for name in CELL_ARGUMENTS if name in arguments}
        shared = {name: arguments[name] for name in ("dtype", "trainable") if name in arguments}
        super().__init__(
            GatedLSTMCell(units, gates, name="cell", **of_cell, **shared),
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            activity_regularizer=activity_regularizer,
            **arguments,
        )
        self._shape_seen: tuple[int | None, ...] = (None, None, None)
        self._steps: dict[tuple[str, ...], _Step] = {}
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.rematerialize = one_of("rematerialize", rematerialize, (True, False))
        self.use_cudnn = use_cudnn
        self.implementation = _implementation(implementation, use_cudnn)
        self.jit_compile = one_of("jit_compile", jit_compile, ("auto", "training", True, False))
        # cuDNN's kernels cannot be compiled by XLA; Keras's own layer does the same.
        self.supports_jit = paths.choose(self) != "cudnn"

    @property
    def units(self) -> int:
        return self.cell.units

    @property
    def gates(self) -> str:
        """The name of the variant."""
        return self.cell.gates.name

    def __getattr__(self, name: str) -> Any:
        if name in CELL_ARGUMENTS:  # as keras.layers.LSTM has them
            return getattr(self.cell, name)
        above = getattr(super(), "__getattr__", None)  # PyTorch's modules find their parts by it
        if above is not None:
            return above(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def explain(self, input_shape: tuple[int | None, ...] | None = None, *, masked: bool = False) -> paths.Explanation:
        """Which path runs, and for every other path the first condition that failed.

        Args:
            input_shape: ``(batch, time, features)``, None where not known; default: what the layer was built for.
            masked: whether the call will have a mask.

        Raises:
            InvalidInputError: ``implementation`` names a path that cannot run; or a shape of other than three sizes.
        """
        shape = input_shape or self._shape_seen
        if len(shape) != 3:
            raise InvalidInputError(f"input_shape={input_shape!r}: expected (batch, time, features)")
        return paths.explain(self, shape[1], masked)

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Make the weights; a path that cannot run is refused here."""
        paths.choose(self)
        self._shape_seen = tuple(sequences_shape)
        super().build(sequences_shape, initial_state_shape)

    def set_weights(self, weights: list[Any]) -> None:
        """As in Keras, with an error that says which weight does not fit.

        Raises:
            InvalidInputError: other weights, or other shapes, than these gates and options have.
        """
        given, expected = [tuple(np.shape(weight)) for weight in weights], [tuple(own.shape) for own in self.weights]
        if given != expected:
            listed = ", ".join(f"{own.name} {tuple(own.shape)}" for own in self.weights) or "none (not built)"
            raise InvalidInputError(f"weights: got shapes {given}; {self.name} with gates={self.gates!r} has {listed}")
        super().set_weights(weights)

    # --------------------------------------------------------------------------------------------------- the paths

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if sequences.shape[1] == 0:
            raise InvalidInputError(f"sequences: expected at least one step, got shape {tuple(sequences.shape)}")
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> tuple[Any, Any, Any]:
        """The last output, all outputs and the last states of ``sequences`` ``[batch, time, features]``."""
        mask = tree.flatten(mask)[0] if tree.is_nested(mask) else mask
        if mask is not None and len(mask.shape) == 3:  # [batch, time, 1] is what some layers make
            mask = mask[:, :, 0]
        sequences = ops.cast(sequences, self.compute_dtype)
        states = self._checked(tuple(initial_state) if tree.is_nested(initial_state) else (initial_state,))
        if training and self.cell.dropout:
            sequences = sequences * self._dropped(sequences[:, 0], self.cell.dropout)[:, None]
        recurrent_mask = None
        if training and self.cell.recurrent_dropout:
            recurrent_mask = self._dropped(states[0], self.cell.recurrent_dropout)
        path = paths.choose(self, mask is not None)
        if path == "cudnn":
            return self._cudnn(sequences, states)
        kept = self._kept(sequences, training)
        if path == "reference":
            return self._reference(sequences, states, mask, recurrent_mask, kept)
        compiled = paths.compiles(self, sequences.shape[1], bool(training))
        return self._scan(sequences, states, mask, recurrent_mask, kept, compiled)

    def _checked(self, states: tuple[Any, ...]) -> tuple[Any, ...]:
        widths, expected = [state.shape[-1] for state in states], self.cell.state_size
        if widths != expected:
            raise InvalidInputError(
                f"initial_state: expected {len(expected)} states of {expected} units for gates={self.gates!r}, "
                f"got {len(widths)} of {widths}"
            )
        if self.stateful:
            # The variables behind them are about to be overwritten; gradients need the old values.
            return tuple(ops.copy(state) for state in states)
        return states

    def _dropped(self, like: Any, rate: float) -> Any:
        return keras.random.dropout(ops.ones_like(like), rate, seed=self.cell.seed_generator)

    def _kept(self, sequences: Any, training: bool) -> dict[str, Any]:
        """Zoneout's choices for every step, ``[time, batch, size]`` in the order in which the steps are taken."""
        batch, time = ops.shape(sequences)[:2]
        rates = {"keep_hidden": self.cell.zoneout_hidden, "keep_cell": self.cell.zoneout_cell}
        return {
            name: keras.random.uniform((time, batch, size), seed=self.cell.seed_generator) < rate
            for (name, rate), size in zip(rates.items(), self.cell.state_size, strict=False)
            if training and rate
        }

    def _reference(self, sequences: Any, states: Any, mask: Any, recurrent_mask: Any, kept: dict[str, Any]) -> Any:
        """Keras's own loop over the cell. What else a step needs comes in beside its features."""
        beside = [self._as_given(ops.cast(choices, sequences.dtype)) for choices in kept.values()]
        self.cell.prepare(recurrent_mask, {name: choices.shape[-1] for name, choices in kept.items()})
        try:
            return super().inner_loop(ops.concatenate([sequences, *beside], axis=-1), list(states), mask)
        finally:
            self.cell.prepare(None, {})

    def _scan(
        self, sequences: Any, states: Any, mask: Any, recurrent_mask: Any, kept: dict[str, Any], compiled: bool
    ) -> Any:
        cell = self.cell
        constants = dict(kept)
        if mask is not None:
            constants["mask"] = self._in_order(ops.cast(mask, "bool")[:, :, None])
        projection = cell.input_parameters()
        if cell.layer_normalization is True:  # normalises the products of all steps, before the loop
            projection = {"prepare": cell.project_inputs, "prepare_parameters": projection, "additive": False}
        outputs, final = runners.scan(
            self._step(tuple(constants)),
            self._in_order(sequences),
            cell.tensor("recurrent_kernel"),
            cell.step_parameters(),
            states,
            tuple(constants.values()),
            feedback=cell.feedback(),
            recurrent_mask=recurrent_mask,
            rematerialize=self.rematerialize,
            compiled=compiled,
            **projection,
        )
        if mask is None and not self.return_sequences:
            return final[0], final[0][:, None], list(final)
        if mask is not None:
            outputs = _at_masked_steps(outputs, constants["mask"], self.zero_output_for_mask)
        return outputs[-1], ops.transpose(outputs, (1, 0, 2)), list(final)

    def _step(self, constants: tuple[str, ...]) -> _Step:
        """The same object for the same constants: the runner keeps what it has compiled with it."""
        return self._steps.setdefault(constants, _Step(self.cell, constants))

    def _in_order(self, x: Any) -> Any:
        """``[batch, time, ...]`` as ``[time, batch, ...]`` in the order in which the steps are taken."""
        x = ops.transpose(x, (1, 0, 2))
        return ops.flip(x, axis=0) if self.go_backwards else x

    def _as_given(self, x: Any) -> Any:
        """The opposite of :meth:`_in_order`."""
        return ops.transpose(ops.flip(x, axis=0) if self.go_backwards else x, (1, 0, 2))

    def _cudnn(self, sequences: Any, states: Any) -> Any:
        from keras.src.backend.tensorflow import lstm  # Keras gives it no public name

        return lstm(
            sequences,
            *states,
            None,
            kernel=self.cell.tensor("kernel"),
            recurrent_kernel=self.cell.tensor("recurrent_kernel"),
            bias=self.cell.tensor("bias"),
            activation=self.cell.activation,
            recurrent_activation=self.cell.recurrent_activation,
            return_sequences=self.return_sequences,
            go_backwards=self.go_backwards,
        )

    # -------------------------------------------------------------------------------------------------- the config

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["cell"]
        own = {"units": self.units, "gates": self.gates, "use_cudnn": self.use_cudnn}
        own |= {"rematerialize": self.rematerialize, "implementation": self.implementation}
        own |= {"jit_compile": self.jit_compile}
        of_cell = {name: _serialized(name, getattr(self.cell, name)) for name in CELL_ARGUMENTS}
        regularizer = regularizers.serialize(self.activity_regularizer)
        return {**config, **own, **of_cell, "activity_regularizer": regularizer}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> GatedLSTM:
        return cls(**config)


class _Step:
    """One step as the runners take it, with names for what else it needs."""

    def __init__(self, cell: GatedLSTMCell, constants: tuple[str, ...]):
        self.cell, self.constants = cell, constants

    def __call__(self, z_input: Any, z_recurrent: Any, states: Any, parameters: Any, constants: Any) -> tuple[Any, ...]:
        named = dict(zip(self.constants, constants, strict=True))
        return self.cell.advance(z_input, z_recurrent, states, parameters, equations=ScanEquations, **named)


def _at_masked_steps(outputs: Any, mask: Any, zero: bool) -> Any:
    """What Keras gives out where a step is masked: zeros until the first step that counts, then the last output."""
    counts = mask if zero else ops.cumsum(ops.cast(mask, "int32"), axis=0) > 0
    return ops.where(counts, outputs, ops.zeros_like(outputs))


def _implementation(implementation: Any, use_cudnn: Any) -> str:
    one_of("use_cudnn", use_cudnn, ("auto", True, False))
    if implementation in (0, 1, 2) and not isinstance(implementation, bool):
        implementation = "auto"
    one_of("implementation", implementation, ("auto", *paths.PATHS))
    return "cudnn" if use_cudnn is True else implementation


def _serialized(name: str, value: Any) -> Any:
    for kind in (initializers, regularizers, constraints, activations):
        if name.endswith(kind.__name__.rsplit(".", 1)[-1].removesuffix("s")):
            return kind.serialize(value)
    return value
