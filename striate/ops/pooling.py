"""Pools with sliding windows, and the undoing of a max pool, in every rank and with every padding.

The rank is ``spatial_dims``, else the length of a ``kernel_size`` given per axis, else that of an input
``(N, C, *spatial)``. torch's own pools do the work. They know only padding that is equal on both sides and at most half
a window; for all other padding the input is padded first, so that every window is whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import torch
from torch.nn import functional as F

from striate import geometry
from striate.errors import GeometryError
from striate.ops.checking import remembered
from striate.ops.padding import extend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.geometry import Axes, Padding, Pads, Size, Window

_check_pooling = remembered(geometry.check_pooling)
_check_unpool = remembered(geometry.check_unpool)


def _max_pool1d(input: Tensor, *window: Any) -> Tensor:
    # torch's own nails an exported graph to the size it was traced with; the one with indices does not.
    if torch.compiler.is_compiling():
        return F.max_pool1d_with_indices(input, *window)[0]
    return torch.max_pool1d(input, *window)


_MAX = {1: _max_pool1d, 2: torch.max_pool2d, 3: torch.max_pool3d}
_MAX_WITH_INDICES = {1: F.max_pool1d_with_indices, 2: F.max_pool2d_with_indices, 3: F.max_pool3d_with_indices}


@overload
def max_pool(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    dilation: Axes = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    spatial_dims: int | None = None,
) -> Tensor: ...
@overload
def max_pool(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None,
    padding: Padding,
    dilation: Axes,
    ceil_mode: bool,
    return_indices: bool,
    *,
    spatial_dims: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]: ...
@overload
def max_pool(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    dilation: Axes = 1,
    ceil_mode: bool = False,
    *,
    return_indices: bool,
    spatial_dims: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]: ...
def max_pool(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    dilation: Axes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    spatial_dims: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value of each window of ``(N, C, *spatial)`` or ``(C, *spatial)``; padding never wins.

    With ``return_indices`` also where it was: the flat index into the spatial axes of the unpadded input, as
    `max_unpool` wants it. Raises `GeometryError`.

    >>> max_pool(torch.tensor([[[1.0, 5.0, 2.0, 4.0, 3.0]]]), 2, padding="same")
    tensor([[[5., 4., 3.]]])
    """
    window, pads, _ = _check_pooling(input.shape, kernel_size, stride, padding, dilation, ceil_mode, spatial_dims, None)
    pool = (_MAX_WITH_INDICES if return_indices else _MAX)[window.spatial_dims]
    own = _padding_of_torch(pads, window)
    if own is not None:
        return cast("Tensor", pool(input, window.kernel_size, window.stride, own, window.dilation, ceil_mode))
    size = input.shape[input.dim() - window.spatial_dims :]
    whole = window.whole(size, ceil_mode=ceil_mode)
    lowest = -math.inf if input.is_floating_point() else torch.iinfo(input.dtype).min
    padded = extend(input, whole, "constant", lowest)
    pooled = pool(padded, window.kernel_size, window.stride, (0,) * len(size), window.dilation)
    if not return_indices:
        return cast("Tensor", pooled)
    values, indices = pooled
    return values, _without_padding(indices, size, whole)


def avg_pool(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    spatial_dims: int | None = None,
) -> Tensor:
    """The mean of each window of ``(N, C, *spatial)`` or ``(C, *spatial)``.

    Padding counts as zeros, or, without ``count_include_pad``, not at all; ``divisor_override`` replaces the number
    that is divided by. What a last window of ``ceil_mode`` has beyond the padding never counts. Raises `GeometryError`.

    >>> avg_pool(torch.tensor([[[1.0, 5.0, 2.0, 4.0, 3.0]]]), 2, padding="same", count_include_pad=False)
    tensor([[[3., 3., 3.]]])
    """
    window, pads, output = _check_pooling(
        input.shape, kernel_size, stride, padding, 1, ceil_mode, spatial_dims, divisor_override
    )
    own = _padding_of_torch(pads, window)
    size = input.shape[input.dim() - window.spatial_dims :]
    if own is not None and window.spatial_dims == 1 and divisor_override is None:
        return torch.avg_pool1d(input, window.kernel_size, window.stride, own, ceil_mode, count_include_pad)
    if own is not None and window.spatial_dims == 2:
        return F.avg_pool2d(
            input, window.kernel_size, window.stride, own, ceil_mode, count_include_pad, divisor_override
        )
    # torch's 3-D gradient refuses an input smaller than the kernel, padded or not.
    if (
        own is not None
        and window.spatial_dims == 3
        and all(n >= k for n, k in zip(size, window.kernel_size, strict=True))
    ):
        return F.avg_pool3d(
            input, window.kernel_size, window.stride, own, ceil_mode, count_include_pad, divisor_override
        )
    sums = _sums(input, window, ceil_mode)
    if divisor_override is not None:
        return sums / divisor_override
    counted = pads if count_include_pad else ((0, 0),) * len(pads)
    return sums / _counts(window, pads, counted, size, output, sums)


def sum_pool(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    *,
    spatial_dims: int | None = None,
) -> Tensor:
    """The sum of each window of ``(N, C, *spatial)`` or ``(C, *spatial)``. Raises `GeometryError`.

    >>> sum_pool(torch.tensor([[[1.0, 5.0, 2.0, 4.0, 3.0]]]), 2, ceil_mode=True)
    tensor([[[6., 6., 3.]]])
    """
    window, _, _ = _check_pooling(input.shape, kernel_size, stride, padding, 1, ceil_mode, spatial_dims, None)
    return _sums(input, window, ceil_mode)


def lp_pool(
    input: Tensor,
    norm_type: float,
    kernel_size: Axes,
    stride: Axes | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    spatial_dims: int | None = None,
) -> Tensor:
    """The power sum ``(sum of x ** p) ** (1 / p)`` of each window, with p = ``norm_type``.

    Input ``(N, C, *spatial)`` or ``(C, *spatial)``. As in torch, an infinite p takes the largest (or smallest)
    magnitude, the gradient is zero where the sum is, and a last window of ``ceil_mode`` that hangs over the end is
    scaled up to a whole one. Where an odd p leaves a negative sum the root keeps its sign. Padding adds nothing.
    Raises `GeometryError`.

    >>> lp_pool(torch.tensor([[[3.0, 4.0, 6.0, 8.0]]]), 2, kernel_size=2)
    tensor([[[ 5., 10.]]])
    """
    if not isinstance(norm_type, int | float) or norm_type == 0 or math.isnan(norm_type):
        raise GeometryError(
            "norm_type to be a number other than 0", f"norm_type={norm_type!r}", "Use 1 for sums, 2 for the usual norm."
        )
    if math.isinf(norm_type):
        sign = 1 if norm_type > 0 else -1
        extremes = max_pool(sign * input.abs(), kernel_size, stride, padding, 1, ceil_mode, spatial_dims=spatial_dims)
        return sign * extremes
    means = avg_pool(input.pow(norm_type), kernel_size, stride, padding, ceil_mode, spatial_dims=spatial_dims)
    rank = geometry.operator_rank(input.shape, spatial_dims, kernel_size, stride)
    sums = means * math.prod(geometry.per_axis("kernel_size", kernel_size, rank))
    if norm_type == 1:
        return sums
    empty = sums == 0
    # The root's slope is infinite at zero: it is taken of one there, and what comes of it is thrown away.
    root = torch.where(empty, 1, sums).abs().pow(1 / norm_type) * sums.sign()
    return torch.where(empty, 0 if norm_type > 0 else math.inf, root)


def max_unpool(
    input: Tensor,
    indices: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
    *,
    spatial_dims: int | None = None,
) -> Tensor:
    """Put each value back where `max_pool` found it, with zeros elsewhere.

    ``input`` and ``indices`` are the two results of `max_pool` with ``return_indices`` and have one shape;
    ``output_size``, spatial or the whole shape, is what was pooled, where the window alone leaves it open. Raises
    `GeometryError`.

    >>> pooled, indices = max_pool(torch.tensor([[[1.0, 5.0, 2.0, 4.0]]]), 2, return_indices=True)
    >>> max_unpool(pooled, indices, 2)
    tensor([[[0., 5., 0., 4.]]])
    """
    size = _check_unpool(input.shape, indices.shape, kernel_size, stride, padding, output_size, spatial_dims)
    planes = input.shape[: input.dim() - len(size)]
    flat = input.new_zeros((*planes, math.prod(size)))
    return flat.scatter(-1, indices.flatten(len(planes)), input.flatten(len(planes))).view(*planes, *size)


def _padding_of_torch(pads: Pads, window: Window) -> Size | None:
    """The padding as torch's pools take it, or None where they do not."""
    for (before, after), kernel in zip(pads, window.kernel_size, strict=True):
        if before != after or 2 * before > kernel:
            return None
    return tuple(before for before, _ in pads)


def _sums(input: Tensor, window: Window, ceil_mode: bool) -> Tensor:
    size = input.shape[input.dim() - window.spatial_dims :]
    padded = extend(input, window.whole(size, ceil_mode=ceil_mode))
    if window.spatial_dims == 3:
        return F.avg_pool3d(padded, window.kernel_size, window.stride, divisor_override=1)
    if window.spatial_dims == 2:
        return F.avg_pool2d(padded, window.kernel_size, window.stride, divisor_override=1)
    # torch's 1-D average takes no divisor, so one axis is pooled as two of which the first has size 1.
    sums = F.avg_pool2d(padded.unsqueeze(-2), (1, *window.kernel_size), (1, *window.stride), divisor_override=1)
    return sums.squeeze(-2)


def _counts(window: Window, pads: Pads, counted: Pads, size: Size, output: Size, like: Tensor) -> Tensor:
    """How many positions of each window lie in the input or its ``counted`` padding, shaped to divide by."""
    counts = like.new_ones(())
    for (before, _), (left, right), length, count, kernel, stride in zip(
        pads, counted, size, output, window.kernel_size, window.stride, strict=True
    ):
        first = torch.arange(count, device=like.device, dtype=like.dtype) * stride - before
        inside = (first + kernel).clamp(max=length + right) - first.clamp(min=-left)
        counts = counts.unsqueeze(-1) * inside
    return counts


def _without_padding(indices: Tensor, size: Size, pads: Pads) -> Tensor:
    """Turn flat indices into the padded input to flat indices into the input itself."""
    flat, step = torch.zeros_like(indices), 1
    for length, (before, after) in zip(reversed(size), reversed(pads), strict=True):
        wide = before + length + after
        # Where a window holds nothing but -inf the padding's -inf may be the one that was found.
        flat = flat + (indices % wide - before).clamp(0, length - 1) * step
        indices, step = indices // wide, step * length
    return flat
