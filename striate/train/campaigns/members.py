"""The runs of a campaign, one after the other, each trained, tested and entered into a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from striate.errors import StoppedError
from striate.files import replacing
from striate.train.campaigns.folder import SUMMARY
from striate.train.campaigns.results import evaluated, read_test
from striate.train.campaigns.statistics import Spread, spread
from striate.train.folder import CONFIG, write_json
from striate.train.loop import fit, load
from striate.train.report import default_reporter
from striate.train.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from striate.train.config import RunConfig
    from striate.train.report import Reporter


@dataclass(frozen=True, slots=True)
class Member:
    """A run to be: the name of its folder within the campaign's, its settings, and its place in words."""

    name: str
    config: RunConfig
    place: str


@dataclass(frozen=True, slots=True)
class Result:
    """A run of a campaign that is done: its folder, what makes it differ, and its metrics on the test part."""

    folder: Path
    seed: int
    fold: int | None
    best_epoch: int
    seconds: float
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Campaign:
    """Runs that differ by their folds or seeds alone, and what became of each metric of the test part over all."""

    folder: Path
    results: tuple[Result, ...]
    metrics: dict[str, Spread]
    overlap: float

    def to_dict(self) -> dict[str, Any]:
        """What ``summary.json`` holds, in the plain types of JSON."""
        return {
            "runs": [result.folder.name for result in self.results],
            "overlap": self.overlap,
            "metrics": {name: measured.to_dict() for name, measured in self.metrics.items()},
        }


def complete(
    folder: Path, members: Sequence[Member], *, overlap: float, table: str, reporter: Reporter | None = None
) -> Campaign:
    """Train and test every run that is not done yet, and describe all of them.

    After each one the ``table`` and ``summary.json`` are written, of the runs that are done by then. ``overlap`` is
    that of `spread`. Raises what `fit` and `evaluate` raise; `StoppedError` says that the same command goes on.
    """
    reporter = default_reporter() if reporter is None else reporter
    results: list[Result] = []
    for number, member in enumerate(members, 1):
        try:
            results.append(_done(folder, member, f"{number} of {len(members)}", reporter))
        except StoppedError as error:
            raise StoppedError(
                f"Stopped in {member.place}, run {number} of {len(members)}. Its checkpoint is written in "
                f"{folder / member.name}; the same command goes on."
            ) from error
        campaign = Campaign(folder, tuple(results), spreads([each.metrics for each in results], overlap), overlap)
        _write_table(campaign, folder / table)
        write_json(campaign.to_dict(), folder / SUMMARY)
    return campaign


def spreads(measured: Sequence[dict[str, float]], overlap: float) -> dict[str, Spread]:
    """The spread of every metric that all runs have.

    >>> spreads([{"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.7}], 0.0)["accuracy"].mean
    0.6
    """
    common = [name for name in measured[0] if all(name in each for each in measured)]
    return {name: spread([each[name] for each in measured], overlap=overlap) for name in common}


def _done(folder: Path, member: Member, place: str, reporter: Reporter) -> Result:
    where = folder / member.name
    metrics: dict[str, float] = {}
    if (where / CONFIG).exists():
        metrics = read_test(where) if (run := Run.open(where)).finished else {}
    if not metrics:
        reporter.said(f"{member.place}, run {place}, in {where}")
        dataset = load(member.config)
        run = fit(member.config, where, resume=True, dataset=dataset, reporter=reporter)
        metrics = evaluated(run, dataset, reporter.said)
    fold = member.config.data.fold
    best = run.best
    return Result(
        where,
        member.config.seed,
        fold[0] + 1 if fold else None,
        best.epoch if best else 0,
        run.seconds,
        metrics,
    )


def _write_table(campaign: Campaign, path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = list(dict.fromkeys(name for result in campaign.results for name in result.metrics))
    writer.writerow(["run", "fold", "seed", "best_epoch", "seconds", *(f"test_{name}" for name in names)])
    for result in campaign.results:
        cells = [result.metrics.get(name) for name in names]
        fold = "" if result.fold is None else result.fold
        writer.writerow(
            [result.folder.name, fold, result.seed, result.best_epoch, f"{result.seconds:.1f}"]
            + ["" if cell is None else repr(cell) for cell in cells]
        )
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
