"""Mean, spread and 95 % interval of a metric over several runs."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_COVERED = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over ``count`` runs; ``deviation`` and ``interval`` are None where there is only one."""

    count: int
    mean: float
    deviation: float | None
    interval: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """The numbers in the plain types of JSON."""
        return asdict(self) | {"interval": list(self.interval) if self.interval is not None else None}


def spread(values: Sequence[float], *, overlap: float = 0.0) -> Spread:
    """Describe a metric that was measured once per run.

    ``deviation`` is that of a sample (n - 1 below the line). ``interval`` is the 95 % interval of the mean by Student's
    t. Runs whose test parts are cut from the same data learn from samples that they share, vary less than independent
    ones would, and would give too narrow an interval: ``overlap``, the size of a test part over that of the rest,
    widens it, the variance of the mean being ``(1 / n + overlap)`` times that of the runs. It is 0 for runs that are
    tested on the same test part and differ by their seed alone.

    Source: Nadeau and Bengio, Inference for the generalization error, 2003.

    >>> round(spread([0.9, 0.8, 0.7]).mean, 3)
    0.8
    >>> [round(bound, 3) for bound in spread([0.9, 0.8, 0.7]).interval]
    [0.552, 1.048]
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Spread(len(values), mean, None, None)
    deviation = statistics.stdev(values)
    half = students_t(len(values) - 1) * deviation * math.sqrt(1 / len(values) + overlap)
    return Spread(len(values), mean, deviation, (mean - half, mean + half))


def students_t(degrees: int) -> float:
    """Return the bound that Student's t stays within, on both sides, with a probability of 95 %.

    >>> round(students_t(4), 4)
    2.7764
    """
    low, high = 0.0, math.pi / 2  # of the angle atan(t / sqrt(degrees)), in which the probability is a finite sum
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _within(middle, degrees) < _COVERED else (low, middle)
    return math.tan(low) * math.sqrt(degrees)


def _within(angle: float, degrees: int) -> float:
    # Abramowitz and Stegun, Handbook of mathematical functions, 1964, 26.7.3 and 26.7.4.
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for place in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (place - 1) / place
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
