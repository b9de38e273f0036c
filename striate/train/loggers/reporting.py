"""A reporter that also tells trackers. What a server misses while it is away is sent at the end, or on resume."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from striate.errors import StriateError
from striate.train.dotted import flat_settings
from striate.train.folder import METRICS, RESULT, read_json, write_json
from striate.train.loggers.logger import check_installed, open_logger
from striate.train.progress import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from striate.train.config import RunConfig
    from striate.train.loggers.logger import Logger
    from striate.train.loggers.settings import LoggerName, LoggerSettings
    from striate.train.progress import EpochMetrics, Sums
    from striate.train.report import Reporter
    from striate.train.run import Run

LOGGERS = "loggers.json"
"""What each tracker knows a run by, and how many epochs it has been told."""


def logged(reporter: Reporter, settings: LoggerSettings, config: RunConfig, folder: Path) -> Reporter:
    """Make a reporter tell the trackers that a run asks for, too; without any it is returned as it is.

    Raises `ConfigError` for a tracker whose library is not installed. Nothing else ends a run: where a tracker cannot
    be told, the reporter says so, and it is tried once more at the end.

    >>> from pathlib import Path
    >>> from striate.train import Quiet, RunConfig
    >>> from striate.train.loggers.settings import LoggerSettings
    >>> quiet = Quiet()
    >>> logged(quiet, LoggerSettings(), RunConfig(model="lenet", data="digits"), Path("runs/a")) is quiet
    True
    """
    check_installed(settings)
    return _Logged(reporter, settings, config, folder) if settings.names else reporter


def log_results(run: Run, settings: LoggerSettings, results: Mapping[str, float], say: Callable[[str], None]) -> None:
    """Add numbers about a whole run, such as those of the test part, where it has been told before.

    What goes wrong is said, and not raised.
    """
    for name in settings.names:
        account = _Account(name, settings, run.folder, str(run.folder.name), {}, say)
        if account.known is not None:
            with account.forgiven("told the results"):
                account.open()
                account.logger.end(dict(results), finished=bool(run.finished))


class _Logged:
    """Passes on what a run tells to a reporter and to trackers."""

    def __init__(self, reporter: Reporter, settings: LoggerSettings, config: RunConfig, folder: Path) -> None:
        self._reporter, self._folder = reporter, folder
        plain = flat_settings(config)
        self._accounts = [
            _Account(name, settings, folder, folder.resolve().name, plain, reporter.said)
            for name in dict.fromkeys(settings.names)
        ]

    def started(self, *, epochs: int, steps_per_epoch: int, step: int, seen: int) -> None:
        history: list[EpochMetrics] = []
        with contextlib.suppress(StriateError):
            history = read_metrics(self._folder / METRICS)
        for account in self._accounts:
            account.unsent = [row for row in history if row.epoch > account.told]
            with account.forgiven("told of this run"):
                account.reporter(f"{account.name}: {account.open()}")
                account.send()
        self._reporter.started(epochs=epochs, steps_per_epoch=steps_per_epoch, step=step, seen=seen)

    def stepped(self, step: int, sums: Sums) -> None:
        self._reporter.stepped(step, sums)

    def fed(self, waited: float) -> None:
        self._reporter.fed(waited)

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        self._reporter.epoch_ended(metrics, best=best)
        for account in self._accounts:
            if metrics.epoch > account.told:
                account.unsent.append(metrics)
            if not account.away:
                with account.forgiven("told of this epoch"):
                    account.send()

    def said(self, message: str) -> None:
        self._reporter.said(message)

    def stopped(self) -> None:
        self._reporter.stopped()
        finished, results = _ending(self._folder)
        for account in self._accounts:
            with account.forgiven("told how the run ended"):
                account.open()
                account.send()
                account.logger.end(results, finished=finished)


@dataclass
class _Account:
    """A run as one tracker knows it, and what it has not been told yet."""

    name: LoggerName
    settings: LoggerSettings
    folder: Path
    title: str
    config: dict[str, Any]
    reporter: Callable[[str], None]
    away: bool = False
    unsent: list[EpochMetrics] = field(default_factory=list)
    _logger: Logger | None = None

    @property
    def known(self) -> str | None:
        """What the tracker knows the run by, None if it does not yet."""
        run = self._entry().get("run")
        return run if isinstance(run, str) else None

    @property
    def told(self) -> int:
        """The last epoch that the tracker has been told."""
        epochs = self._entry().get("epochs")
        return epochs if isinstance(epochs, int) else 0

    @property
    def logger(self) -> Logger:
        """The open tracker."""
        if self._logger is None:
            self._logger = open_logger(self.name, self.settings, self.folder)
        return self._logger

    def open(self) -> str:
        """Begin the run in the tracker, or go on with it; return where people see it."""
        if self._logger is not None and not self.away:
            return ""
        self._logger = None
        run, address = self.logger.begin(self.known, self.title, self.config)
        self.away = False
        self._enter(run, self.told)
        return address

    def send(self) -> None:
        """Send every epoch that the tracker has not been told."""
        if self.unsent:
            self.logger.log(self.unsent)
            self._enter(self.known or "", self.unsent[-1].epoch)
            self.unsent = []

    @contextlib.contextmanager
    def forgiven(self, what: str) -> Iterator[None]:
        """Say what goes wrong instead of raising it: a tracker that is away ends no run."""
        try:
            yield
        except Exception as error:  # of any library, and of whatever is between here and a server
            self.away = True
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.reporter(f"Warning: {self.name} could not be {what}: {reason}")

    def _entry(self) -> dict[str, Any]:
        entry = self._file().get(self.name)
        return entry if isinstance(entry, dict) else {}

    def _file(self) -> dict[str, Any]:
        path = self.folder / LOGGERS
        try:
            return read_json(path) if path.exists() else {}
        except StriateError:
            return {}

    def _enter(self, run: str, epochs: int) -> None:
        write_json(self._file() | {self.name: {"run": run, "epochs": epochs}}, self.folder / LOGGERS)


def _ending(folder: Path) -> tuple[bool, dict[str, float]]:
    """Whether the run is finished, and the numbers about it as a whole."""
    from striate.train.run import Run

    try:
        run = Run.open(folder)
    except StriateError:
        return False, {}
    results: dict[str, float] = {}
    if run.best is not None:
        results = {"best_epoch": float(run.best.epoch)} | {f"best_{name}": value for name, value in run.best.items()}
    if (folder / RESULT).exists():
        results["seconds"] = run.seconds
    return bool(run.finished), results
