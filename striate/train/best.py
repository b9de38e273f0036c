"""Which epoch's weights are kept as the best: one metric, its better direction, and what decides between equals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from striate.train.metrics import METRICS
from striate.train.section import Section

if TYPE_CHECKING:
    from striate.train.progress import EpochMetrics

LAST = "last"
"""In place of a metric: the last epoch is the best, as it must be where nothing is validated."""


class BestSettings(Section):
    """What makes an epoch the best so far: a column of ``metrics.csv``, or ``last``.

    ``auto`` is the most telling metric of the task on the validation part (``val_accuracy``,
    ``val_mean_average_precision``, ``val_mae``, ``val_mean_dice``, ``val_auroc``), or ``last`` without such a part. Of
    equals the one with the lower validation loss wins, then the earlier.
    """

    section: ClassVar[str] = "best"
    metric: str = "auto"


def rises(metric: str) -> bool:
    """Whether more of a column of ``metrics.csv`` is better: losses and errors fall, the others rise.

    >>> rises("val_accuracy"), rises("train_loss"), rises("val_rmse")
    (True, False, False)
    """
    name = metric.removeprefix("train_").removeprefix("val_")
    return name != "loss" and METRICS[name].direction == "max"


def beats(row: EpochMetrics, best: EpochMetrics | None, metric: str) -> bool:
    """Whether an epoch's weights take the place of the best so far.

    The better value of ``metric`` wins, then the lower validation loss; of equals the earlier stays. An epoch without
    the metric loses against one that has it. With ``last`` every epoch takes the place of the one before.

    >>> from striate.train.progress import EpochMetrics
    >>> first = EpochMetrics(1, 1, 0.1, {"val_loss": 0.4, "val_accuracy": 0.9})
    >>> beats(EpochMetrics(2, 2, 0.1, {"val_loss": 0.3, "val_accuracy": 0.9}), first, "val_accuracy")
    True
    """
    return best is None or metric == LAST or _merit(row, metric) > _merit(best, metric)


def _merit(row: EpochMetrics, metric: str) -> tuple[float, float]:
    value = row.get(metric, math.nan)
    merit = value if rises(metric) else -value
    return (-math.inf if math.isnan(merit) else merit, -row.get("val_loss", math.inf))
