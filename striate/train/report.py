"""Telling how training goes: a live line on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from striate.train.progress import EpochMetrics, Sums

_REFRESH_SECONDS = 0.2
_PLAIN_SECONDS = 30.0
_BAR = 10  # so that the line fits into 80 columns


class Reporter(Protocol):
    """What a run tells. Steps and epochs are counted from 0; rates are those of this process."""

    def started(self, *, epochs: int, steps_per_epoch: int, step: int, seen: int) -> None:
        """Training begins, or continues, at ``step``, with ``seen`` samples of this epoch done."""

    def stepped(self, step: int, sums: Sums) -> None:
        """``step`` steps are done; ``sums`` are those of the epoch under way."""

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

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        """Stay silent."""

    def said(self, message: str) -> None:
        """Stay silent."""

    def stopped(self) -> None:
        """Stay silent."""


class _Speed:
    """Steps and images per second since a process began to train."""

    def __init__(self, total: int, step: int, seen: int) -> None:
        self._total, self._first, self._began = total, step, time.perf_counter()
        self._images, self._counted = 0, seen

    def saw(self, sums: Sums) -> None:
        self._images += sums.count - self._counted if sums.count >= self._counted else sums.count
        self._counted = sums.count

    def images_per_second(self) -> float:
        return self._images / max(time.perf_counter() - self._began, 1e-9)

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
                f"{self._steps_per_epoch}: loss {sums.loss:.4f}, accuracy {sums.accuracy:.2%}, {self._pace(step)}"
            )

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        """Write the epoch's line."""
        self._told = time.perf_counter()
        self.said(f"{epoch_line(metrics, self._epochs, best=best)}, {self._pace(metrics.step)}")

    def said(self, message: str) -> None:
        """Write the message."""
        stream = self._stream if self._stream is not None else sys.stdout
        stream.write(message + "\n")
        stream.flush()

    def stopped(self) -> None:
        """Leave the last line as it is."""

    def _pace(self, step: int) -> str:
        return f"{self._speed.images_per_second():,.0f} images/s, {duration(self._speed.seconds_left(step))} left"


class LiveLine:
    """A line at the foot of a terminal that follows the run, with a line above it for every epoch that is done."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console if console is not None else Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._epochs, self._steps_per_epoch = 1, 1
        self._speed = _Speed(1, 0, 0)
        self._drawn = 0.0

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
                f" loss {sums.loss:.4f}  accuracy {sums.accuracy:.2%}  "
                f"{self._speed.images_per_second():,.0f} images/s  {duration(self._speed.seconds_left(step))} left",
            ),
            refresh=True,
        )

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        """Print the epoch's line above the live one."""
        self.said(epoch_line(metrics, self._epochs, best=best))

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
    """Describe an epoch in one line.

    >>> from striate.train.progress import EpochMetrics
    >>> epoch_line(EpochMetrics(2, 46, 0.001, 0.25, 0.9, val_loss=0.2, val_accuracy=0.95), 12, best=True)
    'epoch 2/12: loss 0.2500, accuracy 90.00%; validation 0.2000, 95.00% (best)'
    """
    line = f"epoch {metrics.epoch}/{epochs}: loss {metrics.train_loss:.4f}, accuracy {metrics.train_accuracy:.2%}"
    if metrics.val_loss is None or metrics.val_accuracy is None:
        return line
    line += f"; validation {metrics.val_loss:.4f}, {metrics.val_accuracy:.2%}"
    return f"{line} (best)" if best else line


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
