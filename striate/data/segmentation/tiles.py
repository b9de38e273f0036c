"""Large images cut into tiles of one size, and what a network makes of the tiles put together again.

Tiles lie on a grid that the sizes alone decide, at equal distances from edge to edge, so that every run sees the same
samples. An image smaller than a tile is filled up at its end. A tile is called by its image and place,
``a.png[0:256, 128:384]``, and the place leaves out what was filled up.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F

from striate.data.options import Option, number
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PLACE = re.compile(r"(.*)\[(\d+:\d+(?:, \d+:\d+)*)\]", re.DOTALL)

_DEVIATION = 1 / 8

TILE_OPTIONS = (
    Option(
        "patch",
        None,
        "the size of the tiles that samples are cut into: one number, or one for each axis",
        "a whole number of at least 1, or a list of them",
        lambda value: all(
            type(length) is int and length >= 1
            for length in (value if isinstance(value, list | tuple) and value else [value])
        ),
    ),
    Option("overlap", 0.25, "the part of a tile that the next one shares at least", *number(0, 0.9)),
)
"""Options of readers that cut large images into tiles."""


class Tiling(NamedTuple):
    """The size of tiles, and the part of a tile, from 0 to below 1, that the next one shares at least."""

    size: tuple[int, ...]
    overlap: float = 0.0

    def starts(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Where the tiles of an image of this spatial shape begin, row by row.

        >>> Tiling((4,), 0.5).starts((7,))
        [(0,), (2,), (3,)]
        """
        axes = [_starts(whole, length, self.overlap) for whole, length in zip(shape, self.size, strict=True)]
        return list(itertools.product(*axes))

    def cut(self, values: torch.Tensor, start: tuple[int, ...], fill: float = 0) -> torch.Tensor:
        """The tile of values (..., *spatial) that begins at ``start``, filled up at the end with ``fill``.

        >>> Tiling((3,)).cut(torch.arange(4), (1,)), Tiling((3,)).cut(torch.ones(2), (0,))
        (tensor([1, 2, 3]), tensor([1., 1., 0.]))
        """
        first = values.ndim - len(self.size)
        around: list[int] = []
        for axis, (begin, length) in enumerate(zip(start, self.size, strict=True), start=first):
            found = min(length, values.shape[axis] - begin)
            values = values.narrow(axis, begin, found)
            around = [0, length - found, *around]
        return F.pad(values, around, value=fill) if any(around) else values

    def name(self, image: str, start: tuple[int, ...], shape: Sequence[int]) -> str:
        """What a tile is called.

        >>> Tiling((4, 4)).name("a.png", (2, 0), (6, 3))
        'a.png[2:6, 0:3]'
        """
        ends = [min(begin + length, whole) for begin, length, whole in zip(start, self.size, shape, strict=True)]
        return f"{image}[{', '.join(f'{begin}:{end}' for begin, end in zip(start, ends, strict=True))}]"


def tiling(own: Mapping[str, Any], rank: int) -> Tiling | None:
    """The tiles that the options ask for, of images with ``rank`` axes.

    >>> tiling({"patch": 64, "overlap": 0.5}, 2), tiling({"patch": None}, 2)
    (Tiling(size=(64, 64), overlap=0.5), None)
    """
    patch = own.get("patch")
    if patch is None:
        return None
    return Tiling(tuple(patch) if isinstance(patch, list | tuple) else (patch,) * rank, own["overlap"])


def _starts(whole: int, length: int, overlap: float) -> list[int]:
    if whole <= length:
        return [0]
    # The fewest tiles that share enough, at equal distances.
    step = max(int(length * (1 - overlap)), 1)
    count = -(-(whole - length) // step) + 1
    return [round(place * (whole - length) / (count - 1)) for place in range(count)]


def tile_place(name: str) -> tuple[str, tuple[slice, ...]] | None:
    """The image that a tile is from, and its place in it; None for a name that is not a tile's.

    >>> tile_place("a.png[2:6, 0:3]")
    ('a.png', (slice(2, 6, None), slice(0, 3, None)))
    """
    match = _PLACE.fullmatch(name)
    if match is None:
        return None
    pairs = (text.split(":") for text in match[2].split(", "))
    return match[1], tuple(slice(int(begin), int(end)) for begin, end in pairs)


class Blend:
    """What is said of the tiles of one image, added up to (K, *spatial) for the whole of it.

    Where tiles overlap the mean is taken, weighed so that a tile says most about its middle and least about its edges,
    beyond which it sees nothing: by a Gaussian whose deviation is an eighth of the tile along each axis. ``shape`` is
    the spatial shape of the image, which must be covered when `whole` is called.

    Source: Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation,
    2021.

    >>> tiles = Tiling((3,))
    >>> blend = Blend(tiles, (5,))
    >>> for start, value in (((0,), 1.0), ((2,), 3.0)):
    ...     blend.add(start, torch.full((1, 3), value))
    >>> blend.whole().round(decimals=3)
    tensor([[1., 1., 2., 3., 3.]])
    """

    def __init__(self, tiles: Tiling, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)
        self._weights = torch.ones(())
        for length in tiles.size:
            distance = (torch.arange(length) - (length - 1) / 2) / (length * _DEVIATION)
            self._weights = self._weights[..., None] * torch.exp(-(distance**2) / 2)
        self._total: torch.Tensor | None = None
        self._weight = torch.zeros(self._shape)

    def add(self, start: tuple[int, ...], said: torch.Tensor) -> None:
        """Add what is said of the tile (K, *tile) that begins at ``start``; what lies beyond the image is left out."""
        if self._total is None:
            self._total = said.new_zeros((len(said), *self._shape))
        place = tuple(slice(first, first + n) for first, n in zip(start, self._weights.shape, strict=True))
        inside = tuple(slice(0, min(p.stop, n) - p.start) for p, n in zip(place, self._shape, strict=True))
        weights = self._weights[inside]
        self._total[(slice(None), *place)] += said[(slice(None), *inside)] * weights
        self._weight[place] += weights

    def whole(self) -> torch.Tensor:
        """What all tiles say together."""
        return torch.empty((0, *self._shape)) if self._total is None else self._total / self._weight


def stitch(outputs: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Put the outputs for tiles together to whole images: (K, *spatial) by the image's name.

    ``outputs`` is (n, K, *tile), ``names`` what the samples are called. Where tiles overlap the mean is taken, each
    tile weighing the same; `Blend` weighs them. Raises `DataError` for names that are not those of tiles, and for
    images of which tiles are missing.

    >>> outputs = torch.tensor([[[1.0, 1, 1]], [[3.0, 3, 3]]])
    >>> stitch(outputs, ["a.png[0:3]", "a.png[2:5]"])
    {'a.png': tensor([[1., 1., 2., 3., 3.]])}
    """
    if len(outputs) != len(names):
        raise DataError(
            "the name of every tile", f"{len(outputs)} outputs and {len(names)} names", "Give as many as samples."
        )
    found = tiles_of_images(names, outputs.ndim - 2)
    return {image: _whole(outputs, tiles, image) for image, tiles in found.items()}


def tiles_of_images(names: Iterable[str], rank: int) -> dict[str, list[tuple[int, tuple[slice, ...]]]]:
    """The tiles of every image: the index of each, and its place in the image.

    Raises `DataError` for names that are not those of tiles with ``rank`` axes.

    >>> tiles_of_images(["a.png[0:3]", "b.png[0:3]", "a.png[2:5]"], 1)["a.png"]
    [(0, (slice(0, 3, None),)), (2, (slice(2, 5, None),))]
    """
    found: dict[str, list[tuple[int, tuple[slice, ...]]]] = {}
    for index, name in enumerate(names):
        placed = tile_place(name)
        if placed is None or len(placed[1]) != rank:
            raise DataError(
                f"names of tiles with {rank} axes, such as a.png[0:256, 128:384]",
                repr(name),
                "Give the names of samples that were read with the option patch.",
            )
        found.setdefault(placed[0], []).append((index, placed[1]))
    return found


def _whole(outputs: torch.Tensor, tiles: list[tuple[int, tuple[slice, ...]]], image: str) -> torch.Tensor:
    shape = [max(place[axis].stop for _, place in tiles) for axis in range(outputs.ndim - 2)]
    total = outputs.new_zeros((outputs.shape[1], *shape))
    count = outputs.new_zeros(shape)
    for index, place in tiles:
        inside = tuple(slice(0, part.stop - part.start) for part in place)
        total[(slice(None), *place)] += outputs[index][(slice(None), *inside)]
        count[place] += 1
    missing = math.prod(shape) - int(count.count_nonzero())
    if missing:
        raise DataError(
            "all tiles of an image", f"{image} with {missing} positions that none covers", "Pass all of its tiles."
        )
    return total / count
