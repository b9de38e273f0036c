"""Hiding parts of a sample: boxes, channels, bases, bands of frequency and time. Targets stay as they are."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.fields import channel_mean, channel_std, exponential
from striate.data.augmentation.parameters import OneOf, Span, Within
from striate.data.augmentation.transform import Facts, ValueTransform, per_sample, register


def box(starts: Tensor, stops: Tensor, size: Sequence[int]) -> Tensor:
    """True inside each sample's box, (n, 1, *size), from ``starts`` (n, rank) up to but without ``stops``.

    >>> box(torch.tensor([[1]]), torch.tensor([[3]]), (4,)).int()
    tensor([[[0, 1, 1, 0]]], dtype=torch.int32)
    """
    rank = len(size)
    inside = torch.ones(len(starts), 1, *(1,) * rank, dtype=torch.bool)
    for axis, length in enumerate(size):
        places = torch.arange(length)
        within = (places >= starts[:, axis : axis + 1]) & (places < stops[:, axis : axis + 1])
        inside = inside & within.reshape(
            len(starts), *[length if place - 1 == axis else 1 for place in range(rank + 1)]
        )
    return inside


@register
@dataclass(frozen=True, kw_only=True)
class Erasing(ValueTransform):
    """Hide a random box (Zhong et al. 2020; in 1-D a stretch of time).

    ``area``: the box's part of the sample. ``ratio``: its sides, relative to the sample's, differ by at most that
    factor. ``fill``: "random" values, the "mean" of each channel, or "zero". Random values are drawn evenly from black
    to white, or, where there is no full white, normally with the channel's mean and standard deviation.
    """

    name: ClassVar[str] = "erasing"

    p: Annotated[float, Within(0, 1)] = 0.5
    area: Annotated[tuple[float, float], Span(0, 1)] = (0.02, 0.33)
    ratio: Annotated[float, Within(1, 10)] = 3.3
    fill: Annotated[str, OneOf(("random", "mean", "zero"))] = "random"

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Hide one box of every sample."""
        size = torch.tensor(inputs.shape[2:])
        rank = len(size)
        stretch = draws.uniform("ratio", -math.log(self.ratio) / 2, math.log(self.ratio) / 2, (rank,)).double()
        # Column by column: a sum over an axis may round otherwise in another batch.
        middle = functools.reduce(torch.add, stretch.unbind(1)) / rank
        area = draws.uniform("area", *self.area).double()
        side = torch.from_numpy(area.numpy() ** (1 / rank)).unsqueeze(1)
        parts = (side * exponential(stretch - middle.unsqueeze(1))).clamp(max=1)
        lengths = (parts * size).round().long()
        starts = _starts(draws, size, lengths)
        return torch.where(box(starts, starts + lengths, inputs.shape[2:]), self._filling(inputs, draws, facts), inputs)

    def _filling(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        if self.fill == "zero":
            return torch.zeros(())
        if self.fill == "mean":
            return channel_mean(inputs)
        if facts.bounded:
            return draws.uniform("fill", shape=inputs.shape[1:])
        return draws.normal("fill", shape=inputs.shape[1:]) * channel_std(inputs) + channel_mean(inputs)


def _starts(draws: Draws, size: Tensor, lengths: Tensor) -> Tensor:
    """Random starts (n, rank) of boxes that lie inside."""
    columns = [
        draws.integers(f"start {axis}", 0, length - lengths[:, axis] + 1) for axis, length in enumerate(size.tolist())
    ]
    return torch.stack(columns, dim=1)


@register
@dataclass(frozen=True, kw_only=True)
class ChannelDropout(ValueTransform):
    """Silence each channel with probability ``rate``, as a sensor that fails; at least one channel stays."""

    name: ClassVar[str] = "channel_dropout"

    rate: Annotated[float, Within(0, 1)] = 0.1

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Set the dropped channels of every sample to zero."""
        channels = inputs.shape[1]
        dropped = draws.chance("drop", self.rate, (channels,))
        spared = draws.integers("spare", 0, channels).unsqueeze(1)
        all_dropped = dropped.all(dim=1, keepdim=True)
        dropped = dropped & ~(all_dropped & (torch.arange(channels) == spared))
        return torch.where(per_sample(dropped, inputs), 0.0, inputs)


@register
@dataclass(frozen=True, kw_only=True)
class BaseDropout(ValueTransform):
    """Make each base of a one-hot sequence unknown with probability ``rate``: a quarter of each base, as N is read."""

    name: ClassVar[str] = "base_dropout"
    ranks: ClassVar[tuple[int, ...]] = (1,)
    channels: ClassVar[int] = 4

    rate: Annotated[float, Within(0, 1)] = 0.05

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Drop bases of every sequence."""
        dropped = draws.chance("drop", self.rate, inputs.shape[2:]).unsqueeze(1)
        return torch.where(dropped, functools.reduce(torch.add, inputs.unsqueeze(2).unbind(1)) / 4, inputs)


@register
@dataclass(frozen=True, kw_only=True)
class SpecAugment(ValueTransform):
    """Hide bands of frequency (first axis) and of time (second) of a spectrogram (Park et al. 2019).

    ``frequency_masks`` and ``time_masks`` bands, each of a width drawn evenly from nothing to that part of the axis
    that ``frequency_width`` and ``time_width`` say, take the mean of the channel: what zero is after normalisation.
    """

    name: ClassVar[str] = "spec_augment"
    ranks: ClassVar[tuple[int, ...]] = (2,)

    frequency_masks: Annotated[int, Within(0, 32)] = 2
    frequency_width: Annotated[float, Within(0, 1)] = 0.2
    time_masks: Annotated[int, Within(0, 32)] = 2
    time_width: Annotated[float, Within(0, 1)] = 0.1

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Hide the bands of every sample."""
        size = inputs.shape[2:]
        hidden = torch.zeros(len(inputs), 1, *size, dtype=torch.bool)
        counts = (self.frequency_masks, self.time_masks)
        widths = (self.frequency_width, self.time_width)
        for axis, (count, part) in enumerate(zip(counts, widths, strict=True)):
            for mask in range(count):
                width = draws.integers(f"width {axis} {mask}", 0, int(part * size[axis]) + 1)
                start = draws.integers(f"start {axis} {mask}", 0, size[axis] - width + 1)
                starts = torch.zeros(len(inputs), 2, dtype=torch.int64)
                stops = torch.tensor(size).repeat(len(inputs), 1)
                starts[:, axis], stops[:, axis] = start, start + width
                hidden |= box(starts, stops, size)
        return torch.where(hidden, channel_mean(inputs), inputs)
