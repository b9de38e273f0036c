"""How Winograd's convolution cuts an axis: into residues where it is dilated, into tiles, and its taps into triples.

Residues. With dilation d, outputs ``r, r + d, r + 2d, ...`` read inputs that are d apart too: for each residue r there
is an ordinary convolution. A tile belongs to one of them. Tiles are numbered so that d neighbours, one of each residue,
cover a *group* of ``outputs * d`` neighbouring outputs without a gap: whatever brings inputs and takes outputs away
works on dense rows, and only the transforms step over d pixels::

    outputs of tile t begin at (t // d) * outputs * d + t % d

Triples. The matrices know three taps, ``F(m, 3)``. A longer kernel is a sum of kernels of three taps, the last filled
up with zeros, each applied to the input shifted by three (times d)::

    y[i] = sum over triple t of (sum over k < 3 of w[3t + k] * x[i + 3t + k])

Transforms being linear, the sum can be taken before the last of them: triples are to the products what input channels
are. F(4, 3) halves the multiplications of any number of taps that three divides, where an F(m, r) of as many taps would
amplify rounding errors beyond use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.winograd_transform import Filter, filtering

if TYPE_CHECKING:
    from striate.compiler.values import Index

TAPS = 3
"""Taps of a triple."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis of a layer."""

    filter: Filter
    """F(m, 3), or F(1, 1) for an axis of one tap."""
    taps: int
    dilation: int

    @property
    def outputs(self) -> int:
        """Outputs of a tile."""
        return self.filter.outputs

    @property
    def inputs(self) -> int:
        """Values of a transformed tile."""
        return self.filter.inputs

    @property
    def triples(self) -> int:
        """Parts of the kernel."""
        return -(-self.taps // self.filter.taps)

    @property
    def span(self) -> int:
        """Inputs, ``dilation`` apart, that a tile reads for all triples."""
        return self.outputs + self.filter.taps * self.triples - 1

    @property
    def group(self) -> int:
        """Outputs of a tile of each residue."""
        return self.outputs * self.dilation

    def tiles(self, size: int) -> int:
        """Tiles that ``size`` outputs take; of the last group, residues that have no output have no tile.

        >>> axis(4, 3, 2).tiles(8), axis(4, 3, 2).tiles(9), axis(4, 3, 2).tiles(10)
        (2, 3, 4)
        """
        whole, rest = divmod(size, self.group)
        return whole * self.dilation + min(rest, self.dilation)

    def corner(self, tile: Index) -> Index:
        """The first output of a tile."""
        if self.dilation == 1:
            return tile * self.outputs
        return tile // self.dilation * self.group + tile % self.dilation

    def covered(self, first: Index, count: Index) -> tuple[Index, Index]:
        """Where the groups of neighbouring tiles begin, and how many outputs they have."""
        group = first // self.dilation
        groups = count if self.dilation == 1 else (first + count - 1) // self.dilation - group + 1
        return group * self.group, groups * self.group

    def widest(self, tiles: int, most: int) -> int:
        """The largest number of outputs in groups of up to ``most`` neighbouring tiles of a row of ``tiles``."""
        return min(-(-tiles // self.dilation), (most + 2 * self.dilation - 2) // self.dilation) * self.group


def axis(outputs: int, taps: int, dilation: int = 1) -> Axis:
    """An axis computed ``outputs`` at a time; one tap is computed pixel by pixel, and has no dilation."""
    if taps == 1:
        return Axis(filtering(1, 1), 1, 1)
    return Axis(filtering(outputs, TAPS), taps, dilation)
