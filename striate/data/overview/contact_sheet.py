"""One picture of a data set: a row per class, a few samples in each.

Images are shown as they are, spectrograms with low frequencies below, of volumes the middle slice across each axis, of
clips a few frames, signals as lines with one colour per channel, bases as a bar of colours, and texts as texts. Rows
are the classes, labels or identities; for regression five ranges of the first number from low to high, and for
segmentation the parts, with the masks over the inputs. Brightness, or the height of lines, runs from the smallest to
the largest value on the sheet, or of each sample where samples are normalised by themselves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

from striate.data.overview.pictures import FONT_SIZE, INK, View, legend, save_picture, shortened, view_of
from striate.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from striate.data.dataset import Dataset
    from striate.data.samples import Samples

_GAP = 4
_MAX_LABEL = 220
_MAX_ROWS = 100
_MAX_WIDTH = 1600
_RANGES = 5
_PAPER = (255, 255, 255)


class _Row(NamedTuple):
    """One row of the sheet: what it is called, and which samples stand in it."""

    name: str
    samples: Samples
    indices: torch.Tensor


def contact_sheet(dataset: Dataset, path: str | Path, columns: int = 10, *, view: str | None = None) -> Path:
    """Draw the first ``columns`` training samples of every class (of at most 100) into a PNG file and return its path.

    Wide samples have fewer columns, and texts stand below each other. ``view`` says how samples are shown where they
    could be several things, such as volumes or clips: see `striate.data.overview.pictures.VIEWS`. The file is written
    beside and renamed, so that it is never seen half done. Raises `DataError` for a column count below 1, a view that
    does not suit, and where the file cannot be written.

    >>> from striate.data import load_data
    >>> contact_sheet(load_data("digits"), "digits.png").name
    'digits.png'
    """
    if columns < 1:
        raise DataError("at least one column", f"columns={columns!r}", "Use 10 for ten samples of each class.")
    shown_as = view_of(dataset, view)
    width, height = shown_as.size
    # Texts are as wide as the sheet, and bases nearly so: they stand below each other.
    stacked = shown_as.kind in ("texts", "bases")
    if not stacked:
        columns = max(min(columns, _MAX_WIDTH // (width + _GAP)), 1)
    rows = [row._replace(indices=row.indices[:columns]) for row in _rows(dataset)]
    drawn = _drawn(dataset, shown_as, rows)
    font = ImageFont.load_default(FONT_SIZE)
    names = [shortened(row.name, _MAX_LABEL, font) for row in rows]
    left = math.ceil(max(font.getlength(name) for name in names)) + 3 * _GAP
    longest = max(len(tiles) for tiles in drawn)
    across, down = (1, longest) if stacked else (longest, 1)
    # Rows of several samples below each other stand a little apart.
    row_height = down * (height + _GAP) + (2 * _GAP if down > 1 else 0)
    footer = _footer(dataset, len(rows))
    bottom = FONT_SIZE + 2 * _GAP if footer else 0
    total = left + across * (width + _GAP)
    sheet = Image.new("RGB", (total, len(rows) * row_height + _GAP + bottom), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (name, tiles) in enumerate(zip(names, drawn, strict=True)):
        top = _GAP + place * row_height
        draw.text((left - 2 * _GAP, top + down * (height + _GAP) / 2 - _GAP / 2), name, INK, font, anchor="rm")
        for number, tile in enumerate(tiles):
            step = number * ((height if stacked else width) + _GAP)
            sheet.paste(tile, (left, top + step) if stacked else (left + step, top))
    start = float(_GAP)
    for text, colour in footer:
        draw.text((start, sheet.height - bottom), text, colour, font)
        start += font.getlength(text) + 3 * _GAP
    return save_picture(sheet, path)


def _rows(dataset: Dataset) -> list[_Row]:
    train, labels = dataset.train, dataset.train.labels
    if dataset.task == "segmentation":
        return [_Row(name, part, torch.arange(len(part))) for name, part in dataset.parts.items() if len(part)]
    if dataset.task == "regression":
        numbers = labels[:, 0]
        groups = [group for group in numbers.argsort(stable=True).chunk(_RANGES) if len(group)]
        called = dataset.classes[0]
        return [
            _Row(f"{called} {float(numbers[group[0]]):.4g} to {float(numbers[group[-1]]):.4g}", train, group)
            for group in groups
        ]
    with_label = labels.T == 1 if dataset.task == "multi-label" else None
    rows = []
    for label, name in enumerate(dataset.classes[: min(dataset.outputs, _MAX_ROWS)]):
        chosen = labels == label if with_label is None else with_label[label]
        rows.append(_Row(name, train, torch.nonzero(chosen)[:, 0]))
    return rows


def _drawn(dataset: Dataset, view: View, rows: list[_Row]) -> list[list[Image.Image]]:
    fetched = [row.samples.fetch(row.indices) for row in rows]
    if view.kind == "texts":
        return [[view.write(_words(dataset, tokens)) for tokens in inputs] for inputs, _ in fetched]
    filled = [inputs for inputs, _ in fetched if len(inputs)]
    low, high = min(float(inputs.min()) for inputs in filled), max(float(inputs.max()) for inputs in filled)
    masked = dataset.task == "segmentation"
    drawn = []
    for inputs, targets in fetched:
        tiles = []
        for place, sample in enumerate(inputs):
            bounds = (float(sample.min()), float(sample.max())) if dataset.normalise == "sample" else (low, high)
            tiles.append(view.draw(sample, *bounds, targets[place] if masked else None, dataset.void))
        drawn.append(tiles)
    return drawn


def _words(dataset: Dataset, tokens: torch.Tensor) -> list[str]:
    return [dataset.vocabulary[token] for token in tokens.tolist() if token]


def _footer(dataset: Dataset, rows: int) -> list[tuple[str, tuple[int, int, int]]]:
    """What stands below: the colours of a mask's classes, or how many rows are left out."""
    if dataset.task == "segmentation":
        return list(legend(dataset))
    left_out = dataset.outputs - rows if dataset.task != "regression" else 0
    return [(f"and {left_out} more classes", INK)] if left_out else []
