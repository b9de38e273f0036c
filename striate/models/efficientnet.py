"""EfficientNet: one small network, scaled in depth, width and resolution together.

B0 is a row of inverted bottlenecks, found by a search. B1 to B7 multiply its channels, its blocks per stage and the
inputs' size by factors that grow in step (section 3.3 of the paper), so that every size spends its arithmetic in the
same proportions.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, cast

from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.models.field import check_batch
from striate.models.parts import conv_norm_act, initialise, round_channels
from striate.models.registry import register
from striate.nn import SqueezeExcitation, StochasticDepth, dropout_layer, pool_class

if TYPE_CHECKING:
    from torch import Tensor

    from striate.nn import Norm

_PAPER = "Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"

# Table 1 without the stem and the last convolution: expansion, kernel size, stride, channels, blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM_CHANNELS = 32


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel, gate, and narrow again: (N, C_in, *spatial) -> (N, C_out, *spatial // stride).

    Where the shape stays the same the input is added, and ``drop`` is the probability that a sample skips the block
    in training. The gate's bottleneck has a quarter of the channels that come in, not of the widened ones.

    >>> import torch
    >>> InvertedBottleneck(2, 8, 8, 3, 1, expansion=6, drop=0.1)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        expansion: int,
        drop: float,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        wide = round_channels(in_channels * expansion)
        make = functools.partial(conv_norm_act, spatial_dims, norm=norm, activation="silu")
        layers: list[nn.Module] = [make(in_channels, wide, 1)] if wide != in_channels else []
        self.block = nn.Sequential(
            *layers,
            make(wide, wide, kernel_size, stride, groups=wide),
            SqueezeExcitation(spatial_dims, wide, max(1, in_channels // 4), activation="silu"),
            make(wide, out_channels, 1, activation=None),
        )
        self.stochastic_depth = StochasticDepth(drop)
        self.keeps_shape = stride == 1 and in_channels == out_channels

    def forward(self, input: Tensor) -> Tensor:
        """Apply the block."""
        output: Tensor = self.block(input)
        return self.stochastic_depth(output) + input if self.keeps_shape else output


class EfficientNet(nn.Module):
    """A stem, seven stages of inverted bottlenecks and a dense layer: (N, C, *spatial) -> (N, classes).

    ``width`` multiplies the channels, which are rounded to multiples of 8, ``depth`` the blocks per stage, rounded up.
    The probability of skipping a block grows evenly from 0 in the first block towards ``stochastic_depth``. Raises
    `ModelError` when called with an input of another rank or other channels.

    >>> import torch
    >>> EfficientNet(1, 2, 5, width=0.25)(torch.zeros(2, 2, 40)).shape
    torch.Size([2, 5])
    """

    stages = tuple(f"features.{index}" for index in range(9))
    head = "classifier.1"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        width: float = 1.0,
        depth: float = 1.0,
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        make = functools.partial(conv_norm_act, spatial_dims, norm=norm, activation="silu")
        channels = round_channels(_STEM_CHANNELS * width)
        layers: list[nn.Module] = [make(in_channels, channels, 3, 2)]
        counts = [math.ceil(blocks * depth) for *_, blocks in _STAGES]
        for index, (expansion, kernel_size, stride, base, _) in enumerate(_STAGES):
            stage = nn.Sequential()
            for block in range(counts[index]):
                drop = stochastic_depth * (sum(counts[:index]) + block) / sum(counts)
                out_channels, step = round_channels(base * width), stride if block == 0 else 1
                stage.append(
                    InvertedBottleneck(spatial_dims, channels, out_channels, kernel_size, step, expansion, drop, norm)
                )
                channels = out_channels
            layers.append(stage)
        self.features = nn.Sequential(*layers, make(channels, 4 * channels, 1))
        self.avgpool = pool_class("global_avg", spatial_dims)()
        self.classifier = nn.Sequential(dropout_layer(dropout), nn.Linear(4 * channels, num_classes))
        initialise(self, {_ConvNd: _initialise_convolution, nn.Linear: _initialise_linear})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        logits: Tensor = self.classifier(self.avgpool(self.features(input)).flatten(1))
        return logits


def _initialise_convolution(layer: nn.Module) -> None:
    layer = cast("_ConvNd", layer)
    # He's rule by the outputs. As in the authors' code only the outputs that one input reaches count, of which a
    # depthwise convolution has one channel; torchvision counts all channels there, and so starts far smaller.
    positions = math.prod(layer.kernel_size)
    nn.init.normal_(layer.weight, std=math.sqrt(2 * layer.groups / (layer.out_channels * positions)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _initialise_linear(layer: nn.Module) -> None:
    layer = cast("nn.Linear", layer)
    bound = 1 / math.sqrt(layer.out_features)
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)


def efficientnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    dropout: float = 0.2,
    stochastic_depth: float = 0.2,
    slow_norm: bool = False,
) -> EfficientNet:
    """EfficientNet: inverted bottlenecks with squeeze-and-excitation, scaled in depth, width and resolution together.

    Stages of 16, 24, 40, 80, 112, 192 and 320 channels times ``width``, of 1, 2, 2, 3, 3, 4 and 1 blocks times
    ``depth``, with SiLU, dropout before the dense layer and stochastic depth. The inputs' size is free; the usual one
    of each network is that of its published weights. The paper's B2 takes 260 per axis, torchvision's weights 288;
    the latter is registered.

    The names and shapes of the tensors are torchvision's. From B5 on its batch norms have an eps of 0.001 and a
    momentum of 0.01 as the authors' have (``slow_norm``); the smaller networks have PyTorch's defaults there. The
    authors' code pads strided convolutions as TensorFlow does, one more after the input than before; this one evenly.

    Paper: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019.
    Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     efficientnet(2, 3, 1000)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 1000])
    """
    batch_norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[spatial_dims - 1]
    norm = functools.partial(batch_norm, eps=0.001, momentum=0.01) if slow_norm else batch_norm
    return EfficientNet(
        spatial_dims,
        in_channels,
        num_classes,
        width=width,
        depth=depth,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
        norm=norm,
    )


# Width, depth, dropout, input size, parameters, macs, top-1 accuracy of torchvision's weights.
_SIZES = (
    (1.0, 1.0, 0.2, 224, 5_288_548, 385_814_752, "77.69"),
    (1.0, 1.1, 0.2, 240, 7_794_184, 686_802_832, "79.84"),
    (1.1, 1.2, 0.3, 288, 9_109_994, 1_087_529_456, "80.61"),
    (1.2, 1.4, 0.3, 300, 12_233_232, 1_827_141_392, "82.01"),
    (1.4, 1.8, 0.4, 380, 19_341_616, 4_393_771_024, "83.38"),
    (1.6, 2.2, 0.4, 456, 30_389_784, 10_266_384_752, "83.44"),
    (1.8, 2.6, 0.5, 528, 43_040_704, 19_067_593_536, "84.01"),
    (2.0, 3.1, 0.5, 600, 66_347_960, 37_745_884_192, "84.12"),
)

for _index, (_width, _depth, _dropout, _size, _parameters, _macs, _accuracy) in enumerate(_SIZES):
    register(
        name=f"efficientnet_b{_index}",
        summary=f"EfficientNet-B{_index}: width {_width:g}, depth {_depth:g}, inputs of {_size}",
        paper=_PAPER,
        year=2019,
        input_size=_size,
        min_input_size=1,
        in_channels=3,
        num_classes=1000,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"ImageNet top-1 {_accuracy} % (torchvision's weights).",
    )(functools.partial(efficientnet, width=_width, depth=_depth, dropout=_dropout, slow_norm=_index >= 5))
