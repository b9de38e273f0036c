"""The context module: convolutions whose dilation doubles, so that seven small layers see 67 pixels at full resolution.

Pooling widens what a unit sees and coarsens the map; dilation widens it and keeps every position. The module takes maps
of class scores and returns better ones, so that it can be put behind any network for dense prediction.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from striate.errors import ModelError
from striate.geometry import ReceptiveField
from striate.models.field import check_batch, check_smallest
from striate.models.registry import register
from striate.nn import conv_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

DILATIONS = (1, 1, 2, 4, 8, 16, 1)
"""Of the 3-wide layers (table 1); a 1-wide one follows."""

BASIC, LARGE = (1,) * 7, (2, 2, 4, 8, 16, 32, 32)
"""How many times as many channels as the input the 3-wide layers have."""


class ContextModule(Chain):
    """Seven 3-wide layers of growing dilation with ReLU, then a 1-wide one; (N, C, *spatial) -> (N, classes, *spatial).

    ``widths`` are the channels of the 3-wide layers, in multiples of C. At the start the module hands its input on, as
    `identity_` explains, up to ReLU: negative values become 0. Borders are padded with zeros. Raises `ModelError` for
    other than seven positive widths, and when called with an input of another rank or other channels.

    >>> module = ContextModule(1, 4, 4)
    >>> scores = torch.rand(2, 4, 30)
    >>> torch.equal(module(scores), scores)
    True
    """

    stages = tuple(f"relu{number}" for number in range(1, 8))
    head = "conv8"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = BASIC,
        *,
        noise: float = 0.0,
    ) -> None:
        if len(widths) != len(DILATIONS) or not all(isinstance(width, int) and width > 0 for width in widths):
            raise ModelError("seven positive integers as widths", f"widths={widths!r}", "(1,) * 7 is the basic module.")
        conv = conv_class(spatial_dims)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = in_channels
        for number, (width, dilation) in enumerate(zip(widths, DILATIONS, strict=True), 1):
            wider = width * in_channels
            layers[f"conv{number}"] = conv(channels, wider, 3, padding=dilation, dilation=dilation)
            layers[f"relu{number}"] = nn.ReLU()
            channels = wider
        layers["conv8"] = conv(channels, num_classes, 1)
        super().__init__(layers)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        for layer in self.children():
            if isinstance(layer, conv):
                identity_(layer, in_channels, noise)

    @property
    def receptive_field(self) -> int:
        """How many positions per axis an output sees."""
        seen = ReceptiveField()
        for dilation in DILATIONS:
            seen = seen.through(3, dilation=dilation)
        return int(seen.size)

    def forward(self, input: Tensor) -> Tensor:
        """Refine a batch of maps."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        output: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # untyped in torch
        return output


@torch.no_grad()
def identity_(layer: Any, channels: int, noise: float = 0.0) -> None:
    """Start a layer such that layers in a row hand on ``channels`` maps, however many copies each layer has of them.

    Of C maps a layer has several copies, which together make up the map. The middle tap from input a to output b is
    C / outputs where a and b are copies of the same map, that is where floor(a C / inputs) = floor(b C / outputs); all
    else is drawn from a normal distribution of deviation ``noise`` (equations 4 and 5 of the paper). Outputs in excess
    of C that are no multiple of it hand on nothing.

    >>> layer = conv_class(1)(2, 4, 1)
    >>> identity_(layer, channels=2)
    >>> layer.weight[:, :, 0].tolist()
    [[0.5, 0.0], [0.5, 0.0], [0.0, 0.5], [0.0, 0.5]]
    """
    outputs, inputs = layer.weight.shape[:2]
    copies = max(1, outputs // channels)
    of_output = torch.arange(outputs, device=layer.weight.device) // copies
    of_input = torch.arange(inputs, device=layer.weight.device) * channels // inputs
    same = of_output[:, None] == of_input
    nn.init.normal_(layer.weight, std=noise) if noise else nn.init.zeros_(layer.weight)
    middle = layer.weight[(slice(None), slice(None), *(size // 2 for size in layer.kernel_size))]
    middle.copy_(torch.where(same, 1 / copies, middle))
    nn.init.zeros_(layer.bias)


def context(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    widths: Sequence[int] = BASIC,
    noise: float = 0.0,
) -> ContextModule:
    """The context-aggregation module: 3-wide layers of dilation 1, 1, 2, 4, 8, 16, 1, and a 1-wide one, in any rank.

    It sees 3, 5, 9, 17, 33, 65 and 67 positions per axis, and keeps the size. In the basic module all layers have as
    many channels as the input, in the large one 2, 2, 4, 8, 16, 32 and 32 times as many. The last layer has
    ``num_classes``, which in the paper is the same number C, that of the classes: in 2-D about 64 C^2 weights. Layers
    are padded with zeros to keep the size; the paper does not say with what.

    The module starts as the identity: with random weights it did not learn to better the scores it was given. In the
    large one the weights that do not pass the maps on are drawn with a deviation of ``noise``.

    Paper: Yu and Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, 2016. Raises `ModelError` and
    `GeometryError`.

    >>> module = context(2, 21, 21)
    >>> module.receptive_field, sum(layer.weight.numel() for layer in module if hasattr(layer, "weight")) == 64 * 21**2
    (67, True)
    """
    return ContextModule(spatial_dims, in_channels, num_classes, widths, noise=noise)


for _name, _widths, _noise, _parameters, _macs, _gain in (
    ("basic", BASIC, 0.0, 28_392, 115_605_504, "69.8 to 71.3"),
    ("large", LARGE, 0.001, 6_803_139, 27_857_313_792, "69.8 to 72.1"),
):
    register(
        name=f"context_{_name}",
        summary=f"Context module, {_name}: 3-wide layers of dilation 1 to 16 on maps of scores, begun as the identity",
        paper="Yu, Koltun: Multi-Scale Context Aggregation by Dilated Convolutions",
        year=2016,
        task="segmentation",
        input_size=64,
        min_input_size=1,
        in_channels=21,
        num_classes=21,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"Paper: takes its front end from {_gain} % mean IoU on Pascal VOC 2012 validation.",
    )(functools.partial(context, widths=_widths, noise=_noise))
