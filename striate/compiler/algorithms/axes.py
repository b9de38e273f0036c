"""How a result position finds the source positions that it sums over: one rule for forward and for grad_input.

Along one axis, a forward pass computes ``result[j]`` from ``source[j * stride + k * dilation - pad]``. The gradient of
the input at position ``i`` comes from every ``o`` and ``k`` with ``i + pad = o * stride + k * dilation``: with a stride
``s``, only every ``s / gcd(s, dilation)``-th tap divides, and which ones depends on ``i`` modulo ``s``. So positions
``c, c + s, c + 2s, ...`` form a *class*; within it the taps are the same and neighbours read neighbouring sources::

    source(j, t) = j * source_step + t * tap_step + origin        result j of the class, t-th tap of the class

Forward has one class. Weights are packed so that the taps of a class lie side by side, in the order of their sources:
nothing multiplies zeros, and one piece of code gathers for both passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.values import Index, Number


def three(values: tuple[int, ...], missing: int = 1) -> tuple[int, int, int]:
    """A per-axis value as one of three axes, ``missing`` for leading ones that are not there."""
    depth, height, width = (missing,) * (3 - len(values)) + values
    return depth, height, width


@dataclass(frozen=True, slots=True)
class Taps:
    """The taps of one class: how many, where they begin among the packed ones, and the source of the first."""

    count: Number
    first: Number
    origin: Number

    def inside(self, k: Kernel, low: Number, high: Number, step: int, size: Index) -> tuple[Number, Number]:
        """The range of taps that some source between ``low`` and ``high`` (those of the first tap) needs.

        The others read padding only.
        """
        begin = k.minimum(k.maximum(0, (0 - k.index(high) + (step - 1)) // step), self.count)
        end = k.minimum(self.count, (size - low + (step - 1)) // step)
        return begin, k.maximum(begin, end)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a pass."""

    taps: int
    stride: int
    dilation: int
    backward: bool

    @property
    def classes(self) -> int:
        """How many classes result positions fall into; also the distance of neighbours within one."""
        return self.stride if self.backward else 1

    @property
    def source_step(self) -> int:
        """How far apart the sources of neighbouring results are."""
        return 1 if self.backward else self.stride

    @property
    def tap_step(self) -> int:
        """How far apart the sources of neighbouring taps of a class are."""
        return self.dilation // math.gcd(self.stride, self.dilation) if self.backward else self.dilation

    @property
    def every(self) -> int:
        """A class has every how many-th tap."""
        return self.stride // math.gcd(self.stride, self.dilation) if self.backward else 1

    @property
    def most_taps(self) -> int:
        """The largest number of taps of a class."""
        return -(-self.taps // self.every)

    def reach(self, pad: int) -> tuple[int, int]:
        """The first source that the first result of any class may read, and how many from there on."""
        last = (self.taps - 1) * self.dilation
        if not self.backward:
            return -pad, last + 1
        first = -((last - pad) // self.stride)
        return first, (self.stride - 1 + pad) // self.stride - first + 1

    def of_class(self, k: Kernel, number: Number, pad: Index) -> Taps:
        """The taps of class ``number``."""
        if not self.backward:
            return Taps(self.taps, 0, 0 - pad)
        every, common = self.every, math.gcd(self.stride, self.dilation)
        place = pad + number
        inverse = pow(self.dilation // common, -1, every) if every > 1 else 0
        first = (place // common) % every * inverse % every if every > 1 else k.index(0)
        count = (self.taps + every - 1 - first) // every
        if common > 1:
            count = k.select((place % common).equals(0), count, 0)
        origin = (place - first * self.dilation) // self.stride - (count - 1) * self.tap_step
        return Taps(count, self._before(k, first), origin)

    def _before(self, k: Kernel, first: Number) -> Index:
        """How many packed taps come before the class that begins with tap ``first``."""
        return k.index(first) * (self.taps // self.every) + k.minimum(first, self.taps % self.every)

    def packed(self, k: Kernel, tap: Number) -> Number:
        """Where a tap of the weight stands among the packed ones."""
        if not self.backward or self.taps == 1:
            return tap
        if self.every == 1:
            return self.taps - 1 - k.index(tap)
        first, turn = k.index(tap) % self.every, k.index(tap) // self.every
        return self._before(k, first) + (self.taps + self.every - 1 - first) // self.every - 1 - turn


def flat(problem: ConvProblem) -> ConvProblem:
    """The same problem; pixels that are looked at alone are one row, channels-last those of all samples.

    One long row has one end, while short ones waste a part of a tile each.
    """
    spec = problem.spec
    if set(spec.kernel_size) != {1} or set(spec.stride) != {1} or any(map(any, problem.pads)):
        return problem
    batch, pixels = problem.batch, math.prod(problem.input_size)
    if spec.layout == "channels_last":
        batch, pixels = min(batch, 1), pixels * max(batch, 1)
    return replace(problem, batch=batch, input_size=(1,) * (spec.spatial_dims - 1) + (pixels,))


@lru_cache(maxsize=256)
def axes(spec: Spec) -> tuple[Axis, Axis, Axis]:
    """Depth, height and width."""
    backward = spec.pass_ == "grad_input"
    values = zip(three(spec.kernel_size), three(spec.stride), three(spec.dilation), strict=True)
    depth, height, width = (Axis(*value, backward) for value in values)
    return depth, height, width
