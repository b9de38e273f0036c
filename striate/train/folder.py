"""The folder of a run: the names of its files, who may write to it, and what it ran on."""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout

from striate.data.file import is_file, is_folder
from striate.errors import CheckpointError, ConfigError, RunError
from striate.files import PARTIAL, replacing
from striate.train.config import RunConfig
from striate.train.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = "config.toml"
ENVIRONMENT = "environment.json"
NETWORK = "network.json"
METRICS = "metrics.csv"
CURVES = "tensorboard"
BEST = "best.safetensors"
LAST = "last.safetensors"
CHECKPOINT = "checkpoint.pt"
RESULT = "result.json"
LOCK = ".lock"

_PACKAGES = ("striate", "torch", "numpy", "lightning-fabric", "safetensors", "pydantic", "tensorboardX")
# What has no influence on what is learned, but for the last bits.
_MAY_CHANGE = {"checkpoint_seconds", "data.memory_limit", "data.workers", "devices", "nodes", "strategy"}
_MAY_CHANGE |= {"loggers.names", "loggers.project", "loggers.address"}


def check_folder(folder: Path, config: RunConfig, *, resume: bool) -> None:
    """Check that a run may start, or continue, in ``folder``.

    Raises `CheckpointError` for a folder that holds a run already or other files, and `ConfigError` for a run that was
    started with other settings.
    """
    if is_file(folder):
        raise CheckpointError("a folder for the run", f"the file {folder}", "Choose another folder.")
    if is_file(folder / CONFIG):
        if not resume:
            raise CheckpointError(
                "a new or empty folder", f"{folder}, which holds a run", "Resume that run, or choose another folder."
            )
        started = RunConfig.from_toml(folder / CONFIG)
        changed = [name for name in config.differences(started) if name not in _MAY_CHANGE]
        if changed:
            raise ConfigError(
                f"the settings that the run in {folder} was started with",
                f"other values of {', '.join(changed)}",
                "Resume with the same settings, or start a new run in another folder.",
            )
        return
    # A run killed in its first moments leaves no more than these.
    found = {entry.name for entry in folder.iterdir()} if is_folder(folder) else set()
    strangers = {name for name in found if name != LOCK and PARTIAL not in name}
    if strangers:
        raise CheckpointError(
            "a new or empty folder", f"{folder}, which holds {sorted(strangers)[0]}", "Choose another folder."
        )


@contextmanager
def claimed(folder: Path, config: RunConfig, *, resume: bool, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a run's folder, made if need be, so that no other process writes to it; one that stays empty goes again.

    The lock is the system's and ends with the process, however that ends; ``wait_seconds`` are for one that is ending.
    Raises as `check_folder` does, and `CheckpointError` for a folder in use.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_seconds)
    except Timeout:
        raise CheckpointError(
            "a folder that no other run is using", f"{folder}, in use", "Wait for that run, or choose another folder."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            "a folder that can be written to", f"{folder}: {_reason(error)}", "Choose another folder."
        ) from error
    try:
        check_folder(folder, config, resume=resume)
        for stale in folder.glob(f".*{PARTIAL}*"):
            stale.unlink()  # a killed process was writing it
        yield
    finally:
        leave(folder, made)
        lock.release()


def leave(folder: Path, made: list[Path]) -> None:
    """Take away what is left where nothing was begun: the lock, and the folders that were ``made`` for it."""
    with suppress(OSError):
        if {entry.name for entry in folder.iterdir()} <= {LOCK}:
            # While it is held: whoever waits for it finds no lock, and makes one of its own.
            (folder / LOCK).unlink(missing_ok=True)
            for each in made:
                each.rmdir()


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Say what to do where the system refuses to write to a run's folder. Raises `RunError` for a full disk and such.

    >>> with written(Path("runs/digits")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    striate.errors.RunError: The run in runs/digits cannot be written: No space left on device. Every file in it is \
whole; mend this, and go on with `striate train --resume runs/digits`.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"The run in {folder} cannot be written: {_reason(error)}. Every file in it is whole; mend this, and go on "
            f"with `striate train --resume {folder}`."
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def config_of(folder: Path) -> Path:
    """The configuration file of the run in ``folder``. Raises `CheckpointError` for a folder that holds no run.

    >>> config_of(Path("nowhere"))
    Traceback (most recent call last):
    striate.errors.CheckpointError: Expected the folder of a run, with config.toml; received nowhere, which ...
    """
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"the folder of a run, with {CONFIG}",
            f"{folder}, {'which has none' if folder.is_dir() else 'which does not exist'}",
            "Give the folder that training wrote to.",
        )
    return folder / CONFIG


def new_folder(config: RunConfig, root: str | os.PathLike[str] = "runs") -> Path:
    """Name a folder that does not exist yet for a run: network, data and, from the second on, a number.

    >>> config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}})
    >>> new_folder(config, "nowhere").as_posix()
    'nowhere/lenet-digits28'
    """
    data = re.sub(r"[^\w.-]+", "-", Path(config.data.source).resolve().name).strip("-.") or "data"
    base = f"{config.model.name}-{data}"
    return next(
        folder
        for number in itertools.count(1)
        if not (folder := Path(root) / (base if number == 1 else f"{base}-{number}")).exists()
    )


def write_json(content: Any, path: Path) -> None:
    """Write plain values as JSON, readable by people."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `CheckpointError` if the file is missing or something else."""
    try:
        content = json.loads(read_text(path))
    except FileNotFoundError:
        raise CheckpointError(
            f"a run with {path.name}", f"{path.parent} without it", "Resume the run, or train again."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError("a file of JSON", f"{path}: {error}", "Resume the run, or train again.") from error
    if not isinstance(content, dict):
        raise CheckpointError("a JSON object", f"{path} with {type(content).__name__}", "Train again.")
    return content


def describe_environment(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Describe what a run runs on: versions, machine, processes, threads and command.

    >>> describe_environment(torch.device("cpu"))["device"]
    'cpu'
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "machine": platform.node(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def enter_environment(path: Path, environment: dict[str, Any]) -> list[str]:
    """Add one more session to ``environment.json`` and say in what it differs from the first.

    Of the differences only those are told that can change the last bits of a result.
    """
    sessions: list[dict[str, Any]] = read_json(path)["sessions"] if path.exists() else []
    write_json({"sessions": [*sessions, environment]}, path)
    if not sessions:
        return []
    deciding = ("threads", "device", "processor", "packages", "processes")
    first = {"processes": 1} | sessions[0]
    return [key for key in deciding if first.get(key) != environment[key]]
