"""The trials of a search, kept by Optuna in a database that several processes may share."""

from __future__ import annotations

import platform
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from filelock import FileLock, Timeout

from striate.errors import ConfigError
from striate.train.campaigns.folder import only_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

    from striate.train.campaigns.space import Space

DATABASE = "study.db"
Pruner: TypeAlias = Literal["median", "halving", "none"]
_ENOUGH = 10
"""Complete trials from which it can be said what makes a difference."""

_WAIT_SECONDS = 120.0
"""For another process that is picking its next trial, or writing to SQLite."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of values that was tried.

    ``state`` is "complete", "pruned" (given up early, or diverged), "failed" or "running"; ``value`` is the metric of
    its best epoch, of a pruned one that of its last, or None. ``note`` says why it failed.
    """

    number: int
    state: str
    value: float | None
    settings: dict[str, Any]
    folder: Path
    seconds: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A trial that this process alone works on, as long as it holds the lock."""

    trial: optuna.Trial
    folder: Path
    reported: frozenset[int]
    """The epochs that were told before it was interrupted."""


class Trials:
    """The trials in a database: SQLite in the campaign's folder, or that of a server, by its URL.

    Each trial's values follow from the seed, its number and the trials before it: a search by one process gives the
    same trials, however often it is stopped. To open them the campaign's folder must be held, as two processes cannot
    make the tables at once. Raises `ConfigError` for a database that cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        *,
        url: str | None,
        name: str,
        maximise: bool,
        seed: int,
        pruner: Pruner,
        epochs: int,
    ) -> None:
        import_optuna()
        import optuna

        self._folder, self._space, self._is_local = folder, space, url is None
        self.study: optuna.study.Study = optuna.create_study(
            storage=_storage(url if url is not None else f"sqlite:///{(folder / DATABASE).resolve()}"),
            study_name=name,
            direction="maximize" if maximise else "minimize",
            sampler=_sampler(seed),
            pruner=_pruner(pruner, epochs),
            load_if_exists=True,
        )

    @contextmanager
    def claim(self, most: int) -> Iterator[Claimed | None]:
        """Hold the next trial to work on: one that was interrupted on this machine, or a new one.

        None if there are ``most`` trials already.
        """
        with only_here(self._folder, seconds=_WAIT_SECONDS):
            claimed, lock = self._next(most)
        try:
            yield claimed
        finally:
            if lock is not None:
                lock.release()

    def _next(self, most: int) -> tuple[Claimed | None, FileLock | None]:
        import optuna

        frozen = self.study.get_trials(deepcopy=False)
        for each in frozen:
            if each.state is optuna.trial.TrialState.RUNNING and (lock := self._orphaned(each)):
                # Optuna has no public way back into a trial.
                trial = optuna.Trial(self.study, each._trial_id)  # noqa: SLF001
                return Claimed(trial, self._place(each), frozenset(each.intermediate_values)), lock
        if sum(each.state is not optuna.trial.TrialState.FAIL or "note" in each.user_attrs for each in frozen) >= most:
            return None, None
        trial = self.study.ask()
        folder = self._folder / f"trial-{trial.number}"
        lock = self._lock(trial.number)
        lock.acquire(timeout=0)
        trial.set_user_attr("machine", platform.node())
        trial.set_user_attr("folder", str(folder.resolve()))
        return Claimed(trial, folder, frozenset()), lock

    def _orphaned(self, trial: optuna.trial.FrozenTrial) -> FileLock | None:
        """The lock of a trial whose process has ended; None if it goes on, here or on another machine."""
        if not self._is_local and trial.user_attrs.get("machine") != platform.node():
            return None
        lock = self._lock(trial.number)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def _lock(self, number: int) -> FileLock:
        return FileLock(self._folder / f".trial-{number}.lock")

    def _place(self, trial: optuna.trial.FrozenTrial) -> Path:
        # A folder of SQLite's own may have been moved; one of another machine is not here at all.
        here = self._folder / f"trial-{trial.number}"
        told = trial.user_attrs.get("folder")
        return here if self._is_local or not isinstance(told, str) else Path(told)

    def all(self) -> tuple[Trial, ...]:
        """Every trial so far, in the order in which they were begun."""
        import optuna

        states = {
            optuna.trial.TrialState.COMPLETE: "complete",
            optuna.trial.TrialState.PRUNED: "pruned",
            optuna.trial.TrialState.FAIL: "failed",
        }
        return tuple(
            Trial(
                each.number,
                states.get(each.state, "running"),
                each.value,
                self._space.values(each.params),
                self._place(each),
                each.user_attrs.get("seconds"),
                each.user_attrs.get("note", ""),
            )
            for each in self.study.get_trials(deepcopy=False)
        )

    def importances(self) -> dict[str, float]:
        """How much of the metric's variation each setting explains, together 1; empty for too few trials.

        Source: Watanabe, Bansal and Hutter, PED-ANOVA: efficiently quantifying hyperparameter importance, 2023.
        """
        import optuna

        complete = [each for each in self.all() if each.state == "complete"]
        if len(complete) < _ENOUGH or len({each.value for each in complete}) < 2:
            return {}
        return dict(optuna.importance.get_param_importances(self.study))


def import_optuna() -> Any:
    """Import Optuna. Raises `ConfigError` where it is not installed.

    >>> import_optuna().__name__
    'optuna'
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigError(
            "the library optuna, which searches", "an installation without it", "Run: pip install 'striate[search]'"
        ) from error
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from telling of every trial; what it is set to is put back."""
    optuna = import_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def without_password(url: str | None) -> str:
    """Name a database so that the name can be kept in a file. Raises `ConfigError` for what is no URL.

    >>> without_password("postgresql://me:secret@host/studies"), without_password(None)
    ('postgresql://me:***@host/studies', 'study.db')
    """
    if url is None:
        return DATABASE
    import_optuna()
    import sqlalchemy

    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError as error:
        raise ConfigError(
            "the URL of a database", repr(url), "Use postgresql://user@host/name, for example."
        ) from error


def _storage(url: str) -> Any:
    import optuna
    import sqlalchemy

    arguments = {"timeout": _WAIT_SECONDS} if url.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": arguments})
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, RuntimeError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ConfigError(
            "a database that can be used", f"{without_password(url)}: {reason}", "Check the URL, and its driver."
        ) from error


def _pruner(name: Pruner, epochs: int) -> Any:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 4)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, epochs // 9), reduction_factor=3)
    if name == "none":
        return optuna.pruners.NopPruner()
    raise ConfigError("a pruner of median, halving or none", f"pruner={name!r}", "Choose one of them.")


def _sampler(seed: int) -> Any:
    import optuna

    class SeededByNumber(optuna.samplers.BaseSampler):
        """The tree-structured Parzen estimator, begun anew for each trial with the seed and the trial's number.

        Kept over trials, its random numbers would start again whenever a search goes on, and draw the same values.
        """

        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            # Far apart for neighbouring numbers and seeds, and within what NumPy takes.
            mixed = (seed * 0x9E3779B1 + trial.number * 0x85EBCA77) % 2**32
            self._inner = optuna.samplers.TPESampler(seed=mixed)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._inner.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._inner.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: Any, param_distribution: Any) -> Any:
            return self._inner.sample_independent(study, trial, param_name, param_distribution)

    return SeededByNumber()
