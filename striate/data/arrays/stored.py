"""Arrays of samples that do not fit into memory, read from their file row by row when they are fetched.

The rows of a .npy file, or of one that lies uncompressed in an .npz, follow each other, so that each is one read at a
known place. Nothing is mapped into memory: a mapped file that is cut short ends the whole process, and its pages count
as memory that the process holds.
"""

from __future__ import annotations

import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from striate.data.conversion import convert_channels, pad_or_crop, resize, target_size
from striate.data.layout import as_samples
from striate.data.npy import NUMBERS, read_npy_header
from striate.data.samples import as_indices
from striate.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    from striate.data.file import File
    from striate.data.reader import ReadOptions
    from striate.data.samples import Indices

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Where an array lies: a file on disk, the first byte of its values, its shape and type in C order."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    label: str

    @property
    def nbytes(self) -> int:
        """The size of its values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, indices: list[int]) -> npt.NDArray[Any]:
        """Read these rows. Raises `DataError` if the file has become shorter."""
        rows = np.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        length = rows[0].nbytes if len(rows) else 0
        try:
            with Path(self.path).open("rb", buffering=0) as stream:
                for place, index in enumerate(indices):
                    stream.seek(self.offset + index * length)
                    view = memoryview(rows[place : place + 1].data).cast("B")
                    while len(view):
                        count = stream.readinto(view)
                        if not count:
                            raise _changed(self.label)
                        view = view[count:]
        except OSError as error:
            raise _changed(self.label) from error
        return rows


def _changed(label: str) -> DataError:
    return DataError(
        "a file that stays as it was when the data set was opened",
        f"{label}, which cannot be read to its end",
        "Do not change the files while they are in use.",
    )


def stored_npy(file: File) -> StoredArray | None:
    """Where the values of a .npy file lie; None for one in an archive, or in Fortran's order, or not of numbers."""
    if file.content is not None:
        return None
    with file.open() as stream:
        shape, fortran, dtype = read_npy_header(stream, file.label)
        start = stream.tell()
    return _stored(file.label, start, file.size - start, shape, fortran, dtype, file.label)


def stored_member(file: File, name: str, label: str) -> StoredArray | None:
    """Where the values of an array of an .npz file lie; None if it is compressed, and as for `stored_npy`."""
    if file.content is not None:
        return None
    try:
        with file.open() as stream, zipfile.ZipFile(stream) as archive:
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type != zipfile.ZIP_STORED:
                return None
            stream.seek(member.header_offset)
            header = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
            begin = member.header_offset + _LOCAL_HEADER.size + header[-2] + header[-1]
            stream.seek(begin)
            shape, fortran, dtype = read_npy_header(stream, label)
            start = stream.tell()
    except (zipfile.BadZipFile, OSError, struct.error) as error:
        raise DataError("a complete .npz file", f"{label}: {error}", "Write or download it again.") from error
    return _stored(file.label, start, member.file_size - (start - begin), shape, fortran, dtype, label)


def _stored(
    path: str, start: int, size: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], label: str
) -> StoredArray | None:
    found = StoredArray(path, start, shape, dtype, label)
    usable = not fortran and dtype.kind in NUMBERS and len(shape) > 1 and 0 not in shape
    return found if usable and found.nbytes == size else None


class StoredSamples:
    """Samples whose inputs are read from an array on disk each time they are fetched.

    They are converted as arrays in memory are; values that are not finite make ``fetch`` raise `DataError`.
    """

    in_memory = False

    def __init__(
        self,
        array: StoredArray,
        layout: str,
        targets: torch.Tensor,
        name: str,
        *,
        channels: int | None = None,
        image_size: int | tuple[int, ...] | None = None,
        fit: Literal["resize", "pad"] = "resize",
        groups: torch.Tensor | None = None,
        rows: torch.Tensor | None = None,
    ) -> None:
        self._array, self._layout, self._name = array, layout, name
        self.labels, self.groups = targets, groups
        self._channels, self._image_size, self._fit = channels, image_size, fit
        self._rows = torch.arange(array.shape[0]) if rows is None else rows
        example = self._converted([int(self._rows[0])] if len(self._rows) else [0])
        self._item_shape, self._dtype = tuple(example.shape[1:]), example.dtype

    @classmethod
    def wanted(
        cls, array: StoredArray, layout: str, targets: torch.Tensor, name: str, options: ReadOptions, **more: Any
    ) -> StoredSamples:
        """Samples as the caller of a reader wants them."""
        return cls(
            array,
            layout,
            targets,
            name,
            channels=options.channels,
            image_size=options.image_size,
            fit=options.fit,
            **more,
        )

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one sample, (C, *spatial)."""
        return self._item_shape

    @property
    def dtype(self) -> torch.dtype:
        """The type of the inputs."""
        return self._dtype

    def __len__(self) -> int:
        return len(self._rows)

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs and targets at these indices, in their order. Raises `DataError` for values not finite."""
        chosen = as_indices(indices)
        if not len(chosen):
            return torch.empty((0, *self._item_shape), dtype=self._dtype), self.labels[chosen]
        return self._converted(self._rows[chosen].tolist()), self.labels[chosen]

    def _converted(self, rows: list[int]) -> torch.Tensor:
        inputs = as_samples(self._array.rows(rows), self._layout, self._array.label)
        inputs = convert_channels(inputs, self._channels, self._array.label)
        size = target_size(self._image_size, inputs.ndim - 2)
        if size is None:
            return inputs
        return resize(inputs, size) if self._fit == "resize" else pad_or_crop(inputs, size)

    def name(self, index: int) -> str:
        """The array's name and the row."""
        return f"{self._name}[{int(self._rows[index])}]"

    def subset(self, indices: Indices) -> StoredSamples:
        """The samples at these indices; nothing is read."""
        chosen = as_indices(indices)
        return StoredSamples(
            self._array,
            self._layout,
            self.labels[chosen],
            self._name,
            channels=self._channels,
            image_size=self._image_size,
            fit=self._fit,
            groups=None if self.groups is None else self.groups[chosen],
            rows=self._rows[chosen],
        )
