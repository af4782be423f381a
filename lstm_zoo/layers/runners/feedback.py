"""Gates whose last activations take part in the recurrent product of some of the blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from keras import ops

T = TypeVar("T")


@dataclass(frozen=True)
class Feedback(Generic[T]):
    r"""What is added to the pre-activations for the gates that are fed back.

    Attributes:
        kernel: :math:`R` ``[len(fed) * units, len(fed) * units]``.
        fed: the blocks that its columns belong to, in this order.
        blocks: how many blocks the pre-activations have.
    """

    kernel: T
    fed: tuple[int, ...]
    blocks: int

    def spread(self, x: Any) -> Any:
        """``[batch, len(fed) * units]`` as ``[batch, blocks * units]``, with zeros in the blocks that are not fed."""
        parts = ops.split(x, len(self.fed), axis=1)
        nothing = ops.zeros_like(parts[0])
        every = [parts[self.fed.index(n)] if n in self.fed else nothing for n in range(self.blocks)]
        return ops.concatenate(every, axis=1)

    def gathered(self, z: Any) -> Any:
        """``[batch, blocks * units]`` without the blocks that are not fed: the gradient of :meth:`spread`."""
        every = ops.split(z, self.blocks, axis=1)
        return ops.concatenate([every[n] for n in self.fed], axis=1)
