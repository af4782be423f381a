r"""The gate equations, one function a variant, each written as its paper writes it.

Every function computes one step. It receives the pre-activations, the last state and the cell it belongs to, and
returns the new state::

    @register_gates("no_output_gate", blocks=("input", "forget", "cell"))
    def no_output_gate(z, h, c, cell):
        i, f, g = cell.split(z)
        ...
        return h, c

- ``z`` ``[batch, len(blocks) * units]``: :math:`W x_t + U h_{t-1} + b`, the blocks one after the other.
- ``h`` ``[batch, units]`` (``[batch, projection_units]`` with a projection) and ``c`` ``[batch, units]``: the last
  output and the last cell state. States of a variant's own follow, ``[batch, units]`` each.
- ``cell``, a :class:`~lstm_zoo.layers.equations.CellEquations`: ``split`` takes ``z`` apart; ``recurrent_activation``
  (:math:`\sigma`, the sigmoid unless chosen otherwise) and ``activation`` (:math:`\phi`, the hyperbolic tangent);
  ``peephole(gate, c)`` is :math:`p \odot c`, and zero in a layer without peepholes; ``cell_activation`` is the outer
  function :math:`\gamma` on the new cell state, with the cell clip, and the identity unless chosen otherwise;
  ``normalize`` is the layer normalisation of the cell state, and the identity in a layer without;
  ``cell["name"]`` is a parameter that the variant declares.

Projection, zoneout and masks are applied to whatever the function returns. In the equations below :math:`z^i, z^f,
z^g, z^o` are the blocks of ``z`` for the input gate, forget gate, cell input and output gate, and :math:`\odot` is the
product of elements. Names and equations follow Greff et al. 2017, *LSTM: A Search Space Odyssey*
(https://arxiv.org/abs/1503.04069), whose "vanilla" has peepholes: that one is ``"peephole"`` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keras import ops

from lstm_zoo.errors import InvalidInputError, UnknownNameError

Step = Callable[..., tuple[Any, ...]]

BLOCKS = ("input", "forget", "cell", "output")  # in the order of keras.layers.LSTM's kernels


@dataclass(frozen=True)
class Gates:
    """A variant: its equations, and what they need.

    Attributes:
        name: what ``GatedLSTM(gates=...)`` is given.
        step: ``step(z, h, c, *own states, cell) -> (h, c, *own states)``, see the module.
        blocks: what the columns of the kernels are, ``units`` each, in this order.
        parameters: the initializer of each trainable vector ``[units]`` of the variant's own.
        states: names of states of the variant's own, ``[batch, units]`` each, zero at first.
        feedback: blocks whose last activations take part in the recurrent product of these same blocks. The step
            function receives and returns them, side by side, as one more state, ``[batch, len(feedback) * units]``.
        peepholes: whether the layer has peepholes unless it is told otherwise; None: it cannot have any.
        cell_options: whether ``cell_clip``, ``cell_activation`` and ``zoneout_cell`` make sense for its cell state.
    """

    name: str
    step: Step
    blocks: tuple[str, ...] = BLOCKS
    parameters: Mapping[str, str] = field(default_factory=dict)
    states: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()
    peepholes: bool | None = False
    cell_options: bool = True

    def __post_init__(self) -> None:
        for field_name in ("blocks", "states", "feedback"):
            names = getattr(self, field_name)
            if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
                raise InvalidInputError(f"{field_name}={names!r}: expected a tuple of names")
        if not self.blocks:
            raise InvalidInputError("blocks=(): expected at least one block")

    @property
    def gates(self) -> tuple[str, ...]:
        """The blocks that are gates, which is what a peephole can feed."""
        return tuple(block for block in self.blocks if block != "cell")


VARIANTS: dict[str, Gates] = {}


def register_gates(
    name: str, **needs: Any
) -> Callable[[Callable[..., tuple[Any, ...]]], Callable[..., tuple[Any, ...]]]:
    """Make the decorated step function known to ``GatedLSTM`` under ``name``.

    A model saved with it loads wherever the module with the definition was imported before.

    Args:
        name: a new name, or that of a variant of yours that is to be replaced.
        **needs: ``blocks``, ``parameters``, ``states``, ``feedback`` and ``peepholes``, see :class:`Gates`.

    Raises:
        InvalidInputError: the name is one that comes with the package.
    """

    def register(step: Step) -> Step:
        known = VARIANTS.get(name)
        if (
            known is not None
            and known.step.__module__.startswith("lstm_zoo.")
            and step.__module__ != known.step.__module__
        ):
            raise InvalidInputError(f"name={name!r} is a variant of the package: choose another name for yours")
        VARIANTS[name] = Gates(name, step, **needs)
        return step

    return register


def find_gates(gates: str | Gates) -> Gates:
    """The variant of that name; a :class:`Gates` is returned as it is.

    Raises:
        UnknownNameError: no such variant; the message lists those that exist.
    """
    if isinstance(gates, Gates):
        if VARIANTS.get(gates.name) is not gates:
            raise InvalidInputError(f"gates={gates.name!r} is not registered: make it known with register_gates")
        return gates
    if not isinstance(gates, str):
        raise InvalidInputError(f"gates={gates!r}: expected the name of a variant, one of {', '.join(VARIANTS)}")
    if gates not in VARIANTS:
        raise UnknownNameError("gates", gates, VARIANTS)
    return VARIANTS[gates]


@register_gates("vanilla")
def vanilla(z, h, c, cell):  # type: ignore[no-untyped-def]
    r"""The LSTM of ``keras.layers.LSTM``; with ``peepholes=True`` the same as ``"peephole"``.

    .. math::
        i_t &= \sigma(z^i_t) \\
        f_t &= \sigma(z^f_t) \\
        c_t &= \gamma(f_t \odot c_{t-1} + i_t \odot \phi(z^g_t)) \\
        o_t &= \sigma(z^o_t) \\
        h_t &= o_t \odot \phi(c_t)

    Shapes: ``z`` ``[batch, 4 * units]``; ``h``, ``c`` ``[batch, units]``. Source: Hochreiter and Schmidhuber 1997
    (https://doi.org/10.1162/neco.1997.9.8.1735) with the forget gate of Gers et al. 2000
    (https://doi.org/10.1162/089976600300015015).
    """
    i, f, g, o = cell.split(z)
    i = cell.recurrent_activation(i + cell.peephole("input", c))
    f = cell.recurrent_activation(f + cell.peephole("forget", c))
    c = cell.cell_activation(f * c + i * cell.activation(g))
    o = cell.recurrent_activation(o + cell.peephole("output", c))
    return o * cell.activation(cell.normalize(c)), c


@register_gates("peephole", peepholes=True)
def peephole(z, h, c, cell):  # type: ignore[no-untyped-def]
    r"""The gates see the cell state: the last one, and for the output gate the new one.

    .. math::
        i_t &= \sigma(z^i_t + p^i \odot c_{t-1}) \\
        f_t &= \sigma(z^f_t + p^f \odot c_{t-1}) \\
        c_t &= \gamma(f_t \odot c_{t-1} + i_t \odot \phi(z^g_t)) \\
        o_t &= \sigma(z^o_t + p^o \odot c_t) \\
        h_t &= o_t \odot \phi(c_t)

    Shapes: ``z`` ``[batch, 4 * units]``; ``h``, ``c`` ``[batch, units]``; each ``p`` ``[units]``. Source: Gers and
    Schmidhuber 2000 (https://doi.org/10.1109/IJCNN.2000.861302); this is the "vanilla" of Greff et al. 2017.
    """
    return vanilla(z, h, c, cell)


@register_gates("coupled_input_forget", blocks=("forget", "cell", "output"))
def coupled_input_forget(z, h, c, cell):  # type: ignore[no-untyped-def]
    r"""What is forgotten is what is let in (CIFG): one gate does for two.

    .. math::
        f_t &= \sigma(z^f_t) \\
        c_t &= \gamma(f_t \odot c_{t-1} + (1 - f_t) \odot \phi(z^g_t)) \\
        o_t &= \sigma(z^o_t) \\
        h_t &= o_t \odot \phi(c_t)

    Shapes: ``z`` ``[batch, 3 * units]``; ``h``, ``c`` ``[batch, units]``. Source: Greff et al. 2017, CIFG.
    """
    f, g, o = cell.split(z)
    f = cell.recurrent_activation(f + cell.peephole("forget", c))
    c = cell.cell_activation(f * c + (1 - f) * cell.activation(g))
    o = cell.recurrent_activation(o + cell.peephole("output", c))
    return o * cell.activation(cell.normalize(c)), c


@register_gates("no_input_gate", blocks=("forget", "cell", "output"))
def no_input_gate(z, h, c, cell):  # type: ignore[no-untyped-def]
    r"""Everything is let in: :math:`i_t = 1`.

    .. math::
        f_t &= \sigma(z^f_t) \\
        c_t &= \gamma(f_t \odot c_{t-1} + \phi(z^g_t)) \\
        o_t &= \sigma(z^o_t) \\
        h_t &= o_t \odot \phi(c_t)

    Shapes: ``z`` ``[batch, 3 * units]``; ``h``, ``c`` ``[batch, units]``. Source: Greff et al. 2017, NIG.
    """
    f, g, o = cell.split(z)
    f = cell.recurrent_activation(f + cell.peephole("forget", c))
    c = cell.cell_activation(f * c + cell.activation(g))
    o = cell.recurrent_activation(o + cell.peephole("output", c))
    return o * cell.activation(cell.normalize(c)), c


@register_gates("no_forget_gate", blocks=("input", "cell", "output"))
def no_forget_gate(z, h, c, cell):  # type: ignore[no-untyped-def]
    r"""Nothing is forgotten: :math:`f_t = 1`, which is the LSTM of 1997.

    .. math::
        i_t &= \sigma(z^i_t) \\
        c_t &= \gamma(c_{t-1} + i_t \odot \phi(z^g_t)) \\
        o_t &= \sigma(z^o_t) \\
        h_t &= o_t \odot \phi(c_t)

    Shapes: ``z`` ``[batch, 3 * units]``; ``h``, ``c`` ``[batch, units]``. Source: Greff et al. 2017, NFG.
    """
    i, g, o = cell.split(z)
    i = cell.recurrent_activation(i + cell.peephole("input", c))
    c = cell.cell_activation(c + i * cell.activation(g))
    o = cell.recurrent_activation(o + cell.peephole("output", c))
    return o * cell.activation(cell.normalize(c)), c


@register_gates("no_output_gate", blocks=("input", "forget", "cell"))
def no_output_gate(z, h, c, cell):  # type: ignore[no-untyped-def]
    r"""Everything is let out: :math:`o_t = 1`.

    .. math::
        i_t &= \sigma(z^i_t) \\
        f_t &= \sigma(z^f_t) \\
        c_t &= \gamma(f_t \odot c_{t-1} + i_t \odot \phi(z^g_t)) \\
        h_t &= \phi(c_t)

    Shapes: ``z`` ``[batch, 3 * units]``; ``h``, ``c`` ``[batch, units]``. Source: Greff et al. 2017, NOG.
    """
    i, f, g = cell.split(z)
    i = cell.recurrent_activation(i + cell.peephole("input", c))
    f = cell.recurrent_activation(f + cell.peephole("forget", c))
    c = cell.cell_activation(f * c + i * cell.activation(g))
    return cell.activation(cell.normalize(c)), c


@register_gates("no_input_activation")
def no_input_activation(z, h, c, cell):  # type: ignore[no-untyped-def]
    r"""The cell input is linear.

    .. math::
        i_t &= \sigma(z^i_t) \\
        f_t &= \sigma(z^f_t) \\
        c_t &= \gamma(f_t \odot c_{t-1} + i_t \odot z^g_t) \\
        o_t &= \sigma(z^o_t) \\
        h_t &= o_t \odot \phi(c_t)

    Shapes: ``z`` ``[batch, 4 * units]``; ``h``, ``c`` ``[batch, units]``. Source: Greff et al. 2017, NIAF.
    """
    i, f, g, o = cell.split(z)
    i = cell.recurrent_activation(i + cell.peephole("input", c))
    f = cell.recurrent_activation(f + cell.peephole("forget", c))
    c = cell.cell_activation(f * c + i * g)
    o = cell.recurrent_activation(o + cell.peephole("output", c))
    return o * cell.activation(cell.normalize(c)), c


@register_gates("no_output_activation")
def no_output_activation(z, h, c, cell):  # type: ignore[no-untyped-def]
    r"""The cell state is let out as it is.

    .. math::
        i_t &= \sigma(z^i_t) \\
        f_t &= \sigma(z^f_t) \\
        c_t &= \gamma(f_t \odot c_{t-1} + i_t \odot \phi(z^g_t)) \\
        o_t &= \sigma(z^o_t) \\
        h_t &= o_t \odot c_t

    Shapes: ``z`` ``[batch, 4 * units]``; ``h``, ``c`` ``[batch, units]``. Source: Greff et al. 2017, NOAF.
    """
    i, f, g, o = cell.split(z)
    i = cell.recurrent_activation(i + cell.peephole("input", c))
    f = cell.recurrent_activation(f + cell.peephole("forget", c))
    c = cell.cell_activation(f * c + i * cell.activation(g))
    o = cell.recurrent_activation(o + cell.peephole("output", c))
    return o * cell.normalize(c), c


@register_gates("full_gate_recurrence", feedback=("input", "forget", "output"))
def full_gate_recurrence(z, h, c, gates, cell):  # type: ignore[no-untyped-def]
    r"""Each gate sees the last activations of all three gates, by nine more recurrent matrices :math:`R`.

    .. math::
        i_t &= \sigma(z^i_t + R^{ii} i_{t-1} + R^{fi} f_{t-1} + R^{oi} o_{t-1}) \\
        f_t &= \sigma(z^f_t + R^{if} i_{t-1} + R^{ff} f_{t-1} + R^{of} o_{t-1}) \\
        c_t &= \gamma(f_t \odot c_{t-1} + i_t \odot \phi(z^g_t)) \\
        o_t &= \sigma(z^o_t + R^{io} i_{t-1} + R^{fo} f_{t-1} + R^{oo} o_{t-1}) \\
        h_t &= o_t \odot \phi(c_t)

    The products with :math:`R`, one kernel ``[3 * units, 3 * units]``, are in ``z`` already. Shapes: ``z``
    ``[batch, 4 * units]``; ``h``, ``c`` ``[batch, units]``; ``gates``, the three side by side, ``[batch, 3 * units]``.
    Source: Greff et al. 2017, FGR, after the original formulation of Hochreiter and Schmidhuber 1997.
    """
    i, f, g, o = cell.split(z)
    i = cell.recurrent_activation(i + cell.peephole("input", c))
    f = cell.recurrent_activation(f + cell.peephole("forget", c))
    c = cell.cell_activation(f * c + i * cell.activation(g))
    o = cell.recurrent_activation(o + cell.peephole("output", c))
    return o * cell.activation(cell.normalize(c)), c, ops.concatenate([i, f, o], axis=-1)
