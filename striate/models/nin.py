"""Network in Network: 1-wide convolutions after each convolution, and a mean over positions instead of dense layers.

A convolution and the 1-wide ones after it are a small perceptron that slides over the input, able to tell what no
linear filter can. The last one has a map per class, and each class's score is the mean of its map.
"""

from __future__ import annotations

import functools
import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.errors import ModelError, did_you_mean
from striate.models.field import check_batch, check_smallest
from striate.models.parts import initialise
from striate.models.registry import register
from striate.nn import conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Lin, Chen, Yan: Network in Network"
_SMALLEST = {"cifar": 4, "imagenet": 39}

# Per block: the convolution's kernel size, stride and padding, the channels of it and of both 1-wide ones (the last has
# as many as there are classes); then the pool, and whether dropout follows it.
_PLANS = {
    "cifar": (
        (5, 1, 2, (192, 160, 96), "max", True),
        (5, 1, 2, (192, 192, 192), "avg", True),
        (3, 1, 1, (192, 192), "global_avg", False),
    ),
    "imagenet": (
        (11, 4, 0, (96, 96, 96), "max", False),
        (5, 1, 2, (256, 256, 256), "max", False),
        (3, 1, 1, (384, 384, 384), "max", True),
        (3, 1, 1, (1024, 1024), "global_avg", False),
    ),
}


class NetworkInNetwork(Chain):
    """Blocks of a convolution, two 1-wide convolutions and a pool, the last global; (N, C, *spatial) -> (N, classes).

    ``form`` is cifar or imagenet. Convolutions are named as in the authors' code: conv1, cccp1, cccp2, conv2, and so
    on. Raises `ModelError` when called with an input of another rank, other channels, or less than the smallest size.

    >>> import torch
    >>> NetworkInNetwork(1, 2, 5)(torch.zeros(3, 2, 40)).shape
    torch.Size([3, 5])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        form: str = "cifar",
        *,
        dropout: float = 0.5,
    ) -> None:
        if form not in _PLANS:
            raise ModelError("form to be cifar or imagenet", f"form={form!r}", did_you_mean(str(form), _PLANS))
        conv = conv_class(spatial_dims)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels, micro = in_channels, 0
        for block, (kernel_size, stride, padding, widths, pool, drops) in enumerate(_PLANS[form], 1):
            layers[f"conv{block}"] = conv(channels, widths[0], kernel_size, stride, padding)
            layers[f"relu{block}"] = nn.ReLU()
            for before, after in itertools.pairwise(widths if len(widths) == 3 else (*widths, num_classes)):
                micro += 1
                layers[f"cccp{micro}"] = conv(before, after, 1)
                layers[f"cccp_relu{micro}"] = nn.ReLU()
            make_pool = pool_class(pool, spatial_dims)
            layers[f"pool{block}"] = make_pool() if pool == "global_avg" else make_pool(3, 2, ceil_mode=True)
            if drops:
                layers[f"drop{block}"] = dropout_layer(dropout)
            channels = widths[-1]
        layers["flatten"] = nn.Flatten()
        super().__init__(layers)
        self.spatial_dims, self.in_channels, self.smallest = spatial_dims, in_channels, _SMALLEST[form]
        self.stages = tuple(f"pool{block}" for block in range(1, len(_PLANS[form])))
        self.head = f"cccp{micro}"
        initialise(self, {_ConvNd: _initialise})

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits, which are never negative."""
        check_batch(input, self.spatial_dims, self.in_channels)
        check_smallest(input, self.smallest)
        logits: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # untyped in torch
        return logits


def _initialise(layer: Any) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)


def network_in_network(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    form: str = "cifar",
    dropout: float = 0.5,
) -> NetworkInNetwork:
    """Network in Network: each convolution is followed by two 1-wide ones, and means over positions are the scores.

    `nin` is the paper's network for CIFAR, of three blocks, with the widths that its authors published with it (the
    paper gives none). `nin_imagenet` is their model for ImageNet, of four blocks, published with Caffe. Pools are 3
    wide with stride 2 and reach over the edge; the second pool of `nin` takes the mean, as the authors' does. Also the
    class maps are rectified. The paper sets first weights by hand and does not say which: here they follow He's rule.

    Paper: Lin, Chen and Yan, Network in Network, 2013. Raises `ModelError` and `GeometryError`.

    >>> model = network_in_network(2, 3, 10)
    >>> sum(parameter.numel() for parameter in model.parameters())
    966986
    """
    return NetworkInNetwork(spatial_dims, in_channels, num_classes, form, dropout=dropout)


register(
    name="nin",
    summary="Network in Network for CIFAR: three blocks",
    paper=_PAPER,
    year=2013,
    input_size=32,
    min_input_size=_SMALLEST["cifar"],
    in_channels=3,
    num_classes=10,
    parameters=966_986,
    macs=222_486_528,
    accuracy="Paper: CIFAR-10 test error 10.41 %, with augmentation 8.81 %; CIFAR-100 35.68 %.",
)(functools.partial(network_in_network, form="cifar"))
register(
    name="nin_imagenet",
    summary="Network in Network for ImageNet: four blocks",
    paper=_PAPER,
    year=2013,
    input_size=224,
    min_input_size=_SMALLEST["imagenet"],
    in_channels=3,
    num_classes=1000,
    parameters=7_595_176,
    macs=1_100_188_800,
    accuracy="ImageNet top-1 59.36 % (the authors' Caffe model).",
)(functools.partial(network_in_network, form="imagenet"))
