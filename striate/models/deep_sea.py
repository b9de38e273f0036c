"""DeepSEA: from a thousand bases of DNA to the presence of hundreds of chromatin features."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from striate.errors import ModelError
from striate.geometry import Axes, Size, Window, per_axis
from striate.models.field import check_batch, check_exact_size
from striate.models.registry import register
from striate.nn import Conv1d, MaxPool1d, dropout_layer
from striate.units import readable_size

if TYPE_CHECKING:
    from torch import Tensor

_USUAL = 1000


class DeepSEA(nn.Module):
    """Three convolutions over one-hot bases, two of them pooled, and two dense layers; (N, 4, L) -> (N, classes).

    Raises `ModelError` when called with an input of another length, rank or number of channels than it was built for.

    >>> import torch
    >>> DeepSEA((60,), 4, 3, channels=(8, 8, 16), hidden=16, pool_size=2)(torch.zeros(2, 4, 60)).shape
    torch.Size([2, 3])
    """

    stages = ("stage1", "stage2", "stage3")
    head = "fc2"

    def __init__(
        self,
        input_size: Size,
        in_channels: int,
        num_classes: int,
        *,
        channels: tuple[int, int, int] = (320, 480, 960),
        hidden: int = 925,
        kernel_size: int = 8,
        pool_size: int = 4,
        dropout: tuple[float, float, float] = (0.2, 0.2, 0.5),
    ) -> None:
        super().__init__()
        pool, conv = Window.of(1, pool_size, pool_size), Window.of(1, kernel_size)
        smallest = (kernel_size * pool_size + kernel_size - 1) * pool_size + kernel_size - 1
        if min(input_size) < smallest:
            raise ModelError(
                f"an input_size of at least {smallest}, so that the last convolution has something to see",
                readable_size(input_size),
                "Take longer sequences, or a smaller kernel_size or pool_size.",
            )
        self.input_size, self.in_channels = input_size, in_channels
        size, before = input_size, in_channels
        features: list[nn.Module] = []
        for number, (after, chance) in enumerate(zip(channels, dropout, strict=True), 1):
            layers: OrderedDict[str, nn.Module] = OrderedDict(conv=Conv1d(before, after, kernel_size), act=nn.ReLU())
            size, before = conv.output_size(size), after
            if number < 3:
                layers["pool"] = MaxPool1d(pool_size)
                size = pool.output_size(size)
            layers["dropout"] = dropout_layer(chance)
            features.append(nn.Sequential(layers))
        self.stage1, self.stage2, self.stage3 = features
        self.fc1 = nn.Linear(before * math.prod(size), hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Map one-hot sequences to logits."""
        check_batch(input, 1, self.in_channels)
        check_exact_size(input, self.input_size)
        output = self.stage3(self.stage2(self.stage1(input))).flatten(1)
        logits: Tensor = self.fc2(self.fc1(output).relu())
        return logits


@register(
    summary="DeepSEA: 320, 480 and 960 filters of 8 bases over 1000, 919 chromatin features",
    paper="Zhou, Troyanskaya: Predicting Effects of Noncoding Variants with Deep Learning-based Sequence Model",
    year=2015,
    task="multi-label",
    input_size=_USUAL,
    min_input_size=163,
    spatial_dims=(1,),
    in_channels=4,
    num_classes=919,
    parameters=52_843_119,
    macs=549_602_395,
    accuracy="Paper: median AUC 0.958 (transcription factors), 0.923 (DNase), 0.856 (histone marks).",
)
def deep_sea(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    input_size: Axes | None = None,
    channels: tuple[int, int, int] = (320, 480, 960),
    hidden: int = 925,
    kernel_size: int = 8,
    pool_size: int = 4,
    dropout: tuple[float, float, float] = (0.2, 0.2, 0.5),
) -> DeepSEA:
    """DeepSEA: one-hot DNA (N, 4, 1000) -> a logit for each of 919 features, any number of which may be present.

    Convolutions of 8 bases without padding, pools of 4 after the first two, dropout, a dense layer of 925 and the
    outputs, whose sigmoids are chances: train with the binary cross-entropy of logits. Weights start as torch's
    layers do; the authors' program does so too, in the Torch of its time.

    The options make a smaller network for shorter sequences, such as the 60 bases around a splice junction with three
    classes: ``input_size=60, channels=(32, 48, 96), hidden=92, pool_size=2``.

    Paper: Zhou and Troyanskaya, Predicting Effects of Noncoding Variants with Deep Learning-based Sequence Model, 2015.
    Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> splice = deep_sea(1, 4, 3, input_size=60, channels=(32, 48, 96), hidden=92, pool_size=2)
    >>> splice(torch.zeros(1, 4, 60)).shape
    torch.Size([1, 3])
    """
    size = per_axis("input_size", _USUAL if input_size is None else input_size, spatial_dims)
    return DeepSEA(
        size,
        in_channels,
        num_classes,
        channels=channels,
        hidden=hidden,
        kernel_size=kernel_size,
        pool_size=pool_size,
        dropout=dropout,
    )
