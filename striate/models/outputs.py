"""What a network returns in training when it has auxiliary heads, which help its deep layers learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class WithAuxiliary(NamedTuple):
    """The output and those of the auxiliary heads, each with the weight of its loss in the sum.

    Networks return it in training only; in evaluation they return the output alone.
    """

    output: Tensor
    auxiliary: tuple[Tensor, ...]
    weights: tuple[float, ...]


def main_output(result: Tensor | WithAuxiliary) -> Tensor:
    """The network's own output, whichever mode it is in."""
    return result.output if isinstance(result, WithAuxiliary) else result
