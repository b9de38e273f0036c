"""What differs from task to task in training: networks that serve, the usual loss, the running score, the columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.train.metrics import METRICS, metrics_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from striate.data.dataset import Task

    Count = Callable[[Tensor, Tensor, "int | None"], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class TaskTraining:
    """How a task is trained.

    ``networks`` are the tasks of the register whose networks serve. ``loss`` is the usual one. ``score`` is the metric
    that is told for both parts after every epoch; ``count(outputs, targets, void)`` gives what of a batch is above and
    below its line.
    """

    task: Task
    networks: tuple[str, ...]
    loss: str
    score: str
    count: Count

    @property
    def has_val_loss(self) -> bool:
        """Whether the loss can be measured in validation: not for people whom the network was not trained to name."""
        return self.task != "verification"

    @property
    def best(self) -> str:
        """The column that tells which epoch is the best if nobody says otherwise."""
        return f"val_{metrics_of(self.task)[0]}"

    def columns(self, *, has_val: bool) -> tuple[str, ...]:
        """The metrics of ``metrics.csv``, in order.

        >>> TRAINING["verification"].columns(has_val=True)[:4]
        ('train_loss', 'train_accuracy', 'val_auroc', 'val_eer')
        """
        validated = (*(["loss"] if self.has_val_loss else []), *metrics_of(self.task)) if has_val else ()
        return ("train_loss", f"train_{self.score}", *(f"val_{name}" for name in validated))


def score_of(task: Task, outputs: Tensor, targets: Tensor, void: int | None = None) -> float:
    """The running score of one batch.

    >>> import torch
    >>> score_of("classification", torch.tensor([[0.2, 0.1], [0.3, 0.4]]), torch.tensor([0, 0]))
    0.5
    """
    above, below = TRAINING[task].count(outputs, targets, void)
    return above / below if below else 0.0


def say_metric(name: str, value: float) -> str:
    """A metric as people read it: shares in per cent, all else as a number.

    >>> say_metric("train_accuracy", 0.9), say_metric("val_rmse", 2.5)
    ('accuracy 90.00%', 'rmse 2.5000')
    """
    name = name.removeprefix("train_").removeprefix("val_")
    words = name.replace("_", " ")
    share = name in METRICS and name not in ("mae", "rmse", "r2", "pearson", "log_loss")
    return f"{words} {value:.2%}" if share else f"{words} {value:.4f}"


def _right(outputs: Tensor, labels: Tensor, void: int | None) -> tuple[float, float]:
    # A mixed sample is right where its larger part is.
    labels = labels if labels.ndim == 1 else labels.argmax(dim=1)
    return int((outputs.argmax(dim=1) == labels).sum()), len(labels)


def _f1(outputs: Tensor, labels: Tensor, void: int | None) -> tuple[float, float]:
    said, true = outputs >= 0, labels >= 0.5  # a logit of 0 is a probability of one half
    return 2 * int((said & true).sum()), int(said.sum()) + int(true.sum())


def _absolute_error(outputs: Tensor, targets: Tensor, void: int | None) -> tuple[float, float]:
    return float((outputs.detach().double() - targets.double()).abs().sum()), targets.numel()


def _right_positions(outputs: Tensor, masks: Tensor, void: int | None) -> tuple[float, float]:
    masks = masks if masks.ndim < outputs.ndim else masks.argmax(dim=1)
    right = outputs.argmax(dim=1) == masks
    if void is None:
        return int(right.sum()), masks.numel()
    told = masks != void
    return int((right & told).sum()), int(told.sum())


_OF_ONE_ANSWER = ("classification", "multi-label")
"""Networks with one vector of outputs per sample, whatever it is taken for."""

TRAINING: dict[Task, TaskTraining] = {
    training.task: training
    for training in (
        TaskTraining("classification", _OF_ONE_ANSWER, "cross_entropy", "accuracy", _right),
        TaskTraining("multi-label", _OF_ONE_ANSWER, "binary_cross_entropy", "micro_f1", _f1),
        TaskTraining("regression", _OF_ONE_ANSWER, "squared_error", "mae", _absolute_error),
        TaskTraining("segmentation", ("segmentation",), "dice_cross_entropy", "pixel_accuracy", _right_positions),
        TaskTraining("verification", _OF_ONE_ANSWER, "cross_entropy", "accuracy", _right),
    )
}
