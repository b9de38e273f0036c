"""Packing weights into panels: what the inner loop of a direct kernel reads, in the order in which it reads it.

``panel[group][block][tap][source channel][lane]``: a block is as many result channels as a register tile is wide.
Result channels are the weight's output channels in a forward pass and its input channels in grad_input; the others are
summed over. Lanes of the last block that stand for no channel hold anything: their sums are never stored.

A weight is read along whichever axis is contiguous in it, a vector at a time, and turned round in registers where the
lanes of the panel run along another one:

- forward: the (input channel, tap) pairs of an output channel are neighbours, in one order or the other; squares of
  them by output channels are transposed;
- grad_input of ``(C_out, *kernel_size, C_in)``, and of any kernel of one tap: lanes are neighbours, rows are copied;
- grad_input of ``(C_out, C_in, *kernel_size)``: squares of taps by input channels are transposed;
- weights that lie in memory in another way are collected one by one.

A task packs one block for one slice of the source channels, so that a wide layer is work for all threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler.algorithms.axes import axes
from striate.compiler.moves import turn

if TYPE_CHECKING:
    from striate.compiler.algorithm import Strides
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Spec
    from striate.compiler.values import Index, Number, Pointer

NUMBERS = ("weight_oc", "weight_ic", "weight_d", "weight_h", "weight_w", "weight_order")
"""What packing has to be told: the weight's strides and how it lies in memory."""
GAPS, TAPS_LAST, CHANNELS_LAST = range(3)
SLICE = 64
"""Source channels that one task packs."""


def channels(spec: Spec) -> tuple[int, int]:
    """Source and result channels of one group."""
    pair = (spec.group_in_channels, spec.group_out_channels)
    return pair if spec.pass_ == "forward" else (pair[1], pair[0])


def numbers(spec: Spec, strides: Strides) -> dict[str, int]:
    """The values of `NUMBERS`."""
    taps, ics = math.prod(spec.kernel_size), spec.group_in_channels
    dense = [math.prod(spec.kernel_size[axis + 1 :]) for axis in range(spec.spatial_dims)]
    sizes = (spec.out_channels, ics, *spec.kernel_size)

    def lies(wanted: list[int]) -> bool:
        # The stride of an axis that is 1 long means nothing.
        return all(a == b or size == 1 for a, b, size in zip(strides, wanted, sizes, strict=True))

    order = GAPS
    if lies([ics * taps, taps, *dense]):
        order = TAPS_LAST
    elif lies([ics * taps, 1, *(ics * stride for stride in dense)]):
        order = CHANNELS_LAST
    missing = (0,) * (3 - spec.spatial_dims)
    return dict(zip(NUMBERS, (*strides[:2], *missing, *strides[2:], order), strict=True))


def tasks(spec: Spec, width: int) -> int:
    """Tasks of the packing phase."""
    sources, results = channels(spec)
    return spec.groups * -(-results // width) * -(-sources // SLICE)


def elements(spec: Spec, width: int) -> int:
    """Elements of all panels."""
    sources, results = channels(spec)
    return spec.groups * -(-results // width) * width * sources * math.prod(spec.kernel_size)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one task packs."""

    panel: Pointer
    weight: Pointer
    """Of the first channel of the group and, in a forward pass, of the block."""
    first: Index
    left: Index
    """The first result channel of the block, and how many there are."""
    begin: Index
    end: Index
    """The slice of source channels."""


def pack(k: Kernel, spec: Spec, width: int) -> None:
    """Write the phase that packs ``weight`` to the beginning of ``workspace``; blocks are ``width`` channels wide."""
    sources, results = channels(spec)
    taps, slices, blocks = math.prod(spec.kernel_size), -(-sources // SLICE), -(-results // width)
    order = k.numbers["weight_order"]
    with k.tasks() as task:
        block = task // slices
        group, first = block // blocks, block % blocks * width
        begin = task % slices * SLICE
        panel = k.pointers["workspace"] + block * (taps * sources * width)
        weight = k.pointers["weight"] + group * spec.group_out_channels * k.numbers["weight_oc"]
        left = k.minimum(results - first, width)
        part = _Part(panel, weight, first, left, begin, k.minimum(begin + SLICE, sources))
        with k.when(order.equals(GAPS)):
            _collect(k, spec, width, part)
        if spec.pass_ == "forward":
            with k.when(order >= TAPS_LAST):
                _turn_outputs(k, spec, width, part)
        else:
            if taps > 1:
                with k.when(order.equals(TAPS_LAST)):
                    _turn_taps(k, spec, width, part)
            with k.when(order.equals(CHANNELS_LAST) if taps > 1 else order >= TAPS_LAST):
                _copy_rows(k, spec, width, part)


def _place(k: Kernel, spec: Spec, tap: Number, source: Number, width: int) -> Index:
    """Where the lanes of one tap and source channel stand in a panel."""
    depth, height, wide = axes(spec)
    sources, _ = channels(spec)
    if all(axis.every == 1 for axis in (depth, height, wide)):
        packed = math.prod(spec.kernel_size) - 1 - k.index(tap) if depth.backward else k.index(tap)
    else:
        kd, kh, kw = _three(k, spec, tap)
        rows = k.index(depth.packed(k, kd)) * height.taps + height.packed(k, kh)
        packed = rows * wide.taps + wide.packed(k, kw)
    return (packed * sources + source) * width


def _three(k: Kernel, spec: Spec, tap: Number) -> tuple[Index, Index, Index]:
    _, height, wide = axes(spec)
    rest = k.index(tap) // wide.taps
    return rest // height.taps, rest % height.taps, k.index(tap) % wide.taps


def _collect(k: Kernel, spec: Spec, width: int, part: _Part) -> None:
    n = k.numbers
    taps = math.prod(spec.kernel_size)
    with k.loop(taps) as tap, k.loop(part.end, part.begin) as source, k.loop(part.left) as lane:
        kd, kh, kw = _three(k, spec, tap)
        result = part.first + lane
        oc, ic = (result, source) if spec.pass_ == "forward" else (source, result)
        offset = oc * n["weight_oc"] + ic * n["weight_ic"]
        offset = offset + kd * n["weight_d"] + kh * n["weight_h"] + kw * n["weight_w"]
        (part.panel + _place(k, spec, tap, source, width) + lane).store((part.weight + offset).load())


def _turn_outputs(k: Kernel, spec: Spec, width: int, part: _Part) -> None:
    """Forward: an output channel's weights are one dense row, of (ic, tap) or of (tap, ic)."""
    taps, ics = math.prod(spec.kernel_size), spec.group_in_channels
    row = taps * ics
    last = k.numbers["weight_order"].equals(CHANNELS_LAST)
    # A slice of channels is one piece of a row (ic, tap), and as many pieces as there are taps of a row (tap, ic).
    pieces = k.select(last, taps, 1)
    start = k.select(last, part.begin, part.begin * taps)
    stop = k.select(last, part.end, part.end * taps)
    with k.loop(width, step=k.lanes) as lane, k.loop(pieces) as piece, k.loop(stop, start, step=k.lanes) as column:
        across = k.mask(stop - column)
        source = part.weight + part.first * row + piece * ics + column
        square = [
            (source + k.minimum(lane + r, part.left - 1) * row).load(k.lanes, across) for r in range(k.lanes)
        ]  # fmt: skip
        for c, vector in enumerate(turn(square)):
            at = column + c
            with k.when(at < stop):
                tap, ic = k.select(last, piece, at % taps), k.select(last, at, at // taps)
                (part.panel + _place(k, spec, tap, ic, width) + lane).store(vector)


def _turn_taps(k: Kernel, spec: Spec, width: int, part: _Part) -> None:
    """grad_input: the taps of an input channel are neighbours, input channels a kernel apart."""
    taps, ics = math.prod(spec.kernel_size), spec.group_in_channels
    with k.loop(part.end, part.begin) as oc, k.loop(width, step=k.lanes) as lane, k.loop(taps, step=k.lanes) as column:
        across = k.mask(taps - column)
        source = part.weight + (oc * ics + part.first) * taps + column
        square = [
            (source + k.minimum(lane + r, part.left - 1) * taps).load(k.lanes, across) for r in range(k.lanes)
        ]  # fmt: skip
        for c, vector in enumerate(turn(square)[:taps]):
            with k.when(column + c < taps):
                (part.panel + _place(k, spec, column + c, oc, width) + lane).store(vector)


def _copy_rows(k: Kernel, spec: Spec, width: int, part: _Part) -> None:
    """grad_input: input channels are neighbours."""
    taps, ics = math.prod(spec.kernel_size), spec.group_in_channels
    with k.loop(taps) as tap, k.loop(part.end, part.begin) as oc, k.loop(width, step=k.lanes) as lane:
        row = part.weight + (oc * taps + tap) * ics + part.first + lane
        to = part.panel + _place(k, spec, tap, oc, width) + lane
        to.store(row.load(k.lanes, k.mask(part.left - lane)))
