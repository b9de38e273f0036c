"""k-fold cross-validation: every sample is tested once, by a network that has not learned from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from striate.errors import ConfigError, DataError
from striate.train.campaigns.folder import begun, check_campaign
from striate.train.campaigns.members import Campaign, Member, complete
from striate.train.campaigns.repetition import check_repeats
from striate.train.loop import load
from striate.train.report import default_reporter

if TYPE_CHECKING:
    from os import PathLike

    from striate.train.config import RunConfig
    from striate.train.report import Reporter

TABLE = "folds.csv"


def cross_validate(
    config: RunConfig,
    folder: str | PathLike[str],
    *,
    folds: int | Literal["subjects"] = 5,
    repeats: int = 1,
    reporter: Reporter | None = None,
) -> Campaign:
    """Train and test a network once per fold, each in a folder of its own, and describe every test metric.

    The folds are those of `striate.data.load_data`: class by class, and whole subjects where the data tells them;
    ``"subjects"`` leaves out one of them at a time, or one recording where no subjects are told. A validation part is
    taken from what is left, as in any run. With ``repeats`` the whole is done so often, with the seeds ``seed``,
    ``seed + 1``, ..., which also draw other folds.

    Each fold is a complete run in ``fold-1``, ``fold-2``, ... (``seed-0-fold-1`` with repeats); ``folds.csv`` has a
    line for each, ``summary.json`` the means, deviations and 95 % intervals. Runs that are done are left as they are,
    and an interrupted one is resumed. Raises what `fit` does, `ConfigError` for folds that are not at least 2 or given
    twice, and `DataError` for data without subjects where they are asked for.

    Source: Stone, Cross-validatory choice and assessment of statistical predictions, 1974.

    ::

        config = RunConfig(model="lenet", data="digits28")
        cross_validate(config, "runs/folds", folds=5).metrics["accuracy"].interval
    """
    folder = Path(folder)
    asked = asked_for(folds, repeats)
    if config.data.fold is not None:
        raise ConfigError(
            "settings without data.fold, which is set for each run in turn",
            f"data.fold={config.data.fold!r}",
            "Leave it out.",
        )
    check_repeats(config, repeats, least=1)
    check_campaign(folder, config, asked)
    with begun(folder, config, asked):
        reporter = default_reporter() if reporter is None else reporter
        count = subjects_in(config) if folds == "subjects" else folds
        if folds == "subjects":
            reporter.said(
                f"The data tells of {count} subjects, or recordings where it tells no subjects: a fold for each."
            )
        members = [
            _member(config, config.seed + repeat, fold, count, repeats > 1)
            for repeat in range(repeats)
            for fold in range(count)
        ]
        return complete(folder, members, overlap=1 / (count - 1), table=TABLE, reporter=reporter)


def asked_for(folds: int | Literal["subjects"], repeats: int) -> dict[str, Any]:
    """What a cross-validation is beside the settings of its runs. Raises `ConfigError`.

    >>> asked_for(5, 1)
    {'kind': 'folds', 'folds': 5, 'repeats': 1}
    """
    if folds != "subjects" and (type(folds) is not int or folds < 2):
        raise ConfigError("folds of 2 or more, or 'subjects'", f"folds={folds!r}", "Use 5 or 10.")
    return {"kind": "folds", "folds": folds, "repeats": repeats}


def subjects_in(config: RunConfig) -> int:
    """Count the subjects that folds can be made of. Raises `DataError` for fewer than two, or data without any."""
    data = config.data.model_copy(update={"val_fraction": 0.0, "test_fraction": 0.0})
    whole = load(config.model_copy(update={"data": data})).train
    subjects = whole.groups
    count = 0 if subjects is None else len(set(subjects.tolist()))
    if count < 2:
        raise DataError(
            "samples of two subjects or more, and who they are of",
            f"{config.data.source} {'of one subject' if count else 'without subjects'}",
            "Give a number of folds instead, such as 5.",
        )
    return count


def _member(config: RunConfig, seed: int, fold: int, count: int, repeated: bool) -> Member:
    data = config.data.model_copy(update={"fold": [fold, count]})
    return Member(
        f"seed-{seed}-fold-{fold + 1}" if repeated else f"fold-{fold + 1}",
        config.model_copy(update={"seed": seed, "data": data}),
        f"fold {fold + 1}" + (f" with seed {seed}" if repeated else ""),
    )
