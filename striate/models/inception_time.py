"""InceptionTime: convolutions of very different lengths side by side, so that one network sees spikes and waves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import ModelError
from striate.models.field import check_batch
from striate.models.registry import register
from striate.models.time_series import initialise_as_keras
from striate.nn import conv_class, norm_layer, pool_class

if TYPE_CHECKING:
    from torch import Tensor


class InceptionModule(nn.Module):
    """A bottleneck feeding convolutions of several lengths, beside a pool with a 1-wide convolution; all concatenated.

    (N, C, L) -> (N, (len(kernel_sizes) + 1) * filters, L), after batch norm and ReLU. A single channel has nothing to
    squeeze, so it gets no bottleneck.

    >>> InceptionModule(1, 16, 4, (9, 5), 4)(torch.zeros(2, 16, 20)).shape
    torch.Size([2, 12, 20])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, filters: int, kernel_sizes: tuple[int, ...], bottleneck: int
    ) -> None:
        super().__init__()
        conv = conv_class(spatial_dims)
        squeezed = bottleneck if in_channels > 1 else in_channels
        self.bottleneck = conv(in_channels, bottleneck, 1, bias=False) if in_channels > 1 else nn.Identity()
        self.convs = nn.ModuleList(
            conv(squeezed, filters, kernel_size, padding="same", bias=False) for kernel_size in kernel_sizes
        )
        self.pool = pool_class("max", spatial_dims)(3, 1, 1)
        self.conv_pool = conv(in_channels, filters, 1, bias=False)
        self.norm = norm_layer("batch", spatial_dims, (len(kernel_sizes) + 1) * filters)

    def forward(self, input: Tensor) -> Tensor:
        """Return the branches, concatenated and normalised."""
        squeezed = self.bottleneck(input)
        branches = [conv(squeezed) for conv in self.convs] + [self.conv_pool(self.pool(input))]
        return F.relu(self.norm(torch.cat(branches, dim=1)))


class InceptionTime(nn.Module):
    """Inception modules with a shortcut around every three, the mean over time, dense; (N, C, L) -> (N, classes).

    Raises `ModelError` when called with an input of another rank or other channels, and for a depth below 1.

    >>> InceptionTime(1, 6, 5, filters=4, kernel_sizes=(9, 5, 3))(torch.zeros(2, 6, 50)).shape
    torch.Size([2, 5])
    """

    head = "fc"

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        depth: int = 6,
        filters: int = 32,
        kernel_sizes: tuple[int, ...] = (40, 20, 10),
        bottleneck: int = 32,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ModelError("a depth of at least 1", f"depth={depth!r}", "The paper has 6.")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        width = (len(kernel_sizes) + 1) * filters
        self.blocks = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        channels = shortcut_channels = in_channels
        for number in range(1, depth + 1):
            self.blocks.append(InceptionModule(spatial_dims, channels, filters, kernel_sizes, bottleneck))
            channels = width
            if number % 3 == 0:
                self.shortcuts.append(
                    nn.Sequential(
                        conv_class(spatial_dims)(shortcut_channels, width, 1, bias=False),
                        norm_layer("batch", spatial_dims, width),
                    )
                )
                shortcut_channels = width
        self.pool = pool_class("global_avg", spatial_dims)(keepdim=False)
        self.fc = nn.Linear(width, num_classes)
        self.stages = tuple(f"blocks.{number}" for number in range(depth))
        initialise_as_keras(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits."""
        check_batch(input, self.spatial_dims, self.in_channels)
        output = before = input
        for number, block in enumerate(self.blocks, 1):
            output = block(output)
            if number % 3 == 0:
                output = before = F.relu(output + self.shortcuts[number // 3 - 1](before))
        logits: Tensor = self.fc(self.pool(output))
        return logits


@register(
    summary="InceptionTime, one network: six modules with filters of 40, 20 and 10 side by side",
    paper="Fawaz and others: InceptionTime: Finding AlexNet for Time Series Classification",
    year=2020,
    input_size=512,
    min_input_size=1,
    spatial_dims=(1,),
    num_classes=2,
    parameters=420_450,
    macs=214_089_984,
    accuracy="Paper, five networks together: better than HIVE-COTE on 40 of the UCR archive's 85 sets, worse on 39.",
)
def inception_time(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    depth: int = 6,
    filters: int = 32,
    kernel_sizes: tuple[int, ...] = (40, 20, 10),
    bottleneck: int = 32,
) -> InceptionTime:
    """One network of InceptionTime; the paper averages the probabilities of five that start from other weights.

    Each of the six modules squeezes to 32 channels and convolves these with 32 filters of each length, while a pool of
    3 keeps what is extreme; around every third module goes a shortcut. ``kernel_sizes`` are the paper's 40, 20 and 10,
    which have no middle, so the odd step is added at the end as Keras does; other programs have 39, 19 and 9 instead
    (404,994 parameters for one channel and two classes). As in the authors' program the initial weights are Glorot's
    and a series of one channel skips the first squeeze. Batch norm has torch's constants.

    Paper: Fawaz, Lucas, Forestier, Pelletier, Schmidt, Weber, Webb, Idoumghar, Muller and Petitjean, InceptionTime:
    Finding AlexNet for Time Series Classification, 2020. Raises `ModelError` and `GeometryError`.

    >>> count = lambda network: sum(parameter.numel() for parameter in network.parameters())
    >>> count(inception_time(1, 1, 2)), count(inception_time(1, 1, 2, kernel_sizes=(39, 19, 9)))
    (420450, 404994)
    """
    return InceptionTime(
        spatial_dims,
        in_channels,
        num_classes,
        depth=depth,
        filters=filters,
        kernel_sizes=tuple(kernel_sizes),
        bottleneck=bottleneck,
    )
