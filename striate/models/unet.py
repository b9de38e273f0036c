"""U-Net: a path down that sees ever more, a path back up to every pixel, and a bridge at every level between them.

Going down, two convolutions and a pool alternate: the maps get coarser and more. Going up, each level doubles the grid
and sees, beside what comes from below, the map that the way down had at this level: the one knows what is there, the
other where exactly. The same code builds the plane network of 2015 and the volumetric one of 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from striate.errors import ModelError
from striate.models.dense import crop, upsampling
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import ConvBlock, conv_class, dropout_layer, pool_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.nn import Norm


class TwoConvolutions(nn.Sequential):
    """Two 3-wide convolutions, each with a norm if wanted, and ReLU: (N, C, *spatial) -> (N, channels[1], *spatial).

    Each keeps the size, or, with ``padded=False``, takes a position off every side.

    >>> TwoConvolutions(1, 2, (4, 8), padded=False)(torch.zeros(1, 2, 10)).shape
    torch.Size([1, 8, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: tuple[int, int],
        *,
        padded: bool = True,
        norm: Norm = None,
    ) -> None:
        first, second = channels
        pad = 1 if padded else 0
        super().__init__(
            ConvBlock(spatial_dims, in_channels, first, 3, padding=pad, bias=True, norm=norm),
            ConvBlock(spatial_dims, first, second, 3, padding=pad, bias=True, norm=norm),
        )


class UNet(nn.Module):
    """Levels of two convolutions down and up again, bridged: (N, C, *spatial) -> logits (N, classes, *spatial).

    ``levels`` are the channels of the two convolutions on each level of the way down; on the way up both have the
    channels of the second. ``halve`` says whether doubling the grid also brings the channels to those of its new level.
    With ``padding="same"`` the output has the input's size, whatever that is: of an odd length pools keep the last
    position, and what it is doubled to is cut off again. With ``"valid"`` the output is smaller by what the
    convolutions take off.

    Raises `ModelError` for a wrong ``padding`` or ``up``, and when called with an input of another rank, of other
    channels, or smaller than ``smallest``, below which "valid" leaves nothing.

    >>> UNet(1, 2, 3, ((4, 4), (8, 8), (16, 16)))(torch.zeros(1, 2, 37)).shape
    torch.Size([1, 3, 37])
    """

    head = "output"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        levels: Sequence[tuple[int, int]],
        *,
        halve: bool = True,
        padding: str = "same",
        up: str = "transposed",
        norm: Norm = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if padding not in ("same", "valid"):
            raise ModelError(
                "padding to be 'same' or 'valid'", f"padding={padding!r}", "The paper's is 'valid', with tiled inputs."
            )
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.padded = padding == "same"
        self.smallest = 1 if self.padded else smallest_valid(len(levels) - 1)
        self.pool = pool_class("max", spatial_dims)(2, 2, ceil_mode=self.padded)
        self.contract, self.up, self.expand = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        channels, bridged = in_channels, []
        for number, pair in enumerate(levels):
            level = TwoConvolutions(spatial_dims, channels, pair, padded=self.padded, norm=norm)
            if number >= len(levels) - 2:
                level.append(dropout_layer(dropout))
            self.contract.append(level)
            channels = pair[1]
            bridged.append(channels)
        for beside in bridged[-2::-1]:
            raised = beside if halve else channels
            self.up.append(upsampling(spatial_dims, channels, raised, up))
            pair = (beside, beside)
            self.expand.append(TwoConvolutions(spatial_dims, raised + beside, pair, padded=self.padded, norm=norm))
            channels = beside
        self.output = conv_class(spatial_dims)(channels, num_classes, 1)
        self.stages = tuple(f"contract.{level}" for level in range(len(self.contract)))
        self.stages += tuple(f"expand.{level}" for level in range(len(self.expand)))
        initialise(self, {_ConvNd: _initialise})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to the logits of every position."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, self.smallest)
        maps: Tensor = self.contract[0](input)
        bridges = []
        for level in self.contract[1:]:
            bridges.append(maps)
            maps = level(self.pool(maps))
        for up, level in zip(self.up, self.expand, strict=True):
            maps, bridge = up(maps), bridges.pop()
            if self.padded:
                maps = crop(maps, bridge.shape[2:], start=0)
            else:
                bridge = crop(bridge, maps.shape[2:])
            maps = level(torch.cat([bridge, maps], dim=1))
        logits: Tensor = self.output(maps)
        return logits


def smallest_valid(poolings: int) -> int:
    """The smallest input that unpadded convolutions leave something of: a U-Net with so many levels below the first.

    >>> smallest_valid(4), smallest_valid(3)
    (188, 92)
    """
    # Backwards from one position: each level's two convolutions cost 4, a doubling must give at least so many.
    size = 1
    for _ in range(poolings):
        size = -(-(size + 4) // 2)
    for _ in range(poolings):
        size = 2 * (size + 4)
    return size + 4


def _initialise(layer: Any) -> None:
    # So many values of the input go into one of the output; a transposed kernel's taps go to different outputs each.
    taps = 1 if isinstance(layer, _ConvTransposeNd) else layer.weight[0, 0].numel()
    # Only the 3-wide convolutions are rectified, which halves the mean square.
    gain = 2 if layer.kernel_size[0] == 3 else 1
    nn.init.normal_(layer.weight, std=(gain / (layer.in_channels * taps)) ** 0.5)
    nn.init.zeros_(layer.bias)


def _check_size(width: int, depth: int) -> None:
    for name, value, least in (("width", width, 1), ("depth", depth, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ModelError(f"{name} to be an integer of at least {least}", f"{name}={value!r}", "Enlarge it.")


@register(
    summary="U-Net: four levels down and up, with bridges; 64 to 1024 channels",
    paper="Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation",
    year=2015,
    task="segmentation",
    input_size=256,
    min_input_size=1,
    in_channels=1,
    num_classes=2,
    parameters=31_030_658,
    macs=48_096_083_968,
    accuracy="Paper: cell tracking challenge 2015, IoU 92.03 % on PhC-U373 and 77.56 % on DIC-HeLa.",
)
def unet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    width: int = 64,
    depth: int = 4,
    padding: str = "same",
    up: str = "transposed",
    norm: Norm = None,
    dropout: float = 0.5,
) -> UNet:
    """U-Net of 2015: 64 channels, doubled by each of four pools and halved by each doubling of the grid, in any rank.

    The paper's convolutions are not padded: ``padding="valid"`` maps 572x572 to the 388x388 in its middle, and wants
    inputs of 188 or more per axis, of sizes that are even before every pool (188, 204, ...). Built by default is what
    most programs build, with padding, so that the output has the size of the input, which can be any. The tensors are
    the same.

    Options: ``width``, the channels of the first level; ``depth``, the number of pools; ``up``, "transposed", as most
    take the paper's "up-convolution", or "resize", linear interpolation and a 1-wide convolution; ``norm``, "batch" for
    one after every 3-wide convolution, of which the paper has none; ``dropout`` behind the two lowest levels of the way
    down, where the authors' program has it. Weights start normal with a variance of 2 / inputs, or 1 / inputs where no
    ReLU follows, so that maps keep their size.

    Paper: Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015.
    Raises `ModelError` and `GeometryError`.

    >>> network = unet(2, 1, 2, width=2)
    >>> network(torch.zeros(1, 1, 30, 45)).shape
    torch.Size([1, 2, 30, 45])
    >>> with torch.device("meta"):
    ...     unet(2, 1, 2, padding="valid")(torch.zeros(1, 1, 572, 572)).shape
    torch.Size([1, 2, 388, 388])
    """
    _check_size(width, depth)
    levels = [(width << level, width << level) for level in range(depth + 1)]
    return UNet(spatial_dims, in_channels, num_classes, levels, padding=padding, up=up, norm=norm, dropout=dropout)


@register(
    summary="3-D U-Net: three levels down and up, with bridges and batch norm; 32 to 512 channels",
    paper="Çiçek, Abdulkadir, Lienkamp, Brox, Ronneberger: 3D U-Net: Learning Dense Volumetric Segmentation from "
    "Sparse Annotation",
    year=2016,
    task="segmentation",
    spatial_dims=(3,),
    input_size=64,
    min_input_size=1,
    in_channels=3,
    num_classes=3,
    parameters=19_075_523,
    macs=244_704_083_968,
    accuracy="Paper: Xenopus kidney, IoU 86.3 % semi-automated (mean of three folds), 70.4 % of a new volume.",
)
def unet_3d(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    width: int = 32,
    depth: int = 3,
    padding: str = "same",
    up: str = "transposed",
    norm: Norm = "batch",
    dropout: float = 0.0,
) -> UNet:
    """3-D U-Net of 2016: channels double before each of three pools, so that no level is a bottleneck; batch norm.

    The way down has 32 and 64 channels, then 64 and 128, 128 and 256, and 256 and 512; doubling the grid keeps the
    channels, and both convolutions of a level up have what that level's bridge has. As published, convolutions are not
    padded: ``padding="valid"`` maps 132 x 132 x 116 to 44 x 44 x 28, and wants 92 or more per axis. Built is what most
    programs build, with padding. The paper counts 19,069,955 parameters, which leaves out the norms' 4,672 and the 896
    biases of the transposed convolutions. Other options, and the initial weights, are those of `unet`.

    Paper: Çiçek, Abdulkadir, Lienkamp, Brox and Ronneberger, 3D U-Net: Learning Dense Volumetric Segmentation from
    Sparse Annotation, 2016. Raises `ModelError` and `GeometryError`.

    >>> unet_3d(3, 1, 2, width=2).eval()(torch.zeros(1, 1, 5, 8, 9)).shape
    torch.Size([1, 2, 5, 8, 9])
    """
    _check_size(width, depth)
    levels = [(width << level, width << (level + 1)) for level in range(depth + 1)]
    return UNet(
        spatial_dims,
        in_channels,
        num_classes,
        levels,
        halve=False,
        padding=padding,
        up=up,
        norm=norm,
        dropout=dropout,
    )
