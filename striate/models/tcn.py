"""The temporal convolutional network: causal convolutions whose dilation doubles, as an alternative to recurrence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from striate.errors import ModelError
from striate.geometry import ReceptiveField
from striate.models.field import check_batch
from striate.models.registry import register
from striate.nn import Conv1d, dropout_layer

if TYPE_CHECKING:
    from torch import Tensor


def _causal(in_channels: int, out_channels: int, kernel_size: int, dilation: int) -> nn.Module:
    """A weight-normalised convolution that sees no later step; its weights start small, N(0, 0.01)."""
    conv = Conv1d(in_channels, out_channels, kernel_size, padding="causal", dilation=dilation)
    # Before the norm is split off, which then starts as that of these weights.
    nn.init.normal_(conv.weight, 0.0, 0.01)
    normed: nn.Module = weight_norm(conv)
    return normed


class TemporalBlock(nn.Module):
    """Two causal dilated convolutions with weight norm, ReLU and dropout, beside a shortcut; ReLU after the sum.

    (N, C_in, L) -> (N, C_out, L). The shortcut is a 1-wide convolution where the channels change.

    >>> import torch
    >>> TemporalBlock(1, 8, kernel_size=3, dilation=4)(torch.zeros(2, 1, 20)).shape
    torch.Size([2, 8, 20])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv1 = _causal(in_channels, out_channels, kernel_size, dilation)
        self.relu1 = nn.ReLU()
        self.dropout1 = dropout_layer(dropout)
        self.conv2 = _causal(out_channels, out_channels, kernel_size, dilation)
        self.relu2 = nn.ReLU()
        self.dropout2 = dropout_layer(dropout)
        self.downsample = None if in_channels == out_channels else Conv1d(in_channels, out_channels, 1)
        if self.downsample is not None:
            nn.init.normal_(self.downsample.weight, 0.0, 0.01)

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's output, as long as the input."""
        output = self.dropout1(self.relu1(self.conv1(input)))
        output = self.dropout2(self.relu2(self.conv2(output)))
        return F.relu(output + (input if self.downsample is None else self.downsample(input)))


class TCN(nn.Module):
    """Blocks of dilation 1, 2, 4, ... and a dense layer on the last step; (N, C, L) -> (N, classes).

    With ``every_step`` the dense layer reads every step, (N, C, L) -> (N, classes, L): what it says of a step then
    depends on that step and earlier ones alone. Raises `ModelError` when called with an input of another rank or other
    channels, and for less than one level.

    >>> import torch
    >>> TCN(1, 10, hidden_channels=8, levels=3, kernel_size=3)(torch.zeros(2, 1, 30)).shape
    torch.Size([2, 10])
    """

    head = "linear"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        hidden_channels: int = 25,
        levels: int = 8,
        kernel_size: int = 7,
        dropout: float = 0.05,
        every_step: bool = False,
    ) -> None:
        super().__init__()
        if levels < 1:
            raise ModelError("at least 1 level", f"levels={levels!r}", "Every level doubles what is seen.")
        self.in_channels, self.every_step = in_channels, every_step
        self.kernel_size, self.levels = kernel_size, levels
        self.network = nn.Sequential(
            *(
                TemporalBlock(
                    hidden_channels if level else in_channels, hidden_channels, kernel_size, 2**level, dropout
                )
                for level in range(levels)
            )
        )
        self.linear = nn.Linear(hidden_channels, num_classes)
        nn.init.normal_(self.linear.weight, 0.0, 0.01)
        self.stages = tuple(f"network.{level}" for level in range(levels))

    @property
    def receptive_field(self) -> int:
        """How many steps an output sees, itself included: 1 + 2 (kernel_size - 1) (2^levels - 1)."""
        seen = ReceptiveField()
        for level in range(self.levels):
            seen = seen.through(self.kernel_size, dilation=2**level).through(self.kernel_size, dilation=2**level)
        return int(seen.size)

    def forward(self, input: Tensor) -> Tensor:
        """Map a batch to logits, of the last step or of every one."""
        check_batch(input, 1, self.in_channels)
        steps: Tensor = self.network(input)
        if not self.every_step:
            last: Tensor = self.linear(steps[:, :, -1])
            return last
        every: Tensor = self.linear(steps.transpose(1, 2)).transpose(1, 2)
        return every


@register(
    summary="Temporal convolutional network: causal, dilated, weight-normalised residual blocks, 8 levels of 25",
    paper="Bai, Kolter, Koltun: An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequences",
    year=2018,
    input_size=784,
    min_input_size=1,
    spatial_dims=(1,),
    parameters=66_910,
    macs=51_607_050,
    accuracy="Paper: sequential MNIST 99.0 %.",
)
def tcn(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    hidden_channels: int = 25,
    levels: int = 8,
    kernel_size: int = 7,
    dropout: float = 0.05,
    every_step: bool = False,
) -> TCN:
    """The temporal convolutional network, by default the one for MNIST read pixel by pixel: 8 levels of 25, kernel 7.

    Each level has two causal convolutions and doubles the dilation, so that an output sees 1 + 2 (kernel_size - 1)
    (2^levels - 1) steps: 3,061 by default. The last step, which has seen most, decides; ``every_step`` gives logits for
    all steps, as tasks from sequence to sequence need them.

    Weights start from N(0, 0.01), as the authors' program intends. There the drawn values are overwritten, because
    weight norm was already in place; here they count. The names of the weights in files of that program are understood.

    Paper: Bai, Kolter and Koltun, An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
    Modeling, 2018. Raises `ModelError` and `GeometryError`.

    >>> network = tcn(1, 1, 10)
    >>> sum(parameter.numel() for parameter in network.parameters()), network.receptive_field
    (66910, 3061)
    """
    return TCN(
        in_channels,
        num_classes,
        hidden_channels=hidden_channels,
        levels=levels,
        kernel_size=kernel_size,
        dropout=dropout,
        every_step=every_step,
    )
