"""Resampling: how much a metric would vary if other samples had been drawn.

A resample is a vector of weights, how often each sample is in it, so that a metric of a thousand resamples is one
computation on a matrix of weights.

Source: Efron, Bootstrap methods: another look at the jackknife, 1979; percentiles as in Efron and Tibshirani, 1993.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

_CELLS = 2**23
"""Weights in one block: what is worked on at a time fits in tens of megabytes."""


@dataclass(frozen=True)
class Resampling:
    """Resamples of ``size`` samples, seeded; where ``groups`` ``(size,)`` are given, whole groups are drawn.

    Samples of one subject are alike, so that drawing them one by one would make intervals too narrow. Raises
    `DataError` for fewer than 2 resamples.

    >>> sum(block.shape[0] for block in Resampling(5, 100).weights())
    100
    >>> next(Resampling(4, 10, groups=torch.tensor([0, 0, 1, 1])).weights())[0, :2].unique().numel()
    1
    """

    size: int
    count: int = 1000
    seed: int = 0
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        if self.count < 2:
            raise DataError("2 resamples or more", f"{self.count}", "Use 1000, or 0 to go without intervals.")

    def weights(self) -> Iterator[Tensor]:
        """Yield blocks (resamples, size) of float32: how often each sample is in each resample."""
        units, places = self._units()
        generator = np.random.default_rng(self.seed)
        step = max(_CELLS // max(self.size, 1), 1)
        for start in range(0, self.count, step):
            rows = min(step, self.count - start)
            # Counting draws is several times as fast as numpy's multinomial.
            draws = generator.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
            drawn = np.bincount(draws.ravel(), minlength=rows * units).reshape(rows, units)
            block = torch.from_numpy(drawn.astype(np.float32))
            yield block if places is None else block[:, places]

    def tables(self, cells: Tensor, count: int) -> Iterator[Tensor]:
        """Yield blocks (resamples, count) of float64: how many samples of each resample are in each cell.

        ``cells`` ``(size,)`` tells the cell of each sample. Without groups a resample of a table is a draw from a
        multinomial distribution, which does not depend on how many samples there are.
        """
        if self.groups is not None:
            for block in self.weights():
                table = torch.zeros(len(block), count, dtype=torch.float64)
                yield table.index_add_(1, cells, block.double())
            return
        generator = np.random.default_rng(self.seed)
        taken, inverse = torch.unique(cells, return_inverse=True)
        shares = torch.bincount(inverse, minlength=len(taken)).double().numpy()
        step = max(_CELLS // count, 1)
        for start in range(0, self.count, step):
            drawn = generator.multinomial(self.size, shares / shares.sum(), size=min(step, self.count - start))
            table = torch.zeros(len(drawn), count, dtype=torch.float64)
            table[:, taken] = torch.from_numpy(drawn).double()
            yield table

    def means(self, values: Tensor) -> Tensor:
        """The mean of ``values`` ``(size, ...)`` in every resample, (resamples, ...), float64."""
        flat = values.double().reshape(self.size, -1)
        means = [block.double() @ flat / block.double().sum(dim=1, keepdim=True) for block in self.weights()]
        return torch.cat(means).reshape(self.count, *values.shape[1:])

    def of(self, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """A statistic of every resample: a function from weights (resamples, size) to (resamples, ...)."""
        return torch.cat([statistic(block) for block in self.weights()])

    def _units(self) -> tuple[int, Tensor | None]:
        if self.groups is None:
            return self.size, None
        names, places = torch.unique(self.groups, return_inverse=True)
        return len(names), places


def interval(values: Tensor) -> tuple[float, float] | None:
    """The middle 95 % of the values of resamples; None where a resample in ten has none, because it lacks a class.

    >>> interval(torch.arange(101.0))
    (2.5, 97.5)
    """
    known = values[~values.isnan()].double()
    if len(known) < 0.9 * len(values) or not len(known):
        return None
    low, high = torch.quantile(known, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
