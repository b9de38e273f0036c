"""ZFNet: AlexNet with a finer first layer, found by looking at what the layers of AlexNet respond to.

Deconvolution showed that AlexNet's first layer held few filters of middle frequencies, and its second aliasing
artefacts of the stride of 4. Filters of 7 with stride 2 cured both, and won ImageNet in 2013.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.models.alexnet import response_norm
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 47
# Positions per axis before the dense layers, by rank: 6 x 6 as published, and in volumes about as many in all.
_POOLED = (6, 6, 3)


class ZFNet(Chain):
    """Five convolutions, the first two with stride 2, and three dense layers; (N, C, *spatial) -> (N, classes).

    ``pooled`` is what is left per axis before the dense layers, ``hidden`` their width. Raises `ModelError` when called
    with an input of another rank, other channels, or less than 47 per axis.

    >>> import torch
    >>> ZFNet(1, 2, 5, hidden=16)(torch.zeros(3, 2, 80)).shape
    torch.Size([3, 5])
    """

    stages = ("norm1", "norm2", "pool5")
    head = "fc8"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        hidden: int = 4096,
        pooled: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        conv, pool = conv_class(spatial_dims), pool_class("max", spatial_dims)
        positions = _POOLED[spatial_dims - 1] if pooled is None else pooled
        super().__init__(
            OrderedDict(
                conv1=conv(in_channels, 96, 7, stride=2, padding=1),
                relu1=nn.ReLU(),
                # 110 -> 55 and 26 -> 13 in figure 3 are reached only by windows that reach over the edge.
                pool1=pool(3, 2, ceil_mode=True),
                norm1=response_norm(),
                conv2=conv(96, 256, 5, stride=2),
                relu2=nn.ReLU(),
                pool2=pool(3, 2, ceil_mode=True),
                norm2=response_norm(),
                conv3=conv(256, 384, 3, padding=1),
                relu3=nn.ReLU(),
                conv4=conv(384, 384, 3, padding=1),
                relu4=nn.ReLU(),
                conv5=conv(384, 256, 3, padding=1),
                relu5=nn.ReLU(),
                pool5=pool(3, 2, ceil_mode=True),
                avgpool=pool_class("adaptive_avg", spatial_dims)(positions),
                flatten=nn.Flatten(),
                fc6=nn.Linear(256 * positions**spatial_dims, hidden),
                relu6=nn.ReLU(),
                drop6=dropout_layer(dropout),
                fc7=nn.Linear(hidden, hidden),
                relu7=nn.ReLU(),
                drop7=dropout_layer(dropout),
                fc8=nn.Linear(hidden, num_classes),
            )
        )
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        initialise(self, {_ConvNd: _initialise, nn.Linear: _initialise})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, _SMALLEST)
        logits: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # untyped in torch
        return logits


def _initialise(layer: Any) -> None:
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)


@register(
    summary="ZFNet: AlexNet with filters of 7 and stride 2 in the first layer",
    paper="Zeiler, Fergus: Visualizing and Understanding Convolutional Networks",
    year=2013,
    input_size=224,
    min_input_size=_SMALLEST,
    in_channels=3,
    num_classes=1000,
    parameters=62_357_608,
    macs=1_168_032_896,
    accuracy="Paper: ImageNet 2012 validation, one network, ten views: top-1 error 38.4 %, top-5 error 16.5 %.",
)
def zfnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    hidden: int = 4096,
    pooled: int | None = None,
    dropout: float = 0.5,
) -> ZFNet:
    """ZFNet as in figure 3 of the paper: 96, 256, 384, 384 and 256 maps, then 4096, 4096 and num_classes units.

    Each of the first two convolutions is rectified, pooled and then normalised across maps. For a 224 x 224 input the
    maps have 110, 55, 26, 13 and 6 positions per axis; an adaptive pool makes other sizes fit the dense layers, and in
    3-D leaves 3 per axis instead of 6. The paper gives no constants for the normalisation: AlexNet's are used. It says
    that all weights start at 0.01, which is read as a Gaussian of that deviation, since equal weights would stay so.

    Paper: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2013.
    Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     model = zfnet(2, 3, 1000)
    ...     model[:8](torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 256, 13, 13])
    """
    return ZFNet(spatial_dims, in_channels, num_classes, hidden=hidden, pooled=pooled, dropout=dropout)
