"""Depthwise and small-group convolutions, forward and grad_input: vectors run along channels, across groups.

Formula, for one sample, every lane being a result channel (see `lane_groups` for the lanes, `tap_axis` for the taps)::

    result[i, lane] = bias[lane] + sum over taps j, s of shuffle_s(source[i's j-th source])[lane] * weight[j, s, lane]

Layout. Activations channels last, weights packed ``[vector][kd][kh][kw][s][lane]``. Where activations are contiguous,
the rows a task needs are transposed into scratch first, one vector of channels wide, and the results transposed back.

Loops::

    for task in (sample, block of depth, block of rows, chunk of a row, block of vectors):            over threads
        for depth, for row, for remainder of its positions modulo the stride (grad_input; one for forward):
            for tile of PIXELS results along the row, for vector:                    `lanewise_tiles`
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
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms.axes import flat, three
from striate.compiler.algorithms.lane_groups import LaneGroups
from striate.compiler.algorithms.lanewise_rows import axes, dense_taps, memory_cycles, rows_inside, share, turn_rows
from striate.compiler.algorithms.lanewise_tiles import Line, Rows, line, tiles
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import transpose
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Number, Pointer


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the work of one problem is cut into tasks."""

    depths: int
    """Blocks of depths."""
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
        blocks = ("depth_blocks", "row_blocks", "chunks", "vector_blocks")
        return Signature(
            POINTERS[spec.pass_],
            (*sizes, *strides, *blocks, "scratch", "scratch_size", "scratch_results"),
            ("pack", "compute"),
        )

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec, problem = problem.spec, flat(problem)
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
        tasks = problem.batch * blocks.depths * blocks.rows * blocks.chunks * blocks.vectors
        table = self.signature(spec).table(
            (lanes.vectors if tasks else 0, tasks),
            sd=source[0], sh=source[1], sw=source[2], rd=result[0], rh=result[1], rw=result[2], pd=pd, ph=ph, pw=pw,
            weight_oc=weight_strides[0], weight_ic=weight_strides[1], weight_d=wd, weight_h=wh, weight_w=ww,
            depth_blocks=blocks.depths, row_blocks=blocks.rows, chunks=blocks.chunks, vector_blocks=blocks.vectors,
            scratch=packed, scratch_size=sources + results, scratch_results=sources,
        )  # fmt: skip
        threads = max(1, min(threads, tasks, int(self.cycles(problem, target) // 10_000)))
        return Launch(table, (packed + threads * (sources + results)) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        spec, problem = problem.spec, flat(problem)
        lanes = LaneGroups.of(spec, target)
        _, result = _sizes(problem)
        width = axes(spec)[2]
        row = -(-result[2] // width.result_step)
        wide, narrow = (form.padded(row) for form in tiles(lanes, target, width.taps))
        taps = math.prod(three(spec.kernel_size)) / math.prod(axis.result_step for axis in axes(spec))
        padded = min(wide, narrow * 9 / 8) * width.result_step * result[0] * result[1]
        taps *= lanes.sources * rows_inside(problem)
        work = problem.batch * padded * lanes.vectors * (taps * 1.05 + 2)
        packed = lanes.vectors * math.prod(spec.kernel_size) * lanes.sources * lanes.lanes * 3
        return work + packed + memory_cycles(problem, target)

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
        return Blocks(1, 1, 1, 1), 0, 0
    depth, height, width = axes(spec)
    staged = spec.layout == "contiguous"
    # The rows that the next row of results needs again, and the weights, stay in the second-level cache.
    span = min(width.longest_span(chunk := min(result[2], 1024)), source[2])
    again = depth.taps * (min(height.taps, source[1]) + 1) * span * lanes.source_width + chunk * lanes.width
    again += math.prod(spec.kernel_size) * lanes.sources * lanes.lanes
    vectors = max(1, min(lanes.vectors, target.l2_bytes // 2 // (again * BYTES[spec.dtype])))
    if staged or spec.spatial_dims == 1:
        # A signal goes along its row: what its tiles share is in the first-level cache, as are a vector's weights.
        vectors = 1
    vector_blocks = -(-lanes.vectors // vectors)
    rows = result[1]
    # Some tasks for each thread, but not so small that the rows they share are read over and over.
    wanted = 4 * threads if threads > 1 else 1
    # Depths that are staged share most of their planes.
    depths = result[0] if staged else 1
    while True:
        depth_blocks, row_blocks, chunks = -(-result[0] // depths), -(-result[1] // rows), -(-result[2] // chunk)
        tasks = problem.batch * depth_blocks * row_blocks * chunks * vector_blocks
        sources = results = 0
        if staged:
            reach = zip((depth, height, width), (depths, rows, chunk), source, strict=True)
            planes = math.prod(min(axis.longest_span(count), size) for axis, count, size in reach)
            sources, results = planes * lanes.source_width, rows * chunk * lanes.width
        fits = (sources + results) * BYTES[spec.dtype] <= target.l2_bytes // 2
        if (tasks >= wanted or depths * rows * chunk <= 256) and (fits or depths * rows * chunk <= 64):
            return Blocks(depth_blocks, row_blocks, chunks, vector_blocks), sources, results
        if depths > 1:
            depths = -(-depths // 2)
        elif rows > 2 or (rows > 1 and chunk <= 64):
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
        depth_block, sample = rest % n["depth_blocks"], rest // n["depth_blocks"]
        first_vector, end_vector = share(lanes.vectors, vector_block, n["vector_blocks"])
        first_depth, end_depth = share(n["rd"], depth_block, n["depth_blocks"])
        first_row, end_row = share(n["rh"], row_block, n["row_blocks"])
        first, end = share(n["rw"], chunk, n["chunks"])
        low, high = width.span(k, first, end - 1, n["pw"], n["sw"])
        source = k.pointers[came] + sample * n["sd"] * n["sh"] * n["sw"] * source_channels
        result = k.pointers[went] + sample * n["rd"] * n["rh"] * n["rw"] * result_channels
        length = end - first
        step, pitches = n["sw"] * source_channels, (source_channels, result_channels)

        def source_row(d: Number, h: Number) -> Pointer:
            return source + (d * n["sh"] + h) * n["sw"] * source_channels

        if staged:
            scratch = k.pointers["workspace"] + n["scratch"] + k.thread * n["scratch_size"]
            results = scratch + n["scratch_results"]
            front, back = depth.span(k, first_depth, end_depth - 1, n["pd"], n["sd"])
            top, bottom = height.span(k, first_row, end_row - 1, n["ph"], n["sh"])
            tall, wide = bottom - top, high - low
            group = lanes.first_group(k, first_vector)
            planes = source + group * lanes.sources * n["sd"] * n["sh"] * n["sw"]
            with k.loop(back, front) as d:
                plane = planes + (d * n["sh"] + top) * n["sw"] + low
                to = scratch + (d - front) * tall * wide * lanes.source_width
                turn_rows(k, plane, n["sw"], n["sd"] * n["sh"] * n["sw"], to, lanes.source_width, tall, wide, True)
            step, pitches = wide * lanes.source_width, (lanes.source_width, lanes.width)

            def source_row(d: Number, h: Number) -> Pointer:
                return scratch + (((d - front) * tall + h - top) * wide - low) * lanes.source_width

        with k.loop(end_depth, first_depth) as rd:
            deep = depth.reaching(k, rd, n["pd"])

            def result_row(h: Number) -> Pointer:
                if staged:
                    return results + ((h - first_row) * length - first) * lanes.width
                return result + (rd * n["rh"] + h) * n["rw"] * result_channels

            rows = Rows((first_vector, end_vector), source_row, step, result_row, *pitches, (low, high), deep, staged)
            with k.loop(end_row, first_row) as h, k.loop(width.result_step) as rest:
                up = height.reaching(k, h, n["ph"])
                start = first + rest
                along = width.reaching(k, start, n["pw"])
                count = (end - start + (width.result_step - 1)) // width.result_step
                for taps in width.counts:
                    broad, narrow = tiles(lanes, target, taps)
                    part = Line(h, up, along, start, count, taps)
                    with k.when(along.taps.equals(taps)):
                        few = narrow.padded(count) * 9 < broad.padded(count) * 8
                        with k.when(few):
                            line(k, spec, lanes, narrow, rows, part, may_be_inner=False)
                        with k.unless(few):
                            line(k, spec, lanes, broad, rows, part, may_be_inner=True)
            if staged:
                group = lanes.first_group(k, first_vector)
                to = result + group * lanes.results * n["rd"] * n["rh"] * n["rw"]
                to += (rd * n["rh"] + first_row) * n["rw"] + first
                plane_size = n["rd"] * n["rh"] * n["rw"]
                turn_rows(k, results, n["rw"], plane_size, to, lanes.width, end_row - first_row, length, False)
