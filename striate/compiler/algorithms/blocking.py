"""How a direct kernel's problem is cut into tasks, and about how long it takes: sizes, caches, threads, no code.

A task is a block of rows of one class, of some samples, for a part of the channel blocks. Its rows and one panel of
weights should stay in the second-level cache together; its columns should come out even with some form of tile; and
there should be tasks enough for all threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from striate.compiler.algorithms import panels
from striate.compiler.algorithms.axes import Axis, axes, flat, three
from striate.compiler.algorithms.gather import Tile, pitch, tiles, width
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target

STEP = 0.7
"""Cycles that one step of the inner loop costs besides its multiply-adds."""
LOOP = 6.0
"""Cycles of entering the inner loop."""
TILE = 20.0
"""Cycles that beginning and ending a tile costs, besides two for each accumulator."""
WEIGHTS = 5.0
"""Cycles that a vector of weights takes from the second-level cache."""
BEYOND_L2 = 8.0
"""Bytes a cycle from the third-level cache."""

Three = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """A problem's sizes at run time."""

    batch: int
    source: Three
    result: Three
    pads: Three

    @classmethod
    def of(cls, problem: ConvProblem) -> Shape:
        """The sizes of a problem, as `flat` has them."""
        spec, problem = problem.spec, flat(problem)
        batch, source, result = problem.batch, three(problem.input_size), three(problem.output_size)
        if spec.pass_ == "grad_input":
            source, result = result, source
        return cls(batch, source, result, three(tuple(first for first, _ in problem.pads), 0))


@dataclass(frozen=True, slots=True)
class Cut:
    """How a launch cuts a problem into tasks."""

    samples: int
    rows: int
    columns: int
    """Samples, rows and columns (of a class) of one task."""
    parts: int
    """Parts that the channel blocks are split into."""
    form: int
    rest: int
    """Which forms of tile cover a row; see `Cover`."""
    by_tap: bool
    """Whether a task's rows are staged once per tap, not once as a range."""

    def slots(self, height: Axis) -> tuple[int, int]:
        """Sets of staged rows, and rows of each."""
        if self.by_tap:
            return height.most_taps, self.rows
        return 1, (self.rows - 1) * height.source_step + (height.most_taps - 1) * height.tap_step + 1

    def scratch(self, spec: Spec, shape: Shape, panel: int) -> tuple[int, int]:
        """Elements of a thread's scratch: staged sources, and results that wait to be transposed."""
        depth, height, wide = axes(spec)
        reach = (self.columns - 1) * wide.source_step + wide.reach(shape.pads[2])[1]
        staged = self.samples * depth.most_taps * math.prod(self.slots(height)) * reach * pitch(spec)
        waiting = self.rows * self.columns * wide.classes * panel if spec.layout == "contiguous" else 0
        return lines(staged, spec), lines(waiting, spec)

    def tasks(self, spec: Spec, shape: Shape) -> int:
        """How many tasks there are."""
        _, height, wide = axes(spec)
        blocks = -(-per_class(shape.result[1], height) // self.rows) * height.classes
        chunks = -(-per_class(shape.result[2], wide) // self.columns)
        return self.parts * -(-shape.batch // self.samples) * shape.result[0] * blocks * chunks


def per_class(size: int, axis: Axis) -> int:
    """Positions of the largest class."""
    return -(-size // axis.classes)


def lines(elements: int, spec: Spec) -> int:
    """Elements, rounded up to whole cache lines."""
    line = 64 // BYTES[spec.dtype]
    return -(-elements // line) * line


def step_cycles(tile: Tile, near: bool) -> float:
    """Cycles of one step: multiply-adds, each four cycles after the one it adds to, or loads, or weights brought.

    Weights that are not ``near``, in the first-level cache, come from the second-level one for every tile.
    """
    brought = 0 if near else tile.vectors * WEIGHTS
    return max(tile.pixels * tile.vectors, tile.pixels + tile.vectors, 4, brought) + STEP


@dataclass(frozen=True, slots=True)
class Cover:
    """How tiles cover a row: each form from ``form`` on takes what it can, and from ``rest`` on all that is left."""

    form: int
    rest: int
    counts: tuple[int, ...]
    """How many tiles of each form."""


@lru_cache(maxsize=1024)
def cover(forms: tuple[Tile, ...], columns: int, steps: int, near: bool) -> Cover:
    """The way to cover a row of ``columns`` pixels that takes the least time, if a tile has ``steps`` steps."""
    costs = [steps * step_cycles(tile, near) + TILE + 2 * tile.pixels * tile.vectors for tile in forms]

    def covered(form: int, rest: int) -> Cover:
        counts, left = [0] * len(forms), columns
        for place in range(form, len(forms)):
            pixels = forms[place].pixels
            if pixels <= columns:
                counts[place] = left // pixels if place < rest else max(0, -(-left // pixels))
                left -= counts[place] * pixels
        return Cover(form, rest, tuple(counts))

    every = [covered(form, rest) for rest in range(len(forms)) for form in range(rest + 1)]
    return min(every, key=lambda way: sum(count * cost for count, cost in zip(way.counts, costs, strict=True)))


@lru_cache(maxsize=256)
def blocking(spec: Spec, shape: Shape, target: Target, threads: int) -> Cut:
    """Cut a problem into tasks."""
    _, height, wide = axes(spec)
    forms, panel = tiles(spec, target), width(spec, target)
    steps, near = _steps(spec, target)
    rows, columns = per_class(shape.result[1], height), per_class(shape.result[2], wide)
    budget = target.l2_bytes * 3 // 8 // BYTES[spec.dtype]

    def row(rows: int, columns: int) -> Cut:
        way = cover(forms, columns, steps, near)
        cuts = [Cut(1, rows, columns, 1, way.form, way.rest, by_tap) for by_tap in (False, True)]
        return min(cuts, key=lambda cut: sum(cut.scratch(spec, shape, panel)))

    def chunk(columns: int, chunks: int) -> int:
        pixels = forms[cover(forms, columns, steps, near).form].pixels
        return min(columns, -(-columns // chunks // pixels) * pixels)

    chunks = -(-sum(row(1, columns).scratch(spec, shape, panel)) // budget)
    if chunks > 1:
        columns = chunk(columns, chunks)
    most = rows
    while most > 1 and sum(row(most, columns).scratch(spec, shape, panel)) > budget:
        most = -(-most // 2) if most > 8 else most - 1
    cut = row(-(-rows // -(-rows // most)), columns)
    heavy = panels.elements(spec, panel) * BYTES[spec.dtype] > target.l2_bytes // 2
    if heavy and cut.rows == rows and cut.columns == per_class(shape.result[2], wide):
        # Small images: weights come from beyond the second-level cache for more than a few pixels.
        cut = replace(cut, samples=max(1, min(shape.batch, 28 // max(1, rows * columns))))
    return _for_threads(spec, shape, cut, forms[cut.form].pixels, panel, threads)


def _for_threads(spec: Spec, shape: Shape, cut: Cut, pixels: int, panel: int, threads: int) -> Cut:
    """Cut further where threads would have nothing or too little to do."""
    height = axes(spec)[1]

    def enough(cut: Cut) -> bool:
        count = cut.tasks(spec, shape)
        return threads == 1 or not count or count % threads == 0 or count >= 4 * threads

    while not enough(cut):
        overlap = (height.most_taps - 1) * height.tap_step // height.source_step
        if cut.samples > 1:
            cut = replace(cut, samples=cut.samples // 2)
        elif cut.rows > max(1, 2 * overlap):
            cut = replace(cut, rows=-(-cut.rows // 2))
        elif cut.columns >= 8 * pixels:
            cut = replace(cut, columns=-(-cut.columns // 2 // pixels) * pixels)
        else:
            blocks = spec.groups * -(-panels.channels(spec)[1] // panel)
            return replace(cut, parts=max(1, min(blocks, -(-4 * threads // cut.tasks(spec, shape)))))
    return cut


def _steps(spec: Spec, target: Target) -> tuple[int, bool]:
    """Steps of a tile, and whether their weights stay in the first-level cache from tile to tile."""
    steps = panels.channels(spec)[0] * math.prod(axis.most_taps for axis in axes(spec))
    return steps, steps * width(spec, target) * BYTES[spec.dtype] <= target.l1_bytes // 2


def estimate(problem: ConvProblem, target: Target) -> float:
    """About how many cycles a direct kernel takes."""
    spec, shape = problem.spec, Shape.of(problem)
    cut = blocking(spec, shape, target, 1)
    forms, panel = tiles(spec, target), width(spec, target)
    sources, results = panels.channels(spec)
    size, last = BYTES[spec.dtype], spec.layout == "channels_last"
    depth, height, wide = axes(spec)
    # Sums over results and taps; along a row, over tiles and the taps that they do not leave out.
    rows = math.prod(_gathers(axis, shape, place, 0) for place, axis in ((0, depth), (1, height)))
    chunks = -(-per_class(shape.result[2], wide) // cut.columns)
    taps, near = _steps(spec, target)
    way = cover(forms, cut.columns, taps, near)
    along = [(count * chunks, tile) for count, tile in zip(way.counts, forms, strict=True)]
    share = _gathers(wide, shape, 2, forms[way.form].pixels) / max(1, per_class(shape.result[2], wide))
    steps = rows * share * sources * sum(count * step_cycles(tile, near) for count, tile in along)
    begun = sum(count for count, _ in along) * wide.classes
    loops = rows * begun * (1 if sources == pitch(spec) else wide.most_taps)
    ended = wide.classes * sum(count * (TILE + 2 * tile.pixels * tile.vectors) for count, tile in along)
    blocks = spec.groups * -(-results // panel)
    cycles = steps + loops * LOOP + shape.result[0] * shape.result[1] * ended
    cycles *= shape.batch * blocks
    # Memory: sources are brought by every task, results leave once (through scratch where they are transposed), weights
    # are packed, and read by every task from beyond the second-level cache if they do not fit there.
    count, (staged, _) = cut.tasks(spec, shape), cut.scratch(spec, shape, panel)
    brought = max(count * staged, shape.batch * math.prod(shape.source) * sources * spec.groups)
    left = shape.batch * math.prod(shape.result) * results * spec.groups
    cycles += (brought + left) * size / (BEYOND_L2 if last else BEYOND_L2 * 2 / 3)
    weights = panels.elements(spec, panel) * size
    return cycles + (weights / 4 if count else 0) + (count * weights / 64 if weights > target.l2_bytes // 2 else 0)


def _gathers(axis: Axis, shape: Shape, place: int, pixels: int) -> float:
    """The results that a tap works for, summed over taps: some source of their tile of ``pixels`` is in the image."""
    source, result, pad = shape.source[place], shape.result[place], shape.pads[place]
    whole = per_class(result, axis)
    total = 0.0
    for tap in range(axis.taps):
        # Output o reads input o * stride + shift: how many o there are for which both exist.
        shift = tap * axis.dilation - pad
        outputs, inputs = (source, result) if axis.backward else (result, source)
        first = max(0, -(shift // axis.stride))
        reached = min(outputs, (inputs - 1 - shift) // axis.stride + 1) - first
        if reached > 0:
            total += min(reached + pixels / 2, whole)
    return total
