"""How the weight gradient of one problem is cut into tasks and blocks, and about how long it takes.

Three things should stay in the second-level cache together: the sums of a task, and the staged input and grad_output of
a block. A task gets as many channels as its share of the cache allows, a block as many pixels as then fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.axes import flat, three
from striate.compiler.algorithms.weight_staging import gathers
from striate.compiler.algorithms.weight_tiles import (
    BLOCK_H,
    BLOCK_W,
    WeightTile,
    pixel_cycles,
    plane_pitch,
    row_pitch,
    tile_of,
)
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target

TASKS = 16
"""Enough tasks for even shares; where a gradient has fewer, its pixels are split."""
SPLIT_CYCLES = 60_000
"""Work that is worth a split: sums of its own have to be added up."""
SPLIT_BYTES = 1 << 20
"""Sums of all splits together may take this much, or a share of input and grad_output."""
BEYOND_L2 = 8.0
"""Bytes a cycle of input and grad_output."""
MOST_PIXELS = 400
LEAST_PIXELS = 64


@dataclass(frozen=True, slots=True)
class Blocks:
    """The sizes of one problem as the kernel sees them, and how it is cut. Memory is counted in elements."""

    batch: int
    input_size: tuple[int, int, int]
    output_size: tuple[int, int, int]
    pads: tuple[int, int, int]
    counts: tuple[int, int, int, int]
    """Blocks along samples, depth, height and width."""
    in_blocks: int
    out_blocks: int
    splits: int
    tasks: int
    """Tasks of one split."""
    most_columns: int
    sums: int
    input: int
    grad_output: int
    cycles: float


def blocks_of(problem: ConvProblem, target: Target) -> Blocks:
    """Cut a problem. The result does not depend on the number of threads, so that sums do not either."""
    spec = problem.spec
    tile = tile_of(spec, target)
    whole = flat(problem)
    batch, sizes, outs = whole.batch, three(whole.input_size), three(whole.output_size)
    pads = three(tuple(first for first, _ in whole.pads), 0)
    wide, item = tile.vectors * target.lanes(spec.dtype), BYTES[spec.dtype]
    panels, columns = tile.panels(spec), tile.columns(spec, target)
    tile_sums = math.prod(tile.positions) * tile.rows * wide

    # Channels of a task: tiles as near to a square as fits, because each side is staged once for every block of the
    # other. Neither may be so wide that only a few pixels fit beside it.
    most = max(1, target.l2_bytes // 4 // (tile_sums * item))
    widest = target.l2_bytes // 8 // (item * LEAST_PIXELS)
    most_columns = min(columns, max(1, widest // wide), max(most // panels, _root(most * tile.channels, wide)))
    most_panels = min(panels, max(1, widest // tile.channels), max(1, most // most_columns))
    in_blocks, out_blocks = -(-panels // most_panels), -(-columns // most_columns)
    most_panels, most_columns = -(-panels // in_blocks), -(-columns // out_blocks)
    tasks = spec.groups * in_blocks * out_blocks
    sums = most_columns * wide * (most_panels * math.prod(tile.positions) * tile.rows + 1)

    def memory(counts: tuple[int, int, int, int]) -> tuple[int, int, int]:
        samples, *lengths = (-(-size // count) for size, count in zip((batch, *outs), counts, strict=True))
        read = _staged(spec, tile, tuple(lengths), sizes, target.lanes(spec.dtype))
        pixels = samples * math.prod(lengths)
        return most_panels * (samples * read + target.lanes(spec.dtype)), pixels * most_columns * wide, pixels

    counts = _cut(tile, (batch, *outs), memory, target.l2_bytes // 2 // item)
    input_elements, grad_elements, _ = memory(counts)
    work = _cycles(spec, tile, target, problem, in_blocks, out_blocks)
    held = tasks * sums * item
    moved = (math.prod(sizes) * spec.in_channels + math.prod(outs) * spec.out_channels) * batch * item
    room = max(SPLIT_BYTES, moved // 4)
    splits = min(-(-TASKS // tasks), math.prod(counts), int(work // tasks // SPLIT_CYCLES), room // held)
    splits = max(1, splits)
    # With several taps there is enough to compute for each number to hide how long it takes to come.
    far = moved / BEYOND_L2 if set(spec.kernel_size) == {1} and moved > target.l2_bytes else 0.0
    turning = tasks * sums * (1.2 + 0.4 * splits) * (16 / target.lanes(spec.dtype)) + 2000 * tasks * splits
    return Blocks(
        batch, sizes, outs, pads, counts, in_blocks, out_blocks, splits, tasks, most_columns,
        sums, input_elements + tile.rows, grad_elements, work + turning + far,
    )  # fmt: skip


def _root(product: int, wide: int) -> int:
    """Columns of a task whose weights are about as many inputs as outputs."""
    return max(1, round(math.sqrt(product / wide)))


def _staged(spec: Spec, tile: WeightTile, lengths: tuple[int, ...], sizes: tuple[int, int, int], lanes: int) -> int:
    """Elements of input staged for one sample of a block of ``lengths`` outputs."""
    shape = []
    for axis, length in enumerate(lengths):
        taps, stride, dilation = (three(v)[axis] for v in (spec.kernel_size, spec.stride, spec.dilation))
        reach = (length - 1) * stride + (taps - 1) * dilation + 1
        if gathers(spec, tile, axis):
            shape.append(length)
        else:
            shape.append(reach if tile.merged else min(reach, sizes[axis]))
    depth, height, width = shape
    if tile.spans_lines:
        width = row_pitch(spec)
    if tile.depths > 1:
        height = plane_pitch(spec)
    return depth * height * width * tile.channels


def _cut(
    tile: WeightTile, whole: tuple[int, int, int, int], memory: Callable[..., tuple[int, int, int]], room: int
) -> tuple[int, int, int, int]:
    """Blocks along each axis, such that one fits into ``room``; samples are parted first, then depth, height, width."""
    counts = [1, 1, 1, 1]
    if tile.spans_lines:
        counts[3] = -(-whole[3] // BLOCK_W)
    if tile.depths > 1:
        counts[2] = -(-whole[2] // BLOCK_H)
    for axis in range(4):
        while counts[axis] < whole[axis]:
            source, gradient, pixels = memory((counts[0], counts[1], counts[2], counts[3]))
            excess = max((source + gradient) / room, pixels / MOST_PIXELS)
            if excess <= 1 or pixels <= LEAST_PIXELS:
                break
            length = -(-whole[axis] // counts[axis])
            counts[axis] = min(whole[axis], max(counts[axis] + 1, -(-whole[axis] // max(1, int(length / excess)))))
    return counts[0], counts[1], counts[2], counts[3]


def _cycles(
    spec: Spec, tile: WeightTile, target: Target, problem: ConvProblem, in_blocks: int, out_blocks: int
) -> float:
    """Cycles of the products and of staging, all tasks together."""
    pixels = problem.batch * math.prod(problem.output_size)
    inside = 1.0
    if not tile.merged:
        for axis, (size, out, (before, _)) in enumerate(
            zip(problem.input_size, problem.output_size, problem.pads, strict=True)
        ):
            inside *= _inside(spec.kernel_size[axis], spec.stride[axis], spec.dilation[axis], before, size, out)
    return pixels * spec.groups * pixel_cycles(tile, spec, target) * inside


def _inside(taps: int, stride: int, dilation: int, before: int, size: int, out: int) -> float:
    """The share of the taps along one axis that read inside the input."""
    total = 0
    for tap in range(taps):
        start = before - tap * dilation
        total += max(0, min(out, -(-(start + size) // stride)) - max(0, -(-start // stride)))
    return total / (taps * out)
