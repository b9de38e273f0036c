"""TIFF files of several pages as volumes, page over page."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from striate.data.file_kinds import DamagedFileError
from striate.data.volumes.volume import check_voxels

if TYPE_CHECKING:
    from striate.data.file import File

_SCALES = {"1": 1.0, "L": 255.0, "P": 255.0, "RGB": 255.0, "I;16": 65535.0, "I;16B": 65535.0, "I": 65535.0, "F": 1.0}
_DAMAGE = (OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error, zlib.error)


def decode_pages(file: File) -> tuple[torch.Tensor, float]:
    """Decode all pages to (C, pages, H, W), uint8 for 8 bits and float32 for more, and the value of full white.

    Pages with a palette keep its indices. Raises `DamagedFileError` for a file that is cut off, too large, or whose
    pages differ in size or kind.
    """
    try:
        with Image.open(io.BytesIO(file.read()), formats=("TIFF",)) as image:
            size, mode = image.size, image.mode
            count = _checked_count(image, file.label)
            pages = [_page(image, place, size, mode, file) for place in range(count)]
    except DamagedFileError:
        raise
    except (*_DAMAGE, Image.DecompressionBombError, Image.DecompressionBombWarning, UserWarning) as error:
        raise DamagedFileError(
            "a complete TIFF file",
            f"{file.label}, which cannot be decoded: {str(error) or type(error).__name__}",
            "Replace or remove it.",
        ) from error
    values = np.stack(pages)
    if values.dtype != np.uint8:
        values = values.astype(np.float32)
    values = np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]
    return torch.from_numpy(np.ascontiguousarray(values)), _SCALES[mode]


def _checked_count(image: Image.Image, label: str) -> int:
    count = int(getattr(image, "n_frames", 1))
    if image.mode not in _SCALES:
        raise DamagedFileError(
            f"pages of one of the modes {', '.join(_SCALES)}", f"{label} of mode {image.mode}", "Convert it."
        )
    check_voxels((count, *reversed(image.size), len(image.getbands())), label)
    return count


def _page(image: Image.Image, place: int, size: tuple[int, int], mode: str, file: File) -> np.ndarray:
    image.seek(place)
    if image.size != size or image.mode != mode:
        raise DamagedFileError(
            f"pages of one size and kind, {size[0]} x {size[1]} {mode} as the first",
            f"page {place + 1} of {file.label} with {image.size[0]} x {image.size[1]} {image.mode}",
            "Save each kind of page to a file of its own.",
        )
    pixels = np.array(image)
    return pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels
