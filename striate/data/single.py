"""One sample from a file, and one back into a file."""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from striate.data.decoding import ARRAYS, Decoder
from striate.data.file import File, file_on_disk, is_file, is_folder
from striate.data.file_kinds import holds_sample, sample_suffixes
from striate.errors import DataError
from striate.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

PICTURE_SUFFIXES = (".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")


def existing_file(path: str | Path) -> File:
    """The file at ``path``. Raises `DataError` if there is none."""
    given = Path(path)
    if not is_file(given):
        names = [entry.name for entry in given.parent.iterdir()] if is_folder(given.parent) else []
        near = difflib.get_close_matches(given.name, names, n=1)
        raise DataError("a file that exists", str(path), f"Did you mean {near[0]!r}?" if near else "Check the path.")
    return file_on_disk(given, given.name)


def sample_file(path: str | Path) -> File:
    """The file at ``path``, if it is one and of a kind that holds a sample. Raises `DataError`."""
    file = existing_file(path)
    if not holds_sample(file):
        raise DataError(
            f"a file of one of the kinds {', '.join(sample_suffixes())}", str(path), "Convert it to one of them."
        )
    return file


def read_input(path: str | Path) -> torch.Tensor:
    """Read one image or .npy file as (C, *spatial): uint8 for 8-bit images and bytes, float32 for everything else.

    The axes of an array are told by the rule of `striate.data.layout`. Raises `DataError` naming the file.

    >>> np.save("walk.npy", np.zeros(50))
    >>> read_input("walk.npy").shape
    torch.Size([1, 50])
    """
    return Decoder()(sample_file(path)).inputs


def write_output(values: torch.Tensor, path: str | Path) -> Path:
    """Write values (C, *spatial) to a .npy file as float32, or (1 or 3, H, W) to a picture, and return the path.

    A picture takes values from 0 to 255, rounded; what lies outside is cut off. The file is written beside and renamed.
    Raises `DataError` for another kind of file, values that are no picture, or a place that cannot be written.

    >>> write_output(torch.zeros(1, 4, 4), "black.png").name
    'black.png'
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in (*ARRAYS.suffixes, *PICTURE_SUFFIXES):
        raise DataError(
            f"a file name that ends in .npy, {', '.join(PICTURE_SUFFIXES)}",
            str(path),
            "Name it so, for example out.png.",
        )
    if suffix in PICTURE_SUFFIXES and (values.ndim != 3 or values.shape[0] not in (1, 3)):
        raise DataError(
            "values of shape (1, H, W) or (3, H, W) for a picture",
            f"values of shape {tuple(values.shape)} for {path}",
            "Write them to a .npy file.",
        )
    with writing(path), replacing(target) as beside:
        if suffix in ARRAYS.suffixes:
            np.save(beside, values.detach().cpu().float().numpy())
        else:
            pixels = values.detach().cpu().double().round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(beside)
    return target


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[None]:
    """Turn the system's refusal to write to ``path`` into a `DataError`.

    >>> with writing("no such folder/a.txt"):
    ...     Path("no such folder/a.txt").write_text("a")
    Traceback (most recent call last):
    striate.errors.DataError: Expected a place where the file can be written; received no such folder/a.txt: \
No such file or directory. Create the folder first.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            "a place where the file can be written", f"{path}: {error.strerror}", "Create the folder first."
        ) from error
