"""Resizing by interpolation in every rank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn import functional as F

from striate import geometry
from striate.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.geometry import Axes, Size

MODES = ("nearest", "nearest-exact", "linear", "cubic")
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resize(
    input: Tensor,
    size: Axes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    *,
    align_corners: bool = False,
    antialias: bool = False,
    spatial_dims: int | None = None,
) -> Tensor:
    """Resize ``(N, C, *spatial)`` or unbatched ``(C, *spatial)`` to ``size`` or by ``scale_factor``.

    ``mode`` is ``nearest``, ``nearest-exact`` (without the half-pixel shift of nearest), ``linear`` or ``cubic`` in
    every rank, each through `torch.nn.functional.interpolate`. torch's cubic and its antialiasing know two axes only;
    both are separable, so other ranks are resized one or two axes at a time, to the same result. ``antialias`` widens
    the filter when shrinking. A scaled size is rounded down. Raises `GeometryError`.

    >>> import torch
    >>> resize(torch.tensor([[[0.0, 1.0]]]), 4, mode="linear", align_corners=True)
    tensor([[[0.0000, 0.3333, 0.6667, 1.0000]]])
    """
    if mode not in MODES:
        raise GeometryError(
            f"mode to be one of {', '.join(MODES)}", f"mode={mode!r}", "Words are the same in every rank."
        )
    if mode.startswith("nearest") and (align_corners or antialias):
        raise GeometryError(
            "align_corners and antialias only with mode 'linear' or 'cubic'",
            f"align_corners={align_corners!r}, antialias={antialias!r} with mode={mode!r}",
            "Leave both at False, or change the mode.",
        )
    rank = geometry.operator_rank(input.shape, spatial_dims, size, scale_factor)
    old = geometry.spatial_size(input.shape, rank)
    new, scales = _target(old, size, scale_factor)
    batched = input if input.dim() == rank + 2 else input.unsqueeze(0)
    if mode.startswith("nearest"):
        output = F.interpolate(batched, new, scales, mode)
    elif mode == "cubic" or antialias:
        output = _in_pairs(batched, new, scales, "bicubic" if mode == "cubic" else "bilinear", align_corners, antialias)
    else:
        output = F.interpolate(batched, new, scales, _LINEAR[rank], align_corners)
    return output if input.dim() == rank + 2 else output.squeeze(0)


def _target(
    old: Size, size: Axes | None, scale_factor: float | Sequence[float] | None
) -> tuple[list[int] | None, list[float] | None]:
    """The new size or the scale per axis, the other one None, as torch wants them."""
    if (size is None) == (scale_factor is None):
        raise GeometryError(
            "either size or scale_factor",
            f"size={size!r} and scale_factor={scale_factor!r}",
            "Give exactly one of them.",
        )
    if size is not None:
        return list(geometry.per_axis("size", size, len(old))), None
    scales = [*scale_factor] if isinstance(scale_factor, list | tuple) else [scale_factor] * len(old)
    factors = [float(s) for s in scales if isinstance(s, int | float) and 0 < s < math.inf]
    if not len(factors) == len(scales) == len(old):
        raise GeometryError(
            f"scale_factor to be a positive number, or {len(old)} of them, one per spatial axis",
            f"scale_factor={scale_factor!r}",
            "Use 2 to double every axis.",
        )
    if any(int(length * s) < 1 for length, s in zip(old, factors, strict=True)):
        raise GeometryError(
            "scale_factor to leave at least one position on every axis",
            f"scale_factor={scale_factor!r} for an input of size {old}",
            "Scale by more, or give the size.",
        )
    return None, factors


def _in_pairs(
    input: Tensor,
    new: list[int] | None,
    scales: list[float] | None,
    mode: str,
    align_corners: bool,
    antialias: bool,
) -> Tensor:
    """Resize through torch's 2-D operator, with an axis that stays as it is where there is none to pair."""

    def plane(planes: Tensor, axes: slice) -> Tensor:
        # A lone axis comes last, beside one that keeps its size and, with scale 1, its values to the bit.
        to = None if new is None else [planes.shape[-2], *new[axes]][-2:]
        by = None if scales is None else [1.0, *scales[axes]][-2:]
        return F.interpolate(planes, to, by, mode, align_corners, antialias=antialias)

    rank = input.dim() - 2
    if rank == 2:
        return plane(input, slice(0, 2))
    if rank == 1:
        return plane(input.unsqueeze(-2), slice(0, 1)).squeeze(-2)
    slices = plane(input.flatten(1, 2), slice(1, 3))
    height, width = slices.shape[-2:]
    columns = plane(slices.reshape(*input.shape[:3], height * width).transpose(2, 3), slice(0, 1))
    return columns.transpose(2, 3).reshape(*input.shape[:2], columns.shape[-1], height, width)
