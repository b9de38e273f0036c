"""A plain network for activity recognition: short windows of accelerometer and gyroscope, two pooled convolutions."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from striate.errors import ModelError
from striate.geometry import Axes, Size, per_axis
from striate.models.field import check_batch, check_exact_size
from striate.models.registry import register
from striate.nn import Conv1d, MaxPool1d, dropout_layer
from striate.units import readable_size

if TYPE_CHECKING:
    from torch import Tensor

_USUAL = 50


class ActivityCNN(nn.Module):
    """Convolutions that keep the length, each pooled by 2, then two dense layers; (N, C, L) -> (N, classes).

    Raises `ModelError` when called with an input of another length, rank or number of channels than it was built for.

    >>> import torch
    >>> ActivityCNN((50,), 6, 5)(torch.zeros(2, 6, 50)).shape
    torch.Size([2, 5])
    """

    head = "fc2"

    def __init__(
        self,
        input_size: Size,
        in_channels: int,
        num_classes: int,
        *,
        filters: tuple[int, ...] = (64, 64),
        kernel_size: int = 10,
        hidden: int = 100,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if min(input_size) < 2 ** len(filters):
            raise ModelError(
                f"an input_size of at least {2 ** len(filters)}, so that {len(filters)} pools leave something",
                readable_size(input_size),
                "Take longer windows, or fewer filters.",
            )
        self.input_size, self.in_channels = input_size, in_channels
        self.features = nn.Sequential()
        before, length = in_channels, input_size[0]
        for after in filters:
            conv = Conv1d(before, after, kernel_size, padding="same")
            self.features.append(nn.Sequential(OrderedDict(conv=conv, act=nn.ReLU(), pool=MaxPool1d(2))))
            before, length = after, length // 2
        self.fc1 = nn.Linear(before * length, hidden)
        self.dropout = dropout_layer(dropout)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.stages = tuple(f"features.{number}" for number in range(len(filters)))

    def forward(self, input: Tensor) -> Tensor:
        """Map windows to logits."""
        check_batch(input, 1, self.in_channels)
        check_exact_size(input, self.input_size)
        output: Tensor = self.fc2(self.dropout(self.fc1(self.features(input).flatten(1)).relu()))
        return output


@register(
    summary="Plain network for windows of accelerometers: two pooled convolutions of 64, 100 dense units",
    paper="A plain network, after Zeng and others: Convolutional Neural Networks for Human Activity Recognition",
    year=2014,
    input_size=_USUAL,
    min_input_size=4,
    spatial_dims=(1,),
    in_channels=6,
    num_classes=5,
    parameters=122_333,
    macs=1_293_300,
)
def activity_cnn(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    input_size: Axes | None = None,
    filters: tuple[int, ...] = (64, 64),
    kernel_size: int = 10,
    hidden: int = 100,
    dropout: float = 0.5,
) -> ActivityCNN:
    """A plain network for activity recognition: for each of ``filters`` a convolution, ReLU, a pool of 2; then dense.

    The axes of the sensors are its channels. Windows of 50 samples are half a second at 100 Hz; another length goes in
    ``input_size``. It is no one paper's network: Zeng and others were the first to take this plan to accelerometers,
    with weights shared in part, and published sizes differ widely.

    Paper: after Zeng, Nguyen, Yu, Mengshoel, Zhu, Wu and Zhang, Convolutional Neural Networks for Human Activity
    Recognition using Mobile Sensors, 2014. Raises `ModelError` and `GeometryError`.

    >>> import torch
    >>> activity_cnn(1, 6, 5, input_size=100)(torch.zeros(1, 6, 100)).shape
    torch.Size([1, 5])
    """
    size = per_axis("input_size", _USUAL if input_size is None else input_size, spatial_dims)
    return ActivityCNN(
        size, in_channels, num_classes, filters=tuple(filters), kernel_size=kernel_size, hidden=hidden, dropout=dropout
    )
