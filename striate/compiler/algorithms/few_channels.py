"""Convolutions with few channels: forward and grad_input as one gather; lanes run along space or summed channels.

With 3 output channels, a vector along them would be four fifths empty. `planar` puts lanes along a row of pixels, `dot`
along the channels that are summed over. Both compute the same thing, written here once. For each axis, with ``source``
and ``result`` being input and output (forward) or grad_output and grad_input::

    result[m * classes + c + offset] = sum over taps t of class c of source[m * step + place(c, t)] * weight[t]

Forward, a result reads its source at stride ``step``, and there is one class. Backward, a stride s deals the results
out to ``classes`` = s residues, each of which meets every s-th tap or so, at consecutive source positions: a
convolution of stride 1 of its own, in which no product with a zero is computed (see `residues`).

Loops::

    for task in (sample, block of depth, block of height, block of width):                     over threads
        bring the source rows of the block into scratch, in the lanes' order, with zeros around
        for depth, for ROWS rows:
            for class of columns, for block of CHANNELS result channels:
                for tile of WIDTH columns:
                    ROWS x CHANNELS x ACROSS accumulators in registers
                    for taps kd, kw, for source channel (a vector of them):
                        for each source row of the tile: ACROSS vectors, used by every row and tap kh that meet there
                    to scratch
            scratch to the result, interleaved as the layout wants it, with bias and activation

Why. A staged block of rows costs one load and one store per value that every tap and result channel then uses, and it
takes all borders, paddings and both layouts out of the inner loop. Where there is only one result channel, an
accumulator tile of several rows does what several channels would: a source row is loaded once for all its taps.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms.axes import flat
from striate.compiler.algorithms.deliver import deliver
from striate.compiler.algorithms.few_blocks import Form, blocks_of, tiles_of
from striate.compiler.algorithms.residues import FEW, Roles, Taps, axis_sizes, inside
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Condition, Index, Number, Pointer, Variable, Vector


@dataclass(frozen=True, slots=True)
class Staged:
    """A task's source rows while a kernel is written: where they come from, where they go, what lies inside."""

    row: Pointer
    to: Pointer
    inside: Condition
    column: Index
    width: Index
    plane: Index


def block_of(channels: int) -> int:
    """Result channels of one tile: all where they are few, else a number that leaves no remainder, or a full one."""
    return next(c for c in range(min(channels, FEW), 0, -1) if channels % c == 0 or c < FEW - 1)


class Gather(Algorithm):
    """What both orders of lanes share; they differ in how rows are staged and what an accumulator holds."""

    passes = ("forward", "grad_input")

    # What the order of the lanes decides

    @abstractmethod
    def forms(self, spec: Spec, target: Target) -> tuple[Form, ...]:
        """The accumulator tiles a kernel has code for."""

    def rows(self, spec: Spec, target: Target, channels: int, across: int) -> list[int]:
        """How many rows a tile of so many channels and vectors can have: accumulators and held operands fit registers.

        None at all if not even one row does.
        """
        height = Roles.of(spec).axes[1]
        registers = target.vector_registers - 1
        rows = [r for r in (2, 3, 4, 6) if r * channels * across + height.size * channels <= registers]
        if height.classes > 1 or height.size == 1:
            rows = []
        return [1, *rows] if channels * across + min(channels, across) <= registers else rows

    @abstractmethod
    def pitch(self, roles: Roles, columns: int, lanes: int) -> int:
        """Staged columns of one row (planar: of each residue of the stride) for ``columns`` results."""

    @abstractmethod
    def row_size(self, roles: Roles, lanes: int) -> int:
        """Elements of one staged row, for each column of the pitch."""

    @abstractmethod
    def steps(self, roles: Roles, pitch: Index, lanes: int) -> tuple[int, Number, int]:
        """Steps and number of source channels: how many, how far apart in scratch, and weights of each per channel."""

    @abstractmethod
    def across(self, roles: Roles, lanes: int) -> tuple[int, int]:
        """How far apart in scratch neighbouring accumulators, and neighbouring columns of results, read."""

    @abstractmethod
    def column(self, k: Kernel, roles: Roles, place: Number, pitch: Index) -> Number:
        """Where a source column lies in a staged row."""

    @abstractmethod
    def stage(self, k: Kernel, spec: Spec, roles: Roles, staged: Staged) -> None:
        """Bring one source row into scratch; all zeros where it is not ``inside``."""

    @abstractmethod
    def results(self, k: Kernel, vectors: list[Vector]) -> list[Vector]:
        """The sums of one row and channel in the order of columns."""

    @abstractmethod
    def tile_cycles(self, spec: Spec, target: Target, form: Form) -> float:
        """Cycles of one tile's inner loops, over all taps of a class and all source channels."""

    @abstractmethod
    def stage_cycles(self, spec: Spec, target: Target) -> float:
        """Cycles of staging one source pixel, all channels."""

    # What they share

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        kinds = ("source", "result", "offset", "start", "count", "block", "blocks")
        axes = tuple(f"{kind}_{axis}" for kind in kinds for axis in "dhw")
        strides = ("weight_oc", "weight_ic", "weight_d", "weight_h", "weight_w")
        scratch = ("staged_d", "staged_h", "columns", "pitch", "form", "staged_size", "scratch_offset", "scratch_size")
        tiles = ("rows", "tiles_h", "tap_step")
        return Signature(POINTERS[spec.pass_], (*axes, *strides, *scratch, *tiles), ("pack", "compute"))

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec, lanes, tiles = problem.spec, target.lanes(problem.spec.dtype), tiles_of(self, problem.spec, target)
        problem, roles = flat(problem), tiles.roles
        # Waking a thread costs about as much as this many cycles of work.
        threads = max(1, min(threads, int(self.cycles(problem, target) // 15000)))
        blocks = blocks_of(self, problem, target, threads)
        wd, wh, ww = (0,) * (3 - spec.spatial_dims) + weight_strides[2:]
        named: dict[str, int] = {}
        sizes = axis_sizes(problem)
        for name, axis, (source, result, before), block in zip("dhw", roles.axes, sizes, blocks.blocks, strict=True):
            count, offset, start = axis.numbers(source, result, before)
            named |= {
                f"source_{name}": source, f"result_{name}": result, f"offset_{name}": offset, f"start_{name}": start,
                f"count_{name}": count, f"block_{name}": block, f"blocks_{name}": -(-count // block),
            }  # fmt: skip
        rows, (_, height, width) = tiles.forms[blocks.form].rows, roles.axes
        packed = -(-self._packed(spec, lanes) // 16) * 16
        table = self.signature(spec).table(
            (roles.taps, problem.batch * blocks.tasks), **named,
            weight_oc=weight_strides[0], weight_ic=weight_strides[1], weight_d=wd, weight_h=wh, weight_w=ww,
            staged_d=blocks.staged[0], staged_h=blocks.staged[1], columns=blocks.columns, pitch=blocks.pitch,
            form=blocks.form, staged_size=blocks.staged_size, scratch_offset=packed, scratch_size=blocks.scratch_size,
            rows=rows, tiles_h=-(-blocks.blocks[1] * height.classes // rows), tap_step=width.tap_step,
        )  # fmt: skip
        return Launch(table, (packed + threads * blocks.scratch_size) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        spec, lanes, known = problem.spec, target.lanes(problem.spec.dtype), tiles_of(self, problem.spec, target)
        problem = flat(problem)
        cut, roles, sizes = blocks_of(self, problem, target, 1), known.roles, axis_sizes(problem)
        form = known.forms[cut.form]
        depth, height, width = roles.axes
        tiles = (
            cut.counts[0] * depth.classes * -(-cut.counts[1] // form.rows) * height.classes
            * -(-cut.counts[2] // cut.blocks[2]) * -(-cut.blocks[2] // form.width) * width.classes
            * -(-roles.result // form.channels)
        )  # fmt: skip
        pixels = cut.tasks * math.prod(cut.staged) * ((cut.blocks[2] - 1) * width.step + 1 + width.span)
        results = math.prod(result for _, result, _ in sizes) * roles.result
        ways = roles.result * width.classes if spec.layout == "channels_last" else width.classes
        move = (2 + (ways - 1 if ways <= FEW else 8)) / lanes
        moved = problem.batch * sum(
            math.prod(shape) * channels * BYTES[spec.dtype]
            for shape, channels in (
                ([source for source, _, _ in sizes], roles.source),
                ([result for _, result, _ in sizes], roles.result),
            )
        )
        met = [axis.met(*size) for axis, size in zip(roles.axes, sizes, strict=True)]
        share = met[0] * (met[1] if form.rows == 1 else 1)
        one = share * tiles * known.cycles[cut.form] + pixels * self.stage_cycles(spec, target) + results * move
        # Bytes a cycle from the third-level cache, and from beyond it.
        far = 0.0 if moved <= target.l2_bytes else moved / (24 if moved < target.l3_bytes // 2 else 6)
        return 1000 + self._packed(spec, lanes) + far + problem.batch * (one + 300 * cut.tasks)

    def _packed(self, spec: Spec, lanes: int) -> int:
        roles = Roles.of(spec)
        count, width = self.weights(roles, lanes)
        return roles.taps * count * roles.result * width

    @abstractmethod
    def weights(self, roles: Roles, lanes: int) -> tuple[int, int]:
        """Steps of source channels, and source channels of each step."""

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        k = Kernel(self.name, target, self.signature(spec), spec.dtype)
        roles = Roles.of(spec)
        with k.phase("pack"):
            self._pack(k, spec, roles)
        with k.phase("compute"):
            self._compute(k, spec, roles)
        return k.finish()

    def _pack(self, k: Kernel, spec: Spec, roles: Roles) -> None:
        """Bring the weight into the order ``[tap][step of source channels][result channel][channel of step]``."""
        n, (count, width) = k.numbers, self.weights(roles, k.lanes)
        _, height, across = roles.axes
        source_step, result_step = n["weight_ic"], n["weight_oc"]
        if spec.pass_ == "grad_input":
            source_step, result_step = result_step, source_step
        with k.tasks() as tap:
            w, rest = tap % across.size, tap // across.size
            h, d = rest % height.size, rest // height.size
            weight = k.pointers["weight"] + d * n["weight_d"] + h * n["weight_h"] + w * n["weight_w"]
            to = k.pointers["workspace"] + tap * (count * roles.result * width)
            with k.loop(count) as step, k.loop(roles.result) as result, k.loop(width) as lane:
                place, source = to + (step * roles.result + result) * width + lane, step * width + lane
                if count * width != roles.source:
                    place.store(k.constant(0.0))
                with k.when(source < roles.source):
                    place.store((weight + source * source_step + result * result_step).load())

    def _compute(self, k: Kernel, spec: Spec, roles: Roles) -> None:
        n = k.numbers
        depth, height, width = roles.axes
        names = ("input", "output") if spec.pass_ == "forward" else ("grad_output", "grad_input")
        source, result = (k.pointers[name] for name in names)
        with k.tasks() as task:
            w0, rest = task % n["blocks_w"] * n["block_w"], task // n["blocks_w"]
            h0, rest = rest % n["blocks_h"] * n["block_h"], rest // n["blocks_h"]
            d0, sample = rest % n["blocks_d"] * n["block_d"], rest // n["blocks_d"]
            scratch = k.pointers["workspace"] + n["scratch_offset"] + k.thread * n["scratch_size"]
            row_size = n["pitch"] * self.row_size(roles, k.lanes)
            plane = n["source_d"] * n["source_h"] * n["source_w"]
            channels = roles.source if spec.layout == "channels_last" else 1
            with k.loop(n["staged_d"]) as zd, k.loop(n["staged_h"]) as zh:
                d, h = d0 * depth.step + n["start_d"] + zd, h0 * height.step + n["start_h"] + zh
                inside = (d >= 0) & (d < n["source_d"]) & (h >= 0) & (h < n["source_h"])
                row = source + sample * plane * roles.source + (d * n["source_h"] + h) * n["source_w"] * channels
                to = scratch + (zd * n["staged_h"] + zh) * row_size
                column = w0 * width.step + n["start_w"]
                self.stage(k, spec, roles, Staged(row, to, inside, column, n["source_w"], plane))
            count = k.minimum(n["block_w"], n["count_w"] - w0)
            sums = scratch + n["staged_size"]
            forms = self.forms(spec, k.target)
            with k.loop(n["block_d"] * depth.classes) as zd:
                d = d0 * depth.classes + zd + n["offset_d"]
                with k.when((d >= 0) & (d < n["result_d"])), k.loop(n["tiles_h"]) as tile:
                    zh = tile * n["rows"]
                    h = h0 * height.classes + zh + n["offset_h"]
                    with k.when((h >= 0) & (h < n["result_h"])):
                        at = zd // depth.classes * depth.step * n["staged_h"] + zh // height.classes * height.step
                        residues = (zd % depth.classes, zh % height.classes)
                        starts = (
                            (d0 + zd // depth.classes) * depth.step + n["start_d"],
                            (h0 + zh // height.classes) * height.step + n["start_h"],
                            w0 * width.step + n["start_w"],
                        )
                        for number, form in enumerate(forms):
                            with k.when(n["form"].equals(number)):
                                self._rows(k, roles, form, scratch + at * row_size, residues, starts, count, sums)
                        with k.loop(k.minimum(n["rows"], n["result_h"] - h)) as r:
                            rows = sums + r * (n["columns"] * (width.classes * roles.result))
                            deliver(k, spec, roles, rows, result, (sample, d, h + r, w0), count)

    def _rows(
        self,
        k: Kernel,
        roles: Roles,
        form: Form,
        base: Pointer,
        residues: tuple[Index, Index],
        starts: tuple[Index, Index, Index],
        count: Index,
        to: Pointer,
    ) -> None:
        """All columns and channels of a form's rows, to scratch as ``[row][class of columns][channel][column]``."""
        pitch, columns = k.numbers["pitch"], k.numbers["columns"]
        depth, height, width = roles.axes
        _, by_column = self.across(roles, k.lanes)
        with each(k, width.classes) as residue, each(k, -(-roles.result // form.channels)) as block:
            first = k.minimum(k.index(block) * form.channels, roles.result - form.channels)
            taps = (depth.taps(k, residues[0]), height.taps(k, residues[1]), width.taps(k, residue))
            with k.loop(count, step=form.width) as column:
                sums = [
                    [[k.variable(k.constant(0.0, k.lanes)) for _ in range(form.across)] for _ in range(form.channels)]
                    for _ in range(form.rows)
                ]
                begin = (*starts[:2], starts[2] + column * width.step)
                self._tile(k, roles, form, base + column * by_column, first, taps, begin, pitch, sums)
                for r in range(form.rows):
                    for c in range(form.channels):
                        place = ((k.index(residue) + r * width.classes) * roles.result + first + c) * columns + column
                        for v, vector in enumerate(self.results(k, [variable.get() for variable in sums[r][c]])):
                            (to + place + v * vector.lanes).store(vector)

    def _tile(
        self,
        k: Kernel,
        roles: Roles,
        form: Form,
        base: Pointer,
        channel: Index,
        taps: tuple[Taps, Taps, Taps],
        starts: tuple[Index, Index, Index],
        pitch: Index,
        sums: list[list[list[Variable[Vector]]]],
    ) -> None:
        """The inner loops. With several rows, the taps of the height are unrolled, so that rows share values."""
        _, height, width = roles.axes
        row = pitch * self.row_size(roles, k.lanes)
        steps, step_apart, lanes = self.steps(roles, pitch, k.lanes)
        apart, _ = self.across(roles, k.lanes)
        by_step = roles.result * lanes
        td, th, tw = taps
        unrolled = form.rows > 1
        # Taps that read only outside the source meet only zeros.
        reach = (form.width - 1) * width.step
        columns = inside(k, tw, starts[2] + reach, k.numbers["source_w"] + reach)
        heights = (0, 1) if unrolled else inside(k, th, starts[1], k.numbers["source_h"])
        with span(k, *inside(k, td, starts[0], k.numbers["source_d"])) as jd, span(k, *heights) as jh:
            plane = (k.index(jd) * td.place_step + td.place) * k.numbers["staged_h"]
            if not unrolled:
                plane = plane + jh * th.place_step + th.place
            tap_row = (td.first + k.index(jd) * td.step) * height.size
            if not unrolled:
                tap_row = tap_row + th.first + k.index(jh) * th.step
            with span(k, *columns) as jw:
                # A step known only at run time keeps LLVM from carrying values over from tap to tap, which would take
                # more registers than there are.
                source = (
                    base + plane * row + self.column(k, roles, k.index(jw) * k.numbers["tap_step"] + tw.place, pitch)
                )
                tap = tap_row * width.size + tw.first + k.index(jw) * tw.step
                weights = k.pointers["workspace"] + (tap * (steps * roles.result) + channel) * lanes
                uses: dict[int, list[tuple[int, int]]] = {} if unrolled else {0: [(0, 0)]}
                for r in range(form.rows if unrolled else 0):
                    for t in range(height.size):
                        uses.setdefault(r * height.step + height.place(t), []).append((r, t))
                with k.walk(steps, (source, step_apart), (weights, by_step)) as (values, factors):
                    self._products(
                        k,
                        form,
                        lambda y, v: (values + row * y + v * apart).load(k.lanes),
                        lambda t, c: (
                            (factors + (t * width.size * steps * by_step + c * lanes)).load(lanes).broadcast(k.lanes)
                        ),
                        uses,
                        sums,
                    )

    def _products(
        self,
        k: Kernel,
        form: Form,
        value: Callable[[int, int], Vector],
        weight: Callable[[int, int], Vector],
        uses: dict[int, list[tuple[int, int]]],
        sums: list[list[list[Variable[Vector]]]],
    ) -> None:
        """All products of one step. What is used again stays in registers: weights, or with few vectors the values."""
        pairs = sorted({(t, c) for used in uses.values() for _, t in used for c in range(form.channels)})
        if len(uses) > 1 or form.across >= form.channels:
            held = {pair: weight(*pair) for pair in pairs}
            for y in sorted(uses):
                for v in range(form.across):
                    streamed = value(y, v)
                    for r, t in uses[y]:
                        for c in range(form.channels):
                            sums[r][c][v].set(k.fma(streamed, held[t, c], sums[r][c][v].get()))
            return
        values = [value(0, v) for v in range(form.across)]
        for t, c in pairs:
            streamed = weight(t, c)
            for v in range(form.across):
                sums[0][c][v].set(k.fma(values[v], streamed, sums[0][c][v].get()))


@contextmanager
def span(k: Kernel, low: Number, high: Number) -> Iterator[Number]:
    """A loop from ``low`` up to ``high``, or just its body where it is known to run once."""
    if isinstance(low, int) and isinstance(high, int) and high == low + 1:
        yield low
    else:
        with k.loop(high, low) as i:
            yield i


def each(k: Kernel, count: Number) -> AbstractContextManager[Number]:
    """A loop from 0."""
    return span(k, 0, count)
