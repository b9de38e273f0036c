"""How tensors lie in memory: channels last or contiguous, in every rank, and what torch's rules make of strides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def suggests_channels_last(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a tensor ``(N, C, *spatial)`` asks for a channels-last output: torch's rule, and the same in 1-D.

    The strides decide where an axis is 1 long and both layouts would do; if even they fit both, it is contiguous. The
    tensor need not be dense: a slice of a channels-last tensor counts as one.

    >>> suggests_channels_last((2, 3, 4, 5), (60, 1, 15, 3)), suggests_channels_last((2, 3, 4, 5), (60, 20, 5, 1))
    (True, False)
    """
    if strides[1] == 0:
        return False
    least = 0
    for axis in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[axis] == 0 or strides[axis] < least or (axis == 0 and least == strides[1]):
            return False
        least = strides[axis] * shape[axis] if shape[axis] > 1 else strides[axis]
    return True


def dense_strides(shape: Sequence[int], channels_last: bool) -> tuple[int, ...]:
    """The strides of a dense tensor ``(N, C, *spatial)`` of either layout.

    >>> dense_strides((2, 3, 4, 5), True)
    (60, 1, 15, 3)
    """
    order = (1, *range(len(shape) - 1, 1, -1), 0) if channels_last else range(len(shape) - 1, -1, -1)
    strides, step = [0] * len(shape), 1
    for axis in order:
        strides[axis] = step
        step = step * max(shape[axis], 1) if isinstance(shape[axis], int) else step * shape[axis]
    return tuple(strides)


def fits(shape: Sequence[int], strides: Sequence[int], channels_last: bool) -> bool:
    """Whether a tensor lies densely in a layout. Strides of axes that are 1 long do not matter."""
    wanted = dense_strides(shape, channels_last)
    return all(size == 1 or a == b for size, a, b in zip(shape, strides, wanted, strict=True))


def densified(tensor: Tensor, channels_last: bool) -> Tensor:
    """The tensor itself if it lies densely in a layout, else a copy that does."""
    if not channels_last:
        return tensor.contiguous()
    if tensor.dim() == 3:  # torch has no name for channels last in 1-D
        return tensor.transpose(1, 2).contiguous().transpose(1, 2)
    return tensor.contiguous(memory_format=_MEMORY_FORMATS[tensor.dim()])


def is_permuted_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a tensor fills its memory without gaps or overlaps, in whatever order of its axes.

    >>> is_permuted_dense((4, 3, 2), (1, 8, 4)), is_permuted_dense((4, 3, 2), (8, 2, 1))
    (True, False)
    """
    step = 1
    for stride, size in sorted((stride, size) for stride, size in zip(strides, shape, strict=True) if size != 1):
        if stride != step:
            return False
        step *= size
    return math.prod(shape) > 0


def like(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """The strides of a gradient: those of its tensor if that is dense, else contiguous ones."""
    return tuple(strides) if is_permuted_dense(shape, strides) else dense_strides(shape, False)
