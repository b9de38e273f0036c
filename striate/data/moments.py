"""Mean and standard deviation per channel of samples that are seen a few at a time."""

from __future__ import annotations

import torch


class Moments:
    """Running mean and variance per channel in float64.

    Chunks are merged by the pairwise update of Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for
    computing sample variances, 1979, which loses no accuracy when the mean is large.

    >>> moments = Moments(channels=1)
    >>> moments.add(torch.tensor([[[0.0, 2.0]]]))
    >>> moments.mean.tolist(), moments.std.tolist()
    ([1.0], [1.0])
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self._squares = torch.zeros(channels, dtype=torch.float64)

    @property
    def std(self) -> torch.Tensor:
        """The standard deviation of the population, float64, (C,)."""
        return (self._squares / max(self.count, 1)).sqrt()

    def add(self, inputs: torch.Tensor) -> None:
        """Take in samples (N, C, *spatial) of any real type."""
        channels = inputs.shape[1]
        values = inputs.transpose(0, 1).reshape(channels, -1)
        count = values.shape[1]
        if count == 0:
            return
        if inputs.dtype == torch.uint8:
            # Sums of bytes and of their squares are exact in int64, and their histogram is cheaper than converting.
            histogram = torch.stack([torch.bincount(row, minlength=256) for row in values])
            levels = torch.arange(256)
            total, total_squares = (histogram * levels).sum(1).double(), (histogram * levels**2).sum(1).double()
            mean = total / count
            squares = (total_squares - total * mean).clamp(min=0)
        else:
            values = values.double()
            mean = values.mean(1)
            squares = (values - mean[:, None]).square().sum(1)
        both = self.count + count
        shift = mean - self.mean
        self._squares = self._squares + squares + shift.square() * (self.count * count / both)
        self.mean = self.mean + shift * (count / both)
        self.count = both
