"""What an evaluation finds, task by task: each function returns the fields of an `Evaluation` that are its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multiclass_confusion_matrix

from striate.train.inference import as_outputs, averaged
from striate.train.metrics import (
    Resampling,
    SegmentationCounts,
    classification_metrics,
    compare,
    intervals,
    metrics_of,
    multi_label_metrics,
    output_scores,
    regression_metrics,
)
from striate.train.metrics.intervals import segmentation_intervals, verification_intervals
from striate.train.metrics.multi_label import DECIDED
from striate.train.metrics.segmentation import overlaps
from striate.train.scores import (
    ClassScore,
    Mistake,
    Trust,
    Trusted,
    WorstPair,
    WorstSample,
    class_scores,
    wilson_interval,
)
from striate.train.settling import settled_loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from striate.data import Dataset, Samples
    from striate.data.segmentation.wholes import WholeSamples
    from striate.train.inference import Inference, Outputs
    from striate.train.metrics import Calibration, Verification
    from striate.train.run import Run

MOST_OVERLAYS = 6
"""Segmented samples that are kept to be drawn: each holds an input and two masks."""


@dataclass(frozen=True)
class Evidence:
    """What figures are drawn from: probabilities or numbers with their targets, compared pairs, and how inputs read."""

    outputs: Tensor | None = None
    targets: Tensor | None = None
    compared: Verification | None = None
    value_scale: float = 1.0
    vocabulary: tuple[str, ...] = ()
    void: int | None = None


class Part:
    """The samples that are measured, of one part of the data or several, and the settings of the measurement."""

    def __init__(
        self,
        run: Run,
        dataset: Dataset,
        samples: Sequence[Samples | WholeSamples],
        inference: Inference,
        *,
        mistakes: int,
        bootstrap: int,
    ) -> None:
        self.run, self.dataset, self.samples, self.inference = run, dataset, list(samples), inference
        self.mistakes, self.bootstrap = mistakes, bootstrap
        self.count = sum(map(len, self.samples))
        # The run's own, or of a run that left it open the usual one of the task.
        self.loss = settled_loss(run.config.loss, dataset)

    def batches(self) -> Iterator[Outputs]:
        """The outputs of all batches."""
        for samples in self.samples:
            yield from self.inference(samples)

    def collected(self) -> tuple[list[Tensor], Tensor]:
        """The outputs of each view, and the targets, of all samples."""
        batches = list(self.batches())
        views = [torch.cat([batch.views[place] for batch in batches]) for place in range(len(self.inference.views))]
        return views, torch.cat([batch.targets for batch in batches])

    def find(self, place: int) -> tuple[Samples | WholeSamples, int]:
        """The part of the data that a sample is in, and its index there."""
        for samples in self.samples:
            if place < len(samples):
                return samples, place
            place -= len(samples)
        raise IndexError(place)

    def name(self, place: int) -> str:
        """What a sample is called."""
        samples, index = self.find(place)
        return samples.name(index)

    def input(self, place: int) -> Tensor:
        """A sample as stored."""
        samples, index = self.find(place)
        return samples.fetch([index])[0][0]

    @property
    def groups(self) -> Tensor | None:
        """The subjects of all samples, if all parts tell them."""
        told = [samples.groups for samples in self.samples]
        known = [groups for groups in told if groups is not None]
        return torch.cat(known) if len(known) == len(told) else None

    def resampling(self) -> Resampling | None:
        """Resamples of samples, or of subjects; None where none are wanted, or there are not two to draw from."""
        groups = self.groups
        units = self.count if groups is None else len(torch.unique(groups))
        if not self.bootstrap or units < 2:
            return None
        return Resampling(self.count, self.bootstrap, self.run.config.seed, groups)

    def evidence(self, **found: Any) -> Evidence:
        """What figures need, with what is common to all tasks."""
        dataset = self.dataset
        return Evidence(
            value_scale=dataset.value_scale, vocabulary=tuple(dataset.vocabulary), void=dataset.void, **found
        )


def assess_classification(part: Part, fitted: Calibration | None) -> dict[str, Any]:
    """Confusion matrix, scores of classes, calibration, and the mistakes that the network was surest of."""
    run = part.run
    views, targets = part.collected()
    labels = torch.tensor([run.classes.index(name) for name in part.dataset.classes])[targets]
    # float64, so that rounding makes no two classes equally probable.
    precise = [view.double() for view in views]
    plain = averaged("classification", precise)
    probabilities = plain if fitted is None else averaged("classification", precise, fitted.temperature)
    predicted = probabilities.argmax(dim=1)
    confusion: list[list[int]] = multiclass_confusion_matrix(predicted, labels, len(run.classes)).tolist()
    chosen = probabilities.gather(1, predicted[:, None])[:, 0]
    wrong = torch.nonzero(predicted != labels)[:, 0]
    worst = wrong[chosen[wrong].argsort(descending=True, stable=True)][: part.mistakes]
    resampling = part.resampling()
    told = (
        dict.fromkeys(metrics_of("classification"))
        if resampling is None
        else intervals("classification", resampling, probabilities, labels)
    )
    if part.groups is None:
        told["accuracy"] = wilson_interval(int((predicted == labels).sum()), part.count)
    return {
        "loss": float(part.loss(as_outputs("classification", views), labels)),
        "metrics": classification_metrics(probabilities, labels),
        "intervals": told,
        "classes": class_scores(run.classes, confusion),
        "confusion": tuple(tuple(row) for row in confusion),
        "calibration": Trusted(
            plain=Trust.of(plain, labels),
            scaled=None if fitted is None else Trust.of(probabilities, labels),
            fitted=fitted,
        ),
        "mistakes": tuple(
            Mistake(
                index=part.find(place)[1],
                name=part.name(place),
                true=run.classes[int(labels[place])],
                predicted=run.classes[int(predicted[place])],
                probability=float(chosen[place]),
                true_probability=float(probabilities[place, labels[place]]),
                input=part.input(place),
            )
            for place in worst.tolist()
        ),
        "evidence": part.evidence(outputs=probabilities.float(), targets=labels),
    }


def assess_multi_label(part: Part) -> dict[str, Any]:
    """Scores of labels, and the samples with a wrong label whose labels are least probable together."""
    run = part.run
    views, targets = part.collected()
    targets = targets[:, [part.dataset.classes.index(name) for name in run.classes]]
    probabilities = averaged("multi-label", views)
    truth, decided = targets.round().bool(), probabilities >= DECIDED
    errors = F.binary_cross_entropy(probabilities.double(), targets.double(), reduction="none").mean(dim=1)
    wrong = torch.nonzero((truth != decided).any(dim=1))[:, 0]
    worst = wrong[errors[wrong].argsort(descending=True, stable=True)][: part.mistakes]
    resampling = part.resampling()
    counts = zip(
        run.classes,
        (truth & decided).sum(dim=0).tolist(),
        decided.sum(dim=0).tolist(),
        truth.sum(dim=0).tolist(),
        strict=True,
    )
    return {
        "loss": float(part.loss(as_outputs("multi-label", views), targets)),
        "metrics": multi_label_metrics(probabilities, targets),
        "intervals": dict.fromkeys(metrics_of("multi-label"))
        if resampling is None
        else intervals("multi-label", resampling, probabilities, targets),
        "classes": tuple(ClassScore.of_counts(*each) for each in counts),
        "worst": tuple(
            WorstSample(
                index=part.find(place)[1],
                name=part.name(place),
                true=_listed(run.classes, truth[place]),
                predicted=_listed(run.classes, decided[place]),
                error=float(errors[place]),
                input=part.input(place),
            )
            for place in worst.tolist()
        ),
        "evidence": part.evidence(outputs=probabilities, targets=targets),
    }


def assess_regression(part: Part) -> dict[str, Any]:
    """Scores of each output, and the samples that are furthest off, in units of the targets' deviation."""
    run = part.run
    views, targets = part.collected()
    targets = targets[:, [part.dataset.classes.index(name) for name in run.classes]]
    given = averaged("regression", views)
    outputs = run.network.unscaled(given)
    deviation = targets.std(dim=0) if len(targets) > 1 else torch.ones(targets.shape[1])
    errors = ((outputs - targets).abs() / torch.where(deviation > 0, deviation, 1.0)).max(dim=1).values
    resampling = part.resampling()
    return {
        "loss": float(part.loss(given, run.network.scaled(targets))),
        "metrics": regression_metrics(outputs, targets),
        "intervals": dict.fromkeys(metrics_of("regression"))
        if resampling is None
        else intervals("regression", resampling, outputs, targets),
        "numbers": output_scores(outputs, targets, run.classes),
        "worst": tuple(
            WorstSample(
                index=part.find(place)[1],
                name=part.name(place),
                true=_numbers(targets[place]),
                predicted=_numbers(outputs[place]),
                error=float(errors[place]),
                input=part.input(place),
            )
            for place in errors.argsort(descending=True, stable=True)[: part.mistakes].tolist()
        ),
        "evidence": part.evidence(outputs=outputs, targets=targets),
    }


def assess_segmentation(part: Part) -> dict[str, Any]:
    """Scores of classes, the confusion of positions, and the samples with the lowest Dice scores."""
    run = part.run
    counts = SegmentationCounts(len(run.classes), part.dataset.void)
    total = 0.0
    for batch in part.batches():
        outputs = as_outputs("segmentation", batch.views)
        total += float(part.loss(outputs, batch.targets)) * len(batch.targets)
        counts.add(outputs, batch.targets)
    dice = overlaps(counts.matrices.double())[1][:, counts.averaged].nanmean(dim=1)
    resampling = part.resampling()
    order = (1 - dice).nan_to_num(-1).argsort(descending=True, stable=True)[: min(part.mistakes, MOST_OVERLAYS)]
    return {
        "loss": total / part.count,
        "metrics": counts.values(),
        "intervals": dict.fromkeys(metrics_of("segmentation"))
        if resampling is None
        else segmentation_intervals(resampling, counts),
        "regions": counts.scores(run.classes),
        "confusion": tuple(tuple(row) for row in counts.confusion.tolist()),
        "worst": tuple(_segmented(part, place, float(dice[place])) for place in order.tolist() if dice[place] < 1),
        "evidence": part.evidence(),
    }


def assess_verification(part: Part) -> dict[str, Any]:
    """The comparison of all pairs, and those that are most clearly taken for what they are not."""
    views, identities = part.collected()
    compared = compare(averaged("verification", views), identities, seed=part.run.config.seed)
    seen = len(torch.unique(identities))
    told: dict[str, tuple[float, float] | None] = dict.fromkeys(metrics_of("verification"))
    if part.bootstrap:
        told = verification_intervals(Resampling(seen, part.bootstrap, part.run.config.seed), compared, identities)
    names = part.dataset.classes
    accepted = compared.similarity >= compared.threshold
    half = -(-part.mistakes // 2)
    listed = []
    for wrong, sign in ((accepted & ~compared.same, -1), (~accepted & compared.same, 1)):
        places = torch.nonzero(wrong)[:, 0]
        listed += places[(sign * compared.similarity[places]).argsort(stable=True)][:half].tolist()
    return {
        "loss": None,
        "metrics": compared.values(),
        "intervals": told,
        "threshold": compared.threshold,
        "pairs": tuple(
            WorstPair(
                names=(part.name(one), part.name(two)),
                identities=(names[int(identities[one])], names[int(identities[two])]),
                similarity=float(compared.similarity[place]),
                inputs=(part.input(one), part.input(two)),
            )
            for place in listed[: part.mistakes]
            for one, two in [compared.pairs[:, place].tolist()]
        ),
        "evidence": part.evidence(compared=compared),
    }


def _segmented(part: Part, place: int, dice: float) -> WorstSample:
    samples, index = part.find(place)
    batch = next(part.inference(samples, [index]))
    truth, said = batch.targets[0], as_outputs("segmentation", batch.views).argmax(dim=1)[0]
    classes, void = part.run.classes, part.dataset.void
    return WorstSample(
        index=index,
        name=samples.name(index),
        true=_shares(classes, truth, void),
        predicted=_shares(classes, said, void),
        error=1 - dice,
        input=part.input(place),
        truth=truth,
        said=said,
    )


def _shares(classes: Sequence[str], labels: Tensor, void: int | None) -> str:
    kept = labels if void is None else labels[labels != void]
    shares = [(classes[label], count / kept.numel()) for label, count in _counted(kept) if label]
    return ", ".join(f"{name} {share:.1%}" for name, share in shares) or "nothing"


def _counted(labels: Tensor) -> list[tuple[int, int]]:
    names, counts = torch.unique(labels, return_counts=True)
    return list(zip(names.tolist(), counts.tolist(), strict=True))


def _listed(classes: Sequence[str], there: Tensor) -> str:
    return ", ".join(name for name, is_there in zip(classes, there.tolist(), strict=True) if is_there) or "none"


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in values.tolist())
