"""Transforms of brightness, contrast, colour and tone; what they compute is in colour.py."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from striate.data.augmentation import colour
from striate.data.augmentation.draws import Draws
from striate.data.augmentation.fields import exponential
from striate.data.augmentation.parameters import Span, Within
from striate.data.augmentation.transform import Facts, ValueTransform, per_sample, register


@dataclass(frozen=True, kw_only=True)
class _Enhance(ValueTransform):
    """A factor between 1 - ``strength`` and 1 + ``strength``, at least 0."""

    strength: Annotated[float, Within(0, 10)] = 0.2

    def _factor(self, draws: Draws) -> Tensor:
        return draws.uniform("factor", max(1 - self.strength, 0), 1 + self.strength)


@register
@dataclass(frozen=True, kw_only=True)
class Brightness(_Enhance):
    """Blend with black, or away from it, by up to ``strength``."""

    name: ClassVar[str] = "brightness"

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Brighten or darken every sample."""
        return colour.adjust_brightness(inputs, self._factor(draws), facts)


@register
@dataclass(frozen=True, kw_only=True)
class Contrast(_Enhance):
    """Blend with the mean, or away from it, by up to ``strength``."""

    name: ClassVar[str] = "contrast"

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Raise or lower the contrast of every sample."""
        return colour.adjust_contrast(inputs, self._factor(draws), facts)


@register
@dataclass(frozen=True, kw_only=True)
class Saturation(_Enhance):
    """Blend with the grey picture, or away from it, by up to ``strength``."""

    name: ClassVar[str] = "saturation"
    ranks: ClassVar[tuple[int, ...]] = (2,)
    channels: ClassVar[int] = 3

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Raise or lower the saturation of every sample."""
        return colour.adjust_saturation(inputs, self._factor(draws), facts)


@register
@dataclass(frozen=True, kw_only=True)
class Sharpness(_Enhance):
    """Blend with a smoothed picture, or away from it, by up to ``strength``."""

    name: ClassVar[str] = "sharpness"

    strength: Annotated[float, Within(0, 10)] = 0.5

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Sharpen or soften every sample."""
        return colour.adjust_sharpness(inputs, self._factor(draws), facts)


@register
@dataclass(frozen=True, kw_only=True)
class Hue(ValueTransform):
    """Turn the hue by up to ``turn`` of the colour circle."""

    name: ClassVar[str] = "hue"
    ranks: ClassVar[tuple[int, ...]] = (2,)
    channels: ClassVar[int] = 3
    needs_white: ClassVar[bool] = True

    turn: Annotated[float, Within(0, 0.5)] = 0.05

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Turn the hue of every sample."""
        return colour.adjust_hue(inputs, draws.uniform("turn", -self.turn, self.turn))


@register
@dataclass(frozen=True, kw_only=True)
class Grey(ValueTransform):
    """Show the grey picture in all three channels."""

    name: ClassVar[str] = "grey"
    ranks: ClassVar[tuple[int, ...]] = (2,)
    channels: ClassVar[int] = 3

    p: Annotated[float, Within(0, 1)] = 0.2

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Turn every sample grey."""
        return colour.luma(inputs).expand_as(inputs)


@register
@dataclass(frozen=True, kw_only=True)
class Gamma(ValueTransform):
    """Raise values to a power from ``gamma``, drawn evenly on a logarithmic scale.

    Values run from black to white; where there is no full white, from the smallest to the largest of each channel in
    the sample.
    """

    name: ClassVar[str] = "gamma"

    gamma: Annotated[tuple[float, float], Span(0.05, 20)] = (0.7, 1.5)

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Bend the tone curve of every sample."""
        low, high = (math.log(gamma) for gamma in self.gamma)
        power = per_sample(exponential(draws.uniform("gamma", low, high)), inputs)
        if facts.bounded:
            return torch.where(power == 1, inputs, _powers(inputs.clamp(0, 1), power))
        axes = tuple(range(2, inputs.ndim))
        darkest, brightest = inputs.amin(axes, keepdim=True), inputs.amax(axes, keepdim=True)
        extent = torch.where(brightest > darkest, brightest - darkest, 1.0)
        bent = _powers(((inputs - darkest) / extent).clamp(0, 1), power) * extent + darkest
        return torch.where(power == 1, inputs, bent)


def _powers(values: Tensor, power: Tensor) -> Tensor:
    # By numpy on whole arrays: the last bit of torch's powers depends on where in a tensor a value stands.
    exponents = power.expand_as(values).contiguous().numpy()
    return torch.from_numpy(np.power(values.contiguous().numpy(), exponents))


@register
@dataclass(frozen=True, kw_only=True)
class Posterize(ValueTransform):
    """Keep the upper ``bits`` of the 8 bits of every value."""

    name: ClassVar[str] = "posterize"
    needs_white: ClassVar[bool] = True

    p: Annotated[float, Within(0, 1)] = 0.2
    bits: Annotated[int, Within(1, 8)] = 4

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Posterize every sample."""
        return colour.posterize(inputs, torch.full((len(inputs),), self.bits))


@register
@dataclass(frozen=True, kw_only=True)
class Solarize(ValueTransform):
    """Invert the values from ``threshold``, a part of full white, on."""

    name: ClassVar[str] = "solarize"
    needs_white: ClassVar[bool] = True

    p: Annotated[float, Within(0, 1)] = 0.2
    threshold: Annotated[float, Within(0, 2)] = 0.5

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Solarize every sample."""
        return colour.solarize(inputs, torch.full((len(inputs),), self.threshold))


@register
@dataclass(frozen=True, kw_only=True)
class Autocontrast(ValueTransform):
    """Stretch every channel from its darkest and brightest value to black and white."""

    name: ClassVar[str] = "autocontrast"
    needs_white: ClassVar[bool] = True

    p: Annotated[float, Within(0, 1)] = 0.2

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Stretch every sample."""
        return colour.autocontrast(inputs)


@register
@dataclass(frozen=True, kw_only=True)
class Equalize(ValueTransform):
    """Spread the 256 levels of every channel so that each range of levels holds as many values."""

    name: ClassVar[str] = "equalize"
    needs_white: ClassVar[bool] = True

    p: Annotated[float, Within(0, 1)] = 0.2

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Equalize every sample."""
        return colour.equalize(inputs)
