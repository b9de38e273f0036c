"""The compute phase of direct kernels: stage, gather with register tiles, store. `direct` tells the whole story."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from striate.compiler.algorithm import POINTERS
from striate.compiler.algorithms import panels
from striate.compiler.algorithms.activation import activated
from striate.compiler.algorithms.axes import Taps, axes
from striate.compiler.algorithms.staging import bring_row
from striate.compiler.moves import transpose
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Condition, Index, Mask, Number, Pointer, Vector


CROWDED = 1024
"""Pixels that are a multiple of this many bytes long get a gap between them."""


SHORT = 256
"""Steps up to which a tile is computed faster than memory for its results is made ready."""


SPARE = 4
"""Registers that are left to LLVM on other machines than x86."""


WIDTHS = (14, 10, 8, 7, 3, 1)
"""Pixels of tiles, below what registers allow: with what they leave of each other, few waste much of any row."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Accumulators of the inner loop: ``pixels`` results of a row by ``vectors`` vectors of channels."""

    pixels: int
    vectors: int


@cache
def tiles(spec: Spec, target: Target) -> tuple[Tile, ...]:
    """The forms of tile a kernel has code for, the widest first; the last is one pixel.

    Registers are for the accumulators, the weight vectors of one step, and one broadcast source. As many vectors as
    leave the fewest lanes of the last block empty, fewer before more: wide tiles read fewer weights.
    """
    _, results = panels.channels(spec)
    needed = -(-results // target.lanes(spec.dtype))
    choices = [v for v in (2, 3, 5) if v * v + v < target.vector_registers] if needed > 1 else [1]
    vectors = min(choices, key=lambda v: -(-needed // v) * v)
    # Where a broadcast is no load of its own, LLVM's allocator wants a few more registers to move things about.
    spare = 1 if target.triple.startswith("x86_64") else SPARE
    most = (target.vector_registers - vectors - spare) // vectors
    return tuple(Tile(pixels, vectors) for pixels in (most, *(pixels for pixels in WIDTHS if pixels < most)))


def pitch(spec: Spec) -> int:
    """Elements from one pixel to the next: its channels, and a gap where pixels would meet in a few sets of a cache.

    A first-level cache keeps lines that are a multiple of 4 KB apart in the same set, which holds eight or twelve:
    fewer than a tile has pixels. Where there are gaps, sources are always staged.
    """
    size = BYTES[spec.dtype]
    channels = panels.channels(spec)[0] * spec.groups
    return channels + 64 // size if channels * size % CROWDED == 0 else channels


def width(spec: Spec, target: Target) -> int:
    """Result channels of one block."""
    return tiles(spec, target)[0].vectors * target.lanes(spec.dtype)


@dataclass(frozen=True, slots=True)
class _Task:
    """What one task works on."""

    part: Index
    first_sample: Index
    samples: Index
    place: Index
    """The position along depth."""
    depth: Taps
    front: Index
    """The depth that the first tap reads."""
    row_class: Number
    height: Taps
    first_row: Index
    rows: Index
    """Rows within their class."""
    top: Index
    """The row that the first tap of the first row reads."""
    first_column: Index
    left: Index
    """The leftmost column that any class of columns reads."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a task's sources are: of the first tap and row at the leftmost column, and how far to others."""

    base: Pointer
    sample: Index
    depth_tap: Index
    row: Index
    row_tap: Index


class Gather:
    """Writes the compute phase of one kernel."""

    def __init__(self, k: Kernel, spec: Spec, target: Target) -> None:
        self.k, self.spec, self.n = k, spec, k.numbers
        self.depth, self.height, self.wide = axes(spec)
        self.sources, self.results = panels.channels(spec)
        self.source_channels, self.result_channels = self.sources * spec.groups, self.results * spec.groups
        self.tiles = tiles(spec, target)
        self.width = width(spec, target)
        self.blocks = -(-self.results // self.width)
        self.taps = math.prod(spec.kernel_size)
        self.last = spec.layout == "channels_last"
        # Taps along a row and channels are one loop where neighbouring taps read neighbouring pixels.
        self.pitch = pitch(spec)
        self.merged = self.wide.tap_step == 1 and self.pitch == self.sources
        self.source, _, _, self.result, _ = (k.pointers[name] for name in POINTERS[spec.pass_])
        self.scratch = k.pointers["workspace"] + self.n["scratch_offset"] + k.thread * self.n["scratch_size"]

    def write(self) -> None:
        """The loop over tasks."""
        k = self.k
        with k.tasks() as number:
            task = self._task(number)
            self._channel_blocks(task, self._bring(task))

    def _task(self, number: Index) -> _Task:
        k, n = self.k, self.n
        chunk, rest = number % n["chunks"], number // n["chunks"]
        block, rest = rest % n["row_blocks"], rest // n["row_blocks"]
        row_class: Number = 0
        if self.height.classes > 1:
            row_class, rest = rest % self.height.classes, rest // self.height.classes
        place, rest = rest % n["result_d"], rest // n["result_d"]
        sample_block, part = rest % n["sample_blocks"], rest // n["sample_blocks"]
        first_sample = sample_block * n["samples"]
        depth = self.depth.of_class(k, place % self.depth.classes if self.depth.classes > 1 else 0, n["pad_d"])
        height = self.height.of_class(k, row_class, n["pad_h"])
        first_row, first_column = block * n["rows"], chunk * n["columns"]
        of_class = (n["result_h"] - row_class + (self.height.classes - 1)) // self.height.classes
        return _Task(
            part,
            first_sample,
            k.minimum(n["samples"], n["batch"] - first_sample),
            place,
            depth,
            place // self.depth.classes * self.depth.source_step + depth.origin,
            row_class,
            height,
            first_row,
            k.minimum(n["rows"], of_class - first_row),
            first_row * self.height.source_step + height.origin,
            first_column,
            first_column * self.wide.source_step + n["left"],
        )

    # Sources

    def _bring(self, task: _Task) -> _Source:
        """Find the task's sources in place, or stage them."""
        k, n = self.k, self.n
        row = n["source_w"] * self.source_channels
        plane = n["source_h"] * row
        whole = n["source_d"] * plane
        staged_row = n["reach"] * self.pitch
        staged_tap = n["sets"] * n["set_rows"] * staged_row
        staged = (
            staged_tap * self.depth.most_taps,
            staged_tap,
            staged_row * (k.index(self.height.source_step) // n["set_step"]),
            staged_row * n["tap_slots"],
        )
        if not self.last or self.pitch != self.source_channels:
            self._stage(task)
            return _Source(self.scratch, *staged)
        inside = (
            self.source
            + task.first_sample * whole
            + task.front * plane
            + task.top * row
            + task.left * self.source_channels
        )
        steps = (whole, plane * self.depth.tap_step, row * self.height.source_step, row * self.height.tap_step)
        reachable = self._all_inside(task)
        with k.unless(reachable):
            self._stage(task)
        base = k.either(reachable, inside, self.scratch)
        return _Source(base, *(k.select(reachable, a, b) for a, b in zip(steps, staged, strict=True)))

    def _all_inside(self, task: _Task) -> Condition:
        """Whether no tile of the task reads a column outside the image; of rows outside, tiles leave the taps out."""
        n = self.n
        reach = (self._columns(task, 0) - 1) * self.wide.source_step + n["span"]
        return (task.left >= 0) & (task.left + reach <= n["source_w"])

    def _columns(self, task: _Task, number: Number) -> Index:
        """Columns of the task that belong to a class; not positive if there is none."""
        k, n = self.k, self.n
        of_class = (n["result_w"] - number + (self.wide.classes - 1)) // self.wide.classes
        return k.minimum(n["columns"], of_class - task.first_column)

    def _stage(self, task: _Task) -> None:
        """Bring the rows that the task reads to scratch: ``[sample][depth tap][set][row][pixel][channel]``.

        Either one set with the range of all rows, or for widely spaced taps a set of rows for each.
        """
        k, n = self.k, self.n
        area = n["source_h"] * n["source_w"]
        volume = n["source_d"] * area
        reach = (self._columns(task, 0) - 1) * self.wide.source_step + n["span"]
        d0, d1 = task.depth.inside(k, task.front, task.front, self.depth.tap_step, n["source_d"])
        taps = k.index(task.height.count)
        rows = (task.rows - 1) * (k.index(self.height.source_step) // n["set_step"]) + 1
        in_range = rows + (taps - 1) * self.height.tap_step
        rows = k.select(n["sets"].equals(1), k.select(taps >= 1, in_range, 0), rows)
        slot = n["reach"] * self.pitch
        with (
            k.loop(task.samples) as sample,
            k.loop(d1, d0) as kd,
            k.loop(k.minimum(n["sets"], taps)) as group,
            k.loop(rows) as row,
        ):
            depth = task.front + kd * self.depth.tap_step
            height = task.top + group * self.height.tap_step + row * n["set_step"]
            place = ((sample * self.depth.most_taps + kd) * n["sets"] + group) * n["set_rows"] + row
            channels = self.source_channels if self.last else 1
            source = self.source + (task.first_sample + sample) * (volume * self.source_channels)
            source = source + ((depth * n["source_h"] + height) * n["source_w"]) * channels
            # A row outside the image is one whose pixels are all outside.
            size = k.select((height >= 0) & (height < n["source_h"]), n["source_w"], 0)
            bring_row(
                k, self.spec.layout, source, self.source_channels, self.pitch, volume, size, task.left, reach,
                self.scratch + place * slot,
            )  # fmt: skip

    # Results

    def _channel_blocks(self, task: _Task, source: _Source) -> None:
        """All blocks of result channels of the task's part."""
        k, n, spec = self.k, self.n, self.spec
        count = spec.groups * self.blocks
        begin, end = task.part * count // n["parts"], (task.part + 1) * count // n["parts"]
        size = n["result_d"] * n["result_h"] * n["result_w"] * self.result_channels
        waiting = self.scratch + n["out_offset"]
        with k.loop(end, begin) as number, k.loop(task.samples) as sample:
            group, block = (number // self.blocks, number % self.blocks) if spec.groups > 1 else (k.index(0), number)
            first = group * self.results + block * self.width
            left = self.results - block * self.width
            positions = k.minimum(
                n["columns"] * self.wide.classes, n["result_w"] - task.first_column * self.wide.classes
            )
            place = task.place * n["result_h"] + (task.first_row * self.height.classes + task.row_class)
            place = place * n["result_w"] + task.first_column * self.wide.classes
            result = self.result + (task.first_sample + sample) * size
            panel = k.pointers["workspace"] + number * (self.taps * self.sources * self.width)
            if self.last:
                to = result + place * self.result_channels + first
                pixel = self.result_channels
                row: Number = n["result_w"] * (self.height.classes * self.result_channels)
            else:
                to, pixel, row = waiting, self.width, positions * self.width
            masks = [
                None if not self.last or self.results % self.width == 0 else k.mask(left - v * k.lanes)
                for v in range(self.tiles[0].vectors)
            ]
            sources = source.base + sample * source.sample + group * self.sources
            self.block = first, left
            begun = [self._begun(v) for v in range(self.tiles[0].vectors)]
            # Only the first block of channels meets sources that no cache has.
            ahead = k.select(number.equals(begin), self.sources, 0)
            with k.loop(self.wide.classes) as column_class:
                self._class(task, source, sources, panel, begun, masks, column_class, to + column_class * pixel,
                            pixel * self.wide.classes, row, ahead)  # fmt: skip
            if not self.last:
                plane = n["result_d"] * n["result_h"] * n["result_w"]
                rows: Number = task.rows
                if self.height.classes == 1:
                    # Whole rows follow one another without gaps: they are one long row.
                    joined = n["chunks"].equals(1)
                    positions = k.select(joined, positions * task.rows, positions)
                    rows = k.select(joined, k.minimum(task.rows, 1), task.rows)
                with k.loop(rows) as r:
                    done = result + first * plane + place + r * (n["result_w"] * self.height.classes)
                    transpose(k, waiting + r * row, self.width, done, plane, positions, k.minimum(left, self.width))

    def _begun(self, v: int) -> Vector:
        k = self.k
        return self._bias(v) if self.spec.bias and not self.spec.scale else k.constant(0.0, k.lanes)

    def _bias(self, v: int, skip: int = 0) -> Vector:
        """The biases of a vector of the block's results, or what lies ``skip`` further."""
        k = self.k
        first, left = self.block
        mask = None if self.results % self.width == 0 else k.mask(left - v * k.lanes)
        return (k.pointers["bias"] + first + (skip + v * k.lanes)).load(k.lanes, mask)

    def _class(
        self,
        task: _Task,
        source: _Source,
        sources: Pointer,
        panel: Pointer,
        begun: list[Vector],
        masks: list[Mask | None],
        number: Index,
        to: Pointer,
        pixel: int,
        row: Number,
        ahead: Index,
    ) -> None:
        """One class of columns: each form of tile in turn takes what the wider ones before have left of the rows.

        The first form to take part is ``form``. From ``rest`` on, the first that is not too wide takes all that is
        left, its last tile moved back.
        """
        k, n = self.k, self.n
        taps = self.wide.of_class(k, number, n["pad_w"])
        columns = self._columns(task, number)
        from_left = k.index(taps.origin) - n["left"]
        done = k.variable(k.index(0))
        for place, tile in enumerate(self.tiles):
            begin = done.get()
            whole = begin + (columns - begin) // tile.pixels * tile.pixels
            end = k.select(n["rest"] <= place, columns, whole)
            with k.when((columns >= tile.pixels) & (begin < end) & (n["form"] <= place)):
                done.set(end)
                with k.loop(task.rows) as r, k.loop(end, begin, step=tile.pixels) as j:
                    c = k.minimum(j, columns - tile.pixels)
                    top = task.top + r * self.height.source_step
                    left = (task.first_column + c) * self.wide.source_step + taps.origin
                    at = c * self.wide.source_step + from_left
                    pixels = sources + r * source.row + at * self.pitch
                    done_at = to + r * row + c * pixel
                    self._ahead(tile, pixels, ahead)
                    self._claim(tile, done_at, pixel)
                    sums = self._sums(tile, task, source, taps, pixels, top, left, panel, begun)
                    self._store(sums, done_at, pixel, masks)

    def _ahead(self, tile: Tile, pixels: Pointer, count: Index) -> None:
        """Ask memory for the first ``count`` channels of the next tile's sources, where they are read but once.

        With more taps most were read before, and what is staged is in the second-level cache.
        """
        if self.taps > 1 or not self.last or self.spec.groups > 1 or self.pitch != self.source_channels:
            return
        k, line = self.k, 64 // self.k.element_bytes
        step = self.pitch * self.wide.source_step
        with k.loop(count, step=line) as c:
            for p in range(tile.pixels):
                (pixels + (tile.pixels + p) * step + c).prefetch(level=2)

    def _claim(self, tile: Tile, to: Pointer, pixel: int) -> None:
        """Ask for the memory of a tile's results before they are computed, where that does not take long anyway."""
        if self.last and self.taps * self.sources <= SHORT:
            for p in range(tile.pixels):
                for v in range(tile.vectors):
                    (to + p * pixel + v * self.k.lanes).prefetch(write=True)

    def _sums(
        self,
        tile: Tile,
        task: _Task,
        source: _Source,
        wide: Taps,
        pixels: Pointer,
        top: Index,
        left: Index,
        panel: Pointer,
        begun: list[Vector],
    ) -> list[list[Vector]]:
        """The accumulators of one tile, ``[pixel][vector]``."""
        k, n = self.k, self.n
        step = self.pitch * self.wide.source_step
        d0, d1 = task.depth.inside(k, task.front, task.front, self.depth.tap_step, n["source_d"])
        h0, h1 = task.height.inside(k, top, top, self.height.tap_step, n["source_h"])
        right = left + (tile.pixels - 1) * self.wide.source_step
        w0, w1 = wide.inside(k, left, right, self.wide.tap_step, n["source_w"])
        sums = [[k.variable(value) for value in begun] for _ in range(tile.pixels)]

        def products(inputs: Pointer, weights: Pointer, count: Number) -> None:
            with k.walk(count, (inputs, 1), (weights, self.width)) as (source, row):
                lanes = [(row + v * k.lanes).load(k.lanes) for v in range(tile.vectors)]
                for p in range(tile.pixels):
                    value = (source + p * step).load().broadcast(k.lanes)
                    for v in range(tile.vectors):
                        sums[p][v].set(k.fma(value, lanes[v], sums[p][v].get()))

        with k.loop(d1, d0) as kd, k.loop(h1, h0) as kh:
            inputs = pixels + kd * source.depth_tap + kh * source.row_tap
            packed = (task.depth.first + kd) * self.height.taps + (task.height.first + kh)
            weights = panel + (packed * self.wide.taps + wide.first) * (self.sources * self.width)
            if self.merged:
                start = k.index(w0) * self.sources
                products(inputs + start, weights + start * self.width, (w1 - w0) * self.sources)
            else:
                with k.loop(w1, w0) as kw:
                    tap = inputs + kw * (self.wide.tap_step * self.pitch)
                    products(tap, weights + kw * (self.sources * self.width), self.sources)
        return [[value.get() for value in vectors] for vectors in sums]

    def _store(self, sums: list[list[Vector]], to: Pointer, pixel: int, masks: list[Mask | None]) -> None:
        k = self.k
        # Loaded for every tile: the registers are full of sums until then.
        finish = []
        if self.spec.scale:
            finish = [(self._bias(v, self.result_channels), self._bias(v)) for v in range(len(sums[0]))]
        for p, vectors in enumerate(sums):
            for v, value in enumerate(vectors):
                if finish:
                    value = k.fma(value, *finish[v])
                (to + p * pixel + v * k.lanes).store(activated(k, self.spec, value), masks[v])
