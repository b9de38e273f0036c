"""Noise, blur and gain: what a sensor adds, in every rank.

Strengths are parts of full white where values have one, and else multiples of each channel's own standard deviation in
the sample, so that the same numbers serve accelerations in any unit.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.fields import exponential, limited, smooth_field, unit_of
from striate.data.augmentation.parameters import Span, Within
from striate.data.augmentation.placing import surrounding
from striate.data.augmentation.transform import Facts, ValueTransform, per_sample, register


@register
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(ValueTransform):
    """Add normally distributed noise whose standard deviation is drawn from ``std``."""

    name: ClassVar[str] = "gaussian_noise"

    std: Annotated[tuple[float, float], Span(0)] = (0.0, 0.1)

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Add to every sample noise of its own strength."""
        if self.std[1] == 0:
            return inputs
        strength = per_sample(draws.uniform("std", *self.std), inputs) * unit_of(inputs, facts)
        return limited(inputs + draws.normal("noise", shape=inputs.shape[1:]) * strength, facts)


@register
@dataclass(frozen=True, kw_only=True)
class Jitter(GaussianNoise):
    """Add noise to a signal (Um et al. 2017)."""

    name: ClassVar[str] = "jitter"
    ranks: ClassVar[tuple[int, ...]] = (1,)

    std: Annotated[tuple[float, float], Span(0)] = (0.05, 0.05)


@register
@dataclass(frozen=True, kw_only=True)
class GaussianBlur(ValueTransform):
    """Blur with a bell whose standard deviation in grid steps is drawn from ``sigma``."""

    name: ClassVar[str] = "gaussian_blur"

    sigma: Annotated[tuple[float, float], Span(0, 64)] = (0.1, 2.0)

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Blur every sample by its own bell, cut at three of the largest sigma; edges are mirrored."""
        return blurred(inputs, draws.uniform("sigma", *self.sigma), math.ceil(3 * self.sigma[1]))


def blurred(inputs: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Convolve every sample with a normalised bell of its own ``sigma`` (n,) within ``radius`` along each axis.

    >>> blurred(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]]), torch.tensor([0.5]), 1).round(decimals=4)
    tensor([[[0.0000, 0.1065, 0.7870, 0.1065, 0.0000]]])
    """
    if radius == 0:
        return inputs
    distance = np.arange(radius + 1)
    width = np.maximum(sigma.double().numpy(), 1e-3)[:, None]
    bell = np.exp(-0.5 * (distance / width) ** 2)
    bell /= bell[:, :1] + 2 * bell[:, 1:].sum(axis=1, keepdims=True)
    weights = [per_sample(weight, inputs) for weight in torch.from_numpy(bell.astype(np.float32)).unbind(1)]
    for axis in range(2, inputs.ndim):
        length = inputs.shape[axis]
        padded = inputs.index_select(axis, surrounding(length, radius, "reflection"))
        inputs = inputs * weights[0]
        for step in range(1, radius + 1):
            pair = padded.narrow(axis, radius - step, length) + padded.narrow(axis, radius + step, length)
            inputs += pair.mul_(weights[step])
    return inputs


@register
@dataclass(frozen=True, kw_only=True)
class IntensityScale(ValueTransform):
    """Multiply all values by a factor from ``factor``, drawn evenly on a logarithmic scale."""

    name: ClassVar[str] = "intensity_scale"

    factor: Annotated[tuple[float, float], Span(0.01, 100)] = (0.9, 1.1)

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Multiply every sample by its own factor."""
        low, high = (math.log(factor) for factor in self.factor)
        return limited(inputs * per_sample(exponential(draws.uniform("factor", low, high)), inputs), facts)


@register
@dataclass(frozen=True, kw_only=True)
class Scaling(IntensityScale):
    """Multiply each channel of a signal by a factor of its own (Um et al. 2017)."""

    name: ClassVar[str] = "scaling"
    ranks: ClassVar[tuple[int, ...]] = (1,)

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Multiply every channel of every sample by its own factor."""
        low, high = (math.log(factor) for factor in self.factor)
        factor = exponential(draws.uniform("factor", low, high, (inputs.shape[1],)))
        return limited(inputs * per_sample(factor, inputs), facts)


@register
@dataclass(frozen=True, kw_only=True)
class IntensityShift(ValueTransform):
    """Add the same number, of up to ``strength``, to all values of a channel."""

    name: ClassVar[str] = "intensity_shift"

    strength: Annotated[float, Within(0)] = 0.1

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Shift every sample by its own number."""
        shift = per_sample(draws.uniform("shift", -self.strength, self.strength), inputs) * unit_of(inputs, facts)
        return limited(inputs + shift, facts)


@register
@dataclass(frozen=True, kw_only=True)
class BiasField(ValueTransform):
    """Multiply by a gain that varies slowly over the sample, as a scanner's coil does (Sudre et al. 2017).

    The logarithm of the gain is a smooth surface through ``points`` per axis, normally distributed with standard
    deviation ``strength``; all channels share it.
    """

    name: ClassVar[str] = "bias_field"
    ranks: ClassVar[tuple[int, ...]] = (2, 3)

    points: Annotated[int, Within(2, 64)] = 3
    strength: Annotated[float, Within(0, 3)] = 0.2

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Multiply every sample by its own field."""
        size = inputs.shape[2:]
        control = draws.normal("field", 0, self.strength, (1, *(self.points,) * len(size)))
        return limited(inputs * exponential(smooth_field(control, size)), facts)


@register
@dataclass(frozen=True, kw_only=True)
class MagnitudeWarp(ValueTransform):
    """Multiply each channel of a signal by a smooth curve around 1 (Um et al. 2017).

    The curve goes through ``points`` values, normally distributed about 1 with standard deviation ``strength``.
    """

    name: ClassVar[str] = "magnitude_warp"
    ranks: ClassVar[tuple[int, ...]] = (1,)

    points: Annotated[int, Within(2, 256)] = 4
    strength: Annotated[float, Within(0, 3)] = 0.2

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Multiply every channel by its own curve."""
        control = draws.normal("curve", 0, self.strength, (inputs.shape[1], self.points))
        return limited(inputs * (smooth_field(control, inputs.shape[2:]) + 1), facts)
