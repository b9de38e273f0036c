"""What the lanewise kernels of all passes share: their axes, equal shares of work, and rows brought out of planes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from striate.compiler.algorithms.direct import three
from striate.compiler.algorithms.tap_axis import TapAxis
from striate.compiler.moves import transpose
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target
    from striate.compiler.values import Condition, Index, Number, Pointer


def axes(spec: Spec) -> tuple[TapAxis, TapAxis, TapAxis]:
    """The three axes of a layer."""
    backward = spec.pass_ == "grad_input"
    depth, height, width = zip(three(spec.kernel_size), three(spec.stride), three(spec.dilation), strict=True)
    return TapAxis(*depth, backward), TapAxis(*height, backward), TapAxis(*width, backward)


def share(count: Number, block: Index, blocks: Index) -> tuple[Index, Index]:
    """The first of a block's share of ``count``, and one past its last; shares are equal, to one."""
    return block * count // blocks, (block + 1) * count // blocks


def turn_rows(
    k: Kernel,
    source: Pointer,
    row: Index,
    plane: Index,
    to: Pointer,
    width: int,
    rows: Index,
    count: Index,
    inwards: bool,
) -> None:
    """Transpose rows of ``count`` pixels and ``width`` channels from planes into scratch, or out of it.

    Where the rows are whole they follow each other without a gap, and are moved as one.
    """
    whole = row.equals(count)
    runs = k.variable(rows)
    length = k.variable(count)
    with k.when(whole):
        runs.set(k.index(1))
        length.set(rows * count)
    with k.loop(runs.get()) as r:
        if inwards:
            transpose(k, source + r * row, plane, to + r * count * width, width, k.index(width), length.get())
        else:
            transpose(k, source + r * count * width, k.index(width), to + r * row, plane, length.get(), k.index(width))


def dense_taps(k: Kernel, spec: Spec) -> Condition:
    """Whether the taps of one channel of the weight follow each other in memory."""
    n = k.numbers
    _, kh, kw = three(spec.kernel_size)
    dense = n["weight_w"].equals(1)
    if spec.spatial_dims > 1:
        dense = dense & n["weight_h"].equals(kw)
    return dense & n["weight_d"].equals(kw * kh) if spec.spatial_dims > 2 else dense


def rows_inside(problem: ConvProblem) -> float:
    """The share of pairs of an output and a kernel row that meet inside the input; the others cost nothing."""
    spec = problem.spec
    missing = (0,) * (3 - spec.spatial_dims)
    before = missing + tuple(first for first, _ in problem.pads)
    sizes = zip(three(problem.input_size), three(problem.output_size), before, strict=True)
    share = 1.0
    for (size, outputs, first), taps, stride, dilation in zip(
        [*sizes][:2], three(spec.kernel_size), three(spec.stride), three(spec.dilation), strict=False
    ):
        met = 0
        for tap in range(taps):
            reach = tap * dilation - first
            met += max(0, min(outputs, -(-(size - reach) // stride)) - max(0, -(reach // stride)))
        share *= met / max(1, outputs * taps)
    return share


def memory_cycles(problem: ConvProblem, target: Target) -> float:
    """Cycles of reading and writing all activations: about 24 bytes each from the third-level cache, 6 beyond it."""
    spec = problem.spec
    numbers = spec.in_channels * math.prod(problem.input_size) + spec.out_channels * math.prod(problem.output_size)
    moved = problem.batch * numbers * BYTES[spec.dtype]
    staged = problem.batch * numbers * 0.6 * 16 / target.lanes(spec.dtype) if spec.layout == "contiguous" else 0.0
    return moved / (24 if moved < target.l3_bytes // 2 else 6) + staged
