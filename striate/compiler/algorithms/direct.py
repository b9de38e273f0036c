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

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import copy, fill
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Mask, Number, Pointer, Vector

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


class Direct(Algorithm):
    """Register-tiled direct convolution."""

    name = "direct"
    passes = ("forward",)

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        return None if spec.layout == "channels_last" else "contiguous arrays are not read yet"

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        sizes = ("id", "ih", "iw", "od", "oh", "ow", "pd", "ph", "pw")
        strides = ("weight_oc", "weight_ic", "weight_d", "weight_h", "weight_w")
        return Signature(
            POINTERS["forward"], (*sizes, *strides, "chunks", "scratch_offset", "scratch_size"), ("pack", "compute")
        )

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec = problem.spec
        od, oh, ow = three(problem.output_size)
        id_, ih, iw = three(problem.input_size)
        pd, ph, pw = (0,) * (3 - spec.spatial_dims) + tuple(first for first, _ in problem.pads)
        wd, wh, ww = (0,) * (3 - spec.spatial_dims) + weight_strides[2:]
        chunks = -(-ow // BLOCK_W)
        packs = spec.groups * panels(spec, target)
        packed = packs * math.prod(spec.kernel_size) * spec.group_in_channels * panel(spec, target)
        kd, kh, kw = three(spec.kernel_size)
        reach = (-(-ow // chunks) - 1) * three(spec.stride)[2] + (kw - 1) * three(spec.dilation)[2] + 1
        line = 64 // BYTES[spec.dtype]
        offset, scratch = (-(-size // line) * line for size in (packed, kd * kh * reach * spec.in_channels))
        table = self.signature(spec).table(
            (packs, problem.batch * od * oh * chunks),
            id=id_, ih=ih, iw=iw, od=od, oh=oh, ow=ow, pd=pd, ph=ph, pw=pw,
            weight_oc=weight_strides[0], weight_ic=weight_strides[1], weight_d=wd, weight_h=wh, weight_w=ww,
            chunks=chunks, scratch_offset=offset, scratch_size=scratch,
        )  # fmt: skip
        return Launch(table, (offset + threads * scratch) * BYTES[spec.dtype], threads)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        return problem.macs / target.lanes(problem.spec.dtype) / 2

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        k = Kernel("direct", target, self.signature(spec), spec.dtype)
        with k.phase("pack"):
            _pack(k, spec, target)
        with k.phase("compute"):
            _compute(k, spec, target)
        return k.finish()


def _pack(k: Kernel, spec: Spec, target: Target) -> None:
    """Bring ``weight`` into panels: one task per (group, panel)."""
    width, count = panel(spec, target), panels(spec, target)
    kd, kh, kw = three(spec.kernel_size)
    ics, ocs, n = spec.group_in_channels, spec.group_out_channels, k.numbers
    zero = k.constant(0.0)
    with k.tasks() as task:
        group, first = task // count, task % count * width
        target_panel = k.pointers["workspace"] + task * (kd * kh * kw * ics * width)
        with k.loop(kd) as d, k.loop(kh) as h, k.loop(kw) as w, k.loop(ics) as ic:
            row = target_panel + (((d * kh + h) * kw + w) * ics + ic) * width
            source = ic * n["weight_ic"] + d * n["weight_d"] + h * n["weight_h"] + w * n["weight_w"]
            with k.loop(width) as lane:
                (row + lane).store(zero)
                with k.when(first + lane < ocs):
                    oc = group * ocs + first + lane
                    (row + lane).store((k.pointers["weight"] + oc * n["weight_oc"] + source).load())


def _compute(k: Kernel, spec: Spec, target: Target) -> None:
    """One task per (sample, output depth, output height, chunk)."""
    n = k.numbers
    kd, kh, kw = three(spec.kernel_size)
    sd, sh, sw = three(spec.stride)
    dd, dh, dw = three(spec.dilation)
    channels = spec.in_channels
    forms = tiles(spec, target)

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
            scratch = k.pointers["workspace"] + n["scratch_offset"] + k.thread * n["scratch_size"]
            base.set(scratch)
            row.set(reach * channels)
            plane.set(reach * (kh * channels))
            low = k.minimum(k.maximum(0 - left, 0), reach)
            high = k.maximum(k.minimum(n["iw"] - left, reach), low)
            with k.loop(d1, d0) as d, k.loop(h1, h0) as h:
                to = scratch + (d * kh + h) * reach * channels
                came = source + (((depth + d * dd) * n["ih"] + height + h * dh) * n["iw"] + left) * channels
                fill(k, to, low * channels)
                copy(k, came + low * channels, to + low * channels, (high - low) * channels)
                fill(k, to + high * channels, (reach - high) * channels)

        out = k.pointers["output"] + (((sample * n["od"] + od) * n["oh"] + oh) * n["ow"] + first) * spec.out_channels
        done = k.variable(k.index(0))
        for place, form in enumerate(forms):
            with k.when((count >= form.pixels) & done.get().equals(0)):
                _row(k, spec, form, base.get(), row.get(), plane.get(), (d0, d1, h0, h1), count, out)
                if place + 1 < len(forms):
                    done.set(k.index(1))


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
        weights = k.pointers["workspace"] + (group * blocks + block) * (kd * kh * kw * ics * width)
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
