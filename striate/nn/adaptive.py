"""Pools over the whole of each axis as layers: to a given output size, or to one value, in every rank.

The adaptive ones *are* torch's classes to `isinstance`; all compute through `striate.ops`. Inputs are (N, C, *spatial)
or unbatched (C, *spatial).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from striate import ops
from striate.geometry import check_adaptive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class _AdaptivePool(nn.Module):
    spatial_dims: ClassVar[int]
    output_size: Any

    def _set_output_size(self, output_size: int | Sequence[int | None]) -> None:
        nn.Module.__init__(self)
        self.output_size = output_size
        check_adaptive((1, 1) + (1,) * self.spatial_dims, output_size, self.spatial_dims)


class _AdaptiveMaxPool(_AdaptivePool):
    return_indices: bool

    def __init__(self, output_size: int | Sequence[int | None], return_indices: bool = False) -> None:
        self._set_output_size(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Pool; with ``return_indices`` also say where the maxima were."""
        return ops.adaptive_max_pool(input, self.output_size, self.return_indices, spatial_dims=self.spatial_dims)


class _AdaptiveAvgPool(_AdaptivePool):
    def __init__(self, output_size: int | Sequence[int | None]) -> None:
        self._set_output_size(output_size)

    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return ops.adaptive_avg_pool(input, self.output_size, spatial_dims=self.spatial_dims)


class _GlobalPool(nn.Module):
    spatial_dims: ClassVar[int]

    def __init__(self, keepdim: bool = True) -> None:
        super().__init__()
        self.keepdim = keepdim

    def extra_repr(self) -> str:
        """Whether axes of size 1 are kept."""
        return f"keepdim={self.keepdim}"


class _GlobalAvgPool(_GlobalPool):
    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return ops.global_avg_pool(input, keepdim=self.keepdim, spatial_dims=self.spatial_dims)


class _GlobalMaxPool(_GlobalPool):
    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return ops.global_max_pool(input, keepdim=self.keepdim, spatial_dims=self.spatial_dims)


class _GlobalSumPool(_GlobalPool):
    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return ops.global_sum_pool(input, keepdim=self.keepdim, spatial_dims=self.spatial_dims)


class AdaptiveMaxPool1d(_AdaptiveMaxPool, nn.AdaptiveMaxPool1d):
    """Maxima over ``output_size`` parts of each axis, of signals; see `striate.ops.adaptive_max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AdaptiveMaxPool1d(3)(torch.ones(1, 4, 6)).shape
    torch.Size([1, 4, 3])
    """

    spatial_dims = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool, nn.AdaptiveMaxPool2d):
    """Maxima over ``output_size`` parts of each axis, of images; see `striate.ops.adaptive_max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AdaptiveMaxPool2d(3)(torch.ones(1, 4, 6, 6)).shape
    torch.Size([1, 4, 3, 3])
    """

    spatial_dims = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool, nn.AdaptiveMaxPool3d):
    """Maxima over ``output_size`` parts of each axis, of volumes; see `striate.ops.adaptive_max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AdaptiveMaxPool3d(3)(torch.ones(1, 4, 6, 6, 6)).shape
    torch.Size([1, 4, 3, 3, 3])
    """

    spatial_dims = 3


class AdaptiveAvgPool1d(_AdaptiveAvgPool, nn.AdaptiveAvgPool1d):
    """Means over ``output_size`` parts of each axis, of signals; see `striate.ops.adaptive_avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AdaptiveAvgPool1d(3)(torch.ones(1, 4, 6)).shape
    torch.Size([1, 4, 3])
    """

    spatial_dims = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool, nn.AdaptiveAvgPool2d):
    """Means over ``output_size`` parts of each axis, of images; see `striate.ops.adaptive_avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AdaptiveAvgPool2d(3)(torch.ones(1, 4, 6, 6)).shape
    torch.Size([1, 4, 3, 3])
    """

    spatial_dims = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool, nn.AdaptiveAvgPool3d):
    """Means over ``output_size`` parts of each axis, of volumes; see `striate.ops.adaptive_avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AdaptiveAvgPool3d(3)(torch.ones(1, 4, 6, 6, 6)).shape
    torch.Size([1, 4, 3, 3, 3])
    """

    spatial_dims = 3


class GlobalAvgPool1d(_GlobalAvgPool):
    """The mean over all positions, of signals; see `striate.ops.global_avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalAvgPool1d()(torch.ones(1, 4, 5)).shape
    torch.Size([1, 4, 1])
    """

    spatial_dims = 1


class GlobalAvgPool2d(_GlobalAvgPool):
    """The mean over all positions, of images; see `striate.ops.global_avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalAvgPool2d()(torch.ones(1, 4, 5, 5)).shape
    torch.Size([1, 4, 1, 1])
    """

    spatial_dims = 2


class GlobalAvgPool3d(_GlobalAvgPool):
    """The mean over all positions, of volumes; see `striate.ops.global_avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalAvgPool3d()(torch.ones(1, 4, 5, 5, 5)).shape
    torch.Size([1, 4, 1, 1, 1])
    """

    spatial_dims = 3


class GlobalMaxPool1d(_GlobalMaxPool):
    """The maximum over all positions, of signals; see `striate.ops.global_max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalMaxPool1d()(torch.ones(1, 4, 5)).shape
    torch.Size([1, 4, 1])
    """

    spatial_dims = 1


class GlobalMaxPool2d(_GlobalMaxPool):
    """The maximum over all positions, of images; see `striate.ops.global_max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalMaxPool2d()(torch.ones(1, 4, 5, 5)).shape
    torch.Size([1, 4, 1, 1])
    """

    spatial_dims = 2


class GlobalMaxPool3d(_GlobalMaxPool):
    """The maximum over all positions, of volumes; see `striate.ops.global_max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalMaxPool3d()(torch.ones(1, 4, 5, 5, 5)).shape
    torch.Size([1, 4, 1, 1, 1])
    """

    spatial_dims = 3


class GlobalSumPool1d(_GlobalSumPool):
    """The sum over all positions, of signals; see `striate.ops.global_sum_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalSumPool1d()(torch.ones(1, 4, 5)).shape
    torch.Size([1, 4, 1])
    """

    spatial_dims = 1


class GlobalSumPool2d(_GlobalSumPool):
    """The sum over all positions, of images; see `striate.ops.global_sum_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalSumPool2d()(torch.ones(1, 4, 5, 5)).shape
    torch.Size([1, 4, 1, 1])
    """

    spatial_dims = 2


class GlobalSumPool3d(_GlobalSumPool):
    """The sum over all positions, of volumes; see `striate.ops.global_sum_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> GlobalSumPool3d()(torch.ones(1, 4, 5, 5, 5)).shape
    torch.Size([1, 4, 1, 1, 1])
    """

    spatial_dims = 3
