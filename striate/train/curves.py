"""The curves of a run as TensorBoard shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorboardX import SummaryWriter  # type: ignore[import-untyped]  # the package has no type information

if TYPE_CHECKING:
    from pathlib import Path

    from striate.train.progress import EpochMetrics, Progress


class Curves:
    """TensorBoard events in a folder, written again from the progress of a run when it resumes.

    Events that are on disk may be ahead of the checkpoint that a run resumes from; since the progress holds all that
    was drawn, the old files go and nothing is drawn twice.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        folder.mkdir(exist_ok=True)
        for stale in folder.glob("events.out.tfevents.*"):
            stale.unlink()
        self._writer = SummaryWriter(str(folder), flush_secs=10)
        for step, loss, learning_rate, when in progress.losses:
            self.draw_step(step, loss, learning_rate, when)
        for row, (when, _) in zip(progress.history, progress.times, strict=True):
            self.draw_epoch(row, when)

    def draw_step(self, step: int, loss: float, learning_rate: float, when: float) -> None:
        """Draw the loss and the learning rate of one step."""
        self._writer.add_scalar("step/loss", loss, step, walltime=when)
        self._writer.add_scalar("step/learning_rate", learning_rate, step, walltime=when)

    def draw_epoch(self, row: EpochMetrics, when: float) -> None:
        """Draw the metrics of one epoch, at the step where it ended."""
        for name, value in row.values().items():
            self._writer.add_scalar(name.replace("_", "/"), value, row.step, walltime=when)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
