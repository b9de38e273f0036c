"""Asking memory for the tiles of the next step while those of this one are multiplied.

The products of a step know nothing but what lies in the second-level cache, and take long enough for all that the next
step reads to arrive there. Every visit of a register tile asks, with each tile it multiplies, for a cache line of the
input and one of grad_output. What is asked for is a hint: where it is not quite what will be read (dilated rows, the
ends of planes, memory behind the arrays) nothing is wrong, and little is lost.

Short rows of tiles come several at a time: they read some whole lines of pixels of every plane, that follow each other
in memory. Of rows longer than a step, it reads a piece of every line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.compiler.algorithms.winograd_tiles import Source
    from striate.compiler.emit import Kernel
    from striate.compiler.values import Index, Number, Pointer


@dataclass(frozen=True, slots=True)
class Ahead:
    """The pixels that the next step reads of one array, as runs of neighbouring ones."""

    first: Index
    """The first channel that is wanted of the first pixel of the first run."""
    lines: Index
    """Runs of a plane."""
    line: Index
    """Elements between neighbouring runs of a plane."""
    plane: Index
    """Elements between the first runs of neighbouring planes."""
    pixels: Index
    """Pixels of a run."""

    def arguments(self) -> tuple[Index, ...]:
        """For a function that runs somewhere else; see `walk`."""
        return self.first, self.lines, self.line, self.plane, self.pixels


def ahead(k: Kernel, source: Source, end: Index, count: Index) -> Ahead:
    """What ``count`` tiles from ``end`` on read, and those before have not read already."""
    n, (depth, height, width) = k.numbers, source.axes
    _, size_h, size_w = source.sizes
    halo = [(span - one.outputs) * one.dilation for span, one in zip(source.spans, source.axes, strict=True)]
    long = n["tw"] > count
    row = (end + (n["tw"] - 1)) // n["tw"]
    rows = (end + count + (n["tw"] - 1)) // n["tw"] - row
    row = k.select(long, end // n["tw"], row)
    sample, z, y = row // n["th"] // n["td"], row // n["th"] % n["td"], row % n["th"]
    z, y = z * depth.outputs - source.pads[0], y * height.outputs - source.pads[1]
    x = end % n["tw"] * width.outputs + halo[2] - source.pads[2]
    y, x = k.select(long, y, y + halo[1]), k.select(long, x, 0)
    pixel = ((sample * source.sizes[0] + z + halo[0]) * size_h + y) * size_w + x
    return Ahead(
        pixel * source.channels + source.channel,
        k.select(long, source.spans[1], 1),
        size_w * source.channels,
        size_h * size_w * source.channels,
        k.select(long, count * width.outputs, rows * height.outputs * size_w),
    )


def walk(
    k: Kernel, array: Pointer, source: Source, wanted: Ahead, visit: Index, count: Index
) -> tuple[Pointer, Number]:
    """Where a visit that multiplies ``count`` tiles begins to ask, and how far it moves with each tile."""
    in_line = 64 // k.element_bytes
    lines = -(-source.pitch // in_line)
    run = visit // lines
    runs = wanted.lines * source.axes[0].outputs
    number, done = run % runs, run // runs * count
    place = number // wanted.lines * wanted.plane + number % wanted.lines * wanted.line
    at = array + wanted.first + place + done * source.channels + visit % lines * in_line
    return at, k.select(done < wanted.pixels, source.channels, 0)
