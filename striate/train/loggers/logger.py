"""What every tracker offers, and how one is opened by its name."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Protocol

from striate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from striate.train.loggers.settings import LoggerName, LoggerSettings
    from striate.train.progress import EpochMetrics


class Logger(Protocol):
    """One run in a tracker. Every method may raise whatever its library raises where a server is away."""

    def begin(self, known: str | None, name: str, settings: Mapping[str, Any]) -> tuple[str, str]:
        """Begin a run, or go on with the ``known`` one; return what it is known by, and where people see it."""

    def log(self, rows: Sequence[EpochMetrics]) -> None:
        """Add the metrics of epochs, in order, none of which was added before."""

    def end(self, results: Mapping[str, float], *, finished: bool) -> None:
        """Add numbers about the run as a whole, and close it."""


def open_logger(name: LoggerName, settings: LoggerSettings, folder: Path) -> Logger:
    """Open a tracker for the run in ``folder``; nothing is sent yet."""
    if name == "mlflow":
        from striate.train.loggers.mlflow import MLflow

        return MLflow(settings)
    from striate.train.loggers.wandb import WeightsAndBiases

    return WeightsAndBiases(settings, folder)


def check_installed(settings: LoggerSettings) -> None:
    """Check that the libraries asked for are there, without importing them. Raises `ConfigError`."""
    for name in settings.names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"the library {name}, which loggers.names asks for",
                "an installation without it",
                f"Run: pip install 'striate[{name}]'",
            )
