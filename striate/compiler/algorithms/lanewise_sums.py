"""The sums of `lanewise_weight`: products of outputs and the inputs they meet, added up in registers.

Borders. Every output of a tile meets the input in one of the block's taps at least, so that only the first and the last
few of the tile's input positions can lie outside: these are read from a vector of zeros instead, chosen by address.
The last tile of a row is moved back to end with it, and what it has in common with the one before is read as zero.

Memory. What the next block of rows reads is brought into the second-level cache while this one is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.direct import three
from striate.compiler.algorithms.lanewise_rows import axes

if TYPE_CHECKING:
    from collections.abc import Callable

    from striate.compiler.algorithms.lane_groups import LaneGroups
    from striate.compiler.algorithms.tap_axis import TapAxis
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Index, Pointer, Variable, Vector


@dataclass(frozen=True, slots=True)
class Tile:
    """Accumulators: ``rows`` kernel rows of ``taps`` taps and ``sources`` channels; ``pixels`` outputs at a time."""

    pixels: int
    rows: int
    taps: int
    sources: int


def tile(spec: Spec, lanes: LaneGroups, target: Target) -> Tile:
    """The tile of a layer: as many sums as there are registers beside the outputs."""
    pixels = 7 if target.vector_registers >= 32 else 4
    _, kh, kw = three(spec.kernel_size)
    room = target.vector_registers - pixels - 3
    # Long rows of taps are cut into blocks that are short enough to compile, and equal.
    taps = -(-kw // -(-kw // min(room, 12)))
    sources = max(1, min(lanes.sources, room // taps))
    rows = max(1, min(kh, room // (kw * lanes.sources))) if taps == kw else 1
    return Tile(pixels, -(-kh // -(-kh // rows)), taps, sources)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of rows of one sample and depth. Positions count along a row from its beginning in the whole array."""

    input: Callable[[Index, Index, Index], Pointer]
    """Where position 0 of an input row lies: of the tap and position in depth, and the row."""
    output: Callable[[Index], Pointer]
    """Where position 0 of a row of grad_output lies."""
    input_pitch: int
    output_pitch: int
    rows: tuple[Index, Index]
    pixels: tuple[Index, Index]
    inputs: tuple[Index, Index]
    """The positions along an input row that the pixels meet; in scratch there are no others."""
    shares: tuple[Index, Index] | None
    """In memory of many vectors, how far the vector's part of a row is from its channels, for inputs and outputs: each
    prefetches as much as it reads itself, but all of one place. None for rows in scratch."""


@dataclass(frozen=True, slots=True)
class _Taps:
    """The taps of a tile: a block of them, whose sums are in registers."""

    rows: int
    taps: int
    some: range
    """Source channels."""
    sums: dict[tuple[int, int, int, int], Variable[Vector]]
    """By row, tap, source channel and copy: consecutive outputs go to different copies."""
    copies: int
    row: Index
    """The row of the input that the first row of taps meets."""


def add_products(
    k: Kernel,
    spec: Spec,
    lanes: LaneGroups,
    form: Tile,
    block: Block,
    deep: tuple[Index, Index],
    h_range: tuple[int, int, int],
    w_range: tuple[int, int, int],
    partial: Pointer,
) -> None:
    """Add the products of a block of rows to the ``partial`` sums: those of a range of kernel rows and taps."""
    n = k.numbers
    depth, height, width = axes(spec)
    (h_start, h_stop, h_step), (w_start, w_stop, w_step) = h_range, w_range
    with k.loop(h_stop, h_start, h_step) as h_tap, k.loop(w_stop, w_start, w_step) as w_tap:
        place = partial + ((deep[0] * height.taps + h_tap) * width.taps + w_tap) * (lanes.sources * k.lanes)
        # Outputs that meet the input in one of the kernel rows, and in one of the taps of a row.
        first, end = _meet(k, height, h_tap, h_step, n["ph"], n["ih"], block.rows)
        left, right = _meet(k, width, w_tap, w_step, n["pw"], n["iw"], block.pixels)
        for source in range(0, lanes.sources, form.sources):
            some = range(source, min(source + form.sources, lanes.sources))
            keys = [(h, w, s) for h in range(h_step) for w in range(w_step) for s in some]
            # Few sums are kept several times, for consecutive outputs, or each would wait for the one before.
            copies = max(1, min(form.pixels, 9 // len(keys)))
            sums = {(*key, c): k.variable(k.constant(0.0, k.lanes)) for key in keys for c in range(copies)}
            with k.loop(end, first) as h:
                row = h * height.stride - n["ph"] + h_tap * height.dilation
                if h_start == w_start == source == 0 and block.shares is not None:
                    # Once is enough: with the first taps, of the depth that the next block of rows is new in.
                    with k.when((deep[0] + 1 >= depth.taps) & (h_tap + w_tap < 1)):
                        _prefetch(k, spec, lanes, block, block.shares, deep, h, row + (h_step - 1) * height.dilation)
                taps = _Taps(h_step, w_step, some, sums, copies, row)
                with k.when(right - left >= form.pixels), k.loop(right, left, form.pixels) as begin:
                    w = k.minimum(begin, right - form.pixels)
                    _tile(k, spec, lanes, taps, block, deep, h, w, w_tap, begin, form.pixels)
                with k.when(right - left < form.pixels), k.loop(right, left) as w:
                    _tile(k, spec, lanes, taps, block, deep, h, w, w_tap, w, 1)
            for r, t, s in keys:
                total = sums[r, t, s, 0].get()
                for c in range(1, copies):
                    total = total + sums[r, t, s, c].get()
                to = place + ((r * width.taps + t) * lanes.sources + s) * k.lanes
                to.store(to.load(k.lanes) + total)


def _meet(
    k: Kernel, axis: TapAxis, tap: Index, taps: int, before: Index, size: Index, outputs: tuple[Index, Index]
) -> tuple[Index, Index]:
    """The outputs of a range that may meet the input in one of ``taps`` taps."""
    reach = tap * axis.dilation - before
    # Output o meets it where 0 <= o * stride + reach + (taps - 1) * dilation and o * stride + reach < size.
    low = (0 - reach - (taps - 1) * axis.dilation + (axis.stride - 1)) // axis.stride
    high = (size - reach + (axis.stride - 1)) // axis.stride
    first = k.maximum(low, outputs[0])
    return first, k.maximum(k.minimum(high, outputs[1]), first)


def _prefetch(
    k: Kernel,
    spec: Spec,
    lanes: LaneGroups,
    block: Block,
    shares: tuple[Index, Index],
    deep: tuple[Index, Index],
    h: Index,
    row: Index,
) -> None:
    """Bring what the next block of rows reads into the L2 cache, for one row of outputs that meets inputs to ``row``.

    Beyond the last row follows the next depth or sample, which is next indeed. A signal is one row, which is read in
    order: the processor sees that by itself.
    """
    _, height, _ = axes(spec)
    (left, right), (first, end), (top, bottom) = block.pixels, block.inputs, block.rows
    if spec.spatial_dims == 1:
        return
    down = bottom - top
    ahead = block.output(h + down) + left * block.output_pitch + shares[1]
    with k.loop(right - left) as line:
        (ahead + line * lanes.width).prefetch(level=2)
    for new in range(height.stride):
        ahead = block.input(*deep, row + down * height.stride - new) + first * block.input_pitch + shares[0]
        with k.loop(end - first) as line:
            (ahead + line * lanes.source_width).prefetch(level=2)


def _tile(
    k: Kernel,
    spec: Spec,
    lanes: LaneGroups,
    taps: _Taps,
    block: Block,
    deep: tuple[Index, Index],
    h: Index,
    w: Index,
    w_tap: Index,
    begin: Index,
    pixels: int,
) -> None:
    """Add the products of a tile of outputs with the inputs they meet; outputs before ``begin`` do not count."""
    n = k.numbers
    _, height, width = axes(spec)
    zeros = k.zeros(2 * k.lanes)
    at = w * width.stride - n["pw"] + w_tap * width.dilation
    meets: dict[int, list[tuple[int, int]]] = {}
    for p in range(pixels):
        for t in range(taps.taps):
            meets.setdefault(p * width.stride + t * width.dilation, []).append((p, t))
    safe = range((taps.taps - 1) * width.dilation, (pixels - 1) * width.stride + 1)
    low, high = block.inputs
    outputs = []
    start = block.output(h) + w * block.output_pitch
    for p in range(pixels):
        pixel: Pointer = start + p * block.output_pitch
        outputs.append(lanes.load(k, k.either(w + p >= begin, pixel, zeros)))
    for r in range(taps.rows):
        row = taps.row + r * height.dilation
        with k.when((row >= 0) & (row < n["ih"])):
            values = {key: variable.get() for key, variable in taps.sums.items() if key[0] == r}
            start = block.input(*deep, row) + at * block.input_pitch
            for position in sorted(meets):
                pixel = start + position * block.input_pitch
                if position not in safe:
                    pixel = k.either((at + position >= low) & (at + position < high), pixel, zeros)
                loaded = lanes.load_sources(k, pixel)
                for s in taps.some:
                    shuffled = lanes.source(loaded, s)
                    for p, t in meets[position]:
                        key = (r, t, s, p % taps.copies)
                        values[key] = k.fma(outputs[p], shuffled, values[key])
            for key, value in values.items():
                taps.sums[key].set(value)
