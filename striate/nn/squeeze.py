"""Layers that residual blocks of mobile and modern networks share, in any rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import GeometryError
from striate.nn.blocks import Activation, activation_layer
from striate.nn.conv import conv_class
from striate.nn.pool import pool_class

if TYPE_CHECKING:
    from torch import Tensor


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate that a small network computes from all channels' means; the shape is kept.

    Paper: Hu, Shen and Sun, Squeeze-and-Excitation Networks, 2018.

    >>> SqueezeExcitation(2, 16, 4)(torch.zeros(1, 16, 8, 8)).shape
    torch.Size([1, 16, 8, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        squeeze_channels: int,
        activation: Activation = "relu",
        gate: Activation = "sigmoid",
    ) -> None:
        super().__init__()
        conv = conv_class(spatial_dims)
        self.avgpool = pool_class("global_avg", spatial_dims)()
        self.fc1 = conv(channels, squeeze_channels, 1)
        self.fc2 = conv(squeeze_channels, channels, 1)
        self.activation = activation_layer(activation)
        self.scale_activation = activation_layer(gate)

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with its channels scaled."""
        gates: Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(input)))))
        return gates * input


class StochasticDepth(nn.Module):
    """In training, set whole samples to zero with a probability and scale up the others; else do nothing.

    Put it at the end of a residual branch, so that for a dropped sample the block is the identity.
    Paper: Huang, Sun, Liu, Sedra and Weinberger, Deep Networks with Stochastic Depth, 2016.

    >>> torch.equal(StochasticDepth(0.2).eval()(torch.ones(2, 3)), torch.ones(2, 3))
    True
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise GeometryError("a probability of at least 0 and below 1", f"{probability!r}", "Use 0 for none.")
        self.probability = probability

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with some samples dropped."""
        if not self.training or self.probability == 0:
            return input
        kept = 1 - self.probability
        # One draw for each sample, the same for all its channels and positions.
        mask = torch.empty((len(input), *[1] * (input.ndim - 1)), dtype=input.dtype, device=input.device)
        return input * (mask.bernoulli_(kept) / kept)

    def extra_repr(self) -> str:
        """The probability."""
        return f"{self.probability}"


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position of (N, C, *spatial), as ConvNeXt uses it.

    >>> ChannelNorm(4)(torch.randn(1, 4, 5, 5)).mean(1).abs().max() < 1e-5
    tensor(True)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input."""
        last = input.movedim(1, -1)
        return F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps).movedim(-1, 1)
