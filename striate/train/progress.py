"""Where a run stands: its place, the sums of the epoch under way, and the history that its curves are drawn from."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from striate.errors import CheckpointError
from striate.files import replacing
from striate.train.files import read_text

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One row of ``metrics.csv``: mean losses and accuracies (0 to 1) of an epoch, None where there is no such part.

    ``step`` counts the steps done by the end of the epoch; ``learning_rate`` is that of its last step. Training metrics
    are means over the epoch while the weights change; validation metrics are measured at its end.
    """

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None

    def values(self) -> dict[str, float]:
        """The metrics that exist, by name.

        >>> sorted(EpochMetrics(1, 10, 0.1, 0.5, 0.9).values())
        ['train_accuracy', 'train_loss']
        """
        named = {name: getattr(self, name) for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")}
        return {name: value for name, value in named.items() if value is not None}


@dataclass
class Sums:
    """Running sums of a pass over samples.

    >>> sums = Sums()
    >>> sums.add(loss=0.5, correct=1, count=2)
    >>> sums.loss, sums.accuracy
    (0.5, 0.5)
    """

    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, *, loss: float, correct: int, count: int) -> None:
        """Add a batch: its mean loss, its correct answers and its size."""
        self.loss_sum += loss * count
        self.correct += correct
        self.count += count

    @property
    def loss(self) -> float:
        """The mean loss of the samples so far."""
        return self.loss_sum / self.count

    @property
    def accuracy(self) -> float:
        """The share of correct answers so far."""
        return self.correct / self.count


@dataclass
class Progress:
    """The place of a run, all counts from 0: ``batch`` batches of epoch ``epoch`` are done, ``step`` steps in all.

    ``losses`` holds (step, loss, learning rate, time) of every so many steps, ``times`` the time (seconds since 1970)
    at which each epoch ended and how long it took; ``seconds`` is the time spent training and validating so far.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: Sums = field(default_factory=Sums)
    history: list[EpochMetrics] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)
    losses: list[tuple[int, float, float, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0
    finished: str = ""

    @property
    def best(self) -> EpochMetrics | None:
        """The epoch whose weights are kept as the best, None before there is one."""
        return next((row for row in self.history if row.epoch == self.best_epoch), None)

    def state_dict(self) -> dict[str, Any]:
        """The progress in plain types."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Progress:
        """Rebuild a progress from `state_dict`.

        >>> Progress.from_state_dict(Progress(epoch=3).state_dict()).epoch
        3
        """
        plain = {**state, "sums": Sums(**state["sums"])}
        plain["history"] = [EpochMetrics(**row) for row in state["history"]]
        return cls(**plain)


def beats(row: EpochMetrics, best: EpochMetrics | None) -> bool:
    """Whether an epoch's weights take the place of the best so far.

    The higher validation accuracy wins, then the lower validation loss; of equals the earlier stays. Without a
    validation part the last epoch always wins.

    >>> first = EpochMetrics(1, 1, 0.1, 1.0, 0.5, val_loss=0.4, val_accuracy=0.9)
    >>> beats(EpochMetrics(2, 2, 0.1, 1.0, 0.5, val_loss=0.3, val_accuracy=0.9), first)
    True
    """
    if best is None or row.val_accuracy is None or row.val_loss is None:
        return True
    if best.val_accuracy is None or best.val_loss is None:
        return True
    return (row.val_accuracy, -row.val_loss) > (best.val_accuracy, -best.val_loss)


# metrics.csv ---------------------------------------------------------------------------------------------------------

_COLUMNS = [entry.name for entry in fields(EpochMetrics)]


def write_metrics(history: list[EpochMetrics], path: Path) -> None:
    """Write all epochs as CSV; numbers are written so that reading gives the same bits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(["" if value is None else repr(value) for value in asdict(row).values()] for row in history)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def read_metrics(path: Path) -> list[EpochMetrics]:
    """Read what `write_metrics` wrote. Raises `CheckpointError` for a file that is something else."""
    try:
        head, *rows = csv.reader(io.StringIO(read_text(path)))
        _check_columns(head)
        return [_parsed(*row) for row in rows]
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise CheckpointError(
            f"a table of metrics with the columns {', '.join(_COLUMNS)}",
            f"{path}: {error}",
            "Resume the run: that writes the table again from the checkpoint.",
        ) from error


def _check_columns(head: list[str]) -> None:
    if head != _COLUMNS:
        raise ValueError(f"columns {', '.join(head)}")


def _parsed(
    epoch: str, step: str, rate: str, train_loss: str, train_accuracy: str, val_loss: str, val_accuracy: str
) -> EpochMetrics:
    return EpochMetrics(
        int(epoch),
        int(step),
        float(rate),
        float(train_loss),
        float(train_accuracy),
        float(val_loss) if val_loss else None,
        float(val_accuracy) if val_accuracy else None,
    )
