"""All runs below a folder, side by side: what they are, how good they are, and in which settings they differ."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from striate.errors import InputError, StriateError, did_you_mean
from striate.train.best import LAST, rises
from striate.train.campaigns.filtering import Condition
from striate.train.campaigns.results import read_test
from striate.train.dotted import flat_settings
from striate.train.folder import CONFIG
from striate.train.metrics import METRICS
from striate.train.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.train.progress import EpochMetrics

_BETTER_FIRST = ("train_", "val_", "test_")


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a table: ``values`` by column, its ``settings`` by name, and the metrics of each epoch.

    Columns are run, model, data, epochs, best_epoch, parameters, seconds, date, finished, the metrics of the best
    epoch (``val_accuracy``, ...), and those of the test part if it has been evaluated (``test_accuracy``, ...).
    ``metric`` decided which epoch is the best.
    """

    folder: Path
    values: dict[str, Any]
    settings: dict[str, Any]
    history: tuple[EpochMetrics, ...]
    metric: str

    def __getitem__(self, name: str) -> Any:
        """The value of a column or setting, None if the run does not have it."""
        return self.values.get(name, self.settings.get(name))


@dataclass(frozen=True, slots=True)
class Broken:
    """A folder with the configuration of a run that cannot be opened, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs and broken folders; `where` and `ordered` choose and order the runs."""

    rows: tuple[RunRow, ...]
    broken: tuple[Broken, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every column and setting that any run has."""
        found = [name for row in self.rows for name in (*row.values, *row.settings)]
        return tuple(dict.fromkeys(found))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a short table: what a run is, the metrics that decided, and the same on the test part."""
        decided = dict.fromkeys(row.metric for row in self.rows if row.metric in row.values)
        tested = [name for each in decided if (name := each.replace("val_", "test_", 1)) in self.names and name != each]
        return ("run", "model", "data", "epochs", *decided, *tested, "parameters", "seconds", "date")

    def where(self, condition: str) -> Comparison:
        """Choose the runs that fulfil a condition (see `striate.train.campaigns.filtering`). Raises `InputError`."""
        read = Condition.parse(condition)
        self.check(read.names)
        return replace(self, rows=tuple(row for row in self.rows if read(row.__getitem__)))

    def ordered(self, name: str) -> Comparison:
        """Order the runs by a column or setting, metrics from the best to the worst, all else rising.

        A ``-`` before the name turns the order round; runs without the value come last. Raises `InputError`.
        """
        key, turned = name.removeprefix("-"), name.startswith("-")
        self.check([key])
        there = [row for row in self.rows if row[key] is not None]
        there.sort(key=lambda row: _sortable(row[key]), reverse=turned != _better_is_more(key))
        return replace(self, rows=(*there, *(row for row in self.rows if row[key] is None)))

    def differences(self) -> dict[str, tuple[Any, ...]]:
        """The settings in which the runs differ, each with its value in every run, None where there is none."""
        names = dict.fromkeys(name for row in self.rows for name in row.settings)
        values = {name: tuple(row.settings.get(name) for row in self.rows) for name in names}
        return {name: told for name, told in values.items() if len({repr(value) for value in told}) > 1}

    def check(self, names: Sequence[str] | frozenset[str]) -> None:
        """Check that each name is a column or setting of some run. Raises `InputError`."""
        for name in sorted(names):
            if self.rows and name not in self.names:
                raise InputError("a column or setting of these runs", repr(name), did_you_mean(name, self.names))


def find_runs(folder: str | os.PathLike[str] = "runs") -> Comparison:
    """Open every run below a folder, in the order of their names; links are not followed.

    A folder that holds a configuration but no run that can be opened is listed as broken. The folders may come from
    anyone (see `Run.open`). Raises `InputError` for a folder that does not exist.

    ::

        find_runs("runs").where("data=digits28").ordered("val_accuracy").rows[0]["optimizer.learning_rate"]
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError("a folder with runs below it", f"{root}, which is none", "Give the folder of your runs.")
    rows: list[RunRow] = []
    broken: list[Broken] = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if CONFIG not in files:
            continue
        folders.clear()  # what is in a run is no other run
        try:
            rows.append(describe_run(Path(place), root))
        except (StriateError, OSError) as error:
            broken.append(Broken(Path(place), str(error)))
    return Comparison(tuple(rows), tuple(broken))


def describe_run(folder: Path, root: Path) -> RunRow:
    """Describe a run for a table, named as its folder below ``root``. Raises `CheckpointError`."""
    run = Run.open(folder)
    tested = {f"test_{name}": value for name, value in read_test(folder).items()}
    best = run.best
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        parameters = sum(parameter.numel() for parameter in run.network.build().parameters())
    started = run.environment.get("started")
    values: dict[str, Any] = {
        "run": folder.relative_to(root).as_posix() if folder != root else folder.resolve().name,
        "model": run.config.model.name,
        "data": Path(run.config.data.source).name or run.config.data.source,
        "epochs": len(run.metrics),
        "best_epoch": best.epoch if best is not None else None,
        **(dict(best) if best is not None else {}),
        **tested,
        "parameters": parameters,
        "seconds": round(run.seconds, 1) if run.finished else None,
        "date": started[:16].replace("T", " ") if isinstance(started, str) else None,
        "finished": bool(run.finished),
    }
    decided = run.config.best.metric
    if decided in ("auto", LAST):
        decided = next((name for name in (*(best or ()),) if name.startswith("val_")), "train_loss")
    settings = flat_settings(run.config)
    return RunRow(
        folder,
        {name: value for name, value in values.items() if value is not None},
        settings,
        tuple(run.metrics),
        decided,
    )


def _better_is_more(name: str) -> bool:
    bare = next((name.removeprefix(part) for part in _BETTER_FIRST if name.startswith(part)), "")
    return bare in METRICS and rises(bare)


def _sortable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))
