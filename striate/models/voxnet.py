"""VoxNet: shapes from occupancy grids, by two convolutions over volumes."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.errors import ModelError
from striate.geometry import Axes, Size, Window, per_axis
from striate.models.field import check_batch, check_exact_size
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain
from striate.units import readable_size

if TYPE_CHECKING:
    from torch import Tensor

_USUAL = 32
_SMALLEST = 11
_SLOPE = 0.1


class VoxNet(Chain):
    """Two convolutions of 32 filters, a pool and two dense layers: (N, C, D, H, W) -> (N, classes).

    ``dropout`` are the probabilities after the first convolution, the pool and the first dense layer. Raises
    `ModelError` when called with an input of another size, rank or number of channels than it was built for.

    >>> import torch
    >>> VoxNet((16, 16, 16), 1, 10)(torch.zeros(2, 1, 16, 16, 16)).shape
    torch.Size([2, 10])
    """

    stages = ("relu1", "relu2", "pool2")
    head = "fc2"

    def __init__(
        self,
        input_size: Size,
        in_channels: int,
        num_classes: int,
        dropout: tuple[float, float, float] = (0.2, 0.3, 0.4),
    ) -> None:
        rank = len(input_size)
        conv, pool = conv_class(rank), pool_class("max", rank)
        size = input_size
        for kernel_size, stride in ((5, 2), (3, 1), (2, 2)):
            size = Window.of(rank, kernel_size, stride).output_size(size)
        super().__init__(
            OrderedDict(
                conv1=conv(in_channels, 32, 5, stride=2),
                relu1=nn.LeakyReLU(_SLOPE),
                drop1=dropout_layer(dropout[0]),
                conv2=conv(32, 32, 3),
                relu2=nn.LeakyReLU(_SLOPE),
                pool2=pool(2),
                drop2=dropout_layer(dropout[1]),
                flatten=nn.Flatten(),
                fc1=nn.Linear(32 * math.prod(size), 128),
                relu3=nn.ReLU(),
                drop3=dropout_layer(dropout[2]),
                fc2=nn.Linear(128, num_classes),
            )
        )
        self.input_size, self.in_channels = input_size, in_channels
        initialise(self, {_ConvNd: _initialise_conv, nn.Linear: _initialise_linear})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, len(self.input_size), self.in_channels)
        check_exact_size(input, self.input_size)
        logits: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # untyped in torch
        return logits


def _initialise_conv(layer: Any) -> None:
    nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
    nn.init.zeros_(layer.bias)


def _initialise_linear(layer: Any) -> None:
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)


@register(
    summary="VoxNet: two convolutions and two dense layers over occupancy grids of 32 x 32 x 32",
    paper="Maturana, Scherer: VoxNet: A 3D Convolutional Neural Network for Real-Time Object Recognition",
    year=2015,
    input_size=_USUAL,
    min_input_size=_SMALLEST,
    spatial_dims=(3,),
    in_channels=1,
    num_classes=40,
    parameters=921_736,
    macs=59_641_600,
    accuracy="Paper: ModelNet40 83 %, ModelNet10 92 % (mean accuracy of the classes).",
)
def voxnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    input_size: Axes | None = None,
    dropout: tuple[float, float, float] = (0.2, 0.3, 0.4),
) -> VoxNet:
    """VoxNet: 32 filters of 5 with stride 2, 32 filters of 3, a pool of 2, then 128 and num_classes units.

    The input is a grid of voxels whose values say how sure it is that something is there, usually 32 per axis; dense
    layers fix its size, which ``input_size`` sets. Convolutions are leaky with slope 0.1 and start from He's rule,
    dense layers from a Gaussian of deviation 0.01. For 40 classes it has the 921,736 parameters that the paper states.

    Paper: Maturana and Scherer, VoxNet: A 3D Convolutional Neural Network for Real-Time Object Recognition, 2015.
    Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> voxnet(3, 1, 40)(torch.zeros(1, 1, 32, 32, 32)).shape
    torch.Size([1, 40])
    """
    size = per_axis("input_size", _USUAL if input_size is None else input_size, spatial_dims)
    if min(size) < _SMALLEST:
        raise ModelError(
            f"an input_size of at least {_SMALLEST} per axis, so that the pool leaves something",
            readable_size(size),
            "Enlarge the grid, or pad it.",
        )
    return VoxNet(size, in_channels, num_classes, dropout)
