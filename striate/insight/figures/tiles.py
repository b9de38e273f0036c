"""Sheets of samples with a line or two below each: images, signals, volumes by a slice, pairs, and texts."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from striate.errors import InputError
from striate.insight.figures.sheet import (
    GREY,
    INK,
    MARGIN,
    ORANGE,
    TOP,
    Sheet,
    as_array,
    draw_input,
    shape_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from torch import Tensor

LINE_CHARACTERS = 92
MOST_LINES = 4


def tiles_figure(
    inputs: Tensor | Sequence[Tensor],
    above: Sequence[str],
    below: Sequence[str],
    title: str,
    subtitle: str = "",
    *,
    columns: int = 5,
) -> Figure:
    """Draw samples ``(C, *spatial)`` in rows, each with a line of ink and a line of orange below it.

    Raises `InputError` if the lengths differ or there is nothing to draw.

    >>> import torch
    >>> len(tiles_figure(torch.rand(2, 1, 8, 8), ["one", "two"], ["a", "b"], "Samples").axes)
    2
    """
    _check_lengths(len(inputs), above, below)
    columns = min(columns, len(inputs))
    rows = -(-len(inputs) // columns)
    arrays = [as_array(sample) for sample in inputs]
    width, height = (1.15 * part for part in shape_of(arrays[0]))
    cell_width = max(width, 0.068 * max(map(len, [*above, *below]))) + 0.22
    cell_height = height + 0.58
    sheet = Sheet(2 * MARGIN + columns * cell_width, TOP + rows * cell_height + 0.1, title, subtitle)
    for index, array in enumerate(arrays):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * cell_width, TOP + row * cell_height
        draw_input(sheet.axes(left, top, width, height), array)
        sheet.text(left, top + height + 0.17, above[index], size=8)
        sheet.text(left, top + height + 0.33, below[index], size=8, color=ORANGE)
    return sheet.figure


def texts_figure(
    texts: Sequence[str], above: Sequence[str], below: Sequence[str], title: str, subtitle: str = ""
) -> Figure:
    """Write texts below each other, cut to four lines, each with two short lines at its left.

    Raises `InputError` if the lengths differ or there is nothing to draw.

    >>> figure = texts_figure(["not bad at all"], ["true good"], ["said bad  99.0 %"], "Worst mistakes")
    >>> [text.get_text() for text in figure.texts][-1]
    'not bad at all'
    """
    _check_lengths(len(texts), above, below)
    wrapped = [_lines(text) for text in texts]
    beside = 0.068 * max(map(len, [*above, *below])) + 0.3
    heights = [0.18 * max(len(lines), 2) + 0.16 for lines in wrapped]
    sheet = Sheet(2 * MARGIN + beside + 0.069 * LINE_CHARACTERS, TOP + sum(heights) + 0.15, title, subtitle)
    top = TOP
    for place, lines in enumerate(wrapped):
        sheet.text(MARGIN, top + 0.12, above[place], size=8)
        sheet.text(MARGIN, top + 0.30, below[place], size=8, color=ORANGE)
        for line, text in enumerate(lines):
            sheet.text(MARGIN + beside, top + 0.12 + 0.18 * line, text, size=8.5, color=INK)
        top += heights[place]
    return sheet.figure


def pairs_figure(
    first: Tensor | Sequence[Tensor],
    second: Tensor | Sequence[Tensor],
    above: Sequence[str],
    below: Sequence[str],
    title: str,
    subtitle: str = "",
) -> Figure:
    """Draw pairs of samples ``(C, *spatial)``, three pairs to a row, each with two lines below it.

    Raises `InputError` if the lengths differ or there is nothing to draw.

    >>> import torch
    >>> len(pairs_figure(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4), ["a and b"], ["0.9"], "Pairs").axes)
    2
    """
    _check_lengths(len(first), above, below)
    _check_lengths(len(second), above, below)
    columns = min(3, len(first))
    rows = -(-len(first) // columns)
    width, height = (1.1 * part for part in shape_of(as_array(first[0])))
    cell_width = max(2 * width + 0.05, 0.068 * max(map(len, [*above, *below]))) + 0.3
    cell_height = height + 0.6
    sheet = Sheet(2 * MARGIN + columns * cell_width, TOP + rows * cell_height + 0.1, title, subtitle)
    for index, (one, two) in enumerate(zip(first, second, strict=True)):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * cell_width, TOP + row * cell_height
        draw_input(sheet.axes(left, top, width, height), one)
        draw_input(sheet.axes(left + width + 0.05, top, width, height), two)
        sheet.text(left, top + height + 0.17, above[index], size=8)
        sheet.text(left, top + height + 0.33, below[index], size=8, color=ORANGE)
    return sheet.figure


def nothing_figure(title: str, told: str) -> Figure:
    """A sheet that says why there is nothing to draw.

    >>> nothing_figure("Worst mistakes", "None.").texts[-1].get_text()
    'None.'
    """
    sheet = Sheet(4.5, 1.2, title)
    sheet.text(MARGIN, 0.75, told, color=GREY)
    return sheet.figure


def _lines(text: str) -> list[str]:
    lines = textwrap.wrap(" ".join(text.split()), LINE_CHARACTERS, break_long_words=True) or [""]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][: LINE_CHARACTERS - 1]}\u2026"]
    return lines


def _check_lengths(count: int, above: Sequence[str], below: Sequence[str]) -> None:
    if not count or not count == len(above) == len(below):
        raise InputError(
            "a sample or more, with two lines of text for each",
            f"{count} samples, {len(above)} and {len(below)} lines",
            "Give one of each per sample.",
        )
