"""The small network of lectures on convolution: two 3-wide convolutions, each pooled, and two dense layers."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from striate.errors import ModelError
from striate.geometry import Axes, Size, per_axis
from striate.models.field import check_batch, check_exact_size
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain
from striate.units import readable_size

if TYPE_CHECKING:
    from torch import Tensor

_USUAL = 28
_SMALLEST = 4


class TwoConv(Chain):
    """32 and 64 filters of width 3, each with ReLU and a pool, then 1024 dense units; (N, C, *spatial) -> (N, classes).

    Raises `ModelError` when called with an input of another size, rank or number of channels than it was built for.

    >>> import torch
    >>> TwoConv((28,), 1, 10)(torch.zeros(2, 1, 28)).shape
    torch.Size([2, 10])
    """

    stages = ("pool1", "pool2")
    head = "fc2"

    def __init__(self, input_size: Size, in_channels: int, num_classes: int, dropout: float = 0.5) -> None:
        rank = len(input_size)
        conv, pool = conv_class(rank), pool_class("max", rank)
        positions = math.prod(size // 2 // 2 for size in input_size)
        super().__init__(
            OrderedDict(
                conv1=conv(in_channels, 32, 3, padding="same"),
                act1=nn.ReLU(),
                pool1=pool(2),
                conv2=conv(32, 64, 3, padding="same"),
                act2=nn.ReLU(),
                pool2=pool(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(64 * positions, 1024),
                act3=nn.ReLU(),
                dropout=dropout_layer(dropout),
                fc2=nn.Linear(1024, num_classes),
            )
        )
        self.input_size = input_size
        self.in_channels = in_channels

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, len(self.input_size), self.in_channels)
        check_exact_size(input, self.input_size)
        output = input
        for layer in self:
            output = layer(output)
        return output


@register(
    summary="Two 3x3 convolutions of 32 and 64 filters, each pooled, then 1024 dense units",
    paper="A lecture's example, after LeCun and others 1998",
    year=1998,
    input_size=_USUAL,
    min_input_size=_SMALLEST,
    parameters=3_241_354,
    macs=7_059_968,
)
def two_conv(
    spatial_dims: int, in_channels: int, num_classes: int, *, input_size: Axes | None = None, dropout: float = 0.5
) -> TwoConv:
    """The lecture's network: 32 filters of 3x3, pool, 64 filters of 3x3, pool, 1024 dense units, num_classes.

    3,241,354 parameters and 7,059,968 macs for 28x28 images of one channel, nearly all of the parameters in the first
    dense layer. The drawing leaves three choices open: the convolutions keep the size (``same``), so that pooling alone
    shrinks 28 to 14 to 7; the pools take the maximum of 2 per axis; and the 1024 units are dropped out with probability
    0.5 in training, without which so many parameters overfit.

    Paper: none of its own; the plan is that of LeCun and others 1998. Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> two_conv(2, 1, 10)(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """
    size = per_axis("input_size", _USUAL if input_size is None else input_size, spatial_dims)
    if min(size) < _SMALLEST:
        raise ModelError(
            f"an input_size of at least {_SMALLEST} per axis, so that two pools leave something",
            readable_size(size),
            "Enlarge the inputs, or pad them.",
        )
    return TwoConv(size, in_channels, num_classes, dropout)
