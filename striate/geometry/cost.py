"""What a convolution costs: parameters, multiply-accumulates, floating-point operations."""

from __future__ import annotations

import math

from striate.geometry.arguments import Size, check_groups


def conv_parameters(
    in_channels: int, out_channels: int, kernel_size: Size, groups: int = 1, *, bias: bool = True
) -> int:
    """The number of weights and biases of a convolution (a transposed one has as many).

    >>> conv_parameters(3, 5, (3, 3))
    140
    """
    check_groups(in_channels, out_channels, groups)
    return out_channels * (in_channels // groups) * math.prod(kernel_size) + (out_channels if bias else 0)


def conv_macs(in_channels: int, out_channels: int, kernel_size: Size, output_size: Size, groups: int = 1) -> int:
    """Multiply-accumulates of a convolution for one sample, padding counted as input, bias left out.

    For a transposed convolution give its *input* size as ``output_size``: it does the work of the convolution whose
    gradient it is.

    >>> conv_macs(1, 6, (5, 5), (28, 28))
    117600
    """
    check_groups(in_channels, out_channels, groups)
    return out_channels * (in_channels // groups) * math.prod(kernel_size) * math.prod(output_size)


def flops(macs: int) -> int:
    """Floating-point operations: two for every multiply-accumulate, always."""
    return 2 * macs
