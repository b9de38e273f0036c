"""Samples as small pictures: images, spectrograms, planes of volumes, frames of clips, waveforms, bases and texts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from striate.data.file_kinds import file_kind
from striate.data.text.sentences import UNKNOWN
from striate.errors import DataError, did_you_mean
from striate.files import replacing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import torch

    from striate.data.dataset import Dataset

VIEWS = ("pictures", "spectrograms", "waveforms", "bases", "slices", "clips", "texts")
"""How samples can be shown."""

CELL = 72
FONT_SIZE = 14
INK, FAINT, CHANGED = (30, 30, 30), (235, 235, 235), (200, 30, 30)
COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 190, 207))
"""Of channels in waveforms, and of classes in masks."""

_BASES = np.array([[44, 160, 44], [31, 119, 180], [255, 127, 14], [214, 39, 40]], dtype=np.float64)
_LOUDNESS = np.array([[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]], dtype=np.float64)
_TEXT_WIDTH = 720
_FRAMES = 6
_BETWEEN = 2
_MASK_SHARE = 0.45

_BY_RANK = {1: ("waveforms", "bases"), 2: ("pictures", "spectrograms"), 3: ("slices", "clips")}


@dataclass(frozen=True, slots=True)
class View:
    """How the samples of one data set are drawn: the kind of picture, and its size in pixels, width before height.

    >>> from striate.data import load_data
    >>> view_of(load_data("digits"))
    View(kind='pictures', size=(72, 72))
    """

    kind: str
    size: tuple[int, int]

    def draw(
        self, sample: torch.Tensor, low: float, high: float, mask: torch.Tensor | None = None, void: int | None = None
    ) -> Image.Image:
        """Draw one sample (C, *spatial); values run from ``low`` to ``high``, a mask (*spatial) lies over it.

        Class 0 of a mask stays clear, and ``void`` is grey.
        """
        unit = ((sample.float() - low) / ((high - low) or 1.0)).clamp(0, 1).numpy()
        if self.kind == "waveforms":
            return _plot(unit, self.size, None if mask is None else mask.numpy(), void)
        if self.kind == "bases":
            return _letters(sample.float().numpy(), self.size)
        panels = _panels(self.kind, unit)
        masks = [None] * len(panels) if mask is None else [each[0] for each in _panels(self.kind, mask[None].numpy())]
        scale = _scale(panels)
        image = Image.new("RGB", self.size, FAINT)
        left = 0
        for panel, over in zip(panels, masks, strict=True):
            drawn = _raster(panel, scale, self.kind == "spectrograms", over, void)
            image.paste(drawn, (left, 0))
            left += drawn.width + _BETWEEN
        return image

    def write(self, words: Sequence[str], changed: Collection[int] = ()) -> Image.Image:
        """Write the tokens of a text on one line, as many as there is room for, and those at ``changed`` in red."""
        font = ImageFont.load_default(FONT_SIZE)
        image = Image.new("RGB", self.size, FAINT)
        draw, middle = ImageDraw.Draw(image), self.size[1] / 2
        between = "" if all(len(word) == 1 for word in words if word != UNKNOWN) else " "
        # Letters are at least a few pixels wide, so most of a long text need not be measured.
        text = shortened(between.join(words)[:_TEXT_WIDTH], self.size[0] - 8, font)
        colours: list[tuple[int, int, int]] = []
        for place, word in enumerate(words):
            colours += [CHANGED if place in changed else INK] * len(word) + [INK] * len(between)
            if len(colours) >= len(text):
                break
        colours += [INK] * len("...")
        start = 0
        for colour, letters in groupby(colours[: len(text)]):
            end = start + len(list(letters))
            draw.text((4 + font.getlength(text[:start]), middle), text[start:end], colour, font, anchor="lm")
            start = end
        return image


def view_of(dataset: Dataset, kind: str | None = None) -> View:
    """How to show a data set: as ``kind``, or by what its samples are. Raises `DataError` for one that is unfit."""
    rank = dataset.spatial_dims
    possible = ("texts",) if dataset.input_kind == "tokens" else _BY_RANK[rank]
    if kind is not None and kind not in VIEWS:
        raise DataError(f"a view of {', '.join(VIEWS)}", repr(kind), did_you_mean(kind, VIEWS))
    if kind is not None and (kind not in possible or (kind == "bases" and dataset.in_channels != 4)):
        what = "texts" if dataset.input_kind == "tokens" else f"samples of {rank} spatial axes"
        raise DataError(f"a view for {what}", f"view={kind}", f"Use {' or '.join(possible)}.")
    kind = kind or _usual(dataset, possible)
    if kind == "texts":
        return View(kind, (_TEXT_WIDTH, FONT_SIZE + 8))
    if kind == "waveforms":
        return View(kind, (2 * CELL, CELL))
    if kind == "bases":
        (length,) = dataset.input_size
        return View(kind, (min(max(length * 4, 120), 720), 18))
    # What a sample becomes depends on its shape alone.
    panels = _panels(kind, np.zeros((1, *dataset.input_size), dtype=np.float32))
    scale = _scale(panels)
    sizes = [_scaled(panel, scale) for panel in panels]
    return View(kind, (sum(width for width, _ in sizes) + _BETWEEN * (len(sizes) - 1), max(h for _, h in sizes)))


def _usual(dataset: Dataset, possible: Sequence[str]) -> str:
    if dataset.kind == "dna" and dataset.in_channels == 4:
        return "bases"
    # The name of a sample says what file it was.
    file = (
        file_kind(PurePosixPath(dataset.train.name(0).partition("[")[0]).suffix.lower()) if len(dataset.train) else None
    )
    name = f"{dataset.kind} {file.name if file else ''}"
    if "video" in name and "clips" in possible:
        return "clips"
    if dataset.reading.get("features") == "log_mel" and "spectrograms" in possible:
        return "spectrograms"
    return possible[0]


def _panels(kind: str, values: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """The pictures (C, H, W) that a sample is shown by."""
    if kind == "slices":
        depth, height, width = (length // 2 for length in values.shape[1:])
        return [values[:, depth], values[:, :, height], values[:, :, :, width]]
    if kind == "clips":
        frames = np.linspace(0, values.shape[1] - 1, min(_FRAMES, values.shape[1])).round().astype(int)
        return [values[:, frame] for frame in frames]
    return [values[:, ::-1]] if kind == "spectrograms" else [values]


def _scale(panels: Sequence[npt.NDArray[np.float32]]) -> float:
    longest = int(max(max(panel.shape[1:]) for panel in panels))
    # Small images are enlarged by a whole number, so that every pixel stays a square.
    return CELL // longest if longest <= CELL else CELL / longest


def _scaled(panel: npt.NDArray[np.float32], scale: float) -> tuple[int, int]:
    height, width = panel.shape[1:]
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _raster(
    panel: npt.NDArray[np.float32],
    scale: float,
    loudness: bool,
    mask: npt.NDArray[np.float32] | None,
    void: int | None,
) -> Image.Image:
    size = _scaled(panel, scale)
    if loudness:
        places = panel[0] * (len(_LOUDNESS) - 1)
        lower = np.minimum(places.astype(int), len(_LOUDNESS) - 2)
        share = (places - lower)[..., None]
        pixels = _LOUDNESS[lower] * (1 - share) + _LOUDNESS[lower + 1] * share
    else:
        # More or fewer than three channels have no colours of their own: the first is shown.
        shown = panel if len(panel) == 3 else np.repeat(panel[:1], 3, axis=0)
        pixels = shown.transpose(1, 2, 0) * 255
    resample = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BICUBIC
    image = Image.fromarray(pixels.round().astype(np.uint8)).resize(size, resample)
    if mask is None:
        return image
    over = np.array(Image.fromarray(mask.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
    colours, covered = mask_colours(over, void)
    blended = np.where(
        covered[..., None], np.asarray(image) * (1 - _MASK_SHARE) + colours * _MASK_SHARE, np.asarray(image)
    )
    return Image.fromarray(blended.round().astype(np.uint8))


def mask_colours(mask: npt.NDArray[np.int32], void: int | None) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The colour of every place of a mask, and where there is one: nowhere for class 0, grey for ``void``.

    >>> colours, covered = mask_colours(np.array([0, 2]), None)
    >>> covered.tolist(), tuple(colours[1].tolist()) == COLOURS[1]
    ([False, True], True)
    """
    colours = np.array(COLOURS)[(mask - 1) % len(COLOURS)]
    if void is not None:
        colours[mask == void] = 128
    return colours, mask != 0


def _plot(
    unit: npt.NDArray[np.float32], size: tuple[int, int], mask: npt.NDArray[np.int64] | None, void: int | None
) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, FAINT)
    draw = ImageDraw.Draw(image)
    length = unit.shape[1]
    across = np.linspace(2, width - 3, length) if length > 1 else np.array([width / 2])
    if mask is not None:
        colours, covered = mask_colours(mask[np.linspace(0, length - 1, width).round().astype(int)], void)
        for column in np.flatnonzero(covered).tolist():
            pale = tuple((colours[column] * 0.3 + np.array(FAINT) * 0.7).round().astype(int).tolist())
            draw.line([(column, 0), (column, height)], pale)
    for channel, values in enumerate(unit):
        points = list(zip(across.tolist(), (height - 3 - values * (height - 6)).tolist(), strict=True))
        draw.line(points, COLOURS[channel % len(COLOURS)])
    return image


def _letters(values: npt.NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """A bar of colours: A green, C blue, G orange, T red; several bases mixed, and none of them white."""
    known = values.sum(0)[:, None].clip(0, 1)
    pixels = values.T.astype(np.float64) @ _BASES + (1 - known) * 255
    bar = Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)[None])
    return bar.resize(size, Image.Resampling.NEAREST)


def shortened(name: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A text that is no wider than ``width`` pixels, ended by three dots if it had to be cut.

    >>> shortened("abc", 100, ImageFont.load_default(14))
    'abc'
    """
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(f"{name}...") > width:
        name = name[:-1]
    return f"{name}..."


def legend(dataset: Dataset) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """The classes of masks with the colours that they are drawn in; the first one stays clear."""
    for label, name in enumerate(dataset.classes):
        if label:
            yield name, (128, 128, 128) if label == dataset.void else COLOURS[(label - 1) % len(COLOURS)]


def save_picture(picture: Image.Image, path: str | Path) -> Path:
    """Write a PNG file, beside and renamed, and return its path. Raises `DataError` where it cannot be written."""
    path = Path(path)
    try:
        with replacing(path) as beside:
            picture.save(beside, format="PNG")
    except OSError as error:
        raise DataError(
            "a place where the picture can be written", f"{path}: {error.strerror}", "Create the folder first."
        ) from error
    return path
