"""Moving data inside a kernel: filling, copying, and transposing between channels-last and channels-first rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.values import Number, Pointer, Vector


def fill(k: Kernel, to: Pointer, count: Number, value: float = 0.0) -> None:
    """Set ``count`` elements."""
    with k.loop(count, step=k.lanes) as i:
        (to + i).store(k.constant(value, k.lanes), k.mask(count - i))


def copy(k: Kernel, source: Pointer, to: Pointer, count: Number) -> None:
    """Copy ``count`` elements."""
    with k.loop(count, step=k.lanes) as i:
        mask = k.mask(count - i)
        (to + i).store((source + i).load(k.lanes, mask), mask)


def transpose(
    k: Kernel, source: Pointer, source_row: Number, to: Pointer, to_row: Number, rows: Number, columns: Number
) -> None:
    """Write ``to[column * to_row + row] = source[row * source_row + column]``.

    Squares of as many rows and columns as a vector has lanes are turned round in registers; at the right and the lower
    edge, lanes that are not there are masked off. Nothing outside ``rows`` x ``columns`` is read or written.
    """
    lanes = k.lanes
    with k.loop(rows, step=lanes) as row, k.loop(columns, step=lanes) as column:
        across, down = k.mask(columns - column), k.mask(rows - row)
        square = []
        for r in range(lanes):
            # Rows beyond the last read the last one again: addresses stay inside, and their lanes are never stored.
            inside = k.minimum(row + r, rows - 1)
            square.append((source + inside * source_row + column).load(lanes, across))
        for c, vector in enumerate(turn(square)):
            with k.when(column + c < columns):
                (to + (column + c) * to_row + row).store(vector, down)


def turn(square: list[Vector]) -> list[Vector]:
    """Transpose as many vectors as they have lanes: lane ``i`` of result ``j`` is lane ``j`` of vector ``i``.

    In each step, vectors a distance apart exchange blocks as wide as that distance.
    """
    lanes = square[0].lanes
    vectors = list(square)
    distance = 1
    while distance < lanes:
        low = [lane if not lane & distance else lane - distance + lanes for lane in range(lanes)]
        high = [lane + distance if not lane & distance else lane + lanes for lane in range(lanes)]
        for first in range(lanes):
            if not first & distance:
                a, b = vectors[first], vectors[first + distance]
                vectors[first], vectors[first + distance] = a.shuffle(low, b), a.shuffle(high, b)
        distance *= 2
    return vectors
