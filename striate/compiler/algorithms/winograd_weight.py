"""Winograd's convolution for the gradient of the weight: stride 1, with a fraction of the multiplications.

With the transforms of `winograd_transform`, what a tile of m outputs adds to the gradient of three taps is::

    grad_weight = G^T [(A grad_output) * (B^T x)]        * element by element, in every plane of the tile

for ``y = A^T [(G w) * (B^T x)]``, weighted with grad_output and summed, is the same sum read the other way round. Sums
over tiles and samples can be taken before the last transform, and become one matrix product for each plane::

    V[plane, tile, ic] = B^T input tile        D[plane, tile, oc] = A grad_output tile
    S[plane, ic, oc]   = sum over tiles of V[plane, tile, ic] * D[plane, tile, oc]
    grad_weight        = G^T S                 grad_bias          = sum of all grad_output

F(4,3) multiplies 36 times where 16 outputs of a 3x3 kernel need 144. Dilated axes and kernels of more than three taps
are computed as in `winograd`: tiles of every residue, and triples of taps, which are to the products what input
channels are. Volumes take two outputs in depth.

Layout. ``V`` is ``[plane][tile][ic]``, where ``ic`` stands for ``[vector of ic][triple][ic of the vector]``, ``D`` is
``[plane][tile][oc]`` and ``S`` is ``[plane][ic][oc]``, each for the channels of one share. The gradient of a share,
``[ic][tap][oc]``, is turned round in registers when it is stored in the order of the weight.

Loops::

    for task in (block of input channels, block of output channels, split of the tiles):            over threads
        for some tiles of the split:
            for row of tiles: inputs, where they cross the border by way of scratch; B^T along every axis: V
            for row of tiles: grad_output, in the same way; A along every axis: D; its sum: grad_bias
            for plane, for ROWS of ic, for VECTORS of oc:
                ROWS x VECTORS accumulators, loaded from S
                for tile: VECTORS vectors of D, ROWS broadcast values of V, one multiply-add for each pair
                stored back
        for ic: G^T along every axis: the gradient of the share
        without splits: turn it into the order of the weight, and store it
    for share, for some ic:                                                                         over threads
        with splits: the same, adding the splits in their order

Why. ``S`` is larger than all else, 590 KB for 64 x 64 channels in 36 planes, and stays in the second-level cache with
the ``V`` and ``D`` of one step. Wider shares transform less often, more tiles at a time move sums less often:
`winograd_weight_blocks` weighs the two. Splits are brought back before they are added up, because nine taps are a
quarter of 36 planes. Their number depends on the problem alone, so that the result does not depend on threads.

Accuracy. Each axis lets the terms of a sum exceed the sum itself: `Filter.gradient_amplification` is 7.1 for F(4,3) and
5.6 for F(3,3). With unit roundoff u (6e-8 in float32), x and y the largest input and grad_output, and ``tiles`` those
of all samples, errors stay below::

    (tiles + 16 * axes) * u * product of amplifications * (tiles * outputs of a tile * x * y)

by the same reasoning as in `winograd`. Random errors cancel, and the sums are long: against the largest gradient,
layers of residual networks err by 1e-6 to 3e-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms.axes import three
from striate.compiler.algorithms.winograd_steps import CHANNELS, GAPS, LANES, ROWS, axes, weight_order
from striate.compiler.algorithms.winograd_tiles import Planes, Source, transform_tiles, triples
from striate.compiler.algorithms.winograd_transform import transform, transposed
from striate.compiler.algorithms.winograd_weight_ahead import Ahead, ahead, walk
from striate.compiler.algorithms.winograd_weight_blocks import Blocks, blocks_of, cut
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import copy, fill, transpose
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Number, Pointer, Vector

SIZES = ("id", "ih", "iw", "od", "oh", "ow", "pd", "ph", "pw", "td", "th", "tw", "tiles")
CUT = ("splits", "steps", "most")
WEIGHT = ("weight_oc", "weight_ic", "weight_d", "weight_h", "weight_w", "order", "tap")
PLACES = ("s", "v", "d", "stage", "values", "gradients", "gradient_size", "scratch", "scratch_size")
THREAD_CYCLES = 15_000
"""Work worth waking a thread for."""


class WinogradWeight(Algorithm):
    """F(4, 3): four outputs an axis."""

    name = "winograd-weight"
    passes = ("grad_weight",)
    exact = False
    tile: ClassVar[int] = 4

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        if spec.groups != 1:
            return "channels are in groups"
        if set(spec.stride) != {1}:
            return "stride is not 1"
        if set(spec.kernel_size) == {1}:
            return "one tap leaves nothing to share"
        if not blocks_of(spec, target, self.tile).fit:
            return "the cache has no room for the sums of so many taps"
        return None

    def tolerance(self, problem: ConvProblem) -> float:
        """See `Algorithm`: far less than the bound, for the errors of random numbers cancel."""
        return 2 * 9 * self._unit(problem)

    def bound(self, problem: ConvProblem) -> float:
        """The largest error for operands of at most 1: multiply by the largest of each."""
        dims = sum(taps > 1 for taps in problem.spec.kernel_size)
        return (self._tiles(problem) + 16 * dims) * self._unit(problem)

    def _tiles(self, problem: ConvProblem) -> int:
        sizes = zip(axes(problem.spec, self.tile), three(problem.output_size), strict=True)
        return problem.batch * math.prod(one.tiles(size) for one, size in sizes)

    def _unit(self, problem: ConvProblem) -> float:
        """What one rounding of every term can amount to, for operands of at most 1."""
        spec = problem.spec
        epsilon = 2.0**-24 if spec.dtype == "float32" else 2.0**-53
        growth = math.prod(one.filter.gradient_amplification * one.outputs for one in axes(spec, self.tile))
        return epsilon * growth * self._tiles(problem)

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        return Signature(POINTERS["grad_weight"], (*SIZES, *CUT, *WEIGHT, *PLACES), ("sums", "splits"))

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec, whole = problem.spec, cut(problem, target, self.tile)
        blocks, missing = whole.blocks, 3 - problem.spec.spatial_dims
        s, line = blocks.s, 64 // BYTES[problem.spec.dtype]
        threads = max(1, min(threads, whole.tasks, int(whole.cycles // THREAD_CYCLES)))
        gradient = -(-blocks.gradient // line) * line
        # Without splits a task stores its gradient itself, and the next one of its thread uses its memory.
        held = (threads if whole.splits == 1 else whole.tasks) * gradient
        own = {
            "s": s.planes * blocks.plane,
            # A register tile may read some rows beyond the last.
            "v": s.planes * (whole.most * blocks.v_pitch + s.lanes) + blocks.rows,
            "d": s.planes * (whole.most * blocks.d_pitch + s.lanes),
            "stage": blocks.staged(whole.counts[2], whole.most),
            "values": (s.planes + 1) * s.lanes,
        }
        places, end = {}, 0
        for name, size in own.items():
            places[name] = end
            end += -(-size // line) * line
        oc, ic, *taps = weight_strides
        depth, height, width = [0] * missing + taps
        order, tap = weight_order(s, oc, ic, (depth, height, width))
        pads = [0] * missing + [before for before, _ in problem.pads]
        sizes = (*three(problem.input_size), *three(problem.output_size), *pads, *whole.counts, whole.tiles)
        values = (*sizes, whole.splits, whole.steps, whole.most, oc, ic, depth, height, width, order, tap)
        parts = -(-blocks.ics // s.lanes)
        table = self.signature(spec).table(
            (whole.tasks, blocks.in_blocks * blocks.out_blocks * parts if whole.splits > 1 else 0),
            **dict(zip((*SIZES, *CUT, *WEIGHT), values, strict=True)),
            **places, gradients=0, gradient_size=gradient, scratch=held, scratch_size=end,
        )  # fmt: skip
        return Launch(table, (held + threads * end) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        return cut(problem, target, self.tile).cycles

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        k = Kernel("winograd_weight", target, self.signature(spec), spec.dtype)
        blocks = blocks_of(spec, target, self.tile)
        parts = -(-blocks.ics // k.lanes)
        with k.phase("sums"), k.tasks() as task:
            n, own = k.numbers, k.pointers["workspace"] + k.numbers["scratch"] + k.thread * k.numbers["scratch_size"]
            share, split = _share(k, blocks, task // n["splits"]), task % n["splits"]
            alone = n["splits"].equals(1)
            gradient = _gradient(k, k.select(alone, k.thread, task))
            first, last = n["tiles"] * split // n["splits"], n["tiles"] * (split + 1) // n["splits"]
            total = gradient + (blocks.gradient - blocks.ocs)
            if spec.bias:
                fill(k, total, blocks.ocs)
            inputs, gradients = _sources(k, spec, blocks, share)
            v = Planes(own + n["v"], n["most"] * blocks.v_pitch + k.lanes)
            d = Planes(own + n["d"], n["most"] * blocks.d_pitch + k.lanes)
            stage, values, added = own + n["stage"], own + n["values"], total if spec.bias else None
            with k.loop(n["steps"]) as step:
                begin, end = (first + (last - first) * (step + more) // n["steps"] for more in (0, 1))
                transform_tiles(k, inputs, begin, end, v, blocks.v_pitch, stage, values)
                transform_tiles(k, gradients, begin, end, d, blocks.d_pitch, stage, values, added)
                _products(k, spec, blocks, Step(step, begin, end, inputs, gradients), v, d, own + n["s"])
            _back(k, blocks, share, own + n["s"], gradient, own + n["values"])
            with k.when(alone):
                _store(k, spec, blocks, share, gradient, 0, share.ics)
        with k.phase("splits"), k.tasks() as task:
            n, share = k.numbers, _share(k, blocks, task // parts)
            first = task % parts * k.lanes
            ics = k.minimum(share.ics - first, k.lanes)
            gradient = _gradient(k, task // parts * n["splits"])
            taps = blocks.s.taps * blocks.ocs
            with k.when(ics > 0):
                _add_splits(k, gradient + first * taps, ics * taps)
                if spec.bias:
                    with k.when(first.equals(0)):
                        _add_splits(k, gradient + (blocks.gradient - blocks.ocs), blocks.ocs)
                _store(k, spec, blocks, share, gradient, first, ics)
        return k.finish()


class WinogradWeightThree(WinogradWeight):
    """F(3, 3): three outputs an axis, for small images and for the few outputs of a residue."""

    name = "winograd-weight-3"
    tile = 3


@dataclass(frozen=True, slots=True)
class Share:
    """The channels of a task."""

    ic: Number
    ics: Number
    oc: Number
    ocs: Number


def _share(k: Kernel, blocks: Blocks, number: Index) -> Share:
    ic, ics = _block(k, number // blocks.out_blocks, blocks.ics, blocks.s.ics)
    oc, ocs = _block(k, number % blocks.out_blocks, blocks.ocs, blocks.s.ocs)
    return Share(ic, ics, oc, ocs)


def _block(k: Kernel, number: Index, size: int, whole: int) -> tuple[Number, Number]:
    """Where a block of ``size`` begins, and how much of it there is: plain numbers where all blocks are alike."""
    if size >= whole:
        return 0, whole
    first = number * size
    return first, k.minimum(whole - first, size) if whole % size else size


def _gradient(k: Kernel, place: Index) -> Pointer:
    return k.pointers["workspace"] + k.numbers["gradients"] + place * k.numbers["gradient_size"]


def _sources(k: Kernel, spec: Spec, blocks: Blocks, share: Share) -> tuple[Source, Source]:
    """The input and grad_output of a share."""
    n, s = k.numbers, blocks.s
    depth, height, width = s.axes
    inputs = Source(
        k.pointers["input"],
        spec.layout,
        (n["id"], n["ih"], n["iw"]),
        (n["pd"], n["ph"], n["pw"]),
        s.ics,
        share.ic,
        share.ics,
        blocks.ics,
        s.axes,
        (depth.span, height.span, width.span),
        (depth.triples, height.triples, width.triples),
        (depth.filter.b, height.filter.b, width.filter.b),
    )
    gradients = Source(
        k.pointers["grad_output"],
        spec.layout,
        (n["od"], n["oh"], n["ow"]),
        (0, 0, 0),
        s.ocs,
        share.oc,
        share.ocs,
        blocks.ocs,
        s.axes,
        (depth.outputs, height.outputs, width.outputs),
        (1, 1, 1),
        (transposed(depth.filter.a), transposed(height.filter.a), transposed(width.filter.a)),
    )
    return inputs, gradients


@dataclass(frozen=True, slots=True)
class Step:
    """The tiles that a task takes at a time."""

    number: Index
    begin: Index
    end: Index
    inputs: Source
    gradients: Source


def _products(k: Kernel, spec: Spec, blocks: Blocks, step: Step, v: Planes, d: Planes, sums: Pointer) -> None:
    """Add the tiles of a step to the sums of a share; those of the first step begin with zero.

    The last register tile may read rows of ``V`` that stand for no channel, and vectors of ``D`` beyond the last. What
    it makes of them has room, and nobody reads it.
    """
    wide, height = blocks.vectors * k.lanes, blocks.rows
    across = -(-blocks.ocs // wide)
    sources = (step.inputs, step.gradients) if spec.layout == "channels_last" else ()

    def multiply(
        k: Kernel, v: Pointer, d: Pointer, sums: Pointer, inputs: Pointer, gradients: Pointer,
        first: Index, terms: Index, ocs: Index, count: Index, visit: Index, *later: Index,
    ) -> None:  # fmt: skip
        with k.loop(terms, step=height) as term, k.loop(ocs, step=wide) as oc:
            place = sums + term * blocks.ocs + oc
            offsets = [r * blocks.ocs + lane * k.lanes for r in range(height) for lane in range(blocks.vectors)]
            begin = k.either(first.equals(0), k.zeros(height * blocks.ocs), place)
            totals = [k.variable((begin + offset).load(k.lanes)) for offset in offsets]
            steps: list[tuple[Pointer, Number]] = [(v + term, blocks.v_pitch), (d + oc, blocks.d_pitch)]
            for number, (array, source) in enumerate(zip((inputs, gradients), sources, strict=False)):
                wanted = Ahead(*later[5 * number : 5 * number + 5])
                steps.append(walk(k, array, source, wanted, visit + term // height * across + oc // wide, count))
            with k.walk(count, *steps) as (values, vectors, *lines):
                for line in lines:
                    line.prefetch(level=2)
                lanes = [(vectors + lane * k.lanes).load(k.lanes) for lane in range(blocks.vectors)]
                for r in range(height):
                    value = (values + r).load().broadcast(k.lanes)
                    for vector, total in zip(lanes, totals[r * blocks.vectors :], strict=False):
                        total.set(k.fma(value, vector, total.get()))
            for offset, total in zip(offsets, totals, strict=True):
                (place + offset).store(total.get())

    count = step.end - step.begin
    later = [argument for source in sources for argument in ahead(k, source, step.end, count).arguments()]
    terms, ocs, visits = step.inputs.count * blocks.s.triples, step.gradients.count, -(-blocks.terms // height) * across
    with k.loop(blocks.s.planes) as plane:
        here = (v.plane(plane), d.plane(plane), sums + plane * blocks.plane, step.inputs.first, step.gradients.first)
        k.shared("multiply", multiply, *here, step.number, terms, ocs, count, plane * visits, *later)


def _back(k: Kernel, blocks: Blocks, share: Share, sums: Pointer, gradient: Pointer, values: Pointer) -> None:
    """From the sums of a share to its gradient, ``[ic][tap][oc]``."""
    s = blocks.s
    depth, height, width = s.axes
    with (
        k.loop(share.ics) as ic,
        triples(k, (depth.triples, height.triples, width.triples)) as (triple, place),
        k.loop(share.ocs, step=k.lanes) as oc,
    ):
        vector = ic // k.lanes * k.lanes
        term = vector * s.triples + k.minimum(share.ics - vector, k.lanes) * triple + ic % k.lanes

        def read(d: Number, h: int, w: int, at: Pointer = sums + term * blocks.ocs + oc) -> Vector:
            return (at + ((d * height.inputs + h) * width.inputs + w) * blocks.plane).load(k.lanes)

        def write(
            d: int, h: Number, w: Number, value: Vector, to: Pointer = gradient + ic * (s.taps * blocks.ocs) + oc
        ) -> None:
            at: Number = 0
            missing = []
            for one, before, near in zip(s.axes, place, (d, h, w), strict=True):
                tap = before * one.filter.taps + near
                at = at * one.taps + tap
                if one.taps % one.filter.taps:
                    missing.append(k.index(tap) >= one.taps)
            there = to + at * blocks.ocs
            for gone in missing:
                # Taps that only fill up the last triple go where they do no harm.
                there = k.either(gone, values + s.planes * k.lanes, there)
            there.store(value)

        back = (transposed(depth.filter.g), transposed(height.filter.g), transposed(width.filter.g))
        transform(k, back, read, write, values)


def _add_splits(k: Kernel, first: Pointer, count: Number) -> None:
    """Add up so many values of all splits, in their order, where those of the first split are."""
    n = k.numbers
    with k.loop(count, step=k.lanes) as place:
        total = k.variable((first + place).load(k.lanes))
        with k.loop(n["splits"], 1) as split:
            total.set(total.get() + (first + place + split * n["gradient_size"]).load(k.lanes))
        (first + place).store(total.get())


def _store(k: Kernel, spec: Spec, blocks: Blocks, share: Share, gradient: Pointer, first: Number, ics: Number) -> None:
    """Store the gradient of ``ics`` channels of a share, from ``first`` on, in the order of the weight."""
    n, s, row = k.numbers, blocks.s, blocks.s.taps * blocks.ocs
    _, height, width = s.axes
    if spec.bias:
        with k.when(k.index(share.ic + first).equals(0)):
            copy(k, gradient + (blocks.gradient - blocks.ocs), k.pointers["grad_bias"] + share.oc, share.ocs)
    came = gradient + first * row
    to = k.pointers["grad_weight"] + share.oc * n["weight_oc"] + (share.ic + first) * n["weight_ic"]
    order = n["order"]
    with k.when((order > LANES) & (order < GAPS)):
        channels, rows = order.equals(CHANNELS), order.equals(ROWS)
        pieces = k.select(rows, 1, k.select(channels, s.taps, ics))
        count = k.select(rows, ics * s.taps, k.select(channels, ics, s.taps))
        with k.loop(pieces) as piece:
            source = came + piece * k.select(channels, blocks.ocs, row)
            there = to + piece * k.select(channels, n["tap"], n["weight_ic"])
            transpose(k, source, k.select(channels, row, blocks.ocs), there, n["weight_oc"], count, share.ocs)
    with k.when(order.equals(LANES) | order.equals(GAPS)), k.loop(ics) as ic, k.loop(s.taps) as tap:
        d, h, w = tap // (height.taps * width.taps), tap // width.taps % height.taps, tap % width.taps
        there = to + ic * n["weight_ic"] + d * n["weight_d"] + h * n["weight_h"] + w * n["weight_w"]
        source = came + ic * row + tap * blocks.ocs
        with k.when(order.equals(LANES)):
            copy(k, source, there, share.ocs)
        with k.when(order.equals(GAPS)):
            transpose(k, source, blocks.ocs, there, n["weight_oc"], 1, share.ocs)
