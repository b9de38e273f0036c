"""LeNet as it is drawn and taught today: ReLU, max pooling and dense layers, in any rank.

One family, two widths: `lenet` has the layer sizes of the 1998 paper, `lenet_drawn` those of a drawing often shown in
lectures. The network exactly as published is in `striate.models.lenet5`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from striate.geometry import Axes, Size, Window
from striate.models.field import field_conv_class, field_size
from striate.models.registry import register
from striate.nn import activation_layer, conv_class, dropout_layer, pool_class
from striate.nn.chain import Chain

if TYPE_CHECKING:
    from striate.nn import Activation

_USUAL_FIELD = 32
_SMALLEST_FIELD = 16
_PAPER = "LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition"


class LeNet(Chain):
    """Two 5-wide convolutions with activation and pooling, then three dense layers; (N, C, *spatial) -> (N, classes).

    ``field`` is the size per axis it is built for, in which smaller inputs are centred. Raises `ModelError` when called
    with an input that is larger or has another rank or other channels.

    >>> import torch
    >>> LeNet((32,), 1, 10)(torch.zeros(2, 1, 28)).shape
    torch.Size([2, 10])
    """

    stages = ("pool1", "pool2")
    head = "fc3"

    def __init__(
        self,
        field: Size,
        in_channels: int,
        num_classes: int,
        hidden: tuple[int, int] = (120, 84),
        *,
        activation: Activation = "relu",
        pool: str = "max",
        dropout: float = 0.0,
    ) -> None:
        rank = len(field)
        size = field
        for kernel_size, stride in ((5, 1), (2, 2)) * 2:
            size = Window.of(rank, kernel_size, stride).output_size(size)
        first, second = hidden
        make_pool = pool_class(pool, rank)
        super().__init__(
            OrderedDict(
                conv1=field_conv_class(rank)(in_channels, 6, 5, field),
                act1=activation_layer(activation),
                pool1=make_pool(2),
                conv2=conv_class(rank)(6, 16, 5),
                act2=activation_layer(activation),
                pool2=make_pool(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(16 * math.prod(size), first),
                act3=activation_layer(activation),
                fc2=nn.Linear(first, second),
                act4=activation_layer(activation),
                dropout=dropout_layer(dropout),
                fc3=nn.Linear(second, num_classes),
            )
        )


@register(
    summary="LeNet, dense modern form: two 5x5 convolutions, 120 and 84 dense units, ReLU and max pooling",
    paper=_PAPER,
    year=1998,
    input_size=_USUAL_FIELD,
    min_input_size=1,
    parameters=61_706,
    macs=416_520,
)
def lenet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    input_size: Axes | None = None,
    field: Axes | None = None,
    activation: Activation = "relu",
    pool: str = "max",
    dropout: float = 0.0,
) -> LeNet:
    """LeNet-5 as it is built today: every map of the second convolution sees all six, dense output, ReLU, max pooling.

    6 maps of 5x5, pool, 16 maps of 5x5, pool, 120,
    84, num_classes. ReLU and max pooling take the place of the scaled tanh and trainable subsampling of 1998 because
    they train faster and better; ``activation="tanh", pool="avg"`` comes near the original.

    Inputs may be anything up to the field, 32 per axis or ``input_size`` where that is larger, and are centred in it
    with zeros, as the 28x28 digits of MNIST are. ``field`` sets it outright, down to 16, which makes volumes cheap.

    Paper: LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition, 1998.
    Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> lenet(2, 1, 10)(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """
    size = field_size(spatial_dims, input_size, field, _USUAL_FIELD, _SMALLEST_FIELD)
    return LeNet(size, in_channels, num_classes, activation=activation, pool=pool, dropout=dropout)


@register(
    summary="LeNet as drawn in lectures: 32x32 - 6 - 16 - 120 - 100 - 10",
    paper=_PAPER,
    year=1998,
    input_size=_USUAL_FIELD,
    min_input_size=1,
    parameters=63_802,
    macs=418_600,
)
def lenet_drawn(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    input_size: Axes | None = None,
    field: Axes | None = None,
    activation: Activation = "relu",
    pool: str = "max",
    dropout: float = 0.0,
) -> LeNet:
    """The LeNet of the drawn digit: as `lenet`, with 100 units instead of 84 in the last hidden layer.

    By layer 156, 2,416, 48,120, 12,100 and 1,010 parameters. Options, shapes and errors are those of `lenet`.

    >>> sum(parameter.numel() for parameter in lenet_drawn(2, 1, 10).parameters())
    63802
    """
    size = field_size(spatial_dims, input_size, field, _USUAL_FIELD, _SMALLEST_FIELD)
    return LeNet(size, in_channels, num_classes, (120, 100), activation=activation, pool=pool, dropout=dropout)
