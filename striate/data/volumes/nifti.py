"""NIfTI volumes, .nii and .nii.gz: turned to one orientation, scaled as the header says, resampled if asked for.

Four axes give a channel per entry of the fourth. Values are float32 whatever the file holds, because scans of one study
are often stored as different integers with a slope each.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.data.extras import extra
from striate.data.file_kinds import DamagedFileError, FileKind, register_file_kind
from striate.data.volumes.volume import SPACING, Volume, canonical, check_voxels, resampled

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import torch

    from striate.data.file import File

_HEADER = 540
_GZIP = 16 + zlib.MAX_WBITS
_DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, OverflowError, struct.error, zlib.error)


def read_nifti(file: File) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file with its spacing, not resampled.

    The size that the header promises is checked before the values are inflated. Raises `DamagedFileError` for a file
    that is cut off, too large, not placed in space at right angles, or with values that are not finite.
    """
    nibabel = extra("nibabel", "medical", file.label)
    data = file.read()
    try:
        stream: _Inflated | io.BytesIO = _Inflated(data) if data[:2] == b"\x1f\x8b" else io.BytesIO(data)
        start = stream.read(_HEADER)
        kind = _kind(nibabel, start)
        header = kind.header_class.from_fileobj(io.BytesIO(start))
        shape = tuple(int(length) for length in header.get_data_shape())
        dtype = header.get_data_dtype()
        needed = int(header.get_data_offset()) + _value_bytes(shape, dtype, file.label)
        content = start + stream.read(max(needed - len(start), 0))
        _check_length(content, needed, shape, file.label)
        with np.errstate(over="ignore", invalid="ignore"):
            if header.get_slope_inter() in ((None, None), (1.0, 0.0)):
                stored = np.frombuffer(content, dtype, math.prod(shape), int(header.get_data_offset()))
                array = stored.reshape(shape, order="F").astype(np.float32)
            else:
                array = np.asanyarray(kind.from_bytes(content).dataobj, dtype=np.float32)
        affine = header.get_best_affine()
    except DamagedFileError:
        raise
    except (*_DAMAGE, nibabel.spatialimages.HeaderDataError, nibabel.filebasedimages.ImageFileError) as error:
        raise DamagedFileError(
            "a complete NIfTI file",
            f"{file.label}, which cannot be read: {str(error) or type(error).__name__}",
            "Replace or remove it.",
        ) from error
    return canonical(_with_three_axes(array, file.label), affine, file.label)


def labels_like(labels: npt.NDArray[Any], file: File) -> bytes:
    """Labels (D, H, W), as `read_nifti` turns the volumes of ``file``, as the content of a NIfTI file like that one.

    The axes are in the order of ``file`` again, and its affine is kept, so that programs lay one over the other. What
    ends in .gz is compressed. Raises `DamagedFileError` as `read_nifti` does.
    """
    nibabel = extra("nibabel", "medical", file.label)
    orientations = extra("nibabel.orientations", "medical", file.label)
    data = file.read()
    with gzip.open(io.BytesIO(data)) if data[:2] == b"\x1f\x8b" else io.BytesIO(data) as stream:
        start = stream.read(_HEADER)
    kind = _kind(nibabel, start)
    header = kind.header_class.from_fileobj(io.BytesIO(start))
    affine = header.get_best_affine()
    straight = [[0, 1], [1, 1], [2, 1]]
    back = orientations.ornt_transform(straight, orientations.io_orientation(affine))
    array = orientations.apply_orientation(labels.T, back)
    image = kind(np.ascontiguousarray(array), affine, header)
    image.header.set_data_dtype(array.dtype)
    # What the header says of the scan's brightness is not true of labels.
    image.header["cal_min"] = image.header["cal_max"] = 0
    content: bytes = image.to_bytes()
    return gzip.compress(content, mtime=0) if file.suffix == ".nii.gz" else content


class _Inflated:
    """What gzip has packed, inflated as far as it is read, in one piece: `gzip` goes 8 KiB at a time."""

    def __init__(self, data: bytes) -> None:
        self._left, self._inflater = data, zlib.decompressobj(_GZIP)

    def read(self, count: int) -> bytes:
        """At most so many bytes more. Raises `zlib.error` for what is no gzip."""
        found = b""
        while len(found) < count and self._left:
            if self._inflater.eof:
                self._inflater = zlib.decompressobj(_GZIP)
            piece = self._inflater.decompress(self._left, count - len(found))
            self._left = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            if not piece and not self._inflater.eof:
                break
            found = found + piece if found else piece
        return found


def _kind(nibabel: Any, start: bytes) -> Any:
    sizes = {struct.unpack(order, start[:4])[0] for order in ("<i", ">i")} if len(start) >= 4 else set()
    if 348 in sizes and start[344:347] == b"n+1":
        return nibabel.Nifti1Image
    if 540 in sizes and start[4:7] == b"n+2":
        return nibabel.Nifti2Image
    raise ValueError("its beginning is not that of a NIfTI file with header and voxels in one")


def _value_bytes(shape: tuple[int, ...], dtype: np.dtype[Any], label: str) -> int:
    if dtype.kind not in "biuf":
        raise DamagedFileError("real numbers as voxels", f"{label} of type {dtype}", "Convert it to real numbers.")
    return check_voxels(shape, label) * dtype.itemsize


def _check_length(content: bytes, needed: int, shape: tuple[int, ...], label: str) -> None:
    if len(content) < needed:
        raise DamagedFileError(
            f"{needed} bytes for {' x '.join(map(str, shape))} voxels",
            f"{label} with {len(content)}",
            "It is cut off: copy or download it again.",
        )


def _with_three_axes(array: Any, label: str) -> Any:
    while array.ndim > 4 and 1 in array.shape[3:]:
        array = np.squeeze(array, 3 + array.shape[3:].index(1))
    if array.ndim > 4:
        raise DamagedFileError(
            "a volume, or one with channels along a fourth axis",
            f"{label} of shape {array.shape}",
            "Save each volume to a file of its own.",
        )
    return array.reshape(*array.shape, *(1,) * (3 - array.ndim))


def decode_nifti(file: File, options: Mapping[str, Any]) -> tuple[torch.Tensor, float]:
    """Decode a file to (C, D, H, W) float32, and the value of full white. Raises `DamagedFileError`."""
    return resampled(read_nifti(file), options["spacing"], file.label), 1.0


NIFTI = register_file_kind(FileKind("nifti", (".nii", ".nii.gz"), decode_nifti, (SPACING,), normalise="sample"))
