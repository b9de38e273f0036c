"""LeNet-5 exactly as published: partial connections, trainable subsampling, scaled tanh and an output of distances.

LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 86
(11), 1998, section II.B. The layers that only this network has are here too.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import nn

from striate import ops
from striate.errors import ModelError
from striate.geometry import Axes, Size, Window
from striate.models.digit_codes import CODE_LENGTH, digit_codes, random_codes
from striate.models.field import field_conv_class, field_size
from striate.models.registry import register
from striate.nn import conv_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# Table I: the maps of S2 that each of the sixteen maps of C3 sees, 60 connections in all.
C3_CONNECTIONS: tuple[tuple[int, ...], ...] = (
    *((first, (first + 1) % 6, (first + 2) % 6) for first in range(6)),
    *((first, (first + 1) % 6, (first + 2) % 6, (first + 3) % 6) for first in range(6)),
    *((first, (first + 1) % 6, (first + 3) % 6, (first + 4) % 6) for first in range(3)),
    (0, 1, 2, 3, 4, 5),
)


class ScaledTanh(nn.Module):
    """The squashing function of the paper, 1.7159 tanh(2/3 x), which passes through (1, 1) and (-1, -1).

    Source: LeCun and others 1998, appendix A.

    >>> ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0])).round(decimals=3)
    tensor([-1.,  0.,  1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to every value."""
        return 1.7159 * torch.tanh(input * (2 / 3))


class Subsampling(nn.Module):
    """Trainable subsampling, (N, C, *spatial) -> (N, C, *spatial / 2).

    Each output is the sum of a 2-wide window times its map's coefficient, plus its map's bias.

    >>> sum(parameter.numel() for parameter in Subsampling(6, spatial_dims=2).parameters())
    12
    """

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.channels, self.spatial_dims = channels, spatial_dims
        self.kernel_size = self.stride = (2,) * spatial_dims
        # As long as a channel axis in front of spatial ones, so that they broadcast without being reshaped.
        self.weight = nn.Parameter(torch.empty(channels, *(1,) * spatial_dims))
        self.bias = nn.Parameter(torch.empty(channels, *(1,) * spatial_dims))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights, uniform within 2.4 / fan-in."""
        uniform_by_fan_in(2**self.spatial_dims, self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Sum, weigh and shift."""
        return ops.sum_pool(input, self.kernel_size) * self.weight + self.bias

    def extra_repr(self) -> str:
        """The channels and the window."""
        return f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}"


class PartialConv(nn.Module):
    """A convolution in which each output map sees only some input maps, (N, C_in, *spatial) -> (N, C_out, *spatial).

    ``connections`` lists, for every output map, the input maps it sees. ``weight`` holds one kernel for each connection
    that exists, (connections, *kernel_size), in that order; `dense_weight` fills the others with zeros.

    >>> layer = PartialConv(3, [(0,), (0, 2)], kernel_size=(5, 5))
    >>> layer.weight.shape, layer.dense_weight().shape
    (torch.Size([3, 5, 5]), torch.Size([2, 3, 5, 5]))
    """

    index: Tensor

    def __init__(self, in_channels: int, connections: Sequence[Sequence[int]], kernel_size: Size) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, len(connections), kernel_size
        self.connections = tuple(map(tuple, connections))
        pairs = [out * in_channels + source for out, sources in enumerate(connections) for source in sources]
        self.register_buffer("index", torch.tensor(pairs), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(pairs), *kernel_size))
        self.bias = nn.Parameter(torch.empty(len(connections)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights, uniform within 2.4 / fan-in, which differs between maps."""
        kernels = torch.split(self.weight.detach(), [len(sources) for sources in self.connections])
        for kernel, bias in zip(kernels, self.bias.detach().unsqueeze(1), strict=True):
            uniform_by_fan_in(kernel.numel(), kernel, bias)

    def dense_weight(self) -> Tensor:
        """The weight of the ordinary convolution that does the same, (C_out, C_in, *kernel_size)."""
        dense = self.weight.new_zeros(self.out_channels * self.in_channels, *self.kernel_size)
        return dense.index_copy(0, self.index, self.weight).view(self.out_channels, self.in_channels, *self.kernel_size)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        return ops.conv(input, self.dense_weight(), self.bias)

    def extra_repr(self) -> str:
        """The sizes and the number of connections."""
        count = len(self.weight)
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, connections={count}"


class DistanceToCodes(nn.Module):
    """The output layer: minus the squared Euclidean distance to the code of every class, (N, 84) -> (N, classes).

    The paper's radial basis functions are the distances; with the sign changed the largest output wins, as everywhere
    else. Cross entropy on these logits is the discriminative criterion of the paper, equation 9, without the constant
    that stands for rubbish. The codes are fixed: a buffer, no parameters. ``scale`` multiplies the outputs.

    >>> DistanceToCodes(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))(torch.tensor([[1.0, 0.5]]))
    tensor([[-2.2500, -0.2500]])
    """

    codes: Tensor

    def __init__(self, codes: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.scale = scale

    @property
    def in_features(self) -> int:
        """The length of the codes."""
        return self.codes.shape[1]

    def forward(self, input: Tensor) -> Tensor:
        """Compare every sample with every code."""
        return (input.unsqueeze(1) - self.codes).square().sum(-1) * -self.scale

    def extra_repr(self) -> str:
        """The sizes of the codes, and the scale."""
        return f"classes={len(self.codes)}, length={self.codes.shape[1]}, scale={self.scale}"


def uniform_by_fan_in(fan_in: int, *parameters: Tensor | None) -> None:
    """Fill with uniform values within 2.4 / fan-in, as the paper does for weights and biases (appendix A)."""
    with torch.no_grad():
        for parameter in parameters:
            if parameter is not None:
                parameter.uniform_(-2.4 / fan_in, 2.4 / fan_in)


class LeNet5(Chain):
    """LeNet-5 as published, (N, C, H, W) -> (N, classes); see `lenet5`.

    ``field`` is the size per axis it is built for, in which smaller inputs are centred. Raises `ModelError` when called
    with an input that is larger or has another rank or other channels.

    >>> LeNet5((32, 32), 1, 10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    stages = ("s2", "s4", "c5")
    head = "output"

    def __init__(self, field: Size, in_channels: int, num_classes: int, scale: float = 1.0) -> None:
        rank = len(field)
        size = field
        for kernel_size, stride in ((5, 1), (2, 2)) * 2:
            size = Window.of(rank, kernel_size, stride).output_size(size)
        codes = digit_codes() if num_classes == 10 else random_codes(num_classes)
        super().__init__(
            OrderedDict(
                c1=field_conv_class(rank)(in_channels, 6, 5, field),
                act1=ScaledTanh(),
                s2=Subsampling(6, rank),
                act2=ScaledTanh(),
                c3=PartialConv(6, C3_CONNECTIONS, (5,) * rank),
                act3=ScaledTanh(),
                s4=Subsampling(16, rank),
                act4=ScaledTanh(),
                c5=conv_class(rank)(16, 120, size),
                act5=ScaledTanh(),
                flatten=nn.Flatten(),
                f6=nn.Linear(120, CODE_LENGTH),
                act6=ScaledTanh(),
                output=DistanceToCodes(codes, scale),
            )
        )
        for layer in self.children():
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                uniform_by_fan_in(math.prod(layer.weight.shape[1:]), layer.weight, layer.bias)


@register(
    summary="LeNet-5 exactly as published: partial C3 table, trainable subsampling, scaled tanh, digits drawn as codes",
    paper="LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition",
    year=1998,
    input_size=32,
    min_input_size=1,
    spatial_dims=(2,),
    parameters=60_000,
    macs=415_680,
    accuracy="MNIST, 20 epochs, no distortions: 0.95 % errors.",
)
def lenet5(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    input_size: Axes | None = None,
    field: Axes | None = None,
    scale: float = 1.0,
) -> LeNet5:
    """LeNet-5 of 1998: C1 6@5x5, S2, C3 16@5x5 with Table I, S4, C5 120, F6 84, and the distance to ten drawn digits.

    60,000 trainable parameters (156, 12, 1,516, 32, 48,120 and 10,164 by layer), and 325,680 macs for 32x32 images of
    one channel; the paper counts 340,908 connections, biases, subsampling and distances among them. C3 is computed as
    the dense convolution, which multiplies by a zero 90,000 times more. Published accuracy
    (authors' figure): 99.05 % on MNIST, an error of 0.95 %.

    Every layer up to F6 ends in the scaled tanh, and weights start uniform within 2.4 / fan-in, as the paper says. The
    logits are minus the squared distances to the codes, 7x12 drawings of the digits; for other than ten classes the
    codes are random, from a fixed seed. Distances to 84 values are large numbers, and cross entropy soon saturates on
    them: ``scale=0.1`` makes it a gentler criterion. Inputs up to the field are centred in it, as in `lenet`.

    Paper: LeCun, Bottou, Bengio and Haffner, 1998, section II.B. Raises `ModelError` and `GeometryError`.

    >>> sum(parameter.numel() for parameter in lenet5(2, 1, 10).parameters())
    60000
    """
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise ModelError("scale to be a positive number", f"scale={scale!r}", "Use 1 for the distances as they are.")
    return LeNet5(field_size(spatial_dims, input_size, field, 32, 16), in_channels, num_classes, scale)
