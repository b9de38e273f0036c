"""Pools over the whole of each axis: to a given output size, or to one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from torch.nn import functional as F

from striate import geometry
from striate.ops.checking import remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

_check_adaptive = remembered(geometry.check_adaptive)

_AVG: dict[int, Callable[..., Tensor]] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_MAX: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    1: F.adaptive_max_pool1d_with_indices,
    2: F.adaptive_max_pool2d_with_indices,
    3: F.adaptive_max_pool3d_with_indices,
}


def adaptive_avg_pool(
    input: Tensor, output_size: int | Sequence[int | None] | None, *, spatial_dims: int | None = None
) -> Tensor:
    """Means over windows that divide each axis of ``(N, C, *spatial)`` or ``(C, *spatial)`` into ``output_size`` parts.

    Part ``o`` of an axis of size ``n`` runs from ``floor(o * n / output_size)`` to ``ceil((o + 1) * n / output_size)``;
    None keeps an axis as it is. The rank is ``spatial_dims``, else the length of ``output_size``, else the input's.
    Raises `GeometryError`.

    >>> import torch
    >>> adaptive_avg_pool(torch.arange(1.0, 6.0).view(1, 1, 5), 2)
    tensor([[[2., 4.]]])
    """
    size = _check_adaptive(input.shape, output_size, spatial_dims)
    return _AVG[len(size)](input, size)


@overload
def adaptive_max_pool(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: Literal[False] = False,
    *,
    spatial_dims: int | None = None,
) -> Tensor: ...
@overload
def adaptive_max_pool(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool,
    *,
    spatial_dims: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]: ...
def adaptive_max_pool(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
    *,
    spatial_dims: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Maxima over the windows of `adaptive_avg_pool`, and where they were with ``return_indices``.

    Raises `GeometryError`.

    >>> import torch
    >>> adaptive_max_pool(torch.arange(1.0, 6.0).view(1, 1, 5), 2)
    tensor([[[3., 5.]]])
    """
    size = _check_adaptive(input.shape, output_size, spatial_dims)
    values, indices = _MAX[len(size)](input, size)
    return (values, indices) if return_indices else values


def global_avg_pool(input: Tensor, *, spatial_dims: int | None = None, keepdim: bool = True) -> Tensor:
    """The mean over all positions of ``(N, C, *spatial)``: ``(N, C, 1, ...)``, or ``(N, C)`` without ``keepdim``.

    An unbatched input needs ``spatial_dims``. Raises `GeometryError`.

    >>> import torch
    >>> global_avg_pool(torch.arange(4.0).view(1, 1, 2, 2), keepdim=False)
    tensor([[1.5000]])
    """
    return input.mean(_positions(input, spatial_dims), keepdim=keepdim)


def global_max_pool(input: Tensor, *, spatial_dims: int | None = None, keepdim: bool = True) -> Tensor:
    """The maximum over all positions, shaped as `global_avg_pool` does; equal maxima share the gradient.

    Raises `GeometryError`.

    >>> import torch
    >>> global_max_pool(torch.arange(4.0).view(1, 1, 2, 2), keepdim=False)
    tensor([[3.]])
    """
    return input.amax(_positions(input, spatial_dims), keepdim=keepdim)


def global_sum_pool(input: Tensor, *, spatial_dims: int | None = None, keepdim: bool = True) -> Tensor:
    """The sum over all positions, shaped as `global_avg_pool` does. Raises `GeometryError`.

    >>> import torch
    >>> global_sum_pool(torch.arange(4.0).view(1, 1, 2, 2), keepdim=False)
    tensor([[6.]])
    """
    return input.sum(_positions(input, spatial_dims), keepdim=keepdim)


def _positions(input: Tensor, spatial_dims: int | None) -> tuple[int, ...]:
    rank = geometry.operator_rank(input.shape, spatial_dims)
    geometry.spatial_size(input.shape, rank)
    return tuple(range(-rank, 0))
