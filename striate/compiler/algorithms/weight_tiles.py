"""Which sums of a weight's gradient are kept in registers together, and where they lie in memory.

The gradient is a matrix of taps and input channels (rows) by output channels (columns). A tile of it is ``rows`` rows
by ``vectors`` vectors of columns. The input is staged as panels, ``[pixel][channel of the panel]``, in one of two ways:

- *apart*: a tile is one tap and a block of input channels, and a panel holds just these. Taps can be skipped where they
  read padding. For layers with input channels enough to fill a tile.
- *merged*: a panel holds all channels of the group, so that the taps along a kernel line, ``(kw, ic)``, lie side by
  side and a tile may run over several taps, several lines, or a part of a line. For few input channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from striate.compiler.algorithms.axes import three

if TYPE_CHECKING:
    from collections.abc import Iterator

    from striate.compiler.problem import Spec
    from striate.compiler.target import Target

BLOCK_W = 64
"""Most output columns staged at once where a tile covers several lines: their distance must be known to the kernel."""
BLOCK_H = 16
"""Most output rows staged at once where a tile covers several planes."""
MOST_MERGED = 24
"""Most input channels of a group for taps to be merged: beyond, skipping padding is worth more."""
EXCHANGE = 0.95
"""The part of the time that exchanging input and grad_output must leave, or it is not worth the while."""
_STEP_CYCLES = 1.5
"""What a pass of the inner loop costs beyond its multiply-adds and loads."""
_COPY_CYCLES, _APART_CYCLES = 2.5, 10.0
"""What staging a vector costs; with groups, channels of one pixel are too few for the processor to fetch them ahead."""


@dataclass(frozen=True, slots=True)
class WeightTile:
    """A tile of the gradient, and how the whole of one group is cut into such tiles."""

    rows: int
    vectors: int
    channels: int
    """Input channels of one staged panel."""
    merged: bool
    depths: int
    heights: int
    """Kernel planes, and lines of each, that one tile covers."""
    parts: int
    """Tiles that share one line."""
    kernel: tuple[int, int, int]

    @property
    def positions(self) -> tuple[int, int, int]:
        """How many tiles each panel is used for, along depth, height and width of the kernel."""
        depth, height, _ = self.kernel
        if not self.merged:
            return self.kernel
        return -(-depth // self.depths), -(-height // self.heights), self.parts

    @property
    def line(self) -> int:
        """Rows of one line of a tile."""
        return self.rows // (self.depths * self.heights)

    @property
    def spans_lines(self) -> bool:
        """Whether a tile covers several kernel lines, whose distance in scratch must then be fixed."""
        return self.depths * self.heights > 1

    def step_cycles(self) -> float:
        """Cycles of one pixel of one tile, at one multiply-add or one load a cycle."""
        return max(self.rows * self.vectors, self.rows + self.vectors) + _STEP_CYCLES

    def panels(self, spec: Spec) -> int:
        """Panels of one group's input."""
        return -(-spec.group_in_channels // self.channels)

    def columns(self, spec: Spec, target: Target) -> int:
        """Tiles side by side along the output channels of one group."""
        return -(-spec.group_out_channels // (self.vectors * target.lanes(spec.dtype)))


def row_pitch(spec: Spec) -> int:
    """Staged columns of one line where `WeightTile.spans_lines`."""
    return (BLOCK_W - 1) * three(spec.stride)[2] + (three(spec.kernel_size)[2] - 1) * three(spec.dilation)[2] + 1


def plane_pitch(spec: Spec) -> int:
    """Staged lines of one plane where a tile covers several planes."""
    return (BLOCK_H - 1) * three(spec.stride)[1] + (three(spec.kernel_size)[1] - 1) * three(spec.dilation)[1] + 1


@cache
def tile_of(spec: Spec, target: Target) -> WeightTile:
    """The tile that computes ``spec`` in the fewest cycles."""
    return min(_candidates(spec, target), key=lambda tile: pixel_cycles(tile, spec, target))


@cache
def exchanged(spec: Spec, target: Target) -> bool:
    """Whether the kernel takes input for grad_output and the other way round, to waste fewer lanes of its vectors."""
    if spec.bias or spec.groups > 1 or set(spec.kernel_size) != {1} or set(spec.stride) != {1}:
        return False
    plain, other = (pixel_cycles(tile_of(each, target), each, target) for each in (spec, exchange_channels(spec)))
    return other < EXCHANGE * plain


def exchange_channels(spec: Spec) -> Spec:
    """A spec with the channels of input and output exchanged."""
    return replace(spec, in_channels=spec.out_channels, out_channels=spec.in_channels)


def pixel_cycles(tile: WeightTile, spec: Spec, target: Target) -> float:
    """Cycles of one output pixel for the whole gradient of one group, with the staging of its input."""
    tiles = tile.panels(spec) * tile.columns(spec, target) * math.prod(tile.positions)
    vectors = tile.panels(spec) * -(-tile.channels // target.lanes(spec.dtype))
    copied = _APART_CYCLES if spec.groups > 1 else _COPY_CYCLES
    return tiles * tile.step_cycles() + copied * (vectors + tile.vectors * tile.columns(spec, target))


def _candidates(spec: Spec, target: Target) -> Iterator[WeightTile]:
    lanes = target.lanes(spec.dtype)
    kernel = three(spec.kernel_size)
    channels = spec.group_in_channels
    for vectors in range(1, min(6, -(-spec.group_out_channels // lanes)) + 1):
        # Registers are for the sums, the vectors of one pixel, and one broadcast input.
        most = (target.vector_registers - vectors - 1) // vectors
        if most < 1:
            continue
        rows = -(-channels // -(-channels // most))
        yield WeightTile(rows, vectors, rows, False, 1, 1, 1, kernel)
        line = kernel[2] * channels
        if channels > MOST_MERGED or line == 1:
            continue
        if line <= most:
            heights = _share(kernel[1], most // line)
            depths = _share(kernel[0], most // (line * heights)) if heights == kernel[1] else 1
            yield WeightTile(line * heights * depths, vectors, channels, True, depths, heights, 1, kernel)
        elif three(spec.dilation)[2] == 1:
            parts = -(-line // most)
            yield WeightTile(-(-line // parts), vectors, channels, True, 1, 1, parts, kernel)


def _share(count: int, most: int) -> int:
    """``count`` in as few equal shares of at most ``most`` as there can be: the size of one."""
    return -(-count // -(-count // most))
