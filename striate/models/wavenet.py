"""WaveNet's stack: gated causal convolutions that see thousands of samples and predict the next one, level by level."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import ModelError
from striate.geometry import ReceptiveField
from striate.models.registry import register
from striate.models.tokens import OneHot, check_tokens
from striate.nn import Conv1d

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


def mu_law(signal: Tensor, levels: int = 256) -> Tensor:
    """Quantise a signal within -1 to 1 to ``levels`` integers, finely around zero, as telephones do (section 2.2).

    >>> mu_law(torch.tensor([-1.0, 0.0, 1.0])).tolist()
    [0, 128, 255]
    """
    mu = levels - 1
    squeezed = signal.sign() * (mu * signal.abs()).log1p() / math.log1p(mu)
    return ((squeezed.clamp(-1, 1) + 1) / 2 * mu + 0.5).long()


def inverse_mu_law(tokens: Tensor, levels: int = 256) -> Tensor:
    """The signal in the middle of each level.

    >>> inverse_mu_law(torch.tensor([0, 255])).tolist()
    [-1.0, 1.0]
    """
    mu = levels - 1
    squeezed = tokens * (2 / mu) - 1
    return squeezed.sign() * (squeezed.abs() * math.log1p(mu)).expm1() / mu


class GatedLayer(nn.Module):
    """tanh(filter * x) times sigmoid(gate * x), causal; gives what goes on to the next layer, and what skips ahead.

    The last layer of a stack has no next one, so it lacks the convolution for it.

    >>> onward, skipped = GatedLayer(8, 16, kernel_size=2, dilation=4)(torch.zeros(1, 8, 30))
    >>> onward.shape, skipped.shape
    (torch.Size([1, 8, 30]), torch.Size([1, 16, 30]))
    """

    def __init__(
        self, channels: int, skip_channels: int, kernel_size: int, dilation: int, *, last: bool = False
    ) -> None:
        super().__init__()
        self.filter = Conv1d(channels, channels, kernel_size, padding="causal", dilation=dilation)
        self.gate = Conv1d(channels, channels, kernel_size, padding="causal", dilation=dilation)
        self.residual = None if last else Conv1d(channels, channels, 1)
        self.skip = Conv1d(channels, skip_channels, 1)

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input of the next layer, and the skip."""
        gated = self.filter(input).tanh() * self.gate(input).sigmoid()
        return (gated if self.residual is None else input + self.residual(gated)), self.skip(gated)


class WaveNet(nn.Module):
    """Gated layers of dilation 1, 2, 4, ... whose skips are summed; (N, L) tokens -> (N, classes, L) logits.

    The logits at a step are those of the next token, given that step's and all before. Raises `ModelError` when called
    with anything but integers (N, L), and for less than one layer.

    >>> WaveNet(16, 16, channels=4, skip_channels=8, layers=3, stacks=2)(torch.zeros(2, 50, dtype=torch.long)).shape
    torch.Size([2, 16, 50])
    """

    head = "conv2"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 32,
        skip_channels: int = 512,
        layers: int = 10,
        stacks: int = 3,
        kernel_size: int = 2,
    ) -> None:
        super().__init__()
        if layers < 1 or stacks < 1:
            raise ModelError("at least 1 layer in at least 1 stack", f"layers={layers}, stacks={stacks}", "Add some.")
        self.kernel_size = kernel_size
        self.dilations = tuple(2**layer for layer in range(layers)) * stacks
        self.one_hot = OneHot(in_channels)
        self.causal = Conv1d(in_channels, channels, kernel_size, padding="causal")
        self.layers = nn.ModuleList(
            GatedLayer(channels, skip_channels, kernel_size, dilation, last=number == len(self.dilations))
            for number, dilation in enumerate(self.dilations, 1)
        )
        self.conv1 = Conv1d(skip_channels, skip_channels, 1)
        self.conv2 = Conv1d(skip_channels, num_classes, 1)
        # A layer returns two tensors, so the stages are the skips.
        self.stages = tuple(f"layers.{number}.skip" for number in range(len(self.dilations)))

    @property
    def receptive_field(self) -> int:
        """How many tokens an output sees, the latest included."""
        seen = ReceptiveField().through(self.kernel_size)
        for dilation in self.dilations:
            seen = seen.through(self.kernel_size, dilation=dilation)
        return int(seen.size)

    def forward(self, input: Tensor) -> Tensor:
        """Map tokens to the logits of each step's next token."""
        check_tokens(input)
        start = self.causal(self.one_hot(input, self.causal.weight.dtype))
        # Summed as they come, so that one of them is kept and not thirty.
        total = functools.reduce(torch.add, self._skips(start))
        logits: Tensor = self.conv2(F.relu(self.conv1(F.relu(total))))
        return logits

    def _skips(self, onward: Tensor) -> Iterator[Tensor]:
        for layer in self.layers:
            onward, skipped = layer(onward)
            yield skipped

    @torch.no_grad()
    def generate(self, tokens: Tensor, steps: int) -> Tensor:
        """Continue (N, L) tokens by ``steps`` sampled ones; each takes a pass over the receptive field.

        >>> WaveNet(4, 4, channels=2, skip_channels=2, layers=2, stacks=1).generate(torch.tensor([[0, 1]]), 3).shape
        torch.Size([1, 5])
        """
        for _ in range(steps):
            chances = self(tokens[:, -self.receptive_field :])[:, :, -1].softmax(1)
            tokens = torch.cat([tokens, torch.multinomial(chances, 1)], dim=1)
        return tokens


@register(
    summary="WaveNet's stack: 3 x 10 gated causal layers of dilation 1 to 512, skip sums, next of 256 levels",
    paper="van den Oord and others: WaveNet: A Generative Model for Raw Audio",
    year=2016,
    task="next-sample prediction",
    input_kind="tokens",
    input_size=1024,
    min_input_size=1,
    spatial_dims=(1,),
    in_channels=256,
    num_classes=256,
    parameters=1_072_704,
    macs=1_078_984_704,
    accuracy="Paper: TIMIT phoneme error rate 18.8 %.",
)
def wavenet(
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    *,
    channels: int = 32,
    skip_channels: int = 512,
    layers: int = 10,
    stacks: int = 3,
    kernel_size: int = 2,
) -> WaveNet:
    """WaveNet without conditions: tokens of quantised sound (N, L) -> logits of the next token (N, num_classes, L).

    ``in_channels`` and ``num_classes`` are the number of levels, 256 in the paper; `mu_law` makes tokens of sound. Each
    of ``stacks`` has ``layers`` gated layers whose dilation doubles from 1. The paper's example of three stacks up to
    512 is the default, which sees 3,071 samples, the first convolution of the one-hot tokens included. Of channels the
    paper says nothing: 32 and 512 are those of common programs, which like this one use one 1-wide convolution for the
    next layer and another for the skip. To train, compare ``logits[:, :, :-1]`` with ``tokens[:, 1:]``.

    Paper: van den Oord, Dieleman, Zen, Simonyan, Vinyals, Graves, Kalchbrenner, Senior and Kavukcuoglu, WaveNet: A
    Generative Model for Raw Audio, 2016. Raises `ModelError` and `GeometryError`.

    >>> wavenet(1, 256, 256, channels=2, skip_channels=2).receptive_field
    3071
    """
    return WaveNet(
        in_channels,
        num_classes,
        channels=channels,
        skip_channels=skip_channels,
        layers=layers,
        stacks=stacks,
        kernel_size=kernel_size,
    )
