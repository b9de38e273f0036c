"""Moving data inside a kernel: filling, copying, and transposing between channels-last and channels-first rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.values import Index, Number, Pointer, Vector


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
    # A square is some two hundred instructions, and kernels transpose in several places.
    k.shared("transpose", _transpose, source, source_row, to, to_row, rows, columns)


def _transpose(
    k: Kernel, source: Pointer, source_row: Index, to: Pointer, to_row: Index, rows: Index, columns: Index
) -> None:
    lanes = k.lanes
    with k.loop(rows, step=lanes) as row, k.loop(columns, step=lanes) as column:
        across, down = k.mask(columns - column), k.mask(rows - row)
        at, square = source + row * source_row + column, []
        for r in range(lanes):
            square.append(at.load(lanes, across))
            # Rows beyond the last read the last one again: addresses stay inside, and their lanes are never stored.
            at = k.either(row + (r + 1) < rows, at + source_row, at)
        at = to + column * to_row + row
        for c, vector in enumerate(turn(square)):
            with k.when(column + c < columns):
                (at + c * to_row).store(vector, down)


def turn(square: list[Vector]) -> list[Vector]:
    """Transpose as many vectors as they have lanes: lane ``i`` of result ``j`` is lane ``j`` of vector ``i``.

    First within blocks of 128 bits, those of a vector at once; then blocks change places between vectors. Processors
    have an instruction for each such step, which LLVM finds without a search.
    """
    lanes = square[0].lanes
    block = min(16 // square[0].kernel.element_bytes, lanes)
    starts = range(0, lanes, block)
    # The c-th of each ``block`` rows becomes column c of all their blocks.
    turned = [_interleaved(square[first : first + block], block) for first in starts]
    columns = [_dealt(list(vectors), block) for vectors in zip(*turned, strict=True)]
    return [columns[lane % block][lane // block] for lane in range(lanes)]


def _interleaved(vectors: list[Vector], block: int) -> list[Vector]:
    """Within each block: from rows to columns, by interleaving the first half of the rows with the second, again."""
    half, lanes = len(vectors) // 2, vectors[0].lanes
    if not half:
        return vectors
    low = [start + lane + side for start in range(0, lanes, block) for lane in range(block // 2) for side in (0, lanes)]
    pairs = list(zip(vectors[:half], vectors[half:], strict=True))
    first = [a.shuffle(low, b) for a, b in pairs]
    second = [a.shuffle([lane + block // 2 for lane in low], b) for a, b in pairs]
    return _interleaved(first, block) + _interleaved(second, block)


def _dealt(vectors: list[Vector], block: int) -> list[Vector]:
    """Transpose blocks: the ``j``-th result is made of the ``j``-th block of each vector."""
    if len(vectors) == 1:
        return vectors
    lanes = vectors[0].lanes
    even = [start + lane + side for side in (0, lanes) for start in range(0, lanes, 2 * block) for lane in range(block)]
    pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
    first = _dealt([a.shuffle(even, b) for a, b in pairs], block)
    second = _dealt([a.shuffle([lane + block for lane in even], b) for a, b in pairs], block)
    return [vector for pair in zip(first, second, strict=True) for vector in pair]


def pick(vectors: list[Vector], places: list[int]) -> Vector:
    """The vector whose lane ``i`` is lane ``places[i]`` of all ``vectors`` laid end to end; -1 leaves a lane open."""
    lanes = vectors[0].lanes
    result: Vector | None = None
    for number, vector in enumerate(vectors):
        taken = [place - number * lanes if place // lanes == number else -1 for place in places]
        if result is None:
            if any(lane >= 0 for lane in taken):
                result = vector.shuffle([max(lane, 0) for lane in taken])
        elif any(lane >= 0 for lane in taken):
            width = len(places)
            wide = vector if vector.lanes == width else vector.shuffle([lane % lanes for lane in range(width)])
            result = result.shuffle([width + lane if lane >= 0 else i for i, lane in enumerate(taken)], wide)
    return vectors[0].shuffle([0] * len(places)) if result is None else result


def split(vectors: list[Vector]) -> list[Vector]:
    """Deal out interleaved lanes: lane ``i`` of result ``j`` is element ``i * n + j`` of all ``n`` laid end to end."""
    ways, lanes = len(vectors), vectors[0].lanes
    return [pick(vectors, [lane * ways + way for lane in range(lanes)]) for way in range(ways)]


def join(vectors: list[Vector]) -> list[Vector]:
    """Undo `split`: laid end to end, the results hold lane 0 of each vector, then lane 1 of each, and so on."""
    ways, lanes = len(vectors), vectors[0].lanes
    return [
        pick(vectors, [place % ways * lanes + place // ways for place in range(way * lanes, (way + 1) * lanes)])
        for way in range(ways)
    ]


def sums(vectors: list[Vector]) -> Vector:
    """The sum of the lanes of each vector, as the lanes of one; as many vectors as a power of two up to their lanes.

    Two vectors become one as wide whose halves belong to one each, so that every addition works on full vectors.
    """
    width = len(vectors)
    folded = []
    for vector in vectors:
        while vector.lanes > width:
            half = vector.lanes // 2
            vector = vector.shuffle(range(half)) + vector.shuffle(range(half, 2 * half))
        folded.append(vector)
    while len(folded) > 1:
        count = len(folded)
        half = count // 2
        low = [
            width * (block % 2) + block // 2 * count + lane for block in range(width // half) for lane in range(half)
        ]
        high = [lane + half for lane in low]
        folded = [a.shuffle(low, b) + a.shuffle(high, b) for a, b in zip(folded[:half], folded[half:], strict=True)]
    return folded[0]
