"""Confidence intervals of every metric, by resampling.

The metrics are written here once more, for weighted samples and many resamples at once; with all weights 1 they are
those of the functions that measure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from striate.train.metrics.bootstrap import interval
from striate.train.metrics.calibration import BINS
from striate.train.metrics.classification import log_losses
from striate.train.metrics.multi_label import DECIDED
from striate.train.metrics.names import metrics_of
from striate.train.metrics.ranking import Ranked
from striate.train.metrics.segmentation import overlaps, segmentation_values

if TYPE_CHECKING:
    from torch import Tensor

    from striate.data.dataset import Task
    from striate.train.metrics.bootstrap import Resampling
    from striate.train.metrics.segmentation import SegmentationCounts
    from striate.train.metrics.verification import Verification

RANKED_CELLS = 2 * 10**9
"""Areas under curves have no interval where samples x classes x resamples are more: it would take minutes."""

MOST_PAIRS = 200_000
"""The interval of a verification metric is that of this many pairs, drawn from what was compared."""


def intervals(
    task: Task, resampling: Resampling, outputs: Tensor, targets: Tensor
) -> dict[str, tuple[float, float] | None]:
    """The 95 % interval of each metric of a task, from probabilities or numbers and targets; by percentiles.

    None stands for metrics that cannot be said, or too seldom. The calibration error of a resample is larger than that
    of the samples themselves, and so is its interval, because chance adds to a sum of distances.

    >>> from striate.train.metrics.bootstrap import Resampling
    >>> probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8]] * 50)
    >>> labels = torch.tensor([0, 1] * 40 + [1, 0] * 10)
    >>> low, high = intervals("classification", Resampling(100), probabilities, labels)["accuracy"]
    >>> 0.7 < low < 0.8 < high < 0.9
    True
    """
    values = _STATISTICS[task](resampling, outputs, targets)
    return {name: interval(values[name]) if name in values else None for name in metrics_of(task)}


def segmentation_intervals(resampling: Resampling, counts: SegmentationCounts) -> dict[str, tuple[float, float] | None]:
    """The 95 % interval of each metric of segmentation; whole samples are resampled, as their positions are alike."""
    matrices = counts.matrices.double()
    shape = matrices.shape[1:]
    # Weighed sums of the samples' matrices, divided by nothing: every metric is a ratio of them.
    sums = resampling.of(lambda weights: (weights.double() @ matrices.flatten(1)).reshape(-1, *shape))
    values = segmentation_values(sums, counts.averaged)
    dice = overlaps(matrices)[1][:, counts.averaged]
    there = (~dice.isnan()).double()
    of_class = resampling.of(lambda weights: (weights.double() @ dice.nan_to_num()) / (weights.double() @ there))
    values["mean_sample_dice"] = of_class.nanmean(dim=1)
    return {name: interval(values[name]) for name in metrics_of("segmentation")}


def verification_intervals(
    resampling: Resampling, compared: Verification, identities: Tensor
) -> dict[str, tuple[float, float] | None]:
    """The 95 % interval of each metric of verification; whole identities are resampled, not pairs, which share samples.

    ``resampling`` is one of the different identities, in the order of `torch.unique`. An identity that is drawn twice
    weighs twice, in pairs with others too; it is never compared with its copy.

    Source: Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems: the subsets bootstrap, 2004.
    """
    _, places = torch.unique(identities, return_inverse=True)
    pairs, similarity, same = compared.pairs, compared.similarity, compared.same
    if len(same) > MOST_PAIRS:
        generator = torch.Generator().manual_seed(resampling.seed)
        chosen = torch.randperm(len(same), generator=generator)[:MOST_PAIRS]
        pairs, similarity, same = pairs[:, chosen], similarity[chosen], same[chosen]
    one, two = places[pairs]
    gathered: dict[str, list[Tensor]] = {name: [] for name in metrics_of("verification")}
    for block in resampling.weights():
        for weights in torch.split(block, max(2**23 // len(same), 1)):
            first, second = weights[:, one], weights[:, two]
            ranked = Ranked.of(torch.where(same, first, first * second), similarity, same)
            gathered["auroc"].append(ranked.auroc())
            gathered["eer"].append(ranked.equal_error())
            gathered["tar_at_far_1e-2"].append(ranked.accepted_at(1e-2))
            gathered["tar_at_far_1e-3"].append(ranked.accepted_at(1e-3))
    return {name: interval(torch.cat(values)) for name, values in gathered.items()}


def _classification(resampling: Resampling, probabilities: Tensor, labels: Tensor) -> dict[str, Tensor]:
    classes = probabilities.shape[1]
    confidence, predicted = probabilities.double().max(dim=1)
    gathered: dict[str, list[Tensor]] = {"accuracy": [], "balanced_accuracy": [], "macro_f1": []}
    for table in resampling.tables(labels * classes + predicted, classes**2):
        matrices = table.reshape(-1, classes, classes)
        hits, true, said = matrices.diagonal(dim1=1, dim2=2), matrices.sum(dim=2), matrices.sum(dim=1)
        gathered["accuracy"].append(hits.sum(dim=1) / true.sum(dim=1))
        gathered["balanced_accuracy"].append((hits / true).nanmean(dim=1))
        gathered["macro_f1"].append((2 * hits / (true + said)).nanmean(dim=1))
    values = {name: torch.cat(blocks) for name, blocks in gathered.items()}
    values["log_loss"] = resampling.means(log_losses(probabilities, labels))
    edges = torch.arange(1, BINS, dtype=torch.float64) / BINS
    bins = torch.bucketize(confidence, edges, right=True)
    gaps = torch.zeros(len(labels), BINS, dtype=torch.float64)
    gaps[torch.arange(len(labels)), bins] = (predicted == labels).double() - confidence
    values["ece"] = resampling.means(gaps).abs().sum(dim=1)
    if bool((torch.bincount(labels, minlength=classes) > 0).all()) and _affordable(resampling, classes):
        truth = torch.nn.functional.one_hot(labels, classes).bool()
        values["auroc"], values["average_precision"] = _areas(resampling, probabilities, truth)
    return values


def _multi_label(resampling: Resampling, probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
    truth, decided = targets.round().bool(), probabilities >= DECIDED
    counts = torch.stack((truth & decided, truth ^ decided), dim=1).double()
    hits, wrong = resampling.means(counts).unbind(dim=1)
    values = {
        "macro_f1": (2 * hits / (2 * hits + wrong)).nan_to_num().mean(dim=1),
        "micro_f1": 2 * hits.sum(dim=1) / (2 * hits + wrong).sum(dim=1),
        "subset_accuracy": resampling.means((truth == decided).all(dim=1)),
        "hamming": wrong.mean(dim=1),
    }
    told = ((truth.sum(dim=0) > 0) & ~truth.all(dim=0)).nonzero()[:, 0]
    if len(told) and _affordable(resampling, len(told)):
        values["auroc"], values["mean_average_precision"] = _areas(resampling, probabilities[:, told], truth[:, told])
    return values


def _regression(resampling: Resampling, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    given, true = outputs.double(), targets.double()
    error = given - true
    # Around the means of all samples, so that squares lose no digits.
    given, true = given - given.mean(dim=0), true - true.mean(dim=0)
    moments = torch.stack((error.abs(), error**2, true, true**2, given, given**2, given * true), dim=1)
    absolute, squared, t, tt, g, gg, gt = resampling.means(moments).unbind(dim=1)
    variance, other = tt - t**2, gg - g**2
    tiny = 1e-12 * (true**2).mean(dim=0)
    varied = variance > tiny
    correlated = varied & (other > 1e-12 * (given**2).mean(dim=0))
    nan = torch.full_like(variance, float("nan"))
    return {
        "mae": absolute.mean(dim=1),
        "rmse": squared.sqrt().mean(dim=1),
        "r2": torch.where(varied, 1 - squared / variance, nan).nanmean(dim=1),
        "pearson": torch.where(correlated, (gt - g * t) / (variance * other).sqrt(), nan).nanmean(dim=1),
    }


def _areas(resampling: Resampling, scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    blocks = []
    for weights in resampling.weights():
        ranked = [Ranked.of(weights, scores[:, place], truth[:, place]).areas() for place in range(scores.shape[1])]
        blocks.append(torch.stack([torch.stack(areas) for areas in ranked]).nanmean(dim=0))
    auroc, average_precision = torch.cat(blocks, dim=1)
    return auroc, average_precision


def _affordable(resampling: Resampling, classes: int) -> bool:
    return resampling.size * classes * resampling.count <= RANKED_CELLS


_STATISTICS = {"classification": _classification, "multi-label": _multi_label, "regression": _regression}
