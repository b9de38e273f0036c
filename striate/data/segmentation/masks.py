"""Masks: from the numbers or colours that a file holds to the index of a class at every position.

Numbers come from grey or palette images (the index, not the colour), NIfTI labels and whole-numbered arrays; colours
from RGB images, and need a table that says which class has which. What a mask holds beyond the declared classes is an
error, never a class of its own.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from striate.data.class_names import check_class_names
from striate.data.conversion import pad_or_crop, resize
from striate.data.decoding import MAX_PIXELS
from striate.data.file_kinds import DamagedFileError
from striate.data.npy import read_npy
from striate.data.volumes.nifti import NIFTI, read_nifti
from striate.data.volumes.tiff_pages import decode_pages
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from striate.data.file import File

_IMAGES = (".png", ".pgm", ".pbm", ".pnm", ".ppm", ".bmp", ".gif", ".tif", ".tiff")
MASK_SUFFIXES = (*_IMAGES, *NIFTI.suffixes, ".npy")
"""The kinds of files that keep every number as it is."""

_MAX_IDS = 1024
_MAX_TABLE_BYTES = 2**20
_MOST_LISTED = 2**16


class Mask(NamedTuple):
    """The numbers of a mask as stored, int64 (*spatial), and its spacing if known.

    A colour is the number red * 65536 + green * 256 + blue.
    """

    ids: torch.Tensor
    coloured: bool = False
    spacing: tuple[float, ...] | None = None


def decode_mask(file: File, pages: str = "first", coloured: bool = False) -> Mask:
    """Decode a mask; ``coloured`` takes RGB as colours even where all are grey.

    Raises `DataError` for kinds of files that do not keep numbers, and `DamagedFileError` for broken ones.
    """
    if file.suffix in NIFTI.suffixes:
        volume = read_nifti(file)
        return Mask(_whole(volume.values, file.label), spacing=volume.spacing)
    if file.suffix == ".npy":
        return Mask(_whole(_array(file)[None], file.label))
    if file.suffix not in _IMAGES:
        raise DataError(
            f"masks in a format that keeps every number: {', '.join(MASK_SUFFIXES)}",
            file.label,
            "Save the masks as PNG.",
        )
    if pages == "volume" and file.suffix in (".tif", ".tiff"):
        values, _ = decode_pages(file)
        return Mask(_whole(values, file.label))
    return _picture(file, coloured)


def _array(file: File) -> torch.Tensor:
    data = file.read()
    try:
        array = read_npy(io.BytesIO(data), len(data), file.label, lambda count, name: None)
    except DataError as error:
        raise DamagedFileError(error.expected, error.received, error.remedy) from error
    if array.dtype.kind not in "biuf" or not 1 <= array.ndim <= 3 or 0 in array.shape:
        raise DamagedFileError(
            "a mask of numbers with one to three axes",
            f"{file.label} of dtype {array.dtype} and shape {array.shape}",
            "Save one number for every position.",
        )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64 if array.dtype.kind == "f" else np.int64))


def _whole(values: torch.Tensor, label: str) -> torch.Tensor:
    if values.shape[0] != 1:
        raise DataError(
            "one number at every position of a mask",
            f"{label} with {values.shape[0]} channels",
            "Turn one-hot channels into numbers with argmax.",
        )
    stored = values[0].numpy()
    with np.errstate(invalid="ignore"):
        ids = stored.astype(np.int64, copy=False)
    if (ids != stored).any() or ids.min(initial=0) < 0:
        raise DataError(
            "label ids that are whole numbers from 0",
            f"{label} with {stored[(ids != stored) | (ids < 0)][0].item():g}",
            "Save masks without scaling or interpolation.",
        )
    return torch.from_numpy(ids)


def _picture(file: File, coloured: bool) -> Mask:
    try:
        with Image.open(io.BytesIO(file.read())) as image:
            _check_pixels(image.size, file.label)
            if image.mode in ("LA", "RGBA", "PA"):
                image.load()
                pixels = np.array(image.convert("RGB" if image.mode == "RGBA" else "L"))
            else:
                pixels = np.array(image)
    except DamagedFileError:
        raise
    except (OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, UserWarning) as error:
        raise DamagedFileError(
            "a complete mask", f"{file.label}, which cannot be decoded: {error}", "Replace or remove it."
        ) from error
    if pixels.ndim == 2:
        return Mask(torch.from_numpy(pixels.astype(np.int64)))
    wide = pixels[..., :3].astype(np.int64)
    if not coloured and (wide == wide[..., :1]).all():
        return Mask(torch.from_numpy(np.ascontiguousarray(wide[..., 0])))
    return Mask(torch.from_numpy(wide @ np.array([65536, 256, 1])), coloured=True)


def _check_pixels(size: tuple[int, int], label: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DamagedFileError(
            f"a mask of at most {MAX_PIXELS} pixels", f"{label}: {size[0]} x {size[1]} pixels", "Cut it first."
        )


def resize_nearest(mask: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Bring a mask (*spatial) to ``size``, each position taking the value at its centre.

    >>> resize_nearest(torch.tensor([1, 2, 3, 4]), (2,)), resize_nearest(torch.tensor([1, 2]), (4,))
    (tensor([2, 4]), tensor([1, 1, 2, 2]))
    """
    for axis, length in enumerate(size):
        before = mask.shape[axis]
        if before != length:
            centres = (torch.arange(length, dtype=torch.float64) + 0.5) * (before / length)
            mask = mask.index_select(axis, centres.floor().long().clamp(max=before - 1))
    return mask


def fit_pair(
    inputs: torch.Tensor,
    mask: torch.Tensor,
    size: tuple[int, ...] | None,
    fit: Literal["resize", "pad"] = "resize",
    fill: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring inputs (C, *spatial) and their mask (*spatial) to one size together; ``fill`` goes around the mask.

    >>> inputs, mask = fit_pair(torch.zeros(1, 2), torch.tensor([1, 1]), (4,), "pad", 255)
    >>> inputs.shape, mask.tolist()
    (torch.Size([1, 4]), [255, 1, 1, 255])
    """
    if size is None:
        return inputs, mask
    if fit == "pad":
        return pad_or_crop(inputs[None], size)[0], pad_or_crop(mask[None], size, fill)[0]
    return resize(inputs[None], size)[0], resize_nearest(mask, size)


@dataclass(frozen=True, slots=True)
class ClassTable:
    """The classes of masks: their names, the number each has in a mask, and its colour where masks are coloured."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    colours: tuple[int, ...] = ()

    def without(self, void: int | None) -> ClassTable:
        """The classes without the one whose positions are ignored."""
        kept = [place for place, number in enumerate(self.ids) if number != void]
        colours = tuple(self.colours[place] for place in kept) if self.colours else ()
        return ClassTable(tuple(self.names[p] for p in kept), tuple(self.ids[p] for p in kept), colours)


def read_class_table(file: File) -> ClassTable:
    r"""Read classes, one a line: a name, or name, number and perhaps colour (#rrggbb, or red green blue).

    A line without a number has the number of lines before it. Raises `DataError` naming the line at fault.

    >>> from striate.data.file import File
    >>> data = b"name,id,colour\nsky,0,#0000ff\nroad,7,128 64 128\n"
    >>> read_class_table(File("classes.csv", "classes.csv", len(data), data))
    ClassTable(names=('sky', 'road'), ids=(0, 7), colours=(255, 8405120))
    """
    if file.size > _MAX_TABLE_BYTES:
        raise DataError("class names of at most 1 MiB", f"{file.label} of {file.size} bytes", "One class per line.")
    try:
        rows = [[field.strip() for field in row] for row in csv.reader(io.StringIO(file.read().decode("utf-8-sig")))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("class names in UTF-8", f"{file.label}: {error}", "Save it as UTF-8.") from error
    rows = [row for row in rows if any(row)]
    if rows and rows[0][:2] == ["name", "id"]:
        rows = rows[1:]
    names, ids, colours = [], [], []
    for place, row in enumerate(rows):
        where = f"{','.join(row)!r} in {file.label}"
        number = row[1] if len(row) > 1 else str(place)
        if not number.isdecimal() or len(number) > 8 or len(row) > 3 or len(row) != len(rows[0]):
            raise DataError("one class per line: name, or name,id, or name,id,colour", where, "Correct the line.")
        names.append(row[0])
        ids.append(int(number))
        if len(row) == 3:
            colours.append(_colour(row[2], where))
    check_class_names(names, file.label)
    for what, numbers in (("ids", ids), ("colours", colours)):
        if len(set(numbers)) != len(numbers):
            raise DataError(f"classes with {what} of their own", f"{file.label} with one twice", "Correct the lines.")
    return ClassTable(tuple(names), tuple(ids), tuple(colours))


def _colour(text: str, where: str) -> int:
    parts = [text[1:3], text[3:5], text[5:7]] if text.startswith("#") and len(text) == 7 else text.split()
    base = 16 if text.startswith("#") else 10
    try:
        values = [int(part, base) for part in parts]
    except ValueError:
        values = []
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise DataError("a colour such as #ff8000 or 255 128 0", where, "Correct the line.")
    return values[0] * 65536 + values[1] * 256 + values[2]


def found_classes(seen: Iterable[int], void: int | None, label: str) -> ClassTable:
    """The classes of masks that nobody declared: numbers from 0 without gaps, or 0 and 255 for two classes.

    Raises `DataError` for numbers with gaps.

    >>> found_classes([255, 0], None, "cells"), found_classes([0, 1, 2, 255], 255, "pets").names
    (ClassTable(names=('0', '255'), ids=(0, 255), colours=()), ('0', '1', '2'))
    """
    ids = sorted({int(number) for number in seen} - {void})
    first = 1 if void == 0 else 0
    if ids and ids != [0, 255] and (ids != list(range(first, ids[-1] + 1)) or len(ids) > _MAX_IDS):
        shown = ", ".join(map(str, ids[:12])) + (", ..." if len(ids) > 12 else "")
        raise DataError(
            "label ids from 0 on without gaps, or masks of 0 and 255",
            f"{label} with {shown}",
            "Give void=255 if that marks what is to be ignored, or classes, a file with a line name,id for each.",
        )
    return ClassTable(tuple(map(str, ids)), tuple(ids))


class Lookup:
    """Maps the numbers of masks to class indices, and the void number to ``void``, which no class has.

    >>> lookup = Lookup(ClassTable(("cat", "dog"), (3, 9)), 0)
    >>> lookup.void, lookup(Mask(torch.tensor([9, 3, 0])), "a.png")
    (255, tensor([  1,   0, 255], dtype=torch.uint8))
    """

    def __init__(self, table: ClassTable, void: int | None) -> None:
        kept = table.without(void)
        self.names, self.coloured = kept.names, bool(kept.colours)
        self.void: int | None = None
        values = list(range(len(kept.names)))
        keys = list(kept.colours or kept.ids)
        if void is not None:
            self.void = void if len(values) <= void <= 255 else max(255, len(values))
            place = table.ids.index(void) if void in table.ids else None
            keys.append(table.colours[place] if table.colours and place is not None else void)
            values.append(self.void)
        order = np.argsort(keys)
        self._keys = np.array(keys, dtype=np.int64)[order]
        dtype = np.uint8 if max(values, default=0) <= 255 else np.int32
        self._values = np.array(values, dtype=dtype)[order]
        # Where numbers are small, a table of all of them, -1 for those of no class, is much quicker than a search.
        self._listed: npt.NDArray[np.int32] | None = None
        if keys and self._keys[0] >= 0 and self._keys[-1] < _MOST_LISTED:
            self._listed = np.full(int(self._keys[-1]) + 2, -1, dtype=np.int32)
            self._listed[self._keys] = self._values

    @property
    def fill(self) -> int:
        """What masks are filled up with: void, or else the first class."""
        return 0 if self.void is None else self.void

    def __call__(self, mask: Mask, label: str) -> torch.Tensor:
        """The class index at every position. Raises `DataError` for numbers that are no class."""
        if mask.coloured and not self.coloured:
            raise DataError(
                "masks of numbers, or a file that says which class has which colour",
                f"{label}, an RGB image with colours",
                "Give classes, a file with a line name,id,colour for each.",
            )
        ids = mask.ids.numpy()
        if self._listed is not None and ids.size and ids.min() >= 0:
            # What is beyond the table has its last entry.
            found = self._listed.take(ids, mode="clip")
            if found.min() >= 0:
                return torch.from_numpy(found.astype(self._values.dtype))
        places = np.minimum(np.searchsorted(self._keys, ids), len(self._keys) - 1)
        wrong = self._keys[places] != ids
        if wrong.any():
            shown = [f"#{n:06x}" if mask.coloured else str(n) for n in np.unique(ids[wrong])[:5].tolist()]
            raise DataError(
                f"label ids among the {len(self.names)} declared classes",
                f"{label} with {', '.join(shown)} at {int(wrong.sum())} positions",
                "Correct the mask, declare the class, or give void if the number marks what is to be ignored.",
            )
        return torch.from_numpy(self._values[places])
