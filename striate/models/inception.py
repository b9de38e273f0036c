"""Inception v3: wide filters factorised into narrow ones, along one axis or several in a row, in any rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from striate import ops
from striate.models.field import check_batch, check_smallest
from striate.models.googlenet import BasicConv, truncated_normal
from striate.models.outputs import WithAuxiliary
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.geometry import Axes

_SMALLEST = 75
# The size per axis of the features that the auxiliary head sees at the usual 299.
_SEEN_BY_HEAD = 17


def along_each_axis(spatial_dims: int, size: int) -> list[tuple[int, ...]]:
    """Kernels that are ``size`` long on one axis each, the last axis first: together they see what a cube sees.

    >>> along_each_axis(2, 7)
    [(1, 7), (7, 1)]
    """
    axes = range(spatial_dims)
    return [tuple(size if axis == long else 1 for axis in axes) for long in reversed(axes)]


class Mixed(nn.Module):
    """Branches of convolutions side by side on one input, whose outputs are concatenated; filled by `branch`.

    The layers of a branch are named by it and their number, as in published weights.

    >>> block = Mixed(2, 16)
    >>> block.branch("branch1x1", (8, 1))
    >>> block.branch("branch5x5", (4, 1), (8, 5))
    >>> [name for name, _ in block.named_children()], block(torch.zeros(1, 16, 9, 9)).shape
    (['branch1x1', 'branch5x5_1', 'branch5x5_2'], torch.Size([1, 16, 9, 9]))
    """

    def __init__(self, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.out_channels = 0
        self.branches: list[tuple[list[str], list[str]]] = []

    def branch(
        self,
        name: str,
        *layers: tuple[int, Axes],
        pool: nn.Module | None = None,
        stride: int = 1,
        ends: Sequence[tuple[int, Axes]] = (),
    ) -> None:
        """Add a branch of convolutions (filters, kernel size), after a pool if there is one.

        With a ``stride`` above 1 the last layer strides, unpadded. ``ends`` are convolutions side by side on top.
        """
        row, channels = [], self.in_channels
        if pool is not None:
            # Named apart from the convolution after it; pools have no weights.
            row.append(f"{name}_before" if layers else name)
            self.add_module(row[-1], pool)
        for number, (filters, kernel_size) in enumerate(layers, 1):
            row.append(name if len(layers) == 1 and not ends else f"{name}_{number}")
            last = stride if number == len(layers) else 1
            padding = None if last == 1 else 0
            self.add_module(row[-1], BasicConv(self.spatial_dims, channels, filters, kernel_size, last, padding))
            channels = filters
        tips = []
        for letter, (filters, kernel_size) in zip("abc", ends, strict=False):
            tips.append(f"{name}_{len(layers) + 1}{letter}")
            self.add_module(tips[-1], BasicConv(self.spatial_dims, channels, filters, kernel_size))
        self.out_channels += sum(filters for filters, _ in ends) if ends else channels
        self.branches.append((row, tips))

    def forward(self, input: Tensor) -> Tensor:
        """Concatenate what the branches make of the input."""
        outputs = []
        for row, tips in self.branches:
            output = input
            for name in row:
                output = self.get_submodule(name)(output)
            outputs += [self.get_submodule(name)(output) for name in tips] if tips else [output]
        return torch.cat(outputs, 1)


def inception_a(spatial_dims: int, in_channels: int, after_pool: int) -> Mixed:
    """The paper's figure 5, for large maps: one of two 5x5 filters has become two of 3x3.

    >>> inception_a(2, 192, 32).out_channels
    256
    """
    block = Mixed(spatial_dims, in_channels)
    block.branch("branch1x1", (64, 1))
    block.branch("branch5x5", (48, 1), (64, 5))
    block.branch("branch3x3dbl", (64, 1), (96, 3), (96, 3))
    block.branch("branch_pool", (after_pool, 1), pool=pool_class("avg", spatial_dims)(3, 1, 1))
    return block


def inception_b(spatial_dims: int, in_channels: int) -> Mixed:
    """Halves the map as in figure 10: strided filters beside a pool, so that nothing is squeezed before it is pooled.

    >>> inception_b(2, 288).out_channels
    768
    """
    block = Mixed(spatial_dims, in_channels)
    block.branch("branch3x3", (384, 3), stride=2)
    block.branch("branch3x3dbl", (64, 1), (96, 3), (96, 3), stride=2)
    block.branch("branch_pool", pool=pool_class("max", spatial_dims)(3, 2))
    return block


def inception_c(spatial_dims: int, in_channels: int, width: int) -> Mixed:
    """Figure 6, for middle maps: filters of 7x7, and two of them in a row, made of filters along one axis each.

    >>> inception_c(2, 768, 128).out_channels
    768
    """
    lines = along_each_axis(spatial_dims, 7)
    *first, last = lines
    *double, second = lines[::-1] * 2
    block = Mixed(spatial_dims, in_channels)
    block.branch("branch1x1", (192, 1))
    block.branch("branch7x7", (width, 1), *((width, line) for line in first), (192, last))
    block.branch("branch7x7dbl", (width, 1), *((width, line) for line in double), (192, second))
    block.branch("branch_pool", (192, 1), pool=pool_class("avg", spatial_dims)(3, 1, 1))
    return block


def inception_d(spatial_dims: int, in_channels: int) -> Mixed:
    """Halves the map again, after filters of 7x7 made of lines.

    >>> inception_d(2, 768).out_channels
    1280
    """
    block = Mixed(spatial_dims, in_channels)
    block.branch("branch3x3", (192, 1), (320, 3), stride=2)
    lines = along_each_axis(spatial_dims, 7)
    block.branch("branch7x7x3", (192, 1), *((192, line) for line in lines), (192, 3), stride=2)
    block.branch("branch_pool", pool=pool_class("max", spatial_dims)(3, 2))
    return block


def inception_e(spatial_dims: int, in_channels: int) -> Mixed:
    """Figure 7, for small maps: filters along each axis side by side, since here many features matter, not depth.

    The 768 filters of each such fan are shared out over the axes.

    >>> inception_e(2, 1280).out_channels
    2048
    """
    fan = [(768 // spatial_dims, line) for line in along_each_axis(spatial_dims, 3)]
    block = Mixed(spatial_dims, in_channels)
    block.branch("branch1x1", (320, 1))
    block.branch("branch3x3", (384, 1), ends=fan)
    block.branch("branch3x3dbl", (448, 1), (384, 3), ends=fan)
    block.branch("branch_pool", (192, 1), pool=pool_class("avg", spatial_dims)(3, 1, 1))
    return block


class AuxiliaryClassifier(nn.Module):
    """A classifier on features half-way up: pool 5 with stride 3, 128 filters of 1x1, 768 of 5x5, global mean, dense.

    Features of less than 17 per axis, too few for that, are pooled to 5 per axis.

    >>> AuxiliaryClassifier(2, 768, 10).eval()(torch.zeros(1, 768, 17, 17)).shape
    torch.Size([1, 10])
    """

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.pool = pool_class("avg", spatial_dims)(5, 3)
        self.conv0 = BasicConv(spatial_dims, in_channels, 128, 1)
        self.conv1 = BasicConv(spatial_dims, 128, 768, 5, padding=0)
        self.avgpool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Map features to logits."""
        if min(input.shape[2:]) < _SEEN_BY_HEAD:
            pooled = ops.adaptive_avg_pool(input, 5, spatial_dims=self.spatial_dims)
        else:
            pooled = self.pool(input)
        logits: Tensor = self.fc(self.avgpool(self.conv1(self.conv0(pooled))))
        return logits


class InceptionV3(nn.Module):
    """Eleven mixed blocks of five kinds between a stem and one dense layer; (N, C, *spatial) -> (N, classes).

    In training the result is `WithAuxiliary`, with the auxiliary head's logits, weighted 0.4. Raises `ModelError` when
    called with an input below 75 per axis, of another rank, or with other channels.

    >>> with torch.device("meta"):
    ...     InceptionV3(3, 1, 10).eval()(torch.zeros(1, 1, 75, 75, 75)).shape
    torch.Size([1, 10])
    """

    stages = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")
    head = "fc"
    auxiliary_modules = ("AuxLogits",)

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, dropout: float = 0.5, *, auxiliary: bool = True
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        rank, max_pool = spatial_dims, pool_class("max", spatial_dims)
        # The names are those of published weights, whatever the rank.
        self.Conv2d_1a_3x3 = BasicConv(rank, in_channels, 32, 3, 2, padding=0)
        self.Conv2d_2a_3x3 = BasicConv(rank, 32, 32, 3, padding=0)
        self.Conv2d_2b_3x3 = BasicConv(rank, 32, 64, 3)
        self.maxpool1 = max_pool(3, 2)
        self.Conv2d_3b_1x1 = BasicConv(rank, 64, 80, 1)
        self.Conv2d_4a_3x3 = BasicConv(rank, 80, 192, 3, padding=0)
        self.maxpool2 = max_pool(3, 2)
        self.Mixed_5b = inception_a(rank, 192, 32)
        self.Mixed_5c = inception_a(rank, 256, 64)
        self.Mixed_5d = inception_a(rank, 288, 64)
        self.Mixed_6a = inception_b(rank, 288)
        self.Mixed_6b = inception_c(rank, 768, 128)
        self.Mixed_6c = inception_c(rank, 768, 160)
        self.Mixed_6d = inception_c(rank, 768, 160)
        self.Mixed_6e = inception_c(rank, 768, 192)
        self.AuxLogits = AuxiliaryClassifier(rank, 768, num_classes) if auxiliary else None
        self.Mixed_7a = inception_d(rank, 768)
        self.Mixed_7b = inception_e(rank, 1280)
        self.Mixed_7c = inception_e(rank, 2048)
        self.avgpool = pool_class("global_avg", rank)(keepdim=False)
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(2048, num_classes)

        def wide(layer: nn.Module) -> None:
            truncated_normal(layer, 0.1)

        initialise(self, {conv_class(rank): wide, nn.Linear: wide})
        if self.AuxLogits is not None:
            truncated_normal(self.AuxLogits.conv1.get_submodule("conv"), 0.01)
            truncated_normal(self.AuxLogits.fc, 0.001)

    def forward(self, input: Tensor) -> Tensor | WithAuxiliary:
        """Map a batch to logits; in training also to those of the auxiliary head."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, _SMALLEST)
        output = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(input)))
        output = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(output)))
        output = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(output))))
        middle = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(output)))))
        output = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(middle)))
        logits: Tensor = self.fc(self.dropout(self.avgpool(output)))
        if self.training and self.AuxLogits is not None:
            return WithAuxiliary(logits, (self.AuxLogits(middle),), (0.4,))
        return logits


@register(
    summary="Eleven inception blocks of factorised filters, batch norm, one auxiliary head",
    paper="Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision",
    year=2015,
    input_size=299,
    min_input_size=_SMALLEST,
    in_channels=3,
    num_classes=1000,
    parameters=27_161_264,
    macs=5_713_216_096,
    accuracy="ImageNet top-1 77.29 % (torchvision's weights); paper: top-1 error 21.2 % with one network and crop.",
)
def inception_v3(
    spatial_dims: int, in_channels: int, num_classes: int, *, dropout: float = 0.5, auxiliary: bool = True
) -> InceptionV3:
    """Inception v3: a 5x5 filter becomes two of 3x3, a 7x7 one a 1x7 and a 7x1; pools shrink beside strided filters.

    Stem, three blocks on maps of 35x35 (figure 5), five on 17x17 (figure 6), three on 8x8 (figure 7), mean, dense. One
    auxiliary head on the last block of 17x17 regularises in training; without ``auxiliary`` there is none.

    Built is the usual form, whose weights are published. It differs from the paper's table 1 in the stem, whose second
    half is a 1x1, a 3x3 and a pool instead of three 3x3; widths within blocks are those of the authors' code. In 1-D a
    factorised filter is one filter, in 3-D three; in each fan of figure 7 the 768 filters are shared out over the axes.
    Inputs are at least 75 per axis; below about 300 the auxiliary head pools its features to 5 per axis. Weights start
    truncated normal with deviation 0.1, as in the authors' code.

    Paper: Szegedy and others, Rethinking the Inception Architecture for Computer Vision, 2015. Raises `ModelError` and
    `GeometryError`.

    >>> with torch.device("meta"):
    ...     inception_v3(2, 3, 10).eval()(torch.zeros(1, 3, 75, 75)).shape
    torch.Size([1, 10])
    """
    return InceptionV3(spatial_dims, in_channels, num_classes, dropout, auxiliary=auxiliary)
