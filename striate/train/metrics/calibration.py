"""How far the probabilities of a classifier can be trusted, and one number that mends them.

Confidence is the probability of the predicted class; a calibrated network is right in 80 % of the cases in which it is
80 % sure.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F

from striate.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

BINS = 15
"""Bins of confidence, as in the paper."""

_TEMPERATURES = (0.02, 50.0)
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Reliability:
    """The data of a reliability diagram, one entry per bin of confidence.

    ``edges`` has one entry more than there are bins; ``accuracy`` and ``confidence`` are the means of the ``counts``
    samples in each, None where there are none.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    accuracy: tuple[float | None, ...]
    confidence: tuple[float | None, ...]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of accuracy and confidence, each bin by its samples."""
        bins = zip(self.counts, self.accuracy, self.confidence, strict=True)
        gaps = [count * abs(right - sure) for count, right, sure in bins if right is not None and sure is not None]
        return sum(gaps) / sum(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """The diagram in the plain types of JSON; null where a bin is empty."""
        return {name: list(values) for name, values in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Calibration:
    """What temperature scaling did: the losses and calibration errors of the samples it was fitted to.

    Probabilities are ``softmax(logits / temperature)``: above 1 the network was too sure of itself.
    """

    temperature: float
    count: int
    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float

    def to_dict(self) -> dict[str, Any]:
        """The calibration in the plain types of JSON."""
        return asdict(self)


def reliability(
    probabilities: Tensor,
    labels: Tensor,
    *,
    bins: int = BINS,
    scheme: Literal["equal-width", "adaptive"] = "equal-width",
) -> Reliability:
    """Sort the samples of probabilities ``(n, classes)`` into bins of confidence.

    Bins of ``equal-width`` run from 0 to 1 and include their lower edge, the last one both. ``adaptive`` ones hold
    equal numbers of samples, up to one, so that each mean is equally certain.

    Sources: DeGroot and Fienberg, 1983; Nixon et al., Measuring calibration in deep learning, 2019, for adaptive bins.

    >>> probabilities = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    >>> reliability(probabilities, torch.tensor([0, 0]), bins=2).counts
    (0, 2)
    """
    confidence, predicted = probabilities.double().max(dim=1)
    right = (predicted == labels).double()
    if scheme == "adaptive":
        order = confidence.argsort(stable=True)
        confidence, right = confidence[order], right[order]
        bins = min(bins, len(confidence))
        starts = [round(place * len(confidence) / bins) for place in range(bins + 1)]
        counts = torch.tensor(starts).diff()
        places = torch.repeat_interleave(torch.arange(bins), counts)
        edges = [float(confidence[start]) for start in starts[:-1]] + [float(confidence[-1])]
    else:
        edges = [place / bins for place in range(bins + 1)]
        places = torch.bucketize(confidence, torch.tensor(edges[1:-1], dtype=torch.float64), right=True)
        counts = torch.bincount(places, minlength=bins)
    sums = [torch.zeros(bins, dtype=torch.float64).index_add_(0, places, each) for each in (right, confidence)]
    accuracy, mean = (
        tuple(value if count else None for value, count in zip((each / counts).tolist(), counts.tolist(), strict=True))
        for each in sums
    )
    return Reliability(tuple(edges), tuple(counts.tolist()), accuracy, mean)


def calibration_error(
    probabilities: Tensor,
    labels: Tensor,
    *,
    bins: int = BINS,
    scheme: Literal["equal-width", "adaptive"] = "equal-width",
) -> float:
    """Return the expected calibration error of probabilities ``(n, classes)``, over bins as `reliability` makes them.

    Source: Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015.

    >>> calibration_error(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0]))
    0.25
    """
    return reliability(probabilities, labels, bins=bins, scheme=scheme).error


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean squared distance of probabilities ``(n, classes)`` from certainty of the truth, from 0 to 2.

    Source: Brier, Verification of forecasts expressed in terms of probability, 1950.

    >>> brier_score(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    0.5
    """
    truth = F.one_hot(labels, probabilities.shape[1])
    return float((probabilities.double() - truth).square().sum(dim=1).mean())


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """Fit the temperature at which logits ``(n, classes)`` have the smallest log loss on their labels.

    The log loss is convex in 1 / temperature, so a golden-section search finds its minimum, between temperatures 0.02
    and 50. Fit it to samples that the network was not trained on. Raises `DataError` where there are none.

    Source: Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, 2017.

    >>> logits = torch.tensor([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0], [8.0, 0.0]])
    >>> round(calibrate(logits, torch.tensor([0, 0, 0, 1])).temperature, 2)  # three of four: log 3 instead of 8
    7.28
    """
    if not len(labels):
        raise DataError("samples to fit a temperature to", "none", "Give a part of the data that has some.")
    logits = logits.double()

    def loss(inverse: float) -> float:
        return float(F.cross_entropy(logits * inverse, labels))

    low, high = 1 / _TEMPERATURES[1], 1 / _TEMPERATURES[0]
    # In the logarithm, where the loss still has one minimum and its width matters alike everywhere.
    left, right = math.log(low), math.log(high)
    one, two = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    at_one, at_two = loss(math.exp(one)), loss(math.exp(two))
    while right - left > 1e-7:
        if at_one <= at_two:
            right, two, at_two = two, one, at_one
            one = right - _GOLDEN * (right - left)
            at_one = loss(math.exp(one))
        else:
            left, one, at_one = one, two, at_two
            two = left + _GOLDEN * (right - left)
            at_two = loss(math.exp(two))
    temperature = math.exp(-(left + right) / 2)
    before, after = logits.softmax(dim=1), (logits / temperature).softmax(dim=1)
    return Calibration(
        temperature=temperature,
        count=len(labels),
        log_loss_before=loss(1.0),
        log_loss_after=loss(1 / temperature),
        ece_before=calibration_error(before, labels),
        ece_after=calibration_error(after, labels),
    )
