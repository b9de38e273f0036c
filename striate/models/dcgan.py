"""DCGAN: a network that draws pictures from noise, and one that tells them from real ones, each the other's mirror.

Trained against each other, both learn what pictures have in common. The paper found how to keep convolutional ones from
running off: strides instead of pools, batch norm everywhere but at the picture, no dense layers, ReLU in the generator
and leaky ReLU in the discriminator.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from striate.errors import ModelError
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, conv_transpose_class, norm_layer, pool_class

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = (
    "Radford, Metz, Chintala: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial "
    "Networks"
)


class Generator(nn.Module):
    """Noise to pictures: (N, in_channels) or (N, in_channels, *spatial) -> (N, num_classes, *picture) within -1 to 1.

    A transposed convolution of size 4 makes 4 positions per axis of one; each further one, of size 4 and stride 2,
    doubles them and halves the channels, up to ``picture_size``, which is 4 times a power of 2. Before the last,
    ``width`` channels are left. Noise of more than one position per axis gives a larger picture. Raises `ModelError`
    for other sizes, and when called with an input of another rank or other channels.

    >>> import torch
    >>> Generator(2, 100, 3, width=2, picture_size=16)(torch.randn(2, 100)).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, *, width: int = 64, picture_size: int = 64
    ) -> None:
        super().__init__()
        doublings = _doublings(width, picture_size)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        conv = conv_transpose_class(spatial_dims)
        self.main = nn.Sequential()
        channels, stages = in_channels, []
        for number in range(doublings):
            wider = width << (doublings - 1 - number)
            shape: dict[str, Any] = {"stride": 2, "padding": 1} if number else {}
            self.main.append(conv(channels, wider, 4, **shape, bias=False))
            self.main.append(norm_layer("batch", spatial_dims, wider))
            stages.append(f"main.{len(self.main)}")
            self.main.append(nn.ReLU())
            channels = wider
        self.head = f"main.{len(self.main)}"
        self.main.append(conv(channels, num_classes, 4, stride=2, padding=1, bias=False))
        self.main.append(nn.Tanh())
        self.stages = tuple(stages)
        initialise(self, {_ConvNd: _draw, _BatchNorm: _draw_norm})

    def forward(self, input: Tensor) -> Tensor:
        """Draw a batch of pictures."""
        vectors = input.ndim == 2 and input.shape[1] == self.in_channels
        noise = input[(..., *[None] * self.spatial_dims)] if vectors else input
        check_batch(noise, self.spatial_dims, self.in_channels)
        check_smallest(noise, 1)
        pictures: Tensor = self.main(noise)
        return pictures


class Discriminator(nn.Module):
    """Pictures to logits of being real: (N, in_channels, *spatial) -> (N, num_classes), where one class is usual.

    Convolutions of size 4 and stride 2 halve the positions and double the channels, from ``width``, until 4 per axis
    are left of ``picture_size``, on which the last convolution decides. Of larger pictures it sees several places, and
    the mean counts. Raises `ModelError` for other sizes, and when called with a smaller input, one of another rank, or
    one of other channels.

    >>> import torch
    >>> Discriminator(2, 3, 1, width=2, picture_size=16)(torch.randn(2, 3, 16, 16)).shape
    torch.Size([2, 1])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, *, width: int = 64, picture_size: int = 64
    ) -> None:
        super().__init__()
        halvings = _doublings(width, picture_size)
        self.spatial_dims, self.in_channels, self.smallest = spatial_dims, in_channels, picture_size
        conv = conv_class(spatial_dims)
        self.main = nn.Sequential()
        channels, stages = in_channels, []
        for number in range(halvings):
            wider = width << number
            self.main.append(conv(channels, wider, 4, stride=2, padding=1, bias=False))
            if number:
                self.main.append(norm_layer("batch", spatial_dims, wider))
            stages.append(f"main.{len(self.main)}")
            self.main.append(nn.LeakyReLU(0.2))
            channels = wider
        self.head = f"main.{len(self.main)}"
        self.main.append(conv(channels, num_classes, 4, bias=False))
        self.mean = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.stages = tuple(stages)
        initialise(self, {_ConvNd: _draw, _BatchNorm: _draw_norm})

    def forward(self, input: Tensor) -> Tensor:
        """Judge a batch of pictures."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, self.smallest)
        logits: Tensor = self.mean(self.main(input))
        return logits


def _doublings(width: int, picture_size: int) -> int:
    """How often 4 positions are doubled to get the picture."""
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise ModelError("width to be a positive integer", f"width={width!r}", "The usual one is 64.")
    if not isinstance(picture_size, int) or picture_size < 8 or picture_size & (picture_size - 1):
        raise ModelError(
            "picture_size to be a power of 2 of at least 8",
            f"picture_size={picture_size!r}",
            "Resize the pictures, to 64 for example.",
        )
    return int(math.log2(picture_size)) - 2


def _draw(layer: Any) -> None:
    nn.init.normal_(layer.weight, std=0.02)


def _draw_norm(layer: Any) -> None:
    nn.init.normal_(layer.weight, 1.0, 0.02)
    nn.init.zeros_(layer.bias)


@register(
    summary="DCGAN's generator: 100 numbers to a picture of 64 x 64, by transposed convolutions",
    paper=_PAPER,
    year=2016,
    task="generation",
    input_size=1,
    min_input_size=1,
    in_channels=100,
    num_classes=3,
    parameters=3_576_704,
    macs=104_628_224,
)
def dcgan_generator(
    spatial_dims: int, in_channels: int, num_classes: int, *, width: int = 64, picture_size: int = 64
) -> Generator:
    """DCGAN's generator: noise of ``in_channels`` numbers to pictures of ``num_classes`` channels within -1 to 1.

    1 position of noise becomes 4, 8, 16, 32 and 64 per axis, with 512, 256, 128 and 64 channels between. These widths
    and kernels of 4 are those of the program of one of the authors, from which most later ones come; the paper's
    figure 1 has twice the channels (``width=128``). Weights start normal with deviation 0.02, those of norms around 1.
    The paper trains both networks with Adam at 0.0002 and a beta_1 of 0.5, in batches of 128.

    Options: ``width``, the channels before the picture; ``picture_size``, another power of 2, which adds or takes away
    layers. Noise may be given as (N, in_channels).

    Paper: Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
    Adversarial Networks, 2016. Raises `ModelError`.

    >>> import torch
    >>> dcgan_generator(2, 100, 3, width=4)(torch.randn(2, 100, 1, 1)).shape
    torch.Size([2, 3, 64, 64])
    """
    return Generator(spatial_dims, in_channels, num_classes, width=width, picture_size=picture_size)


@register(
    summary="DCGAN's discriminator: strided convolutions on a picture of 64 x 64, to one logit",
    paper=_PAPER,
    year=2016,
    task="classification",
    input_size=64,
    min_input_size=64,
    in_channels=3,
    num_classes=1,
    parameters=2_765_568,
    macs=103_817_216,
    accuracy="Paper: an SVM on its features, learned on ImageNet, reaches 82.8 % on CIFAR-10.",
)
def dcgan_discriminator(
    spatial_dims: int, in_channels: int, num_classes: int, *, width: int = 64, picture_size: int = 64
) -> Discriminator:
    """DCGAN's discriminator: pictures of 64 per axis to the logit of being real, or to those of several classes.

    64, 128, 256 and 512 channels at 32, 16, 8 and 4 positions per axis, leaky ReLU of slope 0.2, batch norm in all
    layers but the first and last. A sigmoid is left to the loss. Options, initial weights and differences from the
    paper are those of `dcgan_generator`; ``picture_size`` is the smallest input.

    Paper: Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
    Adversarial Networks, 2016. Raises `ModelError`.

    >>> import torch
    >>> dcgan_discriminator(2, 3, 1, width=4)(torch.randn(2, 3, 64, 64)).shape
    torch.Size([2, 1])
    """
    return Discriminator(spatial_dims, in_channels, num_classes, width=width, picture_size=picture_size)
