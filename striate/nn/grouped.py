"""Convolutions that save weights by what they leave out: grouped, depthwise and pointwise.

All of them are convolutions of `striate.nn.conv` (and so of torch) with some arguments fixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.errors import GeometryError
from striate.geometry import Axes, Padding, check_groups, check_spatial_dims
from striate.nn.conv import Conv1d, Conv2d, Conv3d, PaddingMode, _Convolution

if TYPE_CHECKING:
    import torch


class _Grouped(_Convolution):
    """A convolution in groups, of any rank; see `GroupedConv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes,
        groups: int,
        stride: Axes = 1,
        padding: Padding = 0,
        dilation: Axes = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        padding_value: float = 0.0,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            padding_value=padding_value,
        )


class GroupedConv1d(_Grouped, Conv1d):
    """Convolution of signals in groups of channels. Arguments and errors as `GroupedConv2d`.

    >>> GroupedConv1d(4, 8, 3, groups=2).weight.shape
    torch.Size([8, 2, 3])
    """


class GroupedConv2d(_Grouped, Conv2d):
    """Convolution of images in groups: every output sees only the ``in_channels / groups`` channels of its group.

    A `Conv2d` for which ``groups`` must be given. Source: Krizhevsky, Sutskever and Hinton 2012, section 3.5. Raises
    `GeometryError`, also if the channels cannot be divided.

    >>> GroupedConv2d(4, 8, 3, groups=4).weight.shape
    torch.Size([8, 1, 3, 3])
    """


class GroupedConv3d(_Grouped, Conv3d):
    """Convolution of volumes in groups of channels. Arguments and errors as `GroupedConv2d`.

    >>> GroupedConv3d(4, 2, 3, groups=2).weight.shape
    torch.Size([2, 2, 3, 3, 3])
    """


class _Depthwise(_Convolution):
    """A depthwise convolution of any rank; see `DepthwiseConv2d`."""

    def __init__(
        self,
        in_channels: int,
        kernel_size: Axes,
        multiplier: int = 1,
        stride: Axes = 1,
        padding: Padding = 0,
        dilation: Axes = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        padding_value: float = 0.0,
    ) -> None:
        check_groups(in_channels, in_channels, 1)
        super().__init__(
            in_channels,
            in_channels * check_multiplier(multiplier),
            kernel_size,
            stride,
            padding,
            dilation,
            in_channels,
            bias,
            padding_mode,
            device,
            dtype,
            padding_value=padding_value,
        )

    @property
    def multiplier(self) -> int:
        """How many filters every input channel has."""
        return self.out_channels // self.in_channels


class DepthwiseConv1d(_Depthwise, Conv1d):
    """Convolution of every channel of a signal by itself. Arguments and errors as `DepthwiseConv2d`.

    >>> import torch
    >>> DepthwiseConv1d(3, 5, padding="causal")(torch.zeros(1, 3, 9)).shape
    torch.Size([1, 3, 9])
    """


class DepthwiseConv2d(_Depthwise, Conv2d):
    """Convolution of every channel of an image by itself, (N, C, H, W) -> (N, C * multiplier, H_out, W_out).

    A `Conv2d` with one group per channel; the outputs of a channel are neighbours. Raises `GeometryError`.

    >>> layer = DepthwiseConv2d(3, kernel_size=3, multiplier=2)
    >>> layer.weight.shape, layer.groups
    (torch.Size([6, 1, 3, 3]), 3)
    """


class DepthwiseConv3d(_Depthwise, Conv3d):
    """Convolution of every channel of a volume by itself. Arguments and errors as `DepthwiseConv2d`.

    >>> import torch
    >>> DepthwiseConv3d(2, 3, padding="same")(torch.zeros(1, 2, 4, 4, 4)).shape
    torch.Size([1, 2, 4, 4, 4])
    """


class _Pointwise(_Convolution):
    """A pointwise convolution of any rank; see `PointwiseConv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: Axes = 1,
        groups: int = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, 1, stride, 0, 1, groups, bias, device=device, dtype=dtype)


class PointwiseConv1d(_Pointwise, Conv1d):
    """Mixes the channels of a signal at every position by itself. Arguments and errors as `PointwiseConv2d`.

    >>> import torch
    >>> PointwiseConv1d(3, 8)(torch.zeros(1, 3, 9)).shape
    torch.Size([1, 8, 9])
    """


class PointwiseConv2d(_Pointwise, Conv2d):
    """Mixes the channels of an image at every position by itself: a `Conv2d` with a 1x1 kernel.

    Source: Lin, Chen and Yan, Network in Network, 2014. Raises `GeometryError`.

    >>> PointwiseConv2d(3, 8).weight.shape
    torch.Size([8, 3, 1, 1])
    """


class PointwiseConv3d(_Pointwise, Conv3d):
    """Mixes the channels of a volume at every position by itself. Arguments and errors as `PointwiseConv2d`.

    >>> PointwiseConv3d(3, 8).weight.shape
    torch.Size([8, 3, 1, 1, 1])
    """


def check_multiplier(multiplier: int) -> int:
    """Return ``multiplier`` if it is a positive integer; raises `GeometryError` otherwise."""
    if not isinstance(multiplier, int) or isinstance(multiplier, bool) or multiplier < 1:
        raise GeometryError(
            "multiplier to be a positive integer", f"multiplier={multiplier!r}", "Use 1 for one filter per channel."
        )
    return multiplier


def grouped_conv_class(spatial_dims: int) -> type[GroupedConv1d] | type[GroupedConv2d] | type[GroupedConv3d]:
    """The grouped convolution of a rank. Raises `GeometryError`.

    >>> grouped_conv_class(2).__name__
    'GroupedConv2d'
    """
    return (GroupedConv1d, GroupedConv2d, GroupedConv3d)[check_spatial_dims(spatial_dims) - 1]


def depthwise_conv_class(spatial_dims: int) -> type[DepthwiseConv1d] | type[DepthwiseConv2d] | type[DepthwiseConv3d]:
    """The depthwise convolution of a rank. Raises `GeometryError`.

    >>> depthwise_conv_class(2).__name__
    'DepthwiseConv2d'
    """
    return (DepthwiseConv1d, DepthwiseConv2d, DepthwiseConv3d)[check_spatial_dims(spatial_dims) - 1]


def pointwise_conv_class(spatial_dims: int) -> type[PointwiseConv1d] | type[PointwiseConv2d] | type[PointwiseConv3d]:
    """The pointwise convolution of a rank. Raises `GeometryError`.

    >>> pointwise_conv_class(2).__name__
    'PointwiseConv2d'
    """
    return (PointwiseConv1d, PointwiseConv2d, PointwiseConv3d)[check_spatial_dims(spatial_dims) - 1]
