"""From one file to one sample, and from many files to samples in order on several threads.

A sample is (C, *spatial): uint8 for images of 8 bits, float32 for everything else. Images with a palette, an alpha
channel or another colour space become RGB (alpha is dropped), black-and-white ones grey, and of several frames the
first is taken. The orientation that cameras note in EXIF is not applied, as in torchvision and Keras.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from striate.data.conversion import convert_channels, pad_or_crop, resize, target_size
from striate.data.file_kinds import DamagedFileError, FileKind, file_kind, register_file_kind, sample_suffixes
from striate.data.layout import LAYOUTS, as_samples
from striate.data.npy import read_npy
from striate.data.options import Option, one_of, resolve
from striate.data.threads import Pace, each
from striate.data.volumes.tiff_pages import decode_pages
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from striate.data.file import File

MAX_PIXELS = 89_478_485
"""Images with more pixels are refused before they are decoded: Pillow's own limit against decompression bombs."""

_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "GIF", "TIFF", "WEBP")

# What Pillow raises, by format and kind of damage, when a file is not what its first bytes promise.
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
    UserWarning,
)

_GREY = ("1", "L", "LA", "La")
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_FLOAT = ("F",)


@dataclass(frozen=True, slots=True)
class Decoded:
    """One sample: inputs (C, *spatial) as asked for, its size as stored, and the value of full white."""

    inputs: torch.Tensor
    stored_size: tuple[int, ...]
    value_scale: float


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes files, with the channels and the size that were asked for (None: as stored).

    ``fit`` says how a sample of another size is brought to ``image_size``: resampled, or cut and filled up with zeros
    around its middle. ``options`` are those of the kinds of files.

    >>> Decoder(channels=1).channels
    1
    """

    channels: int | None = None
    image_size: int | tuple[int, ...] | None = None
    fit: Literal["resize", "pad"] = "resize"
    options: Mapping[str, Any] = field(default_factory=dict)
    _resolved: dict[str, Mapping[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _pace: Pace = field(default_factory=Pace, init=False, repr=False, compare=False)

    def __call__(self, file: File) -> Decoded:
        """Decode one file. Raises `DataError` naming it if it is damaged, too large or of another kind."""
        kind = file_kind(file.suffix)
        if kind is None:
            raise DataError(
                f"a file of one of the kinds {', '.join(sample_suffixes())}", file.label, "Convert it to one of them."
            )
        inputs, value_scale = kind.decode(file, self._options_of(kind))
        stored_size = tuple(inputs.shape[1:])
        if self.channels is not None:
            inputs = convert_channels(inputs.unsqueeze(0), self.channels, file.label)[0]
        size = target_size(self.image_size, len(stored_size))
        if size is not None:
            batch = inputs.unsqueeze(0)
            inputs = (resize(batch, size) if self.fit == "resize" else pad_or_crop(batch, size))[0]
        return Decoded(inputs, stored_size, value_scale)

    def _options_of(self, kind: FileKind) -> Mapping[str, Any]:
        found = self._resolved.get(kind.name)
        if found is None:
            own = {option.name: self.options[option.name] for option in kind.options if option.name in self.options}
            found = self._resolved[kind.name] = resolve(own, kind.options, kind.name)
        return found

    def each(self, files: Sequence[File]) -> Iterator[Decoded | DataError]:
        """Decode many files on a few threads and give them in order, the error in place of each one that fails."""
        return each(self, files, self._pace)


def decode_array(file: File, options: Mapping[str, Any]) -> tuple[torch.Tensor, float]:
    """Decode a .npy file with one sample to (C, *spatial), and the value of full white. Raises `DataError`."""
    data = file.read()
    try:
        array = read_npy(io.BytesIO(data), len(data), file.label, lambda count, name: None)
    except DataError as error:
        raise DamagedFileError(error.expected, error.received, error.remedy) from error
    inputs = as_samples(array[None], options["layout"], file.label)[0]
    return inputs, 255.0 if inputs.dtype == torch.uint8 else 1.0


def decode_image(file: File, options: Mapping[str, Any] | None = None) -> tuple[torch.Tensor, float]:
    """Decode an image file to (C, H, W) as stored, and the value of full white. Raises `DataError`.

    With the option ``pages`` "volume" a TIFF file is (C, pages, H, W).
    """
    if options is not None and options["pages"] == "volume" and file.suffix in (".tif", ".tiff"):
        return decode_pages(file)
    data = file.read()
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_pixels(image.size, file)
            return _pixels(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bomb(file, str(error).rstrip(".")) from error
    except DataError:
        raise
    except _DAMAGE as error:
        raise DamagedFileError(
            "a complete image file",
            f"{file.label}, which cannot be decoded: {_reason(error, file)}",
            "Replace or remove it.",
        ) from error


def _check_pixels(size: tuple[int, int], file: File) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise _bomb(file, f"{size[0]} x {size[1]} pixels")


def _bomb(file: File, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"an image of at most {MAX_PIXELS} pixels", f"{file.label}: {what}", "Remove it, or cut or shrink it first."
    )


def _reason(error: BaseException, file: File) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its beginning is that of no known image format" if file.size else "it is empty"
    return str(error) or type(error).__name__


def _pixels(image: Image.Image) -> tuple[torch.Tensor, float]:
    if image.mode in _DEEP:
        # 16-bit images; Pillow opens some of them with 32-bit integers.
        return torch.from_numpy(np.array(image).astype(np.float32)).unsqueeze(0), 65535.0
    if image.mode in _FLOAT:
        return torch.from_numpy(np.array(image, dtype=np.float32)).unsqueeze(0), 1.0
    if image.mode in _GREY:
        grey = image if image.mode == "L" else image.convert("L")  # which copies it in any case
        return torch.from_numpy(np.array(grey)[None]), 255.0
    if image.mode == "P":
        image = image.convert("RGBA")
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return torch.from_numpy(np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))), 255.0


IMAGES = register_file_kind(
    FileKind(
        "image",
        (".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".pbm", ".pnm", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
        decode_image,
        (Option("pages", "first", "what of a TIFF file is read: its first page, or all", *one_of("first", "volume")),),
    )
)
ARRAYS = register_file_kind(
    FileKind(
        "array", (".npy",), decode_array, (Option("layout", None, "the axes of the array, N first", *one_of(*LAYOUTS)),)
    )
)
