"""What networks for dense prediction share: cutting maps to a size, and doubling them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from striate import ops
from striate.errors import ModelError, did_you_mean
from striate.nn import conv_class, conv_transpose_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

UPSAMPLINGS = ("transposed", "resize")


def crop(maps: Tensor, size: Sequence[int], start: int | None = None) -> Tensor:
    """Cut (N, C, *spatial) to ``size``, from index ``start`` of every axis, or else out of the middle.

    >>> import torch
    >>> crop(torch.arange(6).view(1, 1, 6), (4,)), crop(torch.arange(6).view(1, 1, 6), (4,), start=0)
    (tensor([[[1, 2, 3, 4]]]), tensor([[[0, 1, 2, 3]]]))
    """
    for axis, (length, wanted) in enumerate(zip(maps.shape[2:], size, strict=True), 2):
        if length != wanted:
            maps = maps.narrow(axis, (length - wanted) // 2 if start is None else start, wanted)
    return maps


class Doubling(nn.Module):
    """Resize to twice the size by linear interpolation; (N, C, *spatial) -> (N, C, *2 spatial).

    >>> import torch
    >>> Doubling()(torch.tensor([[[0.0, 4.0]]]))
    tensor([[[0., 1., 3., 4.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Resize."""
        return ops.resize(input, [2 * length for length in input.shape[2:]], mode="linear")


def upsampling(spatial_dims: int, in_channels: int, out_channels: int, kind: str) -> nn.Module:
    """A learned doubling: (N, C_in, *spatial) -> (N, C_out, *2 spatial).

    ``transposed`` is a transposed convolution of size and stride 2. ``resize`` is a 1-wide convolution and linear
    interpolation, in this order because it is the cheaper one and gives the same. Raises `ModelError`.

    >>> import torch
    >>> upsampling(2, 8, 4, "resize")(torch.zeros(1, 8, 5, 6)).shape
    torch.Size([1, 4, 10, 12])
    """
    if kind == "transposed":
        return conv_transpose_class(spatial_dims)(in_channels, out_channels, 2, stride=2)
    if kind == "resize":
        return nn.Sequential(conv_class(spatial_dims)(in_channels, out_channels, 1), Doubling())
    raise ModelError(
        f"upsampling to be one of {', '.join(UPSAMPLINGS)}", f"{kind!r}", did_you_mean(str(kind), UPSAMPLINGS)
    )
