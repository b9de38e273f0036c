"""The strong baselines for time series: a fully convolutional network and a residual network, without any tricks.

Both keep the length of the series throughout and average over it at the end, so they take series of any length, and
the average lets a class be traced back to the moments that spoke for it (class activation maps).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, cast

from torch import nn
from torch.nn import functional as F

from striate.models.field import check_batch
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, norm_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Wang, Yan, Oates: Time Series Classification from Scratch with Deep Neural Networks: A Strong Baseline"
_KERNELS = (8, 5, 3)


def initialise_as_keras(model: nn.Module) -> None:
    """Glorot's uniform weights and zero biases: Keras's default, in which the first of these networks were written."""

    def glorot(layer: nn.Module) -> None:
        layer = cast("nn.Linear", layer)
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    # torch's base class of all convolutions
    initialise(model, {nn.modules.conv._ConvNd: glorot, nn.Linear: glorot})  # noqa: SLF001


class ConvNorm(Chain):
    """A convolution that keeps the length, batch norm, and a ReLU unless it is left to the caller.

    >>> ConvNorm(1, 1, 8, 5)
    ConvNorm(
      (conv): Conv1d(1, 8, kernel_size=(5,), stride=(1,), padding=same)
      (norm): BatchNorm1d(8, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
      (act): ReLU()
    )
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, *, relu: bool = True
    ) -> None:
        super().__init__(
            OrderedDict(
                conv=conv_class(spatial_dims)(in_channels, out_channels, kernel_size, padding="same"),
                norm=norm_layer("batch", spatial_dims, out_channels),
            )
        )
        if relu:
            self.act = nn.ReLU()


class FCNTimeSeries(nn.Module):
    """Three convolutions with batch norm and ReLU, the mean over time, a dense layer; (N, C, L) -> (N, classes).

    Raises `ModelError` when called with an input of another rank or other channels.

    >>> import torch
    >>> FCNTimeSeries(1, 6, 5, channels=(16, 32, 16))(torch.zeros(2, 6, 50)).shape
    torch.Size([2, 5])
    """

    stages = ("block1", "block2", "block3")
    head = "fc"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        channels: tuple[int, int, int] = (128, 256, 128),
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        first, second, third = channels
        self.block1 = ConvNorm(spatial_dims, in_channels, first, _KERNELS[0])
        self.block2 = ConvNorm(spatial_dims, first, second, _KERNELS[1])
        self.block3 = ConvNorm(spatial_dims, second, third, _KERNELS[2])
        self.pool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.fc = nn.Linear(third, num_classes)
        initialise_as_keras(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        output: Tensor = self.fc(self.pool(self.block3(self.block2(self.block1(input)))))
        return output


class TimeSeriesBlock(nn.Module):
    """Three convolutions of 8, 5 and 3 beside a shortcut, and a ReLU after their sum.

    The shortcut is a 1-wide convolution with batch norm where the channels change, else batch norm alone.

    >>> import torch
    >>> TimeSeriesBlock(1, 1, 4)(torch.zeros(2, 1, 20)).shape
    torch.Size([2, 4, 20])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(spatial_dims, in_channels, channels, _KERNELS[0])
        self.conv2 = ConvNorm(spatial_dims, channels, channels, _KERNELS[1])
        self.conv3 = ConvNorm(spatial_dims, channels, channels, _KERNELS[2], relu=False)
        self.shortcut = (
            norm_layer("batch", spatial_dims, channels)
            if in_channels == channels
            else ConvNorm(spatial_dims, in_channels, channels, 1, relu=False)
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's output, as long as the input."""
        return F.relu(self.conv3(self.conv2(self.conv1(input))) + self.shortcut(input))


class ResNetTimeSeries(nn.Module):
    """Three residual blocks of three convolutions, the mean over time, a dense layer; (N, C, L) -> (N, classes).

    Raises `ModelError` when called with an input of another rank or other channels.

    >>> import torch
    >>> ResNetTimeSeries(1, 6, 5, width=8)(torch.zeros(2, 6, 50)).shape
    torch.Size([2, 5])
    """

    stages = ("block1", "block2", "block3")
    head = "fc"

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.block1 = TimeSeriesBlock(spatial_dims, in_channels, width)
        self.block2 = TimeSeriesBlock(spatial_dims, width, 2 * width)
        self.block3 = TimeSeriesBlock(spatial_dims, 2 * width, 2 * width)
        self.pool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.fc = nn.Linear(2 * width, num_classes)
        initialise_as_keras(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        output: Tensor = self.fc(self.pool(self.block3(self.block2(self.block1(input)))))
        return output


@register(
    summary="Fully convolutional network for time series: 128, 256, 128 filters of 8, 5, 3, mean over time",
    paper=_PAPER,
    year=2017,
    input_size=512,
    min_input_size=1,
    spatial_dims=(1,),
    num_classes=2,
    parameters=264_962,
    macs=134_742_272,
    accuracy="Paper: UCR archive test errors, of Computers 15.2 %, Haptics 44.9 %, Mallat 2.0 %.",
)
def fcn_ts(
    spatial_dims: int, in_channels: int, num_classes: int, *, channels: tuple[int, int, int] = (128, 256, 128)
) -> FCNTimeSeries:
    """The fully convolutional network for time series: three convolutions, batch norm, ReLU, and the mean over time.

    Filters of 8, 5 and 3 steps, of which there are ``channels``; no pooling, so a series of any length keeps it until
    the mean. The convolutions have biases although batch norm follows, as in the authors' Keras program, whose initial
    weights are also taken since the paper does not speak of any. Batch norm has torch's constants.

    Paper: Wang, Yan and Oates, Time Series Classification from Scratch with Deep Neural Networks: A Strong Baseline,
    2017. Raises `GeometryError`.

    >>> sum(parameter.numel() for parameter in fcn_ts(1, 1, 2).parameters())
    264962
    """
    return FCNTimeSeries(spatial_dims, in_channels, num_classes, channels)


@register(
    summary="Residual network for time series: three blocks of 8, 5 and 3, 64, 128 and 128 channels",
    paper=_PAPER,
    year=2017,
    input_size=512,
    min_input_size=1,
    spatial_dims=(1,),
    num_classes=2,
    parameters=504_258,
    macs=256_147_712,
    accuracy="Paper: UCR archive test errors, of Computers 17.6 %, Haptics 49.4 %, Mallat 2.1 %.",
)
def resnet_ts(spatial_dims: int, in_channels: int, num_classes: int, *, width: int = 64) -> ResNetTimeSeries:
    """The residual network for time series: three blocks, each of three convolutions of 8, 5 and 3, beside a shortcut.

    ``width`` channels in the first block and twice as many in the other two. The paper draws plain shortcuts; as in the
    authors' program, a shortcut has batch norm, after a 1-wide convolution where the channels change. That program also
    normalises the input of the first block, which the paper and later programs (Fawaz and others 2019) leave out, as
    here.

    Paper: Wang, Yan and Oates, Time Series Classification from Scratch with Deep Neural Networks: A Strong Baseline,
    2017. Raises `GeometryError`.

    >>> import torch
    >>> resnet_ts(1, 1, 2, width=8)(torch.zeros(1, 1, 100)).shape
    torch.Size([1, 2])
    """
    return ResNetTimeSeries(spatial_dims, in_channels, num_classes, width)
