"""V-Net: a U-shaped network for volumes whose stages learn residuals, without a pool; and its Dice loss.

Strided convolutions shrink the maps, so that nothing but convolutions has to be kept for the backward pass, and each
stage adds its input to the output of its convolutions. Where little of a volume is foreground, a loss that counts
voxels is content with all background; the overlap of two sets, Dice's coefficient, is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from striate.errors import ModelError
from striate.models.dense import crop
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, conv_transpose_class, norm_layer

if TYPE_CHECKING:
    from torch import Tensor

    from striate.nn import Norm

# Convolutions of the stages on the way down, and of those on the way up.
_LEFT, _RIGHT = (1, 2, 3, 3, 3), (3, 3, 2, 1)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 minus the mean Dice coefficient, 2 sum(p g) / (sum(p^2) + sum(g^2)), over samples and all classes but 0.

    p are the softmax of ``logits`` (N, classes, *spatial), g the one-hot ``labels`` (N, *spatial). Class 0 is the
    background. A class that a sample does not have is to be predicted nowhere. Raises `ModelError` for one class.

    >>> labels = torch.tensor([[0, 1, 1]])
    >>> round(dice_loss(100 * F.one_hot(labels).float().mT, labels).item(), 6)
    0.0
    """
    classes = logits.shape[1]
    if classes < 2:
        raise ModelError("logits of a background and at least one other class", f"{classes}", "Use num_classes=2.")
    chances = logits.softmax(1)[:, 1:].flatten(2)
    targets = F.one_hot(labels, classes).movedim(-1, 1)[:, 1:].flatten(2).to(chances.dtype)
    # Adding one part in a million makes nothing predicted where nothing is a perfect match.
    both = 2 * (chances * targets).sum(2) + 1e-6
    each = chances.square().sum(2) + targets.square().sum(2) + 1e-6
    return 1 - (both / each).mean()


class Rectified(nn.Sequential):
    """A convolution or a transposed one, a norm if there is one, and PReLU with a slope per channel.

    >>> Rectified(1, conv_class(1)(2, 8, 2, 2))(torch.zeros(1, 2, 10)).shape
    torch.Size([1, 8, 5])
    """

    def __init__(self, spatial_dims: int, conv: nn.Module, norm: Norm = None) -> None:
        super().__init__(conv)
        channels = int(conv.out_channels)  # type: ignore[arg-type]  # of every convolution
        if norm is not None:
            self.append(norm_layer(norm, spatial_dims, channels))
        self.append(nn.PReLU(channels))


class ResidualStage(nn.Module):
    """5-wide convolutions, to whose last one the stage's input is added: (N, C_in, *spatial) -> (N, C, *spatial).

    An input with fewer channels, as the network's own, is repeated, channel after channel, until it has C.

    >>> ResidualStage(1, 1, 16, depth=1)(torch.zeros(1, 1, 10)).shape
    torch.Size([1, 16, 10])
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, depth: int, norm: Norm = None) -> None:
        super().__init__()
        conv = conv_class(spatial_dims)
        self.channels = channels
        self.convs = nn.Sequential()
        for number in range(depth):
            last = conv(channels if number else in_channels, channels, 5, padding=2)
            if number < depth - 1:
                self.convs.append(Rectified(spatial_dims, last, norm))
        self.last = last
        self.norm = norm_layer(norm, spatial_dims, channels)
        self.act = nn.PReLU(channels)

    def forward(self, input: Tensor) -> Tensor:
        """Add the residual to the input."""
        residual = self.norm(self.last(self.convs(input)))
        copies = -(-self.channels // input.shape[1])
        shortcut = input if copies == 1 else input.repeat(1, copies, *[1] * (input.ndim - 2))
        output: Tensor = self.act(residual + shortcut[:, : self.channels])
        return output


class VNet(nn.Module):
    """Five residual stages down, four up, bridged: (N, C, *spatial) -> logits (N, classes, *spatial) of the same size.

    ``width`` is the number of channels of the first stage; each strided convolution doubles it. Raises `ModelError`
    when called with an input of another rank or other channels.

    >>> VNet(1, 1, 2, width=2)(torch.zeros(1, 1, 37)).shape
    torch.Size([1, 2, 37])
    """

    stages = tuple(f"left.{stage}" for stage in range(len(_LEFT))) + tuple(
        f"right.{stage}" for stage in range(len(_RIGHT))
    )
    head = "output"

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, width: int = 16, *, norm: Norm = None
    ) -> None:
        super().__init__()
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ModelError("width to be a positive integer", f"width={width!r}", "The paper's is 16.")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        conv, transposed = conv_class(spatial_dims), conv_transpose_class(spatial_dims)
        widths = [width << stage for stage in range(len(_LEFT))]
        self.left, self.down, self.up, self.right = (nn.ModuleList() for _ in range(4))
        self.left.append(ResidualStage(spatial_dims, in_channels, width, _LEFT[0], norm))
        for channels, depth in zip(widths[1:], _LEFT[1:], strict=True):
            shrinking = conv(channels // 2, channels, 2, stride=2)
            self.down.append(Rectified(spatial_dims, shrinking, norm))
            self.left.append(ResidualStage(spatial_dims, channels, channels, depth, norm))
        for beside, depth in zip(widths[-2::-1], _RIGHT, strict=True):
            doubling = transposed(channels, beside, 2, stride=2)
            self.up.append(Rectified(spatial_dims, doubling, norm))
            channels = 2 * beside
            self.right.append(ResidualStage(spatial_dims, channels, channels, depth, norm))
        self.output = conv(channels, num_classes, 1)
        initialise(self, {_ConvNd: _initialise})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to the logits of every position."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        maps = self.left[0](input)
        bridges = []
        for down, stage in zip(self.down, self.left[1:], strict=True):
            bridges.append(maps)
            maps = stage(down(_even(maps)))
        for up, stage in zip(self.up, self.right, strict=True):
            bridge = bridges.pop()
            maps = stage(torch.cat([crop(up(maps), bridge.shape[2:], start=0), bridge], dim=1))
        logits: Tensor = self.output(maps)
        return logits


def _even(maps: Tensor) -> Tensor:
    """Add a zero at the end of each axis of odd length, so that a stride of 2 leaves nothing out."""
    pads = [length % 2 * after for length in reversed(maps.shape[2:]) for after in (0, 1)]
    return F.pad(maps, pads) if any(pads) else maps


def _initialise(layer: Any) -> None:
    # He's rule for PReLU, whose slopes begin at a quarter; of a transposed kernel one tap makes an output.
    taps = 1 if isinstance(layer, _ConvTransposeNd) else layer.weight[0, 0].numel()
    nn.init.normal_(layer.weight, std=(2 / (1 + 0.25**2) / (layer.in_channels * taps)) ** 0.5)
    nn.init.zeros_(layer.bias)


@register(
    summary="V-Net: residual stages of 5-wide convolutions down and up, strided instead of pooled, PReLU",
    paper="Milletari, Navab, Ahmadi: V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image "
    "Segmentation",
    year=2016,
    task="segmentation",
    input_size=128,
    min_input_size=1,
    in_channels=1,
    num_classes=2,
    parameters=13_275_346,
    macs=5_028_184_064,
    accuracy="Paper: prostate in MRI (PROMISE 2012), Dice 0.869 (mean of 30 volumes).",
)
def vnet(spatial_dims: int, in_channels: int, num_classes: int, *, width: int = 16, norm: Norm = None) -> VNet:
    """V-Net: stages of 1, 2, 3, 3 and 3 convolutions of 5 per axis down, of 3, 3, 2 and 1 up, each adding its input.

    The paper's volumes are 128 x 128 x 64, where the network has 65,175,314 parameters; any size will do, as odd ones
    get a zero at the end before each stride. 16 channels are doubled by each of four strided convolutions of size 2,
    and halved by the transposed ones.

    Built are the stages of the paper's figure 2, without batch norm. A common program for PyTorch has fewer
    convolutions (1, 1, 2, 3, 2 and 2, 2, 1, 1) and batch norm, which here is ``norm="batch"``. An input of several
    channels, of which the paper does not speak, is repeated until it can be added to the first stage's 16. Of initial
    weights the paper says nothing: they follow He's rule. For its loss see `dice_loss`.

    Paper: Milletari, Navab and Ahmadi, V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
    Segmentation, 2016. Raises `ModelError` and `GeometryError`.

    >>> network = vnet(3, 1, 2, width=1)
    >>> network(torch.zeros(1, 1, 9, 16, 17)).shape
    torch.Size([1, 2, 9, 16, 17])
    """
    return VNet(spatial_dims, in_channels, num_classes, width, norm=norm)
