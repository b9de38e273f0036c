"""The metrics there are: what each means, for which tasks, and whether more or less of it is better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from striate.data.dataset import Task


class Metric(NamedTuple):
    """A metric's better direction, the tasks it exists for, and its meaning in one line."""

    direction: Literal["max", "min"]
    tasks: tuple[Task, ...]
    meaning: str


METRICS: dict[str, Metric] = {
    "accuracy": Metric("max", ("classification",), "share of samples whose most probable class is right"),
    "balanced_accuracy": Metric("max", ("classification",), "mean over the classes of the share found of each"),
    "mean_average_precision": Metric("max", ("multi-label",), "area under precision over recall, mean over the labels"),
    "macro_f1": Metric("max", ("classification", "multi-label"), "F1 of each class, averaged"),
    "micro_f1": Metric("max", ("multi-label",), "F1 of all decisions together"),
    "mean_dice": Metric("max", ("segmentation",), "Dice of each class over all positions, mean without background"),
    "mean_iou": Metric("max", ("segmentation",), "overlap over union of each class, mean without background"),
    "mean_sample_dice": Metric("max", ("segmentation",), "Dice of each class in each sample, mean without background"),
    "pixel_accuracy": Metric("max", ("segmentation",), "share of positions whose class is right"),
    "auroc": Metric(
        "max",
        ("classification", "multi-label", "verification"),
        "chance that a positive scores above a negative, each class against the rest, averaged",
    ),
    "average_precision": Metric("max", ("classification",), "area under precision over recall, mean over the classes"),
    "subset_accuracy": Metric("max", ("multi-label",), "share of samples with every label right"),
    "hamming": Metric("min", ("multi-label",), "share of wrong decisions, samples times labels"),
    "log_loss": Metric("min", ("classification",), "mean of -log of the probability given to the true class"),
    "ece": Metric("min", ("classification",), "expected calibration error: how far confidence is from accuracy"),
    "mae": Metric("min", ("regression",), "mean absolute error, averaged over the outputs"),
    "rmse": Metric("min", ("regression",), "root of the mean squared error, averaged over the outputs"),
    "r2": Metric("max", ("regression",), "share of the variance explained, averaged over the outputs"),
    "pearson": Metric("max", ("regression",), "linear correlation, averaged over the outputs"),
    "eer": Metric("min", ("verification",), "error rate where as many pairs are wrongly accepted as wrongly rejected"),
    "tar_at_far_1e-2": Metric("max", ("verification",), "true pairs accepted where 1 % of the false ones are"),
    "tar_at_far_1e-3": Metric("max", ("verification",), "true pairs accepted where 0.1 % of the false ones are"),
}
"""Every metric by name; those of one task come in the order in which they are told, the most telling first."""


def metrics_of(task: Task) -> tuple[str, ...]:
    """The names of a task's metrics, in the order in which they are told.

    >>> metrics_of("verification")
    ('auroc', 'eer', 'tar_at_far_1e-2', 'tar_at_far_1e-3')
    """
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)


def is_better(name: str, value: float | None, than: float | None) -> bool:
    """Whether a value of a metric beats another; one that is missing or NaN beats none, and any other beats it.

    >>> is_better("rmse", 0.5, 0.7), is_better("accuracy", 0.5, 0.7), is_better("auroc", 0.5, None)
    (True, False, True)
    """
    if value is None or math.isnan(value):
        return False
    if than is None or math.isnan(than):
        return True
    return value > than if METRICS[name].direction == "max" else value < than
