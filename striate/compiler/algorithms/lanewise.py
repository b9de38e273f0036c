"""Depthwise and small-group convolutions, forward and grad_input: vectors run along channels, across groups.

Formula, for one sample, every lane being a result channel (see `lane_groups` for the lanes, `tap_axis` for the taps)::

    result[i, lane] = bias[lane] + sum over taps j, s of shuffle_s(source[i's j-th source])[lane] * weight[j, s, lane]

Layout. Activations channels last, weights packed ``[vector][kd][kh][kw][s][lane]``. Where activations are contiguous,
the rows a task needs are transposed into scratch first, one vector of channels wide, and the results transposed back.

Loops::

    for task in (sample, depth, block of rows, chunk of a row, block of vectors):                     over threads
        for row, for vector:
            for remainder of the row's positions modulo the stride (grad_input; one for forward):
                for tile of PIXELS results along the row:
                    PIXELS accumulators in registers, begun with the bias
                    for tap (kd, kh inside the source), for block of taps kw:
                        the weights of the block in registers
                        for source position that a result of the tile can reach: load once, one multiply-add for
                            each (result, tap) pair that meets there
                    store, after the activation

Why. A depthwise layer multiplies each loaded number few times, so loads limit it: within a tile each source is loaded
once per kernel row, not once per tap, and the weights of the row stay in registers. Rows outermost, so that memory is
read in order and once: the rows that the next row shares with this one wait in the second-level cache. A block has as
many vectors as leave room for that.

Borders. Kernel rows outside the source are left out of the loop over taps. Along the row, tiles that reach over the
border read a vector of zeros instead, chosen by address: an edge costs a few integer instructions per load, and no
padded copy is made. Rows that are shorter than a tile take the same way, and their missing results are not stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms.direct import three
from striate.compiler.algorithms.lane_groups import LaneGroups
from striate.compiler.algorithms.tap_axis import Reach, TapAxis
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import transpose
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Condition, Index, Number, Pointer, Variable, Vector

UNROLLED = 420
"""The most multiply-adds in one block of taps: what the compiler is given to digest."""


@dataclass(frozen=True, slots=True)
class Tile:
    """How a row of results with a given number of taps is computed."""

    pixels: int
    taps: int
    """Taps of one block; a row of more is a loop over blocks and a rest."""
    sources: int
    """Source channels of a group whose weights are in registers together."""


def tile(lanes: LaneGroups, target: Target, taps: int, narrow: bool) -> Tile:
    """The tile for rows with ``taps`` taps; ``narrow`` is the one for rows of few pixels."""
    pixels = 14 if target.vector_registers >= 32 else 6
    room = target.vector_registers - pixels - 4
    if narrow:
        pixels //= 2
    most = max(1, min(room, UNROLLED // (pixels * lanes.sources)))
    if taps > most:
        # Equal blocks; short ones skip more of what lies outside the source.
        blocks = -(-taps // min(most, 8))
        return Tile(pixels, -(-taps // blocks), max(1, room // -(-taps // blocks)))
    return Tile(pixels, max(taps, 1), max(1, room // max(taps, 1)))


def axes(spec: Spec) -> tuple[TapAxis, TapAxis, TapAxis]:
    """The three axes of a layer."""
    backward = spec.pass_ == "grad_input"
    depth, height, width = zip(three(spec.kernel_size), three(spec.stride), three(spec.dilation), strict=True)
    return TapAxis(*depth, backward), TapAxis(*height, backward), TapAxis(*width, backward)


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the work of one problem is cut into tasks."""

    rows: int
    """Blocks of rows of one depth."""
    chunks: int
    """Chunks of a row."""
    vectors: int
    """Blocks of vectors."""


class Lanewise(Algorithm):
    """Vectors along channels, across groups."""

    name = "lanewise"
    passes = ("forward", "grad_input")

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        if LaneGroups.of(spec, target).too_wide:
            return f"groups of {spec.group_in_channels} to {spec.group_out_channels} channels do not fit a vector"
        return None

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        sizes = ("sd", "sh", "sw", "rd", "rh", "rw", "pd", "ph", "pw")
        strides = ("weight_oc", "weight_ic", "weight_d", "weight_h", "weight_w")
        blocks = ("row_blocks", "chunks", "vector_blocks")
        return Signature(
            POINTERS[spec.pass_],
            (*sizes, *strides, *blocks, "scratch", "scratch_size", "scratch_results"),
            ("pack", "compute"),
        )

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec = problem.spec
        lanes = LaneGroups.of(spec, target)
        source, result = _sizes(problem)
        missing = (0,) * (3 - spec.spatial_dims)
        pd, ph, pw = missing + tuple(first for first, _ in problem.pads)
        wd, wh, ww = missing + weight_strides[2:]
        blocks, sources, results = _blocks(problem, target, lanes, source, result, threads)
        line = 64 // BYTES[spec.dtype]
        packed, sources, results = (
            -(-size // line) * line
            for size in (lanes.vectors * math.prod(spec.kernel_size) * lanes.sources * lanes.lanes, sources, results)
        )
        tasks = problem.batch * result[0] * blocks.rows * blocks.chunks * blocks.vectors
        table = self.signature(spec).table(
            (lanes.vectors if tasks else 0, tasks),
            sd=source[0], sh=source[1], sw=source[2], rd=result[0], rh=result[1], rw=result[2], pd=pd, ph=ph, pw=pw,
            weight_oc=weight_strides[0], weight_ic=weight_strides[1], weight_d=wd, weight_h=wh, weight_w=ww,
            row_blocks=blocks.rows, chunks=blocks.chunks, vector_blocks=blocks.vectors,
            scratch=packed, scratch_size=sources + results, scratch_results=sources,
        )  # fmt: skip
        threads = max(1, min(threads, tasks, int(self.cycles(problem, target) // 10_000)))
        return Launch(table, (packed + threads * (sources + results)) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        spec = problem.spec
        lanes = LaneGroups.of(spec, target)
        _, result = _sizes(problem)
        width = axes(spec)[2]
        row = -(-result[2] // width.result_step)
        pixels = tile(lanes, target, width.taps, row <= tile(lanes, target, width.taps, True).pixels).pixels
        taps = math.prod(three(spec.kernel_size)) / math.prod(axis.result_step for axis in axes(spec))
        padded = -(-row // pixels) * pixels * width.result_step * result[0] * result[1]
        shuffles = 0.0 if lanes.results == lanes.sources == 1 else 1 / min(3, width.taps)
        work = problem.batch * padded * lanes.vectors * (taps * lanes.sources * (1.1 + shuffles) + 3)
        moved = problem.batch * (
            spec.in_channels * math.prod(problem.input_size) + spec.out_channels * math.prod(problem.output_size)
        )
        staged = moved * 0.6 * 16 / target.lanes(spec.dtype) if spec.layout == "contiguous" else 0.0
        packed = lanes.vectors * math.prod(spec.kernel_size) * lanes.sources * lanes.lanes * 3
        return work + staged + moved * BYTES[spec.dtype] / 8 + packed

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        lanes = LaneGroups.of(spec, target)
        k = Kernel("lanewise", target, self.signature(spec), spec.dtype)
        with k.phase("pack"):
            _pack(k, spec, lanes)
        with k.phase("compute"):
            _compute(k, spec, lanes, target)
        return k.finish()


def _sizes(problem: ConvProblem) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The sizes of source and result."""
    sizes = three(problem.input_size), three(problem.output_size)
    return sizes if problem.spec.pass_ == "forward" else (sizes[1], sizes[0])


def _blocks(
    problem: ConvProblem,
    target: Target,
    lanes: LaneGroups,
    source: tuple[int, int, int],
    result: tuple[int, int, int],
    threads: int,
) -> tuple[Blocks, int, int]:
    """How to cut the work, and how many elements of scratch a task needs for its sources and its results."""
    spec = problem.spec
    if problem.batch == 0 or 0 in result:
        return Blocks(1, 1, 1), 0, 0
    depth, height, width = axes(spec)
    staged = spec.layout == "contiguous"
    # The rows that the next row of results needs again, and the weights, stay in the second-level cache.
    span = min(width.longest_span(chunk := min(result[2], 1024)), source[2])
    again = depth.taps * (min(height.taps, source[1]) + 1) * span * lanes.source_width + chunk * lanes.width
    again += math.prod(spec.kernel_size) * lanes.sources * lanes.lanes
    vectors = 1 if staged else max(1, min(lanes.vectors, target.l2_bytes // 2 // (again * BYTES[spec.dtype])))
    vector_blocks = -(-lanes.vectors // vectors)
    rows = result[1]
    # Some tasks for each thread, but not so small that the rows they share are read over and over.
    wanted = 4 * threads if threads > 1 else 1
    while True:
        row_blocks, chunks = -(-result[1] // rows), -(-result[2] // chunk)
        tasks = problem.batch * result[0] * row_blocks * chunks * vector_blocks
        sources = results = 0
        if staged:
            high, wide = min(height.longest_span(rows), source[1]), min(width.longest_span(chunk), source[2])
            sources, results = depth.taps * high * wide * lanes.source_width, rows * chunk * lanes.width
        fits = (sources + results) * BYTES[spec.dtype] <= target.l2_bytes // 2
        if (tasks >= wanted or rows * chunk <= 256) and (fits or rows * chunk <= 64):
            return Blocks(row_blocks, chunks, vector_blocks), sources, results
        if rows > 2 or (rows > 1 and chunk <= 64):
            rows = -(-rows // 2)
        else:
            chunk = -(-chunk // 2)


def _pack(k: Kernel, spec: Spec, lanes: LaneGroups) -> None:
    """Bring ``weight`` under the lanes: one task per vector."""
    n = k.numbers
    kd, kh, kw = three(spec.kernel_size)
    taps = kd * kh * kw
    # Neighbouring result channels are neighbours in the weight too, along its first axis or its second.
    result, source = ("weight_ic", "weight_oc") if spec.pass_ == "grad_input" else ("weight_oc", "weight_ic")
    with k.tasks() as task:
        to = k.pointers["workspace"] + task * (taps * lanes.sources * lanes.lanes)
        group = lanes.first_group(k, task)
        came = k.pointers["weight"] + group * spec.group_out_channels * n["weight_oc"]

        def one_by_one() -> None:
            with k.loop(lanes.groups) as g, k.loop(lanes.results) as r, k.loop(lanes.sources) as s:
                # The output channel counts through the groups, the input channel within one.
                at = came + g * spec.group_out_channels * n["weight_oc"] + r * n[result] + s * n[source]
                lane = to + s * lanes.lanes + g * lanes.results + r
                with k.loop(kd) as d, k.loop(kh) as h, k.loop(kw) as w:
                    value = (at + d * n["weight_d"] + h * n["weight_h"] + w * n["weight_w"]).load()
                    (lane + ((d * kh + h) * kw + w) * (lanes.sources * lanes.lanes)).store(value)

        if lanes.results == lanes.sources == 1 and taps > lanes.lanes:
            dense = dense_taps(k, spec)
            with k.when(dense):
                transpose(k, came, n["weight_oc"], to, lanes.lanes, lanes.width, taps)
            with k.unless(dense):
                one_by_one()
        else:
            one_by_one()


def dense_taps(k: Kernel, spec: Spec) -> Condition:
    """Whether the taps of one channel of the weight follow each other in memory."""
    n = k.numbers
    _, kh, kw = three(spec.kernel_size)
    dense = n["weight_w"].equals(1)
    if spec.spatial_dims > 1:
        dense = dense & n["weight_h"].equals(kw)
    return dense & n["weight_d"].equals(kw * kh) if spec.spatial_dims > 2 else dense


@dataclass(frozen=True, slots=True)
class _Column:
    """What the tiles of a task share. Positions count along a row from its beginning in the whole array."""

    panel: Pointer
    """The weights."""
    begun: Vector
    """What sums begin with."""
    source: Callable[[Index, Number, Number], Pointer]
    """Where position 0 of a source row lies: of the tap's number and position in depth, and the row."""
    result: Callable[[Number], Pointer]
    """Where position 0 of a result row lies."""
    source_pitch: int
    result_pitch: int
    low: Index
    """The first source position along the row that may be read."""
    high: Index
    """One past the last."""
    deep: Reach
    group: Index
    """The first group of the vector, from where the rows begin."""


def _compute(k: Kernel, spec: Spec, lanes: LaneGroups, target: Target) -> None:
    """One task per (sample, depth, block of rows, chunk, block of vectors)."""
    n = k.numbers
    depth, height, width = axes(spec)
    backward = spec.pass_ == "grad_input"
    came, went = ("grad_output", "grad_input") if backward else ("input", "output")
    source_channels, result_channels = lanes.all_groups * lanes.sources, lanes.all_groups * lanes.results
    staged = spec.layout == "contiguous"

    with k.tasks() as task:
        vector_block, rest = task % n["vector_blocks"], task // n["vector_blocks"]
        chunk, rest = rest % n["chunks"], rest // n["chunks"]
        row_block, rest = rest % n["row_blocks"], rest // n["row_blocks"]
        rd, sample = rest % n["rd"], rest // n["rd"]
        first_vector, end_vector = share(lanes.vectors, vector_block, n["vector_blocks"])
        first_row, end_row = share(n["rh"], row_block, n["row_blocks"])
        first, end = share(n["rw"], chunk, n["chunks"])
        deep = depth.reaching(k, rd, n["pd"])
        low, high = width.span(k, first, end - 1, n["pw"], n["sw"])
        source = k.pointers[came] + sample * n["sd"] * n["sh"] * n["sw"] * source_channels
        result = k.pointers[went] + sample * n["rd"] * n["rh"] * n["rw"] * result_channels

        if staged:
            scratch = k.pointers["workspace"] + n["scratch"] + k.thread * n["scratch_size"]
            results = scratch + n["scratch_results"]
            top, bottom = height.span(k, first_row, end_row - 1, n["ph"], n["sh"])
            tall, wide, length = bottom - top, high - low, end - first
            group = lanes.first_group(k, first_vector)
            planes = source + group * lanes.sources * n["sd"] * n["sh"] * n["sw"]
            d0, d1 = depth.inside(k, deep, n["sd"])
            with k.loop(d1, d0) as j:
                plane = planes + ((deep.source + j * depth.reach) * n["sh"] + top) * n["sw"] + low
                to = scratch + j * tall * wide * lanes.source_width
                turn_rows(k, plane, n["sw"], n["sd"] * n["sh"] * n["sw"], to, lanes.source_width, tall, wide, True)

            def source_row(j: Index, d: Number, h: Number) -> Pointer:
                return scratch + ((j * tall + h - top) * wide - low) * lanes.source_width

            def result_row(h: Number) -> Pointer:
                return results + ((h - first_row) * length - first) * lanes.width

            pitches = lanes.source_width, lanes.width
        else:

            def source_row(j: Index, d: Number, h: Number) -> Pointer:
                return source + (d * n["sh"] + h) * n["sw"] * source_channels

            def result_row(h: Number) -> Pointer:
                return result + (rd * n["rh"] + h) * n["rw"] * result_channels

            pitches = source_channels, result_channels
        with k.loop(end_row, first_row) as h, k.loop(end_vector, first_vector) as vector:
            up = height.reaching(k, h, n["ph"])
            group = lanes.first_group(k, vector)
            panel = k.pointers["workspace"] + vector * (math.prod(spec.kernel_size) * lanes.sources * k.lanes)
            begun = k.constant(0.0, k.lanes)
            if spec.bias:
                begun = lanes.load(k, k.pointers["bias"] + group * lanes.results)
            # Scratch holds the channels of one vector alone.
            skip = k.index(0) if staged else group
            column = _Column(panel, begun, source_row, result_row, *pitches, low, high, deep, skip)
            with k.loop(width.result_step) as rest:
                start = first + rest
                along = width.reaching(k, start, n["pw"])
                count = (end - start + (width.result_step - 1)) // width.result_step
                for taps in width.counts:
                    narrow = tile(lanes, target, taps, True)
                    few, chosen = count <= narrow.pixels, along.taps.equals(taps)
                    with k.when(chosen & few):
                        _tiles(k, spec, lanes, narrow, taps, column, h, up, along, start, count, may_be_inner=False)
                    with k.when(chosen & (count > narrow.pixels)):
                        wide_tile = tile(lanes, target, taps, False)
                        _tiles(k, spec, lanes, wide_tile, taps, column, h, up, along, start, count, may_be_inner=True)

        if staged:
            group = lanes.first_group(k, first_vector)
            to = result + group * lanes.results * n["rd"] * n["rh"] * n["rw"]
            to += (rd * n["rh"] + first_row) * n["rw"] + first
            plane_size = n["rd"] * n["rh"] * n["rw"]
            turn_rows(k, results, n["rw"], plane_size, to, lanes.width, end_row - first_row, length, False)


def share(count: Number, block: Index, blocks: Index) -> tuple[Index, Index]:
    """The first of a block's share of ``count``, and one past its last; shares are equal, to one."""
    return block * count // blocks, (block + 1) * count // blocks


def turn_rows(
    k: Kernel,
    source: Pointer,
    row: Index,
    plane: Index,
    to: Pointer,
    width: int,
    rows: Index,
    count: Index,
    inwards: bool,
) -> None:
    """Transpose rows of ``count`` pixels and ``width`` channels from planes into scratch, or out of it.

    Where the rows are whole they follow each other without a gap, and are moved as one.
    """
    whole = row.equals(count)
    runs = k.variable(rows)
    length = k.variable(count)
    with k.when(whole):
        runs.set(k.index(1))
        length.set(rows * count)
    with k.loop(runs.get()) as r:
        if inwards:
            transpose(k, source + r * row, plane, to + r * count * width, width, k.index(width), length.get())
        else:
            transpose(k, source + r * count * width, k.index(width), to + r * row, plane, length.get(), k.index(width))


def _tiles(
    k: Kernel,
    spec: Spec,
    lanes: LaneGroups,
    form: Tile,
    taps: int,
    column: _Column,
    h: Index,
    up: Reach,
    along: Reach,
    start: Index,
    count: Index,
    may_be_inner: bool,
) -> None:
    """All results of one row that have the same taps along it."""
    n = k.numbers
    depth, height, width = axes(spec)
    d0, d1 = depth.inside(k, column.deep, n["sd"])
    h0, h1 = height.inside(k, up, n["sh"])
    ends = (0, (taps - 1) * width.reach)
    last = (form.pixels - 1) * width.source_step
    with k.loop(count, step=form.pixels) as begin:
        # The last tile is moved back to end with the row, but not before its beginning.
        first = k.maximum(k.minimum(begin, count - form.pixels), 0)
        at = along.source + first * width.source_step
        place = (start + first * width.result_step) * column.result_pitch

        def through(edge: bool) -> None:
            sums = [k.variable(column.begun) for _ in range(form.pixels)]
            if taps:
                with k.loop(d1, d0) as j, k.loop(h1, h0) as i:
                    d_tap, h_tap = column.deep.tap + j * depth.tap_step, up.tap + i * height.tap_step
                    source = column.source(j, column.deep.source + j * depth.reach, up.source + i * height.reach)
                    source += column.group * lanes.sources
                    tap = (d_tap * height.taps + h_tap) * width.taps + along.tap
                    weights = column.panel + tap * (lanes.sources * k.lanes)
                    _taps(k, lanes, form, taps, width, column, source, at, weights, sums, edge)
            to = column.result(h) + (place + column.group * lanes.results)
            for p in range(form.pixels):
                value = sums[p].get()
                if spec.activation == "relu":
                    value = value.maximum(k.constant(0.0, k.lanes))
                pixel = to + p * width.result_step * column.result_pitch
                if edge and p:
                    with k.when(first + p < count):
                        lanes.store(k, pixel, value)
                else:
                    lanes.store(k, pixel, value)

        if may_be_inner:
            inner = (at + min(ends) >= column.low) & (at + (max(ends) + last) < column.high) & (count >= form.pixels)
            with k.when(inner):
                through(edge=False)
            with k.unless(inner):
                through(edge=True)
        else:
            through(edge=True)


def _taps(
    k: Kernel,
    lanes: LaneGroups,
    form: Tile,
    taps: int,
    width: TapAxis,
    column: _Column,
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
        _block(k, lanes, form, form.taps, width, column, source, at, weights, sums, edge)
        return
    with k.loop(whole) as block:
        _block(k, lanes, form, form.taps, width, column, source, at + block * step, weights + block * panel, sums, edge)
    if rest:
        _block(k, lanes, form, rest, width, column, source, at + whole * step, weights + whole * panel, sums, edge)


def _block(
    k: Kernel,
    lanes: LaneGroups,
    form: Tile,
    taps: int,
    width: TapAxis,
    column: _Column,
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
    begin = source + at * column.source_pitch
    zeros = k.zeros(2 * k.lanes) if edge else None
    for first in range(0, lanes.sources, form.sources):
        some = range(first, min(first + form.sources, lanes.sources))
        held = {
            (t, s): (weights + (t * width.tap_step * lanes.sources + s) * k.lanes).load(k.lanes)
            for t in range(taps)
            for s in some
        }
        for position in sorted(meets):
            pixel = begin + position * column.source_pitch
            if zeros is not None:
                there = (at + position >= column.low) & (at + position < column.high)
                pixel = k.either(there, pixel, zeros)
            loaded = lanes.load_sources(k, pixel)
            for s in some:
                shuffled = lanes.source(loaded, s)
                for p, t in meets[position]:
                    values[p] = k.fma(shuffled, held[t, s], values[p])
    for variable, value in zip(sums, values, strict=True):
        variable.set(value)
