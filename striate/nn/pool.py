"""Pools with sliding windows as layers, in every rank, and the choice of any pool by rank.

Those that torch has *are* torch's classes to `isinstance`, with the same arguments; all compute through `striate.ops`,
and windows take every padding that `striate.geometry` knows. The behaviour is written once in mixins; the classes below
them only name the rank. Inputs are (N, C, *spatial) or unbatched (C, *spatial).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from striate import ops
from striate.errors import GeometryError, did_you_mean
from striate.geometry import Axes, Padding, Window, check_pooling, check_spatial_dims
from striate.nn.adaptive import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GlobalAvgPool3d,
    GlobalMaxPool1d,
    GlobalMaxPool2d,
    GlobalMaxPool3d,
    GlobalSumPool1d,
    GlobalSumPool2d,
    GlobalSumPool3d,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


class _WindowPool(nn.Module):
    """A pool with a sliding window, whose arguments are checked at construction and kept as torch keeps them."""

    spatial_dims: ClassVar[int]
    # Any, because torch declares narrower types than are kept here.
    kernel_size: Any
    stride: Any
    padding: Any
    dilation: Any
    ceil_mode: bool

    def _set_window(
        self,
        kernel_size: Axes,
        stride: Axes | None,
        padding: Padding,
        dilation: Axes = 1,
        *,
        ceil_mode: bool,
        divisor_override: int | None = None,
    ) -> None:
        # Not super().__init__: torch's constructors know neither words nor pairs, and store exactly this.
        nn.Module.__init__(self)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode
        # An input as large as one window fits any pool that makes sense.
        extent = Window.of(self.spatial_dims, kernel_size, dilation=dilation).effective_kernel_size
        check_pooling(
            (1, 1, *extent), kernel_size, stride, padding, dilation, ceil_mode, self.spatial_dims, divisor_override
        )


class _MaxPool(_WindowPool):
    return_indices: bool

    def __init__(
        self,
        kernel_size: Axes,
        stride: Axes | None = None,
        padding: Padding = 0,
        dilation: Axes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self._set_window(kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Pool; with ``return_indices`` also say where the maxima were."""
        return ops.max_pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
            spatial_dims=self.spatial_dims,
        )


class _AvgPool(_WindowPool):
    def __init__(
        self,
        kernel_size: Axes,
        stride: Axes | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._set_window(kernel_size, stride, padding, ceil_mode=ceil_mode, divisor_override=divisor_override)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return ops.avg_pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            spatial_dims=self.spatial_dims,
        )


class _SumPool(_WindowPool):
    def __init__(
        self, kernel_size: Axes, stride: Axes | None = None, padding: Padding = 0, ceil_mode: bool = False
    ) -> None:
        self._set_window(kernel_size, stride, padding, ceil_mode=ceil_mode)

    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return ops.sum_pool(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, spatial_dims=self.spatial_dims
        )

    def extra_repr(self) -> str:
        """The window, as torch shows those of its pools."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _LPPool(_WindowPool):
    norm_type: float

    def __init__(
        self,
        norm_type: float,
        kernel_size: Axes,
        stride: Axes | None = None,
        ceil_mode: bool = False,
        *,
        padding: Padding = 0,
    ) -> None:
        self._set_window(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.stride = stride  # torch keeps None here
        self.norm_type = norm_type

    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return ops.lp_pool(
            input,
            self.norm_type,
            self.kernel_size,
            self.stride,
            self.ceil_mode,
            padding=self.padding,
            spatial_dims=self.spatial_dims,
        )


class _MaxUnpool(nn.Module):
    spatial_dims: ClassVar[int]
    kernel_size: Any
    stride: Any
    padding: Any

    def __init__(self, kernel_size: Axes, stride: Axes | None = None, padding: Padding = 0) -> None:
        nn.Module.__init__(self)
        window = Window.of(self.spatial_dims, kernel_size, kernel_size if stride is None else stride, padding)
        self.kernel_size, self.stride, self.padding = window.kernel_size, window.stride, padding

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Put the values back where the indices say."""
        return ops.max_unpool(
            input, indices, self.kernel_size, self.stride, self.padding, output_size, spatial_dims=self.spatial_dims
        )


class MaxPool1d(_MaxPool, nn.MaxPool1d):
    """The largest value of each window; padding never wins, of signals; see `striate.ops.max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> MaxPool1d(2)(torch.ones(1, 4, 4)).shape
    torch.Size([1, 4, 2])
    """

    spatial_dims = 1


class MaxPool2d(_MaxPool, nn.MaxPool2d):
    """The largest value of each window; padding never wins, of images; see `striate.ops.max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> MaxPool2d(2)(torch.ones(1, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2])
    """

    spatial_dims = 2


class MaxPool3d(_MaxPool, nn.MaxPool3d):
    """The largest value of each window; padding never wins, of volumes; see `striate.ops.max_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> MaxPool3d(2)(torch.ones(1, 4, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2, 2])
    """

    spatial_dims = 3


class AvgPool1d(_AvgPool, nn.AvgPool1d):
    """The mean of each window, of signals; see `striate.ops.avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AvgPool1d(2)(torch.ones(1, 4, 4)).shape
    torch.Size([1, 4, 2])
    """

    spatial_dims = 1


class AvgPool2d(_AvgPool, nn.AvgPool2d):
    """The mean of each window, of images; see `striate.ops.avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AvgPool2d(2)(torch.ones(1, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2])
    """

    spatial_dims = 2


class AvgPool3d(_AvgPool, nn.AvgPool3d):
    """The mean of each window, of volumes; see `striate.ops.avg_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> AvgPool3d(2)(torch.ones(1, 4, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2, 2])
    """

    spatial_dims = 3


class SumPool1d(_SumPool):
    """The sum of each window, of signals; see `striate.ops.sum_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> SumPool1d(2)(torch.ones(1, 4, 4)).shape
    torch.Size([1, 4, 2])
    """

    spatial_dims = 1


class SumPool2d(_SumPool):
    """The sum of each window, of images; see `striate.ops.sum_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> SumPool2d(2)(torch.ones(1, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2])
    """

    spatial_dims = 2


class SumPool3d(_SumPool):
    """The sum of each window, of volumes; see `striate.ops.sum_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> SumPool3d(2)(torch.ones(1, 4, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2, 2])
    """

    spatial_dims = 3


class LPPool1d(_LPPool, nn.LPPool1d):
    """The p-norm of each window, p being ``norm_type``, of signals; see `striate.ops.lp_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> LPPool1d(2, 2)(torch.ones(1, 4, 4)).shape
    torch.Size([1, 4, 2])
    """

    spatial_dims = 1


class LPPool2d(_LPPool, nn.LPPool2d):
    """The p-norm of each window, p being ``norm_type``, of images; see `striate.ops.lp_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> LPPool2d(2, 2)(torch.ones(1, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2])
    """

    spatial_dims = 2


class LPPool3d(_LPPool, nn.LPPool3d):
    """The p-norm of each window, p being ``norm_type``, of volumes; see `striate.ops.lp_pool`.

    Raises `GeometryError`.

    >>> import torch
    >>> LPPool3d(2, 2)(torch.ones(1, 4, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2, 2])
    """

    spatial_dims = 3


class MaxUnpool1d(_MaxUnpool, nn.MaxUnpool1d):
    """Puts back what `MaxPool1d` with ``return_indices`` found; see `striate.ops.max_unpool`.

    Raises `GeometryError`.

    >>> import torch
    >>> MaxUnpool1d(2)(*MaxPool1d(2, return_indices=True)(torch.ones(1, 4, 4))).shape
    torch.Size([1, 4, 4])
    """

    spatial_dims = 1


class MaxUnpool2d(_MaxUnpool, nn.MaxUnpool2d):
    """Puts back what `MaxPool2d` with ``return_indices`` found; see `striate.ops.max_unpool`.

    Raises `GeometryError`.

    >>> import torch
    >>> MaxUnpool2d(2)(*MaxPool2d(2, return_indices=True)(torch.ones(1, 4, 4, 4))).shape
    torch.Size([1, 4, 4, 4])
    """

    spatial_dims = 2


class MaxUnpool3d(_MaxUnpool, nn.MaxUnpool3d):
    """Puts back what `MaxPool3d` with ``return_indices`` found; see `striate.ops.max_unpool`.

    Raises `GeometryError`.

    >>> import torch
    >>> MaxUnpool3d(2)(*MaxPool3d(2, return_indices=True)(torch.ones(1, 4, 4, 4, 4))).shape
    torch.Size([1, 4, 4, 4, 4])
    """

    spatial_dims = 3


_KINDS: dict[str, tuple[Callable[..., nn.Module], ...]] = {
    "max": (MaxPool1d, MaxPool2d, MaxPool3d),
    "avg": (AvgPool1d, AvgPool2d, AvgPool3d),
    "sum": (SumPool1d, SumPool2d, SumPool3d),
    "lp": (LPPool1d, LPPool2d, LPPool3d),
    "adaptive_max": (AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d),
    "adaptive_avg": (AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d),
    "global_avg": (GlobalAvgPool1d, GlobalAvgPool2d, GlobalAvgPool3d),
    "global_max": (GlobalMaxPool1d, GlobalMaxPool2d, GlobalMaxPool3d),
    "global_sum": (GlobalSumPool1d, GlobalSumPool2d, GlobalSumPool3d),
    "max_unpool": (MaxUnpool1d, MaxUnpool2d, MaxUnpool3d),
}


def pool_class(kind: str, spatial_dims: int) -> Callable[..., nn.Module]:
    """The pool of a kind and rank, so that a model is written once.

    ``kind`` is max, avg, sum, lp, adaptive_max, adaptive_avg, global_avg, global_max, global_sum or max_unpool. Raises
    `GeometryError`.

    >>> pool_class("max", 3)(2)
    MaxPool3d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
    """
    check_spatial_dims(spatial_dims)
    if kind not in _KINDS:
        raise GeometryError(f"the kind of a pool: {', '.join(_KINDS)}", f"{kind!r}", did_you_mean(kind, _KINDS))
    return _KINDS[kind][spatial_dims - 1]
