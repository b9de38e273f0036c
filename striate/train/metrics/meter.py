"""Meters: they take the outputs of a network batch by batch and tell the metrics of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from striate.train.metrics.classification import classification_metrics
from striate.train.metrics.multi_label import multi_label_metrics
from striate.train.metrics.regression import regression_metrics
from striate.train.metrics.segmentation import SegmentationCounts
from striate.train.metrics.verification import verification_metrics

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from striate.data.dataset import Task


class Meter(Protocol):
    """Takes outputs as networks give them, before softmax or sigmoid (embeddings for verification), with targets.

    A meter is plain data: what several processes measured is sent as it is, and merged in the order of the samples.
    """

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, on any device."""

    def merge(self, other: Self) -> None:
        """Add what another meter of the same kind has taken, of other samples."""

    def values(self) -> dict[str, float | None]:
        """The metrics of all samples so far, by name; None for what cannot be said of them."""

    def __len__(self) -> int:
        """How many samples there have been."""


class Collected:
    """A meter that keeps all outputs, float32 on the CPU, because its metrics need them at once.

    >>> meter = Collected("regression")
    >>> meter.add(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]]))
    >>> meter.values()["mae"], len(meter)
    (1.0, 2)
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, on any device."""
        self._outputs.append(outputs.detach().to("cpu", torch.float32))
        self._targets.append(targets.detach().cpu())

    def merge(self, other: Collected) -> None:
        """Add what another meter has taken."""
        self._outputs += other._outputs
        self._targets += other._targets

    def __len__(self) -> int:
        return sum(map(len, self._targets))

    @property
    def outputs(self) -> Tensor:
        """All outputs, in the order in which they came."""
        return torch.cat(self._outputs)

    @property
    def targets(self) -> Tensor:
        """All targets."""
        return torch.cat(self._targets)

    def values(self) -> dict[str, float | None]:
        """The metrics of all samples so far."""
        return _MEASURES[self.task](self.outputs, self.targets)


def meter_of(task: Task, *, classes: int, void: int | None = None) -> Meter:
    """Make a meter for a task; ``classes`` and ``void`` are the data set's, for segmentation.

    >>> list(meter_of("segmentation", classes=3).values())
    ['mean_dice', 'mean_iou', 'mean_sample_dice', 'pixel_accuracy']
    """
    return SegmentationCounts(classes, void) if task == "segmentation" else Collected(task)


_MEASURES = {
    "classification": lambda outputs, labels: classification_metrics(outputs.softmax(dim=1), labels),
    "multi-label": lambda outputs, targets: multi_label_metrics(outputs.sigmoid(), targets),
    "regression": regression_metrics,
    "verification": verification_metrics,
}
