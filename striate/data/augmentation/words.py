"""Augmentation of tokens: (n, L), int64, 0 for padding and 1 for unknown words. Padding stays padding."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.parameters import Within
from striate.data.augmentation.transform import Facts, ValueTransform, register

PADDING, UNKNOWN = 0, 1


@register
@dataclass(frozen=True, kw_only=True)
class WordDropout(ValueTransform):
    """Make each word unknown with probability ``rate`` (Bowman et al. 2016).

    >>> WordDropout(rate=1.0).change(torch.tensor([[7, 8, 0]]), Draws(0, 0, [0]), Facts(size=(3,), channels=9))
    tensor([[1, 1, 0]])
    """

    name: ClassVar[str] = "word_dropout"
    ranks: ClassVar[tuple[int, ...]] = (1,)
    kinds: ClassVar[tuple[str, ...]] = ("tokens",)

    rate: Annotated[float, Within(0, 1)] = 0.1

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Drop words of every text."""
        dropped = draws.chance("drop", self.rate, inputs.shape[1:]) & (inputs != PADDING)
        return inputs.masked_fill(dropped, UNKNOWN)


@register
@dataclass(frozen=True, kw_only=True)
class WordDeletion(ValueTransform):
    """Take out each word with probability ``rate``, and move up those behind it (Wei and Zou 2019).

    A text never becomes empty: at least one word stays. Padding within a text moves to its end.
    """

    name: ClassVar[str] = "word_deletion"
    ranks: ClassVar[tuple[int, ...]] = (1,)
    kinds: ClassVar[tuple[str, ...]] = ("tokens",)

    rate: Annotated[float, Within(0, 1)] = 0.1

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Delete words of every text."""
        words = inputs != PADDING
        kept = words & ~draws.chance("delete", self.rate, inputs.shape[1:])
        emptied = ~kept.any(1, keepdim=True)
        survivor = draws.integers("survivor", 0, words.sum(1).clamp(min=1)).unsqueeze(1)
        kept = kept | (emptied & words & (words.cumsum(1) - 1 == survivor))
        order = (~kept).int().argsort(dim=1, stable=True)
        moved = inputs.gather(1, order)
        moved = moved.masked_fill(torch.arange(inputs.shape[1]) >= kept.sum(1, keepdim=True), PADDING)
        # A text that nothing was taken out of stays as it is, wherever its padding was.
        return torch.where((kept == words).all(1, keepdim=True), inputs, moved)


@register
@dataclass(frozen=True, kw_only=True)
class WordSwap(ValueTransform):
    """Exchange two random words, ``swaps`` times (Wei and Zou 2019)."""

    name: ClassVar[str] = "word_swap"
    ranks: ClassVar[tuple[int, ...]] = (1,)
    kinds: ClassVar[tuple[str, ...]] = ("tokens",)

    swaps: Annotated[int, Within(0, 64)] = 1

    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """Exchange words of every text."""
        words = inputs != PADDING
        count = words.sum(1).clamp(min=1)
        # Where the words of each text stand, before its padding.
        places = (~words).int().argsort(dim=1, stable=True)
        inputs = inputs.clone()
        for swap in range(self.swaps):
            first = places.gather(1, draws.integers(f"first {swap}", 0, count).unsqueeze(1))
            second = places.gather(1, draws.integers(f"second {swap}", 0, count).unsqueeze(1))
            one, other = inputs.gather(1, first), inputs.gather(1, second)
            inputs = inputs.scatter(1, first, other).scatter(1, second, one)
        return inputs
