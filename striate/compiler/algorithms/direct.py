"""Direct convolution with register tiles, channels last: any rank, kernel, stride and dilation.

Vectors run over output channels. Formula, for one sample and one group::

    output[o, oc] = bias[oc] + sum over k, ic of input[o * stride + k * dilation - before, ic] * weight[k, ic, oc]

Layout. Input and output are dense ``(N, *spatial, C)``. The weight is packed as panels, ``[group][oc block][tap][ic]
[lane]``, so that the inner loop reads it in order; the last panel of a group is filled up with zeros. Every rank is
treated as three spatial axes, missing ones being 1 long.

Loops::

    for task in (sample, depth, row, chunk of at most BLOCK_W output pixels):        over threads
        where the chunk reaches over the border: copy its input rows to scratch, with zeros around
        for group, for oc block of VECTORS vectors:
            for tile of PIXELS output pixels:
                PIXELS x VECTORS accumulators in registers, begun with the bias
                for tap (kd, kh inside the input; kw):
                    for ic:
                        VECTORS weight vectors, PIXELS broadcast inputs, one fused multiply-add for each pair
                store, after the activation

Why. An accumulator is worth its register only if it is used often between its load and its store: PIXELS x VECTORS
multiply-adds cost PIXELS + VECTORS loads, and at least eight independent sums hide the latency of the multiply-adder.
Rows are contiguous, so a tile's inputs differ by constants known when the kernel is made. Copying rows at the border
costs one store for every ``C_out`` multiply-adds and keeps all conditions out of the inner loops. The last tile of a
chunk is moved back to end with it and computes some pixels twice: no loop for the rest, whatever the width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.emit import Kernel

if TYPE_CHECKING:
    from striate.compiler.emit import Index, Mask, Number, Pointer, Program, Vector
    from striate.compiler.jit import Function, Jit
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target

BLOCK_W = 112
"""Output pixels of one task: enough work to share out, and input rows that stay in the second-level cache."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Accumulators of the inner loop: ``pixels`` output pixels by ``vectors`` vectors of output channels."""

    pixels: int
    vectors: int


def tiles(spec: Spec, target: Target) -> tuple[Tile, ...]:
    """The register tiles a kernel has code for, the widest first; rows shorter than one use the next.

    Registers are for the accumulators, the weight vectors of one step, and one broadcast input.
    """
    lanes = target.lanes(spec.dtype)
    vectors = 1 if spec.group_out_channels <= lanes else 2
    widest = (target.vector_registers - vectors - 1) // vectors
    widths = [width for width in (28, 14, 7, 6, 4, 2, 1) if width <= widest]
    chosen = [widths[0], *(width for width in widths[1:] if width in (7, 4, 2, 1))]
    return tuple(Tile(pixels, vectors) for pixels in dict.fromkeys(chosen))


def panel(spec: Spec, target: Target) -> int:
    """Output channels of one weight panel."""
    return tiles(spec, target)[0].vectors * target.lanes(spec.dtype)


def panels(spec: Spec, target: Target) -> int:
    """Weight panels of one group."""
    return -(-spec.group_out_channels // panel(spec, target))


def three(values: tuple[int, ...]) -> tuple[int, int, int]:
    """A per-axis value as one of three axes, missing leading ones being 1."""
    depth, height, width = (1,) * (3 - len(values)) + values
    return depth, height, width


@dataclass(frozen=True, slots=True)
class Forward:
    """The forward pass of one kind of layer on one target, ready to run for any batch, size and padding.

    Addresses are those of dense arrays of the spec's dtype: input and output ``(N, *spatial, C)``, weight
    ``(C_out, C_in // groups, *kernel_size)``, bias ``(C_out,)``.
    """

    spec: Spec
    target: Target
    packer: Function
    kernel: Function

    @classmethod
    def load(cls, spec: Spec, target: Target, jit: Jit) -> Forward:
        """Compile both kernels, or take them from the cache."""
        return cls(
            spec, target, jit.get(build_pack(spec, target), target), jit.get(build_forward(spec, target), target)
        )

    @property
    def packed_elements(self) -> int:
        """Elements of the packed weight."""
        taps, width = math.prod(self.spec.kernel_size), panel(self.spec, self.target)
        return self.spec.groups * panels(self.spec, self.target) * taps * self.spec.group_in_channels * width

    def scratch_elements(self, problem: ConvProblem) -> int:
        """Elements of scratch memory for each thread."""
        kd, kh, kw = three(self.spec.kernel_size)
        stride, dilation = three(self.spec.stride)[2], three(self.spec.dilation)[2]
        widest = -(-three(problem.output_size)[2] // _chunks(problem))
        return kd * kh * ((widest - 1) * stride + (kw - 1) * dilation + 1) * self.spec.in_channels

    def pack(self, weight: int, packed: int, threads: int) -> None:
        """Bring the weight into panels."""
        self.packer(weight, packed, self.spec.groups * panels(self.spec, self.target), threads)

    def __call__(
        self, problem: ConvProblem, input: int, packed: int, bias: int, output: int, scratch: int, threads: int
    ) -> None:
        """Compute the output. ``scratch`` has room for `scratch_elements` per thread; ``bias`` may be 0 without one."""
        od, oh, _ = three(problem.output_size)
        chunks = _chunks(problem)
        before = (0,) * (3 - self.spec.spatial_dims) + tuple(first for first, _ in problem.pads)
        sizes = (*three(problem.input_size), *three(problem.output_size), *before)
        tasks = problem.batch * od * oh * chunks
        scratch_size = self.scratch_elements(problem)
        self.kernel(input, packed, bias, output, scratch, *sizes, chunks, scratch_size, tasks, threads)


def _chunks(problem: ConvProblem) -> int:
    return -(-three(problem.output_size)[2] // BLOCK_W)


def build_pack(spec: Spec, target: Target) -> Program:
    """The kernel that packs ``weight`` (C_out, C_in // groups, taps) into panels: one task per (group, panel)."""
    width, count, taps = panel(spec, target), panels(spec, target), math.prod(spec.kernel_size)
    ics, ocs = spec.group_in_channels, spec.group_out_channels
    k = Kernel("pack", target, pointers=("weight", "packed"), dtype=spec.dtype)
    with k.tasks() as task:
        group, block = task // count, task % count
        first = block * width
        target_panel = k.pointers["packed"] + task * (taps * ics * width)
        zero = k.constant(0.0)
        with k.loop(taps) as tap, k.loop(ics) as ic:
            row = target_panel + (tap * ics + ic) * width
            with k.loop(width) as lane:
                oc = first + lane
                (row + lane).store(zero)
                with k.when(oc < ocs):
                    source = ((group * ocs + oc) * ics + ic) * taps + tap
                    (row + lane).store((k.pointers["weight"] + source).load())
    return k.finish()


def build_forward(spec: Spec, target: Target) -> Program:
    """The forward kernel.

    Pointers: input, packed weight, bias (read if the spec has one), output, scratch. Indices: input depth, height,
    width; output depth, height, width; padding before in depth, height, width; chunks per row; elements of scratch per
    thread. Tasks: samples x output depth x output height x chunks.
    """
    k = Kernel(
        "forward",
        target,
        pointers=("input", "weight", "bias", "output", "scratch"),
        indices=("id", "ih", "iw", "od", "oh", "ow", "pd", "ph", "pw", "chunks", "scratch_size"),
        dtype=spec.dtype,
    )
    n = k.indices
    kd, kh, kw = three(spec.kernel_size)
    sd, sh, sw = three(spec.stride)
    dd, dh, dw = three(spec.dilation)
    channels = spec.in_channels
    forms = tiles(spec, target)
    zero = k.constant(0.0, k.lanes)

    with k.tasks() as task:
        chunk, rest = task % n["chunks"], task // n["chunks"]
        oh, rest = rest % n["oh"], rest // n["oh"]
        od, sample = rest % n["od"], rest // n["od"]
        # The chunks of a row are equally wide, to one pixel.
        first = (n["ow"] * chunk) // n["chunks"]
        count = (n["ow"] * (chunk + 1)) // n["chunks"] - first
        depth, height, left = od * sd - n["pd"], oh * sh - n["ph"], first * sw - n["pw"]
        # Taps whose row lies inside the input: first and one past the last.
        d0, d1 = _inside(k, depth, kd, dd, n["id"])
        h0, h1 = _inside(k, height, kh, dh, n["ih"])
        reach = (count - 1) * sw + ((kw - 1) * dw + 1)

        source = k.pointers["input"] + sample * n["id"] * n["ih"] * n["iw"] * channels
        direct = (left >= 0) & (left + reach <= n["iw"])
        base = k.variable(source + ((depth * n["ih"] + height) * n["iw"] + left) * channels)
        row = k.variable(n["iw"] * (dh * channels))
        plane = k.variable(n["ih"] * n["iw"] * (dd * channels))
        with k.unless(direct):
            scratch = k.pointers["scratch"] + k.thread * n["scratch_size"]
            base.set(scratch)
            row.set(reach * channels)
            plane.set(reach * (kh * channels))
            low = k.minimum(k.maximum(0 - left, 0), reach)
            high = k.maximum(k.minimum(n["iw"] - left, reach), low)
            with k.loop(d1, d0) as d, k.loop(h1, h0) as h:
                to = scratch + (d * kh + h) * reach * channels
                came = source + (((depth + d * dd) * n["ih"] + height + h * dh) * n["iw"] + left) * channels
                _fill(k, to, low * channels, zero)
                _copy(k, came + low * channels, to + low * channels, (high - low) * channels)
                _fill(k, to + high * channels, (reach - high) * channels, zero)

        out = k.pointers["output"] + (((sample * n["od"] + od) * n["oh"] + oh) * n["ow"] + first) * spec.out_channels
        done = k.variable(k.index(0))
        for place, form in enumerate(forms):
            with k.when((count >= form.pixels) & done.get().equals(0)):
                _row(k, spec, form, base.get(), row.get(), plane.get(), (d0, d1, h0, h1), count, out)
                if place + 1 < len(forms):
                    done.set(k.index(1))
    return k.finish()


def _inside(k: Kernel, start: Index, taps: int, dilation: int, size: Index) -> tuple[Number, Number]:
    """The taps ``t`` with ``0 <= start + t * dilation < size``, as a range."""
    low = k.maximum(0, (0 - start + (dilation - 1)) // dilation)
    high = k.minimum(taps, (size - start + (dilation - 1)) // dilation)
    return low, k.maximum(high, low)


def _row(
    k: Kernel,
    spec: Spec,
    form: Tile,
    base: Pointer,
    row: Index,
    plane: Index,
    taps: tuple[Number, Number, Number, Number],
    count: Index,
    out: Pointer,
) -> None:
    """All output channels of a chunk, tile by tile; the last tile is moved back to end with the chunk."""
    _, kh, kw = three(spec.kernel_size)
    _, _, sw = three(spec.stride)
    _, _, dw = three(spec.dilation)
    width = form.vectors * k.lanes
    ics, ocs, channels = spec.group_in_channels, spec.group_out_channels, spec.in_channels
    blocks = -(-ocs // width)
    kd = three(spec.kernel_size)[0]
    d0, d1, h0, h1 = taps
    with k.loop(spec.groups) as group, k.loop(blocks) as block:
        weights = k.pointers["weight"] + (group * blocks + block) * (kd * kh * kw * ics * width)
        oc = group * ocs + block * width
        left = ocs - block * width
        masks = [None if ocs % width == 0 else k.mask(left - v * k.lanes) for v in range(form.vectors)]
        with k.loop(count, step=form.pixels) as start:
            first = k.minimum(start, count - form.pixels)
            begun = [
                (k.pointers["bias"] + oc + v * k.lanes).load(k.lanes, masks[v])
                if spec.bias
                else k.constant(0.0, k.lanes)
                for v in range(form.vectors)
            ]
            sums = [[k.variable(value) for value in begun] for _ in range(form.pixels)]
            pixels = base + first * (sw * channels) + group * ics
            with k.loop(d1, d0) as d, k.loop(h1, h0) as h, k.loop(kw) as w:
                inputs = pixels + d * plane + h * row + w * (dw * channels)
                panel_row = weights + ((d * kh + h) * kw + w) * (ics * width)
                with k.loop(ics) as ic:
                    lanes = [(panel_row + ic * width + v * k.lanes).load(k.lanes) for v in range(form.vectors)]
                    for p in range(form.pixels):
                        value = (inputs + ic + p * sw * channels).load().broadcast(k.lanes)
                        for v in range(form.vectors):
                            sums[p][v].set(k.fma(value, lanes[v], sums[p][v].get()))
            for p in range(form.pixels):
                to = out + (first + p) * spec.out_channels + oc
                for v in range(form.vectors):
                    _store(k, spec, sums[p][v].get(), to + v * k.lanes, masks[v])


def _store(k: Kernel, spec: Spec, result: Vector, to: Pointer, mask: Mask | None) -> None:
    if spec.activation == "relu":
        result = result.maximum(k.constant(0.0, k.lanes))
    to.store(result, mask)


def _fill(k: Kernel, to: Pointer, count: Number, value: Vector) -> None:
    with k.loop(count, step=k.lanes) as i:
        (to + i).store(value, k.mask(count - i))


def _copy(k: Kernel, source: Pointer, to: Pointer, count: Number) -> None:
    with k.loop(count, step=k.lanes) as i:
        mask = k.mask(count - i)
        (to + i).store((source + i).load(k.lanes, mask), mask)
