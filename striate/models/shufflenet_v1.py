"""ShuffleNet v1: grouped pointwise convolutions, and a shuffle that lets the groups hear of each other; any rank."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn

from striate.errors import ModelError
from striate.models.field import check_batch, check_smallest
from striate.models.mobilenet_v1 import check_width
from striate.models.parts import conv_norm_act, initialise
from striate.models.registry import register
from striate.nn import conv_class, pool_class

if TYPE_CHECKING:
    from torch import Tensor

# Table 1 of the paper: outputs of stage 2 by number of groups; each later stage doubles them.
_OUTPUTS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
_UNITS = (4, 8, 4)


class ChannelShuffle(nn.Module):
    """Deal the channels out as cards: from groups one after the other to one of each group in turn; shape is kept.

    >>> ChannelShuffle(2)(torch.arange(6).reshape(1, 6, 1)).flatten().tolist()
    [0, 3, 1, 4, 2, 5]
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with its channels in the new order."""
        batch, channels, *size = input.shape
        dealt = input.reshape(batch, self.groups, channels // self.groups, *size).transpose(1, 2)
        return dealt.reshape(input.shape)

    def extra_repr(self) -> str:
        """The number of groups."""
        return f"{self.groups}"


class ShuffleUnit(nn.Module):
    """A grouped bottleneck with a shuffle after its first convolution (the paper's figure 2, b and c).

    With stride 1 the input is added; with stride 2 its average pool is put before the bottleneck's outputs. ``first``
    is the very first unit, whose few inputs are not grouped. (N, C_in, *spatial) -> (N, C_out, *spatial / stride).

    >>> ShuffleUnit(2, 24, 240, groups=3, stride=2, first=True)(torch.zeros(1, 24, 56, 56)).shape
    torch.Size([1, 240, 28, 28])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, groups: int, stride: int = 1, first: bool = False
    ) -> None:
        super().__init__()
        hidden = out_channels // 4
        added = out_channels - in_channels if stride > 1 else out_channels
        self.compress = conv_norm_act(spatial_dims, in_channels, hidden, 1, groups=1 if first else groups)
        self.shuffle = ChannelShuffle(groups)
        self.depthwise = conv_norm_act(spatial_dims, hidden, hidden, 3, stride, groups=hidden, activation=None)
        self.expand = conv_norm_act(spatial_dims, hidden, added, 1, groups=groups, activation=None)
        self.shortcut = pool_class("avg", spatial_dims)(3, 2, 1) if stride > 1 else None
        self.relu = nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        """Return the unit's output."""
        output: Tensor = self.expand(self.depthwise(self.shuffle(self.compress(input))))
        joined = output + input if self.shortcut is None else torch.cat([self.shortcut(input), output], 1)
        activated: Tensor = self.relu(joined)
        return activated


class ShuffleNetV1(nn.Module):
    """One convolution, a pool, sixteen shuffle units in three stages, mean, dense; (N, C, *spatial) -> (N, classes).

    Raises `ModelError` for a number of groups or a width that does not exist, and when called with an input of another
    rank or other channels.

    >>> ShuffleNetV1(1, 2, 10, groups=3, width=0.25)(torch.zeros(2, 2, 64)).shape
    torch.Size([2, 10])
    """

    stages = ("conv1", "stage2", "stage3", "stage4")
    head = "fc"

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, *, groups: int = 3, width: float = 1.0
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        if groups not in _OUTPUTS:
            known = ", ".join(map(str, _OUTPUTS))
            raise ModelError(f"groups to be one of {known}", f"groups={groups!r}", "The paper has no other forms.")
        check_width(width)
        # Above 1 in whole steps: so the paper's count of 292 million macs at 1.5 comes out.
        channels = _to_multiple(24 * (width if width < 1 else int(width)), groups)
        # Bottlenecks have a quarter of the channels, which the groups must share out evenly.
        outputs = _to_multiple(_OUTPUTS[groups] * width, 4 * groups)
        self.conv1 = conv_norm_act(spatial_dims, in_channels, channels, 3, 2)
        self.maxpool = pool_class("max", spatial_dims)(3, 2, 1)
        for stage, units in enumerate(_UNITS, 2):
            first = ShuffleUnit(spatial_dims, channels, outputs, groups, stride=2, first=stage == 2)
            others = [ShuffleUnit(spatial_dims, outputs, outputs, groups) for _ in range(units - 1)]
            self.add_module(f"stage{stage}", nn.Sequential(first, *others))
            channels, outputs = outputs, 2 * outputs
        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.fc = nn.Linear(channels, num_classes)
        initialise(self, {conv_class(spatial_dims): _keep_variance})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        output = self.maxpool(self.conv1(input))
        for stage in self.stages[1:]:
            output = self.get_submodule(stage)(output)
        logits: Tensor = self.fc(self.avgpool(output))
        return logits


def _to_multiple(channels: float, of: int) -> int:
    return max(1, int(channels / of + 0.5)) * of


def _keep_variance(conv: nn.Module) -> None:
    nn.init.kaiming_normal_(conv.get_parameter("weight"), nonlinearity="relu")


def shufflenet_v1(
    spatial_dims: int, in_channels: int, num_classes: int, *, groups: int, width: float = 1.0
) -> ShuffleNetV1:
    """ShuffleNet v1: pointwise convolutions, the dear part of separable ones, in groups; channels shuffled in between.

    Without the shuffle the outputs of a group would only ever depend on that group's inputs. The more groups, the more
    filters for the same work. ``width`` scales all layers (the paper's s: 0.25, 0.5, 1, 1.5 and 2), to the nearest
    numbers that the groups share out evenly, which changes some narrow forms with 2, 4 and 8 groups; the first layer
    keeps its 24 filters up to 2. The paper leaves open how wide a bottleneck with stride 2 is inside: here a quarter of
    the unit's outputs, as in the others. Inputs may be of any size. The paper says nothing of initial weights; here
    they keep the variance (He and others 2015).

    Paper: Zhang, Zhou, Lin and Sun, ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices,
    2017. Raises `ModelError` and `GeometryError`.

    >>> shufflenet_v1(2, 1, 10, groups=3, width=0.25)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """
    return ShuffleNetV1(spatial_dims, in_channels, num_classes, groups=groups, width=width)


_PAPER = "Zhang, Zhou, Lin, Sun: ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices"

for _groups, _parameters, _macs, _errors in (
    (1, 1_531_936, 143_078_976, (33.6, 45.1, 57.1)),
    (2, 1_733_848, 140_836_512, (32.7, 44.4, 56.8)),
    (3, 1_865_728, 137_460_672, (32.6, 43.2, 55.0)),
    (4, 1_968_344, 134_339_776, (32.8, 41.6, 54.2)),
    (8, 2_434_768, 138_365_952, (32.4, 42.3, 52.7)),
):
    register(
        name=f"shufflenet_v1_g{_groups}",
        summary=f"Sixteen shuffle units with pointwise convolutions in {_groups} groups; width multiplier"
        if _groups > 1
        else "Sixteen bottleneck units without groups, to compare with; width multiplier",
        paper=_PAPER,
        year=2017,
        input_size=224,
        min_input_size=1,
        in_channels=3,
        num_classes=1000,
        parameters=_parameters,
        macs=_macs,
        accuracy="Paper: ImageNet top-1 error {} %; {} % at width 0.5, {} % at 0.25.".format(*_errors),
    )(functools.partial(shufflenet_v1, groups=_groups))
