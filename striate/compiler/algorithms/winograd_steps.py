"""The steps of Winograd convolution: fetch and transform weights, transform inputs, multiply, transform back.

`winograd` says what they are for and in which order they run. Outputs leave as inputs come (`winograd_tiles`): where
a row of tiles crosses the border of the image, where channels do not fill vectors, or where the layout is contiguous,
they pass through scratch memory.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.activation import activated
from striate.compiler.algorithms.axes import three
from striate.compiler.algorithms.winograd_axis import Axis, axis
from striate.compiler.algorithms.winograd_tiles import Planes, Row, Source, tile_rows, transform_tiles, triples
from striate.compiler.algorithms.winograd_transform import transform
from striate.compiler.moves import copy, transpose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Number, Pointer, Vector


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a layer when its kernel is made. Channels are those of the pass: read and written."""

    axes: tuple[Axis, Axis, Axis]
    ics: int
    ocs: int
    lanes: int
    vectors: int
    forms: tuple[int, ...]
    """Tiles of the register tiles that there is code for."""

    @property
    def planes(self) -> int:
        """Values of a transformed tile."""
        return math.prod(axis.inputs for axis in self.axes)

    @property
    def taps(self) -> int:
        """Values of a kernel."""
        return math.prod(axis.taps for axis in self.axes)

    @property
    def triples(self) -> int:
        """Parts of a kernel that are transformed each for itself."""
        return math.prod(axis.triples for axis in self.axes)

    @property
    def terms(self) -> int:
        """Products that are summed in a plane: input channels, for each triple."""
        return self.ics * self.triples

    @property
    def width(self) -> int:
        """Output channels of a block."""
        return self.vectors * self.lanes

    @property
    def blocks(self) -> int:
        """Blocks of output channels."""
        return -(-self.ocs // self.width)

    @property
    def pitch(self) -> int:
        """Values between neighbouring pixels in scratch memory."""
        return -(-self.ics // self.lanes) * self.lanes

    def row(self, tiles: int, most: int) -> tuple[int, int]:
        """Values of the inputs and outputs of ``most`` neighbouring tiles of a row of ``tiles``, in scratch memory."""
        depth, height, width = self.axes
        reach = width.widest(tiles, most)
        beyond = (width.span - width.outputs) * width.dilation
        inputs = depth.span * height.span * (reach + beyond) * self.pitch
        return inputs, depth.outputs * height.outputs * reach * self.width

    @property
    def v_pitch(self) -> int:
        """Values between neighbouring tiles of ``V``: an odd number of vectors where there are many."""
        # The last vector of the last triple is stored whole.
        vectors = -(-(self.terms + self.pitch - self.ics) // self.lanes)
        return (vectors + (vectors >= 8 and vectors % 2 == 0)) * self.lanes


def axes(spec: Spec, tile: int) -> tuple[Axis, Axis, Axis]:
    """How each axis is computed for tiles of ``tile`` outputs; volumes take two in depth, or planes are too many."""
    outputs = (min(tile, 2), tile, tile)
    depth, height, width = map(axis, outputs, three(spec.kernel_size), three(spec.dilation))
    return depth, height, width


def shape(spec: Spec, target: Target, tile: int) -> Shape:
    """What is known of a layer when its kernel is made."""
    ics, ocs = spec.in_channels, spec.out_channels
    if spec.pass_ == "grad_input":
        ics, ocs = ocs, ics
    lanes = target.lanes(spec.dtype)
    vectors = 1 if ocs <= lanes else 2
    # Registers are for accumulators, one step's weights, and broadcast values, of which LLVM likes to load some ahead.
    most = (target.vector_registers - vectors - max(2, target.vector_registers // 10)) // vectors
    forms = dict.fromkeys((most, most - 2, most * 5 // 8, max(most * 5 // 16, 1)))
    return Shape(axes(spec, tile), ics, ocs, lanes, vectors, tuple(forms))


LANES, TAPS, CHANNELS, ROWS, GAPS = range(5)
"""What is dense in a weight: the axis that vectors run along, taps, summed channels, (channel, tap) pairs, nothing."""


def weight_order(s: Shape, lane: int, reduce: int, taps: tuple[int, int, int]) -> tuple[int, int]:
    """How to read a weight with these strides between lanes, summed channels, and along each axis; taps' distance."""
    step = next(stride for stride, one in zip(reversed(taps), reversed(s.axes), strict=True) if one.taps > 1)
    after = [math.prod(later.taps for later in s.axes[place + 1 :]) for place in range(3)]
    even = all(one.taps == 1 or stride == step * count for one, stride, count in zip(s.axes, taps, after, strict=True))
    order = GAPS
    if lane == 1:
        order = LANES
    elif even and step == 1:
        order = ROWS if reduce == s.taps else TAPS
    elif even and reduce == 1:
        order = CHANNELS
    return order, step


def fetch_weights(k: Kernel, s: Shape, block: Index, first: Index, ics: Index, stage: Pointer) -> None:
    """Bring the weights of a block and of ``ics`` input channels to ``[ic][tap][lane]``.

    Whatever is dense in the weight is read in vectors, which are turned round in registers to become lanes.
    """
    n, (_, height, width) = k.numbers, s.axes
    order, row = n["order"], s.taps * s.width
    ocs = k.minimum(s.ocs - block * s.width, s.width)
    source = k.pointers["weight"] + block * s.width * n["lane"] + first * n["reduce"]
    with k.when((order > LANES) & (order < GAPS)):
        channels, rows = order.equals(CHANNELS), order.equals(ROWS)
        pieces = k.select(rows, 1, k.select(channels, s.taps, ics))
        columns = k.select(rows, ics * s.taps, k.select(channels, ics, s.taps))
        step = k.select(channels, n["tap"], n["reduce"])
        with k.loop(pieces) as piece:
            to = stage + piece * k.select(channels, s.width, row)
            transpose(k, source + piece * step, n["lane"], to, k.select(channels, row, s.width), ocs, columns)
    with k.when(order.equals(LANES) | order.equals(GAPS)), k.loop(s.taps) as tap, k.loop(ics) as ic:
        d, h, w = tap // (height.taps * width.taps), tap // width.taps % height.taps, tap % width.taps
        came = source + d * n["weight_d"] + h * n["weight_h"] + w * n["weight_w"] + ic * n["reduce"]
        to = stage + ic * row + tap * s.width
        with k.when(order.equals(LANES)):
            copy(k, came, to, ocs)
        with k.when(order.equals(GAPS)), k.loop(ocs) as lane:
            (to + lane).store((came + lane * n["lane"]).load())


def weight_transform(k: Kernel, spec: Spec, s: Shape, stage: Pointer, ics: Index, u: Planes, values: Pointer) -> None:
    """From ``[ic][tap][lane]`` to ``U``, for up to a vector of ``ics``; taps are flipped for the gradient."""
    depth, height, width = s.axes
    with (
        triples(k, (depth.triples, height.triples, width.triples)) as (triple, place),
        k.loop(ics) as ic,
        k.loop(s.width, step=s.lanes) as lane,
    ):
        taps, to = stage + ic * (s.taps * s.width) + lane, u.first + (ics * triple + ic) * s.width + lane

        def read(
            d: Number, h: int, w: int, taps: Pointer = taps, place: tuple[Number, Number, Number] = place
        ) -> Vector:
            at: Number = 0
            missing = []
            for one, before, near in zip(s.axes, place, (d, h, w), strict=True):
                tap = before * one.filter.taps + near
                if one.taps % one.filter.taps and not (isinstance(near, int) and near < one.taps % one.filter.taps):
                    missing.append(k.index(tap) >= one.taps)
                at = at * one.taps + (one.taps - 1 - tap if spec.pass_ == "grad_input" else tap)
            source = taps + at * s.width
            for gone in missing:
                source = k.either(gone, k.zeros(s.lanes), source)
            return source.load(s.lanes)

        def write(d: int, h: Number, w: Number, value: Vector, to: Pointer = to) -> None:
            (to + ((d * height.inputs + h) * width.inputs + w) * u.distance).store(value)

        transform(k, (depth.filter.g, height.filter.g, width.filter.g), read, write, values)


def input_transform(k: Kernel, spec: Spec, s: Shape, first: Index, last: Index, v: Planes, own: Pointer) -> None:
    """From the input of tiles ``first`` up to ``last`` to ``V``, which begins with the first of them."""
    n, (depth, height, width) = k.numbers, s.axes
    source = Source(
        k.pointers[k.signature.pointers[0]],
        spec.layout,
        (n["id"], n["ih"], n["iw"]),
        (n["pd"], n["ph"], n["pw"]),
        s.ics,
        0,
        s.ics,
        s.pitch,
        s.axes,
        (depth.span, height.span, width.span),
        (depth.triples, height.triples, width.triples),
        (depth.filter.b, height.filter.b, width.filter.b),
    )
    transform_tiles(k, source, first, last, v, s.v_pitch, own + n["inputs"], own + n["values"])


def products(k: Kernel, s: Shape, u: Planes, v: Planes, m: Planes, terms: Number, count: Index, add: bool) -> None:
    """From ``V`` and ``U`` to ``M``, or on top of it, for ``count`` tiles and one block of output channels.

    The last register tile may read rows of ``V`` that stand for no tile; nobody reads what it makes of them.
    """
    for form in s.forms:

        def multiply(
            k: Kernel,
            weights: Pointer,
            tiles: Pointer,
            results: Pointer,
            terms: Index,
            count: Index,
            form: int = form,
        ) -> None:
            with k.loop(count, step=form) as start:
                values, to = tiles + start * s.v_pitch, results + start * s.width
                places = [to + (p * s.width + lane * s.lanes) for p in range(form) for lane in range(s.vectors)]
                sums = [k.variable(k.constant(0.0, s.lanes)) for _ in places]
                with k.walk(terms, (weights, s.width), (values, 1)) as (row, column):
                    lanes = [(row + lane * s.lanes).load(s.lanes) for lane in range(s.vectors)]
                    for p in range(form):
                        value = (column + p * s.v_pitch).load().broadcast(s.lanes)
                        for lane in range(s.vectors):
                            total = sums[p * s.vectors + lane]
                            total.set(k.fma(value, lanes[lane], total.get()))
                for place, total in zip(places, sums, strict=True):
                    # What is there already is added last: accumulators that begin with it cost LLVM a spill.
                    place.store(total.get() + place.load(s.lanes) if add else total.get())

        with k.when(k.numbers["form"].equals(form)), k.loop(s.planes) as plane:
            # A function of its own, or what else a task has to remember can cost sums their registers.
            k.shared(f"multiply_{form}", multiply, u.plane(plane), v.plane(plane), m.plane(plane), terms, count)


def output_transform(
    k: Kernel, spec: Spec, s: Shape, block: Index, first: Index, last: Index, m: Planes, own: Pointer
) -> None:
    """From ``M`` to the output, for one block of output channels and tiles ``first`` up to ``last``."""
    n, (depth, height, width) = k.numbers, s.axes
    result = k.pointers[k.signature.pointers[3]]
    scratch, values = own + n["outputs"], own + n["values"]
    oc = block * s.width
    ocs = k.minimum(s.ocs - oc, s.width)
    with tile_rows(k, first, last) as row:
        z, y = depth.corner(row.depth), height.corner(row.height)
        x, reach = width.covered(row.first, row.count)
        base, pixel = k.variable(scratch), k.variable(k.index(width.dilation * s.width))
        across, down = k.variable(reach * s.width), k.variable(reach * (height.outputs * s.width))
        inside = (z + ((depth.outputs - 1) * depth.dilation + 1) <= n["od"]) & ocs.equals(s.width)
        inside = inside & (y + ((height.outputs - 1) * height.dilation + 1) <= n["oh"]) & (x + reach <= n["ow"])
        if spec.layout == "channels_last":
            with k.when(inside):
                base.set(result + (((row.sample * n["od"] + z) * n["oh"] + y) * n["ow"] + x) * s.ocs + oc)
                pixel.set(k.index(width.dilation * s.ocs))
                across.set(n["ow"] * (height.dilation * s.ocs))
                down.set(n["oh"] * n["ow"] * (depth.dilation * s.ocs))
        place, step, rows, slabs = base.get(), pixel.get(), across.get(), down.get()
        apart = k.select(inside, s.ocs, s.width) if spec.layout == "channels_last" else k.index(s.width)
        with k.loop(row.count) as tile, k.loop(s.width, step=s.lanes) as lane:
            corner = place + (width.corner(row.first + tile) - x) * apart + lane
            tiles = m.first + (row.slot + tile) * s.width + lane
            bias = k.pointers["bias"] + oc + lane
            added = bias.load(s.lanes, k.mask(ocs - lane)) if spec.bias else None
            scale = (bias + spec.out_channels).load(s.lanes, k.mask(ocs - lane)) if spec.scale else None

            def read(d: Number, h: int, w: int, tiles: Pointer = tiles) -> Vector:
                return (tiles + ((d * height.inputs + h) * width.inputs + w) * m.distance).load(s.lanes)

            def write(
                d: int,
                h: Number,
                w: Number,
                value: Vector,
                corner: Pointer = corner,
                added: Vector | None = added,
                scale: Vector | None = scale,
            ) -> None:
                if scale is not None:
                    value = value * scale
                if added is not None:
                    value = value + added
                (corner + d * slabs + h * rows + w * step).store(activated(k, spec, value))

            transform(k, (depth.filter.a, height.filter.a, width.filter.a), read, write, values)
        if spec.layout == "channels_last":
            with k.unless(inside):
                _leave(k, spec, s, row, (z, y, x), reach, oc, ocs, scratch)
        else:
            _leave(k, spec, s, row, (z, y, x), reach, oc, ocs, scratch)


def _leave(
    k: Kernel,
    spec: Spec,
    s: Shape,
    row: Row,
    corner: tuple[Index, Index, Index],
    reach: Index,
    oc: Index,
    ocs: Index,
    scratch: Pointer,
) -> None:
    """Bring the results of a row of tiles from ``scratch`` to the output, as far as it reaches."""
    n, (depth, height, width) = k.numbers, s.axes
    result, (z0, y0, x) = k.pointers[k.signature.pointers[3]], corner
    end = k.minimum(n["ow"] - x, reach)
    slabs, rows = n["od"] - z0 + (depth.dilation - 1), n["oh"] - y0 + (height.dilation - 1)
    with (
        k.loop(k.minimum(slabs // depth.dilation, depth.outputs)) as d,
        k.loop(k.minimum(rows // height.dilation, height.outputs)) as h,
        _pieces(k, width, row) as (start, size),
    ):
        z, y = z0 + d * depth.dilation, y0 + h * height.dilation
        count = k.minimum(end - start, size)
        came = scratch + ((d * height.outputs + h) * reach + start) * s.width
        if spec.layout == "contiguous":
            pixels = n["od"] * n["oh"] * n["ow"]
            to = result + (row.sample * s.ocs + oc) * pixels + (z * n["oh"] + y) * n["ow"] + x + start
            transpose(k, came, s.width, to, pixels, count, ocs)
        else:
            to = result + (((row.sample * n["od"] + z) * n["oh"] + y) * n["ow"] + x + start) * s.ocs + oc
            with k.loop(count) as place:
                copy(k, came + place * s.width, to + place * s.ocs, ocs)


@contextmanager
def _pieces(k: Kernel, width: Axis, row: Row) -> Iterator[tuple[Number, Index]]:
    """Repeat the body for each run of neighbouring outputs that tiles of ``row`` make: where it begins, and its size.

    Groups at the ends of the row may belong to it in part; of their outputs, others come from other tasks.
    """
    step = width.dilation
    begin, reach = width.covered(row.first, row.count)
    if step == 1:
        yield 0, reach
        return
    with k.loop(reach // width.group) as group:
        before = (begin // width.group + group) * step
        first = k.maximum(row.first - before, 0)
        count = k.minimum(row.first + row.count - before, step) - first
        whole = count.equals(step)
        with k.loop(k.select(whole, 1, width.outputs)) as piece:
            yield group * width.group + piece * step + first, k.select(whole, width.group, count)
