"""Views of the same inputs, whose outputs are averaged when a network is tested: flips and small shifts.

A view is a callable from stored inputs to inputs of the same shape; a method ``undo`` puts outputs per position
back, which segmentation needs. Augmentations that draw at random are no views: the same call would give other numbers.

Source: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional networks, 2012, section 4.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from striate.data.dataset import Task

View: TypeAlias = "Callable[[Tensor], Tensor]"

_PART = 16
"""A small shift is this part of the size of an axis."""


class Same:
    """The inputs as they are.

    >>> Same()(torch.tensor([1, 2])).tolist()
    [1, 2]
    """

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        return inputs

    def undo(self, outputs: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs


class Flip:
    """The inputs mirrored along an axis, -1 being the last.

    >>> Flip(-1)(torch.tensor([[1, 2, 3]])).tolist()
    [[3, 2, 1]]
    """

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def __call__(self, inputs: Tensor) -> Tensor:
        """Mirror the inputs."""
        return inputs.flip(self.axis)

    def undo(self, outputs: Tensor) -> Tensor:
        """Mirror the outputs back."""
        return outputs.flip(self.axis)


class Shift:
    """The inputs moved along an axis by a number of positions; the edge is repeated where nothing moves in.

    >>> Shift(-1, 1)(torch.tensor([[1, 2, 3]])).tolist()
    [[1, 1, 2]]
    """

    def __init__(self, axis: int, positions: int) -> None:
        self.axis, self.positions = axis, positions

    def __call__(self, inputs: Tensor) -> Tensor:
        """Move the inputs."""
        return self._moved(inputs, self.positions)

    def undo(self, outputs: Tensor) -> Tensor:
        """Move the outputs back."""
        return self._moved(outputs, -self.positions)

    def _moved(self, values: Tensor, positions: int) -> Tensor:
        size = values.shape[self.axis]
        places = (torch.arange(size, device=values.device) - positions).clamp(0, size - 1)
        return values.index_select(self.axis, places)


def default_views(task: Task, input_size: Sequence[int]) -> tuple[View, ...]:
    """The views that testing averages over if nobody says otherwise, the inputs themselves first.

    Signals, images and volumes are moved by a sixteenth of each axis either way, images and volumes also mirrored left
    to right; for segmentation they are mirrored along every axis instead. What a mirror changes the meaning of, such as
    digits or the side of a body, needs views of its own.

    >>> len(default_views("classification", (28, 28))), len(default_views("segmentation", (28, 28)))
    (6, 3)
    """
    axes = range(-len(input_size), 0)
    if task == "segmentation":
        return (Same(), *(Flip(axis) for axis in axes))
    flips = [Flip(-1)] if len(input_size) > 1 else []
    shifts = [
        Shift(axis, sign * max(size // _PART, 1))
        for axis, size in zip(axes, input_size, strict=True)
        for sign in (-1, 1)
    ]
    return (Same(), *flips, *shifts)
