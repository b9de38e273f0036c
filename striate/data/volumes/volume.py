"""Volumes in space: axes brought to one orientation, and voxels to one spacing.

A scan says by its affine where each voxel lies in millimetres, to the right, to the front and up (RAS+). Its axes are
permuted and flipped so that depth runs from foot to head, height from back to front, and width from left to right;
nothing is interpolated for that, so a scan that was taken askew stays askew.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from striate.data.conversion import resize
from striate.data.extras import extra
from striate.data.file_kinds import DamagedFileError
from striate.data.options import Option, numbers
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MAX_VOXELS = 2**28
"""Volumes with more values are refused before they are read: as float32 they would take more than a gibibyte."""

SPACING = Option(
    "spacing", None, "millimetres between voxels to resample to: one number, or depth, height and width", *numbers()
)

_SKEW = 1e-3


class Volume(NamedTuple):
    """Values (C, D, H, W), and the millimetres between their centres along depth, height and width."""

    values: torch.Tensor
    spacing: tuple[float, float, float]


def check_voxels(shape: Sequence[int], label: str) -> int:
    """Return the number of values of a volume. Raises `DamagedFileError` for none or more than MAX_VOXELS.

    >>> check_voxels((2, 3, 4), "a.nii")
    24
    """
    count = math.prod(int(length) for length in shape)
    if min(shape, default=0) < 1 or count > MAX_VOXELS:
        raise DamagedFileError(
            f"a volume of 1 to {MAX_VOXELS} values",
            f"{label}, whose header says {' x '.join(map(str, shape)) or 'nothing'}",
            "Replace it, or cut or shrink it first.",
        )
    return count


def canonical(array: npt.NDArray[Any], affine: npt.NDArray[Any], label: str) -> Volume:
    """Turn an array (X, Y, Z) or (X, Y, Z, C) with its RAS+ affine (4, 4) to depth, height and width.

    Raises `DamagedFileError` for an affine that does not place voxels, or whose axes are not at right angles, and for
    values that are not finite in float32.

    >>> array = np.arange(6.0).reshape(1, 2, 3)
    >>> volume = canonical(array, np.diag([1.0, -2.0, 3.0, 1.0]), "a.nii")
    >>> volume.spacing, volume.values[0, :, :, 0].tolist()
    ((3.0, 2.0, 1.0), [[3.0, 0.0], [4.0, 1.0], [5.0, 2.0]])
    """
    spacing = _spacing(np.asarray(affine, dtype=np.float64), label)
    orientations = extra("nibabel.orientations", "medical", label)
    orientation = orientations.io_orientation(affine)
    turned = orientations.apply_orientation(array, orientation)
    order = np.argsort(orientation[:, 0])
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(turned.T, dtype=np.float32)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise DamagedFileError(
            "finite values", f"{label} with {bad} that are NaN or infinite", "Clean it first, or leave it out."
        )
    tensor = torch.from_numpy(values)
    right, front, up = (float(spacing[axis]) for axis in order)
    return Volume(tensor if tensor.ndim == 4 else tensor.unsqueeze(0), (up, front, right))


def _spacing(affine: npt.NDArray[np.float64], label: str) -> npt.NDArray[np.float64]:
    directions = affine[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        spacing: npt.NDArray[np.float64] = np.sqrt((directions**2).sum(axis=0))
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not (spacing > 0).all():
        raise DamagedFileError(
            "an affine that places every voxel in space",
            f"{label} with {np.array2string(affine, precision=4, separator=', ')}".replace("\n", ""),
            "Write the volume again with its true affine.",
        )
    cosines = directions / spacing
    skew = np.abs(cosines.T @ cosines - np.eye(3)).max()
    if skew > _SKEW:
        angle = math.degrees(math.acos(min(float(skew), 1.0)))
        raise DamagedFileError(
            "an affine whose axes are at right angles",
            f"{label} with axes at {angle:.1f} degrees",
            "Resample it to a straight grid first, for example with nibabel.processing.resample_to_output.",
        )
    return spacing


def resampled_size(volume: Volume, target: Any, label: str) -> tuple[int, ...]:
    """The size (D, H, W) of a volume at another spacing: a number, or three in this order; None leaves it.

    Raises `DataError` for two or four numbers.

    >>> resampled_size(Volume(torch.zeros(1, 10, 10, 4), (1.0, 1.0, 2.5)), 2, "a.nii")
    (5, 5, 5)
    """
    size = tuple(volume.values.shape[1:])
    if target is None:
        return size
    wanted = tuple(target) if isinstance(target, list | tuple) else (target,) * 3
    if len(wanted) != 3:
        raise DataError(
            "spacing to be one number, or three for depth, height and width",
            f"spacing={target!r} for {label}",
            "Use 1 for a millimetre along each axis.",
        )
    found = tuple(max(round(n * s / t), 1) for n, s, t in zip(size, volume.spacing, wanted, strict=True))
    check_voxels((volume.values.shape[0], *found), f"{label} at spacing {target}")
    return found


def resampled(volume: Volume, target: Any, label: str) -> torch.Tensor:
    """The values at another spacing, linearly interpolated."""
    size = resampled_size(volume, target, label)
    return volume.values if size == tuple(volume.values.shape[1:]) else resize(volume.values[None], size)[0]
