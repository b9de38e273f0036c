"""Rotation, scale, shear and translation, together in one interpolation, and crops that are enlarged again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.parameters import OneOf, Span, Within
from striate.data.augmentation.transform import Facts, Transform, register
from striate.data.augmentation.warping import PADDING_MODES, warp_affine


def rotations(angles: npt.NDArray[np.float64], rank: int) -> npt.NDArray[np.float64]:
    """Rotation matrices (n, rank, rank) for angles (n, planes) in degrees: none in 1-D, one in 2-D, three in 3-D.

    A positive angle turns from the later axis towards the earlier one: counter-clockwise on a picture, as torch.rot90.

    >>> rotations(np.array([[90.0]]), 2).round()[0].tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    matrix = np.broadcast_to(np.eye(rank), (len(angles), rank, rank)).copy()
    for plane, (first, second) in enumerate(combinations(range(rank), 2)):
        radians = np.deg2rad(angles[:, plane])
        turn = np.broadcast_to(np.eye(rank), matrix.shape).copy()
        turn[:, first, first] = turn[:, second, second] = np.cos(radians)
        turn[:, first, second], turn[:, second, first] = -np.sin(radians), np.sin(radians)
        matrix = turn @ matrix
    return matrix


def shears(slopes: npt.NDArray[np.float64], rank: int) -> npt.NDArray[np.float64]:
    """Shear matrices (n, rank, rank) for slopes (n, rank * (rank - 1)), one per ordered pair of axes.

    >>> shears(np.array([[0.5, 0.0]]), 2)[0].tolist()
    [[1.0, 0.5], [0.0, 1.0]]
    """
    matrix = np.broadcast_to(np.eye(rank), (len(slopes), rank, rank)).copy()
    for place, (moved, along) in enumerate(permutations(range(rank), 2)):
        matrix[:, moved, along] = slopes[:, place]
    return matrix


def backwards(
    forward: npt.NDArray[np.float64], translation: npt.NDArray[np.float64], size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """The map from output to input offsets of ``forward`` (n, rank, rank) and a translation in parts of the size.

    A map that cannot be inverted, as a strong shear both ways, shows the sample as it is.

    >>> backwards(2 * np.eye(1)[None], np.array([[0.5]]), (8,))
    (tensor([[[0.5000]]]), tensor([[-2.]]))
    """
    flat = np.abs(np.linalg.det(forward)) < 1e-6
    inverse = np.linalg.inv(np.where(flat[:, None, None], np.eye(len(size)), forward))
    shift = -(inverse * (translation * np.array(size))[:, None, :]).sum(axis=2)
    # Adding zero turns -0.0, which is not nothing to print, into 0.0.
    return torch.from_numpy(inverse).float() + 0.0, torch.from_numpy(shift).float() + 0.0


@register
@dataclass(frozen=True, kw_only=True)
class Affine(Transform):
    """Rotate, scale, shear and translate in one interpolation.

    ``degrees``: rotation by up to that, in every plane. ``scale``: factors, drawn evenly on a logarithmic scale.
    ``shear``: slope of up to that, of every axis along every other. ``translate``: shift of up to that part of the
    size, along every axis. ``padding_mode``: what lies outside, "zeros", "border" or "reflection".

    >>> sample = torch.arange(4.0).reshape(1, 1, 4)
    >>> Affine(degrees=0, scale=(1, 1), translate=0).apply(
    ...     sample, torch.zeros(1), Draws(0, 0, [0]), Facts(size=(4,), channels=1)
    ... )[0]
    tensor([[[0., 1., 2., 3.]]])
    """

    name: ClassVar[str] = "affine"

    p: Annotated[float, Within(0, 1)] = 1.0
    degrees: Annotated[float, Within(0, 180)] = 15.0
    scale: Annotated[tuple[float, float], Span(0.05, 20)] = (0.9, 1.1)
    shear: Annotated[float, Within(0, 2)] = 0.0
    translate: Annotated[float, Within(0, 1)] = 0.1
    padding_mode: Annotated[str, OneOf(PADDING_MODES)] = "zeros"

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Warp every sample by its own map."""
        rank = inputs.ndim - 2
        low, high = (math.log(factor) for factor in self.scale)
        factor = np.exp(_drawn(draws, "scale", (low, high), 1))
        angles = _drawn(draws, "degrees", (-self.degrees, self.degrees), rank * (rank - 1) // 2)
        slopes = _drawn(draws, "shear", (-self.shear, self.shear), rank * (rank - 1))
        translation = _drawn(draws, "translate", (-self.translate, self.translate), rank)
        forward = rotations(angles, rank) @ shears(slopes, rank) * factor[:, :, None]
        matrix, shift = backwards(forward, translation, inputs.shape[2:])
        return warp_affine(inputs, targets, matrix, shift, self.padding_mode, facts)


@register
@dataclass(frozen=True, kw_only=True)
class Rotate(Affine):
    """Rotate about the centre by up to ``degrees``, in every plane."""

    name: ClassVar[str] = "rotate"
    ranks: ClassVar[tuple[int, ...]] = (2, 3)

    scale: Annotated[tuple[float, float], Span(0.05, 20)] = (1.0, 1.0)
    translate: Annotated[float, Within(0, 1)] = 0.0


@register
@dataclass(frozen=True, kw_only=True)
class Scale(Affine):
    """Enlarge or shrink about the centre by a factor within ``scale``."""

    name: ClassVar[str] = "scale"

    degrees: Annotated[float, Within(0, 180)] = 0.0
    scale: Annotated[tuple[float, float], Span(0.05, 20)] = (0.8, 1.25)
    translate: Annotated[float, Within(0, 1)] = 0.0


@register
@dataclass(frozen=True, kw_only=True)
class Translate(Affine):
    """Shift by up to a part ``translate`` of the size along every axis."""

    name: ClassVar[str] = "translate"

    degrees: Annotated[float, Within(0, 180)] = 0.0
    scale: Annotated[tuple[float, float], Span(0.05, 20)] = (1.0, 1.0)


@register
@dataclass(frozen=True, kw_only=True)
class Shear(Affine):
    """Slant every axis along every other by a slope of up to ``shear``."""

    name: ClassVar[str] = "shear"
    ranks: ClassVar[tuple[int, ...]] = (2, 3)

    degrees: Annotated[float, Within(0, 180)] = 0.0
    scale: Annotated[tuple[float, float], Span(0.05, 20)] = (1.0, 1.0)
    shear: Annotated[float, Within(0, 2)] = 0.3
    translate: Annotated[float, Within(0, 1)] = 0.0


@register
@dataclass(frozen=True, kw_only=True)
class ResizedCrop(Transform):
    """Cut out a random box and enlarge it to the full size (Szegedy et al. 2015).

    ``area``: the part of the sample's area, length or volume that the box has. ``ratio``: the box's sides, relative to
    the sample's, differ by at most that factor.
    """

    name: ClassVar[str] = "resized_crop"

    area: Annotated[tuple[float, float], Span(0.0001, 1)] = (0.08, 1.0)
    ratio: Annotated[float, Within(1, 10)] = 4 / 3

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Cut and enlarge every sample."""
        rank = inputs.ndim - 2
        stretch = _drawn(draws, "ratio", (-math.log(self.ratio) / 2, math.log(self.ratio) / 2), rank)
        stretch -= stretch.mean(axis=1, keepdims=True)
        side = np.minimum(_drawn(draws, "area", self.area, 1) ** (1 / rank) * np.exp(stretch), 1)
        start = _drawn(draws, "start", (0, 1), rank) * (1 - side)
        matrix = side[:, :, None] * np.eye(rank)
        shift = (start + side / 2 - 0.5) * np.array(inputs.shape[2:])
        return warp_affine(
            inputs, targets, torch.from_numpy(matrix).float(), torch.from_numpy(shift).float(), "border", facts
        )


@register
@dataclass(frozen=True, kw_only=True)
class WindowSlice(ResizedCrop):
    """Cut a window out of a signal and stretch it to the full length (Le Guennec et al. 2016)."""

    name: ClassVar[str] = "window_slice"
    ranks: ClassVar[tuple[int, ...]] = (1,)

    area: Annotated[tuple[float, float], Span(0.0001, 1)] = (0.9, 0.9)


def _drawn(draws: Draws, stream: str, limits: tuple[float, float], count: int) -> npt.NDArray[np.float64]:
    """Numbers (n, count) within limits that are exact where the limits are equal."""
    low, high = limits
    return low + (high - low) * draws.uniform(stream, shape=(count,)).double().numpy()
