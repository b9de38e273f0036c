"""Padding of tensors, each side of each axis by its own amount."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from striate.geometry import Pads


def extend(input: Tensor, pads: Pads, padding_mode: str = "zeros", padding_value: float = 0.0) -> Tensor:
    """Pad the last axes of ``input`` by (before, after) per axis, in a mode of `striate.geometry.PADDING_MODES`.

    The arguments are those that `striate.geometry.check_padding_mode` has accepted; ``padding_value`` counts in mode
    ``constant``.

    >>> import torch
    >>> extend(torch.tensor([[1.0, 2.0, 3.0]]), ((2, 1),), "reflect")
    tensor([[3., 2., 1., 2., 3., 2.]])
    """
    if not any(before or after for before, after in pads):
        return input
    flat = [amount for pair in reversed(pads) for amount in pair]  # torch lists the last axis first
    if padding_mode in ("zeros", "constant"):
        return F.pad(input, flat, value=padding_value)
    return F.pad(input, flat, mode=padding_mode)
