"""Reading a batch at other places than its grid: one machinery for affine maps, elastic fields and warped time.

A sample of size S has its grid positions at offsets o = i - (S - 1) / 2 from the centre. A warp says for every output
position which input offset it shows; `torch.nn.functional.grid_sample`, which knows two and three axes, interpolates
there. Signals are images of one row. Values are interpolated linearly, masks take the nearest label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.data.augmentation.transform import Facts

PADDING_MODES = ("zeros", "border", "reflection")


def offsets(size: int) -> Tensor:
    """The places of a grid as distances from its centre.

    >>> offsets(4)
    tensor([-1.5000, -0.5000,  0.5000,  1.5000])
    """
    return torch.arange(size, dtype=torch.float32) - (size - 1) / 2


def affine_places(matrix: Tensor, shift: Tensor, size: Sequence[int]) -> list[Tensor]:
    """The input offsets ``matrix @ o + shift`` of every output offset ``o``, one tensor (n, *size) per axis.

    ``matrix`` is (n, rank, rank), ``shift`` (n, rank), in grid steps.

    >>> affine_places(torch.eye(1)[None], torch.ones(1, 1), (2,))
    [tensor([[0.5000, 1.5000]])]
    """
    rank = len(size)
    along = [
        offsets(length).reshape([length if axis == place else 1 for place in range(rank)])
        for axis, length in enumerate(size)
    ]
    places = []
    for row in range(rank):
        entries = [matrix[:, row, axis].reshape(-1, *(1,) * rank) for axis in range(rank)]
        place = entries[-1] * along[-1] + shift[:, row].reshape(-1, *(1,) * rank)
        # Small sums first: only the last one is as large as the grid.
        for axis in reversed(range(rank - 1)):
            place = place + entries[axis] * along[axis]
        places.append(place)
    return places


def warp(
    inputs: Tensor, targets: Tensor, places: Sequence[Tensor], padding_mode: str, facts: Facts
) -> tuple[Tensor, Tensor]:
    """Read inputs, and masks if targets are such, at ``places``: input offsets (n, *size) per axis.

    ``padding_mode`` says what lies outside: "zeros" (in masks: the void label if there is one, else 0), "border" or
    "reflection".
    """
    size = inputs.shape[2:]
    grid = torch.empty(len(inputs), *size, len(size))
    for axis, (place, length) in enumerate(zip(places, size, strict=True)):
        torch.mul(place, 2 / length, out=grid[..., len(size) - 1 - axis])
    moved = _sampled(inputs, grid, "bilinear", padding_mode)
    if not facts.masks:
        return moved, targets
    # Zeros are what enters from outside: for that moment, let the entering label be zero.
    labels = _sampled((targets - facts.entering).float().unsqueeze(1), grid, "nearest", padding_mode)
    return moved, labels.squeeze(1).round().to(targets.dtype) + facts.entering


def warp_affine(
    inputs: Tensor, targets: Tensor, matrix: Tensor, shift: Tensor, padding_mode: str, facts: Facts
) -> tuple[Tensor, Tensor]:
    """Warp by an affine map per sample; see `affine_places`. Samples that the map leaves in place keep their bits."""
    rank = inputs.ndim - 2
    moving = ((matrix != torch.eye(rank)).flatten(1).any(1) | (shift != 0).any(1)).nonzero()[:, 0]
    if len(moving) == 0:
        return inputs, targets
    if len(moving) == len(inputs):
        return warp(inputs, targets, affine_places(matrix, shift, inputs.shape[2:]), padding_mode, facts)
    places = affine_places(matrix[moving], shift[moving], inputs.shape[2:])
    old = targets[moving]
    moved, new = warp(inputs[moving], old, places, padding_mode, facts)
    inputs = inputs.index_copy(0, moving, moved)
    return inputs, targets if new is old else targets.index_copy(0, moving, new)


def _sampled(inputs: Tensor, grid: Tensor, mode: str, padding_mode: str) -> Tensor:
    if inputs.ndim > 3:
        return F.grid_sample(inputs, grid, mode, padding_mode, align_corners=False)
    rows = torch.cat([grid, torch.zeros_like(grid)], dim=-1).unsqueeze(1)
    return F.grid_sample(inputs.unsqueeze(2), rows, mode, padding_mode, align_corners=False).squeeze(2)
