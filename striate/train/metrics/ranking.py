"""Areas under curves and error rates of many weighted copies of the same scores at once, for resampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Ranked(NamedTuple):
    """Weights of what is accepted at each distinct score, from the highest on: positives and negatives, (rows, scores).

    >>> scores, positive = torch.tensor([0.9, 0.5, 0.5, 0.1]), torch.tensor([True, False, True, False])
    >>> Ranked.of(torch.ones(1, 4), scores, positive).true
    tensor([[1., 2., 2.]])
    """

    true: Tensor
    false: Tensor

    @classmethod
    def of(cls, weights: Tensor, scores: Tensor, positive: Tensor) -> Ranked:
        """Rank the samples of ``scores`` ``(n,)``, ``positive`` ``(n,)``, by each row of ``weights`` ``(rows, n)``."""
        order = scores.argsort(descending=True, stable=True)
        ordered = scores[order]
        ends = torch.ones(len(ordered), dtype=torch.bool)
        ends[:-1] = ordered[1:] != ordered[:-1]
        weights = weights[:, order]  # a copy
        accepted = weights.cumsum(dim=1)[:, ends]
        true = weights.mul_(positive[order]).cumsum_(dim=1)[:, ends]
        return cls(true, accepted - true)

    def auroc(self) -> Tensor:
        """The area under the receiver operating characteristic, (rows,); NaN where a row lacks either side."""
        before = torch.nn.functional.pad(self.true, (1, 0))[:, :-1]
        steps = torch.nn.functional.pad(self.false, (1, 0)).diff(dim=1)
        area = ((self.true + before).double() / 2 * steps).sum(dim=1)
        return area / (self.true[:, -1].double() * self.false[:, -1].double())

    def average_precision(self) -> Tensor:
        """The mean precision over recall, (rows,); NaN where a row has no positives."""
        precision = self.true / (self.true + self.false).clamp_min(1e-12)
        steps = torch.nn.functional.pad(self.true, (1, 0)).diff(dim=1)
        return (precision.double() * steps).sum(dim=1) / self.true[:, -1].double()

    def areas(self) -> tuple[Tensor, Tensor]:
        """Both areas, of `auroc` and `average_precision`."""
        return self.auroc(), self.average_precision()

    def equal_error(self) -> Tensor:
        """The rate at which wrong accepts and wrong rejects are equal, (rows,), between points by a straight line."""
        accepts, rejects = self._rates()
        gap = accepts - rejects
        after = (gap < 0).sum(dim=1, keepdim=True).clamp(1, gap.shape[1] - 1)
        before = after - 1
        one, two = gap.gather(1, before), gap.gather(1, after)
        share = torch.where(two > one, -one / (two - one), 0.0).clamp(0, 1)
        return torch.lerp(accepts.gather(1, before), accepts.gather(1, after), share)[:, 0]

    def accepted_at(self, false_accepts: float) -> Tensor:
        """The share of positives accepted where at most this share of the negatives is, (rows,)."""
        accepts, rejects = self._rates()
        place = (accepts <= false_accepts).sum(dim=1, keepdim=True).clamp_min(1) - 1
        return 1 - rejects.gather(1, place)[:, 0]

    def _rates(self) -> tuple[Tensor, Tensor]:
        true, false = (torch.nn.functional.pad(each, (1, 0)).double() for each in self)
        return false / false[:, -1:], 1 - true / true[:, -1:]
