"""Where a run stands: its place, the sums of the epoch under way, and the history that its curves are drawn from."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from striate.errors import CheckpointError
from striate.files import replacing
from striate.train.files import read_text

if TYPE_CHECKING:
    from pathlib import Path


class EpochMetrics(dict[str, float]):
    """One row of ``metrics.csv``: the metrics of an epoch by name, such as ``train_loss`` and ``val_accuracy``.

    What could not be measured is not in it. ``step`` counts the steps done by the end of the epoch; ``learning_rate``
    is that of its last step. Training metrics are means over the epoch while the weights change; validation metrics are
    measured at its end. Losses are those that are trained on, shares are from 0 to 1, errors in the units of the data.

    >>> row = EpochMetrics(1, 10, 0.1, {"train_loss": 0.5})
    >>> row.epoch, row["train_loss"], row.get("val_loss")
    (1, 0.5, None)
    """

    def __init__(self, epoch: int, step: int, learning_rate: float, metrics: dict[str, float]) -> None:
        super().__init__(metrics)
        self.epoch, self.step, self.learning_rate = epoch, step, learning_rate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EpochMetrics) and self.state() == other.state()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def state(self) -> tuple[int, int, float, dict[str, float]]:
        """The row in plain types, as its constructor takes them."""
        return self.epoch, self.step, self.learning_rate, dict(self)


@dataclass
class Sums:
    """Running sums of a pass over samples: their loss, and the score called ``metric``, a sum through a sum.

    >>> sums = Sums()
    >>> sums.add(loss=0.5, count=2, score=(1, 2))
    >>> sums.loss, sums.score
    (0.5, 0.5)
    """

    metric: str = "accuracy"
    loss_sum: float = 0.0
    count: int = 0
    above: float = 0.0
    below: float = 0.0

    def add(self, *, loss: float, count: int, score: tuple[float, float]) -> None:
        """Add a batch: its mean loss, its size, and the two numbers of its score."""
        self.loss_sum += loss * count
        self.count += count
        self.above += score[0]
        self.below += score[1]

    def merge(self, other: Sums) -> None:
        """Add what was summed of other samples."""
        self.loss_sum += other.loss_sum
        self.count += other.count
        self.above += other.above
        self.below += other.below

    @property
    def loss(self) -> float:
        """The mean loss of the samples so far."""
        return self.loss_sum / self.count

    @property
    def score(self) -> float:
        """The running score of the samples so far; 0 where there is nothing to count."""
        return self.above / self.below if self.below else 0.0


@dataclass
class Progress:
    """The place of a run, all counts from 0: ``batch`` steps of epoch ``epoch`` are done, ``step`` steps in all.

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
        plain = {name: value for name, value in vars(self).items() if name not in ("sums", "history")}
        return {**plain, "sums": asdict(self.sums), "history": [row.state() for row in self.history]}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Progress:
        """Rebuild a progress from `state_dict`.

        >>> Progress.from_state_dict(Progress(epoch=3).state_dict()).epoch
        3
        """
        rows = [EpochMetrics(*row) for row in state["history"]]
        return cls(**{**state, "sums": Sums(**state["sums"]), "history": rows})


# metrics.csv ---------------------------------------------------------------------------------------------------------

_PLACE = ("epoch", "step", "learning_rate")


def write_metrics(history: list[EpochMetrics], columns: tuple[str, ...], path: Path) -> None:
    """Write all epochs as CSV, a column per metric; numbers are written so that reading gives the same bits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_PLACE, *columns])
    for row in history:
        cells = (row.epoch, row.step, row.learning_rate, *map(row.get, columns))
        writer.writerow(["" if value is None else repr(value) for value in cells])
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def read_metrics(path: Path) -> list[EpochMetrics]:
    """Read what `write_metrics` wrote. Raises `CheckpointError` for a file that is something else."""
    try:
        head, *rows = csv.reader(io.StringIO(read_text(path)))
        _check_columns(head)
        return [_parsed(head, row) for row in rows]
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise CheckpointError(
            f"a table of metrics with the columns {', '.join(_PLACE)} and train_loss",
            f"{path}: {error}",
            "Resume the run: that writes the table again from the checkpoint.",
        ) from error


def _check_columns(head: list[str]) -> None:
    if tuple(head[:4]) != (*_PLACE, "train_loss") or len(set(head)) < len(head):
        raise ValueError(f"columns {', '.join(head)}")


def _parsed(head: list[str], cells: list[str]) -> EpochMetrics:
    named = dict(zip(head, cells, strict=True))
    epoch, step, rate = (named.pop(name) for name in _PLACE)
    metrics = {name: float(cell) for name, cell in named.items() if cell}
    return EpochMetrics(int(epoch), int(step), float(rate), metrics)
