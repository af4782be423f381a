"""What :class:`MinLSTM` and :class:`MLSTM` share: layers whose recurrence can be computed for many steps at once."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.arguments import one_of


class ParallelRNN(keras.layers.RNN):
    """A ``keras.layers.RNN`` that computes its whole sequence by ``scan`` instead of step by step.

    States, masks, direction and everything else a caller sees are those of ``keras.layers.RNN``. A subclass writes::

        scan(sequences, states, mask) -> (outputs, states)

    from ``[batch, time, features]``, states in the layer's compute dtype and a mask ``[batch, time]`` or None to
    outputs ``[batch, time, units]`` and the last states. Masked steps must keep the states; what they output does not
    matter.

    Args:
        cell: the recurrence as its equations are written; it is what runs with ``implementation="sequential"``.
        implementation: ``"auto"``, ``"scan"`` or ``"sequential"``; ``"auto"`` is ``"scan"``.
        **kwargs: those of ``keras.layers.RNN``.

    Raises:
        InvalidInputError: no such implementation; or, when the layer meets its input, a shape other than
            ``[batch, time, features]`` with known features.
    """

    IMPLEMENTATIONS: tuple[str, ...] = ("auto", "scan", "sequential")

    def __init__(self, cell: InputOnlyCell, *, implementation: str, **kwargs: Any):
        one_of("implementation", implementation, self.IMPLEMENTATIONS)
        super().__init__(cell, **kwargs)
        self.implementation = implementation

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        if len(sequences_shape) != 3 or sequences_shape[-1] is None:
            raise InvalidInputError(
                f"{type(self).__name__} got an input of shape {tuple(sequences_shape)}: expected "
                "(batch, time, features) with known features"
            )
        super().build(sequences_shape, initial_state_shape)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        if mask is not None:
            mask = ops.cast(ops.convert_to_tensor(mask), "bool")
            mask = mask[..., 0] if len(mask.shape) == 3 else mask
        if self.implementation == "sequential":
            last = ops.zeros((ops.shape(sequences)[0], self.cell.units), dtype=self.compute_dtype)
            last, outputs, states = super().inner_loop(sequences, [last, *initial_state], mask, training)
            return last, outputs, list(states)[1:]
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        if self.stateful:
            # The variables behind these tensors are about to be overwritten; gradients need the old values.
            initial_state = [ops.copy(state) for state in initial_state]
        outputs, states = self.scan(sequences, initial_state, mask)
        if mask is not None and self.zero_output_for_mask:
            outputs = ops.where(mask[..., None], outputs, ops.zeros_like(outputs))
        elif mask is not None:
            outputs = repeat_last_valid(outputs, mask)
        return outputs[:, -1], outputs, list(states)

    def scan(self, sequences: Any, states: Any, mask: Any) -> Any:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["cell"]  # the layer makes its own
        cell = self.cell
        return {
            **config,
            "units": cell.units,
            "use_bias": cell.use_bias,
            "kernel_initializer": keras.initializers.serialize(cell.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(cell.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(cell.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(cell.bias_regularizer),
            "activity_regularizer": keras.regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": keras.constraints.serialize(cell.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(cell.bias_constraint),
            "implementation": self.implementation,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ParallelRNN:
        return cls(**config)


WORKING = "float32"  # dtype of gates and states: less is not enough, and Keras's operations do not keep more


class InputOnlyCell(keras.layers.Layer):
    """A cell whose gates see the input alone, through one kernel ``[features, columns]`` and one bias ``[columns]``.

    Args:
        units: number of units, a positive integer.
        columns: width of the kernel.
        **kwargs: ``use_bias`` and the initializers, regularizers and constraints of kernel and bias, as in
            ``keras.layers.LSTM``; and the arguments of every Keras layer.

    Raises:
        InvalidInputError: ``units`` is not a positive integer.
    """

    def __init__(
        self,
        units: int,
        columns: int,
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.columns = columns
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.output_size = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.columns),
            name="kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.columns,),
                name="bias",
                initializer=self.make_bias,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def step(self, inputs: Any, states: Any) -> Any:
        """One step: ``[batch, features]`` and the list of states to output ``[batch, units]`` and the new states."""
        raise NotImplementedError

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """As :meth:`step`, with the last output as one more state in the first place, where Keras looks for what
        masked steps are to repeat."""
        output, states = self.step(inputs, states[1:])
        return output, [output, *states]

    def make_bias(self, shape: Any, dtype: Any = None) -> Any:
        """The first bias; a subclass may start its forget gates elsewhere."""
        return self.bias_initializer(shape, dtype=dtype)

    def project(self, inputs: Any) -> Any:
        """``[..., features]`` to pre-activations ``[..., columns]``, float32 whatever the layer's dtype."""
        z = ops.cast(ops.matmul(inputs, self.kernel), WORKING)
        return z if self.bias is None else z + ops.cast(self.bias, WORKING)


def repeat_last_valid(outputs: Any, mask: Any) -> Any:
    """Every masked step gets the output of the last step before it that is not; zeros where there is none.

    Args:
        outputs: ``[batch, time, units]``.
        mask: ``[batch, time]``, bool, False at masked steps.
    """
    length = ops.shape(mask)[1]
    steps = ops.arange(length)[None]
    valid_first = ops.sort(ops.where(mask, steps, steps + length), axis=1)
    seen = ops.cumsum(ops.cast(mask, "int32"), axis=1)[..., None]  # valid steps so far, this one included
    last = ops.take_along_axis(valid_first[..., None], ops.maximum(seen - 1, 0), axis=1)
    last = ops.minimum(last, length - 1)  # a row without any valid step
    return ops.where(seen > 0, ops.take_along_axis(outputs, last, axis=1), ops.zeros_like(outputs))
