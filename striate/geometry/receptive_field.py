"""The algebra of receptive fields: what a unit sees of the input, through chains of layers and branches that meet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from striate.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """What one unit of a feature map sees of the network's input, along one axis.

    ``size`` is the extent in input pixels (infinite once a layer has mixed all positions), ``jump`` the distance in
    input pixels between neighbouring units, ``offset`` the centre of the first unit's field as an input index (0 is the
    centre of the first pixel). Exact fractions, because upsampling makes jumps below one. The field is the set of
    positions that can matter, borders and padding included; the *effective* field is smaller in practice.

    Source: Araujo, Norris and Sim, Computing receptive fields of convolutional neural networks, Distill 2019.

    >>> field = ReceptiveField().through(kernel_size=5).through(kernel_size=2, stride=2).through(kernel_size=5)
    >>> int(field.size), int(field.jump), str(field.offset)
    (14, 2, '13/2')
    """

    size: Fraction | float = field(default=Fraction(1))
    jump: Fraction = field(default=Fraction(1))
    offset: Fraction = field(default=Fraction(0))

    def through(
        self,
        kernel_size: int,
        stride: int = 1,
        pad_before: int = 0,
        dilation: int = 1,
    ) -> ReceptiveField:
        """The field after a convolution or pool along this axis."""
        reach = dilation * (kernel_size - 1)
        return ReceptiveField(
            self.size + reach * self.jump,
            self.jump * stride,
            self.offset + (Fraction(reach, 2) - pad_before) * self.jump,
        )

    def through_transposed(
        self, kernel_size: int, stride: int = 1, crop_before: int = 0, dilation: int = 1
    ) -> ReceptiveField:
        """The field after a transposed convolution along this axis.

        Output ``o`` sums the inputs ``i`` with ``o = i * stride - crop + k * dilation``, which lie within
        ``dilation * (kernel_size - 1) / stride`` of each other. How many whole positions that is differs from output to
        output; the fractional size holds them all, ``floor(size)`` at most.
        """
        reach = dilation * (kernel_size - 1)
        return ReceptiveField(
            self.size + Fraction(reach, stride) * self.jump,
            self.jump / stride,
            self.offset + (crop_before - Fraction(reach, 2)) * self.jump / stride,
        )

    def everywhere(self) -> ReceptiveField:
        """The field after a layer in which every output sees every position, such as a dense layer."""
        return replace(self, size=math.inf)

    @property
    def first(self) -> tuple[Fraction | float, Fraction | float]:
        """The first and last input position, as indices, that the first unit sees."""
        half = (self.size - 1) / 2
        return self.offset - half, self.offset + half

    @staticmethod
    def meet(fields: Iterable[ReceptiveField]) -> ReceptiveField:
        """The field of branches that are added or concatenated: the smallest one that covers them all.

        Branches that see everything (a squeeze-and-excitation gate) do not have to agree on the jump; the others do,
        and `GeometryError` is raised when they do not.
        """
        met = list(fields)
        local = [f for f in met if f.size != math.inf]
        if not local:
            return met[0]
        jumps = {f.jump for f in local}
        if len(jumps) > 1:
            raise GeometryError(
                "branches that meet to have equal total strides",
                f"strides {', '.join(str(jump) for jump in sorted(jumps))}",
                "Bring the branches to one resolution before they are added or concatenated.",
            )
        low, high = min(f.first[0] for f in local), max(f.first[1] for f in local)
        size = math.inf if len(local) < len(met) else high - low + 1
        return ReceptiveField(size, local[0].jump, Fraction(low + high) / 2)
