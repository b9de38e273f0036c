"""How Winograd's weight gradient is cut into shares of channels, splits and blocks of tiles, and how long it takes.

A *share* is a block of input by a block of output channels, whose sums, one for each pair of channels in each plane,
stay in the second-level cache while the tiles go by, some at a time. The larger its blocks of channels, the fewer times
a tile is transformed; the more tiles at a time, the fewer times sums are loaded and stored. Both take room from each
other: the blocks are those that take the fewest cycles, of all that fit.

Where there are few shares, their tiles are *split*: each split makes a gradient of its own, and these are added up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from striate.compiler.algorithms.axes import three
from striate.compiler.algorithms.winograd_steps import Shape, shape
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target

TASKS = 16
"""Enough tasks for even shares of the threads."""
SPLIT_WORTH = 12
"""How much longer a split must take than transforming its sums back, which every split does for itself."""
MOST_HELD = 0.125
"""Gradients that wait to be added up, beside the operands they are made of."""
MOST_TILES, LEAST_TILES = 64, 8
"""Tiles at a time: beyond, rows of one plane no longer fit the first-level cache; below, sums are all that is moved."""
WIDEST = 256
"""Most channels of a block."""
PRODUCT, STEP, SUM, BACK = 1.06, 1.5, 1.4, 2.0
"""Measured cycles: of a multiply-add, of a step of the inner loop beyond them, of a vector of sums loaded or stored,
and of one that is transformed back."""
TRANSFORM = (4.0, 7.2, 11.0)
"""Measured cycles of a vector in a plane, brought and transformed along one, two or three axes; ..."""
CONTIGUOUS = 1.5
"""... and how much longer it takes where pixels have to be turned round."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of channels, and the register tile, of one kind of layer. Memory is counted in elements."""

    s: Shape
    ics: int
    """Input channels of a block: whole vectors."""
    ocs: int
    rows: int
    """Terms (input channels, for each triple) of a register tile."""
    vectors: int
    """Vectors of output channels of a register tile."""
    most: int
    """Tiles at a time, at most."""
    turned: bool
    """Whether pixels lie in memory channel by channel."""

    @property
    def fit(self) -> bool:
        """Whether the sums of a share, and tiles enough, have room in the second-level cache."""
        return self.most >= LEAST_TILES

    @property
    def in_blocks(self) -> int:
        """Blocks of input channels."""
        return -(-self.s.ics // self.ics)

    @property
    def out_blocks(self) -> int:
        """Blocks of output channels."""
        return -(-self.s.ocs // self.ocs)

    @property
    def terms(self) -> int:
        """Rows of the sums of a share that are used."""
        return min(self.s.ics, self.ics) * self.s.triples

    @property
    def v_pitch(self) -> int:
        """Values between neighbouring tiles of a transformed input; the last vector of a triple is stored whole."""
        return _odd(self.ics * self.s.triples, self.s.lanes)

    @property
    def d_pitch(self) -> int:
        """Values between neighbouring tiles of a transformed grad_output."""
        return _odd(self.ocs, self.s.lanes)

    @property
    def plane(self) -> int:
        """Values between the sums of neighbouring planes, with a cache line that keeps them apart in the caches."""
        return -(-self.terms // self.rows) * self.rows * self.ocs + self.s.lanes

    @property
    def gradient(self) -> int:
        """The gradient of a share: of the weight, and of the bias."""
        return (min(self.s.ics, self.ics) * self.s.taps + 1) * self.ocs

    def staged(self, row: int, tiles: int) -> int:
        """Pixels of ``tiles`` neighbouring tiles of a row of ``row``, of input or of grad_output."""
        depth, height, width = self.s.axes
        reach = width.widest(row, tiles)
        beyond = (width.span - width.outputs) * width.dilation
        inputs = depth.span * height.span * (reach + beyond) * self.ics
        return max(inputs, depth.outputs * height.outputs * reach * self.ocs)

    def cycles(self, tiles: float) -> float:
        """Cycles of one tile and plane for all shares, where ``tiles`` are done at a time."""
        s = self.s
        panels = s.ics // self.ics * -(-self.terms // self.rows) + -(-(s.ics % self.ics) * s.triples // self.rows)
        columns = -(-s.ocs // (self.vectors * s.lanes))
        step = max(self.rows * self.vectors, self.rows + self.vectors) * PRODUCT + STEP
        moved = 2 * panels * self.rows * columns * self.vectors * SUM
        transforms = self.out_blocks * -(-s.ics // s.lanes) * s.triples + self.in_blocks * -(-s.ocs // s.lanes)
        transform = TRANSFORM[sum(one.taps > 1 for one in s.axes) - 1] * (CONTIGUOUS if self.turned else 1)
        return panels * columns * step + moved / tiles + transforms * transform


def _odd(values: int, lanes: int) -> int:
    """Whole vectors for so many values; an odd number where there are many, for they lie in different sets then."""
    vectors = -(-values // lanes)
    return (vectors + (vectors >= 8 and vectors % 2 == 0)) * lanes


@lru_cache(maxsize=256)
def blocks_of(spec: Spec, target: Target, tile: int) -> Blocks:
    """The blocks that take the fewest cycles."""
    room = target.l2_bytes // BYTES[spec.dtype]
    fitting = (_fit(blocks, room) for blocks in _candidates(spec, target, tile))
    return min(fitting, key=lambda blocks: (not blocks.fit, blocks.cycles(max(1, blocks.most))))


def _candidates(spec: Spec, target: Target, tile: int) -> Iterator[Blocks]:
    s = shape(spec, target, tile)
    for ics in _widths(s.ics, s.lanes):
        for ocs in _widths(s.ocs, s.lanes):
            terms = min(s.ics, ics) * s.triples
            for vectors in (1, 2, 3, 4):
                # Registers are for the sums, the vectors of one tile, and one broadcast value.
                most = (target.vector_registers - vectors - 1) // vectors
                if ocs // s.lanes % vectors == 0 and most:
                    rows = -(-terms // -(-terms // most))
                    yield Blocks(s, ics, ocs, rows, vectors, 0, spec.layout == "contiguous")


def _widths(channels: int, lanes: int) -> list[int]:
    """Whole vectors that cut channels into nearly equal blocks."""
    vectors = -(-channels // lanes)
    widths = dict.fromkeys(-(-vectors // blocks) * lanes for blocks in range(1, vectors + 1))
    return [width for width in widths if width <= WIDEST]


def _fit(blocks: Blocks, room: int) -> Blocks:
    """The same blocks, with as many tiles at a time as a cache of ``room`` values holds beside the sums."""
    s = blocks.s
    left = room - s.planes * blocks.plane
    one = s.planes * (blocks.v_pitch + blocks.d_pitch)
    tiles = min(left, room // 2) // one
    return replace(blocks, most=max(0, min(tiles, MOST_TILES)))


@dataclass(frozen=True, slots=True)
class Cut:
    """How the tiles of one problem are cut. The result does not depend on threads, so that sums do not either."""

    blocks: Blocks
    counts: tuple[int, int, int]
    """Tiles along each axis."""
    tiles: int
    """Tiles of all samples."""
    splits: int
    steps: int
    """How many times a task takes some more tiles."""
    most: int
    """Tiles at a time, at most."""
    cycles: float

    @property
    def tasks(self) -> int:
        """Shares, and splits of each."""
        return self.blocks.in_blocks * self.blocks.out_blocks * self.splits


def cut(problem: ConvProblem, target: Target, tile: int) -> Cut:
    """Cut a problem whose blocks fit."""
    spec = problem.spec
    blocks = blocks_of(spec, target, tile)
    s = blocks.s
    depth, height, width = (one.tiles(size) for one, size in zip(s.axes, three(problem.output_size), strict=True))
    tiles = problem.batch * depth * height * width
    shares = blocks.in_blocks * blocks.out_blocks
    work = tiles * s.planes * blocks.cycles(blocks.most)
    back = s.planes * s.terms * -(-s.ocs // s.lanes) * BACK
    operands = problem.batch * (s.ics * math.prod(problem.input_size) + s.ocs * math.prod(problem.output_size))
    held = MOST_HELD * operands / (shares * blocks.gradient)
    splits = max(1, min(-(-TASKS // shares), int(work / (back * SPLIT_WORTH)), int(held), tiles))
    splits = 1 << splits.bit_length() - 1  # usual numbers of threads share a power of two evenly
    each = -(-tiles // splits)
    steps = max(1, -(-each // blocks.most))
    most = -(-each // steps)
    turned = s.ics * s.ocs * s.taps * (1.2 + 0.3 * splits) * (16 / s.lanes)
    cycles = tiles * s.planes * blocks.cycles(max(1, most)) + back * splits + turned
    return Cut(blocks, (depth, height, width), tiles, splits, steps, max(1, most), cycles)
