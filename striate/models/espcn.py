"""ESPCN: enlarging pictures at the price of small ones, by computing all pixels of a block as channels of one.

Instead of enlarging first and convolving the large picture, the network works on the small one. Its last layer gives
r x r channels for each channel wanted, which are rearranged into blocks of r x r pixels: the sub-pixel convolution.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from striate.errors import ModelError
from striate.models.field import check_batch, check_smallest
from striate.models.registry import register
from striate.nn import activation_layer, conv_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

    from striate.nn import Activation


class SubPixel(nn.Module):
    """Rearrange channels into blocks of positions: (N, C * r^d, *spatial) -> (N, C, *spatial * r), in d dimensions.

    Of an output's r^d input channels the first fills the first position of each block, and the last axis comes fastest:
    in 2-D it is `torch.nn.PixelShuffle`. Raises `ModelError` for channels that do not divide into blocks.

    >>> SubPixel(2)(torch.tensor([[[0, 1], [10, 11]]]))
    tensor([[[ 0, 10,  1, 11]]])
    """

    def __init__(self, upscale: int) -> None:
        super().__init__()
        self.upscale = upscale

    def forward(self, input: Tensor) -> Tensor:
        """Rearrange a batch."""
        (count, channels, *size), rank, factor = input.shape, input.ndim - 2, self.upscale
        if channels % factor**rank:
            raise ModelError(
                f"a multiple of {factor**rank} channels", f"{channels}", "Give r^d for each output channel."
            )
        blocks = input.reshape(count, channels // factor**rank, *[factor] * rank, *size)
        # (N, C, r1, ..., rd, s1, ..., sd) -> (N, C, s1, r1, ..., sd, rd)
        order = [axis for pair in zip(range(rank + 2, 2 * rank + 2), range(2, rank + 2), strict=True) for axis in pair]
        return blocks.permute(0, 1, *order).reshape(count, -1, *[length * factor for length in size])


@torch.no_grad()
def icnr_(weight: Tensor, upscale: int) -> None:
    """Start a sub-pixel layer as a convolution that is enlarged by copying: all channels of a block alike.

    Drawn each for itself, the pixels of a block begin with a chequered pattern that training does not quite remove
    (Aitken and others, Checkerboard artifact free sub-pixel convolution, 2017).

    >>> weight = torch.empty(8, 1, 3)
    >>> icnr_(weight, upscale=2)
    >>> torch.equal(weight[0::2], weight[1::2])
    True
    """
    block = upscale ** (weight.ndim - 2)
    coarse = torch.empty_like(weight[::block])
    nn.init.kaiming_normal_(coarse, nonlinearity="linear")
    weight.copy_(coarse.repeat_interleave(block, dim=0))


class ESPCN(Chain):
    """Three convolutions and the rearrangement: (N, in_channels, *spatial) -> (N, num_classes, *spatial * upscale).

    Its head is the rearrangement: other outputs than blocks of pixels have no place in it. Raises `ModelError` for an
    ``upscale`` that is no positive integer, and when called with an input of another rank or other channels.

    >>> ESPCN(2, 1, 1, upscale=3)(torch.zeros(2, 1, 17, 10)).shape
    torch.Size([2, 1, 51, 30])
    """

    stages = ("act1", "act2")
    head = "shuffle"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        upscale: int = 3,
        widths: tuple[int, int] = (64, 32),
        activation: Activation = "tanh",
        icnr: bool = False,
    ) -> None:
        for name, value in (("upscale", upscale), *((f"widths={widths!r}", width) for width in widths)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelError("upscale and widths to be positive integers", f"{name}: {value!r}", "Use 1 or more.")
        conv, (first, second) = conv_class(spatial_dims), widths
        super().__init__(
            OrderedDict(
                conv1=conv(in_channels, first, 5, padding=2),
                act1=activation_layer(activation),
                conv2=conv(first, second, 3, padding=1),
                act2=activation_layer(activation),
                conv3=conv(second, num_classes * upscale**spatial_dims, 3, padding=1),
                shuffle=SubPixel(upscale),
            )
        )
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        if icnr:
            last: Any = self.conv3
            icnr_(last.weight, upscale)
            nn.init.zeros_(last.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Enlarge a batch."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        output: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # untyped in torch
        return output


@register(
    summary="ESPCN: three convolutions on the small picture, then sub-pixels: three times the size",
    paper="Shi, Caballero, Huszár, Totz, Aitken, Bishop, Rueckert, Wang: Real-Time Single Image and Video "
    "Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network",
    year=2016,
    task="super-resolution",
    input_size=17,
    min_input_size=1,
    num_classes=1,
    parameters=22_729,
    macs=6_538_336,
    accuracy="Paper: 33.13 dB on Set5 at three times the size (tanh, learned on ImageNet).",
)
def espcn(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    upscale: int = 3,
    widths: tuple[int, int] = (64, 32),
    activation: Activation = "tanh",
    icnr: bool = False,
) -> ESPCN:
    """ESPCN: 64 maps of 5x5, 32 of 3x3, and r^2 of 3x3 for each channel, rearranged to r times the size, in any rank.

    ``num_classes`` are the channels of the enlarged picture: one for brightness, which the paper enlarges alone.
    ``upscale`` is r; ``widths`` the channels between; ``activation`` tanh, which the paper found better than ReLU;
    ``icnr`` starts the last layer as an enlargement by copying (see `icnr_`), else it starts as torch's convolutions
    do, like the other two. Borders are padded with zeros. The paper's training pieces are 17 x 17.

    Paper: Shi and others, Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network, 2016. Raises `ModelError`.

    >>> espcn(1, 1, 1, upscale=2)(torch.zeros(3, 1, 50)).shape
    torch.Size([3, 1, 100])
    """
    return ESPCN(
        spatial_dims, in_channels, num_classes, upscale=upscale, widths=widths, activation=activation, icnr=icnr
    )
