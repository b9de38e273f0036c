"""A network drawn in text: a box for every stage, arrows between them, and beside each what it puts out and costs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from striate.units import readable_count, readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.geometry import Size
    from striate.insight import Part

_HEADINGS = ("output", "parameters", "macs", "field", "stride")
_LEAST = 12  # characters that the labels in the boxes keep, however narrow the terminal


def diagram(parts: Sequence[Part], input_shape: Size, *, head: str = "", width: int | None = None) -> list[str]:
    """Draw the parts of a network from top to bottom, as lines of at most ``width`` characters if possible.

    Shapes are those of one input, without the batch. ``field`` is the receptive field in the network's input and
    ``stride`` how far it moves from one output to the next. Labels that are too long end in an ellipsis.

    >>> from striate.insight import Part
    >>> stem = Part("stem", "Conv2d", (1, 8, 14, 14), 80, 14_112, (), "3", "2")
    >>> for line in diagram([stem], (1, 1, 28, 28)):
    ...     print(line)
                       output  parameters    macs  field  stride
         input        1x28x28
            │
    ┌───────▼──────┐
    │ stem  Conv2d │  8x14x14          80  14.1 K      3       2
    └──────────────┘
    """
    labels = [_label(part, head) for part in parts]
    table = [_HEADINGS, (_shape(input_shape), "", "", "", ""), *map(_cells, parts)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    columns = ["".join(f"  {cell:>{most}}" for cell, most in zip(row, widths, strict=True)) for row in table]
    inner = max(map(len, labels), default=0)
    if width is not None:
        inner = max(min(inner, width - len(columns[0]) - 4), _LEAST)
    middle = (inner + 2) // 2
    edge = "─" * middle, "─" * (inner + 1 - middle)
    lines = [f"{'':{inner + 4}}{columns[0]}", f"{'input':^{inner + 4}}{columns[1]}", f"{'':{middle + 1}}│"]
    for place, (label, cells) in enumerate(zip(labels, columns[2:], strict=True)):
        if place:
            lines.append("┬".join(edge).join("└┘"))
        lines.append("▼".join(edge).join("┌┐"))
        shown = label if len(label) <= inner else label[: inner - 1] + "…"
        lines.append(f"│ {shown:<{inner}} │{cells}")
    lines.append("─".join(edge).join("└┘"))
    return [line.rstrip() for line in lines]


def shortened(parts: Sequence[Part], most: int = 20) -> list[Part]:
    """At most ``most`` parts: those in the middle of a longer network become one."""
    if len(parts) <= most:
        return list(parts)
    kept = most // 2
    middle = parts[kept : len(parts) - kept + 1]
    joined = replace(
        middle[-1],
        name=f"... {len(middle)} more ...",
        content="",
        parameters=sum(part.parameters for part in middle),
        macs=sum(part.macs for part in middle),
    )
    return [*parts[:kept], joined, *parts[len(parts) - kept + 1 :]]


def _label(part: Part, head: str) -> str:
    words = [part.name, part.content, "(head)" if head and part.name == head else ""]
    return "  ".join(filter(None, words))


def _cells(part: Part) -> tuple[str, ...]:
    return (
        "" if part.output_shape is None else _shape(part.output_shape),
        readable_count(part.parameters) if part.parameters else "",
        readable_count(part.macs) if part.macs else "",
        part.field,
        part.stride,
    )


def _shape(shape: Size) -> str:
    return readable_size(shape[1:])
