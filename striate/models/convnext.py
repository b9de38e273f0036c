"""ConvNeXt: a residual network rebuilt with what vision transformers had shown to help, without attention.

Patches instead of a strided stem, depthwise 7x7 convolutions instead of attention, one layer norm and one GELU per
block, an inverted bottleneck, and separate layers that shrink the maps between the stages.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.errors import ModelError
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import ChannelNorm, StochasticDepth, conv_class, pool_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_PAPER = "Liu, Mao, Wu, Feichtenhofer, Darrell, Xie: A ConvNet for the 2020s"
_EPS = 1e-6


class ChannelsLast(nn.Module):
    """Move the channels behind the positions, where dense layers look for them: (N, C, *spatial) -> (N, *spatial, C).

    >>> ChannelsLast()(torch.zeros(1, 2, 3, 4)).shape
    torch.Size([1, 3, 4, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a view."""
        return input.movedim(1, -1)


class ChannelsFirst(nn.Module):
    """Move the channels back to their place: (N, *spatial, C) -> (N, C, *spatial).

    >>> ChannelsFirst()(torch.zeros(1, 3, 4, 2)).shape
    torch.Size([1, 2, 3, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a view."""
        return input.movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """Filter each channel with a 7-wide kernel, normalise, widen four times, GELU, narrow; the input is added.

    The shape (N, C, *spatial) is kept. ``layer_scale`` is what each channel of the branch is multiplied with at first,
    so small that every block starts as the identity (Touvron and others 2021); ``drop`` is the probability that a
    sample skips the block in training.

    >>> ConvNeXtBlock(1, 8)(torch.zeros(2, 8, 9)).shape
    torch.Size([2, 8, 9])
    """

    def __init__(self, spatial_dims: int, channels: int, layer_scale: float = 1e-6, drop: float = 0.0) -> None:
        super().__init__()
        self.block = nn.Sequential(
            conv_class(spatial_dims)(channels, channels, 7, padding=3, groups=channels),
            ChannelsLast(),
            nn.LayerNorm(channels, eps=_EPS),
            nn.Linear(channels, 4 * channels),  # a 1x1 convolution, with the channels behind
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            ChannelsFirst(),
        )
        self.layer_scale = nn.Parameter(torch.full((channels,) + (1,) * spatial_dims, layer_scale))
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the block."""
        branch: Tensor = self.stochastic_depth(self.layer_scale * self.block(input))
        return branch + input


class ConvNeXt(nn.Module):
    """Patches, then four stages of blocks with halvings between them: (N, C, *spatial) -> (N, classes).

    ``widths`` and ``depths`` are the channels and blocks of the stages. The probability of skipping a block grows
    evenly from 0 in the first to ``stochastic_depth`` in the last. Raises `ModelError` when called with an input of
    another rank, other channels, or fewer than eight patches on an axis.

    >>> ConvNeXt(1, 2, 5, widths=(4, 8, 16, 32), depths=(1, 1, 1, 1))(torch.zeros(2, 2, 40)).shape
    torch.Size([2, 5])
    """

    stages = tuple(f"features.{index}" for index in (0, 1, 3, 5, 7))
    head = "classifier.2"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        widths: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        patch: int = 4,
        stochastic_depth: float = 0.0,
        layer_scale: float = 1e-6,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels, self.smallest = spatial_dims, in_channels, 8 * patch
        conv, norm = conv_class(spatial_dims), functools.partial(ChannelNorm, eps=_EPS)
        last = max(sum(depths) - 1, 1)
        drops = (stochastic_depth * block / last for block in itertools.count())
        layers = [nn.Sequential(conv(in_channels, widths[0], patch, patch), norm(widths[0]))]
        for index, (channels, depth) in enumerate(zip(widths, depths, strict=True)):
            if index > 0:
                before = widths[index - 1]
                layers.append(nn.Sequential(norm(before), conv(before, channels, 2, 2)))
            blocks = (ConvNeXtBlock(spatial_dims, channels, layer_scale, next(drops)) for _ in range(depth))
            layers.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*layers)
        self.avgpool = pool_class("global_avg", spatial_dims)()
        self.classifier = nn.Sequential(norm(widths[-1]), nn.Flatten(), nn.Linear(widths[-1], num_classes))
        initialise(self, {_ConvNd: _initialise, nn.Linear: _initialise})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, self.smallest)
        logits: Tensor = self.classifier(self.avgpool(self.features(input)))
        return logits


def _initialise(layer: nn.Module) -> None:
    layer = cast("_ConvNd | nn.Linear", layer)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


# Width of the first stage (each later one has twice as much), blocks of the third, stochastic depth, parameters, macs,
# top-1 accuracy of torchvision's weights.
_SIZES = {
    "tiny": (96, 9, 0.1, 28_589_128, 4_455_531_264, "82.52"),
    "small": (96, 27, 0.4, 50_223_688, 8_683_712_256, "83.62"),
    "base": (128, 27, 0.5, 88_591_464, 15_354_729_472, "84.06"),
    "large": (192, 27, 0.5, 197_767_336, 34_361_433_600, "84.41"),
}


def convnext(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    size: str = "tiny",
    width: int | None = None,
    depths: Sequence[int] | None = None,
    patch: int = 4,
    layer_scale: float = 1e-6,
) -> ConvNeXt:
    """ConvNeXt: patches of 4x4, depthwise 7x7 convolutions, layer norm, GELU and inverted bottlenecks in four stages.

    The names and shapes of the tensors are torchvision's; the authors' own files hold the same numbers under other
    names. Stochastic depth is that of the authors' training on ImageNet (0.1, 0.4, 0.5 and 0.5 from the smallest to
    the largest network). Inputs need 32 positions per axis, which the last stage sees as one.

    ``width`` is the number of channels of the first stage, which each later one doubles, and ``depths`` the blocks of
    the four: others than the published ones make smaller networks, and a smaller ``patch`` serves smaller images, of at
    least eight patches per axis.

    Paper: Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, A ConvNet for the 2020s, 2022. Raises `ModelError` and
    `GeometryError`.

    >>> with torch.device("meta"):
    ...     convnext(2, 3, 1000)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 1000])
    """
    usual, blocks, stochastic_depth = _SIZES[size][:3]
    width = usual if width is None else width
    one, two, three, four = _checked((3, 3, blocks, 3) if depths is None else tuple(depths), width, patch)
    return ConvNeXt(
        spatial_dims,
        in_channels,
        num_classes,
        widths=(width, 2 * width, 4 * width, 8 * width),
        depths=(one, two, three, four),
        patch=patch,
        stochastic_depth=stochastic_depth,
        layer_scale=layer_scale,
    )


def _checked(depths: tuple[int, ...], width: int, patch: int) -> tuple[int, ...]:
    if len(depths) != 4 or not all(isinstance(each, int) and each > 0 for each in (*depths, width, patch)):
        raise ModelError(
            "a positive width and patch, and four positive depths",
            f"width={width!r}, patch={patch!r}, depths={depths!r}",
            "Give width=40, patch=2 and depths=(2, 2, 6, 2), say.",
        )
    return depths


for _name, (_width, _blocks, _, _parameters, _macs, _accuracy) in _SIZES.items():
    register(
        name=f"convnext_{_name}",
        summary=f"ConvNeXt, {_name}: {_width} to {8 * _width} channels, 3, 3, {_blocks} and 3 blocks",
        paper=_PAPER,
        year=2022,
        input_size=224,
        min_input_size=32,
        in_channels=3,
        num_classes=1000,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"ImageNet top-1 {_accuracy} % (torchvision's weights).",
    )(functools.partial(convnext, size=_name))
