"""Winograd convolution: stride 1, with a fraction of the multiplications.

Tiles of m outputs an axis are computed from m + 2 inputs (`winograd_transform`), in a transformed domain that knows
no taps: in each of its *planes* (36 of them for F(4,3) in two dimensions) there is one matrix product over channels::

    V[plane, tile, ic] = B^T input tile        U[plane, ic, oc] = G weight
    M[plane, tile, oc] = sum over ic of V[plane, tile, ic] * U[plane, ic, oc]
    output tile        = A^T M + bias

F(4,3) multiplies 36 times where 16 outputs of a 3x3 kernel need 144. ``grad_input`` is the same with flipped taps,
input and output channels exchanged, and paddings ``(taps - 1) * dilation - p``. Axes of one tap are computed pixel by
pixel. Volumes take two outputs in depth: with four, 216 planes would leave room for too few tiles in the cache.

Pixels of a tile are ``dilation`` apart, and kernels of more than three taps are cut into *triples* (`winograd_axis`),
each with transforms of its own: the sum over ic is one over triples and ic, and nothing else changes. A triple costs
one input transform more, and saves as many multiplications as a kernel of three taps does.

Layout. ``U`` is ``[oc block][plane][ic][lane]``, ``V`` is ``[plane][tile][ic]``, ``M`` is ``[plane][tile][lane]`` for
one oc block of VECTORS vectors, where ``ic`` stands for ``[vector of ic][triple][ic of the vector]``: a few input
channels, with all their triples, are neighbours. Tiles of all samples are numbered in one row and a task takes the next
BLOCK of them, whatever rows and samples they belong to, so that small images fill register tiles too.

Loops of `WinogradTiles`, for images of many tiles::

    for SHARE oc blocks:
        for oc block, for a few ic: weights to [ic][tap][lane], then G along every axis: U      over threads
        for BLOCK tiles:                                                                        over threads
            for row of tiles: inputs, where they cross the border by way of scratch; B^T along every axis: V
            for oc block:
                multiply: M
                for row of tiles: A^T along every axis, bias, activation: outputs

Loops of `WinogradWide`, for many channels and few tiles::

    for a few tiles: B^T along every axis: V                                                    over threads
    for oc block, for BLOCK tiles:                                                              over threads
        for CHUNK ic: weights to [ic][tap][lane]; G along every axis: U; multiply: M
        for row of tiles: A^T along every axis, bias, activation: outputs

Multiply::

    for plane, for PIXELS tiles:
        PIXELS x VECTORS accumulators
        for ic: VECTORS weight vectors, PIXELS broadcast values, one multiply-add for each pair

Why. The product is the direct kernel's with other names and runs at its speed. A transform costs about six cycles for
each plane and vector, so it pays with some twenty channels on either side. In the first order ``V`` and ``M`` of a
task stay in the second-level cache, and transformed weights, four times the size of the weights, are shared by all.
Where they would take more memory than inputs and outputs do, there are several rounds of some output channels each, and
inputs are transformed anew in each: three rounds take a tenth longer. With 512 channels they would be 38 MB, written
and read again; in the second order they exist for CHUNK input channels at a time, and it is small images that are held
transformed. PIXELS and BLOCK are chosen at run time, so that the tiles there are, however few, divide evenly. Rows of
``V``, and planes, are padded by a cache line where they would fall into the same sets of the first-level cache.

Accuracy. Each axis lets the terms of a sum exceed the sum itself: `Axis.amplification` is 7.9 for F(4,3) and 2.7 for
F(2,3). With unit roundoff u (6e-8 in float32), x and w the largest input and weight, and sums of ``length`` terms,
errors stay below::

    (length + 16 * axes) * u * product of amplifications * (channels * taps * x * w)

A sum of products that is rounded n times errs by at most n u times the sum of its absolute terms; 16 covers what an
axis rounds in its three transforms. ``taps`` are those of all triples, zeros included. ``length`` is the number of
channels times that of triples; in the second order, what a chunk of channels has of them, and the number of chunks.
Random errors cancel: against the largest output, layers of residual networks err by 2e-6 to 5e-6 with F(4,3) and 4e-7
to 9e-7 with F(2,3). Long sums of equal numbers, whose errors do not cancel, come nearest to the bound, to about a
fifteenth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms.axes import three
from striate.compiler.algorithms.winograd_steps import (
    Shape,
    axes,
    fetch_weights,
    input_transform,
    output_transform,
    products,
    shape,
    weight_order,
    weight_transform,
)
from striate.compiler.algorithms.winograd_tiles import Planes
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import fill
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Pointer

LINE = 64
"""Bytes of a cache line."""
SIZES = ("id", "ih", "iw", "od", "oh", "ow", "pd", "ph", "pw", "td", "th", "tw", "tiles")
WEIGHT = ("lane", "reduce", "weight_d", "weight_h", "weight_w", "order", "tap")
PLACES = ("u", "v", "m", "inputs", "outputs", "stage", "values", "scratch", "scratch_size")
BLOCKS = ("block", "form", "share", "rounds")
CHUNK = 64
"""Terms of a sum whose transformed weights a thread of `WinogradWide` holds: input channels, for each triple."""
PRODUCT, INPUT, OUTPUT, WEIGHT_PLANE, WEIGHT_TAP, BYTES_PER_CYCLE = 1.05, 6, 6, 6, 12, 8
"""Measured cycles: of a multiply-add, of a vector in a plane of each transform, of a vector of weights turned round."""
FRESH = 0.25
"""Cycles a byte of memory that the system has to find and clear first."""
INPUTS = 16
"""Tiles whose inputs a task of `WinogradWide` transforms."""


class Winograd(Algorithm):
    """What both orders of the steps have in common; ``tile`` outputs an axis."""

    passes = ("forward", "grad_input")
    exact = False
    tile: ClassVar[int]
    phases: ClassVar[tuple[str, str]]
    rounds: ClassVar[str | None] = None

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        if spec.groups != 1:
            return "channels are in groups"
        if set(spec.stride) != {1}:
            return "stride is not 1"
        if set(spec.kernel_size) == {1}:
            return "one tap leaves nothing to share"
        return None

    def tolerance(self, problem: ConvProblem) -> float:
        """See `Algorithm`: far less than the bound, for the errors of random numbers cancel."""
        return 2 * 9 * self._unit(problem)

    def bound(self, problem: ConvProblem) -> float:
        """The largest error for operands of at most 1: multiply by the largest of each."""
        spec = problem.spec
        dims = sum(taps > 1 for taps in spec.kernel_size)
        triples = math.prod(one.triples for one in axes(spec, self.tile))
        return (self.length(_summed(spec), triples) + 16 * dims) * self._unit(problem)

    def length(self, ics: int, triples: int) -> int:
        """How many additions follow each other in a sum over ``ics`` channels, of ``triples`` each."""
        return ics * triples

    def _unit(self, problem: ConvProblem) -> float:
        """What one rounding of every term can amount to, for operands of at most 1."""
        spec = problem.spec
        epsilon = 2.0**-24 if spec.dtype == "float32" else 2.0**-53
        growth = math.prod(
            one.filter.amplification * one.filter.taps * one.triples for one in axes(spec, self.tile)
        )  # fmt: skip
        return epsilon * growth * _summed(spec)

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        return Signature(POINTERS[spec.pass_], (*SIZES, *WEIGHT, *PLACES, *BLOCKS), self.phases, self.rounds)

    def numbers(self, problem: ConvProblem, s: Shape, weight_strides: Strides) -> dict[str, int]:
        """Sizes and strides, in the roles they have in this pass."""
        spec = problem.spec
        missing = 3 - spec.spatial_dims
        read, written = three(problem.input_size), three(problem.output_size)
        pads = [0] * missing + [before for before, _ in problem.pads]
        lane, reduce, *taps = weight_strides
        if spec.pass_ == "grad_input":
            read, written, lane, reduce = written, read, reduce, lane
            pads = [(one.taps - 1) * one.dilation - pad for one, pad in zip(s.axes, pads, strict=True)]
        counts = [one.tiles(size) for size, one in zip(written, s.axes, strict=True)]
        depth, height, width = [0] * missing + taps
        order, tap = weight_order(s, lane, reduce, (depth, height, width))
        tiles = problem.batch * math.prod(counts)
        values = (*read, *written, *pads, *counts, tiles, lane, reduce, depth, height, width, order, tap)
        return dict(zip((*SIZES, *WEIGHT), values, strict=True))

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec = problem.spec
        s = shape(spec, target, self.tile)
        numbers = self.numbers(problem, s, weight_strides)
        cache = target.l2_bytes // BYTES[spec.dtype]
        form, block = self.blocking(s, numbers["tiles"], threads, cache)
        share = self.share(s, problem, cache)
        shared, own = self.memory(s, numbers["tiles"], numbers["tw"], block, share)
        line = LINE // BYTES[spec.dtype]
        places = dict.fromkeys(PLACES, 0)
        scratch = _lay(shared, places, line)
        size = _lay(own, places, line)
        places |= {"scratch": scratch, "scratch_size": size}
        tasks = self.tasks(s, numbers["tiles"], block, share)
        blocks = dict(zip(BLOCKS, (block, form, share, -(-s.blocks // share)), strict=True))
        table = self.signature(spec).table(tasks, **numbers, **places, **blocks)
        threads = max(1, min(threads, max(tasks)))
        return Launch(table, (scratch + threads * size) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`: products, transforms of inputs, outputs and weights, and traffic."""
        spec = problem.spec
        s = shape(spec, target, self.tile)
        size = BYTES[spec.dtype]
        written = three(problem.input_size if spec.pass_ == "grad_input" else problem.output_size)
        counts = [one.tiles(size) for size, one in zip(written, s.axes, strict=True)]
        tiles = problem.batch * math.prod(counts)
        cache = target.l2_bytes // size
        form, block = self.blocking(s, tiles, 1, cache)
        share = self.share(s, problem, cache)
        rounds = -(-s.blocks // share)
        held = sum(self.memory(s, tiles, counts[-1], block, share)[0].values())
        computed = -(-tiles // form) * form
        sums = s.planes * s.blocks * s.vectors * s.terms * computed
        loads = max(1.0, (form + s.vectors) / (form * s.vectors))
        moved = _moved(problem)
        return (
            sums * loads * PRODUCT
            + tiles * s.planes * (-(-s.ics // s.lanes) * s.triples * INPUT * rounds + s.blocks * s.vectors * OUTPUT)
            + self.weight_cycles(s, tiles, block)
            + self.streamed(s, tiles, block, cache) * size / BYTES_PER_CYCLE
            + max(held - _room(s, problem, cache), 0) * size * FRESH
            + moved * size * (1.5 if spec.layout == "channels_last" else 2.5) / BYTES_PER_CYCLE
        )

    def weight_cycles(self, s: Shape, tiles: int, block: int) -> float:
        """What transforming all weights costs, once."""
        return s.ics * s.blocks * s.vectors * (s.planes * s.triples * WEIGHT_PLANE + s.taps * WEIGHT_TAP)

    def streamed(self, s: Shape, tiles: int, block: int, cache: int) -> float:
        """Transformed values that come from beyond the second-level cache, of ``cache`` values."""
        raise NotImplementedError

    def blocking(self, s: Shape, tiles: int, threads: int, cache: int) -> tuple[int, int]:
        """The tiles of a register tile and of a task, for a second-level cache of ``cache`` values."""
        best, least = (s.forms[-1], s.forms[-1]), math.inf
        for form in s.forms:
            for parts in (1, 2, 3, 4, 6, 8):
                block = form * parts
                if parts > 1 and (self.held(s, block) > cache * 5 // 8 or block >= tiles + form):
                    break
                # A register tile takes as long as its multiply-adds or its loads; weights come once for each task.
                step = max(form * s.vectors, form + s.vectors) + s.vectors * 4 / parts
                cost = -(-max(self.tasks(s, tiles, block, s.blocks)[1], 1) // threads) * parts * step
                if cost < least:
                    best, least = (form, block), cost
        return best

    def share(self, s: Shape, problem: ConvProblem, cache: int) -> int:
        """Blocks of output channels of a round."""
        return s.blocks

    def held(self, s: Shape, block: int) -> int:
        """Values that a task of ``block`` tiles wants to keep in the second-level cache."""
        raise NotImplementedError

    def tasks(self, s: Shape, tiles: int, block: int, share: int) -> tuple[int, int]:
        """Tasks of both phases, in a round."""
        raise NotImplementedError

    def memory(self, s: Shape, tiles: int, row: int, block: int, share: int) -> tuple[dict[str, int], dict[str, int]]:
        """What lies in the workspace, once and for each thread, and how large it is."""
        raise NotImplementedError


def _lay(sizes: dict[str, int], places: dict[str, int], line: int) -> int:
    """Give each part a place, beginning on a cache line; return the end of the last."""
    end = 0
    for name, size in sizes.items():
        places[name] = end
        end += -(-size // line) * line
    return end


class WinogradTiles(Winograd):
    """Weights are transformed first; then each task takes some tiles from input to output."""

    phases = ("weights", "tiles")
    rounds = "rounds"

    def streamed(self, s: Shape, tiles: int, block: int, cache: int) -> float:
        """See `Winograd`: the weights, for each task."""
        weights = s.blocks * s.planes * s.terms * s.width
        return weights * (1.5 + (0.15 * -(-tiles // block) if weights > cache // 4 else 0))

    def held(self, s: Shape, block: int) -> int:
        """See `Winograd`."""
        return block * s.planes * (s.v_pitch + s.width)

    def share(self, s: Shape, problem: ConvProblem, cache: int) -> int:
        """See `Winograd`: as many as take about the memory, transformed, that the layer takes in any case."""
        rounds = -(-s.blocks * s.planes * s.terms * s.width // _room(s, problem, cache))
        return -(-s.blocks // min(rounds, s.blocks))

    def tasks(self, s: Shape, tiles: int, block: int, share: int) -> tuple[int, int]:
        """See `Winograd`."""
        return share * -(-s.ics // s.lanes), -(-tiles // block)

    def memory(self, s: Shape, tiles: int, row: int, block: int, share: int) -> tuple[dict[str, int], dict[str, int]]:
        """See `Winograd`."""
        inputs, outputs = s.row(row, block)
        return {"u": share * s.planes * s.terms * s.width}, {
            "v": s.planes * (block * s.v_pitch + s.lanes),
            "m": s.planes * (block * s.width + s.lanes),
            "inputs": inputs,
            "outputs": outputs,
            "stage": s.lanes * s.taps * s.width,
            "values": s.planes * s.lanes,
        }

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        s = shape(spec, target, self.tile)
        k = Kernel("winograd", target, self.signature(spec), spec.dtype)
        chunks = -(-s.ics // s.lanes)
        with k.phase("weights"), k.tasks() as task:
            place, first = task // chunks, task % chunks * s.lanes
            ics = k.minimum(s.ics - first, s.lanes)
            own, block = _own(k), k.round * k.numbers["share"] + place
            with k.when(block < s.blocks):
                to = k.pointers["workspace"] + (place * (s.planes * s.terms) + first * s.triples) * s.width
                fetch_weights(k, s, block, first, ics, own + k.numbers["stage"])
                u = Planes(to, s.terms * s.width)
                weight_transform(k, spec, s, own + k.numbers["stage"], ics, u, own + k.numbers["values"])
        with k.phase("tiles"), k.tasks() as task:
            n, own = k.numbers, _own(k)
            first = task * n["block"]
            last = k.minimum(first + n["block"], n["tiles"])
            v = Planes(own + n["v"], n["block"] * s.v_pitch + s.lanes)
            m = Planes(own + n["m"], n["block"] * s.width + s.lanes)
            input_transform(k, spec, s, first, last, v, own)
            done = k.round * n["share"]
            with k.loop(k.minimum(s.blocks - done, n["share"])) as place:
                u = Planes(k.pointers["workspace"] + place * (s.planes * s.terms * s.width), s.terms * s.width)
                products(k, s, u, v, m, s.terms, last - first, add=False)
                output_transform(k, spec, s, done + place, first, last, m, own)
        return k.finish()


class WinogradWide(Winograd):
    """Inputs are transformed first; then each task makes some output channels, whose weights it transforms itself."""

    phases = ("inputs", "channels")

    def length(self, ics: int, triples: int) -> int:
        """See `Winograd`: chunks are summed first."""
        chunk = _chunk(triples)
        return min(ics, chunk) * triples + -(-ics // chunk)

    def streamed(self, s: Shape, tiles: int, block: int, cache: int) -> float:
        """See `Winograd`: the inputs, for each block of output channels."""
        values = tiles * s.planes * s.v_pitch
        # Beyond some sixteen times the second-level cache they come from memory, most of the way.
        return values * (2 + 0.4 * s.blocks) * (2 if values > 16 * cache else 1)

    def weight_cycles(self, s: Shape, tiles: int, block: int) -> float:
        """See `Winograd`: once for each group of tiles."""
        return super().weight_cycles(s, tiles, block) * -(-tiles // block)

    def held(self, s: Shape, block: int) -> int:
        """See `Winograd`."""
        return s.planes * s.width * (block + _chunk(s.triples) * s.triples)

    def tasks(self, s: Shape, tiles: int, block: int, share: int) -> tuple[int, int]:
        """See `Winograd`."""
        return -(-tiles // INPUTS), s.blocks * -(-tiles // block)

    def memory(self, s: Shape, tiles: int, row: int, block: int, share: int) -> tuple[dict[str, int], dict[str, int]]:
        """See `Winograd`."""
        inputs, _ = s.row(row, INPUTS)
        _, outputs = s.row(row, block)
        # Register tiles may read a few rows beyond the last.
        return {"v": s.planes * (tiles * s.v_pitch + s.lanes) + max(s.forms) * s.v_pitch}, {
            "u": s.planes * (_chunk(s.triples) * s.triples * s.width + s.lanes),
            "m": s.planes * (block * s.width + s.lanes),
            "inputs": inputs,
            "outputs": outputs,
            "stage": s.lanes * s.taps * s.width,
            "values": s.planes * s.lanes,
        }

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        s = shape(spec, target, self.tile)
        k = Kernel("winograd_wide", target, self.signature(spec), spec.dtype)
        chunk = _chunk(s.triples)
        with k.phase("inputs"), k.tasks() as task:
            first = task * INPUTS
            last = k.minimum(first + INPUTS, k.numbers["tiles"])
            input_transform(k, spec, s, first, last, self._v(k, s, first), _own(k))
        with k.phase("channels"), k.tasks() as task:
            n, own = k.numbers, _own(k)
            groups = (n["tiles"] + n["block"] - 1) // n["block"]
            block, first = task // groups, task % groups * n["block"]
            last = k.minimum(first + n["block"], n["tiles"])
            count = last - first
            u = Planes(own + n["u"], chunk * s.triples * s.width + s.lanes)
            m = Planes(own + n["m"], n["block"] * s.width + s.lanes)
            fill(k, m.first, m.distance * s.planes)
            v, stage = self._v(k, s, first), own + n["stage"]
            with k.loop(s.ics, step=chunk) as begin:
                ics = k.minimum(s.ics - begin, chunk)
                with k.loop(ics, step=s.lanes) as part:
                    some = k.minimum(ics - part, s.lanes)
                    fetch_weights(k, s, block, begin + part, some, stage)
                    place = Planes(u.first + part * (s.triples * s.width), u.distance)
                    weight_transform(k, spec, s, stage, some, place, own + n["values"])
                some_v = Planes(v.first + begin * s.triples, v.distance)
                products(k, s, u, some_v, m, ics * s.triples, count, add=True)
            output_transform(k, spec, s, block, first, last, m, own)
        return k.finish()

    def _v(self, k: Kernel, s: Shape, first: Index) -> Planes:
        return Planes(k.pointers["workspace"] + first * s.v_pitch, k.numbers["tiles"] * s.v_pitch + s.lanes)


def _chunk(triples: int) -> int:
    """Input channels of a chunk: whole vectors on every target."""
    return max(16, CHUNK // triples // 16 * 16)


def _summed(spec: Spec) -> int:
    """Channels that are summed over."""
    return spec.out_channels if spec.pass_ == "grad_input" else spec.in_channels


def _moved(problem: ConvProblem) -> int:
    """Values of inputs and outputs."""
    spec = problem.spec
    read = math.prod(problem.input_size) * spec.in_channels
    return problem.batch * (read + math.prod(problem.output_size) * spec.out_channels)


def _room(s: Shape, problem: ConvProblem, cache: int) -> int:
    """Values that the layer holds in any case: inputs and outputs, or weights; or those that a cache does."""
    return max(_moved(problem), s.ics * s.ocs * s.taps, cache)


def _own(k: Kernel) -> Pointer:
    """The memory of the thread that runs."""
    return k.pointers["workspace"] + k.numbers["scratch"] + k.thread * k.numbers["scratch_size"]


class WinogradFour(WinogradTiles):
    """F(4, 3): four outputs an axis."""

    name = "winograd-4"
    tile = 4


class WinogradThree(WinogradTiles):
    """F(3, 3): three outputs an axis, for small images and for the few outputs of a residue."""

    name = "winograd-3"
    tile = 3


class WinogradTwo(WinogradTiles):
    """F(2, 3): two outputs an axis, for images that four do not divide well."""

    name = "winograd-2"
    tile = 2


class WinogradFourWide(WinogradWide):
    """F(4, 3) for many channels and few pixels."""

    name = "winograd-4-wide"
    tile = 4
