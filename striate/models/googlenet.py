"""GoogLeNet: modules of four parallel branches, in any rank, with two auxiliary heads for training."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import nn

from striate.models.field import check_batch, check_smallest
from striate.models.outputs import WithAuxiliary
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

    from striate.geometry import Axes

_SMALLEST = 15

# Table 1 of the paper: filters of 1x1, of 1x1 before 3x3, 3x3, of 1x1 before 5x5, 5x5, and of 1x1 after the pool.
_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class BasicConv(Chain):
    """A convolution without bias, batch norm with an eps of 0.001, and ReLU; centred unless ``padding`` is given.

    >>> [name for name, _ in BasicConv(2, 3, 8, (1, 7)).named_children()], BasicConv(2, 3, 8, (1, 7)).conv.padding
    (['conv', 'bn', 'relu'], (0, 3))
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        sizes = (kernel_size,) * spatial_dims if isinstance(kernel_size, int) else tuple(kernel_size)
        centred = tuple(size // 2 for size in sizes)
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[spatial_dims - 1]
        super().__init__(
            OrderedDict(
                conv=conv_class(spatial_dims)(
                    in_channels, out_channels, sizes, stride, centred if padding is None else padding, bias=False
                ),
                bn=norm(out_channels, eps=0.001),
                relu=nn.ReLU(),
            )
        )


class Inception(nn.Module):
    """An inception module: what 1x1, 3x3, larger filters and a pool see, side by side; the positions are kept.

    ``filters`` are six numbers in the order of the paper's table 1. (N, C, *spatial) -> (N, out_channels, *spatial).

    >>> Inception(2, 192, (64, 96, 128, 16, 32, 32)).out_channels
    256
    """

    def __init__(self, spatial_dims: int, in_channels: int, filters: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        of_1, before_3, of_3, before_5, of_5, after_pool = filters
        self.out_channels = of_1 + of_3 + of_5 + after_pool
        self.branch1 = BasicConv(spatial_dims, in_channels, of_1, 1)
        self.branch2 = nn.Sequential(
            BasicConv(spatial_dims, in_channels, before_3, 1), BasicConv(spatial_dims, before_3, of_3, 3)
        )
        # The paper's 5x5; see the docstring of the network.
        self.branch3 = nn.Sequential(
            BasicConv(spatial_dims, in_channels, before_5, 1), BasicConv(spatial_dims, before_5, of_5, 3)
        )
        self.branch4 = nn.Sequential(
            pool_class("max", spatial_dims)(3, 1, 1), BasicConv(spatial_dims, in_channels, after_pool, 1)
        )

    def forward(self, input: Tensor) -> Tensor:
        """Concatenate the four branches."""
        return torch.cat([self.branch1(input), self.branch2(input), self.branch3(input), self.branch4(input)], 1)


class AuxiliaryHead(Chain):
    """A classifier on features half-way up: average pool to 4 per axis, 128 filters of 1x1, 1024 units, dropout 0.7.

    (N, C, *spatial) -> (N, classes).

    >>> AuxiliaryHead(2, 512, 10)(torch.zeros(1, 512, 14, 14)).shape
    torch.Size([1, 10])
    """

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int) -> None:
        super().__init__(
            OrderedDict(
                avgpool=pool_class("adaptive_avg", spatial_dims)(4),
                conv=BasicConv(spatial_dims, in_channels, 128, 1),
                flatten=nn.Flatten(),
                fc1=nn.Linear(128 * 4**spatial_dims, 1024),
                relu=nn.ReLU(),
                dropout=nn.Dropout(0.7),
                fc2=nn.Linear(1024, num_classes),
            )
        )


class GoogLeNet(nn.Module):
    """Nine inception modules between a stem and one dense layer; (N, C, *spatial) -> (N, classes).

    In training the result is `WithAuxiliary`, with the two auxiliary heads' logits, which the paper weights 0.3 each.
    Raises `ModelError` when called with an input below 15 per axis, of another rank, or with other channels.

    >>> GoogLeNet(1, 1, 10).eval()(torch.zeros(1, 1, 32)).shape
    torch.Size([1, 10])
    """

    stages = ("conv1", "conv3", "inception3b", "inception4e", "inception5b")
    head = "fc"
    auxiliary_modules = ("aux1", "aux2")

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, dropout: float = 0.2, *, auxiliary: bool = True
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels, self.auxiliary = spatial_dims, in_channels, auxiliary
        # The last position of an axis is kept even where a window reaches beyond it.
        max_pool = pool_class("max", spatial_dims)

        self.conv1 = BasicConv(spatial_dims, in_channels, 64, 7, 2)
        self.maxpool1 = max_pool(3, 2, ceil_mode=True)
        self.conv2 = BasicConv(spatial_dims, 64, 64, 1)
        self.conv3 = BasicConv(spatial_dims, 64, 192, 3)
        self.maxpool2 = max_pool(3, 2, ceil_mode=True)
        channels = 192
        for name, filters in _MODULES.items():
            module = Inception(spatial_dims, channels, filters)
            self.add_module(f"inception{name}", module)
            channels = module.out_channels
        self.maxpool3 = max_pool(3, 2, ceil_mode=True)
        self.maxpool4 = max_pool(2, 2, ceil_mode=True)
        if auxiliary:
            self.aux1 = AuxiliaryHead(spatial_dims, 512, num_classes)
            self.aux2 = AuxiliaryHead(spatial_dims, 528, num_classes)
        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(channels, num_classes)

        def small(layer: nn.Module) -> None:
            truncated_normal(layer, 0.01)

        initialise(self, {conv_class(spatial_dims): small, nn.Linear: small})

    def forward(self, input: Tensor) -> Tensor | WithAuxiliary:
        """Map a batch to logits; in training also to those of the auxiliary heads."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, _SMALLEST)
        output = self.maxpool1(self.conv1(input))
        output = self.maxpool2(self.conv3(self.conv2(output)))
        output = self._inception("3a 3b", output)
        after_4a = self._inception("4a", self.maxpool3(output))
        after_4d = self._inception("4b 4c 4d", after_4a)
        output = self._inception("4e", after_4d)
        output = self._inception("5a 5b", self.maxpool4(output))
        logits: Tensor = self.fc(self.dropout(self.avgpool(output)))
        if self.training and self.auxiliary:
            return WithAuxiliary(logits, (self.aux1(after_4a), self.aux2(after_4d)), (0.3, 0.3))
        return logits

    def _inception(self, names: str, features: Tensor) -> Tensor:
        for name in names.split():
            features = self.get_submodule(f"inception{name}")(features)
        return features


def truncated_normal(layer: nn.Module, deviation: float) -> None:
    """Draw a layer's weights from a normal distribution cut off at twice its deviation; the bias is left alone.

    >>> layer = nn.Linear(100, 100)
    >>> truncated_normal(layer, 0.1)
    >>> layer.weight.abs().max() <= 0.2
    tensor(True)
    """
    nn.init.trunc_normal_(layer.get_parameter("weight"), std=deviation, a=-2 * deviation, b=2 * deviation)


@register(
    summary="Nine inception modules of 1x1, 3x3, larger filters and a pool side by side; two auxiliary heads",
    paper="Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going Deeper with Convolutions",
    year=2014,
    input_size=224,
    min_input_size=_SMALLEST,
    in_channels=3,
    num_classes=1000,
    parameters=13_004_888,
    macs=1_498_376_192,
    accuracy="ImageNet top-1 69.78 % (torchvision's weights); paper: top-5 error 10.07 % with one network and crop.",
)
def googlenet(
    spatial_dims: int, in_channels: int, num_classes: int, *, dropout: float = 0.2, auxiliary: bool = True
) -> GoogLeNet:
    """GoogLeNet, or Inception v1: filters of several sizes see the same features, behind 1x1 filters that save work.

    Stem of 7x7 and 3x3, modules 3a to 5b of the paper's table 1, global average pool, dense layer. Two auxiliary heads,
    on modules 4a and 4d, pass gradients to the lower layers in training; without ``auxiliary`` there are none.

    Built is the usual form with batch norm, whose weights are published. It differs from the paper in having batch norm
    after every convolution instead of response normalisation in the stem, 3x3 filters where the paper has 5x5 (an old
    slip that the published weights have), a last max pool of 2 instead of 3, dropout of 0.2 instead of 0.4, and heads
    that pool to 4x4 whatever the input size. Inputs are at least 15 per axis. Weights start normal with deviation 0.01,
    cut off at twice that.

    Paper: Szegedy and others, Going Deeper with Convolutions, 2014. Raises `ModelError` and `GeometryError`.

    >>> model = googlenet(2, 1, 10, auxiliary=False)
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    return GoogLeNet(spatial_dims, in_channels, num_classes, dropout, auxiliary=auxiliary)
