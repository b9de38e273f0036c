"""One picture of what augmentation does: originals, and augmented versions beside or below them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from striate.data.augmentation.pipeline import Augmentation
from striate.data.augmentation.transform import Facts
from striate.data.pictures import view_of
from striate.errors import DataError
from striate.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from striate.data.dataset import Dataset

_GAP = 4
_PAPER = (255, 255, 255)


def augmented_sheet(
    dataset: Dataset,
    settings: Sequence[str | Mapping[str, object]],
    path: str | Path,
    *,
    seed: int = 0,
    rows: int = 8,
    versions: int = 7,
    view: str | None = None,
) -> Path:
    """Draw training samples and what ``settings`` make of them in ``versions`` epochs into a PNG file.

    A row is a sample: the original, then the versions; of texts and bases a group of lines. The samples are evenly
    spaced over the training part, and drawn as on `striate.data.contact_sheet`, where ``view`` is explained; brightness
    and height run from the smallest to the largest value of the original. ``settings`` are those of
    `Augmentation.from_settings`. Returns the path. Raises `ConfigError` for wrong settings, and `DataError` for fewer
    than one row or version, a view that does not suit, and where the file cannot be written.

    >>> from striate.data import load_data
    >>> augmented_sheet(load_data("digits"), ["standard"], "augmented.png", rows=2, versions=2).name
    'augmented.png'
    """
    if rows < 1 or versions < 1:
        raise DataError("at least one row and one version", f"rows={rows}, versions={versions}", "Use 8 and 7.")
    shown_as = view_of(dataset, view)
    augment = Augmentation.from_settings(settings, Facts.of(dataset), seed=seed)
    indices = torch.linspace(0, len(dataset.train) - 1, min(rows, len(dataset.train))).round().long()
    inputs, targets = dataset.train.fetch(indices)
    batches = [(inputs, targets), *(augment(inputs, targets, indices, epoch) for epoch in range(versions))]
    stacked = shown_as.kind in ("texts", "bases")
    # A wider gap sets the originals, or the groups of lines, apart.
    width, height = (length + _GAP for length in shown_as.size)
    columns, lines = (1, len(batches)) if stacked else (len(batches), 1)
    size = (columns * width + (1 if stacked else 2) * _GAP, len(inputs) * (lines * height + stacked * _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    for row, original in enumerate(inputs):
        top = _GAP + row * (lines * height + stacked * _GAP)
        low, high = float(original.min()), float(original.max())
        for number, (batch, masks) in enumerate(batches):
            if shown_as.kind == "texts":
                tile = shown_as.write([dataset.vocabulary[token] for token in batch[row].tolist() if token])
            else:
                tile = shown_as.draw(batch[row], low, high, masks[row] if augment.facts.masks else None, dataset.void)
            place = (_GAP, top + number * height) if stacked else (_GAP + number * width + _GAP * bool(number), top)
            sheet.paste(tile, place)
    return _written(sheet, Path(path))


def _written(sheet: Image.Image, path: Path) -> Path:
    try:
        with replacing(path) as beside:
            sheet.save(beside, format="PNG")
    except OSError as error:
        raise DataError(
            "a place where the picture can be written", f"{path}: {error.strerror}", "Create the folder first."
        ) from error
    return path
