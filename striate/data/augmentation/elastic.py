"""Smooth deformations: elastic ones of images and volumes, and warped time of signals."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.fields import exponential, smooth_field
from striate.data.augmentation.parameters import OneOf, Within
from striate.data.augmentation.transform import Facts, Transform, register
from striate.data.augmentation.warping import PADDING_MODES, affine_places, warp


@register
@dataclass(frozen=True, kw_only=True)
class Elastic(Transform):
    """Deform by a smooth random displacement, as for the U-Net (Ronneberger, Fischer and Brox 2015).

    The displacement is drawn on a grid of ``points`` per axis and interpolated cubically. ``strength``: its standard
    deviation at these points, as a part of each side (the paper: 10 of 512 pixels, 3 points).
    """

    name: ClassVar[str] = "elastic"
    ranks: ClassVar[tuple[int, ...]] = (2, 3)

    points: Annotated[int, Within(2, 64)] = 4
    strength: Annotated[float, Within(0, 1)] = 0.02
    padding_mode: Annotated[str, OneOf(PADDING_MODES)] = "reflection"

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Deform every sample by its own field."""
        size = inputs.shape[2:]
        rank = len(size)
        if self.strength == 0:
            return inputs, targets
        sides = torch.tensor(size, dtype=torch.float32).reshape(1, rank, *(1,) * rank)
        control = draws.normal("field", 0, self.strength, (rank, *(self.points,) * rank)) * sides
        field = smooth_field(control, size)
        still = affine_places(torch.eye(rank).unsqueeze(0), torch.zeros(1, rank), size)
        places = [place + field[:, axis] for axis, place in enumerate(still)]
        return warp(inputs, targets, places, self.padding_mode, facts)


@register
@dataclass(frozen=True, kw_only=True)
class TimeWarp(Transform):
    """Let time run faster and slower, smoothly and never backwards (Um et al. 2017).

    The speed is e to the power of a smooth curve through ``points`` normally distributed values of standard deviation
    ``strength``. Beginning and end stay where they are.
    """

    name: ClassVar[str] = "time_warp"
    ranks: ClassVar[tuple[int, ...]] = (1,)

    points: Annotated[int, Within(2, 256)] = 4
    strength: Annotated[float, Within(0, 3)] = 0.2

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Warp the time of every signal."""
        length = inputs.shape[2]
        if self.strength == 0 or length < 3:
            return inputs, targets
        times = warped_times(draws.normal("speed", 0, self.strength, (1, self.points)), length)
        return warp(inputs, targets, [times - (length - 1) / 2], "border", facts)


def warped_times(control: Tensor, length: int) -> Tensor:
    """Rising times (n, length) from 0 to length - 1, whose speeds have the logarithms ``control`` (n, 1, points).

    >>> warped_times(torch.zeros(1, 1, 3), 4)
    tensor([[0., 1., 2., 3.]])
    """
    speeds = exponential(smooth_field(control, (length - 1,))[:, 0]).double()
    times = torch.cat([torch.zeros(len(speeds), 1, dtype=torch.float64), speeds.cumsum(1)], dim=1)
    return (times * ((length - 1) / times[:, -1:])).float()
