"""The weights of a gated LSTM and its one step: pre-activations, gates, projection, zoneout."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import activations, constraints, initializers, ops, regularizers

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.arguments import clip, one_of, positive_integer, rate
from lstm_zoo.layers.equations import CellEquations, normalized
from lstm_zoo.layers.gates import find_gates
from lstm_zoo.layers.runners.feedback import Feedback

FORGET_BIASES = ("zero", "one", "chrono")
LAYER_NORMALIZATIONS = (False, True, "per_gate")


class GatedLSTMCell(keras.layers.Layer):
    """One step of :class:`~lstm_zoo.layers.GatedLSTM`, which has the same arguments and runs it over sequences."""

    EPSILON = 1e-5  # of layer normalisation, in the units of the variance

    def __init__(
        self,
        units: int,
        gates: Any = "vanilla",
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        peepholes: Any = None,
        peephole_initializer: Any = "zeros",
        projection_units: int | None = None,
        projection_initializer: Any = "glorot_uniform",
        cell_clip: float | None = None,
        projection_clip: float | None = None,
        layer_normalization: Any = False,
        zoneout_cell: float = 0.0,
        zoneout_hidden: float = 0.0,
        cell_activation: Any = "linear",
        forget_bias: str | None = None,
        longest_dependency: int | None = None,
        heads: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.gates = find_gates(gates)
        self.units = positive_integer("units", units)
        self.feedback_kernel: Any = None
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.unit_forget_bias = unit_forget_bias
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = rate("dropout", dropout)
        self.recurrent_dropout = rate("recurrent_dropout", recurrent_dropout)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.peepholes = list(peepholes) if isinstance(peepholes, tuple) else peepholes  # as JSON has it
        self.peephole_gates = self._peephole_gates(peepholes)
        self.peephole_initializer = initializers.get(peephole_initializer)
        self.projection_units = (
            None if projection_units is None else positive_integer("projection_units", projection_units)
        )
        self.projection_initializer = initializers.get(projection_initializer)
        self.cell_clip = clip("cell_clip", cell_clip)
        self.projection_clip = clip("projection_clip", projection_clip)
        self.layer_normalization = one_of("layer_normalization", layer_normalization, LAYER_NORMALIZATIONS)
        self.zoneout_cell = rate("zoneout_cell", zoneout_cell)
        self.zoneout_hidden = rate("zoneout_hidden", zoneout_hidden)
        self.cell_activation = activations.get(cell_activation)
        self.forget_bias = one_of("forget_bias", forget_bias, (None, *FORGET_BIASES))
        self.longest_dependency = self._longest_dependency(longest_dependency)
        self.heads = self._heads(heads)
        self.prepare(None, {})
        if not self.gates.cell_options:
            self._refuse_cell_options()
        if self.projection_clip is not None and self.projection_units is None:
            raise InvalidInputError(f"projection_clip={projection_clip} without a projection: pass projection_units=")

    @property
    def output_size(self) -> int:
        return self.projection_units or self.units

    @property
    def state_size(self) -> list[int]:
        """Of ``h``, ``c``, the variant's own states, and the gates' last activations where they are fed back."""
        own = [self.units] * len(self.gates.states)
        fed_back = [self.units * len(self.gates.feedback)] if self.gates.feedback else []
        return [self.output_size, self.units, *own, *fed_back]

    def get_config(self) -> dict[str, Any]:
        """Nothing: the layer's configuration has the arguments of its cell."""
        return {}

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    # ------------------------------------------------------------------------------------------------- the weights

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the weights for inputs ``[batch, features]``."""
        units, width = self.units, len(self.gates.blocks) * self.units
        self.kernel = self._matrix("kernel", (input_shape[-1], width))
        self.recurrent_kernel = self._matrix("recurrent_kernel", self._recurrent_shape())
        self.bias = self._bias(width) if self.use_bias else None
        self._vectors: list[str] = []  # names of the weights [units] and [blocks * units] but for the bias
        if self.gates.feedback:
            fed_back = len(self.gates.feedback) * units
            self.feedback_kernel = self._matrix("feedback_kernel", (fed_back, fed_back))
        for gate in self.peephole_gates:
            self._vector(f"{gate}_peephole", units, self.peephole_initializer)
        for name, initializer in self.gates.parameters.items():
            if hasattr(self, name):
                raise InvalidInputError(f"parameters: {name!r} of {self.gates.name!r} is a name of the cell's own")
            self._vector(name, units, initializer)
        self.projection_kernel = None
        if self.projection_units:
            self.projection_kernel = self.add_weight(
                shape=(units, self.projection_units), name="projection_kernel", initializer=self.projection_initializer
            )
        if self.layer_normalization is True:
            self._vector("input_norm_scale", width, "ones")
            self._vector("recurrent_norm_scale", width, "ones")
            self._vector("cell_norm_scale", units, "ones")
            self._vector("cell_norm_offset", units, "zeros")
        elif self.layer_normalization == "per_gate":
            self._vector("gate_norm_scale", width, "ones")

    def _recurrent_shape(self) -> tuple[int, ...]:
        blocks = len(self.gates.blocks)
        if self.heads == 1:
            return (self.output_size, blocks * self.units)
        return (self.heads, self.output_size // self.heads, blocks, self.units // self.heads)

    def _matrix(self, name: str, shape: tuple[Any, ...]) -> Any:
        kind = "kernel" if name == "kernel" else "recurrent"
        initializer = getattr(self, f"{kind}_initializer")
        if len(shape) == 4:  # block-diagonal: each head has a kernel of its own, initialised for itself
            initializer = _PerHead(initializer)
        return self.add_weight(
            shape=shape,
            name=name,
            initializer=initializer,
            regularizer=getattr(self, f"{kind}_regularizer"),
            constraint=getattr(self, f"{kind}_constraint"),
        )

    def _vector(self, name: str, size: int, initializer: Any) -> None:
        self._vectors.append(name)
        setattr(self, name, self.add_weight(shape=(size,), name=name, initializer=initializer))

    def _bias(self, width: int) -> Any:
        return self.add_weight(
            shape=(width,),
            name="bias",
            initializer=self._initial_bias,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def _initial_bias(self, _: Any, dtype: Any = None) -> Any:
        r"""The bias of each block: the initializer's, but for the forget gate, and the input gate under ``"chrono"``.

        Chrono (Tallec and Ollivier 2018, https://arxiv.org/abs/1804.11188): :math:`b_f = \log u` with :math:`u` drawn
        uniformly from 1 to ``longest_dependency - 1``, and :math:`b_i = -b_f`.
        """
        choice = self.forget_bias or ("one" if self.unit_forget_bias else None)
        if choice is None:
            return self.bias_initializer((len(self.gates.blocks) * self.units,), dtype=dtype)
        if choice == "chrono":
            steps = keras.random.uniform(
                (self.units,), 1.0, float(self.longest_dependency or 0) - 1.0, seed=self.seed_generator
            )
            forget = ops.cast(ops.log(steps), dtype)
            chosen = {"forget": forget, "input": -forget}
        else:
            chosen = {"forget": ops.full((self.units,), float(choice == "one"), dtype=dtype)}
        parts = []  # the initializer draws neighbours at once, as keras.layers.LSTM has it
        for block, run in itertools.groupby(self.gates.blocks, lambda block: block if block in chosen else None):
            size = len(list(run)) * self.units
            parts.append(chosen[block] if block else self.bias_initializer((size,), dtype=dtype))
        return ops.concatenate(parts)

    # ---------------------------------------------------------------------------------------------------- one step

    def tensor(self, name: str) -> Any:
        """The weight of that name in the type of the computation.

        ``convert_to_tensor`` hands a variable of TensorFlow back as it is, which no custom gradient takes.
        """
        return ops.cast(getattr(self, name).value, self.compute_dtype)

    def step_parameters(self) -> dict[str, Any]:
        """The weights that the step itself takes, by name; the kernels are the runner's."""
        names = [name for name in self._vectors if name != "input_norm_scale"]
        if self.projection_units:
            names.append("projection_kernel")
        if self.layer_normalization == "per_gate" and self.use_bias:
            names.append("bias")  # comes after the normalisation, which takes input and recurrent part together
        return {name: self.tensor(name) for name in names}

    def feedback(self) -> Feedback[Any] | None:
        """How the gates that are fed back take part in the recurrent product."""
        if self.feedback_kernel is None:
            return None
        blocks = self.gates.blocks
        fed = tuple(blocks.index(block) for block in self.gates.feedback)
        return Feedback(self.tensor("feedback_kernel"), fed, len(blocks))

    def input_parameters(self) -> dict[str, Any]:
        """The weights that :meth:`project_inputs` takes, by name."""
        names = ["kernel"]
        if self.layer_normalization is True:
            names.append("input_norm_scale")
        if self.use_bias and self.layer_normalization != "per_gate":
            names.append("bias")
        return {name: self.tensor(name) for name in names}

    def project_inputs(self, x: Any, parameters: Mapping[str, Any] | None = None) -> Any:
        """The part of the pre-activations that needs no state: ``[..., features]`` to ``[..., blocks * units]``."""
        parameters = self.input_parameters() if parameters is None else parameters
        z = ops.matmul(x, parameters["kernel"])
        if self.layer_normalization is True:
            z = normalized(z, self.EPSILON) * parameters["input_norm_scale"]
        return z + parameters["bias"] if "bias" in parameters else z

    def recur(self, states: tuple[Any, ...], recurrent_mask: Any = None) -> Any:
        """The part of the pre-activations that the states make: ``[batch, blocks * units]``."""
        h, kernel, feedback = states[0], self.tensor("recurrent_kernel"), self.feedback()
        h = h if recurrent_mask is None else h * recurrent_mask
        if feedback is not None:
            return ops.matmul(h, kernel) + feedback.spread(ops.matmul(states[-1], feedback.kernel))
        if self.heads == 1:
            return ops.matmul(h, kernel)
        heads = ops.reshape(h, (-1, self.heads, self.units // self.heads))
        return ops.reshape(ops.einsum("bnd,ndge->bgne", heads, kernel), (-1, len(self.gates.blocks) * self.units))

    def advance(
        self,
        z_input: Any,
        z_recurrent: Any,
        states: tuple[Any, ...],
        parameters: dict[str, Any],
        *,
        mask: Any = None,
        keep_hidden: Any = None,
        keep_cell: Any = None,
        equations: Callable[[GatedLSTMCell, dict[str, Any]], CellEquations] = CellEquations,
    ) -> tuple[Any, ...]:
        """The states after one step.

        Args:
            z_input, z_recurrent: :math:`W x_t + b` and :math:`U h_{t-1}`, ``[batch, blocks * units]``.
            states: those before the step, as in ``state_size``.
            parameters: what :meth:`step_parameters` returns.
            mask: ``[batch, 1]``, False where the step does not count: the states stay.
            keep_hidden, keep_cell: zoneout while training, True where the old value is kept; None: the expectation.
            equations: what the gate function gets as ``cell``.
        """
        z = self._preactivations(z_input, z_recurrent, parameters)
        h, c, *own = self.gates.step(z, *states, equations(self, parameters))
        if "projection_kernel" in parameters:
            h = ops.matmul(h, parameters["projection_kernel"])
            if self.projection_clip is not None:
                h = ops.clip(h, -self.projection_clip, self.projection_clip)
        h = _zoneout(states[0], h, self.zoneout_hidden, keep_hidden)
        c = _zoneout(states[1], c, self.zoneout_cell, keep_cell)
        new = (h, c, *own)
        return new if mask is None else tuple(ops.where(mask, a, b) for a, b in zip(new, states, strict=True))

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """One step in Keras's loop: ``inputs`` ``[batch, features]``, with what :meth:`prepare` announced beside."""
        x, kept = inputs[:, : self.kernel.shape[0]], {}
        end = self.kernel.shape[0]
        for name, size in self._beside.items():
            kept[name], end = inputs[:, end : end + size] > 0.5, end + size
        z_recurrent = self.recur(tuple(states), self._recurrent_mask)
        new = self.advance(self.project_inputs(x), z_recurrent, tuple(states), self.step_parameters(), **kept)
        return new[0], list(new)

    def prepare(self, recurrent_mask: Any, beside: dict[str, int]) -> None:
        """What the next calls need besides ``h`` and ``c``: a mask on ``h`` ``[batch, units]``, zoneout's choices."""
        self._recurrent_mask, self._beside = recurrent_mask, beside

    def _preactivations(self, z_input: Any, z_recurrent: Any, parameters: dict[str, Any]) -> Any:
        if self.layer_normalization is True:
            return z_input + normalized(z_recurrent, self.EPSILON) * parameters["recurrent_norm_scale"]
        z = z_input + z_recurrent
        if self.layer_normalization == "per_gate":
            blocks = [normalized(block, self.EPSILON) for block in ops.split(z, len(self.gates.blocks), axis=-1)]
            z = ops.concatenate(blocks, axis=-1) * parameters["gate_norm_scale"] + parameters.get("bias", 0.0)
        return z

    # ------------------------------------------------------------------------------------------------ the arguments

    def _peephole_gates(self, peepholes: Any) -> tuple[str, ...]:
        """The gates that have a peephole, in the order of the blocks."""
        gates = self.gates.gates
        if peepholes is None:
            peepholes = self.gates.peepholes or False
        elif peepholes and self.gates.peepholes is None:
            raise InvalidInputError(f"peepholes={peepholes!r}: {self.gates.name!r} has no use for peepholes")
        if isinstance(peepholes, bool):
            return gates if peepholes else ()
        wanted = tuple(peepholes) if isinstance(peepholes, tuple | list) else (peepholes,)
        for name in wanted:
            if name not in gates:
                raise InvalidInputError(
                    f"peepholes={peepholes!r}: {self.gates.name!r} has no {name!r} gate that a peephole could feed; "
                    f"its gates are {', '.join(gates) or 'none'}"
                )
        return tuple(gate for gate in gates if gate in wanted)

    def _refuse_cell_options(self) -> None:
        plain = {"cell_clip": None, "zoneout_cell": 0.0, "cell_activation": activations.linear}
        for name, value in plain.items():
            if getattr(self, name) != value:
                raise InvalidInputError(f"{name}={getattr(self, name)!r}: {self.gates.name!r} cannot have it")

    def _longest_dependency(self, steps: Any) -> int | None:
        if (self.forget_bias == "chrono") != (steps is not None):
            raise InvalidInputError(
                f"longest_dependency={steps} with forget_bias={self.forget_bias!r}: the chrono initialisation, and it "
                "alone, needs the number of steps that the memory should span"
            )
        if steps is not None and positive_integer("longest_dependency", steps) < 3:
            raise InvalidInputError(f"longest_dependency={steps}: expected at least 3 steps")
        if self.forget_bias is not None and "forget" not in self.gates.blocks:
            raise InvalidInputError(f"forget_bias={self.forget_bias!r}: {self.gates.name!r} has no forget gate")
        if self.forget_bias is not None and not self.use_bias:
            raise InvalidInputError(f"forget_bias={self.forget_bias!r} with use_bias=False: there is no bias to set")
        return None if steps is None else int(steps)

    def _heads(self, heads: Any) -> int:
        heads = positive_integer("heads", heads)
        if self.units % heads:
            raise InvalidInputError(f"heads={heads} does not divide units={self.units}")
        if heads > 1 and (self.gates.feedback or self.projection_units):
            raise InvalidInputError(f"heads={heads}: neither projection nor feedback of gates can be had with heads")
        return heads


class _PerHead(initializers.Initializer):
    """A kernel ``[heads, rows, blocks, columns]``, each head drawn as the matrix ``[rows, blocks * columns]``."""

    def __init__(self, initializer: Any):
        self.initializer = initializer

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        heads, rows, blocks, columns = shape
        drawn: list[Any] = []
        for _ in range(heads):
            initializer = self.initializer.clone() if drawn else self.initializer
            drawn.append(ops.reshape(initializer((rows, blocks * columns), dtype=dtype), (rows, blocks, columns)))
        return ops.stack(drawn)


def _zoneout(old: Any, new: Any, rate: float, keep: Any) -> Any:
    if not rate:
        return new
    return rate * old + (1 - rate) * new if keep is None else ops.where(keep, old, new)
