"""Runs in Weights & Biases, online or, with WANDB_MODE=offline, in files that ``wandb sync`` sends later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from striate.train.loggers.settings import LoggerSettings
    from striate.train.progress import EpochMetrics

_WAIT_SECONDS = 30.0


class WeightsAndBiases:
    """A run in Weights & Biases; see `Logger`. Its files are in ``wandb`` in the run's folder."""

    def __init__(self, settings: LoggerSettings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._run: Any = None

    def begin(self, known: str | None, name: str, settings: Mapping[str, Any]) -> tuple[str, str]:
        """Begin a run, or go on with the known one."""
        import wandb

        # What is printed stays as it is, and an account that is not known is asked for only so long.
        options: dict[str, Any] = {
            "silent": True,
            "console": "off",
            "init_timeout": _WAIT_SECONDS,
            "login_timeout": _WAIT_SECONDS,
            "finish_timeout": _WAIT_SECONDS,
        }
        if self._settings.address:
            options["base_url"] = self._settings.address
        self._run = wandb.init(
            project=self._settings.project,
            name=name,
            dir=str(self._folder),
            config=dict(settings),
            id=known,
            resume="allow" if known is not None else None,
            settings=wandb.Settings(**options),
        )
        return str(self._run.id), str(self._run.dir if self._run.offline else self._run.url)

    def log(self, rows: Sequence[EpochMetrics]) -> None:
        """Add the metrics of epochs, which are its steps."""
        for row in rows:
            self._run.log({**row, "epoch": row.epoch, "learning_rate": row.learning_rate}, step=row.epoch)

    def end(self, results: Mapping[str, float], *, finished: bool) -> None:
        """Add numbers about the whole run and close it."""
        self._run.summary.update(dict(results))
        self._run.finish(exit_code=0 if finished else 1)
