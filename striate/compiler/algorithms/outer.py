"""The weight gradient of layers with few output channels: lanes along input channels.

For every pixel, the gradient grows by the outer product of a few output gradients and many inputs::

    grad_weight[k, ic, oc] += grad_output[o, oc] * input[o * stride + k * dilation - before, ic]

Layout. Input rows are staged as for `striate.compiler.algorithms.dot`: ``[column][input channel]``, with zeros around
and channels filled up to whole vectors. Output gradients are broadcast from where they lie, in either layout.

Loops::

    for split of the rows:                                                                     over threads
        for block of rows: stage its input
            for tap kd, kh, for TAPS taps kw, for VECTORS vectors of input channels:
                TAPS x VECTORS x C_out accumulators, continued from the sums of the split
                for row, for PIXELS pixels of the row:
                    each input vector is loaded once for all the taps that meet it
    add up the splits                                                                          over threads, by taps

Why. A vector along 1 or 2 output channels would be empty; along the input channels it is full. Neighbouring taps read
the same inputs at neighbouring pixels, so that PIXELS pixels at once need hardly more loads than one. The number of
splits depends on the problem alone, and so do the sums.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms.dot import Dot
from striate.compiler.algorithms.few_channels import Staged, each
from striate.compiler.algorithms.residues import FEW, Roles, axis_sizes
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import fill
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Number, Pointer, Variable, Vector

PIXELS = 4
SPLITS = 16
"""Partial sums of this many shares of the rows: enough for any even spread over threads."""


class Outer(Algorithm):
    """The weight gradient of few output channels, as sums of outer products."""

    name = "outer"
    passes = ("grad_weight",)

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        if spec.groups > 1:
            return "groups"
        if spec.out_channels > FEW:
            return "enough output channels for vectors of their own"
        lanes = target.lanes(spec.dtype)
        staged = math.prod(self._staged(spec, 1)) * lanes + lanes
        if max(self._sums(spec, lanes), staged * self._padded(spec, lanes)) * BYTES[spec.dtype] > target.l2_bytes // 2:
            return "the sums or the rows of one result do not fit the cache"
        return None

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        sizes = tuple(f"{kind}_{axis}" for kind in ("source", "result", "start") for axis in "dhw")
        strides = ("weight_oc", "weight_ic", "weight_d", "weight_h", "weight_w")
        blocks = ("block_h", "block_w", "blocks_h", "blocks_w", "staged_d", "staged_h", "pitch", "apart")
        memory = ("units", "splits", "sums_size", "scratch_offset", "scratch_size")
        return Signature(POINTERS["grad_weight"], (*sizes, *strides, *blocks, *memory), ("multiply", "reduce"))

    def _padded(self, spec: Spec, lanes: int) -> int:
        """Input channels, filled up to whole vectors."""
        return -(-spec.in_channels // lanes) * lanes

    def _sums(self, spec: Spec, lanes: int) -> int:
        """Elements of one split's sums, those of the bias included, in whole cache lines."""
        return -(-(math.prod(spec.kernel_size) * self._padded(spec, lanes) * spec.out_channels + FEW) // 16) * 16

    def _staged(self, spec: Spec, rows: int) -> tuple[int, int]:
        """Input planes and rows of a block of output rows."""
        depth, height, _ = Roles.of(spec).axes
        return 1 + depth.span, (rows - 1) * height.step + 1 + height.span

    def _tile(self, spec: Spec, target: Target) -> tuple[int, int]:
        """Taps kw and vectors of input channels of one accumulator tile: as many as registers hold, none left over."""
        steps = self._padded(spec, target.lanes(spec.dtype)) // target.lanes(spec.dtype)
        registers = target.vector_registers - 2 - min(PIXELS * spec.out_channels, FEW)
        taps = _divisor(spec.kernel_size[-1], max(1, registers // spec.out_channels))
        return taps, _divisor(steps, min(4, max(1, registers // (spec.out_channels * taps))))

    def _blocks(self, problem: ConvProblem, target: Target) -> tuple[int, int, int, int]:
        """Output rows and columns of a block; the pitch and size of its staged input."""
        spec, lanes = problem.spec, target.lanes(problem.spec.dtype)
        width = Roles.of(spec).axes[2]
        _, (_, oh, _), (_, ow, _) = axis_sizes(problem)
        limit = target.l2_bytes // 4 // BYTES[spec.dtype]

        def memory(rows: int, columns: int) -> tuple[int, int]:
            pitch = -(-((columns - 1) * width.step + 1 + width.span) // lanes) * lanes
            return pitch, math.prod(self._staged(spec, rows)) * pitch * self._padded(spec, lanes)

        rows, columns = 1, ow
        while columns > lanes and memory(1, columns)[1] > limit:
            columns = -(-columns // 2)
        while rows < oh and memory(2 * rows, columns)[1] <= limit:
            rows = min(2 * rows, oh)
        return rows, columns, *memory(rows, columns)

    def _units(self, problem: ConvProblem, rows: int, columns: int) -> int:
        (_, od, _), (_, oh, _), (_, ow, _) = axis_sizes(problem)
        return problem.batch * od * -(-oh // rows) * -(-ow // columns)

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec, lanes = problem.spec, target.lanes(problem.spec.dtype)
        roles, missing = Roles.of(spec), 3 - spec.spatial_dims
        rows, columns, pitch, size = self._blocks(problem, target)
        units = self._units(problem, rows, columns)
        splits = max(1, min(SPLITS, units))
        threads = max(1, min(threads, splits, int(self.cycles(problem, target) // 15000)))
        named: dict[str, int] = {}
        for name, axis, (source, result, before) in zip("dhw", roles.axes, axis_sizes(problem), strict=True):
            named |= {f"source_{name}": source, f"result_{name}": result}
            named |= {f"start_{name}": axis.numbers(source, result, before)[2]}
        staged = self._staged(spec, rows)
        sums, scratch = self._sums(spec, lanes), -(-size // 16) * 16
        wd, wh, ww = (0,) * missing + weight_strides[2:]
        table = self.signature(spec).table(
            (splits, math.prod(spec.kernel_size)), **named,
            weight_oc=weight_strides[0], weight_ic=weight_strides[1], weight_d=wd, weight_h=wh, weight_w=ww,
            block_h=rows, block_w=columns, blocks_h=-(-named["result_h"] // rows),
            blocks_w=-(-named["result_w"] // columns), staged_d=staged[0], staged_h=staged[1], pitch=pitch,
            apart=roles.axes[2].step * self._padded(spec, lanes), units=units, splits=splits, sums_size=sums,
            scratch_offset=splits * sums, scratch_size=scratch,
        )  # fmt: skip
        return Launch(table, (splits * sums + threads * scratch) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        spec, lanes = problem.spec, target.lanes(problem.spec.dtype)
        taps, vectors = self._tile(spec, target)
        width = Roles.of(spec).axes[2]
        rows, columns, _, size = self._blocks(problem, target)
        units = self._units(problem, rows, columns)
        positions = len(_meetings(PIXELS, taps, width.step, width.dilation)) * vectors
        products = PIXELS * taps * vectors * spec.out_channels
        once = max(products, positions + PIXELS * spec.out_channels) * 1.2 + 2
        pixels = problem.batch * math.prod(problem.output_size)
        steps = self._padded(spec, lanes) // lanes
        tiles = math.prod(spec.kernel_size) // taps * steps // vectors
        bias = 4 * pixels if spec.bias else 0
        staging = units * size / lanes * (4 if spec.layout == "channels_last" else 14)
        sums = self._sums(spec, lanes) * (max(1, min(SPLITS, units)) * 2 / lanes + 2)
        return 2000 + pixels / PIXELS * tiles * once + staging + bias + sums + units * (200 + tiles * 30)

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        k = Kernel("outer", target, self.signature(spec), spec.dtype)
        with k.phase("multiply"):
            self._multiply(k, spec)
        with k.phase("reduce"):
            self._reduce(k, spec)
        return k.finish()

    def _multiply(self, k: Kernel, spec: Spec) -> None:
        n, roles = k.numbers, Roles.of(spec)
        last = spec.layout == "channels_last"
        with k.tasks() as split:
            sums = k.pointers["workspace"] + split * n["sums_size"]
            scratch = k.pointers["workspace"] + n["scratch_offset"] + k.thread * n["scratch_size"]
            fill(k, sums, n["sums_size"])
            begin = n["units"] * split // n["splits"]
            with k.loop(n["units"] * (split + 1) // n["splits"], begin) as unit:
                w0, rest = unit % n["blocks_w"] * n["block_w"], unit // n["blocks_w"]
                h0, rest = rest % n["blocks_h"] * n["block_h"], rest // n["blocks_h"]
                d0, sample = rest % n["result_d"], rest // n["result_d"]
                self._stage(k, spec, roles, scratch, (sample, d0, h0, w0))
                plane = n["result_d"] * n["result_h"] * n["result_w"]
                row = (d0 * n["result_h"] + h0) * n["result_w"] + w0
                gradient = k.pointers["grad_output"] + sample * plane * spec.out_channels
                gradient = gradient + row * (spec.out_channels if last else 1)
                rows = k.minimum(n["block_h"], n["result_h"] - h0)
                columns = k.minimum(n["block_w"], n["result_w"] - w0)
                by_channel, by_pixel = (1, spec.out_channels) if last else (plane, 1)
                self._tiles(k, spec, scratch, gradient, (by_channel, by_pixel), (rows, columns), sums)
                if spec.bias:
                    self._bias(
                        k, spec, gradient, (by_channel, by_pixel), (rows, columns), sums + (n["sums_size"] - FEW)
                    )

    def _stage(
        self, k: Kernel, spec: Spec, roles: Roles, scratch: Pointer, at: tuple[Index, Index, Index, Index]
    ) -> None:
        n, (depth, height, width) = k.numbers, roles.axes
        sample, d0, h0, w0 = at
        plane = n["source_d"] * n["source_h"] * n["source_w"]
        with k.loop(n["staged_d"]) as zd, k.loop(n["staged_h"]) as zh:
            d, h = d0 * depth.step + n["start_d"] + zd, h0 * height.step + n["start_h"] + zh
            inside = (d >= 0) & (d < n["source_d"]) & (h >= 0) & (h < n["source_h"])
            line = (d * n["source_h"] + h) * n["source_w"]
            row = k.pointers["input"] + sample * plane * spec.in_channels
            row = row + line * (spec.in_channels if spec.layout == "channels_last" else 1)
            to = scratch + (zd * n["staged_h"] + zh) * (n["pitch"] * self._padded(spec, k.lanes))
            column = w0 * width.step + n["start_w"]
            Dot().stage(k, spec, roles, Staged(row, to, inside, column, n["source_w"], plane))

    def _tiles(
        self,
        k: Kernel,
        spec: Spec,
        scratch: Pointer,
        gradient: Pointer,
        by: tuple[Number, Number],
        count: tuple[Index, Index],
        sums: Pointer,
    ) -> None:
        """All taps and input channels of a block."""
        n, (depth, height, width) = k.numbers, Roles.of(spec).axes
        taps, vectors = self._tile(spec, k.target)
        padded, channels, lanes = self._padded(spec, k.lanes), spec.out_channels, k.lanes
        row_size = n["pitch"] * padded
        with (
            each(k, depth.size) as kd,
            each(k, height.size) as kh,
            each(k, width.size // taps) as kw,
            each(k, padded // lanes // vectors) as step,
        ):
            plane = k.index(kd) * depth.dilation * n["staged_h"] + k.index(kh) * height.dilation
            base = scratch + plane * row_size + k.index(kw) * (taps * width.dilation * padded)
            base = base + k.index(step) * (vectors * lanes)
            tap = (k.index(kd) * height.size + kh) * width.size + k.index(kw) * taps
            to = sums + (tap * (padded // lanes) + k.index(step) * vectors) * (channels * lanes)
            places = [
                [
                    [to + (t * padded // lanes + v) * channels * lanes + c * lanes for c in range(channels)]
                    for v in range(vectors)
                ]
                for t in range(taps)
            ]
            tile = [[[k.variable(place.load(lanes)) for place in places_v] for places_v in row] for row in places]
            with k.loop(count[0]) as r:
                source = base + r * height.step * row_size
                pixel_row = gradient + r * n["result_w"] * by[1]
                whole = count[1] // PIXELS * PIXELS
                for pixels, first, last in ((PIXELS, k.index(0), whole), (1, whole, count[1])):
                    moving = (
                        (source + first * n["apart"], n["apart"] * pixels),
                        (pixel_row + first * by[1], k.index(by[1]) * pixels),
                    )
                    with k.walk((last - first) // pixels, *moving) as (at, g):
                        _products(k, spec, (pixels, taps, vectors), at, padded, g, by, tile)
            for t in range(taps):
                for v in range(vectors):
                    for c in range(channels):
                        places[t][v][c].store(tile[t][v][c].get())

    def _bias(
        self,
        k: Kernel,
        spec: Spec,
        gradient: Pointer,
        by: tuple[Number, Number],
        count: tuple[Index, Index],
        to: Pointer,
    ) -> None:
        """Add the output gradients of a block to the sums of the bias."""
        tile = [k.variable((to + c).load()) for c in range(spec.out_channels)]
        with k.loop(count[0]) as r, k.loop(count[1]) as w:
            at = gradient + (r * k.numbers["result_w"] + w) * by[1]
            for c in range(spec.out_channels):
                tile[c].set(tile[c].get() + (at + k.index(by[0]) * c).load())
        for c in range(spec.out_channels):
            (to + c).store(tile[c].get())

    def _reduce(self, k: Kernel, spec: Spec) -> None:
        """Add up the splits, one tap a task, and bring the sums to their places."""
        n, (_, height, width) = k.numbers, Roles.of(spec).axes
        padded, lanes = self._padded(spec, k.lanes), k.lanes
        with k.tasks() as tap:
            w, rest = tap % width.size, tap // width.size
            h, d = rest % height.size, rest // height.size
            result = k.pointers["grad_weight"] + d * n["weight_d"] + h * n["weight_h"] + w * n["weight_w"]
            with k.loop(padded // lanes) as step, k.loop(spec.out_channels) as c:
                at = k.pointers["workspace"] + ((tap * (padded // lanes) + step) * spec.out_channels + c) * lanes
                total = k.variable(at.load(lanes))
                with k.loop(n["splits"], 1) as split:
                    total.set(total.get() + (at + split * n["sums_size"]).load(lanes))
                at.store(total.get())
                with k.loop(k.minimum(lanes, spec.in_channels - step * lanes)) as lane:
                    ic = step * lanes + lane
                    (result + c * n["weight_oc"] + ic * n["weight_ic"]).store((at + lane).load())
            if spec.bias:
                with k.when(tap.equals(0)), k.loop(spec.out_channels) as c:
                    at = k.pointers["workspace"] + (n["sums_size"] - FEW) + c
                    one = k.variable(at.load())
                    with k.loop(n["splits"], 1) as split:
                        one.set(one.get() + (at + split * n["sums_size"]).load())
                    (k.pointers["grad_bias"] + c).store(one.get())


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` up to ``limit``."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)


def _meetings(pixels: int, taps: int, stride: int, dilation: int) -> dict[int, list[tuple[int, int]]]:
    """For each input column of a tile, the (pixel, tap) pairs that meet there."""
    found: dict[int, list[tuple[int, int]]] = {}
    for pixel in range(pixels):
        for tap in range(taps):
            found.setdefault(pixel * stride + tap * dilation, []).append((pixel, tap))
    return dict(sorted(found.items()))


def _products(
    k: Kernel,
    spec: Spec,
    shape: tuple[int, int, int],
    source: Pointer,
    padded: int,
    gradient: Pointer,
    by: tuple[Number, Number],
    tile: list[list[list[Variable[Vector]]]],
) -> None:
    """The outer products of a few pixels: gradients are held, inputs pass by."""
    pixels, taps, vectors = shape
    width = Roles.of(spec).axes[2]
    held = [
        [
            (gradient + (k.index(by[0]) * c + k.index(by[1]) * p)).load().broadcast(k.lanes)
            for c in range(spec.out_channels)
        ]
        for p in range(pixels)
    ]
    for place, pairs in _meetings(pixels, taps, width.step, width.dilation).items():
        for v in range(vectors):
            value = (source + place * padded + v * k.lanes).load(k.lanes)
            for p, t in pairs:
                for c in range(spec.out_channels):
                    tile[t][v][c].set(k.fma(value, held[p][c], tile[t][v][c].get()))
