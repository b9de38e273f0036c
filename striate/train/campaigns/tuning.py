"""Searching for good settings: trials that learn from each other, where only the validation part decides."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import ConfigError, DivergedError, ModelError, StoppedError
from striate.files import replacing
from striate.train.best import rises
from striate.train.campaigns.folder import SUMMARY, begun, check_campaign, check_same, only_here
from striate.train.campaigns.results import evaluated
from striate.train.campaigns.space import Space, default_space
from striate.train.campaigns.trials import Pruner, Trial, Trials, import_optuna, quiet, without_password
from striate.train.dotted import with_settings
from striate.train.folder import CONFIG, write_json
from striate.train.loop import fit, load
from striate.train.report import default_reporter
from striate.train.run import Run
from striate.train.settling import settled, with_absolute_paths

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    import optuna

    from striate.data import Dataset
    from striate.train.campaigns.trials import Claimed
    from striate.train.config import RunConfig
    from striate.train.progress import EpochMetrics, Sums
    from striate.train.report import Reporter

BEST_CONFIG = "best.toml"
TABLE = "trials.csv"
_WAIT_SECONDS = 600.0
"""For another process that is testing the best trial."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a search has found so far.

    ``best`` is the trial with the best value of ``metric``, ``config`` its settings, and ``test`` its metrics on the
    test part, empty while trials are running. ``importances`` says how much of the metric each setting explains.
    """

    folder: Path
    metric: str
    trials: tuple[Trial, ...]
    best: Trial | None
    config: RunConfig | None
    test: dict[str, float]
    importances: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """What ``summary.json`` holds, in the plain types of JSON."""
        states = [trial.state for trial in self.trials]
        return {
            "metric": self.metric,
            "trials": {state: states.count(state) for state in sorted(set(states))},
            "best": None
            if self.best is None
            else {"run": self.best.folder.name, "value": self.best.value, "settings": self.best.settings},
            "test": self.test,
            "importances": self.importances,
        }


def search(
    config: RunConfig,
    folder: str | PathLike[str],
    *,
    space: Space | None = None,
    trials: int = 30,
    metric: str = "auto",
    pruner: Pruner = "median",
    storage: str | None = None,
    study: str | None = None,
    reporter: Reporter | None = None,
) -> Search:
    """Try settings, up to so many ``trials`` in all, and find those with the best ``metric`` of the validation part.

    The first ten trials are drawn at random and the others by the tree-structured Parzen estimator from what was
    learned so far, all from the configuration's seed. After every epoch a trial that does worse than others did at that
    time is given up: worse than their ``median``, or by successive ``halving``. ``space`` is `default_space` if none is
    given. ``metric`` is a column of ``metrics.csv``; "auto" is the usual one of the task.

    Each trial is a run in ``trial-0``, ``trial-1``, ...; ``trials.csv`` has a line for each, ``best.toml`` the settings
    of the best, ``summary.json``, ``history.png`` and ``parallel.png`` the rest. When no trial is left, the best is
    measured on the test part. A search that was stopped or killed goes on where it was, in the middle of an epoch too,
    and one that has ended goes on with more trials. Several processes may search in one folder; they share a database,
    SQLite in the folder, or, for several machines, ``storage``, the URL of a server's, where the search is called
    ``study`` (by default as the folder).

    Raises `ConfigError` for a space, metric, database or number of trials that cannot be used, `StoppedError` when
    asked to stop, and what `fit` raises, except that a trial that diverges counts as a bad one.

    Source: Bergstra, Bardenet, Bengio and Kegl, Algorithms for hyper-parameter optimization, 2011. Akiba and others,
    Optuna: a next-generation hyperparameter optimization framework, 2019.

    ::

        search(RunConfig(model="lenet", data="digits28", epochs=5), "runs/search", trials=20).best.settings
    """
    folder = Path(folder)
    import_optuna()
    if type(trials) is not int or trials < 1:
        raise ConfigError("a number of trials of 1 or more", f"trials={trials!r}", "Use 30.")
    asked = asked_for(space, metric, storage)
    config = with_absolute_paths(config)
    check_campaign(folder, config, asked)
    dataset = load(config)
    metric = _decisive(config, metric, dataset)
    config = with_settings(config, {"best.metric": metric})
    space = (space if space is not None else default_space(config, dataset)).fitted(config)
    with quiet():
        with begun(folder, config, asked, seconds=_WAIT_SECONDS):
            pool = Trials(
                folder,
                space,
                url=storage,
                name=study if study is not None else folder.resolve().name,
                maximise=rises(metric),
                seed=config.seed,
                pruner=pruner,
                epochs=config.epochs,
            )
            _check_study(pool, config, asked | {"space": space.to_dict()})
        searcher = _Searcher(config, dataset, space, metric, pool, default_reporter() if reporter is None else reporter)
        while searcher.try_one(trials):
            with only_here(folder, seconds=_WAIT_SECONDS):
                _write(_found(folder, config, metric, pool))
        return _ended(folder, config, metric, pool, dataset, searcher.reporter)


def asked_for(space: Space | None, metric: str, storage: str | None) -> dict[str, Any]:
    """What a search is beside the settings that all trials share; how many trials there are to be may change.

    >>> asked_for(None, "val_accuracy", None)
    {'kind': 'search', 'metric': 'val_accuracy', 'space': 'default', 'storage': 'study.db'}
    """
    tried = space.to_dict() if space is not None else "default"
    return {"kind": "search", "metric": metric, "space": tried, "storage": without_password(storage)}


def _decisive(config: RunConfig, metric: str, dataset: Dataset) -> str:
    """The metric that decides. Raises `ConfigError` if it is none of the validation part."""
    chosen = config if metric == "auto" else with_settings(config, {"best.metric": metric})
    found = settled(chosen, dataset).best.metric
    if not found.startswith("val_"):
        raise ConfigError(
            "a metric of the validation part, which alone may decide",
            f"{found!r}" + ("" if dataset.val is not None else " without validation samples"),
            "Choose a val_ metric." if dataset.val is not None else "Raise data.val_fraction.",
        )
    return found


def _check_study(pool: Trials, config: RunConfig, asked: dict[str, Any]) -> None:
    """Check that the trials in the database are of this search; on a server a name may have been used before."""
    known = pool.study.user_attrs.get("asked")
    if known is None:
        pool.study.set_user_attr("asked", asked | {"config": config.model_dump(mode="json", exclude_none=True)})
    else:
        check_same(dict(known), config, asked, f"the study {pool.study.study_name}")


class _Searcher:
    """One process of a search."""

    def __init__(
        self, config: RunConfig, dataset: Dataset, space: Space, metric: str, pool: Trials, reporter: Reporter
    ) -> None:
        self.reporter = reporter
        self._config, self._space, self._metric, self._pool = config, space, metric, pool
        # Loaded once, unless it is the data that varies.
        self._dataset = None if _varies_data(space.tried) else dataset

    def try_one(self, most: int) -> bool:
        """Work on the next trial; False if there is none."""
        with self._pool.claim(most) as claimed:
            if claimed is None:
                return False
            self._try(claimed, most)
        return True

    def _try(self, claimed: Claimed, most: int) -> None:
        import optuna

        trial, study = claimed.trial, self._pool.study
        settings = self._space.suggest(trial)
        told = ", ".join(f"{name} {_short(value)}" for name, value in settings.items())
        self.reporter.said(f"trial {trial.number} (of {most}): {told}")
        state: optuna.trial.TrialState | None = None
        try:
            run = self._fit(claimed, settings)
        except StoppedError as error:
            raise StoppedError(
                f"Stopped in trial {trial.number}. Its checkpoint is written in {claimed.folder}; the same command "
                "goes on."
            ) from error
        except optuna.TrialPruned:
            state = optuna.trial.TrialState.PRUNED
            self.reporter.said(f"trial {trial.number} is given up: others were better by then.")
        except DivergedError as error:
            state = optuna.trial.TrialState.PRUNED
            trial.set_user_attr("note", str(error))
            self.reporter.said(f"trial {trial.number} diverged. {error}")
        except (ConfigError, ModelError, MemoryError) as error:
            # Nobody but the trial is at fault where others have worked.
            if not any(each.state in ("complete", "pruned") for each in self._pool.all()):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise
            state = optuna.trial.TrialState.FAIL
            trial.set_user_attr("note", str(error))
            self.reporter.said(f"trial {trial.number} failed: {error}")
        if state is not None:
            study.tell(trial, state=state)
            return
        trial.set_user_attr("seconds", run.seconds)
        study.tell(trial, run.best[self._metric] if run.best is not None else None)

    def _fit(self, claimed: Claimed, settings: dict[str, Any]) -> Run:
        config = with_settings(self._config, settings)
        dataset = self._dataset if self._dataset is not None else load(config)
        reporter = _Telling(self.reporter, claimed, self._metric)
        return fit(config, claimed.folder, resume=True, dataset=dataset, reporter=reporter)


class _Telling:
    """Passes on what a run tells, and tells Optuna of every epoch, which may give the trial up."""

    def __init__(self, reporter: Reporter, claimed: Claimed, metric: str) -> None:
        self._reporter, self._trial, self._metric = reporter, claimed.trial, metric
        self._told = set(claimed.reported)

    def started(self, *, epochs: int, steps_per_epoch: int, step: int, seen: int) -> None:
        self._reporter.started(epochs=epochs, steps_per_epoch=steps_per_epoch, step=step, seen=seen)

    def stepped(self, step: int, sums: Sums) -> None:
        self._reporter.stepped(step, sums)

    def fed(self, waited: float) -> None:
        self._reporter.fed(waited)

    def epoch_ended(self, metrics: EpochMetrics, *, best: bool) -> None:
        self._reporter.epoch_ended(metrics, best=best)
        value = metrics.get(self._metric)
        if value is None or metrics.epoch in self._told:
            return
        self._told.add(metrics.epoch)
        self._trial.report(value, metrics.epoch)
        if self._trial.should_prune():
            import optuna

            raise optuna.TrialPruned

    def said(self, message: str) -> None:
        self._reporter.said(message)

    def stopped(self) -> None:
        self._reporter.stopped()


def _found(folder: Path, config: RunConfig, metric: str, pool: Trials) -> Search:
    trials = pool.all()
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    sign = 1 if rises(metric) else -1
    best = max(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)  # the first of equals
    chosen = with_settings(config, best.settings) if best is not None else None
    return Search(folder, metric, trials, best, chosen, {}, pool.importances())


def _ended(folder: Path, config: RunConfig, metric: str, pool: Trials, dataset: Dataset, reporter: Reporter) -> Search:
    with only_here(folder, seconds=_WAIT_SECONDS):
        found = _found(folder, config, metric, pool)
        running = sum(trial.state == "running" for trial in found.trials)
        if running:
            reporter.said(f"No trial is left to begin; {running} go on in other processes.")
        elif found.best is not None and dataset.test is not None:
            found = replace(found, test=_test(found.best, dataset, reporter))
        _write(found)
        if found.best is not None:
            _draw(found)
    return found


def _test(best: Trial, dataset: Dataset, reporter: Reporter) -> dict[str, float]:
    if not (best.folder / CONFIG).exists():
        reporter.said(f"The best trial is in {best.folder}, on another machine: evaluate it there.")
        return {}
    run = Run.open(best.folder)
    return evaluated(run, load(run.config) if _varies_data(best.settings) else dataset, reporter.said)


def _varies_data(names: Iterable[str]) -> bool:
    return any(name == "seed" or name.startswith("data.") for name in names)


def _write(found: Search) -> None:
    """Write the table, the best settings and the summary."""
    folder = found.folder
    names = list(dict.fromkeys(name for trial in found.trials for name in trial.settings))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", found.metric, "seconds", *names, "run", "note"])
    for trial in found.trials:
        shown = [trial.number, trial.state, trial.value, trial.seconds and round(trial.seconds, 1)]
        writer.writerow([*shown, *(trial.settings.get(name, "") for name in names), trial.folder.name, trial.note])
    with replacing(folder / TABLE) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
    write_json(found.to_dict(), folder / SUMMARY)
    if found.config is not None:
        found.config.save(folder / BEST_CONFIG)


def _draw(found: Search) -> None:
    from striate.insight import figures

    kept = [trial for trial in found.trials if trial.value is not None]
    figures.save(
        figures.history_figure(
            [trial.number for trial in kept],
            [trial.value or 0.0 for trial in kept],
            [trial.state == "complete" for trial in kept],
            found.metric,
            rises=rises(found.metric),
        ),
        found.folder / "history.png",
    )
    complete = [trial for trial in kept if trial.state == "complete"]
    names = dict.fromkeys(name for trial in complete for name in trial.settings)
    columns = {name: [trial.settings.get(name) for trial in complete] for name in names}
    values = [trial.value or 0.0 for trial in complete]
    figures.save(
        figures.parallel_figure(columns, values, found.metric, rises=rises(found.metric)),
        found.folder / "parallel.png",
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
