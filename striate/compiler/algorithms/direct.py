"""Direct convolution with register tiles: forward and grad_input, any rank, kernel, stride, dilation and groups.

Vectors run over result channels (output channels in a forward pass, input channels in grad_input). With the classes and
taps of `striate.compiler.algorithms.axes`, for one sample, one group and one class of positions::

    result[j, rc] = bias[rc] + sum over taps t, source channels sc of source[source(j, t), sc] * weight[t, sc, rc]

Layout. The weight is packed into panels (`panels`), so that the inner loop reads it in order. A task works on a block
of result rows. It reads its source rows in place if they are channels-last and reach over no side of the image, else
from scratch memory of its thread (`staging`), where they are channels-last with zeros around. Results are stored where
they belong; those of a contiguous layout wait in scratch until a block of channels is complete, and are transposed
then. Every rank is treated as three spatial axes, missing ones being 1 long; a layer that looks at each pixel alone
has one row with the pixels of all samples.

Loops::

    for task in (part of the channel blocks, block of samples, depth, class and block of rows, chunk of columns):
        stage the source rows that the block reads, unless they can be read in place
        for channel block (group, VECTORS vectors) of the part:
            for sample, for class of columns:
                for row, for tile of PIXELS of its results:
                    PIXELS x VECTORS accumulators in registers, begun with the bias
                    for tap that touches the image for some pixel of the tile:
                        for sc:
                            VECTORS weight vectors, PIXELS broadcast sources, one multiply-add for each pair
                    store, after the activation
            contiguous: transpose the block's results into place

Why. An accumulator is worth its register only if it is used often between its load and its store: P pixels by V vectors
cost P * V multiply-adds for P + V loads, and at least eight independent sums hide the latency of the multiply-adder.
Pixels of a tile differ by constants known when the kernel is made, so a tile needs one address. A panel and the rows of
a task stay in the second-level cache together (`blocking`): a panel is read once per tile of the task, the task's rows
once per panel. Where neighbouring taps are neighbouring pixels, the taps of a row and their channels are one long loop.
A row is covered by tiles of several widths, and the last one is moved back to end with it and computes some pixels
twice: no loop for single pixels. Which widths waste least for a row, a launch decides; the kernel has code for all.
Where a tile has few steps, memory is what it waits for: its results' and the next tile's sources are asked for early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.compiler.algorithm import POINTERS, Algorithm, Launch, Strides
from striate.compiler.algorithms import panels
from striate.compiler.algorithms.axes import axes, three
from striate.compiler.algorithms.blocking import Shape, blocking, estimate, lines, per_class
from striate.compiler.algorithms.gather import Gather, width
from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target


_SIZES = (
    "source_d", "source_h", "source_w", "result_d", "result_h", "result_w", "pad_d", "pad_h", "pad_w", "batch",
)  # fmt: skip
_BLOCKS = (
    "parts", "samples", "sample_blocks", "rows", "row_blocks", "columns", "chunks", "form", "rest",
    "left", "span", "sets", "set_rows", "set_step", "tap_slots", "reach",
    "scratch_offset", "scratch_size", "out_offset",
)  # fmt: skip

WAKE = 10_000
"""Cycles of work that a thread is worth waking for."""

__all__ = ["Direct", "three"]


class Direct(Algorithm):
    """Register-tiled direct convolution."""

    name = "direct"
    passes = ("forward", "grad_input")

    def obstacle(self, spec: Spec, target: Target) -> str | None:
        """See `Algorithm`."""
        return None

    def signature(self, spec: Spec) -> Signature:
        """See `Algorithm`."""
        return Signature(POINTERS[spec.pass_], (*_SIZES, *panels.NUMBERS, *_BLOCKS), ("pack", "compute"))

    def launch(self, problem: ConvProblem, target: Target, weight_strides: Strides, threads: int) -> Launch:
        """See `Algorithm`."""
        spec = problem.spec
        shape, panel = Shape.of(problem), width(spec, target)
        cut = blocking(spec, shape, target, threads)
        _, height, wide = axes(spec)
        left, span = wide.reach(shape.pads[2])
        sets, set_rows = cut.slots(height)
        staged, waiting = cut.scratch(spec, shape, panel)
        count = cut.tasks(spec, shape)
        offset = lines(panels.elements(spec, panel), spec)
        sizes = (*shape.source, *shape.result, *shape.pads, shape.batch)
        table = self.signature(spec).table(
            (panels.tasks(spec, panel) if count else 0, count),
            **dict(zip(_SIZES, sizes, strict=True)),
            **panels.numbers(spec, weight_strides),
            parts=cut.parts, samples=cut.samples, sample_blocks=-(-shape.batch // cut.samples),
            rows=cut.rows, row_blocks=-(-per_class(shape.result[1], height) // cut.rows),
            columns=cut.columns, chunks=-(-per_class(shape.result[2], wide) // cut.columns),
            form=cut.form, rest=cut.rest, left=left, span=span, reach=(cut.columns - 1) * wide.source_step + span,
            sets=sets, set_rows=set_rows, set_step=height.source_step if cut.by_tap else 1,
            tap_slots=set_rows if cut.by_tap else height.tap_step,
            scratch_offset=offset, scratch_size=staged + waiting, out_offset=staged,
        )  # fmt: skip
        useful = max(1, min(threads, count, problem.macs // target.lanes(spec.dtype) // WAKE))
        return Launch(table, (offset + useful * (staged + waiting)) * BYTES[spec.dtype], useful)

    def cycles(self, problem: ConvProblem, target: Target) -> float:
        """See `Algorithm`."""
        return estimate(problem, target)

    def build(self, spec: Spec, target: Target) -> Program:
        """See `Algorithm`."""
        k = Kernel("direct", target, self.signature(spec), spec.dtype)
        with k.phase("pack"):
            panels.pack(k, spec, width(spec, target))
        with k.phase("compute"):
            Gather(k, spec, target).write()
        return k.finish()
