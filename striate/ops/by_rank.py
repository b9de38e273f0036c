"""The operators under torch's names for one, two and three spatial axes.

Each has the signature of its namesake in `torch.nn.functional` and adds nothing but the rank: what is accepted and what
is raised is said where the operator is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.ops.adaptive import adaptive_avg_pool, adaptive_max_pool
from striate.ops.convolution import conv, conv_transpose
from striate.ops.pooling import avg_pool, lp_pool, max_pool, max_unpool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.geometry import Axes, Padding


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve over one spatial axis; see `conv`.

    >>> import torch
    >>> conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 3)).shape
    torch.Size([1, 1, 2])
    """
    return conv(input, weight, bias, stride, padding, dilation, groups, spatial_dims=1)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve over two spatial axes; see `conv`.

    >>> import torch
    >>> conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)).shape
    torch.Size([1, 1, 2, 2])
    """
    return conv(input, weight, bias, stride, padding, dilation, groups, spatial_dims=2)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve over three spatial axes; see `conv`.

    >>> import torch
    >>> conv3d(torch.ones(1, 1, 4, 4, 4), torch.ones(1, 1, 3, 3, 3)).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return conv(input, weight, bias, stride, padding, dilation, groups, spatial_dims=3)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    output_padding: Axes = 0,
    groups: int = 1,
    dilation: Axes = 1,
) -> Tensor:
    """Apply a transposed convolution over one spatial axis; see `conv_transpose`.

    >>> import torch
    >>> conv_transpose1d(torch.ones(1, 1, 4), torch.ones(1, 1, 3)).shape
    torch.Size([1, 1, 6])
    """
    return conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation, spatial_dims=1)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    output_padding: Axes = 0,
    groups: int = 1,
    dilation: Axes = 1,
) -> Tensor:
    """Apply a transposed convolution over two spatial axes; see `conv_transpose`.

    >>> import torch
    >>> conv_transpose2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)).shape
    torch.Size([1, 1, 6, 6])
    """
    return conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation, spatial_dims=2)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    output_padding: Axes = 0,
    groups: int = 1,
    dilation: Axes = 1,
) -> Tensor:
    """Apply a transposed convolution over three spatial axes; see `conv_transpose`.

    >>> import torch
    >>> conv_transpose3d(torch.ones(1, 1, 4, 4, 4), torch.ones(1, 1, 3, 3, 3)).shape
    torch.Size([1, 1, 6, 6, 6])
    """
    return conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation, spatial_dims=3)


def max_pool1d(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    dilation: Axes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Pool maxima over one spatial axis; see `max_pool`.

    >>> import torch
    >>> max_pool1d(torch.ones(1, 1, 4), 2).shape
    torch.Size([1, 1, 2])
    """
    return max_pool(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, spatial_dims=1)


def max_pool2d(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    dilation: Axes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Pool maxima over two spatial axes; see `max_pool`.

    >>> import torch
    >>> max_pool2d(torch.ones(1, 1, 4, 4), 2).shape
    torch.Size([1, 1, 2, 2])
    """
    return max_pool(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, spatial_dims=2)


def max_pool3d(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    dilation: Axes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Pool maxima over three spatial axes; see `max_pool`.

    >>> import torch
    >>> max_pool3d(torch.ones(1, 1, 4, 4, 4), 2).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return max_pool(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, spatial_dims=3)


def avg_pool1d(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Pool means over one spatial axis; see `avg_pool`.

    >>> import torch
    >>> avg_pool1d(torch.ones(1, 1, 4), 2).shape
    torch.Size([1, 1, 2])
    """
    return avg_pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, spatial_dims=1)


def avg_pool2d(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Pool means over two spatial axes; see `avg_pool`.

    >>> import torch
    >>> avg_pool2d(torch.ones(1, 1, 4, 4), 2).shape
    torch.Size([1, 1, 2, 2])
    """
    return avg_pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, spatial_dims=2)


def avg_pool3d(
    input: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Pool means over three spatial axes; see `avg_pool`.

    >>> import torch
    >>> avg_pool3d(torch.ones(1, 1, 4, 4, 4), 2).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return avg_pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, spatial_dims=3)


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Axes,
    stride: Axes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Pool power sums over one spatial axis; see `lp_pool`.

    >>> import torch
    >>> lp_pool1d(torch.ones(1, 1, 4), 2, 2).shape
    torch.Size([1, 1, 2])
    """
    return lp_pool(input, norm_type, kernel_size, stride, ceil_mode, spatial_dims=1)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Axes,
    stride: Axes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Pool power sums over two spatial axes; see `lp_pool`.

    >>> import torch
    >>> lp_pool2d(torch.ones(1, 1, 4, 4), 2, 2).shape
    torch.Size([1, 1, 2, 2])
    """
    return lp_pool(input, norm_type, kernel_size, stride, ceil_mode, spatial_dims=2)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Axes,
    stride: Axes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Pool power sums over three spatial axes; see `lp_pool`.

    >>> import torch
    >>> lp_pool3d(torch.ones(1, 1, 4, 4, 4), 2, 2).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return lp_pool(input, norm_type, kernel_size, stride, ceil_mode, spatial_dims=3)


def adaptive_avg_pool1d(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
) -> Tensor:
    """Pool means over one spatial axis to a given size; see `adaptive_avg_pool`.

    >>> import torch
    >>> adaptive_avg_pool1d(torch.ones(1, 1, 4), 2).shape
    torch.Size([1, 1, 2])
    """
    return adaptive_avg_pool(input, output_size, spatial_dims=1)


def adaptive_avg_pool2d(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
) -> Tensor:
    """Pool means over two spatial axes to a given size; see `adaptive_avg_pool`.

    >>> import torch
    >>> adaptive_avg_pool2d(torch.ones(1, 1, 4, 4), 2).shape
    torch.Size([1, 1, 2, 2])
    """
    return adaptive_avg_pool(input, output_size, spatial_dims=2)


def adaptive_avg_pool3d(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
) -> Tensor:
    """Pool means over three spatial axes to a given size; see `adaptive_avg_pool`.

    >>> import torch
    >>> adaptive_avg_pool3d(torch.ones(1, 1, 4, 4, 4), 2).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return adaptive_avg_pool(input, output_size, spatial_dims=3)


def adaptive_max_pool1d(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Pool maxima over one spatial axis to a given size; see `adaptive_max_pool`.

    >>> import torch
    >>> adaptive_max_pool1d(torch.ones(1, 1, 4), 2).shape
    torch.Size([1, 1, 2])
    """
    return adaptive_max_pool(input, output_size, return_indices, spatial_dims=1)


def adaptive_max_pool2d(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Pool maxima over two spatial axes to a given size; see `adaptive_max_pool`.

    >>> import torch
    >>> adaptive_max_pool2d(torch.ones(1, 1, 4, 4), 2).shape
    torch.Size([1, 1, 2, 2])
    """
    return adaptive_max_pool(input, output_size, return_indices, spatial_dims=2)


def adaptive_max_pool3d(
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Pool maxima over three spatial axes to a given size; see `adaptive_max_pool`.

    >>> import torch
    >>> adaptive_max_pool3d(torch.ones(1, 1, 4, 4, 4), 2).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return adaptive_max_pool(input, output_size, return_indices, spatial_dims=3)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Undo a max pool over one spatial axis; see `max_unpool`.

    >>> import torch
    >>> max_unpool1d(torch.ones(1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64), 2).shape
    torch.Size([1, 1, 2])
    """
    return max_unpool(input, indices, kernel_size, stride, padding, output_size, spatial_dims=1)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Undo a max pool over two spatial axes; see `max_unpool`.

    >>> import torch
    >>> max_unpool2d(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.int64), 2).shape
    torch.Size([1, 1, 2, 2])
    """
    return max_unpool(input, indices, kernel_size, stride, padding, output_size, spatial_dims=2)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Undo a max pool over three spatial axes; see `max_unpool`.

    >>> import torch
    >>> max_unpool3d(torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1, dtype=torch.int64), 2).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return max_unpool(input, indices, kernel_size, stride, padding, output_size, spatial_dims=3)
