"""Depthwise and small-group convolutions, grad_weight: vectors run along channels, across groups.

Formula, every lane being an output channel (see `lane_groups`), over all samples and outputs ``o``::

    grad_weight[k, s, lane] += grad_output[o, lane] * shuffle_s(input[o * stride + k * dilation - before])[lane]

Layout. Activations channels last; contiguous ones are transposed into scratch first, one vector of channels at a
time. The samples' rows are cut into *parts* whose number depends on the problem alone, never on the threads, each with
its own sums ``[part][vector][kd][kh][kw][s][lane]``; a second phase adds the parts in order. So a gradient is the same
to the last bit on any number of threads.

Loops::

    for task in (part, block of vectors):                                                             over threads
        for block of rows of the part, for vector:
            for kd, for block of ROWS kernel rows, for block of TAPS taps of a row:               `lanewise_sums`
                ROWS x TAPS x s accumulators in registers
                for row that meets one of the kernel rows, for tile of PIXELS outputs along it:
                    load PIXELS vectors of grad_output
                    for kernel row inside the input, for input position that the tile meets: load once, one
                        multiply-add for each (output, tap) pair that meets there
    for task in vector:
        sum the parts, turn the lanes into the gradient's own order

Why. The accumulators, not the operands, are what is worth keeping: they are touched once per multiply-add and leave the
registers once per block. With PIXELS outputs held, an input is loaded once per kernel row and tile instead of once per
tap. A 3 x 3 layer has all nine sums in registers, so that both operands pass by just once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms.direct import three
from striate.compiler.algorithms.lane_groups import LaneGroups
from striate.compiler.algorithms.lanewise_rows import axes, dense_taps, memory_cycles, rows_inside, share, turn_rows
from striate.compiler.algorithms.lanewise_sums import Block, Tile, add_products, tile
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import fill, transpose
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Pointer

PARTIAL_BYTES = 8 << 20
"""The most memory that partial sums take."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the rows of one problem are cut."""

    rows: int
    """Blocks of rows of one depth."""
    chunks: int
    """Chunks of a row."""
    vectors: int
    """Blocks of vectors."""
    parts: int


class LanewiseWeight(Algorithm):
    """Vectors along channels, across groups: the gradient of the weight."""

    name = "lanewise-weight"
    passes = ("grad_weight",)

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        if LaneGroups.of(spec, target).too_wide:
            return f"groups of {spec.group_in_channels} to {spec.group_out_channels} channels do not fit a vector"
        return None

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        sizes = ("id", "ih", "iw", "od", "oh", "ow", "pd", "ph", "pw")
        strides = ("weight_oc", "weight_ic", "weight_d", "weight_h", "weight_w")
        blocks = ("blocks", "row_blocks", "chunks", "vector_blocks", "parts")
        return Signature(
            POINTERS[spec.pass_],
            (*sizes, *strides, *blocks, "scratch", "scratch_size", "scratch_outputs"),
            ("compute", "reduce"),
        )

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec = problem.spec
        lanes = LaneGroups.of(spec, target)
        id_, ih, iw = three(problem.input_size)
        od, oh, ow = three(problem.output_size)
        missing = (0,) * (3 - spec.spatial_dims)
        pd, ph, pw = missing + tuple(first for first, _ in problem.pads)
        wd, wh, ww = missing + weight_strides[2:]
        blocks, inputs, outputs = _blocks(problem, target, lanes)
        line = 64 // BYTES[spec.dtype]
        partial = _partial(spec, lanes) * lanes.vectors * blocks.parts
        partial, inputs, outputs = (-(-size // line) * line for size in (partial, inputs, outputs))
        table = self.signature(spec).table(
            (blocks.parts * blocks.vectors, lanes.vectors),
            id=id_, ih=ih, iw=iw, od=od, oh=oh, ow=ow, pd=pd, ph=ph, pw=pw,
            weight_oc=weight_strides[0], weight_ic=weight_strides[1], weight_d=wd, weight_h=wh, weight_w=ww,
            blocks=problem.batch * od * blocks.rows * blocks.chunks,
            row_blocks=blocks.rows, chunks=blocks.chunks,
            vector_blocks=blocks.vectors, parts=blocks.parts,
            scratch=partial, scratch_size=inputs + outputs, scratch_outputs=inputs,
        )  # fmt: skip
        threads = max(1, min(threads, blocks.parts * blocks.vectors, int(self.cycles(problem, target) // 10_000)))
        return Launch(table, (partial + threads * (inputs + outputs)) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        spec = problem.spec
        lanes = LaneGroups.of(spec, target)
        form = tile(spec, lanes, target)
        od, oh, ow = three(problem.output_size)
        _, kh, kw = three(spec.kernel_size)
        taps = math.prod(spec.kernel_size)
        pixels = problem.batch * od * oh * -(-ow // form.pixels) * form.pixels
        passes = -(-kh // form.rows) * -(-kw // form.taps)
        work = pixels * lanes.vectors * (taps * lanes.sources * rows_inside(problem) * 1.05 + passes)
        reduced = taps * lanes.sources * lanes.vectors * (2 * _blocks(problem, target, lanes)[0].parts + lanes.lanes)
        return work + reduced + memory_cycles(problem, target)

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        lanes = LaneGroups.of(spec, target)
        k = Kernel("lanewise_weight", target, self.signature(spec), spec.dtype)
        with k.phase("compute"):
            _compute(k, spec, lanes, tile(spec, lanes, target))
        with k.phase("reduce"):
            _reduce(k, spec, lanes)
        return k.finish()


def _partial(spec: Spec, lanes: LaneGroups) -> int:
    """Elements of one vector's sums of one part: the weight's, then the bias'."""
    return (math.prod(spec.kernel_size) * lanes.sources + 1) * lanes.lanes


def _blocks(problem: ConvProblem, target: Target, lanes: LaneGroups) -> tuple[Blocks, int, int]:
    """How to cut the work, and how many elements of scratch a task needs for inputs and outputs."""
    spec = problem.spec
    od, oh, ow = three(problem.output_size)
    if problem.batch == 0:
        return Blocks(1, 1, 1, 1), 0, 0
    depth, height, width = axes(spec)
    ih, iw = three(problem.input_size)[1:]
    rows, chunk, item = oh, min(ow, 1024), BYTES[spec.dtype]
    staged = spec.layout == "contiguous"
    sums = _partial(spec, lanes) * item
    # Many vectors share the rows of a block, so that memory is read in order, unless their sums are too large for that.
    vectors = 1 if staged or sums * lanes.vectors > target.l2_bytes // 8 else lanes.vectors
    while True:
        high, wide = min(height.longest_span(rows), ih), min(width.longest_span(chunk), iw)
        inputs, outputs = depth.taps * high * wide * lanes.source_width, rows * chunk * lanes.width
        if (inputs + outputs) * vectors * item <= target.l2_bytes // 2 or rows * chunk <= 64:
            break
        if rows > 1:
            rows = -(-rows // 2)
        else:
            chunk = -(-chunk // 2)
    if not staged:
        inputs = outputs = 0
    row_blocks, chunks = -(-oh // rows), -(-ow // chunk)
    # A part has work for its sums' way to memory and back, and there are tasks for many threads.
    most = max(1, PARTIAL_BYTES // (sums * lanes.vectors))
    vector_blocks = -(-lanes.vectors // vectors)
    parts = max(1, min(problem.batch * od * row_blocks * chunks, -(-64 // vector_blocks), most))
    return Blocks(row_blocks, chunks, vector_blocks, parts), inputs, outputs


def _compute(k: Kernel, spec: Spec, lanes: LaneGroups, form: Tile) -> None:
    """One task per (part, vector)."""
    n = k.numbers
    depth, height, width = axes(spec)
    sums = _partial(spec, lanes)
    staged = spec.layout == "contiguous"
    inputs, outputs = spec.in_channels, spec.out_channels
    with k.tasks() as task:
        vector_block, part = task % n["vector_blocks"], task // n["vector_blocks"]
        first_vector, end_vector = share(lanes.vectors, vector_block, n["vector_blocks"])
        partials = k.pointers["workspace"] + part * (lanes.vectors * sums)
        fill(k, partials + first_vector * sums, (end_vector - first_vector) * sums)
        first_block, end_block = share(n["blocks"], part, n["parts"])
        with k.loop(end_block, first_block) as number:
            chunk, rest = number % n["chunks"], number // n["chunks"]
            row_block, rest = rest % n["row_blocks"], rest // n["row_blocks"]
            od, sample = rest % n["od"], rest // n["od"]
            rows = share(n["oh"], row_block, n["row_blocks"])
            pixels = share(n["ow"], chunk, n["chunks"])
            deep = od * depth.stride - n["pd"]
            source = k.pointers["input"] + sample * n["id"] * n["ih"] * n["iw"] * inputs
            gradient = k.pointers["grad_output"] + sample * n["od"] * n["oh"] * n["ow"] * outputs
            with k.loop(end_vector, first_vector) as vector:
                group, partial = lanes.first_group(k, vector), partials + vector * sums
                if staged:
                    block = _stage(k, spec, lanes, source, gradient, group, od, rows, pixels)
                else:
                    span = width.span(k, pixels[0], pixels[1] - 1, n["pw"], n["iw"])
                    shares = (
                        vector * (span[1] - span[0]) * lanes.source_width - group * lanes.sources,
                        vector * (pixels[1] - pixels[0]) * lanes.width - group * lanes.results,
                    )
                    block = Block(
                        lambda j, d, h: source + ((d * n["ih"] + h) * n["iw"]) * inputs + group * lanes.sources,
                        lambda h: gradient + ((od * n["oh"] + h) * n["ow"]) * outputs + group * lanes.results,
                        inputs, outputs, rows, pixels, span, shares,
                    )  # fmt: skip
                if spec.bias:
                    _add_bias(k, lanes, block, partial + (sums - k.lanes))
                with k.loop(depth.taps) as j:
                    d = deep + j * depth.dilation
                    with k.when((d >= 0) & (d < n["id"])):
                        for h_range in _cut(height.taps, form.rows):
                            for w_range in _cut(width.taps, form.taps):
                                add_products(k, spec, lanes, form, block, (j, d), h_range, w_range, partial)


def _cut(count: int, step: int) -> list[tuple[int, int, int]]:
    """Ranges of whole steps, and of what is left: where they begin and end, and how long a step is."""
    whole = count // step * step
    return [(0, whole, step), *([(whole, count, count - whole)] if whole < count else [])]


def _stage(
    k: Kernel,
    spec: Spec,
    lanes: LaneGroups,
    source: Pointer,
    gradient: Pointer,
    group: Index,
    od: Index,
    rows: tuple[Index, Index],
    pixels: tuple[Index, Index],
) -> Block:
    """Transpose what a block needs of one vector's channels into scratch."""
    n = k.numbers
    depth, height, width = axes(spec)
    inputs = k.pointers["workspace"] + n["scratch"] + k.thread * n["scratch_size"]
    outputs = inputs + n["scratch_outputs"]
    top, bottom = height.span(k, rows[0], rows[1] - 1, n["ph"], n["ih"])
    left, right = width.span(k, pixels[0], pixels[1] - 1, n["pw"], n["iw"])
    tall, wide, length = bottom - top, right - left, pixels[1] - pixels[0]
    deep = depth.reaching(k, od, n["pd"])
    d0, d1 = depth.inside(k, deep, n["id"])
    volume, out_volume = n["id"] * n["ih"] * n["iw"], n["od"] * n["oh"] * n["ow"]
    with k.loop(d1, d0) as j:
        plane = source + group * lanes.sources * volume
        plane += ((deep.source + j * depth.reach) * n["ih"] + top) * n["iw"] + left
        to = inputs + j * tall * wide * lanes.source_width
        turn_rows(k, plane, n["iw"], volume, to, lanes.source_width, tall, wide, inwards=True)
    came = gradient + group * lanes.results * out_volume + (od * n["oh"] + rows[0]) * n["ow"] + pixels[0]
    turn_rows(k, came, n["ow"], out_volume, outputs, lanes.width, rows[1] - rows[0], length, inwards=True)
    return Block(
        lambda j, d, h: inputs + ((j * tall + h - top) * wide - left) * lanes.source_width,
        lambda h: outputs + ((h - rows[0]) * length - pixels[0]) * lanes.width,
        lanes.source_width,
        lanes.width,
        rows,
        pixels,
        (left, right),
        shares=None,
    )


def _add_bias(k: Kernel, lanes: LaneGroups, block: Block, to: Pointer) -> None:
    """Add grad_output over the block's pixels."""
    total = k.variable(to.load(k.lanes))
    with k.loop(block.rows[1], block.rows[0]) as h:
        row = block.output(h)
        with k.loop(block.pixels[1], block.pixels[0]) as w:
            total.set(total.get() + lanes.load(k, row + w * block.output_pitch))
    to.store(total.get())


def _reduce(k: Kernel, spec: Spec, lanes: LaneGroups) -> None:
    """Add the parts of one vector and bring the lanes into the gradient's order: one task per vector."""
    n = k.numbers
    kd, kh, kw = three(spec.kernel_size)
    taps, sums = kd * kh * kw, _partial(spec, lanes)
    with k.tasks() as vector:
        total = k.pointers["workspace"] + vector * sums
        with k.loop(sums, step=k.lanes) as i:
            value = k.variable((total + i).load(k.lanes))
            with k.loop(n["parts"], 1) as part:
                value.set(value.get() + (total + part * (lanes.vectors * sums) + i).load(k.lanes))
            (total + i).store(value.get())
        group = lanes.first_group(k, vector)
        # The last vector shares groups with the one before, which writes them.
        skip = vector * lanes.groups - group
        to = k.pointers["grad_weight"] + group * lanes.results * n["weight_oc"]
        if spec.bias:
            bias = k.pointers["grad_bias"] + group * lanes.results
            with k.loop(lanes.width, skip * lanes.results) as lane:
                (bias + lane).store((total + (sums - k.lanes) + lane).load())

        def one_by_one() -> None:
            with k.loop(lanes.width, skip * lanes.results) as lane, k.loop(lanes.sources) as s:
                place = to + lane * n["weight_oc"] + s * n["weight_ic"]
                came = total + s * k.lanes + lane
                with k.loop(kd) as d, k.loop(kh) as h, k.loop(kw) as w:
                    value = (came + ((d * kh + h) * kw + w) * (lanes.sources * k.lanes)).load()
                    (place + d * n["weight_d"] + h * n["weight_h"] + w * n["weight_w"]).store(value)

        if lanes.results == lanes.sources == 1 and taps > lanes.lanes:
            dense = dense_taps(k, spec)
            with k.when(dense):
                first = skip * lanes.results
                transpose(
                    k,
                    total + first,
                    k.lanes,
                    to + first * n["weight_oc"],
                    n["weight_oc"],
                    k.index(taps),
                    k.index(lanes.width) - first,
                )
            with k.unless(dense):
                one_by_one()
        else:
            one_by_one()
