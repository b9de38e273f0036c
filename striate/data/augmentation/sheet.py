"""One picture of what augmentation does: originals, and what becomes of them in the first epochs, beside or below."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

from striate.data.augmentation.pipeline import Augmentation
from striate.data.augmentation.transform import Facts
from striate.data.overview.pictures import FONT_SIZE, INK, legend, save_picture, shortened, view_of
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from striate.data.dataset import Dataset
    from striate.data.overview.pictures import View

_GAP = 4
_LINE = FONT_SIZE + 4
_MAX_LABEL = 220
_MAX_WIDTH = 1600
_SHARES = 2
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
    order: Callable[[int], Tensor] | None = None,
) -> Path:
    """Draw training samples and what ``settings`` make of them in ``versions`` epochs into a PNG file.

    A row is a sample: what it is, the original, and the versions (of wide samples fewer); of texts and bases a group of
    lines, in which words are red that the original has not at this place. Below mixed samples stand their classes. They
    are drawn as on `striate.data.contact_sheet`, where ``view`` is explained; brightness and height run from the
    smallest to the largest value of the original. ``settings`` are those of `Augmentation.from_settings`.

    ``order`` gives the indices of the training samples in the order in which an epoch takes them: then the first ones
    of epoch 0 are shown, and mixed with the partners that they have in training with batches of an even size. Without
    it the samples are evenly spaced over the training part, and mixed with each other.

    Returns the path. Raises `ConfigError` for wrong settings, and `DataError` for fewer than one row or version, a view
    that does not suit, and where the file cannot be written.

    >>> from striate.data import load_data
    >>> augmented_sheet(load_data("digits"), ["standard"], "augmented.png", rows=2, versions=2).name
    'augmented.png'
    """
    if rows < 1 or versions < 1:
        raise DataError("at least one row and one version", f"rows={rows}, versions={versions}", "Use 8 and 7.")
    shown_as = view_of(dataset, view)
    stacked = shown_as.kind in ("texts", "bases")
    if not stacked:
        versions = max(min(versions, _MAX_WIDTH // (shown_as.size[0] + _GAP) - 1), 1)
    augment = Augmentation.from_settings(settings, Facts.of(dataset), seed=seed)
    count = min(rows, len(dataset.train))
    spread = torch.linspace(0, len(dataset.train) - 1, count).round().long()
    indices = spread if order is None else order(0)[:count]
    inputs, targets = dataset.train.fetch(indices)
    made = [(inputs, targets), *(_version(dataset, augment, indices, epoch, order) for epoch in range(versions))]
    heads = ["original", *(f"epoch {epoch + 1}" for epoch in range(versions))]
    drawn = [
        _Row(
            _name(dataset, int(index), targets[row]),
            [_draw(dataset, shown_as, inputs[row], batch[row], masks[row], augment) for batch, masks in made],
            [
                _shares(dataset, each[row]) if augment.softens and number else []
                for number, (_, each) in enumerate(made)
            ],
        )
        for row, index in enumerate(indices)
    ]
    footer = list(legend(dataset)) if dataset.task == "segmentation" else []
    return save_picture(_arranged(drawn, heads, footer, stacked=stacked), path)


class _Row(NamedTuple):
    """A sample: what it is, its pictures, the original first, and what stands below each of them."""

    name: str
    tiles: list[Image.Image]
    captions: list[list[str]]


def _version(
    dataset: Dataset, augment: Augmentation, indices: Tensor, epoch: int, order: Callable[[int], Tensor] | None
) -> tuple[Tensor, Tensor]:
    """What an epoch makes of samples."""
    if order is None:
        return augment(*dataset.train.fetch(indices), indices, epoch)
    taken = order(epoch)
    places = torch.empty_like(taken)
    places[taken] = torch.arange(len(taken))
    # Whole pairs, because neighbours may be mixed; the last sample of an epoch may have none.
    firsts = torch.unique(places[indices] // 2 * 2)
    pairs = torch.stack((firsts, firsts + 1), dim=1).flatten()
    batch = taken[pairs[pairs < len(taken)]]
    inputs, targets = augment(*dataset.train.fetch(batch), batch, epoch)
    row_of = {index: row for row, index in enumerate(batch.tolist())}
    rows = [row_of[index] for index in indices.tolist()]
    return inputs[rows], targets[rows]


def _draw(
    dataset: Dataset, shown_as: View, original: Tensor, sample: Tensor, target: Tensor, augment: Augmentation
) -> Image.Image:
    if shown_as.kind == "texts":
        before, after = ([dataset.vocabulary[token] for token in each.tolist() if token] for each in (original, sample))
        return shown_as.write(after, _changed(before, after))
    low, high = float(original.min()), float(original.max())
    return shown_as.draw(sample, low, high, target if augment.facts.masks else None, dataset.void)


def _changed(before: Sequence[str], after: Sequence[str]) -> set[int]:
    """The places of the words of a text that another one has not there, as people compare them."""
    steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return {place for kind, _, _, start, end in steps if kind != "equal" for place in range(start, end)}


def _name(dataset: Dataset, index: int, target: Tensor) -> str:
    if dataset.task == "segmentation":
        return dataset.train.name(index).rpartition("/")[2]
    if dataset.task == "regression":
        return f"{dataset.classes[0]} {float(target[0]):.4g}"
    if dataset.task == "multi-label":
        return ", ".join(name for name, there in zip(dataset.classes, target.tolist(), strict=True) if there) or "none"
    return dataset.classes[int(target)]


def _shares(dataset: Dataset, target: Tensor) -> list[str]:
    """The classes that a mixed sample has the most of, if it is mixed."""
    values, places = target.topk(min(_SHARES, len(target)))
    told = [(value, dataset.classes[place]) for value, place in zip(values.tolist(), places.tolist(), strict=True)]
    return [f"{name}: {100 * value:.0f} %" for value, name in told if value >= 0.005] if told[0][0] < 0.995 else []


def _arranged(
    rows: list[_Row], heads: list[str], footer: list[tuple[str, tuple[int, int, int]]], *, stacked: bool
) -> Image.Image:
    font = ImageFont.load_default(FONT_SIZE)
    width, height = rows[0].tiles[0].size
    names = [shortened(row.name, _MAX_LABEL, font) for row in rows]
    left = math.ceil(max(font.getlength(name) for name in names)) + 3 * _GAP
    # Of lines below each other each has its head beside it, and else each column above it.
    beside = math.ceil(max(map(font.getlength, heads))) + 2 * _GAP if stacked else 0
    above = 0 if stacked else _LINE + _GAP
    below = _LINE * max(len(caption) for row in rows for caption in row.captions)
    # A wider gap sets the originals, and the groups of lines, apart.
    across, down = (1, len(heads)) if stacked else (len(heads), 1)
    step, row_height = width + _GAP, down * (height + _GAP) + below + (2 * _GAP if stacked else 0)
    total = left + beside + across * step + (0 if stacked else 2 * _GAP)
    bottom = _LINE + _GAP if footer else 0
    sheet = Image.new("RGB", (total, above + len(rows) * row_height + _GAP + bottom), _PAPER)
    draw = ImageDraw.Draw(sheet)
    starts = [
        left + beside + (0 if stacked else number * step + 2 * _GAP * bool(number)) for number in range(len(heads))
    ]
    for head, start in () if stacked else zip(heads, starts, strict=True):
        draw.text((start + width / 2, _GAP), shortened(head, step, font), INK, font, anchor="mt")
    for place, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = above + _GAP + place * row_height
        middle = top + (down * (height + _GAP) - _GAP) / 2
        draw.text((left - 2 * _GAP, middle), name, INK, font, anchor="rm")
        for number, (tile, start) in enumerate(zip(row.tiles, starts, strict=True)):
            over = top + number * (height + _GAP) if stacked else top
            sheet.paste(tile, (start, over))
            if stacked:
                draw.text((start - 2 * _GAP, over + height / 2), heads[number], INK, font, anchor="rm")
            for line, words in enumerate(row.captions[number]):
                under = top + height + line * _LINE + _LINE / 2
                draw.text((start + width / 2, under), shortened(words, width, font), INK, font, anchor="mm")
    along = float(_GAP)
    for text, colour in footer:
        draw.text((along, sheet.height - bottom), text, colour, font)
        along += font.getlength(text) + 3 * _GAP
    return sheet
