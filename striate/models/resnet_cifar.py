"""The residual networks of the CIFAR-10 study: thin, deep, and with shortcuts that have no parameters, in any rank.

He and others 2016, section 4.2: a 3x3 convolution of 16 channels, then three stages of n blocks with 16, 32 and 64
channels on maps of 32, 16 and 8 per axis, the mean and one dense layer: 6n + 2 layers with weights. There they saw
depth itself at work, as plain networks of the same layers got worse from 20 to 56 layers, and these better up to 110.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn import functional as F

from striate.models.field import check_batch, check_smallest
from striate.models.registry import register
from striate.models.resnet import BasicBlock, check_probability, check_width, initialise_residual, linear_drops
from striate.nn import Norm, conv_class, norm_layer, pool_class

if TYPE_CHECKING:
    from torch import Tensor


class PaddedShortcut(nn.Module):
    """Every other position, and channels of zeros around: (N, C, *spatial) -> (N, C + added, *ceil(spatial / 2)).

    The paper's option A: the shortcut stays the identity on what it keeps, and has no parameters.

    >>> import torch
    >>> PaddedShortcut(added=2)(torch.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[0., 0.],
             [1., 3.],
             [0., 0.]]])
    """

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added

    def forward(self, input: Tensor) -> Tensor:
        """Return the smaller, deeper input."""
        every_other: list[Any] = [slice(None, None, 2)] * (input.ndim - 2)
        output = input[(..., *every_other)]
        before = self.added // 2
        return F.pad(output, [0, 0] * (input.ndim - 2) + [before, self.added - before])

    def extra_repr(self) -> str:
        """The number of channels added."""
        return f"added={self.added}"


class CifarResNet(nn.Module):
    """Three stages of ``blocks`` residual blocks of two 3x3 convolutions: (N, C, *spatial) -> logits (N, num_classes).

    The stages have ``width``, ``2 * width`` and ``4 * width`` channels. Raises `ModelError` for options that make no
    sense, and when called with an input of another rank or channels.

    >>> import torch
    >>> CifarResNet(1, 2, 10, blocks=1, width=4)(torch.randn(3, 2, 32)).shape
    torch.Size([3, 10])
    """

    stages: tuple[str, ...] = ("layer1", "layer2", "layer3")
    head = "fc"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        blocks: int,
        width: int = 16,
        *,
        norm: Norm = "batch",
        stochastic_depth: float = 0.0,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        check_width(width, usual=16)
        check_probability(stochastic_depth)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.conv1 = conv_class(spatial_dims)(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = norm_layer(norm, spatial_dims, width)
        self.relu = nn.ReLU()

        drops = iter(linear_drops(stochastic_depth, blocks * len(self.stages)))
        before = width
        for number, name in enumerate(self.stages):
            channels = width * 2**number
            stage = nn.Sequential()
            for _ in range(blocks):
                grows = channels != before
                stage.append(
                    BasicBlock(
                        spatial_dims,
                        before,
                        channels,
                        stride=2 if grows else 1,
                        shortcut=PaddedShortcut(channels - before) if grows else None,
                        norm=norm,
                        drop=next(drops),
                    )
                )
                before = channels
            self.add_module(name, stage)

        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.fc = nn.Linear(before, num_classes)
        initialise_residual(self, spatial_dims, zero_init_residual)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        output = self.relu(self.bn1(self.conv1(input)))
        for stage in self.stages:
            output = self.get_submodule(stage)(output)
        logits: Tensor = self.fc(self.avgpool(output))
        return logits


def cifar_resnet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    blocks: int,
    width: int = 16,
    norm: Norm = "batch",
    stochastic_depth: float = 0.0,
    zero_init_residual: bool = False,
) -> CifarResNet:
    """A thin residual network for images of about 32x32: three stages of 16, 32 and 64 channels, 6n + 2 layers.

    Where a stage begins, the shortcut takes every other position and adds channels of zeros (option A), so that these
    networks have exactly the parameters of the plain ones they were compared with. The paper does not say where the
    zeros go; here, as in the implementation whose counts are usually quoted, half go before and half after. Another
    order only renumbers the channels.

    The paper trains for 64,000 steps of 128 with learning rate 0.1, divided by 10 at 32,000 and 48,000, momentum 0.9,
    weight decay 0.0001, crops from 4 pixels of padding and flips; 110 layers begin with 0.01 until they start to learn.

    Options: ``width``, the channels of the first stage; ``norm``; ``stochastic_depth``, the probability of dropping the
    last block for a sample in training, rising linearly from the input (Huang and others 2016, who used 0.5 for 110
    layers); ``zero_init_residual`` to begin with blocks that do nothing. Convolutions begin normal with a variance of
    2 / fan-out.

    Paper: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, 2016, section 4.2. Raises `ModelError`.

    >>> network = cifar_resnet(2, 3, 10, blocks=3)
    >>> sum(parameter.numel() for parameter in network.parameters())
    269722
    """
    return CifarResNet(
        spatial_dims,
        in_channels,
        num_classes,
        blocks,
        width,
        norm=norm,
        stochastic_depth=stochastic_depth,
        zero_init_residual=zero_init_residual,
    )


# blocks per stage, parameters, macs, CIFAR-10 test error in percent
for _blocks, _parameters, _macs, _error in (
    (3, 269_722, 40_551_040, "8.75"),
    (5, 464_154, 68_862_592, "7.51"),
    (7, 658_586, 97_174_144, "7.17"),
    (9, 853_018, 125_485_696, "6.97"),
    (18, 1_727_962, 252_887_680, "6.43 (mean of five 6.61)"),
):
    register(
        name=f"resnet{6 * _blocks + 2}",
        summary=f"Three stages of {_blocks} thin residual blocks, shortcuts without parameters",
        paper="He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition",
        year=2015,
        input_size=32,
        min_input_size=1,
        in_channels=3,
        num_classes=10,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"The paper: CIFAR-10 test error {_error} %.",
    )(functools.partial(cifar_resnet, blocks=_blocks))
