"""One picture of a data set: a row per class, a few samples in each.

Images are shown as they are, of volumes the slice in the middle of the first axis, signals as lines, one colour per
channel. Brightness, or the height of lines, runs from the smallest to the largest value shown on the sheet.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from striate.errors import DataError
from striate.files import replacing

if TYPE_CHECKING:
    from striate.data.dataset import Dataset

_CELL = 72
_GAP = 4
_FONT_SIZE = 14
_MAX_LABEL = 220
_MAX_ROWS = 100

_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (235, 235, 235)
_LINES = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 190, 207))


def contact_sheet(dataset: Dataset, path: str | Path, columns: int = 10) -> Path:
    """Draw the first ``columns`` training samples of every class (of at most 100) into a PNG file and return its path.

    The file is written beside and renamed, so that it is never seen half done. Raises `DataError` for a column count
    below 1 and where the file cannot be written.

    >>> from striate.data import load_data
    >>> contact_sheet(load_data("digits"), "digits.png").name
    'digits.png'
    """
    if columns < 1:
        raise DataError("at least one column", f"columns={columns!r}", "Use 10 for ten samples of each class.")
    rows = [_first(dataset, label, columns) for label in range(min(len(dataset.classes), _MAX_ROWS))]
    shown = [tile for row in rows for tile in row]
    low, high = min(float(tile.min()) for tile in shown), max(float(tile.max()) for tile in shown)
    font = ImageFont.load_default(_FONT_SIZE)
    names = [_shortened(name, font) for name in dataset.classes[:_MAX_ROWS]]
    width, height = _tile_size(dataset)
    left = math.ceil(max(font.getlength(name) for name in names)) + 3 * _GAP
    columns = max(len(row) for row in rows)
    left_out = len(dataset.classes) - len(rows)
    bottom = _FONT_SIZE + 2 * _GAP if left_out else 0
    sheet = Image.new("RGB", (left + columns * (width + _GAP), len(rows) * (height + _GAP) + _GAP + bottom), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (name, row) in enumerate(zip(names, rows, strict=True)):
        top = _GAP + place * (height + _GAP)
        draw.text((left - 2 * _GAP, top + height / 2), name, _INK, font, anchor="rm")
        for column, tile in enumerate(row):
            drawn = _drawn(tile, (width, height), low, high)
            sheet.paste(drawn, (left + column * (width + _GAP), top))
    if left_out:
        draw.text((_GAP, sheet.height - bottom), f"and {left_out} more classes", _INK, font)
    return _written(sheet, Path(path))


def _first(dataset: Dataset, label: int, columns: int) -> list[torch.Tensor]:
    indices = torch.nonzero(dataset.train.labels == label)[:columns, 0]
    inputs, _ = dataset.train.fetch(indices)
    if dataset.spatial_dims == 3:
        inputs = inputs[:, :, inputs.shape[2] // 2]
    return list(inputs.float())


def _tile_size(dataset: Dataset) -> tuple[int, int]:
    if dataset.spatial_dims == 1:
        return 2 * _CELL, _CELL
    height, width = dataset.input_size[-2:]
    # Small images are enlarged by a whole number, so that every pixel stays a square.
    scale = max(_CELL // max(height, width), 1) if max(height, width) <= _CELL else _CELL / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _drawn(tile: torch.Tensor, size: tuple[int, int], low: float, high: float) -> Image.Image:
    unit = ((tile - low) / ((high - low) or 1.0)).clamp(0, 1).numpy()
    return _plot(unit, size) if tile.ndim == 2 else _picture(unit, size)


def _picture(unit: npt.NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    # More or fewer than three channels have no colours of their own: the first is shown.
    pixels = (unit[:3] if len(unit) == 3 else np.repeat(unit[:1], 3, axis=0)) * 255
    image = Image.fromarray(pixels.round().astype(np.uint8).transpose(1, 2, 0))
    enlarged = size[0] >= image.width
    return image.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.BICUBIC)


def _plot(unit: npt.NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, _FAINT)
    draw = ImageDraw.Draw(image)
    across = np.linspace(2, width - 3, unit.shape[1]) if unit.shape[1] > 1 else np.array([width / 2])
    for channel, values in enumerate(unit):
        points = list(zip(across.tolist(), (height - 3 - values * (height - 6)).tolist(), strict=True))
        draw.line(points, _LINES[channel % len(_LINES)])
    return image


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(name) <= _MAX_LABEL:
        return name
    while name and font.getlength(f"{name}...") > _MAX_LABEL:
        name = name[:-1]
    return f"{name}..."


def _written(sheet: Image.Image, path: Path) -> Path:
    try:
        with replacing(path) as beside:
            sheet.save(beside, format="PNG")
    except OSError as error:
        raise DataError(
            "a place where the picture can be written", f"{path}: {error.strerror}", "Create the folder first."
        ) from error
    return path
