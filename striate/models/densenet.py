"""DenseNet: every layer sees the maps of all layers before it, and adds a few of its own.

Within a block nothing is replaced: each layer's ``growth`` new maps are put beside what was there. Between blocks a
transition thins out the channels and halves the size.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd
from torch.utils.checkpoint import checkpoint

from striate.errors import ModelError
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, norm_layer, pool_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_BOTTLENECK = 4
_COMPRESSION = 0.5


class DenseLayer(nn.Module):
    """Norm, ReLU, 1-wide convolution to four times ``growth``, norm, ReLU, 3-wide convolution to ``growth`` new maps.

    It takes the maps of all earlier layers: (N, C_1, *spatial), (N, C_2, *spatial), ... -> (N, growth, *spatial), where
    ``in_channels`` is the sum of all C. With ``memory_efficient`` the joined and normalised maps, which over all
    layers grow with the square of the depth, are computed again in the backward pass instead of kept.

    >>> layer = DenseLayer(2, 8, growth=4)
    >>> layer([torch.zeros(1, 6, 5, 5), torch.zeros(1, 2, 5, 5)]).shape
    torch.Size([1, 4, 5, 5])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, growth: int, dropout: float = 0.0, memory_efficient: bool = False
    ) -> None:
        super().__init__()
        conv = conv_class(spatial_dims)
        between = _BOTTLENECK * growth
        self.norm1 = norm_layer("batch", spatial_dims, in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = conv(in_channels, between, 1, bias=False)
        self.norm2 = norm_layer("batch", spatial_dims, between)
        self.relu2 = nn.ReLU()
        self.conv2 = conv(between, growth, 3, padding=1, bias=False)
        self.dropout = dropout_layer(dropout)
        self.memory_efficient = memory_efficient

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the new maps."""
        if self.memory_efficient and torch.is_grad_enabled() and any(each.requires_grad for each in maps):
            narrow: Tensor = checkpoint(self._narrow, *maps, use_reentrant=False)
        else:
            narrow = self._narrow(*maps)
        new: Tensor = self.dropout(self.conv2(self.relu2(self.norm2(narrow))))
        return new

    def _narrow(self, *maps: Tensor) -> Tensor:
        narrow: Tensor = self.conv1(self.relu1(self.norm1(torch.cat(maps, 1))))
        return narrow


class DenseBlock(nn.ModuleDict):
    """``depth`` layers, each fed with the input and all maps made so far, which it returns joined.

    (N, C, *spatial) -> (N, C + depth * growth, *spatial).

    >>> DenseBlock(1, 3, 8, growth=4)(torch.zeros(2, 8, 10)).shape
    torch.Size([2, 20, 10])
    """

    def __init__(
        self,
        spatial_dims: int,
        depth: int,
        in_channels: int,
        growth: int,
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        for index in range(depth):
            self[f"denselayer{index + 1}"] = DenseLayer(
                spatial_dims, in_channels + index * growth, growth, dropout, memory_efficient
            )

    def forward(self, input: Tensor) -> Tensor:
        """Return the input and all new maps, joined."""
        maps = [input]
        for layer in self.values():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


def _transition(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Sequential:
    """Thin out the channels and halve the size."""
    return nn.Sequential(
        OrderedDict(
            norm=norm_layer("batch", spatial_dims, in_channels),
            relu=nn.ReLU(),
            conv=conv_class(spatial_dims)(in_channels, out_channels, 1, bias=False),
            pool=pool_class("avg", spatial_dims)(2, 2),
        )
    )


class DenseNet(nn.Module):
    """A first convolution, dense blocks with transitions between, a mean and a dense layer.

    (N, C, *spatial) -> (N, classes). ``depths`` are the layers per block, ``growth`` the maps that each adds, ``stem``
    the maps of the first convolution. A ``large`` stem is 7 wide and divides the size by 4, as for ImageNet; otherwise
    it is 3 wide and keeps it, as for CIFAR. Raises `ModelError` when called with an input of another rank, other
    channels, or less than the smallest size.

    >>> DenseNet(1, 2, 5, depths=(2, 2), growth=4, stem=8, large=False)(torch.zeros(3, 2, 10)).shape
    torch.Size([3, 5])
    """

    head = "classifier"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        depths: Sequence[int],
        growth: int = 32,
        stem: int = 64,
        large: bool = True,
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        if not depths or min(depths) < 1 or growth < 1 or stem < 1:
            raise ModelError(
                "at least one block, and at least one layer in each, with growth and stem of 1 or more",
                f"depths={tuple(depths)}, growth={growth}, stem={stem}",
                "Use positive integers, such as depths=(6, 12, 24, 16), growth=32 and stem=64.",
            )
        conv = conv_class(spatial_dims)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.smallest = _smallest(len(depths), large)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if large:
            layers["conv0"] = conv(in_channels, stem, 7, stride=2, padding=3, bias=False)
            layers["norm0"] = norm_layer("batch", spatial_dims, stem)
            layers["relu0"] = nn.ReLU()
            layers["pool0"] = pool_class("max", spatial_dims)(3, 2, 1)
        else:
            layers["conv0"] = conv(in_channels, stem, 3, padding=1, bias=False)
        channels = stem
        for block, depth in enumerate(depths, 1):
            layers[f"denseblock{block}"] = DenseBlock(spatial_dims, depth, channels, growth, dropout, memory_efficient)
            channels += depth * growth
            if block < len(depths):
                thinned = int(channels * _COMPRESSION)
                layers[f"transition{block}"] = _transition(spatial_dims, channels, thinned)
                channels = thinned
        # Always 5, since torchvision's networks have four blocks, each with a norm in front or in its transition.
        layers["norm5"] = norm_layer("batch", spatial_dims, channels)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, num_classes)
        self.stages = tuple(f"features.denseblock{block}" for block in range(1, len(depths) + 1))
        initialise(self, {_ConvNd: _initialise_conv, nn.Linear: _initialise_linear})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, self.smallest)
        maps = F.relu(self.features(input))
        logits: Tensor = self.classifier(maps.flatten(2).mean(2))
        return logits


def _smallest(blocks: int, large: bool) -> int:
    # Every transition must find two positions, hence 2 ** (blocks - 1) in the first block, which the two halvings of a
    # large stem, both rounding up, make of four times as many less 3.
    positions = 1 << (blocks - 1)
    return 4 * positions - 3 if large else positions


def _initialise_conv(layer: Any) -> None:
    nn.init.kaiming_normal_(layer.weight)


def _initialise_linear(layer: Any) -> None:
    nn.init.zeros_(layer.bias)


def densenet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    depths: Sequence[int],
    growth: int = 32,
    stem: int = 64,
    large: bool = True,
    dropout: float = 0.0,
    memory_efficient: bool = False,
) -> DenseNet:
    """DenseNet-BC: bottlenecks of 4 times the growth, and transitions that keep half of the channels.

    The networks for ImageNet bear torchvision's names and shapes; as there, the classifier's weights start from
    PyTorch's uniform rule, all convolutions from He's. `densenet_bc_100_12` is the one for CIFAR with 100 layers: three
    blocks of 16 layers, each of two convolutions, that add 12 maps, after a 3-wide convolution to 24. The paper trains
    it with ``dropout=0.2`` where images are not augmented. Signals and volumes take the same networks with
    ``spatial_dims`` of 1 and 3.

    ``memory_efficient`` trains with memory that grows with the depth and not its square, for about a quarter more time;
    the batch norms it computes twice then take two steps of their running statistics, as in torchvision.

    Paper: Huang, Liu, van der Maaten and Weinberger, Densely Connected Convolutional Networks, 2016; Pleiss and others,
    Memory-Efficient Implementation of DenseNets, 2017. Raises `ModelError` and `GeometryError`.

    >>> model = densenet(2, 3, 10, depths=(16, 16, 16), growth=12, stem=24, large=False)
    >>> sum(parameter.numel() for parameter in model.parameters())
    769162
    """
    return DenseNet(
        spatial_dims,
        in_channels,
        num_classes,
        depths=depths,
        growth=growth,
        stem=stem,
        large=large,
        dropout=dropout,
        memory_efficient=memory_efficient,
    )


_PAPER = "Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks"

# Layers with weights, layers per block, growth, first maps; then parameters, macs, top-1 accuracy.
_SIZES = (
    (121, (6, 12, 24, 16), 32, 64, 7_978_856, 2_834_161_664, "74.43"),
    (161, (6, 12, 36, 24), 48, 96, 28_681_000, 7_727_907_072, "77.14"),
    (169, (6, 12, 32, 32), 32, 64, 14_149_480, 3_359_843_328, "75.60"),
    (201, (6, 12, 48, 32), 32, 64, 20_013_928, 4_291_365_888, "76.90"),
)

for _layers, _depths, _growth, _stem, _parameters, _macs, _accuracy in _SIZES:
    register(
        name=f"densenet{_layers}",
        summary=f"DenseNet of {_layers} layers, each adding {_growth} maps",
        paper=_PAPER,
        year=2016,
        input_size=224,
        min_input_size=_smallest(len(_depths), large=True),
        in_channels=3,
        num_classes=1000,
        parameters=_parameters,
        macs=_macs,
        accuracy=f"ImageNet top-1 {_accuracy} % (torchvision's weights).",
    )(functools.partial(densenet, depths=_depths, growth=_growth, stem=_stem, large=True))

register(
    name="densenet_bc_100_12",
    summary="DenseNet-BC of 100 layers for CIFAR, each adding 12 maps",
    paper=_PAPER,
    year=2016,
    input_size=32,
    min_input_size=_smallest(3, large=False),
    in_channels=3,
    num_classes=10,
    parameters=769_162,
    macs=287_929_692,
    accuracy="Paper: CIFAR-10 test error 5.92 %, with augmentation 4.51 %; CIFAR-100 24.15 % and 22.27 %.",
)(functools.partial(densenet, depths=(16, 16, 16), growth=12, stem=24, large=False))
