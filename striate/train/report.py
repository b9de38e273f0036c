"""Telling how training goes: a live line on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from striate.train.tasks import say_metric

if TYPE_CHECKING:
    from striate.train.progress import EpochMetrics, Sums

_REFRESH_SECONDS = 0.2
_PLAIN_SECONDS = 30.0
_TOLD_WAITING = 0.1  # less than this share of an epoch goes without saying
_BAR = 10  # so that the line fits into 80 columns


class Reporter(Protocol):
    """What a run tells. Steps and epochs are counted from 0; rates are those of this process."""

    def started(self, *, epochs: int, steps_per_epoch: int, step: int, seen: int) -> None:
        """Training begins, or continues, at ``step``, with ``seen`` samples of this epoch done."""

    def stepped(self, step: int, sums: Sums) -> None:
        """``step`` steps are done; ``sums`` are those of the epoch under way."""

    def fed(self, waited: float) -> None:
        """The training of an epoch is done, of whose time this share was spent waiting for data."""

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        """An epoch and its validation are done; ``best`` if its weights are the best so far."""

    def said(self, message: str) -> None:
        """Something the user should know."""

    def stopped(self) -> None:
        """Training ended, in whatever way."""


class Quiet:
    """Tells nothing."""

    def started(self, *, epochs: int, steps_per_epoch: int, step: int, seen: int) -> None:
        """Stay silent."""

    def stepped(self, step: int, sums: Sums) -> None:
        """Stay silent."""

    def fed(self, waited: float) -> None:
        """Stay silent."""

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        """Stay silent."""

    def said(self, message: str) -> None:
        """Stay silent."""

    def stopped(self) -> None:
        """Stay silent."""


class _Speed:
    """Steps and samples per second since a process began to train."""

    def __init__(self, total: int, step: int, seen: int) -> None:
        self._total, self._first, self._began = total, step, time.perf_counter()
        self._samples, self._counted = 0, seen

    def saw(self, sums: Sums) -> None:
        self._samples += sums.count - self._counted if sums.count >= self._counted else sums.count
        self._counted = sums.count

    def samples_per_second(self) -> float:
        return self._samples / max(time.perf_counter() - self._began, 1e-9)

    def seconds_left(self, step: int) -> float:
        return (time.perf_counter() - self._began) / max(step - self._first, 1) * (self._total - step)


class PlainLines:
    """One line per epoch, and one every half minute within long ones; for logs and pipes.

    >>> reporter = PlainLines(sys.stdout)
    >>> reporter.said("Stopped after step 7.")
    Stopped after step 7.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._epochs, self._steps_per_epoch = 1, 1
        self._speed = _Speed(1, 0, 0)
        self._told = 0.0
        self._waited = 0.0

    def started(self, *, epochs: int, steps_per_epoch: int, step: int, seen: int) -> None:
        """Begin to measure the speed."""
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._speed = _Speed(epochs * steps_per_epoch, step, seen)
        self._told = time.perf_counter()

    def stepped(self, step: int, sums: Sums) -> None:
        """Write a line if the last one is long ago."""
        self._speed.saw(sums)
        now = time.perf_counter()
        if now - self._told >= _PLAIN_SECONDS:
            self._told = now
            batch = (step - 1) % self._steps_per_epoch + 1
            self.said(
                f"epoch {(step - 1) // self._steps_per_epoch + 1}/{self._epochs}, batch {batch}/"
                f"{self._steps_per_epoch}: loss {sums.loss:.4f}, {say_metric(sums.metric, sums.score)}, "
                f"{self._pace(step)}"
            )

    def fed(self, waited: float) -> None:
        """Note it for the epoch's line."""
        self._waited = waited

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        """Write the epoch's line."""
        self._told = time.perf_counter()
        line = epoch_line(metrics, self._epochs, best=best) + _waiting(self._waited)
        self.said(f"{line}, {self._pace(metrics.step)}")

    def said(self, message: str) -> None:
        """Write the message."""
        stream = self._stream if self._stream is not None else sys.stdout
        stream.write(message + "\n")
        stream.flush()

    def stopped(self) -> None:
        """Leave the last line as it is."""

    def _pace(self, step: int) -> str:
        return f"{self._speed.samples_per_second():,.0f} samples/s, {duration(self._speed.seconds_left(step))} left"


class LiveLine:
    """A line at the foot of a terminal that follows the run, with a line above it for every epoch that is done."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console if console is not None else Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._epochs, self._steps_per_epoch = 1, 1
        self._speed = _Speed(1, 0, 0)
        self._drawn = 0.0
        self._waited = 0.0

    def started(self, *, epochs: int, steps_per_epoch: int, step: int, seen: int) -> None:
        """Show the line."""
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._speed = _Speed(epochs * steps_per_epoch, step, seen)
        self._live.start()

    def stepped(self, step: int, sums: Sums) -> None:
        """Redraw the line a few times a second."""
        self._speed.saw(sums)
        now = time.perf_counter()
        if now - self._drawn < _REFRESH_SECONDS:
            return
        self._drawn = now
        done = (step - 1) % self._steps_per_epoch + 1
        filled = round(_BAR * done / self._steps_per_epoch)
        self._live.update(
            Text.assemble(
                f"epoch {(step - 1) // self._steps_per_epoch + 1}/{self._epochs} ",
                ("━" * filled, "green"),
                ("━" * (_BAR - filled), "bright_black"),
                f" loss {sums.loss:.4f}  {say_metric(sums.metric, sums.score)}  "
                f"{self._speed.samples_per_second():,.0f} samples/s  {duration(self._speed.seconds_left(step))} left",
            ),
            refresh=True,
        )

    def fed(self, waited: float) -> None:
        """Note it for the epoch's line."""
        self._waited = waited

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        """Print the epoch's line above the live one."""
        self.said(epoch_line(metrics, self._epochs, best=best) + _waiting(self._waited))

    def said(self, message: str) -> None:
        """Print a message above the live line."""
        self._console.print(message, markup=False, highlight=False)

    def stopped(self) -> None:
        """Take the line away."""
        self._live.stop()


def default_reporter() -> Reporter:
    """Return a live line if standard output is a terminal, plain lines if not.

    >>> reporter = default_reporter()
    """
    return LiveLine() if sys.stdout.isatty() else PlainLines()


def epoch_line(metrics: EpochMetrics, epochs: int, *, best: bool) -> str:
    """Describe an epoch in one line: losses, the running score, and the most telling validation metric.

    >>> from striate.train.progress import EpochMetrics
    >>> named = {"train_loss": 0.25, "train_accuracy": 0.9, "val_loss": 0.2, "val_accuracy": 0.95, "val_auroc": 0.99}
    >>> epoch_line(EpochMetrics(2, 46, 0.001, named), 12, best=True)
    'epoch 2/12: loss 0.2500, accuracy 90.00%; validation loss 0.2000, accuracy 95.00% (best)'
    """
    trained = [name for name in metrics if name.startswith("train_")]
    validated = [name for name in metrics if name.startswith("val_")]
    same = [name.replace("train_", "val_") for name in trained]
    chosen = dict.fromkeys(
        [name for name in same if name in metrics] + [name for name in validated if name != "val_loss"][:1]
    )
    line = f"epoch {metrics.epoch}/{epochs}: {', '.join(say_metric(name, metrics[name]) for name in trained)}"
    if not validated:
        return line
    line += f"; validation {', '.join(say_metric(name, metrics[name]) for name in chosen)}"
    return f"{line} (best)" if best else line


def _waiting(share: float) -> str:
    return f", {share:.0%} waiting for data" if share >= _TOLD_WAITING else ""


def duration(seconds: float) -> str:
    """Write a length of time as people say it.

    >>> duration(42.4), duration(150), duration(7300)
    ('42 s', '2 min 30 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
