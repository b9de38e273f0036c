"""VGG: nothing but 3-wide convolutions, pooled five times, so that depth can be compared.

Two 3-wide convolutions see as much as one of 5, three as much as one of 7, with fewer weights and more rectifiers
between (section 2.3 of the paper).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.models.field import check_batch, check_smallest
from striate.models.parts import conv_norm_act, initialise
from striate.models.registry import register
from striate.nn import dropout_layer, pool_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.nn import Norm

_SMALLEST = 32
_CHANNELS = (64, 128, 256, 512, 512)
# Positions per axis before the dense layers, by rank: 7 x 7 as published, and in volumes about as many in all.
_POOLED = (7, 7, 4)


class VGG(nn.Module):
    """Five groups of 3-wide convolutions, each pooled, then three dense layers; (N, C, *spatial) -> (N, classes).

    ``depths`` are the convolutions per group; ``pooled`` is what is left per axis before the dense layers, ``hidden``
    their width. Raises `ModelError` when called with an input of another rank, other channels, or less than 32 per
    axis.

    >>> import torch
    >>> VGG(1, 2, 5, (1, 1, 1, 1, 1), hidden=16)(torch.zeros(3, 2, 40)).shape
    torch.Size([3, 5])
    """

    head = "classifier.6"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        depths: Sequence[int],
        *,
        norm: Norm = None,
        hidden: int = 4096,
        pooled: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.features = nn.Sequential()
        pools = []
        for depth, channels in zip(depths, _CHANNELS, strict=True):
            for _ in range(depth):
                self.features.extend(conv_norm_act(spatial_dims, in_channels, channels, norm=norm, bias=True))
                in_channels = channels
            pools.append(len(self.features))
            self.features.append(pool_class("max", spatial_dims)(2, 2))
        self.stages = tuple(f"features.{index}" for index in pools)
        positions = _POOLED[spatial_dims - 1] if pooled is None else pooled
        self.avgpool = pool_class("adaptive_avg", spatial_dims)(positions)
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * positions**spatial_dims, hidden),
            nn.ReLU(),
            dropout_layer(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            dropout_layer(dropout),
            nn.Linear(hidden, num_classes),
        )
        initialise(self, {_ConvNd: _initialise_conv, nn.Linear: _initialise_linear})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, _SMALLEST)
        logits: Tensor = self.classifier(self.avgpool(self.features(input)).flatten(1))
        return logits


def _initialise_conv(layer: Any) -> None:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)


def _initialise_linear(layer: Any) -> None:
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)


def vgg(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    depths: Sequence[int],
    norm: Norm = None,
    hidden: int = 4096,
    pooled: int | None = None,
    dropout: float = 0.5,
) -> VGG:
    """VGG: groups of 64, 128, 256, 512 and 512 maps of 3-wide convolutions, then 4096, 4096 and num_classes units.

    The 11, 13, 16 and 19 layers are the configurations A, B, D and E of table 1; ``_bn`` has batch norm after every
    convolution, which the paper, being older, has not. Tensors bear torchvision's names.

    The paper trains A from a Gaussian of deviation 0.01 and starts the deeper ones from it; here every depth starts
    alone, from He's rule by the outputs, as in torchvision. An adaptive pool leaves 7 positions per axis before the
    dense layers, whatever the input's size; for an input of 224 it changes nothing. In 3-D it leaves 4, or the first
    dense layer would have seven times the weights. ``pooled`` and ``hidden`` make it smaller: with 1 and 512 it fits
    inputs of 32.

    Paper: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014.
    Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     vgg(2, 3, 1000, depths=(2, 2, 3, 3, 3))(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 1000])
    """
    return VGG(spatial_dims, in_channels, num_classes, depths, norm=norm, hidden=hidden, pooled=pooled, dropout=dropout)


# Layers with weights, convolutions per group; then parameters, macs and top-1 accuracy, without and with batch norm.
_SIZES = (
    (11, (1, 1, 2, 2, 2), (132_863_336, 7_609_090_048, "69.02"), (132_868_840, 7_609_090_048, "70.37")),
    (13, (2, 2, 2, 2, 2), (133_047_848, 11_308_466_176, "69.93"), (133_053_736, 11_308_466_176, "71.59")),
    (16, (2, 2, 3, 3, 3), (138_357_544, 15_470_264_320, "71.59"), (138_365_992, 15_470_264_320, "73.36")),
    (19, (2, 2, 4, 4, 4), (143_667_240, 19_632_062_464, "72.38"), (143_678_248, 19_632_062_464, "74.22")),
)

for _layers, _depths, _plain, _normed in _SIZES:
    for _norm, (_parameters, _macs, _accuracy) in ((None, _plain), ("batch", _normed)):
        register(
            name=f"vgg{_layers}_bn" if _norm else f"vgg{_layers}",
            summary=f"VGG of {_layers} layers{' with batch norm' if _norm else ''}",
            paper="Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition",
            year=2014,
            input_size=224,
            min_input_size=_SMALLEST,
            in_channels=3,
            num_classes=1000,
            parameters=_parameters,
            macs=_macs,
            accuracy=f"ImageNet top-1 {_accuracy} % (torchvision's weights).",
        )(functools.partial(vgg, depths=_depths, norm=_norm))
