"""What a convolution costs: parameters, multiply-accumulates, floating-point operations."""

from __future__ import annotations

import math

from striate.errors import GeometryError
from striate.geometry.arguments import Axes, Size, check_groups, per_axis


def conv_parameters(
    in_channels: int, out_channels: int, kernel_size: Size, groups: int = 1, *, bias: bool = True
) -> int:
    """The number of weights and biases of a convolution (a transposed one has as many). Raises `GeometryError`.

    >>> conv_parameters(3, 5, (3, 3))
    140
    """
    check_groups(in_channels, out_channels, groups)
    size = per_axis("kernel_size", kernel_size, _rank("kernel_size", kernel_size))
    return out_channels * (in_channels // groups) * math.prod(size) + (out_channels if bias else 0)


def conv_macs(in_channels: int, out_channels: int, kernel_size: Axes, output_size: Size, groups: int = 1) -> int:
    """Multiply-accumulates of a convolution for one sample, padding counted as input, bias left out.

    For a transposed convolution give its *input* size as ``output_size``: it does the work of the convolution whose
    gradient it is. Raises `GeometryError`.

    >>> conv_macs(1, 6, (5, 5), (28, 28))
    117600
    """
    check_groups(in_channels, out_channels, groups)
    rank = _rank("output_size", output_size)
    positions = math.prod(per_axis("output_size", output_size, rank))
    return out_channels * (in_channels // groups) * math.prod(per_axis("kernel_size", kernel_size, rank)) * positions


def flops(macs: int) -> int:
    """Floating-point operations: two for every multiply-accumulate, always."""
    return 2 * macs


def _rank(name: str, size: object) -> int:
    """The number of axes that a size speaks of, where nothing else tells."""
    if not isinstance(size, list | tuple):
        raise GeometryError(
            f"{name} to have one integer per spatial axis", f"{name}={size!r}", "Give a tuple, such as (3, 3)."
        )
    return len(size)
