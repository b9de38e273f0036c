"""The folder of a campaign: what was asked for, so that the same command goes on and another one is refused."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from striate.errors import CheckpointError, ConfigError, StriateError
from striate.files import PARTIAL
from striate.train.config import RunConfig
from striate.train.folder import CONFIG, LOCK, leave, new_folder, read_json, write_json
from striate.train.processes import launched_counts
from striate.train.settling import with_absolute_paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

CAMPAIGN = "campaign.json"
SUMMARY = "summary.json"

MAY_CHANGE = ("checkpoint_seconds", "data.memory_limit", "data.workers", "loggers.")
"""Settings, or sections of them, without influence on what is learned."""


def campaign_folder(config: RunConfig, asked: dict[str, Any], root: str | PathLike[str] = "runs") -> Path:
    """Name the folder of a campaign: the one that the same campaign has left, or else one that does not exist yet.

    >>> config = RunConfig(model="lenet", data="digits28")
    >>> campaign_folder(config, {"kind": "folds", "folds": 5}, "nowhere").as_posix()
    'nowhere/lenet-digits28-folds'
    """
    base = new_folder(config, Path(root) / "-").name  # a folder where nothing is: the name without a number
    names = (f"{base}-{asked['kind']}" + (f"-{number}" if number > 1 else "") for number in itertools.count(1))
    return next(folder for name in names if not (folder := Path(root, name)).exists() or _is(folder, config, asked))


def _is(folder: Path, config: RunConfig, asked: dict[str, Any]) -> bool:
    try:
        check_campaign(folder, config, asked)
    except StriateError:
        return False
    return (folder / CAMPAIGN).exists()


def check_campaign(folder: Path, config: RunConfig, asked: dict[str, Any]) -> None:
    """Check that a campaign may begin, or go on, in ``folder``.

    ``asked`` is what it is beside the configuration: its ``kind``, and the numbers that it depends on. Raises
    `CheckpointError` for a folder with other things in it, and `ConfigError` for a campaign of other settings, or
    of runs with several processes.
    """
    devices, nodes = launched_counts(config)
    if devices * nodes > 1:
        raise ConfigError(
            "runs of one process in a campaign",
            f"devices={devices} and nodes={nodes}",
            "Use devices=1, or train the runs one by one with `striate train`.",
        )
    if folder.is_file():
        raise CheckpointError("a folder for the runs", f"the file {folder}", "Choose another folder.")
    if not (folder / CAMPAIGN).exists():
        found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        strangers = [name for name in found if name != LOCK and PARTIAL not in name]
        if strangers:
            what = "a run" if CONFIG in strangers else strangers[0]
            raise CheckpointError(
                "a new or empty folder, or one where the same was begun",
                f"{folder}, which holds {what}",
                "Choose another folder.",
            )
        return
    check_same(read_json(folder / CAMPAIGN), config, asked, str(folder))


def check_same(known: dict[str, Any], config: RunConfig, asked: dict[str, Any], what: str) -> None:
    """Check that what was begun before, as it was written down, is the same campaign. Raises as `check_campaign`."""
    stored = known.pop("config", None)
    if not isinstance(stored, dict):
        raise CheckpointError("the configuration of a campaign's runs", f"{what} without it", "Start anew.")
    before = RunConfig.from_dict(stored)
    changed = [name for name in with_absolute_paths(config).differences(before) if not name.startswith(MAY_CHANGE)]
    changed += [name for name in {**known, **asked} if known.get(name) != asked.get(name)]
    if changed:
        raise ConfigError(
            f"the settings that {what} was begun with",
            f"other values of {', '.join(changed)}",
            "Go on with the same settings, or choose another folder or name.",
        )


@contextmanager
def begun(folder: Path, config: RunConfig, asked: dict[str, Any], *, seconds: float = 0) -> Iterator[None]:
    """Hold a campaign's folder, made if need be; what was asked for is written down, if this is the first time.

    Where the first time is refused before a run has begun, nothing stays. Raises as `check_campaign` does, and
    `CheckpointError` for a folder that is in use for more than so many seconds.
    """
    with only_here(folder, seconds=seconds):
        check_campaign(folder, config, asked)
        first = not (folder / CAMPAIGN).exists()
        if first:
            plain = with_absolute_paths(config).model_dump(exclude_none=True)
            write_json({**asked, "config": plain}, folder / CAMPAIGN)
        try:
            yield
        except StriateError:
            if first and {entry.name for entry in folder.iterdir()} <= {CAMPAIGN, LOCK}:
                (folder / CAMPAIGN).unlink(missing_ok=True)
            raise


@contextmanager
def only_here(folder: Path, *, seconds: float) -> Iterator[None]:
    """Hold a folder, made if need be, waiting so long for other processes; one that stays empty goes again.

    Raises `CheckpointError`.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
    except Timeout:
        raise CheckpointError(
            "a folder that no other process is using", f"{folder}, in use", "Wait for it, or choose another folder."
        ) from None
    except OSError as error:
        raise CheckpointError(
            "a folder that can be written to", f"{folder}: {error.strerror or error}", "Choose another folder."
        ) from error
    try:
        yield
    finally:
        leave(folder, made)
        lock.release()
