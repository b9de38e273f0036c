"""The same run with several seeds: how much of a result is chance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import ConfigError
from striate.train.campaigns.folder import begun, check_campaign
from striate.train.campaigns.members import Campaign, Member, complete
from striate.train.loop import load

if TYPE_CHECKING:
    from os import PathLike

    from striate.train.config import RunConfig
    from striate.train.report import Reporter

TABLE = "repeats.csv"


def repeat(
    config: RunConfig, folder: str | PathLike[str], *, repeats: int = 5, reporter: Reporter | None = None
) -> Campaign:
    """Train and test a network with the seeds ``seed`` to ``seed + repeats - 1``, and describe every test metric.

    A seed decides the first weights, the order of the samples, and the split of data that comes without one. Where the
    test part is drawn too, the 95 % interval allows for samples that the runs share (see `spread`).

    Each seed is a complete run in ``seed-0``, ``seed-1``, ...; ``repeats.csv`` has a line for each, ``summary.json``
    the means, deviations and intervals. Runs that are done are left as they are, and an interrupted one is resumed.
    Raises what `fit` does, and `ConfigError` for fewer than 2 repeats, seeds out of range, and data without a test
    part.

    ::

        repeat(RunConfig(model="lenet", data="digits28"), "runs/seeds", repeats=5).metrics["accuracy"].deviation
    """
    folder = Path(folder)
    asked = asked_for(repeats)
    check_repeats(config, repeats, least=2)
    check_campaign(folder, config, asked)
    with begun(folder, config, asked):
        dataset = load(config)
        if dataset.test is None:
            raise ConfigError(
                "a test part, on which the runs are compared",
                f"{dataset.source} without one",
                "Raise data.test_fraction.",
            )
        rest = sum(len(part) for name, part in dataset.parts.items() if name != "test")
        overlap = 0.0 if "test" in dataset.official else len(dataset.test) / rest
        del dataset
        members = [
            Member(f"seed-{seed}", config.model_copy(update={"seed": seed}), f"seed {seed}")
            for seed in range(config.seed, config.seed + repeats)
        ]
        return complete(folder, members, overlap=overlap, table=TABLE, reporter=reporter)


def asked_for(repeats: int) -> dict[str, Any]:
    """What repeated runs are beside their settings.

    >>> asked_for(3)
    {'kind': 'seeds', 'repeats': 3}
    """
    return {"kind": "seeds", "repeats": repeats}


def check_repeats(config: RunConfig, repeats: int, *, least: int) -> None:
    """Check the number of repeats and that every one has a seed. Raises `ConfigError`."""
    if type(repeats) is not int or repeats < least:
        raise ConfigError(f"repeats of {least} or more", f"repeats={repeats!r}", "Use 3 or 5.")
    if config.seed + repeats > 2**32:
        raise ConfigError("seeds up to 4294967295", f"{repeats} seeds from {config.seed}", "Begin with a smaller seed.")
