"""Bringing a block of input and grad_output into scratch, in the order in which weight-gradient tiles read them.

A block is a range of samples and of output positions along each axis, with the input positions that its taps read.
Staging is the only place that knows the layout of the arrays, the borders and uneven channels. In scratch::

    grad_output  [tile column][sample][od][oh][ow][lane]                  lanes beyond the channels hold anything
    input        [panel][sample][id][ih][iw][channel of the panel]        then as many elements of slack as lanes

Every element is used for a whole column or row of tiles, so copying it costs little, and what the inner loop reads is
dense whatever the strides of the arrays: rows a power of two apart would evict each other from the cache.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.axes import three
from striate.compiler.algorithms.weight_tiles import WeightTile, plane_pitch, row_pitch
from striate.compiler.moves import copy, fill, transpose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.values import Condition, Index, Number, Pointer

AXES = "dhw"
AHEAD = 16
"""How many pixels ahead of the one being copied memory is asked for."""


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a block: which outputs, which staged inputs, and how a tap reads them.

    Output ``first + q`` reads staged input ``q * step + shift + tap * dilation``; staged input ``p`` is input
    ``origin + p * every``.
    """

    kernel: Kernel
    taps: int
    stride: int
    dilation: int
    pad: Index
    size: Index
    first: Index
    count: Index
    step: int
    shift: Number
    every: int
    origin: Index
    staged: tuple[Number, Index]
    """The staged inputs that are filled, from and below."""
    length: Index
    """Staged inputs that there is room for."""

    def valid(self, tap: Number) -> tuple[Index, Index]:
        """The outputs ``q`` for which ``tap`` reads inside the input."""
        k = self.kernel
        start = self.pad - self.first * self.stride - k.index(tap) * self.dilation
        low = k.maximum(0, (start + (self.stride - 1)) // self.stride)
        return low, k.minimum(self.count, (start + self.size + (self.stride - 1)) // self.stride)


def gathers(spec: Spec, tile: WeightTile, axis: int) -> bool:
    """Whether only those inputs are staged that a kernel of one tap reads along ``axis`` (of three)."""
    if tile.merged or (axis == 2 and spec.layout == "contiguous"):
        return False
    return three(spec.kernel_size)[axis] == 1 and three(spec.stride)[axis] > 1


def span(k: Kernel, spec: Spec, tile: WeightTile, axis: int, first: Index, count: Index) -> Span:
    """The span of ``count`` outputs from ``first`` on. Where taps are apart, padding is not staged."""
    letter, n = AXES[axis], k.numbers
    taps, stride, dilation = (three(v)[axis] for v in (spec.kernel_size, spec.stride, spec.dilation))
    pad, size = n["p" + letter], n["i" + letter]
    begin = first * stride - pad
    reach = (count - 1) * stride + ((taps - 1) * dilation + 1)
    if gathers(spec, tile, axis):
        plain = Span(k, taps, stride, dilation, pad, size, first, count, 1, 0, stride, begin, (0, count), count)
        low, high = plain.valid(0)
        return Span(k, taps, stride, dilation, pad, size, first, count, 1, 0, stride, begin, (low, high), count)
    if tile.merged:
        return Span(k, taps, stride, dilation, pad, size, first, count, stride, 0, 1, begin, (0, reach), reach)
    origin = k.minimum(k.maximum(begin, 0), size)
    length = k.maximum(k.minimum(begin + reach, size) - origin, 0)
    shift = begin - origin
    return Span(k, taps, stride, dilation, pad, size, first, count, stride, shift, 1, origin, (0, length), length)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the problem, and the share of the channels that a task looks at."""

    first_sample: Index
    samples: Index
    depth: Span
    height: Span
    width: Span
    in_first: Index
    """The first input channel of all."""
    ins: Index
    panels: Index
    out_first: Index
    outs: Index
    columns: Index


@dataclass(frozen=True, slots=True)
class Staged:
    """Where a block lies in scratch: distances, in elements, of neighbours along each axis."""

    input: Pointer
    grad_output: Pointer
    panel: Index
    sample: Index
    plane: Number
    row: Number
    column: Index
    """One tile column of grad_output."""


def stage(k: Kernel, spec: Spec, tile: WeightTile, block: Block, scratch: Pointer) -> Staged:
    """Fill scratch with ``block``."""
    n = k.numbers
    lines = block.samples * block.depth.count * block.height.count
    column = lines * block.width.count * (tile.vectors * k.lanes)
    row: Number = row_pitch(spec) * tile.channels if tile.spans_lines else block.width.length * tile.channels
    plane: Number = row * plane_pitch(spec) if tile.depths > 1 else row * block.height.length
    sample = block.depth.length * plane
    panel = block.samples * sample + k.lanes
    staged = Staged(scratch + n["grad_output_size"], scratch, panel, sample, plane, row, column)
    _stage_grad_output(k, spec, tile, block, staged)
    _stage_input(k, spec, tile, block, staged)
    return staged


def _stage_grad_output(k: Kernel, spec: Spec, tile: WeightTile, block: Block, staged: Staged) -> None:
    n, channels, wide = k.numbers, spec.out_channels, tile.vectors * k.lanes
    to = k.variable(staged.grad_output)
    count = block.width.count
    with k.loop(block.samples) as s, k.loop(block.depth.count) as d, k.loop(block.height.count) as h:
        sample, depth, height = block.first_sample + s, block.depth.first + d, block.height.first + h
        if spec.layout == "channels_last":
            pixel = ((sample * n["od"] + depth) * n["oh"] + height) * n["ow"] + block.width.first
            row = k.pointers["grad_output"] + pixel * channels + block.out_first
            with k.loop(count) as w, k.loop(block.columns) as column:
                place = to.get() + column * staged.column + w * wide
                source = row + w * channels + column * wide
                ahead = AHEAD * channels if spec.groups > 1 else 0
                _copy_pixel(k, source, place, block.outs - column * wide, tile.vectors, ahead)
        else:
            area = n["od"] * n["oh"] * n["ow"]
            row = k.pointers["grad_output"] + (sample * channels + block.out_first) * area
            row = row + (depth * n["oh"] + height) * n["ow"] + block.width.first
            with k.loop(block.columns) as column:
                rows = k.minimum(block.outs - column * wide, wide)
                transpose(k, row + column * wide * area, area, to.get() + column * staged.column, wide, rows, count)
        to.set(to.get() + count * wide)


def _copy_pixel(k: Kernel, source: Pointer, to: Pointer, left: Number, vectors: int, ahead: int = 0) -> None:
    """Copy ``vectors`` vectors of channels, of which ``left`` are there; the others become zero.

    What lies ``ahead`` elements further is copied soon: where pixels are apart, the processor does not foresee that.
    """
    for v in range(vectors if ahead else 0):
        (source + ahead + v * k.lanes).prefetch()
    for v in range(vectors):
        (to + v * k.lanes).store((source + v * k.lanes).load(k.lanes, k.mask(left - v * k.lanes)))


def _stage_input(k: Kernel, spec: Spec, tile: WeightTile, block: Block, staged: Staged) -> None:
    n = k.numbers
    depth, height, width = block.depth, block.height, block.width
    area = n["id"] * n["ih"] * n["iw"]
    per_pixel = spec.in_channels if spec.layout == "channels_last" else 1
    per_channel: Number = 1 if spec.layout == "channels_last" else area
    source = k.pointers["input"] + block.first_sample * area * spec.in_channels + block.in_first * per_channel
    with k.loop(block.samples) as s, _staged(k, depth) as (d, id_), _staged(k, height) as (h, ih):
        to = staged.input + s * staged.sample + d * staged.plane + h * staged.row
        came = source + s * area * spec.in_channels + (id_ * n["ih"] + ih) * n["iw"] * per_pixel
        came = came + width.origin * per_pixel
        if tile.merged:
            # Padding is staged as zeros: what lies outside the input in depth or height is nothing but padding.
            inside = (id_ >= 0) & (id_ < depth.size) & (ih >= 0) & (ih < height.size)
            _merged(k, spec, tile, width, inside, came, to, area)
        else:
            _apart(k, spec, tile, block, staged, came, to, area)


def _merged(
    k: Kernel, spec: Spec, tile: WeightTile, width: Span, inside: Condition, came: Pointer, to: Pointer, area: Index
) -> None:
    """One line of input with all channels of the group, zeros around."""
    wide = tile.channels
    per_pixel = spec.in_channels if spec.layout == "channels_last" else 1
    low = k.minimum(k.maximum(0 - width.origin, 0), width.length)
    high = k.maximum(k.minimum(width.size - width.origin, width.length), low)
    high = k.choose(inside, high, low)
    fill(k, to, low * wide)
    start, place, count = came + low * per_pixel, to + low * wide, high - low
    if spec.layout == "contiguous" and wide > 1:
        transpose(k, start, area, place, wide, wide, count)
    elif spec.layout == "contiguous" or spec.groups == 1:
        copy(k, start, place, count * wide)
    else:
        with k.loop(count) as w:
            _copy_pixel(k, start + w * per_pixel, place + w * wide, wide, -(-wide // k.lanes))
    fill(k, to + high * wide, (width.length - high) * wide)


def _apart(
    k: Kernel, spec: Spec, tile: WeightTile, block: Block, staged: Staged, came: Pointer, to: Pointer, area: Index
) -> None:
    """One line of input, into a panel for every ``tile.channels`` channels."""
    wide, every = tile.channels, block.width.every
    begin, end = block.width.staged
    if spec.layout == "channels_last":
        with k.loop(end, begin) as w, k.loop(block.panels) as panel:
            # Vectors may reach beyond their pixel; the next pixel overwrites that, or it falls into the slack.
            source = came + w * (every * spec.in_channels) + panel * wide
            place = to + panel * staged.panel + w * wide
            ahead = AHEAD * every * spec.in_channels if spec.groups > 1 else 0
            _copy_pixel(k, source, place, block.ins - panel * wide, -(-wide // k.lanes), ahead)
        return
    with k.loop(block.panels) as panel:
        rows = k.minimum(block.ins - panel * wide, wide)
        count = k.maximum(end - k.index(begin), 0)
        transpose(k, came + panel * wide * area, area, to + panel * staged.panel, wide, rows, count)


@contextmanager
def _staged(k: Kernel, axis: Span) -> Iterator[tuple[Index, Index]]:
    """Every staged position along an axis, and the input it comes from."""
    begin, end = axis.staged
    with k.loop(end, begin) as place:
        yield place, axis.origin + place * axis.every
