"""MobileNet v3: inverted residuals with squeeze and excitation and hard swish, found by search; in any rank."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from striate.models.field import check_batch, check_smallest
from striate.models.mobilenet_v1 import check_width
from striate.models.mobilenet_v2 import conv_start, dense_start
from striate.models.parts import conv_norm_act, initialise, round_channels
from striate.models.registry import register
from striate.nn import SqueezeExcitation, conv_class, dropout_layer, pool_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Bottleneck(NamedTuple):
    """A row of the paper's tables 1 and 2: filter size, inner and outer channels, SE, hard swish or ReLU, stride."""

    kernel_size: int
    hidden: int
    filters: int
    squeezes: bool
    activation: str
    stride: int


_LARGE = (
    Bottleneck(3, 16, 16, False, "relu", 1),
    Bottleneck(3, 64, 24, False, "relu", 2),
    Bottleneck(3, 72, 24, False, "relu", 1),
    Bottleneck(5, 72, 40, True, "relu", 2),
    Bottleneck(5, 120, 40, True, "relu", 1),
    Bottleneck(5, 120, 40, True, "relu", 1),
    Bottleneck(3, 240, 80, False, "hardswish", 2),
    Bottleneck(3, 200, 80, False, "hardswish", 1),
    Bottleneck(3, 184, 80, False, "hardswish", 1),
    Bottleneck(3, 184, 80, False, "hardswish", 1),
    Bottleneck(3, 480, 112, True, "hardswish", 1),
    Bottleneck(3, 672, 112, True, "hardswish", 1),
    Bottleneck(5, 672, 160, True, "hardswish", 2),
    Bottleneck(5, 960, 160, True, "hardswish", 1),
    Bottleneck(5, 960, 160, True, "hardswish", 1),
)
_SMALL = (
    Bottleneck(3, 16, 16, True, "relu", 2),
    Bottleneck(3, 72, 24, False, "relu", 2),
    Bottleneck(3, 88, 24, False, "relu", 1),
    Bottleneck(5, 96, 40, True, "hardswish", 2),
    Bottleneck(5, 240, 40, True, "hardswish", 1),
    Bottleneck(5, 240, 40, True, "hardswish", 1),
    Bottleneck(5, 120, 48, True, "hardswish", 1),
    Bottleneck(5, 144, 48, True, "hardswish", 1),
    Bottleneck(5, 288, 96, True, "hardswish", 2),
    Bottleneck(5, 576, 96, True, "hardswish", 1),
    Bottleneck(5, 576, 96, True, "hardswish", 1),
)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, gate the channels, project linearly; add the input where it fits.

    (N, C_in, *spatial) -> (N, C_out, *spatial / stride).

    >>> import torch
    >>> InvertedResidual(2, 16, Bottleneck(5, 72, 16, True, "hardswish", 1))(torch.zeros(1, 16, 5, 5)).shape
    torch.Size([1, 16, 5, 5])
    """

    def __init__(self, spatial_dims: int, in_channels: int, row: Bottleneck) -> None:
        super().__init__()
        self.residual = row.stride == 1 and in_channels == row.filters
        hidden, activation = row.hidden, row.activation
        conv = functools.partial(conv_norm_act, spatial_dims, norm=slow_batch_norm(spatial_dims))
        layers: list[nn.Module] = []
        if hidden != in_channels:
            layers.append(conv(in_channels, hidden, 1, activation=activation))
        layers.append(conv(hidden, hidden, row.kernel_size, row.stride, groups=hidden, activation=activation))
        if row.squeezes:
            squeezed = round_channels(hidden // 4)
            layers.append(SqueezeExcitation(spatial_dims, hidden, squeezed, gate=nn.Hardsigmoid))
        layers.append(conv(hidden, row.filters, 1, activation=None))
        self.block = nn.Sequential(*layers)

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's output."""
        output: Tensor = self.block(input)
        return input + output if self.residual else output


def slow_batch_norm(spatial_dims: int) -> Callable[[int], nn.Module]:
    """Batch norm of a rank with an eps of 0.001 and a momentum of 0.01, as the authors trained.

    >>> slow_batch_norm(1)(16)
    BatchNorm1d(16, eps=0.001, momentum=0.01, affine=True, bias=True, track_running_stats=True)
    """
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[spatial_dims - 1]
    return functools.partial(norm, eps=0.001, momentum=0.01)


class MobileNetV3(nn.Module):
    """One convolution, bottlenecks, a 1-wide convolution, mean, two dense layers; (N, C, *spatial) -> (N, classes).

    ``units`` are those of the hidden dense layer. Raises `ModelError` for a bad width, and when called with an input of
    another rank or other channels.

    >>> import torch
    >>> MobileNetV3(1, 2, 10, _SMALL, 1024, width=0.25)(torch.zeros(2, 2, 64)).shape
    torch.Size([2, 10])
    """

    head = "classifier.3"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        rows: tuple[Bottleneck, ...],
        units: int,
        *,
        width: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        channels = round_channels(16 * check_width(width))
        conv = functools.partial(conv_norm_act, spatial_dims, norm=slow_batch_norm(spatial_dims))
        layers: list[nn.Module] = [conv(in_channels, channels, 3, 2, activation="hardswish")]
        for row in rows:
            hidden, filters = round_channels(row.hidden * width), round_channels(row.filters * width)
            widened = row._replace(hidden=hidden, filters=filters)
            layers.append(InvertedResidual(spatial_dims, channels, widened))
            channels = widened.filters
        layers.append(conv(channels, 6 * channels, 1, activation="hardswish"))
        # The last layer of each size of map.
        before_stride = [f"features.{index}" for index, row in enumerate(rows) if row.stride == 2]
        self.stages = (*before_stride, f"features.{len(rows) + 1}")
        self.features = nn.Sequential(*layers)
        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        units = round_channels(units * width)
        self.classifier = nn.Sequential(
            nn.Linear(6 * channels, units), nn.Hardswish(), dropout_layer(dropout), nn.Linear(units, num_classes)
        )
        initialise(self, {conv_class(spatial_dims): conv_start, nn.Linear: dense_start})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        logits: Tensor = self.classifier(self.avgpool(self.features(input)))
        return logits


def mobilenet_v3(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    rows: tuple[Bottleneck, ...],
    units: int,
    width: float = 1.0,
    dropout: float = 0.2,
) -> MobileNetV3:
    """MobileNet v3: inverted residuals whose sizes a search chose, some with gated channels, deep ones with hard swish.

    Hard swish, x relu6(x + 3) / 6, needs no exponential; it pays off in the deeper half. The widest layer comes after
    the mean, where it costs little. ``width`` scales all layers, to multiples of 8. Inputs may be of any size.

    Built is the usual form, whose weights are published. The gates squeeze to a quarter of the channels, rounded to 8;
    dense layers after the mean stand for the paper's 1x1 convolutions, which compute the same, with a dropout of 0.2
    between them; batch norm has an eps of 0.001 and a momentum of 0.01.

    Paper: Howard, Sandler, Chu and others, Searching for MobileNetV3, 2019. Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> mobilenet_v3(2, 1, 10, rows=_SMALL, units=1024, width=0.25)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """
    return MobileNetV3(spatial_dims, in_channels, num_classes, rows, units, width=width, dropout=dropout)


for _name, _rows, _units, _parameters, _macs, _accuracy in (
    (
        "large",
        _LARGE,
        1280,
        5_483_032,
        216_589_760,
        "ImageNet top-1 75.27 % (torchvision's second weights; 74.04 % the first); paper: 75.2 %.",
    ),
    ("small", _SMALL, 1024, 2_542_856, 56_510_400, "ImageNet top-1 67.67 % (torchvision's weights); paper: 67.4 %."),
):
    register(
        name=f"mobilenet_v3_{_name}",
        summary=f"{len(_rows)} bottlenecks found by search, with gated channels and hard swish; width multiplier",
        paper="Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam: Searching for MobileNetV3",
        year=2019,
        input_size=224,
        min_input_size=1,
        in_channels=3,
        num_classes=1000,
        parameters=_parameters,
        macs=_macs,
        accuracy=_accuracy,
    )(functools.partial(mobilenet_v3, rows=_rows, units=_units))
