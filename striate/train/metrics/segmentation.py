"""The metrics of segmentation, gathered batch by batch: the outputs of a whole part would not fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class RegionScore:
    """How well the positions of one class are found; None where no position has it, in truth or by the network.

    ``sample_dice`` is the mean of the Dice scores of the samples that have it in either; ``support`` is how many
    positions have it in truth.
    """

    name: str
    iou: float | None
    dice: float | None
    sample_dice: float | None
    precision: float | None
    recall: float | None
    support: int


class SegmentationCounts:
    """Confusion matrices of a part of a data set, one per sample, from which every metric follows.

    ``add`` takes outputs ``(n, classes, *spatial)``, of which the largest decides, or decided labels ``(n, *spatial)``,
    and targets ``(n, *spatial)``; positions whose target is ``void`` are left out, and a void class among the classes
    is no class of the means. Class 0 is background, which means leave out unless there is nothing else.

    >>> counts = SegmentationCounts(3)
    >>> counts.add(torch.tensor([[0, 1, 2, 2]]), torch.tensor([[0, 1, 1, 2]]))
    >>> {name: round(value, 3) for name, value in counts.values().items()}
    {'mean_dice': 0.667, 'mean_iou': 0.5, 'mean_sample_dice': 0.667, 'pixel_accuracy': 0.75}
    """

    def __init__(self, classes: int, void: int | None = None) -> None:
        self.classes, self.void = classes, void
        self._matrices: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, on any device."""
        labels = (outputs.argmax(dim=1) if outputs.ndim > targets.ndim else outputs).cpu()
        targets = targets.cpu()
        for given, true in zip(labels.flatten(1), targets.flatten(1), strict=True):
            kept = slice(None) if self.void is None else true != self.void
            self._matrices.append(
                multiclass_confusion_matrix(given[kept], true[kept], self.classes, validate_args=False)
            )

    def merge(self, other: SegmentationCounts) -> None:
        """Add what another counted, of other samples."""
        self._matrices += other._matrices

    def __len__(self) -> int:
        return len(self._matrices)

    @property
    def matrices(self) -> Tensor:
        """The confusion matrix of each sample, (n, true, predicted), int64."""
        return torch.stack(self._matrices) if self._matrices else torch.zeros(0, self.classes, self.classes).long()

    @property
    def confusion(self) -> Tensor:
        """The positions of all samples, (true, predicted)."""
        return self.matrices.sum(dim=0)

    def values(self) -> dict[str, float | None]:
        """The metrics of all samples so far, by name."""
        matrices = self.matrices
        told = segmentation_values(matrices.sum(dim=0, keepdim=True).double(), self.averaged)
        dice = overlaps(matrices.double())[1][:, self.averaged]
        return {
            "mean_dice": _known(told["mean_dice"]),
            "mean_iou": _known(told["mean_iou"]),
            # The mean of the samples of each class first, so that rare classes weigh as much as others.
            "mean_sample_dice": _known(dice.nanmean(dim=0).nanmean()),
            "pixel_accuracy": _known(told["pixel_accuracy"]),
        }

    @property
    def averaged(self) -> list[int]:
        """The classes that means are taken over: all but background and void."""
        kept = [place for place in range(1, self.classes) if place != self.void]
        return kept or [0]

    def scores(self, names: Sequence[str]) -> tuple[RegionScore, ...]:
        """The scores of every class but void, background included."""
        matrices = self.matrices.double()
        total = matrices.sum(dim=0)
        iou, dice = (each[0] for each in overlaps(total[None]))
        samples = overlaps(matrices)[1].nanmean(dim=0)
        hits, true, said = total.diagonal(), total.sum(dim=1), total.sum(dim=0)
        return tuple(
            RegionScore(
                name=name,
                iou=_known(iou[place]),
                dice=_known(dice[place]),
                sample_dice=_known(samples[place]),
                precision=_known(hits[place] / said[place]),
                recall=_known(hits[place] / true[place]),
                support=int(true[place]),
            )
            for place, name in enumerate(names)
            if place != self.void
        )


def overlaps(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and Dice ``(n, classes)`` of confusion matrices ``(n, true, predicted)``; NaN where a class is nowhere.

    >>> [each.tolist() for each in overlaps(torch.tensor([[[3.0, 1.0], [0.0, 0.0]]]))]
    [[[0.75, 0.0]], [[0.857..., 0.0]]]
    """
    hits = matrices.diagonal(dim1=1, dim2=2)
    both = matrices.sum(dim=1) + matrices.sum(dim=2)
    return hits / (both - hits), 2 * hits / both


def segmentation_values(matrices: Tensor, averaged: Sequence[int]) -> dict[str, Tensor]:
    """The metrics ``(n,)`` of each of the confusion matrices ``(n, true, predicted)``, means over some classes.

    >>> segmentation_values(torch.tensor([[[3.0, 1.0], [0.0, 4.0]]]), [1])["mean_iou"].tolist()
    [0.800...]
    """
    iou, dice = overlaps(matrices)
    chosen = list(averaged)
    return {
        "mean_dice": dice[:, chosen].nanmean(dim=1),
        "mean_iou": iou[:, chosen].nanmean(dim=1),
        "pixel_accuracy": matrices.diagonal(dim1=1, dim2=2).sum(dim=1) / matrices.sum(dim=(1, 2)),
    }


def _known(value: Tensor) -> float | None:
    number = float(value)
    return None if number != number else number
