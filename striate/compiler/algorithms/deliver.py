"""From scratch to the result: rows of one channel each become a row of the layout, with bias and activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.compiler.algorithms.activation import activated
from striate.compiler.algorithms.residues import FEW
from striate.compiler.moves import join, turn

if TYPE_CHECKING:
    from striate.compiler.algorithms.residues import Roles
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.values import Index, Number, Pointer, Vector


def deliver(
    k: Kernel,
    spec: Spec,
    roles: Roles,
    rows: Pointer,
    result: Pointer,
    where: tuple[Index, Index, Index, Index],
    count: Index,
) -> None:
    """One result row, from ``[class][channel][column]`` to its place."""
    n, classes = k.numbers, roles.axes[2].classes
    sample, d, h, w0 = where
    columns = n["columns"]
    if spec.layout == "channels_last":
        row = result + ((sample * n["result_d"] + d) * n["result_h"] + h) * n["result_w"] * roles.result
        _interleave(k, spec, rows, columns, classes * roles.result, row, roles.result, w0, count, None)
        return
    with k.loop(roles.result) as c:
        row = result + (((sample * roles.result + c) * n["result_d"] + d) * n["result_h"] + h) * n["result_w"]
        _interleave(
            k, spec, rows + k.index(c) * columns, columns * roles.result, classes, row, 1, w0, count, k.index(c)
        )


def _interleave(
    k: Kernel,
    spec: Spec,
    rows: Pointer,
    apart: Index,
    ways: int,
    to: Pointer,
    channels: int,
    w0: Index,
    count: Index,
    channel: Index | None,
) -> None:
    """Write ``to[(w0 * classes + offset) * channels + m * ways + way] = rows[way][m]`` where that lies in the row."""
    n, lanes = k.numbers, k.lanes
    begin = w0 * ways + n["offset_w"] * channels
    end = k.minimum(begin + count * ways, n["result_w"] * channels)

    def finished(vector: Vector, way: Number) -> Vector:
        if spec.bias:
            which = (k.index(way) % channels) if channel is None else channel
            bias = k.pointers["bias"] + which
            if spec.scale:
                vector = vector * (bias + spec.out_channels).load().broadcast(lanes)
            vector = vector + bias.load().broadcast(lanes)
        return activated(k, spec, vector)

    with k.loop(count, step=lanes) as m:
        if ways <= FEW:
            vectors = [finished((rows + apart * way + m).load(lanes), way) for way in range(ways)]
            for number, vector in enumerate(join(vectors)):
                at = begin + m * ways + number * lanes
                (to + at).store(vector, k.window(0 - at, end - at))
            return
        with k.loop(ways, step=lanes) as way:
            square = []
            for r in range(lanes):
                inside = k.minimum(way + r, ways - 1)
                square.append(finished((rows + apart * inside + m).load(lanes), inside))
            for number, vector in enumerate(turn(square)):
                at = begin + (m + number) * ways + way
                (to + at).store(vector, k.window(0 - at, k.minimum(end - at, ways - way)))
