"""Residual networks for video: three ways to let 18 layers see time, R3D, MC3 and R(2+1)D.

Tran and others 2018 keep ResNet-18 and change only what its convolutions do along time, the first spatial axis:

==========  ==================================================  ===================================================
`r3d_18`    3x3x3 everywhere                                    motion is modelled at all depths
`mc3_18`    3x3x3 in the first stage, then 1x3x3                motion matters early, at a third of the parameters
`r2plus1d`  1x3x3, norm and ReLU, then 3x1x1, in place of each  as many parameters, twice the nonlinearities
==========  ==================================================  ===================================================

Inputs are clips (N, C, frames, height, width), in the usual form 16 frames of 112x112. Time is an axis unlike the
others here, so there is no other rank. Submodules are named as in torchvision's implementation, whose weights are
published.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias

from torch import nn

from striate.models.field import check_batch, check_smallest
from striate.models.registry import register
from striate.models.resnet import check_probability, check_width, initialise_residual, linear_drops, projection
from striate.nn import BatchNorm3d, Conv3d, GlobalAvgPool3d, StochasticDepth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

_RANK = 3


def joint_conv(in_channels: int, out_channels: int, inner: int, stride: int = 1) -> nn.Module:
    """3x3x3: space and time together. ``inner`` is ignored, here and in `frame_conv`.

    >>> joint_conv(8, 16, 0, stride=2)
    Conv3d(8, 16, kernel_size=(3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1), bias=False)
    """
    return Conv3d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def frame_conv(in_channels: int, out_channels: int, inner: int, stride: int = 1) -> nn.Module:
    """1x3x3: each frame by itself. It never strides in time.

    >>> frame_conv(8, 16, 0, stride=2)
    Conv3d(8, 16, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False)
    """
    return Conv3d(in_channels, out_channels, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False)


def factored_conv(in_channels: int, out_channels: int, inner: int, stride: int = 1) -> nn.Module:
    """1x3x3 to ``inner`` channels, norm, ReLU, 3x1x1: first space, then time.

    >>> import torch
    >>> factored_conv(8, 16, 20, stride=2)(torch.zeros(1, 8, 4, 6, 6)).shape
    torch.Size([1, 16, 2, 3, 3])
    """
    return nn.Sequential(
        frame_conv(in_channels, inner, 0, stride),
        BatchNorm3d(inner),
        nn.ReLU(),
        Conv3d(inner, out_channels, (3, 1, 1), (stride, 1, 1), padding=(1, 0, 0), bias=False),
    )


VideoConv: TypeAlias = "Callable[[int, int, int, int], nn.Module]"


def inner_channels(in_channels: int, out_channels: int) -> int:
    """The channels between space and time with which a factored convolution has as many weights as a 3x3x3 one.

    >>> inner_channels(64, 64)
    144
    """
    return in_channels * out_channels * 27 // (in_channels * 9 + out_channels * 3)


class VideoBlock(nn.Module):
    """Two convolutions made by ``conv`` and a shortcut: (N, C_in, *spatial) -> (N, channels, *smaller spatial).

    Both get the inner channels that fit the first, as in the authors' code, so that of a block whose channels grow the
    second has fewer weights than a 3x3x3 convolution.

    >>> import torch
    >>> VideoBlock(8, 16, frame_conv, stride=2)(torch.zeros(2, 8, 4, 6, 6)).shape
    torch.Size([2, 16, 4, 3, 3])
    """

    def __init__(self, in_channels: int, channels: int, conv: VideoConv, stride: int = 1, *, drop: float = 0.0) -> None:
        super().__init__()
        inner = inner_channels(in_channels, channels)
        self.conv1 = nn.Sequential(conv(in_channels, channels, inner, stride), BatchNorm3d(channels), nn.ReLU())
        self.conv2 = nn.Sequential(conv(channels, channels, inner, 1), BatchNorm3d(channels))
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            strides = (1 if conv is frame_conv else stride, stride, stride)
            self.downsample = projection(_RANK, in_channels, channels, strides, "batch")
        self.drop = StochasticDepth(drop)

    @property
    def last_norm(self) -> nn.Module:
        """The norm at the end of the residual branch."""
        return self.conv2[1]

    def forward(self, input: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        residual = self.conv2(self.conv1(input))
        output: Tensor = self.relu(self.downsample(input) + self.drop(residual))
        return output


def joint_stem(in_channels: int, width: int) -> nn.Sequential:
    """3x7x7, halving space but not time.

    >>> joint_stem(3, 64)[0]
    Conv3d(3, 64, kernel_size=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
    """
    conv = Conv3d(in_channels, width, (3, 7, 7), (1, 2, 2), padding=(1, 3, 3), bias=False)
    return nn.Sequential(conv, BatchNorm3d(width), nn.ReLU())


def factored_stem(in_channels: int, width: int) -> nn.Sequential:
    """1x7x7, halving space, to 45 channels of the usual 64, norm, ReLU, 3x1x1.

    >>> factored_stem(3, 64)[0]
    Conv3d(3, 45, kernel_size=(1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
    """
    inner = max(1, width * 45 // 64)
    return nn.Sequential(
        Conv3d(in_channels, inner, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False),
        BatchNorm3d(inner),
        nn.ReLU(),
        Conv3d(inner, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
        BatchNorm3d(width),
        nn.ReLU(),
    )


class VideoResNet(nn.Module):
    """An 18-layer residual network for clips: (N, in_channels, frames, height, width) -> logits (N, num_classes).

    ``convs`` makes the convolutions of each stage, and ``stem`` what comes before. The stages have ``width`` to
    ``8 * width`` channels. Raises `ModelError` for options that make no sense, and for inputs of another rank or
    channels.

    >>> import torch
    >>> VideoResNet(3, 5, joint_stem, [frame_conv] * 4, width=4)(torch.randn(2, 3, 4, 32, 32)).shape
    torch.Size([2, 5])
    """

    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    head = "fc"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stem: Callable[[int, int], nn.Sequential],
        convs: Sequence[VideoConv],
        width: int = 64,
        *,
        stochastic_depth: float = 0.0,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        check_width(width, usual=64)
        check_probability(stochastic_depth)
        self.in_channels = in_channels
        self.stem = stem(in_channels, width)
        blocks = 2
        drops = iter(linear_drops(stochastic_depth, blocks * len(convs)))
        before = width
        for number, (name, conv) in enumerate(zip(self.stages, convs, strict=True)):
            channels = width * 2**number
            stage = nn.Sequential()
            for place in range(blocks):
                stride = 2 if number and not place else 1
                stage.append(VideoBlock(before, channels, conv, stride, drop=next(drops)))
                before = channels
            self.add_module(name, stage)
        self.avgpool = GlobalAvgPool3d(keepdim=False)
        self.fc = nn.Linear(before, num_classes)
        initialise_residual(self, _RANK, zero_init_residual)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch of clips to logits."""
        check_batch(input, _RANK, self.in_channels)
        check_smallest(input, 1)
        output = self.stem(input)
        for stage in self.stages:
            output = self.get_submodule(stage)(output)
        logits: Tensor = self.fc(self.avgpool(output))
        return logits


def video_resnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    stem: Callable[[int, int], nn.Sequential],
    convs: Sequence[VideoConv],
    width: int = 64,
    stochastic_depth: float = 0.0,
    zero_init_residual: bool = False,
) -> VideoResNet:
    """An 18-layer residual network for video clips, (N, in_channels, frames, height, width), usually 16x112x112.

    The stem halves height and width but not time and nothing is pooled; stages 2 to 4 halve all three, but for MC3,
    whose stages 2 to 4 see frames one by one. The forms are those whose weights torchvision publishes, down to the
    names of the tensors. Both convolutions of a factored block share the inner channels that fit its first, so the
    parameters are somewhat fewer than the paper's equal number.

    Options: ``width``, the channels of the first stage; ``stochastic_depth``, the probability of dropping the last
    block for a sample in training, rising linearly from the input; ``zero_init_residual`` to begin with blocks that do
    nothing. Convolutions begin normal with a variance of 2 / fan-out, the dense layer with a deviation of 0.01.

    Paper: Tran, Wang, Torresani, Ray, LeCun and Paluri, A Closer Look at Spatiotemporal Convolutions for Action
    Recognition, 2018. Raises `ModelError`.

    >>> import torch
    >>> network = video_resnet(3, 3, 5, stem=factored_stem, convs=[factored_conv] * 4, width=4)
    >>> network(torch.randn(2, 3, 4, 32, 32)).shape
    torch.Size([2, 5])
    """
    return VideoResNet(
        in_channels,
        num_classes,
        stem,
        convs,
        width,
        stochastic_depth=stochastic_depth,
        zero_init_residual=zero_init_residual,
    )


# name, summary, stem, convolutions per stage, parameters, macs, Kinetics-400 top-1
for _name, _summary, _stem, _convs, _parameters, _macs, _accuracy in (
    ("r3d_18", "3x3x3", joint_stem, (joint_conv,) * 4, 33_371_472, 40_696_553_472, "63.2"),
    (
        "mc3_18",
        "3x3x3 early and 1x3x3 late",
        joint_stem,
        (joint_conv, *[frame_conv] * 3),
        11_695_440,
        43_342_635_008,
        "64.0",
    ),
    (
        "r2plus1d_18",
        "1x3x3 and 3x1x1 in turn",
        factored_stem,
        (factored_conv,) * 4,
        31_505_325,
        40_519_080_960,
        "67.5",
    ),
):
    register(
        name=_name,
        summary=f"ResNet-18 for video, convolutions {_summary}",
        paper="Tran, Wang, Torresani, Ray, LeCun, Paluri: A Closer Look at Spatiotemporal Convolutions",
        year=2018,
        input_size=(16, 112, 112),
        min_input_size=1,
        spatial_dims=(_RANK,),
        in_channels=3,
        num_classes=400,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"Kinetics-400 top-1 {_accuracy} % (torchvision's weights).",
    )(functools.partial(video_resnet, stem=_stem, convs=_convs))
