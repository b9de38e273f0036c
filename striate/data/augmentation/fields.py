"""Smooth random curves, surfaces and volumes from a few control points, and statistics of each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from striate.data.augmentation.transform import Facts


def smooth_field(control: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate control points (n, m, *points) to (n, m, *size) by cubic convolution along each axis.

    The first and last points lie on the first and last places; at least two points per axis. The kernel is that of
    Keys (1981) with a = -1/2, which passes through the points and has a continuous slope.

    >>> smooth_field(torch.tensor([[[0.0, 1.0, 2.0]]]), (5,))
    tensor([[[0.0000, 0.4375, 1.0000, 1.5625, 2.0000]]])
    """
    field = control
    for axis, length in enumerate(size, start=2):
        taps, weights = _cubic(field.shape[axis], length)
        shape = [length if place == axis else 1 for place in range(field.ndim)]
        first, *others = (weight.reshape(shape) for weight in weights)
        total = field.index_select(axis, taps[0]).mul_(first)
        for tap, weight in zip(taps[1:], others, strict=True):
            total += field.index_select(axis, tap).mul_(weight)
        field = total
    return field


def _cubic(points: int, length: int) -> tuple[list[Tensor], list[Tensor]]:
    places = np.linspace(0, points - 1, length)
    first = np.minimum(np.floor(places), points - 2)
    taps, weights = [], []
    for tap in range(-1, 3):
        distance = np.abs(places - first - tap)
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        taps.append(torch.from_numpy(np.clip(first + tap, 0, points - 1).astype(np.int64)))
        weights.append(torch.from_numpy(weight.astype(np.float32)))
    return taps, weights


def exponential(values: Tensor) -> Tensor:
    """Raise e to the power of ``values``, by numpy: its bits do not depend on where in a tensor a value stands.

    >>> exponential(torch.zeros(2))
    tensor([1., 1.])
    """
    return torch.from_numpy(np.exp(values.contiguous().numpy()))


def channel_mean(inputs: Tensor) -> Tensor:
    """The mean of each channel of each sample, (n, C, 1, ...), whatever batch the sample is in.

    >>> channel_mean(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[1.5000]]])
    """
    return _as_channels(_rows(inputs).mean(axis=1), inputs)


def channel_std(inputs: Tensor) -> Tensor:
    """The standard deviation of each channel of each sample, (n, C, 1, ...).

    >>> channel_std(torch.tensor([[[1.0, 3.0]]]))
    tensor([[[1.]]])
    """
    rows = _rows(inputs)
    centred = rows - rows.mean(axis=1, keepdims=True)
    return _as_channels(np.sqrt((centred * centred).mean(axis=1)), inputs)


def unit_of(inputs: Tensor, facts: Facts) -> Tensor:
    """What strengths are measured in: full white, or without one each channel's own standard deviation in the sample.

    >>> from striate.data.augmentation.transform import Facts
    >>> unit_of(torch.tensor([[[1.0, 3.0]]]) * 10, Facts(size=(2,), channels=1))
    tensor([[[10.]]])
    """
    return torch.ones(()) if facts.bounded else channel_std(inputs)


def limited(inputs: Tensor, facts: Facts) -> Tensor:
    """Values kept between black and white where there are such.

    >>> from striate.data.augmentation.transform import Facts
    >>> limited(torch.tensor([2.0]), Facts(size=(1,), channels=1, value_scale=255.0))
    tensor([1.])
    """
    return inputs.clamp(0, 1) if facts.bounded else inputs


def _rows(inputs: Tensor) -> npt.NDArray[np.float64]:
    # In float64 before summing: numpy would convert piece by piece, and the pieces depend on the batch.
    return inputs.reshape(inputs.shape[0] * inputs.shape[1], -1).double().numpy()


def _as_channels(numbers: npt.NDArray[np.float64], inputs: Tensor) -> Tensor:
    shape = (*inputs.shape[:2], *(1,) * (inputs.ndim - 2))
    return torch.from_numpy(numbers.astype(np.float32)).reshape(shape)
