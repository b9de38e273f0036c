"""Vectors that span whole groups of a grouped convolution: which channel lies under which lane.

A vector of result channels holds ``groups`` whole groups of ``results`` channels each. Its sources, ``sources``
channels of each of the same groups, are neighbours in memory too: one or two vectors hold them, and a constant shuffle
puts channel ``s`` of the right group under every lane::

    results, 2 a group      A0 A1 B0 B1 C0 C1 D0 D1
    sources, 2 a group      a0 a1 b0 b1 c0 c1 d0 d1
    shuffle to source 0     a0 a0 b0 b0 c0 c0 d0 d0
    shuffle to source 1     a1 a1 b1 b1 c1 c1 d1 d1

For depthwise layers, with one channel on either side, it is no shuffle at all. The last vector is moved back to end
with the last group: the pattern is the same for every vector, and channels need no run-time masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Number, Pointer, Vector


@dataclass(frozen=True, slots=True)
class LaneGroups:
    """The lanes of one vector of results; ``grad_input`` swaps what is result and what is source."""

    all_groups: int
    groups: int
    """Groups of one vector."""
    results: int
    """Result channels of one group."""
    sources: int
    """Source channels of one group."""
    lanes: int

    @classmethod
    def of(cls, spec: Spec, target: Target) -> LaneGroups:
        """The pattern of a layer; `too_wide` says whether it has one."""
        results, sources = spec.group_out_channels, spec.group_in_channels
        if spec.pass_ == "grad_input":
            results, sources = sources, results
        lanes = target.lanes(spec.dtype)
        fit = max(1, min(lanes // results, 2 * lanes // sources))
        return cls(spec.groups, min(fit, spec.groups), results, sources, lanes)

    @property
    def vectors(self) -> int:
        """Vectors of results."""
        return -(-self.all_groups // self.groups)

    @property
    def too_wide(self) -> bool:
        """Whether a group does not fit a vector."""
        return max(self.results, self.sources) > self.lanes

    @property
    def width(self) -> int:
        """Result channels of one vector."""
        return self.groups * self.results

    @property
    def source_width(self) -> int:
        """Source channels of one vector of results."""
        return self.groups * self.sources

    def first_group(self, k: Kernel, vector: Number) -> Index:
        """The first group of a vector."""
        return k.minimum(k.index(vector) * self.groups, self.all_groups - self.groups)

    def load(self, k: Kernel, at: Pointer) -> Vector:
        """Load one value for every result lane; the lanes beyond the last are zero."""
        return _load(k, at, self.width)

    def store(self, k: Kernel, to: Pointer, value: Vector) -> None:
        """Store the result lanes."""
        to.store(value, None if self.width == k.lanes else k.mask(self.width))

    def load_sources(self, k: Kernel, at: Pointer) -> list[Vector]:
        """Load the sources of a vector of results: one or two vectors."""
        first = _load(k, at, min(self.source_width, k.lanes))
        if self.source_width <= k.lanes:
            return [first]
        return [first, _load(k, at + k.lanes, self.source_width - k.lanes)]

    def source(self, loaded: list[Vector], source: int) -> Vector:
        """Source channel ``source`` of its group under every result lane."""
        if self.results == self.sources == 1:
            return loaded[0]
        last = self.groups - 1
        order = [min(lane // self.results, last) * self.sources + source for lane in range(self.lanes)]
        return loaded[0].shuffle(order, loaded[1] if len(loaded) > 1 else None)


def _load(k: Kernel, at: Pointer, count: int) -> Vector:
    return at.load(k.lanes, None if count == k.lanes else k.mask(count))
