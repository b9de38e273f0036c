"""How positions of results, taps and sources belong together along each axis, forward and backward alike.

Forward, result ``m`` reads source positions ``m * stride + tap * dilation - before``. Backward, results are dealt out
to as many classes as the stride has residues: result ``m * stride + residue - before`` meets only the taps for which
``residue - tap * dilation`` is divisible by the stride, at source position ``m`` plus that quotient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.axes import three

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.values import Index, Number


FEW = 8
"""Channels that count as few; also how many interleaved rows are parted or joined by picking lanes, not by turning."""


@dataclass(frozen=True, slots=True)
class Taps:
    """The taps of one class: the first, how many, and how far apart; where they read, and how far apart."""

    first: Number
    count: Number
    step: int
    place: Number
    place_step: int


@dataclass(frozen=True, slots=True)
class Axis:
    """How results, taps and source positions of one axis belong together."""

    size: int
    stride: int
    dilation: int
    backward: bool

    @property
    def step(self) -> int:
        """Source positions from one result of a class to the next."""
        return 1 if self.backward else self.stride

    @property
    def classes(self) -> int:
        """Residues of result positions that differ in their taps."""
        return self.stride if self.backward else 1

    @property
    def span(self) -> int:
        """The distance from the first to the last source position that one result can read."""
        reach = (self.size - 1) * self.dilation
        return reach // self.stride if self.backward else reach

    def place(self, tap: int) -> int:
        """Where a tap reads, relative to the first position staged for its result; with one class."""
        return self.span - tap * self.dilation if self.backward else tap * self.dilation

    @property
    def tap_step(self) -> int:
        """Source positions from one tap of a class to the next."""
        if not self.backward:
            return self.dilation
        return -self.dilation // math.gcd(self.dilation, self.stride)

    def taps(self, k: Kernel, residue: Number) -> Taps:
        """The taps that results of class ``residue`` meet."""
        if self.classes == 1:
            return Taps(0, self.size, 1, self.place(0), self.tap_step)
        common = math.gcd(self.dilation, self.stride)
        period = self.stride // common
        # Tap t meets class c where c - t * dilation is divisible by the stride.
        first = k.index(residue) // common * pow(self.dilation // common, -1, period) % period
        count = k.select((k.index(residue) % common).equals(0), (self.size + (period - 1) - first) // period, 0)
        place = (k.index(residue) - first * self.dilation) // self.stride + self.span
        return Taps(first, count, period, place, self.tap_step)

    def met(self, source: int, result: int, before: int) -> float:
        """The share of the taps of all results that lie inside the source."""
        if self.backward:
            source, result = result, source
        met = 0
        for tap in range(self.size):
            begin = before - tap * self.dilation
            first, end = -(-max(begin, 0) // self.stride), -(-max(source + begin, 0) // self.stride)
            met += max(min(end, result) - first, 0)
        every = source / self.stride if self.backward else result
        return min(1.0, met / (every * self.size))

    def numbers(self, source: int, result: int, before: int) -> tuple[int, int, int]:
        """How many results a class has, where class 0 of the first lies, and where its source begins."""
        shift = before if self.backward else 0
        first = shift // self.classes
        count = (result - 1 + shift) // self.classes - first + 1
        return count, first * self.classes - shift, first * self.step - (self.span if self.backward else before)


@dataclass(frozen=True, slots=True)
class Roles:
    """Who plays source and result in a pass."""

    source: int
    result: int
    axes: tuple[Axis, Axis, Axis]

    @classmethod
    def of(cls, spec: Spec) -> Roles:
        """The roles in ``spec``'s pass."""
        backward = spec.pass_ == "grad_input"
        sizes = zip(three(spec.kernel_size), three(spec.stride), three(spec.dilation), strict=True)
        depth, height, width = (Axis(*size, backward) for size in sizes)
        channels = (spec.out_channels, spec.in_channels) if backward else (spec.in_channels, spec.out_channels)
        return cls(*channels, (depth, height, width))

    @property
    def taps(self) -> int:
        """Taps of the kernel."""
        return math.prod(axis.size for axis in self.axes)


def inside(k: Kernel, taps: Taps, start: Index, size: Index) -> tuple[Number, Number]:
    """The range of taps that read between 0 and ``size``, for a result whose first staged position is ``start``."""
    if isinstance(taps.count, int) and taps.count == 1:
        return 0, 1
    first, step = start + taps.place, taps.place_step
    if step < 0:
        first, step = size - 1 - first, -step
    low = (k.maximum(0 - first, 0) + (step - 1)) // step
    return low, k.minimum(taps.count, (k.maximum(size - first, 0) + (step - 1)) // step)


def axis_sizes(problem: ConvProblem) -> tuple[tuple[int, int, int], ...]:
    """For each of three axes: the sizes of source and result, and the padding before."""
    source, result = problem.input_size, problem.output_size
    if problem.spec.pass_ == "grad_input":
        source, result = result, source
    missing = 3 - problem.spec.spatial_dims
    befores = (0,) * missing + tuple(before for before, _ in problem.pads)
    return tuple(zip(three(source), three(result), befores, strict=True))
