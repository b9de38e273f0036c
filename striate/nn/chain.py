"""Layers in a row."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn


class Chain(nn.Sequential):
    """A `torch.nn.Sequential` for classes with a constructor of their own: slices are plain Sequentials.

    torch builds a slice with the class's own constructor, which then gets layers where it wants sizes. The layers of a
    slice are the very same, under their names.

    >>> class Pair(Chain):
    ...     def __init__(self, features: int) -> None:
    ...         super().__init__(nn.Linear(features, features), nn.ReLU())
    >>> Pair(2)[:1]
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
    )
    """

    def __getitem__(self, idx: slice | int) -> Any:
        """One layer, or a Sequential of some."""
        if isinstance(idx, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[idx]))
        return super().__getitem__(idx)
