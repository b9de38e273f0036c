"""The curves of a run as TensorBoard shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorboardX.event_file_writer import EventsWriter  # type: ignore[import-untyped]  # no type information
from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboardX.summary import scalar  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from pathlib import Path

    from striate.train.progress import EpochMetrics, Progress


class Curves:
    """TensorBoard events in a folder, written again from the progress of a run when it resumes.

    Events that are on disk may be ahead of the checkpoint that a run resumes from; since the progress holds all that
    was drawn, the old files go and nothing is drawn twice. Every method raises `OSError` where the system refuses to
    write: tensorboardX's `SummaryWriter` would write on a thread, and wait for ever when that has died of a full disk.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        folder.mkdir(exist_ok=True)
        for stale in folder.glob("events.out.tfevents.*"):
            stale.unlink()
        self._writer = EventsWriter(str(folder / "events"))
        for step, loss, learning_rate, when in progress.losses:
            self.draw_step(step, loss, learning_rate, when)
        for row, (when, _) in zip(progress.history, progress.times, strict=True):
            self.draw_epoch(row, when)

    def draw_step(self, step: int, loss: float, learning_rate: float, when: float) -> None:
        """Draw the loss and the learning rate of one step."""
        self._draw("step/loss", loss, step, when)
        self._draw("step/learning_rate", learning_rate, step, when)

    def draw_epoch(self, row: EpochMetrics, when: float) -> None:
        """Draw the metrics of one epoch, at the step where it ended, and write what is left of the steps before."""
        for name, value in row.items():
            self._draw(name.replace("_", "/"), value, row.step, when)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def _draw(self, name: str, value: float, step: int, when: float) -> None:
        self._writer.write_event(Event(wall_time=when, step=step, summary=scalar(name, value)))
