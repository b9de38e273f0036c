"""MobileNet v2: inverted residuals, narrow between blocks and wide inside, with linear bottlenecks; in any rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from striate.models.field import check_batch, check_smallest
from striate.models.mobilenet_v1 import check_width
from striate.models.parts import conv_norm_act, initialise, round_channels
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, norm_layer, pool_class

if TYPE_CHECKING:
    from torch import Tensor

# Table 2 of the paper: expansion factor, outputs, number of blocks, stride of the first of them.
_BLOCKS = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


class InvertedResidual(nn.Module):
    """Expand the channels, filter each by itself, and project back without activation; add the input where it fits.

    (N, C_in, *spatial) -> (N, C_out, *spatial / stride).

    >>> import torch
    >>> InvertedResidual(2, 8, 8, expansion=6)(torch.zeros(1, 8, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, stride: int = 1, expansion: int = 6):
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_norm_act(spatial_dims, in_channels, hidden, 1, activation="relu6"))
        self.conv = nn.Sequential(
            *layers,
            conv_norm_act(spatial_dims, hidden, hidden, 3, stride, groups=hidden, activation="relu6"),
            # No activation: it would lose what the few channels hold (section 3.2).
            conv_class(spatial_dims)(hidden, out_channels, 1, bias=False),
            norm_layer("batch", spatial_dims, out_channels),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's output."""
        output: Tensor = self.conv(input)
        return input + output if self.residual else output


class MobileNetV2(nn.Module):
    """A convolution, seventeen inverted residuals, a 1-wide convolution, mean, dense; (N, C, *spatial) -> (N, classes).

    Raises `ModelError` for a bad width, and when called with an input of another rank or other channels.

    >>> import torch
    >>> MobileNetV2(1, 2, 10, width=0.25)(torch.zeros(2, 2, 64)).shape
    torch.Size([2, 10])
    """

    stages = ("features.1", "features.3", "features.6", "features.13", "features.18")
    head = "classifier.1"

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, *, width: float = 1.0, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        channels = round_channels(32 * check_width(width))
        layers: list[nn.Module] = [conv_norm_act(spatial_dims, in_channels, channels, 3, 2, activation="relu6")]
        for expansion, filters, repeats, stride in _BLOCKS:
            for repeat in range(repeats):
                widened = round_channels(filters * width)
                step = stride if repeat == 0 else 1
                layers.append(InvertedResidual(spatial_dims, channels, widened, step, expansion))
                channels = widened
        # Narrow networks keep a wide last layer, which the classifier needs.
        last = round_channels(1280 * max(1.0, width))
        layers.append(conv_norm_act(spatial_dims, channels, last, 1, activation="relu6"))
        self.features = nn.Sequential(*layers)
        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.classifier = nn.Sequential(dropout_layer(dropout), nn.Linear(last, num_classes))
        initialise(self, {conv_class(spatial_dims): conv_start, nn.Linear: dense_start})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        logits: Tensor = self.classifier(self.avgpool(self.features(input)))
        return logits


def conv_start(conv: nn.Module) -> None:
    """Start a convolution normal with variance 2 / fan out, biases at 0.

    The fan out of a depthwise convolution counts all channels here, as published weights were started; batch norm makes
    up for its small weights.

    >>> conv = nn.Conv1d(1, 512, 8)
    >>> conv_start(conv)
    >>> 0.020 < conv.weight.std() < 0.024
    tensor(True)
    """
    nn.init.kaiming_normal_(conv.get_parameter("weight"), mode="fan_out", nonlinearity="relu")
    if isinstance(conv.bias, nn.Parameter):
        nn.init.zeros_(conv.bias)


def dense_start(linear: nn.Module) -> None:
    """Start a dense layer normal with deviation 0.01, biases at 0.

    >>> linear = nn.Linear(100, 100)
    >>> dense_start(linear)
    >>> 0.009 < linear.weight.std() < 0.011
    tensor(True)
    """
    nn.init.normal_(linear.get_parameter("weight"), 0, 0.01)
    nn.init.zeros_(linear.get_parameter("bias"))


@register(
    summary="Seventeen inverted residuals with linear bottlenecks; width multiplier",
    paper="Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    year=2018,
    input_size=224,
    min_input_size=1,
    in_channels=3,
    num_classes=1000,
    parameters=3_504_872,
    macs=300_774_272,
    accuracy="ImageNet top-1 72.15 % (torchvision's second weights; 71.88 % the first); paper: 72.0 %.",
)
def mobilenet_v2(
    spatial_dims: int, in_channels: int, num_classes: int, *, width: float = 1.0, dropout: float = 0.2
) -> MobileNetV2:
    """MobileNet v2: blocks hand on few channels, expand them sixfold inside, and are linear where they are narrow.

    ``width`` scales the filters of all layers, to multiples of 8; below 1 the last convolution keeps its 1280. Inputs
    may be of any size. Built is the usual form, whose weights are published; against the paper's table 2 its last layer
    is a dense one instead of a 1x1 convolution, which computes the same, after a dropout of 0.2.

    Paper: Sandler and others, MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018. Raises `ModelError` and
    `GeometryError`.

    >>> import torch
    >>> mobilenet_v2(2, 1, 10, width=0.25)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """
    return MobileNetV2(spatial_dims, in_channels, num_classes, width=width, dropout=dropout)
