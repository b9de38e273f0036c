"""The steps of Winograd convolution: fetch and transform weights, transform inputs, multiply, transform back.

`winograd` says what they are for and in which order they run. Tiles of all samples are numbered in one row, and a step
works on any run of them. Where a row of tiles crosses the border of the image, where channels do not fill vectors, or
where the layout is contiguous, its inputs and outputs pass through scratch memory, channels last; the transforms
themselves know no edges and no masks.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.axes import three
from striate.compiler.algorithms.winograd_transform import Axis, axis, transform
from striate.compiler.moves import copy, fill, transpose

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
    def outputs(self) -> int:
        """Outputs of a tile."""
        return math.prod(axis.outputs for axis in self.axes)

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

    def row(self, tiles: int) -> tuple[int, int]:
        """Values of the inputs and of the outputs of a row of tiles, in scratch memory."""
        depth, height, width = self.axes
        reach = tiles * width.outputs
        inputs = depth.inputs * height.inputs * (reach + width.taps - 1) * self.pitch
        return inputs, depth.outputs * height.outputs * reach * self.width

    @property
    def v_pitch(self) -> int:
        """Values between neighbouring tiles of ``V``: an odd number of vectors where there are many."""
        return self.pitch + (self.lanes if self.pitch >= 8 * self.lanes and self.pitch // self.lanes % 2 == 0 else 0)


def axes(spec: Spec, tile: int) -> tuple[Axis, Axis, Axis]:
    """How each axis is computed for tiles of ``tile`` outputs; volumes take two in depth, or planes are too many."""
    kd, kh, kw = three(spec.kernel_size)
    return axis(min(tile, 2), kd), axis(tile, kh), axis(tile, kw)


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


@dataclass(frozen=True, slots=True)
class Planes:
    """One matrix for each plane of the transformed domain, at equal distances."""

    first: Pointer
    distance: Number

    def plane(self, number: Number) -> Pointer:
        """The beginning of a matrix."""
        return self.first + number * self.distance


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
    """From ``[ic][tap][lane]`` to ``U``; taps are flipped for the gradient."""
    depth, height, width = s.axes
    with k.loop(ics) as ic, k.loop(s.width, step=s.lanes) as lane:
        taps, to = stage + ic * (s.taps * s.width) + lane, u.first + ic * s.width + lane

        def read(d: Number, h: int, w: int, taps: Pointer = taps) -> Vector:
            if spec.pass_ == "grad_input":
                d, h, w = depth.taps - 1 - d, height.taps - 1 - h, width.taps - 1 - w
            return (taps + ((d * height.taps + h) * width.taps + w) * s.width).load(s.lanes)

        def write(d: int, h: Number, w: Number, value: Vector, to: Pointer = to) -> None:
            (to + ((d * height.inputs + h) * width.inputs + w) * u.distance).store(value)

        transform(k, (depth.g, height.g, width.g), read, write, values)


@dataclass(frozen=True, slots=True)
class Row:
    """Neighbouring tiles of one row of a sample, in a task."""

    sample: Index
    depth: Index
    height: Index
    first: Index
    """Its first tile, counted in the row."""
    count: Index
    slot: Index
    """Its first tile, counted in the task."""


@contextmanager
def _rows(k: Kernel, first: Index, last: Index) -> Iterator[Row]:
    """Repeat the body for the rows that tiles ``first`` up to ``last`` of all samples lie in."""
    n = k.numbers
    with k.loop((last + n["tw"] - 1) // n["tw"], first // n["tw"]) as row:
        start = k.maximum(first - row * n["tw"], 0)
        stop = k.minimum(last - row * n["tw"], n["tw"])
        rest = row // n["th"]
        yield Row(
            rest // n["td"], rest % n["td"], row % n["th"], start, stop - start, row * n["tw"] + start - first
        )  # fmt: skip


def input_transform(k: Kernel, spec: Spec, s: Shape, first: Index, last: Index, v: Planes, own: Pointer) -> None:
    """From the input of tiles ``first`` up to ``last`` to ``V``, which begins with the first of them."""
    n, (depth, height, width) = k.numbers, s.axes
    source = k.pointers[k.signature.pointers[0]]
    scratch, values = own + n["inputs"], own + n["values"]
    with _rows(k, first, last) as row:
        z, y, x = (
            row.depth * depth.outputs - n["pd"],
            row.height * height.outputs - n["ph"],
            row.first * width.outputs - n["pw"],
        )
        reach = row.count * width.outputs + (width.taps - 1)
        base = k.variable(scratch)
        across, down = k.variable(reach * s.pitch), k.variable(reach * (height.inputs * s.pitch))
        if spec.layout == "channels_last" and s.ics == s.pitch:
            inside = (z >= 0) & (z + depth.inputs <= n["id"]) & (y >= 0) & (y + height.inputs <= n["ih"])
            inside = inside & (x >= 0) & (x + reach <= n["iw"])
            with k.when(inside):
                base.set(source + (((row.sample * n["id"] + z) * n["ih"] + y) * n["iw"] + x) * s.ics)
                across.set(n["iw"] * s.ics)
                down.set(n["ih"] * n["iw"] * s.ics)
            with k.unless(inside):
                _stage(k, spec, s, row.sample, (z, y, x), reach, scratch)
        else:
            _stage(k, spec, s, row.sample, (z, y, x), reach, scratch)
        rows, slabs = across.get(), down.get()
        with k.loop(row.count) as tile, k.loop(s.ics, step=s.lanes) as ic:
            corner = base.get() + tile * (width.outputs * s.pitch) + ic
            to = v.first + (row.slot + tile) * s.v_pitch + ic

            def read(
                d: Number, h: int, w: int, corner: Pointer = corner, rows: Index = rows, slabs: Index = slabs
            ) -> Vector:
                return (corner + d * slabs + h * rows + w * s.pitch).load(s.lanes)

            def write(d: int, h: Number, w: Number, value: Vector, to: Pointer = to) -> None:
                (to + ((d * height.inputs + h) * width.inputs + w) * v.distance).store(value)

            transform(k, (depth.b, height.b, width.b), read, write, values)


def _stage(
    k: Kernel, spec: Spec, s: Shape, sample: Index, corner: tuple[Index, Index, Index], reach: Index, scratch: Pointer
) -> None:
    """Bring the inputs of a row of tiles to ``scratch``, channels last, with zeros where there is no image."""
    n, (depth, height, _) = k.numbers, s.axes
    source, (z0, y0, x0) = k.pointers[k.signature.pointers[0]], corner
    with k.loop(depth.inputs) as d, k.loop(height.inputs) as h:
        z, y = z0 + d, y0 + h
        to = scratch + (d * height.inputs + h) * (reach * s.pitch)
        low, high = k.variable(reach), k.variable(reach)
        with k.when((z >= 0) & (z < n["id"]) & (y >= 0) & (y < n["ih"])):
            low.set(k.minimum(k.maximum(0 - x0, 0), reach))
            high.set(k.maximum(k.minimum(n["iw"] - x0, reach), low.get()))
        start, count = low.get(), high.get() - low.get()
        fill(k, to, start * s.pitch)
        fill(k, to + high.get() * s.pitch, (reach - high.get()) * s.pitch)
        if spec.layout == "contiguous":
            pixels = n["id"] * n["ih"] * n["iw"]
            came = source + sample * pixels * s.ics + (z * n["ih"] + y) * n["iw"] + x0 + start
            transpose(k, came, pixels, to + start * s.pitch, s.pitch, s.ics, count)
        else:
            came = source + (((sample * n["id"] + z) * n["ih"] + y) * n["iw"] + x0 + start) * s.ics
            if s.pitch == s.ics:
                copy(k, came, to + start * s.pitch, count * s.ics)
            else:
                with k.loop(count) as x:
                    copy(k, came + x * s.ics, to + (start + x) * s.pitch, s.ics)


def products(k: Kernel, s: Shape, u: Planes, v: Planes, m: Planes, ics: Number, count: Index, add: bool) -> None:
    """From ``V`` and ``U`` to ``M``, or on top of it, for ``ics`` input channels and one block of output channels.

    The last register tile may read rows of ``V`` that stand for no tile; nobody reads what it makes of them.
    """
    with k.loop(s.planes) as plane:
        weights, tiles, results = u.plane(plane), v.plane(plane), m.plane(plane)
        for form in s.forms:
            with k.when(k.numbers["form"].equals(form)), k.loop(count, step=form) as start:
                values, to = tiles + start * s.v_pitch, results + start * s.width
                places = [to + (p * s.width + lane * s.lanes) for p in range(form) for lane in range(s.vectors)]
                sums = [k.variable(k.constant(0.0, s.lanes)) for _ in places]
                with k.walk(ics, (weights, s.width), (values, 1)) as (row, column):
                    lanes = [(row + lane * s.lanes).load(s.lanes) for lane in range(s.vectors)]
                    for p in range(form):
                        value = (column + p * s.v_pitch).load().broadcast(s.lanes)
                        for lane in range(s.vectors):
                            total = sums[p * s.vectors + lane]
                            total.set(k.fma(value, lanes[lane], total.get()))
                for place, total in zip(places, sums, strict=True):
                    # What is there already is added last: accumulators that begin with it cost LLVM a spill.
                    place.store(total.get() + place.load(s.lanes) if add else total.get())


def output_transform(
    k: Kernel, spec: Spec, s: Shape, block: Index, first: Index, last: Index, m: Planes, own: Pointer
) -> None:
    """From ``M`` to the output, for one block of output channels and tiles ``first`` up to ``last``."""
    n, (depth, height, width) = k.numbers, s.axes
    result = k.pointers[k.signature.pointers[3]]
    scratch, values = own + n["outputs"], own + n["values"]
    oc = block * s.width
    ocs = k.minimum(s.ocs - oc, s.width)
    with _rows(k, first, last) as row:
        z, y, x = row.depth * depth.outputs, row.height * height.outputs, row.first * width.outputs
        reach = row.count * width.outputs
        base, pixel = k.variable(scratch), k.variable(k.index(s.width))
        across, down = k.variable(reach * s.width), k.variable(reach * (height.outputs * s.width))
        inside = (z + depth.outputs <= n["od"]) & (y + height.outputs <= n["oh"]) & (x + reach <= n["ow"])
        inside = inside & ocs.equals(s.width)
        if spec.layout == "channels_last":
            with k.when(inside):
                base.set(result + (((row.sample * n["od"] + z) * n["oh"] + y) * n["ow"] + x) * s.ocs + oc)
                pixel.set(k.index(s.ocs))
                across.set(n["ow"] * s.ocs)
                down.set(n["oh"] * n["ow"] * s.ocs)
        place, step, rows, slabs = base.get(), pixel.get(), across.get(), down.get()
        with k.loop(row.count) as tile, k.loop(s.width, step=s.lanes) as lane:
            corner = place + tile * width.outputs * step + lane
            tiles = m.first + (row.slot + tile) * s.width + lane
            bias = k.pointers["bias"] + oc + lane
            added = bias.load(s.lanes, k.mask(ocs - lane)) if spec.bias else None

            def read(d: Number, h: int, w: int, tiles: Pointer = tiles) -> Vector:
                return (tiles + ((d * height.inputs + h) * width.inputs + w) * m.distance).load(s.lanes)

            def write(
                d: int, h: Number, w: Number, value: Vector, corner: Pointer = corner, added: Vector | None = added
            ) -> None:
                if added is not None:
                    value = value + added
                if spec.activation == "relu":
                    value = value.maximum(k.constant(0.0, s.lanes))
                (corner + d * slabs + h * rows + w * step).store(value)

            transform(k, (depth.a, height.a, width.a), read, write, values)
        if spec.layout == "channels_last":
            with k.unless(inside):
                _leave(k, spec, s, row.sample, (z, y, x), reach, oc, ocs, scratch)
        else:
            _leave(k, spec, s, row.sample, (z, y, x), reach, oc, ocs, scratch)


def _leave(
    k: Kernel,
    spec: Spec,
    s: Shape,
    sample: Index,
    corner: tuple[Index, Index, Index],
    reach: Index,
    oc: Index,
    ocs: Index,
    scratch: Pointer,
) -> None:
    """Bring the results of a row of tiles from ``scratch`` to the output, as far as it reaches."""
    n, (depth, height, _) = k.numbers, s.axes
    result, (z, y, x) = k.pointers[k.signature.pointers[3]], corner
    count = k.minimum(n["ow"] - x, reach)
    with k.loop(k.minimum(n["od"] - z, depth.outputs)) as d, k.loop(k.minimum(n["oh"] - y, height.outputs)) as h:
        came = scratch + (d * height.outputs + h) * (reach * s.width)
        if spec.layout == "contiguous":
            pixels = n["od"] * n["oh"] * n["ow"]
            to = result + (sample * s.ocs + oc) * pixels + ((z + d) * n["oh"] + y + h) * n["ow"] + x
            transpose(k, came, s.width, to, pixels, count, ocs)
        else:
            to = result + (((sample * n["od"] + z + d) * n["oh"] + y + h) * n["ow"] + x) * s.ocs + oc
            with k.loop(count) as place:
                copy(k, came + place * s.width, to + place * s.ocs, ocs)
