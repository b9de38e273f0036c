"""The tiles of `lanewise`: results along a row, each summed over its taps in registers.

Memory. Layers with few products per number are as fast as memory is, so its order matters: a tile goes through all
vectors of its block before the next one along the row begins, which reads and writes whole pixels. While a row is
computed, what the next one needs besides is on its way into the second-level cache, and so are the lines it will write,
which a processor reads before it overwrites them.

Borders. Kernel rows outside the source are left out of the loop over taps. Along the row, tiles that reach over the
border read a vector of zeros instead, chosen by address: an edge costs a few integer instructions per load, and no
padded copy is made. Rows that are shorter than a tile take the same way, and their missing results are not stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from striate.compiler.algorithms.activation import activated
from striate.compiler.algorithms.lanewise_rows import axes
from striate.compiler.values import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from striate.compiler.algorithms.lane_groups import LaneGroups
    from striate.compiler.algorithms.tap_axis import Reach, TapAxis
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Number, Pointer, Variable, Vector

UNROLLED = 420
"""The most multiply-adds in one block of taps: what the compiler is given to digest."""

N = TypeVar("N", int, Index)


@dataclass(frozen=True, slots=True)
class Tile:
    """How a row of results with a given number of taps is computed."""

    pixels: int
    taps: int
    """Taps of one block; a row of more is a loop over blocks and a rest."""
    sources: int
    """Source channels of a group whose weights are in registers together."""

    def padded(self, count: N) -> N:
        """Results that tiles for ``count`` of them compute."""
        return (count + (self.pixels - 1)) // self.pixels * self.pixels


def tiles(lanes: LaneGroups, target: Target, taps: int) -> tuple[Tile, Tile]:
    """The tiles for rows with ``taps`` taps: a wide one, and a narrow one for rows that waste much of the wide."""
    wide, narrow = (14, 8) if target.vector_registers >= 32 else (6, 3)
    room = target.vector_registers - wide - 4
    most = max(1, min(room, UNROLLED // (wide * lanes.sources)))
    # Where a row takes several blocks they are equal, and short: those skip more of what lies outside the source.
    block = max(taps, 1) if taps <= most else -(-taps // -(-taps // min(most, 8)))
    sources = max(1, room // block)
    return Tile(wide, block, sources), Tile(narrow, block, sources)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the tiles of a task share. Positions count along a row from its beginning in the whole array."""

    vectors: tuple[Index, Index]
    """The first vector, and one past the last."""
    source: Callable[[Number, Number], Pointer]
    """Where position 0 of a source row lies, of a depth and a row."""
    source_line: Index
    """Elements from one source row to the next."""
    result: Callable[[Number], Pointer]
    """Where position 0 of a result row lies."""
    source_pitch: int
    result_pitch: int
    inside: tuple[Index, Index]
    """The source positions along a row that may be read: the first, and one past the last."""
    deep: Reach
    staged: bool
    """Whether rows lie in scratch, which holds the channels of one vector alone."""


@dataclass(frozen=True, slots=True)
class Line:
    """The results of one row that have the same taps along it."""

    h: Index
    up: Reach
    along: Reach
    """The taps of the first result."""
    start: Index
    """The first result."""
    count: Index
    taps: int


def line(k: Kernel, spec: Spec, lanes: LaneGroups, form: Tile, rows: Rows, part: Line, may_be_inner: bool) -> None:
    """Compute one line in tiles; where they ``may_be_inner``, those that are need no test of their loads."""
    _, _, width = axes(spec)
    ends = (0, (part.taps - 1) * width.reach)
    last = (form.pixels - 1) * width.source_step
    low, high = rows.inside
    with k.loop(part.count, step=form.pixels) as begin:
        # The last tile is moved back to end with the row, but not before its beginning.
        first = k.maximum(k.minimum(begin, part.count - form.pixels), 0)
        at = part.along.source + first * width.source_step

        def through(edge: bool, first: Index, at: Index) -> None:
            with k.loop(rows.vectors[1], rows.vectors[0]) as vector:
                _tile(k, spec, lanes, form, rows, part, vector, first, at, edge)

        if may_be_inner:
            inner = (at + min(ends) >= low) & (at + (max(ends) + last) < high) & (part.count >= form.pixels)
            with k.when(inner):
                through(False, first, at)
            with k.unless(inner):
                through(True, first, at)
        else:
            through(True, first, at)


def _tile(
    k: Kernel,
    spec: Spec,
    lanes: LaneGroups,
    form: Tile,
    rows: Rows,
    part: Line,
    vector: Index,
    first: Index,
    at: Index,
    edge: bool,
) -> None:
    """One tile of one vector: results from number ``first`` of the line on, whose first taps read from ``at`` on."""
    n = k.numbers
    depth, height, width = axes(spec)
    group = lanes.first_group(k, vector)
    skip = k.index(0) if rows.staged else group
    panel = k.pointers["workspace"] + vector * (depth.taps * height.taps * width.taps * lanes.sources * k.lanes)
    begun = k.constant(0.0, k.lanes)
    bias = k.pointers["bias"] + group * lanes.results
    if spec.bias and not spec.scale:
        begun = lanes.load(k, bias)
    sums = [k.variable(begun) for _ in range(form.pixels)]
    place = (part.start + first * width.result_step) * rows.result_pitch + skip * lanes.results
    if not rows.staged and spec.spatial_dims > 1 and set(spec.kernel_size) != {1}:
        # A signal is one row, as pixels looked at alone are, and read in order: the processor sees that by itself.
        _prefetch(k, spec, lanes, form, rows, part, skip, at, place)
    if part.taps:
        d0, d1 = depth.inside(k, rows.deep, n["sd"])
        h0, h1 = height.inside(k, part.up, n["sh"])
        with k.loop(d1, d0) as j:
            d_tap, h_tap = rows.deep.tap + j * depth.tap_step, part.up.tap + h0 * height.tap_step
            source = rows.source(rows.deep.source + j * depth.reach, part.up.source + h0 * height.reach)
            tap = (d_tap * height.taps + h_tap) * width.taps + part.along.tap
            weights = panel + tap * (lanes.sources * k.lanes)
            down = height.tap_step * (width.taps * lanes.sources * k.lanes)
            steps = ((source + skip * lanes.sources, rows.source_line * height.reach), (weights, down))
            with k.walk(k.index(h1) - h0, *steps) as (line, factors):
                _taps(k, lanes, form, part.taps, width, rows, line, at, factors, sums, edge)
    to = rows.result(part.h) + place
    finish = (lanes.load(k, bias + spec.out_channels), lanes.load(k, bias)) if spec.scale else None
    for p in range(form.pixels):
        value = sums[p].get()
        if finish is not None:
            value = k.fma(value, *finish)
        value = activated(k, spec, value)
        pixel = to + p * width.result_step * rows.result_pitch
        if edge and p:
            with k.when(first + p < part.count):
                lanes.store(k, pixel, value)
        else:
            lanes.store(k, pixel, value)


def _prefetch(
    k: Kernel,
    spec: Spec,
    lanes: LaneGroups,
    form: Tile,
    rows: Rows,
    part: Line,
    group: Index,
    at: Index,
    place: Index,
) -> None:
    """Bring what the same tile of the next row reads for the first time, and what it writes, into the L2 cache.

    Beyond the last row follows the next depth or sample, which is next indeed.
    """
    depth, height, width = axes(spec)
    deepest = rows.deep.source + max(0, (depth.taps - 1) * depth.reach)
    lowest = part.up.source + max(0, (height.taps - 1) * height.reach)
    for row in range(1, height.source_step + 1):
        ahead = rows.source(deepest, lowest + row) + (group * lanes.sources + at * rows.source_pitch)
        for p in range(form.pixels * width.source_step):
            (ahead + p * rows.source_pitch).prefetch(level=2)
    to = rows.result(part.h + 1) + place
    for p in range(form.pixels):
        (to + p * width.result_step * rows.result_pitch).prefetch(write=True, level=2)


def _taps(
    k: Kernel,
    lanes: LaneGroups,
    form: Tile,
    taps: int,
    width: TapAxis,
    rows: Rows,
    source: Pointer,
    at: Index,
    weights: Pointer,
    sums: Sequence[Variable[Vector]],
    edge: bool,
) -> None:
    """One kernel row: blocks of taps, in a loop where there are several, and the rest."""
    whole, rest = taps // form.taps, taps % form.taps
    step = form.taps * width.reach
    panel = form.taps * width.tap_step * lanes.sources * k.lanes
    if whole == 1 and not rest:
        _block(k, lanes, form, form.taps, width, rows, source, at, weights, sums, edge)
        return
    with k.loop(whole) as block:
        _block(k, lanes, form, form.taps, width, rows, source, at + block * step, weights + block * panel, sums, edge)
    if rest:
        _block(k, lanes, form, rest, width, rows, source, at + whole * step, weights + whole * panel, sums, edge)


def _block(
    k: Kernel,
    lanes: LaneGroups,
    form: Tile,
    taps: int,
    width: TapAxis,
    rows: Rows,
    source: Pointer,
    at: Index,
    weights: Pointer,
    sums: Sequence[Variable[Vector]],
    edge: bool,
) -> None:
    """The multiply-adds of a tile with a block of taps: each source position is loaded once."""
    meets: dict[int, list[tuple[int, int]]] = {}
    for p in range(form.pixels):
        for t in range(taps):
            meets.setdefault(p * width.source_step + t * width.reach, []).append((p, t))
    values = [variable.get() for variable in sums]
    begin = source + at * rows.source_pitch
    zeros = k.zeros(2 * k.lanes) if edge else None
    low, high = rows.inside
    for first in range(0, lanes.sources, form.sources):
        some = range(first, min(first + form.sources, lanes.sources))
        held = {
            (t, s): (weights + (t * width.tap_step * lanes.sources + s) * k.lanes).load(k.lanes)
            for t in range(taps)
            for s in some
        }
        for position in sorted(meets):
            pixel = begin + position * rows.source_pitch
            if zeros is not None:
                pixel = k.either((at + position >= low) & (at + position < high), pixel, zeros)
            loaded = lanes.load_sources(k, pixel)
            for s in some:
                shuffled = lanes.source(loaded, s)
                for p, t in meets[position]:
                    values[p] = k.fma(shuffled, held[t, s], values[p])
    for variable, value in zip(sums, values, strict=True):
        variable.set(value)
