"""Receptive fields followed exactly, also through layers that treat neighbouring positions differently.

`striate.geometry.ReceptiveField` describes a field by three numbers, which is exact for convolutions and pools. After
an upsampling, neighbouring units do not see equally wide or equally spaced parts of the input: with ``stride=2`` and
``kernel_size=3`` a transposed convolution's units see one and two positions in turn. What follows then depends on that
pattern, so it is kept here: the first and last position that each unit sees, for one period of the pattern. The three
numbers are read off at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from striate.geometry import ReceptiveField

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LONGEST_PERIOD = 4096
"""Patterns longer than this (several resizes by odd ratios in a row) are given up as unknown."""


@dataclass(frozen=True, slots=True)
class Field:
    """What the units of a map see of the network's input along one axis.

    Unit ``i`` sees the positions ``spans[i % period]``, moved on by ``period * jump`` for each full period before it. A
    unit that sees nothing, such as one between the inserted zeros of a transposed convolution, has the span
    ``(inf, -inf)``. ``everywhere`` says that every unit sees all positions; ``known`` is False behind a layer whose
    effect is not known.

    >>> pair = Field().through(lambda unit: (unit // 2,), Fraction(1, 2))  # nearest upsampling
    >>> [pair.at(unit) for unit in range(4)]
    [(0, 0), (0, 0), (1, 1), (1, 1)]
    """

    spans: tuple[tuple[float, float], ...] = ((0, 0),)
    jump: Fraction = Fraction(1)
    everywhere: bool = False
    known: bool = True

    def at(self, unit: int) -> tuple[float, float]:
        """The first and last input position that a unit sees, borders not regarded."""
        periods, phase = divmod(unit, len(self.spans))
        low, high = self.spans[phase]
        moved = int(periods * len(self.spans) * self.jump)
        return low + moved, high + moved

    def through(self, sources: Callable[[int], Iterable[int]], ratio: Fraction) -> Field:
        """The field behind a layer whose unit ``o`` reads the units ``sources(o)``.

        ``ratio`` is the distance that the sources move from one output to the next, on average: ``sources`` moves on by
        exactly ``ratio.numerator`` units for every ``ratio.denominator`` outputs.
        """
        if not self.known:
            return self
        step, outputs = ratio.numerator, ratio.denominator
        period = outputs * (len(self.spans) // math.gcd(len(self.spans), step))
        if period > LONGEST_PERIOD:
            return self.unknown()
        return replace(
            self,
            spans=tuple(_cover(self.at(source) for source in sources(unit)) for unit in range(period)),
            jump=self.jump * ratio,
        )

    def through_everything(self) -> Field:
        """The field behind a layer in which every output reads every unit."""
        return replace(self, everywhere=True) if self.known else Field(everywhere=True)

    def unknown(self) -> Field:
        """The field behind a layer whose effect is not known; what sees everything still does."""
        return self if self.everywhere else replace(self, known=False)

    @staticmethod
    def meet(fields: Sequence[Field]) -> Field | None:
        """The field of branches that are added or concatenated; None if their positions do not lie alike.

        Branches that see everything do not have to agree with the others.
        """
        everywhere = any(field.everywhere for field in fields)
        local = [field for field in fields if not field.everywhere] or list(fields[:1])
        if not all(field.known for field in local):
            return Field(everywhere=True) if everywhere else local[0].unknown()
        period = math.lcm(*(len(field.spans) for field in local))
        if len({field.jump for field in local}) > 1 or period > LONGEST_PERIOD:
            return Field(everywhere=True) if everywhere else None
        spans = tuple(_cover(field.at(unit) for field in local) for unit in range(period))
        return Field(spans, local[0].jump, everywhere)

    def report(self) -> ReceptiveField | None:
        """Size, jump and offset, or None where the field is not known.

        The size is the largest that any unit has, the offset the mean over the pattern.
        """
        seen = [(unit, low, high) for unit, (low, high) in enumerate(self.spans) if low <= high]
        if not self.known or not seen:
            return None
        size = math.inf if self.everywhere else Fraction(max(high - low + 1 for _, low, high in seen))
        centres = [Fraction(low + high) / 2 - unit * self.jump for unit, low, high in seen]
        return ReceptiveField(size, self.jump, sum(centres, Fraction(0)) / len(centres))


def _cover(spans: Iterable[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip((math.inf, -math.inf), *spans, strict=True)
    return min(lows), max(highs)


# What common layers read ---------------------------------------------------------------------------------------------


def window(field: Field, kernel_size: int, stride: int = 1, pad_before: int = 0, dilation: int = 1) -> Field:
    """The field behind a convolution or pool.

    >>> window(Field(), kernel_size=5, stride=2, pad_before=2).at(3)
    (4, 8)
    """
    return field.through(
        lambda unit: (unit * stride - pad_before + tap * dilation for tap in range(kernel_size)), Fraction(stride)
    )


def transposed_window(
    field: Field, kernel_size: int, stride: int = 1, crop_before: int = 0, dilation: int = 1
) -> Field:
    """The field behind a transposed convolution.

    Its output ``o`` sums the inputs ``i`` with ``o = i * stride - crop_before + tap * dilation``.
    """

    def sources(unit: int) -> list[int]:
        reached = (unit + crop_before - tap * dilation for tap in range(kernel_size))
        return [position // stride for position in reached if position % stride == 0]

    return field.through(sources, Fraction(1, stride))


def adaptive_window(field: Field, input_size: int, output_size: int) -> Field:
    """The field behind an adaptive pool, whose windows divide the input as evenly as they can."""
    if output_size == 1:
        return field.through_everything()
    ratio = Fraction(input_size, output_size)
    return field.through(lambda unit: range(math.floor(unit * ratio), math.ceil((unit + 1) * ratio)), ratio)


RESIZE_REACH = {"linear": 1, "bilinear": 1, "trilinear": 1, "bicubic": 2}
"""How far interpolation reads around a point, in input units; nearest reads one unit."""


def resized(field: Field, ratio: Fraction, mode: str, *, align_corners: bool = False, antialias: bool = False) -> Field:
    """The field behind `torch.nn.functional.interpolate`; ``ratio`` is input units per output unit."""
    half = Fraction(1, 2)

    def sources(unit: int) -> Iterable[int]:
        if mode == "nearest":
            return (math.floor(unit * ratio),)
        if mode == "nearest-exact":
            return (math.floor((unit + half) * ratio),)
        point = unit * ratio if align_corners else (unit + half) * ratio - half
        reach = RESIZE_REACH[mode] * (max(ratio, Fraction(1)) if antialias else Fraction(1))
        # Weights are zero at the very end of the reach, hence the open interval.
        return range(math.floor(point - reach) + 1, math.ceil(point + reach))

    return field.through(sources, ratio)
