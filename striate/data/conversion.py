"""Channels and sizes brought to what the network wants; one rule for arrays and files, in any rank.

Grey from colour is ITU-R BT.601 luma, 0.299 R + 0.587 G + 0.114 B, with the integer arithmetic of Pillow for uint8.
Resizing is linear along each axis in turn, with the triangle widened to the scale when shrinking so that nothing
aliases (what Pillow calls BILINEAR). Aspect ratios are not kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LUMA = (19595, 38470, 7471)
_LUMA_ONE = 65536


def convert_channels(inputs: torch.Tensor, channels: int | None, name: str) -> torch.Tensor:
    """Turn (N, C, *spatial) to grey (1) or colour (3); None leaves it. The dtype stays.

    Raises `DataError` for channel counts between which there is no rule.

    >>> convert_channels(torch.full((1, 3, 2, 2), 7, dtype=torch.uint8), 1, "x").unique().tolist()
    [7]
    """
    given = inputs.shape[1]
    if channels is None or channels == given:
        return inputs
    if given == 1 and channels == 3:
        return inputs.expand(-1, 3, *inputs.shape[2:]).contiguous()
    if given == 3 and channels == 1:
        red, green, blue = inputs.unbind(1)
        if inputs.dtype == torch.uint8:
            sums = red.int() * _LUMA[0] + green.int() * _LUMA[1] + blue.int() * _LUMA[2]
            grey = ((sums + _LUMA_ONE // 2) >> 16).to(torch.uint8)
        else:
            grey = (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]) / _LUMA_ONE
        return grey.unsqueeze(1)
    raise DataError(
        f"samples with {channels} channels, or grey and colour ones to convert",
        f"{name} with {given}",
        f"Leave channels out, or set it to {given}.",
    )


def target_size(image_size: int | Sequence[int] | None, spatial_dims: int) -> tuple[int, ...] | None:
    """One size per axis from what the caller gave. Raises `DataError`.

    >>> target_size(32, spatial_dims=2)
    (32, 32)
    """
    if image_size is None:
        return None
    sizes = tuple(image_size) if isinstance(image_size, Iterable) else (image_size,) * spatial_dims
    if len(sizes) != spatial_dims or not all(type(size) is int and size >= 1 for size in sizes):
        raise DataError(
            f"image_size to be a positive integer, or {spatial_dims} of them",
            f"image_size={image_size!r}",
            f"Give one size for all axes, or one for each of the {spatial_dims}.",
        )
    return sizes


def pad_or_crop(inputs: torch.Tensor, size: tuple[int, ...], value: float = 0) -> torch.Tensor:
    """Bring (N, ..., *spatial) to ``size`` around its middle: cut off what is too long, fill up with ``value``.

    The odd element is cut, or filled, at the end.

    >>> pad_or_crop(torch.tensor([[[1, 2, 3, 4]]]), (3,)), pad_or_crop(torch.tensor([[[1, 2]]]), (5,))
    (tensor([[[1, 2, 3]]]), tensor([[[0, 1, 2, 0, 0]]]))
    """
    first = inputs.ndim - len(size)
    for axis, length in enumerate(size, start=first):
        if inputs.shape[axis] > length:
            inputs = inputs.narrow(axis, (inputs.shape[axis] - length) // 2, length)
    missing = [length - inputs.shape[axis] for axis, length in enumerate(size, start=first)]
    if not any(missing):
        return inputs.contiguous()
    filled = inputs.new_full((*inputs.shape[:first], *size), value)
    middle = filled
    for axis, total in enumerate(missing, start=first):
        middle = middle.narrow(axis, total // 2, inputs.shape[axis])
    middle.copy_(inputs)
    return filled


def resize(
    inputs: torch.Tensor, size: tuple[int, ...], method: Literal["bilinear", "bicubic"] = "bilinear"
) -> torch.Tensor:
    """Resample (N, C, *spatial) to ``size``; uint8 is rounded after each axis, as Pillow does.

    >>> resize(torch.zeros(1, 1, 64, 64, 64), (32, 32, 16)).shape
    torch.Size([1, 1, 32, 32, 16])
    """
    for axis, length in enumerate(size, start=2):
        shape = inputs.shape
        if shape[axis] == length:
            continue
        # The filter works along one axis at a time, so every rank is a stack of images resized along their height; the
        # last axis is resized as a width, because PyTorch 2.13 returns wrong values for images that are 1 wide.
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        if after == 1:
            flat, target = inputs.reshape(1, 1, before, shape[axis]), (before, length)
        else:
            flat, target = inputs.reshape(1, before, shape[axis], after), (length, after)
        flat = F.interpolate(flat, target, mode=method, antialias=True)
        inputs = flat.reshape(*shape[:axis], length, *shape[axis + 1 :])
    return inputs
