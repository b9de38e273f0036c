"""The files of a run as they come about while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.memory import peak_bytes
from striate.train.checkpoint import save_checkpoint, save_weights, weights_of
from striate.train.curves import Curves
from striate.train.folder import (
    BEST,
    CHECKPOINT,
    CONFIG,
    CURVES,
    ENVIRONMENT,
    LAST,
    METRICS,
    RESULT,
    describe_environment,
    enter_environment,
    write_json,
    written,
)
from striate.train.progress import write_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from striate.train.checkpoint import TrainingState, Weights
    from striate.train.config import RunConfig
    from striate.train.network import Network
    from striate.train.processes import Processes
    from striate.train.progress import EpochMetrics


class Records:
    """Keeps the files of a run. Of several processes the first does, and in the others nothing happens.

    The checkpoint is the whole truth, and all other files follow from it. Raises `RunError` where the system refuses
    to write.
    """

    def __init__(self, folder: Path, columns: tuple[str, ...], state: TrainingState, processes: Processes) -> None:
        self._folder, self._columns, self._state = folder, columns, state
        self._processes, self._writes = processes, processes.first
        self._curves: Curves | None = None

    def begin(self, config: RunConfig, network: Network) -> None:
        """Write what is known before training, and once more what a killed process may have left unwritten."""
        last = self._last()
        if not self._writes:
            return
        with written(self._folder):
            if not (self._folder / CONFIG).exists():
                config.save(self._folder / CONFIG)
            network.save(self._folder)
            self._write_derived(last)

    def enter(self) -> list[str]:
        """Note another session of training; say in what it differs from the first, as far as that matters."""
        if not self._writes:
            return []
        with written(self._folder):
            environment = describe_environment(self._processes.fabric.device, self._processes.count)
            changed = enter_environment(self._folder / ENVIRONMENT, environment)
            self._curves = Curves(self._folder / CURVES, self._state.progress)
        return changed

    def draw_step(self) -> None:
        """Draw the last of the losses."""
        if self._curves is not None:
            with written(self._folder):
                self._curves.draw_step(*self._state.progress.losses[-1])

    def epoch_ended(self, row: EpochMetrics) -> None:
        """Enter an epoch."""
        if self._curves is not None:
            progress = self._state.progress
            with written(self._folder):
                write_metrics(progress.history, self._columns, self._folder / METRICS)
                self._curves.draw_epoch(row, progress.times[-1][0])

    def save(self, others: Sequence[dict[str, Any]]) -> None:
        """Write the checkpoint and what follows from it."""
        if not self._writes and not self._processes.sharded:
            return
        content, last = self._state.content(others), self._last()
        if not self._writes:
            return
        with written(self._folder):
            save_checkpoint(content, self._folder / CHECKPOINT)
            self._write_derived(last)

    def save_best(self) -> None:
        """Write the best weights alone, of which the checkpoint may know nothing yet."""
        if self._writes and self._state.best:
            with written(self._folder):
                save_weights(self._state.best, self._folder / BEST)

    def close(self) -> None:
        """Write what is left of the curves."""
        if self._curves is not None:
            with written(self._folder):
                self._curves.close()

    def _last(self) -> Weights | None:
        """The weights of the last step, which sharded networks take all processes to put together."""
        if not self._state.progress.step or not (self._writes or self._processes.sharded):
            return None
        return weights_of(self._state.average.module)

    def _write_derived(self, last: Weights | None) -> None:
        """Write the files that follow from the checkpoint; a process killed in between leaves them to the next."""
        state, progress = self._state, self._state.progress
        write_metrics(progress.history, self._columns, self._folder / METRICS)
        if last is not None:
            save_weights(last, self._folder / LAST)
        if state.best:
            save_weights(state.best, self._folder / BEST)
        if progress.finished:
            result = {
                "finished": progress.finished,
                "best_epoch": progress.best_epoch,
                "seconds": progress.seconds,
                "peak_bytes": peak_bytes(),
            }
            write_json(result, self._folder / RESULT)
