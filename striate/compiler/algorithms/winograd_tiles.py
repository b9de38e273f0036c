"""Cutting arrays into tiles and transforming them, for every pass of Winograd's convolution.

Tiles of all samples are numbered in one row, and a step works on any run of them. Where a row of tiles crosses the
border of the image, where only some channels are wanted or do not fill vectors, or where the layout is contiguous, its
pixels pass through scratch memory, channels last, with zeros around; the transforms themselves know no edges and no
masks. A row in scratch memory is dense, whatever the dilation (`winograd_axis`).
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.winograd_transform import transform
from striate.compiler.moves import copy, transpose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from striate.compiler.algorithms.winograd_axis import Axis
    from striate.compiler.algorithms.winograd_transform import Matrix
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Layout
    from striate.compiler.values import Index, Number, Pointer, Vector


@dataclass(frozen=True, slots=True)
class Planes:
    """One matrix for each plane of the transformed domain, at equal distances."""

    first: Pointer
    distance: Number

    def plane(self, number: Number) -> Pointer:
        """The beginning of a matrix."""
        return self.first + number * self.distance


@dataclass(frozen=True, slots=True)
class Row:
    """Neighbouring tiles of one row of a sample, in a task."""

    sample: Index
    depth: Index
    height: Index
    first: Index
    """Its first tile, counted in the row."""
    count: Index
    slot: Index
    """Its first tile, counted in the task."""


@contextmanager
def tile_rows(k: Kernel, first: Index, last: Index) -> Iterator[Row]:
    """Repeat the body for the rows that tiles ``first`` up to ``last`` of all samples lie in."""
    n = k.numbers
    with k.loop((last + n["tw"] - 1) // n["tw"], first // n["tw"]) as row:
        start = k.maximum(first - row * n["tw"], 0)
        stop = k.minimum(last - row * n["tw"], n["tw"])
        rest = row // n["th"]
        yield Row(
            rest // n["td"], rest % n["td"], row % n["th"], start, stop - start, row * n["tw"] + start - first
        )  # fmt: skip


@contextmanager
def triples(k: Kernel, parts: tuple[int, int, int]) -> Iterator[tuple[Number, tuple[Number, Number, Number]]]:
    """Repeat the body for each triple, of so many along each axis: its number, and its place along each axis."""
    _, height, width = parts
    if math.prod(parts) == 1:
        yield 0, (0, 0, 0)
        return
    with k.loop(math.prod(parts)) as triple:
        rest = triple // width
        yield triple, (rest // height, rest % height, triple % width)


@dataclass(frozen=True, slots=True)
class Source:
    """An array of pixels, the channels of it that are wanted, and what becomes of a tile."""

    first: Pointer
    layout: Layout
    sizes: tuple[Index, Index, Index]
    pads: tuple[Number, Number, Number]
    """Where the first tile begins before the first pixel, along each axis."""
    channels: int
    channel: Number
    """The first channel that is wanted, a whole number of vectors from the first one."""
    count: Number
    """How many are wanted."""
    pitch: int
    """Values between neighbouring pixels in scratch memory: whole vectors."""
    axes: tuple[Axis, Axis, Axis]
    spans: tuple[int, int, int]
    """Pixels, ``dilation`` apart, that a tile reads for all triples."""
    parts: tuple[int, int, int]
    """Triples along each axis."""
    matrices: tuple[Matrix, Matrix, Matrix]


def transform_tiles(
    k: Kernel,
    source: Source,
    first: Index,
    last: Index,
    to: Planes,
    to_row: int,
    scratch: Pointer,
    values: Pointer,
    total: Pointer | None = None,
) -> None:
    """Transform tiles ``first`` up to ``last``: to rows of ``to_row`` values in each plane of ``to``.

    Along such a row a vector of channels of one triple is followed by that of the next, and then by more channels.
    All pixels of the tiles are added to ``total``, a value for each channel.
    """
    depth, height, width = source.axes
    (_, high, across), (size_d, size_h, size_w), pitch = source.spans, source.sizes, source.pitch
    pd, ph, pw = source.pads
    with tile_rows(k, first, last) as row:
        left, covered = width.covered(row.first, row.count)
        z, y, x = depth.corner(row.depth) - pd, height.corner(row.height) - ph, left - pw
        reach = covered + (across - width.outputs) * width.dilation
        base = k.variable(scratch)
        line, slab = k.variable(reach * pitch), k.variable(reach * (high * pitch))
        if source.layout == "channels_last" and source.channels == pitch:
            inside = (z >= 0) & (z + ((source.spans[0] - 1) * depth.dilation + 1) <= size_d) & (y >= 0)
            inside = inside & (y + ((high - 1) * height.dilation + 1) <= size_h)
            inside = inside & (x >= 0) & (x + reach <= size_w)
            with k.when(inside):
                pixel = ((row.sample * size_d + z) * size_h + y) * size_w + x
                base.set(source.first + pixel * pitch)
                line.set(size_w * (height.dilation * pitch))
                slab.set(size_h * size_w * (depth.dilation * pitch))
            with k.unless(inside):
                _stage(k, source, row.sample, (z, y, x), reach, scratch)
        else:
            _stage(k, source, row.sample, (z, y, x), reach, scratch)
        slabs, lines, pixels = slab.get(), line.get(), width.dilation * pitch
        with k.loop(row.count) as tile:
            corner = base.get() + (width.corner(row.first + tile) - left) * pitch
            with k.loop(source.count, step=k.lanes) as channel, triples(k, source.parts) as (triple, place):
                shift = slabs * (3 * place[0]) + lines * (3 * place[1]) + k.index(place[2]) * (3 * pixels)
                there = to.first + (row.slot + tile) * to_row + channel * math.prod(source.parts)
                there = there + k.minimum(k.index(source.count) - channel, k.lanes) * triple
                seen = None if total is None else k.variable((total + channel).load(k.lanes))

                def read(d: Number, h: int, w: int, at: Pointer = corner + channel + shift) -> Vector:
                    value = (at + d * slabs + h * lines + w * pixels).load(k.lanes)
                    if seen is not None:
                        seen.set(seen.get() + value)
                    return value

                def write(d: int, h: Number, w: Number, value: Vector, at: Pointer = there) -> None:
                    (at + ((d * height.inputs + h) * width.inputs + w) * to.distance).store(value)

                transform(k, source.matrices, read, write, values)
                if total is not None and seen is not None:
                    (total + channel).store(seen.get())


def _stage(
    k: Kernel, source: Source, sample: Index, corner: tuple[Index, Index, Index], reach: Index, scratch: Pointer
) -> None:
    """Bring the pixels of a row of tiles to ``scratch``, channels last, with zeros where there is no image."""
    (depth, height, _), (size_d, size_h, size_w) = source.axes, source.sizes
    (z0, y0, x0), pitch, channels = corner, source.pitch, source.channels
    with k.loop(source.spans[0]) as d, k.loop(source.spans[1]) as h:
        z, y = z0 + d * depth.dilation, y0 + h * height.dilation
        to = scratch + (d * source.spans[1] + h) * (reach * pitch)
        low, high = k.variable(reach), k.variable(reach)
        with k.when((z >= 0) & (z < size_d) & (y >= 0) & (y < size_h)):
            low.set(k.minimum(k.maximum(0 - x0, 0), reach))
            high.set(k.maximum(k.minimum(size_w - x0, reach), low.get()))
        start, count = low.get(), high.get() - low.get()
        _clear(k, to, start * pitch)
        _clear(k, to + high.get() * pitch, (reach - high.get()) * pitch)
        if source.layout == "contiguous":
            pixels = size_d * size_h * size_w
            came = source.first + (sample * channels + source.channel) * pixels + (z * size_h + y) * size_w + x0 + start
            transpose(k, came, pixels, to + start * pitch, pitch, source.count, count)
        else:
            pixel = ((sample * size_d + z) * size_h + y) * size_w + x0 + start
            _copy_pixels(k, source, source.first + pixel * channels + source.channel, to + start * pitch, count)


def _copy_pixels(k: Kernel, source: Source, came: Pointer, to: Pointer, count: Index) -> None:
    """Copy the wanted channels of neighbouring pixels."""
    channels, pitch = source.channels, source.pitch
    if pitch == channels:
        with k.loop(count * pitch, step=k.lanes) as place:
            (to + place).store((came + place).load(k.lanes))
    elif channels % k.lanes:
        with k.loop(count) as x:
            copy(k, came + x * channels, to + x * pitch, source.count)
    else:
        with k.loop(count) as x, k.loop(source.count, step=k.lanes) as channel:
            (to + x * pitch + channel).store((came + x * channels + channel).load(k.lanes))


def _clear(k: Kernel, to: Pointer, count: Index) -> None:
    """Set whole vectors to zero."""
    with k.loop(count, step=k.lanes) as place:
        (to + place).store(k.constant(0.0, k.lanes))
