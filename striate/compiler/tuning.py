"""Measuring instead of estimating: which algorithm is quickest for a problem on this machine, remembered on disk.

The cost model is right often, not always. `striate.compiler.choose.tune` runs the algorithms that can compute a problem
and keeps their times beside the compiled kernels, for this processor, number of threads and code; `choose` goes by them
from then on, in other processes too. With ``STRIATE_TUNE=1``, or inside ``with tuned():``, every problem is measured
when it is first seen.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from striate.compiler import cache, jit, parallel
from striate.compiler.target import host
from striate.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from striate.compiler.algorithm import Algorithm
    from striate.compiler.problem import ConvProblem
    from striate.compiler.target import Target

HOPELESS = 8
"""Algorithms whose estimate is so many times the lowest are not run."""

_always: ContextVar[bool | None] = ContextVar("always", default=None)
_known: dict[str, dict[str, float]] = {}


@contextmanager
def tuned(always: bool = True) -> Iterator[None]:
    """Measure every problem chosen for inside; ``tuned(False)`` goes by what is known, whatever the environment says.

    >>> with tuned(False):
    ...     measures_new_problems()
    False
    """
    token = _always.set(always)
    try:
        yield
    finally:
        _always.reset(token)


def measures_new_problems() -> bool:
    """Whether problems are measured when they are first seen."""
    chosen = _always.get()
    return os.environ.get("STRIATE_TUNE", "0") not in {"", "0"} if chosen is None else chosen


def seconds(problem: ConvProblem, target: Target, algorithms: Sequence[Algorithm]) -> dict[str, float]:
    """The measured times of a problem, by the name of the algorithm; none if it was not measured.

    Where measuring is switched on and the target is this machine, it is measured now.
    """
    key = _key(problem, target)
    times = _known.get(key) or _read(_path(key))
    if not times and problem.macs and measures_new_problems() and target == host():
        return measure(problem, target, algorithms)
    if times:
        _known[key] = times
    return times


def measure(problem: ConvProblem, target: Target, algorithms: Sequence[Algorithm]) -> dict[str, float]:
    """Run the algorithms on ``problem`` and remember how long each took; returns seconds by name."""
    from striate.compiler import stopwatch

    estimates = [algorithm.cycles(problem, target) for algorithm in algorithms]
    hopeful = [
        algorithm
        for algorithm, cycles in zip(algorithms, estimates, strict=True)
        if cycles <= HOPELESS * min(estimates)
    ]
    times = stopwatch.seconds(problem, hopeful, target, parallel.threads())
    key = _key(problem, target)
    _known[key] = times
    about = {"problem": str(problem), "target": target.name, "threads": parallel.threads()}
    _write(_path(key), {**about, "seconds": times})
    return times


def measured() -> list[Path]:
    """The files of all measurements."""
    return sorted(cache.folder().glob("*.json"))


def forget() -> int:
    """Remove all measurements; return how many there were."""
    files = measured()
    for path in files:
        path.unlink(missing_ok=True)
    _known.clear()
    return len(files)


def _key(problem: ConvProblem, target: Target) -> str:
    return cache.key(str(problem), str(target), str(parallel.threads()), jit.versions())


def _path(key: str) -> Path:
    return cache.folder() / f"{key}.json"


def _read(path: Path) -> dict[str, float]:
    """What a file says; nothing if it is not there or cannot be read, and is then written anew."""
    try:
        times = json.loads(path.read_text())["seconds"]
        return {str(name): float(value) for name, value in times.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(path: Path, entry: dict[str, object]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path) as beside:
            beside.write_text(json.dumps(entry))
    except OSError:
        return  # it stays known to this process
