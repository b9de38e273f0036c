"""MobileNet v1: depthwise convolutions that see and pointwise ones that mix, of any width, in any rank."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from striate.errors import ModelError
from striate.models.field import check_batch, check_smallest
from striate.models.parts import conv_norm_act, initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

# Table 1 of the paper: outputs and stride of each separable convolution after the first layer of 32 filters.
_LAYERS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


def check_width(width: float) -> float:
    """Return a width multiplier. Raises `ModelError` if it is not a positive number.

    >>> check_width(0.75)
    0.75
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < float("inf"):
        raise ModelError("width to be a positive number", f"width={width!r}", "Use 1 for the usual width.")
    return width


class DepthwiseSeparable(Chain):
    """A 3-wide filter for each channel, then a 1-wide convolution over all of them; batch norm and ReLU after both.

    (N, C_in, *spatial) -> (N, C_out, *spatial / stride).

    >>> import torch
    >>> DepthwiseSeparable(2, 4, 8, stride=2)(torch.zeros(1, 4, 7, 7)).shape
    torch.Size([1, 8, 4, 4])
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                depthwise=conv_norm_act(spatial_dims, in_channels, in_channels, 3, stride, groups=in_channels),
                pointwise=conv_norm_act(spatial_dims, in_channels, out_channels, 1),
            )
        )


class MobileNetV1(nn.Module):
    """One convolution, thirteen separable ones, global mean, one dense layer; (N, C, *spatial) -> (N, classes).

    Raises `ModelError` for a bad width, and when called with an input of another rank or other channels.

    >>> import torch
    >>> MobileNetV1(1, 2, 10, width=0.25)(torch.zeros(2, 2, 64)).shape
    torch.Size([2, 10])
    """

    stages = ("features.1", "features.3", "features.5", "features.11", "features.13")
    head = "fc"

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, *, width: float = 1.0, dropout: float = 0.001
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        check_width(width)
        channels = self._widened(32, width)
        layers: list[nn.Module] = [conv_norm_act(spatial_dims, in_channels, channels, 3, 2)]
        for filters, stride in _LAYERS:
            layers.append(DepthwiseSeparable(spatial_dims, channels, self._widened(filters, width), stride))
            channels = self._widened(filters, width)
        self.features = nn.Sequential(*layers)
        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(channels, num_classes)
        initialise(self, {conv_class(spatial_dims): _keep_variance})

    @staticmethod
    def _widened(filters: int, width: float) -> int:
        return max(8, int(filters * width))

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        logits: Tensor = self.fc(self.dropout(self.avgpool(self.features(input))))
        return logits


def _keep_variance(conv: nn.Module) -> None:
    nn.init.kaiming_normal_(conv.get_parameter("weight"), nonlinearity="relu")


@register(
    summary="Thirteen depthwise separable convolutions of 3x3; width multiplier",
    paper="Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam: MobileNets: Efficient Convolutional Neural "
    "Networks for Mobile Vision Applications",
    year=2017,
    input_size=224,
    min_input_size=1,
    in_channels=3,
    num_classes=1000,
    parameters=4_231_976,
    macs=568_740_352,
    accuracy="Paper: ImageNet top-1 70.6 %; 68.4 % at width 0.75, 63.7 % at 0.5, 50.6 % at 0.25.",
)
def mobilenet_v1(
    spatial_dims: int, in_channels: int, num_classes: int, *, width: float = 1.0, dropout: float = 0.001
) -> MobileNetV1:
    """MobileNet v1: every convolution but the first is split into one that sees and one that mixes channels.

    A 3x3 convolution of C to D channels costs 9CD per position, the pair 9C + CD: eight to nine times less. ``width``
    scales all layers' filters (the paper's alpha: 1, 0.75, 0.5 and 0.25); the paper's resolution multiplier is the size
    of the input, which may be anything.

    As in the authors' code, the last depthwise convolution has stride 1 where the paper's table 1 prints 2, and there
    is a dropout of 0.001 before the dense layer. The paper says nothing of initial weights; here they keep the variance
    (He and others 2015).

    Paper: Howard and others, MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, 2017.
    Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> mobilenet_v1(2, 1, 10, width=0.25)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """
    return MobileNetV1(spatial_dims, in_channels, num_classes, width=width, dropout=dropout)
