"""A convolutional autoencoder: a network that describes its input by a small code, from which it can be drawn again.

Strided convolutions make the code, transposed ones, in mirrored order, the picture. What the code keeps is what helps
to draw: features learned without labels.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.errors import ModelError
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import activation_layer, conv_class, conv_transpose_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.nn import Activation


class ConvAutoencoder(nn.Module):
    """Strided convolutions and their mirror: (N, C, *spatial) -> the same shape, by way of a code.

    Each convolution, 3 wide, has stride 2; the last one makes the code of ``num_classes`` channels, to which no
    activation is applied, nor to the output. Each transposed convolution gives just the size that its mirror was given,
    odd or even. With ``tied`` it also has the very weights of its mirror. Raises `ModelError` for widths that are not
    positive, and when called with an input of another rank or other channels.

    >>> import torch
    >>> network = ConvAutoencoder(2, 1, 4, widths=(8, 16))
    >>> picture = torch.zeros(2, 1, 28, 27)
    >>> network.encode(picture).shape, network(picture).shape
    (torch.Size([2, 4, 4, 4]), torch.Size([2, 1, 28, 27]))
    """

    head = "decoder.conv1"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (16, 32),
        activation: Activation = "relu",
        tied: bool = False,
    ) -> None:
        super().__init__()
        if not all(isinstance(width, int) and width > 0 for width in widths):
            raise ModelError("positive integers as widths", f"widths={widths!r}", "Use (16, 32), say.")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        conv, transposed = conv_class(spatial_dims), conv_transpose_class(spatial_dims)
        channels = (in_channels, *widths, num_classes)
        self.encoder, self.decoder = nn.ModuleDict(), nn.ModuleDict()
        for number, (before, after) in enumerate(itertools.pairwise(channels), 1):
            self.encoder[f"conv{number}"] = conv(before, after, 3, stride=2, padding=1)
        for number in range(len(self.encoder), 0, -1):
            mirrored: Any = self.encoder[f"conv{number}"]
            layer = transposed(mirrored.out_channels, mirrored.in_channels, 3, stride=2, padding=1)
            if tied:
                # A transposed convolution has the shape (in, out, *kernel): its mirror's, as it is.
                layer.weight = mirrored.weight
            self.decoder[f"conv{number}"] = layer
        self.act = activation_layer(activation)
        self.stages = tuple(f"encoder.{name}" for name in self.encoder)
        initialise(self, {_ConvNd: _initialise})

    def encode(self, input: Tensor) -> Tensor:
        """The code: (N, C, *spatial) -> (N, num_classes, *spatial / 2 ** layers, rounded up)."""
        return self._encode(input)[0]

    def forward(self, input: Tensor) -> Tensor:
        """Encode a batch and draw it again."""
        maps, sizes = self._encode(input)
        for number, (layer, size) in enumerate(zip(self.decoder.values(), reversed(sizes), strict=True)):
            maps = layer(self.act(maps) if number else maps, output_size=size)
        return maps

    def _encode(self, input: Tensor) -> tuple[Tensor, list[tuple[int, ...]]]:
        """The code, and the sizes before each convolution."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, 1)
        maps, sizes = input, []
        for number, layer in enumerate(self.encoder.values()):
            maps = self.act(maps) if number else maps
            sizes.append(tuple(maps.shape[2:]))
            maps = layer(maps)
        return maps, sizes


def _initialise(layer: Any) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)


@register(
    summary="Convolutional autoencoder: strided convolutions to a code, mirrored by transposed ones",
    paper="Masci, Meier, Cireşan, Schmidhuber: Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction",
    year=2011,
    task="reconstruction",
    input_size=28,
    min_input_size=1,
    parameters=15_371,
    macs=600_192,
)
def autoencoder(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    widths: Sequence[int] = (16, 32),
    activation: Activation = "relu",
    tied: bool = False,
) -> ConvAutoencoder:
    """A convolutional autoencoder: the output is of the input's shape, and ``num_classes`` are the code's channels.

    The default takes 28 x 28 to 16 maps of 14 x 14, 32 of 7 x 7 and a code of 4 x 4, and back. ``widths`` are the
    channels between input and code, one for each halving but the last; ``activation`` is between layers.
    `ConvAutoencoder.encode` gives the code alone.

    The paper stacks such layers, with tanh, trains one after the other, shrinks the maps by max pooling, and lets each
    decoder have its encoder's weights, as ``tied=True`` does here. Built is the form of today, which strides and is
    trained as a whole. Weights start by He's rule.

    Papers: Masci, Meier, Cireşan and Schmidhuber, Stacked Convolutional Auto-Encoders for Hierarchical Feature
    Extraction, 2011; for the transposed convolutions Zeiler, Krishnan, Taylor and Fergus, Deconvolutional Networks,
    2010. Raises `ModelError`.

    >>> import torch
    >>> autoencoder(1, 2, 4)(torch.zeros(3, 2, 50)).shape
    torch.Size([3, 2, 50])
    """
    return ConvAutoencoder(spatial_dims, in_channels, num_classes, widths=widths, activation=activation, tied=tied)
