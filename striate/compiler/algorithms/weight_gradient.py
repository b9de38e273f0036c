"""The gradient of the weight, direct: any rank, kernel, stride, dilation and groups, both layouts.

Formula, for one group, with ``i = o * stride + k * dilation - before``::

    grad_weight[oc, ic, k] = sum over n, o of grad_output[n, o, oc] * input[n, i, ic]
    grad_bias[oc]          = sum over n, o of grad_output[n, o, oc]

That is a product of two tall matrices, summed over their long axis, the pixels. A tile of ``rows`` (taps and input
channels, see `weight_tiles`) by ``vectors`` of output channels is kept in registers while the pixels go by.

Loops::

    for task in (group, block of input channels, block of output channels, split of the pixels):     over threads
        sums of the task = 0
        for block of pixels of the split:
            copy its input and grad_output into scratch, in the order they are read            (weight_staging)
            for panel of input channels, for column of output channels, for tap (or part, or lines):
                rows x vectors accumulators, loaded from the sums of the task
                for sample, od, oh, ow that the tap has inside the input:
                    ``vectors`` loads, ``rows`` broadcast inputs, one multiply-add for each pair
                stored back
        without splits: turn the sums into the order of the weight, and store them
    for (group, block, block), column:                                                           over threads
        with splits: the same, adding the splits in their order

Why. Both operands and the sums of a task fit into the second-level cache together, and a block has pixels enough that
loading and storing the sums hardly counts. Layers with large weights have tasks enough, and none of their sums is ever
added up twice; layers with few weights are split over pixels, into a number of splits that the problem alone decides,
so that the result does not depend on the number of threads. Taps that read padding are skipped where taps are apart,
which for a 7x7 image saves a fifth of the work, and for widely dilated kernels half.

A kernel of one tap and stride 1 pairs each input pixel with one output pixel, so either may play the part of the
other: where vectors of input channels waste fewer lanes, the kernel is that of the exchanged problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms.axes import three
from striate.compiler.algorithms.weight_blocks import blocks_of
from striate.compiler.algorithms.weight_staging import Block, Staged, span, stage
from striate.compiler.algorithms.weight_tiles import (
    WeightTile,
    exchange_channels,
    exchanged,
    plane_pitch,
    row_pitch,
    tile_of,
)
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import fill, turn
from striate.compiler.target import BYTES
from striate.compiler.values import Indices

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Number, Pointer, Vector

THREAD_CYCLES = 15_000
"""Work worth waking a thread for."""


class WeightGradient(Algorithm):
    """Register-tiled weight gradient."""

    name = "direct-weight"
    passes = ("grad_weight",)

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        return None

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        sizes = ("batch", "id", "ih", "iw", "od", "oh", "ow", "pd", "ph", "pw")
        blocks = ("blocks_n", "blocks_d", "blocks_h", "blocks_w", "in_blocks", "out_blocks", "splits", "most_columns")
        memory = ("sums_offset", "sums_size", "scratch_offset", "scratch_size", "grad_output_size")
        weight = ("weight_oc", "weight_ic", "weight_d", "weight_h", "weight_w", "run_taps", "run_channels")
        return Signature(POINTERS["grad_weight"], (*sizes, *blocks, *memory, *weight), ("compute", "reduce"))

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        if exchanged(problem.spec, target):
            problem, weight_strides = _exchange(problem), (weight_strides[1], weight_strides[0], *weight_strides[2:])
        spec, blocks = problem.spec, blocks_of(problem, target)
        threads = max(1, min(threads, blocks.tasks * blocks.splits, int(blocks.cycles // THREAD_CYCLES)))
        # Without splits a task stores its gradient itself, and the next one of its thread uses its memory.
        held = threads if blocks.splits == 1 else blocks.tasks * blocks.splits
        sums, scratch = _line(blocks.sums, spec), _line(blocks.input, spec) + _line(blocks.grad_output, spec)
        id_, ih, iw = blocks.input_size
        od, oh, ow = blocks.output_size
        pd, ph, pw = blocks.pads
        wd, wh, ww = three(weight_strides[2:], 0)
        run_taps, run_channels = _runs(spec, weight_strides)
        table = self.signature(spec).table(
            (blocks.tasks * blocks.splits, blocks.tasks * blocks.most_columns if blocks.splits > 1 else 0),
            batch=blocks.batch, id=id_, ih=ih, iw=iw, od=od, oh=oh, ow=ow, pd=pd, ph=ph, pw=pw,
            blocks_n=blocks.counts[0], blocks_d=blocks.counts[1], blocks_h=blocks.counts[2], blocks_w=blocks.counts[3],
            in_blocks=blocks.in_blocks, out_blocks=blocks.out_blocks, splits=blocks.splits,
            most_columns=blocks.most_columns, sums_offset=0, sums_size=sums, scratch_offset=held * sums,
            scratch_size=scratch, grad_output_size=_line(blocks.grad_output, spec),
            weight_oc=weight_strides[0], weight_ic=weight_strides[1], weight_d=wd, weight_h=wh, weight_w=ww,
            run_taps=run_taps, run_channels=run_channels,
        )  # fmt: skip
        return Launch(table, (held * sums + threads * scratch) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        return blocks_of(_exchange(problem) if exchanged(problem.spec, target) else problem, target).cycles

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        k = Kernel("direct_weight", target, self.signature(spec), spec.dtype)
        exchange = exchanged(spec, target)
        spec = exchange_channels(spec) if exchange else spec
        tile = tile_of(spec, target)
        with k.routine("store", 3) as (number, place, column):
            share = _share(k, spec, tile, number)
            with k.when(column < share.columns):
                if exchange:
                    side_by_side = k.numbers["weight_oc"].equals(1)
                    with k.when(side_by_side):
                        _store_rows(k, tile, share, place, column)
                    with k.unless(side_by_side):
                        _store(k, spec, tile, share, place, column)
                else:
                    _store(k, spec, tile, share, place, column)
        with k.phase("compute"), k.tasks() as task:
            if exchange:
                p = k.pointers
                p["input"], p["grad_output"] = p["grad_output"], p["input"]
            _compute(k, spec, tile, task)
        with k.phase("reduce"), k.tasks() as task:
            number = task // k.numbers["most_columns"]
            k.call("store", number, number * k.numbers["splits"], task % k.numbers["most_columns"])
        return k.finish()


def _exchange(problem: ConvProblem) -> ConvProblem:
    """The problem whose input is this one's grad_output, and the other way round: what was added is now cut off."""
    pads = tuple((-before, -after) for before, after in problem.pads)
    return replace(problem, spec=exchange_channels(problem.spec), input_size=problem.output_size, pads=pads)


def _line(elements: int, spec: Spec) -> int:
    """A number of elements, rounded up to whole cache lines."""
    line = 64 // BYTES[spec.dtype]
    return -(-elements // line) * line


def _runs(spec: Spec, strides: Strides) -> tuple[int, int]:
    """How many taps lie side by side in the weight (all or one), and whether all input channels of them do (1 or 0)."""
    taps, channels = math.prod(spec.kernel_size), spec.group_in_channels
    inner = [math.prod(spec.kernel_size[axis + 1 :]) for axis in range(spec.spatial_dims)]
    steps = zip(spec.kernel_size, strides[2:], inner, strict=True)
    side_by_side = all(size == 1 or stride == step for size, stride, step in steps)
    if side_by_side and (channels == 1 or strides[1] == taps):
        return taps, 1
    if channels == 1 or strides[1] == 1:
        return 1, 1
    return (taps if side_by_side else 1), 0


@dataclass(frozen=True, slots=True)
class _Share:
    """The part of the gradient that a task computes: a block of input by a block of output channels of one group."""

    channel: Index
    """Its first input channel within the group."""
    in_first: Index
    ins: Index
    panels: Index
    out_first: Index
    outs: Index
    columns: Index


def _share(k: Kernel, spec: Spec, tile: WeightTile, number: Index) -> _Share:
    n, wide = k.numbers, tile.vectors * k.lanes
    out_block, rest = number % n["out_blocks"], number // n["out_blocks"]
    in_block, group = rest % n["in_blocks"], rest // n["in_blocks"]
    first_panel, panels = _cut(k.index(tile.panels(spec)), n["in_blocks"], in_block)
    first_column, columns = _cut(k.index(tile.columns(spec, k.target)), n["out_blocks"], out_block)
    channel, out = first_panel * tile.channels, first_column * wide
    ins = k.minimum(panels * tile.channels, spec.group_in_channels - channel)
    outs = k.minimum(columns * wide, spec.group_out_channels - out)
    in_first, out_first = group * spec.group_in_channels + channel, group * spec.group_out_channels + out
    return _Share(channel, in_first, ins, panels, out_first, outs, columns)


def _cut(whole: Index, parts: Index, number: Index) -> tuple[Index, Index]:
    """Where part ``number`` of ``parts`` nearly equal ones begins, and how much it is."""
    first = whole * number // parts
    return first, whole * (number + 1) // parts - first


def _compute(k: Kernel, spec: Spec, tile: WeightTile, task: Index) -> None:
    """Sum one share over one split of the pixels."""
    n, wide = k.numbers, tile.vectors * k.lanes
    share = _share(k, spec, tile, task // n["splits"])
    whole = n["splits"].equals(1)
    place = k.choose(whole, k.thread, task)
    sums = k.pointers["workspace"] + place * n["sums_size"]
    fill(k, sums, share.columns * (share.panels * (math.prod(tile.positions) * tile.rows) + 1) * wide)
    counts = [n["blocks_" + axis] for axis in "ndhw"]
    first, count = _cut(counts[0] * counts[1] * counts[2] * counts[3], n["splits"], task % n["splits"])
    with k.loop(first + count, first) as number:
        rest, ranges = number, []
        for size, blocks in zip(("ow", "oh", "od", "batch"), reversed(counts), strict=True):
            ranges.append(_cut(n[size], blocks, rest % blocks))
            rest = rest // blocks
        spans = [span(k, spec, tile, axis, *ranges[2 - axis]) for axis in range(3)]
        channels = (share.in_first, share.ins, share.panels, share.out_first, share.outs, share.columns)
        block = Block(*ranges[3], spans[0], spans[1], spans[2], *channels)
        staged = stage(
            k, spec, tile, block, k.pointers["workspace"] + n["scratch_offset"] + k.thread * n["scratch_size"]
        )
        if spec.bias:
            with k.when(share.channel.equals(0)), k.loop(share.columns) as column:
                pixels = block.samples * block.depth.count * block.height.count * block.width.count
                _add_up(k, tile, staged.grad_output + column * staged.column, pixels, sums + column * wide)
        _products(k, spec, tile, block, staged, sums + share.columns * wide)
    with k.when(whole), k.loop(share.columns) as column:
        k.call("store", task, place, column)


def _add_up(k: Kernel, tile: WeightTile, vectors: Pointer, pixels: Index, to: Pointer) -> None:
    """Add the staged pixels of a column to its part of the bias gradient, in four chains."""
    wide = tile.vectors * k.lanes
    zero = k.constant(0.0, k.lanes)
    chains = [[k.variable(zero) for _ in range(tile.vectors)] for _ in range(4)]
    whole = pixels // 4 * 4
    with k.loop(whole, step=4) as pixel:
        for place, chain in enumerate(chains):
            for v, total in enumerate(chain):
                total.set(total.get() + (vectors + (pixel + place) * wide + v * k.lanes).load(k.lanes))
    with k.loop(pixels, whole) as pixel:
        for v, total in enumerate(chains[0]):
            total.set(total.get() + (vectors + pixel * wide + v * k.lanes).load(k.lanes))
    for v in range(tile.vectors):
        a, b, c, d = (chain[v].get() for chain in chains)
        (to + v * k.lanes).store((to + v * k.lanes).load(k.lanes) + ((a + b) + (c + d)))


def _products(k: Kernel, spec: Spec, tile: WeightTile, block: Block, staged: Staged, sums: Pointer) -> None:
    """Add the products of one staged block to all tiles of the task."""
    positions, wide = tile.positions, tile.vectors * k.lanes
    dilation = three(spec.dilation)
    with k.loop(block.panels) as panel, k.loop(block.columns) as column:
        first = panel * math.prod(positions)
        with k.loop(positions[0]) as a, k.loop(positions[1]) as b, k.loop(positions[2]) as c:
            position = (a * positions[1] + b) * positions[2] + c
            place = sums + ((first + position) * block.columns + column) * (tile.rows * wide)
            source = staged.input + panel * staged.panel
            columns = staged.grad_output + column * staged.column
            if tile.merged:
                source = source + _first_line(k, a, tile.depths, tile.kernel[0]) * dilation[0] * staged.plane
                source = source + _first_line(k, b, tile.heights, tile.kernel[1]) * dilation[1] * staged.row
                source = source + c * tile.rows
                spans: list[tuple[Number, Number]] = [(0, s.count) for s in (block.depth, block.height, block.width)]
            else:
                source = source + (block.depth.shift + a * dilation[0]) * staged.plane
                source = source + (block.height.shift + b * dilation[1]) * staged.row
                source = source + (block.width.shift + c * dilation[2]) * tile.channels
                spans = [s.valid(tap) for s, tap in ((block.depth, a), (block.height, b), (block.width, c))]
            ahead = _ahead(k, spec, block, (first * block.columns) + column * math.prod(positions) + position)
            _tile(k, spec, tile, block, staged, (source, columns, place), spans, ahead)


def _ahead(k: Kernel, spec: Spec, block: Block, visit: Index) -> tuple[Pointer, Index] | None:
    """What to ask memory for during one visit of a tile: where, and by how many elements it moves with each pixel.

    The next block mostly begins where this one ends. Fetched while the multiply-adds go on, it costs nothing; the first
    tiles fetch one cache line with each pixel, until the next block is complete.
    """
    if spec.layout != "channels_last" or spec.groups > 1:
        return None
    n, line = k.numbers, 64 // k.element_bytes
    inputs = -(-spec.in_channels * math.prod(spec.stride) // line)
    gradients = -(-spec.out_channels // line)
    depth, height, width = block.depth, block.height, block.width
    sample = block.first_sample + block.samples - 1
    ends = [k.minimum(axis.origin + axis.length * axis.every, axis.size) for axis in (depth, height, width)]
    begin = ((sample * n["id"] + ends[0] - 1) * n["ih"] + ends[1] - 1) * n["iw"] + ends[2]
    ends = [axis.first + axis.count for axis in (depth, height, width)]
    after = ((sample * n["od"] + ends[0] - 1) * n["oh"] + ends[1] - 1) * n["ow"] + ends[2]
    pixels = block.samples * depth.count * height.count * width.count
    to = k.variable(k.pointers["grad_output"] + after * spec.out_channels + visit * pixels * line)
    with k.when(visit >= gradients):
        to.set(k.pointers["input"] + begin * spec.in_channels + (visit - gradients) * pixels * line)
    useful = (visit < inputs + gradients) & block.ins.equals(spec.in_channels) & block.outs.equals(spec.out_channels)
    return to.get(), k.choose(useful, line, 0)


def _first_line(k: Kernel, number: Index, lines: int, of: int) -> Index:
    """The first kernel line of tile ``number``; the last tile is moved back to end with the kernel."""
    return k.minimum(number * lines, of - lines)


def _tile(
    k: Kernel, spec: Spec, tile: WeightTile, block: Block, staged: Staged,
    places: tuple[Pointer, Pointer, Pointer], spans: list[tuple[Number, Number]], ahead: tuple[Pointer, Index] | None,
) -> None:  # fmt: skip
    """One tile in registers over all pixels of the block that it has inside the input."""
    wide, per_row = tile.vectors * k.lanes, _offsets(spec, tile)
    source, columns, place = places
    depth, height, width = block.depth, block.height, block.width
    sums = [
        [k.variable((place + r * wide + v * k.lanes).load(k.lanes)) for v in range(tile.vectors)]
        for r in range(tile.rows)
    ]
    (d0, d1), (h0, h1), (w0, w1) = spans
    with k.loop(block.samples) as s, k.loop(d1, d0) as d, k.loop(h1, h0) as h:
        line = source + s * staged.sample + d * depth.step * staged.plane + h * height.step * staged.row
        before = ((s * depth.count + d) * height.count + h) * width.count
        step = width.step * tile.channels
        steps: list[tuple[Pointer, Number]] = [
            (line + k.index(w0) * step, step),
            (columns + (before + w0) * wide, wide),
        ]
        if ahead is not None:
            steps.append((ahead[0] + (before + w0) * ahead[1], ahead[1]))
        with k.walk(k.index(w1) - w0, *steps) as (pixel, at, *next_line):
            for address in next_line:
                address.prefetch(level=2)
            vectors = [(at + v * k.lanes).load(k.lanes) for v in range(tile.vectors)]
            for r, offset in enumerate(per_row):
                value = (pixel + offset).load().broadcast(k.lanes)
                for v, vector in enumerate(vectors):
                    sums[r][v].set(k.fma(value, vector, sums[r][v].get()))
    for r, row in enumerate(sums):
        for v, total in enumerate(row):
            (place + r * wide + v * k.lanes).store(total.get())


def _offsets(spec: Spec, tile: WeightTile) -> list[int]:
    """Where the input of each row of a tile lies, counted from the first one."""
    dilation = three(spec.dilation)
    row = row_pitch(spec) * tile.channels
    lines = [
        d * dilation[0] * plane_pitch(spec) * row + h * dilation[1] * row
        for d in range(tile.depths)
        for h in range(tile.heights)
    ]
    # A part of a line runs on where dilation is 1; rows beyond the last are computed from whatever follows, and unused.
    along = [r // tile.channels * dilation[2] * tile.channels + r % tile.channels for r in range(tile.line)]
    return [line + offset for line in lines for offset in along]


def _place(k: Kernel, tile: WeightTile, columns: Index, channel: Index, tap: Index) -> Index:
    """Where the sums of one row of the gradient lie, for the first column, from the first tile on."""
    wide = tile.vectors * k.lanes
    _, high, across = tile.kernel
    positions = tile.positions
    if not tile.merged:
        panel, row = channel // tile.channels, channel % tile.channels
        return (panel * math.prod(positions) + tap) * columns * (tile.rows * wide) + row * wide
    kw, kh, kd = tap % across, tap // across % high, tap // (across * high)
    a, b = kd // tile.depths, kh // tile.heights
    d = kd - _first_line(k, a, tile.depths, tile.kernel[0])
    h = kh - _first_line(k, b, tile.heights, tile.kernel[1])
    along = kw * tile.channels + channel
    part = along // tile.line if tile.parts > 1 else k.index(0)
    row = (d * tile.heights + h) * tile.line + (along - part * tile.line)
    return ((a * positions[1] + b) * positions[2] + part) * columns * (tile.rows * wide) + row * wide


def _store(k: Kernel, spec: Spec, tile: WeightTile, share: _Share, place: Index, column: Index) -> None:
    """Add up the splits of one column of a share, the first at ``place``, and store them in the order of the weight.

    The weight's rows, taps and input channels, come in runs that lie side by side. Squares of as many rows and output
    channels as a vector has lanes are turned round in registers.
    """
    n, wide, lanes = k.numbers, tile.vectors * k.lanes, k.lanes
    taps, (_, high, across) = math.prod(tile.kernel), tile.kernel
    sums = k.pointers["workspace"] + place * n["sums_size"]
    left = share.outs - column * wide
    oc = share.out_first + column * wide
    if spec.bias:
        with k.when(share.channel.equals(0)):
            for v in range(tile.vectors):
                total = _sum(k, [sums + column * wide + v * lanes])[0]
                (k.pointers["grad_bias"] + oc + v * lanes).store(total, k.mask(left - v * lanes))
    first = sums + share.columns * wide + column * (tile.rows * wide)
    places = Indices(k, lanes)
    whole = n["run_channels"].equals(1)
    run = n["run_taps"] * k.choose(whole, share.ins, 1)
    with k.loop(k.index(taps) // n["run_taps"]) as t, k.loop(k.choose(whole, 1, share.ins)) as channel:
        to = k.pointers["grad_weight"] + oc * n["weight_oc"] + (share.channel + channel) * n["weight_ic"]
        to = to + t // (high * across) * n["weight_d"] + t // across % high * n["weight_h"] + t % across * n["weight_w"]
        row_channel, row_tap = k.variable(k.index(0)), k.variable(k.index(0))
        with k.loop(run, step=lanes) as start:
            with k.loop(lanes) as lane:
                places[lane] = _place(k, tile, share.columns, channel + row_channel.get(), t + row_tap.get())
                # Rows beyond the run read its last one again: addresses stay inside, and their lanes are not stored.
                with k.when(start + lane < run - 1):
                    wraps = row_tap.get().equals(n["run_taps"] - 1)
                    row_channel.set(row_channel.get() + k.choose(wraps, 1, 0))
                    row_tap.set(k.choose(wraps, 0, row_tap.get() + 1))
            rows = [places[number] for number in range(lanes)]
            mask = k.mask(run - start)
            with k.loop(wide, step=lanes) as lane:
                square = _sum(k, [first + place + lane for place in rows])
                for row, vector in enumerate(turn(square)):
                    with k.when(lane + row < left):
                        (to + (lane + row) * n["weight_oc"] + start).store(vector, mask)


def _store_rows(k: Kernel, tile: WeightTile, share: _Share, place: Index, column: Index) -> None:
    """The same for a kernel of one tap whose output channels lie side by side in the weight: nothing to turn round."""
    n, wide = k.numbers, tile.vectors * k.lanes
    left, oc = share.outs - column * wide, share.out_first + column * wide
    first = k.pointers["workspace"] + place * n["sums_size"] + share.columns * wide + column * (tile.rows * wide)
    with k.loop(share.ins) as channel:
        row = first + _place(k, tile, share.columns, channel, k.index(0))
        to = k.pointers["grad_weight"] + oc + (share.channel + channel) * n["weight_ic"]
        for v in range(tile.vectors):
            (to + v * k.lanes).store(_sum(k, [row + v * k.lanes])[0], k.mask(left - v * k.lanes))


def _sum(k: Kernel, places: list[Pointer]) -> list[Vector]:
    """The vectors at these places, each summed over all splits in their order."""
    totals = [k.variable(k.constant(0.0, k.lanes)) for _ in places]
    with k.loop(k.numbers["splits"]) as split:
        for total, place in zip(totals, places, strict=True):
            total.set(total.get() + (place + split * k.numbers["sums_size"]).load(k.lanes))
    return [total.get() for total in totals]
