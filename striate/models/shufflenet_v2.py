"""ShuffleNet v2: half of the channels pass by each unit untouched, and a shuffle mixes the halves; in any rank."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn

from striate.models.field import check_batch, check_smallest
from striate.models.parts import conv_norm_act
from striate.models.registry import register
from striate.models.shufflenet_v1 import ChannelShuffle
from striate.nn import pool_class

if TYPE_CHECKING:
    from torch import Tensor

_UNITS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """One half of the channels passes, the other goes through a bottleneck; then both are shuffled (figure 3, c and d).

    With stride 2 nothing is split: both branches see all channels, and filter them.
    (N, C_in, *spatial) -> (N, C_out, *spatial / stride).

    >>> ShuffleUnit(2, 24, 116, stride=2)(torch.zeros(1, 24, 56, 56)).shape
    torch.Size([1, 116, 28, 28])
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        half = out_channels // 2
        seen = in_channels if stride > 1 else half

        def depthwise(channels: int) -> nn.Sequential:
            return conv_norm_act(spatial_dims, channels, channels, 3, stride, groups=channels, activation=None)

        self.splits = stride == 1
        # Published weights number the layers of a branch straight on.
        self.branch1 = nn.Sequential()
        if not self.splits:
            self.branch1 = nn.Sequential(*depthwise(seen), *conv_norm_act(spatial_dims, seen, half, 1))
        self.branch2 = nn.Sequential(
            *conv_norm_act(spatial_dims, seen, half, 1), *depthwise(half), *conv_norm_act(spatial_dims, half, half, 1)
        )
        self.shuffle = ChannelShuffle(2)

    def forward(self, input: Tensor) -> Tensor:
        """Return the unit's output."""
        left, right = input.chunk(2, 1) if self.splits else (input, input)
        mixed: Tensor = self.shuffle(torch.cat([self.branch1(left), self.branch2(right)], 1))
        return mixed


class ShuffleNetV2(nn.Module):
    """A convolution, a pool, sixteen units in three stages, a 1-wide convolution, mean and a dense layer.

    (N, C, *spatial) -> (N, classes). ``filters`` are those of the three stages and of the last convolution. Raises
    `ModelError` when called with an input of another rank or other channels.

    >>> ShuffleNetV2(1, 2, 10, (48, 96, 192, 1024))(torch.zeros(2, 2, 64)).shape
    torch.Size([2, 10])
    """

    stages = ("conv1", "stage2", "stage3", "conv5")
    head = "fc"

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, filters: tuple[int, int, int, int]
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        channels = 24
        self.conv1 = conv_norm_act(spatial_dims, in_channels, channels, 3, 2)
        self.maxpool = pool_class("max", spatial_dims)(3, 2, 1)
        for stage, (units, outputs) in enumerate(zip(_UNITS, filters[:3], strict=True), 2):
            first = ShuffleUnit(spatial_dims, channels, outputs, stride=2)
            others = [ShuffleUnit(spatial_dims, outputs, outputs) for _ in range(units - 1)]
            self.add_module(f"stage{stage}", nn.Sequential(first, *others))
            channels = outputs
        self.conv5 = conv_norm_act(spatial_dims, channels, filters[3], 1)
        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.fc = nn.Linear(filters[3], num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        output = self.maxpool(self.conv1(input))
        for stage in ("stage2", "stage3", "stage4"):
            output = self.get_submodule(stage)(output)
        logits: Tensor = self.fc(self.avgpool(self.conv5(output)))
        return logits


def shufflenet_v2(
    spatial_dims: int, in_channels: int, num_classes: int, *, filters: tuple[int, int, int, int]
) -> ShuffleNetV2:
    """ShuffleNet v2: made for speed as measured: as many channels out as in, no groups, half of the channels passed on.

    A unit filters half of the channels and passes on the others, which the shuffle deals out anew, so that features are
    reused as in DenseNet. The four sizes are those of the paper's table 5: 0.5, 1, 1.5 and 2 times the width. Inputs
    may be of any size. Built is the usual form, whose weights are published. It shuffles at the end of a unit, as the
    paper draws it. The paper says nothing of initial weights; here they are torch's, as in that form.

    Paper: Ma, Zhang, Zheng and Sun, ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, 2018.
    Raises `ModelError` and `GeometryError`.

    >>> shufflenet_v2(2, 1, 10, filters=(48, 96, 192, 1024))(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """
    return ShuffleNetV2(spatial_dims, in_channels, num_classes, filters)


for _width, _filters, _parameters, _macs, _top_1, _paper_error in (
    ("0_5", (48, 96, 192, 1024), 1_366_792, 40_476_448, 60.55, 39.7),
    ("1_0", (116, 232, 464, 1024), 2_278_604, 144_907_992, 69.36, 30.6),
    ("1_5", (176, 352, 704, 1024), 3_503_624, 295_759_392, 73.00, 27.4),
    ("2_0", (244, 488, 976, 2048), 7_393_996, 583_253_464, 76.23, 25.1),
):
    register(
        name=f"shufflenet_v2_x{_width}",
        summary=f"Sixteen units that split and shuffle channels; {_width.replace('_', '.')} times the usual width",
        paper="Ma, Zhang, Zheng, Sun: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
        year=2018,
        input_size=224,
        min_input_size=1,
        in_channels=3,
        num_classes=1000,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"ImageNet top-1 {_top_1:.2f} % (torchvision's weights); paper: error {_paper_error} %.",
    )(functools.partial(shufflenet_v2, filters=_filters))
