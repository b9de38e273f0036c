"""One axis of a convolution seen from a result: which taps reach it, and from where.

The output (forward) and the gradient of the input are both sums over taps of a source::

    forward       output[i]      needs source i * stride + k * dilation - before             of every tap k
    grad_input    grad_input[i]  needs source (i + before - k * dilation) / stride           where that is whole

With ``i + before = q * stride + r``, the taps of grad_input that are whole depend on ``r`` alone, and follow each other
at equal distances: they are the solutions of ``k * dilation = r (mod stride)``. So in both passes

    tap ``j`` of a result is tap ``tap + j * tap_step`` of the weight, and its source is ``source + j * reach``;
    ``result_step`` results further on the taps are the same, and the sources lie ``source_step`` further.

and one kernel serves both; only ``tap``, ``source`` and the number of taps are computed when it runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.values import Index, Number


@dataclass(frozen=True, slots=True)
class Reach:
    """The taps that reach one result: known when the kernel runs."""

    tap: Index
    """The first tap."""
    taps: Index
    """How many there are."""
    source: Index
    """Where the first tap reads; may lie outside the source."""


@dataclass(frozen=True, slots=True)
class TapAxis:
    """One axis of a layer, for forward or (``backward``) grad_input."""

    taps: int
    stride: int
    dilation: int
    backward: bool

    @property
    def _common(self) -> int:
        return math.gcd(self.stride, self.dilation) if self.backward else 1

    @property
    def tap_step(self) -> int:
        """From one tap of a result to its next."""
        return self.stride // self._common if self.backward else 1

    @property
    def reach(self) -> int:
        """How far the source of the next tap lies; negative for grad_input."""
        return -(self.dilation // self._common) if self.backward else self.dilation

    @property
    def result_step(self) -> int:
        """From one result to the next with the same taps."""
        return self.stride if self.backward else 1

    @property
    def source_step(self) -> int:
        """How far the sources of that next result lie."""
        return 1 if self.backward else self.stride

    @property
    def counts(self) -> list[int]:
        """Every number of taps that a result can have."""
        if not self.backward:
            return [self.taps]
        found = {0} if self._common > 1 else set()
        for first in range(self.tap_step):
            found.add(max(0, -(-(self.taps - first) // self.tap_step)))
        return sorted(found, reverse=True)

    def reaching(self, k: Kernel, result: Number, before: Index) -> Reach:
        """The taps of one result."""
        if not self.backward:
            return Reach(k.index(0), k.index(self.taps), k.index(result) * self.stride - before)
        step, common = self.tap_step, self._common
        place = before + result
        rest = place % self.stride
        tap = (rest // common) * pow(self.dilation // common, -1, step) % step
        taps = (self.taps - tap + (step - 1)) // step
        if common > 1:
            taps = taps * (1 - k.minimum(rest % common, 1))
        return Reach(tap, taps, (place - tap * self.dilation) // self.stride)

    def inside(self, k: Kernel, reach: Reach, size: Index) -> tuple[Index, Index]:
        """The taps whose source lies inside ``size``: the first, and one past the last."""
        step = abs(self.reach)
        if self.reach > 0:
            low = (0 - reach.source + (step - 1)) // step
            high = (size - reach.source + (step - 1)) // step
        else:
            low = (reach.source - size + step) // step
            high = (reach.source + step) // step
        low = k.maximum(low, 0)
        return low, k.maximum(k.minimum(high, reach.taps), low)

    def span(self, k: Kernel, first: Index, last: Index, before: Index, size: Index) -> tuple[Index, Index]:
        """The sources that results ``first`` to ``last`` (inclusive) need, cut to the ``size`` there is: a range."""
        far = (self.taps - 1) * self.dilation
        if self.backward:
            low, high = (first + before - far) // self.stride, (last + before) // self.stride + 1
        else:
            low, high = first * self.stride - before, last * self.stride - before + (far + 1)
        low = k.minimum(k.maximum(low, 0), size)
        return low, k.maximum(k.minimum(high, size), low)

    def longest_span(self, results: int) -> int:
        """The most sources that ``results`` neighbours need."""
        far = (self.taps - 1) * self.dilation
        if self.backward:
            return (results - 1 + far) // self.stride + 2
        return (results - 1) * self.stride + far + 1
