"""Compiling many kernels at once, in processes of their own.

LLVM's Python binding takes one lock for every call, and Python another, so that threads cannot compile side by side.
`prepare` starts a worker process for each core but one, ``python -m striate.compiler.workers``, and asks them over
pipes, one kernel a line, to compile into the folder on disk from which this process then loads. This process compiles
as well, and does what a worker that could not start, or died, has left. Workers are plain child processes, not
`multiprocessing`'s, which would run the caller's main module again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias, cast

from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.cache import DiskCache
from striate.compiler.jit import Jit, versions
from striate.compiler.plan import compiled, default_jit, kernel_name, store
from striate.compiler.problem import Spec
from striate.compiler.target import Target, host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from striate.compiler.algorithm import Algorithm

    Kernel: TypeAlias = tuple[Algorithm, Spec]

WORTH_A_WORKER = 3
"""Missing kernels for each worker: starting one takes about as long as compiling two kernels."""

MODULE = "striate.compiler.workers"


def prepare(
    kernels: Iterable[Kernel], target: Target | None = None, *, jit: Jit | None = None, workers: int | None = None
) -> int:
    """Compile those of ``kernels`` that are neither in memory nor on disk; return how many there were.

    ``workers`` is the number of processes to start, by default as many as pay. Where nothing can be kept on disk, this
    process compiles alone, into its memory.
    """
    target = host() if target is None else target
    jit = default_jit() if jit is None else jit
    # By name, because a network has many layers of the same kind.
    asked = {kernel_name(algorithm, spec): (algorithm, spec) for algorithm, spec in kernels}

    def missing() -> deque[Kernel]:
        return deque(kernel for name, kernel in asked.items() if not jit.has(name, target))

    left = missing()
    count = len(left)
    if left and not jit.disk.usable():
        for algorithm, spec in left:
            compiled(algorithm, spec, target, jit)
        return count
    if workers is None:
        workers = min(_cores() - 1, count // WORTH_A_WORKER)
    feeders = [threading.Thread(target=_feed, args=(left, jit.disk, target)) for _ in range(workers)]
    for feeder in feeders:
        feeder.start()
    try:
        while (kernel := _next(left)) is not None:
            store(*kernel, target, jit)
    finally:
        left.clear()
        for feeder in feeders:
            feeder.join()
    for algorithm, spec in missing():
        store(algorithm, spec, target, jit)
    return count


def _next(left: deque[Kernel]) -> Kernel | None:
    # Several threads take from the queue: asking first whether it is empty would not do.
    try:
        return left.popleft()
    except IndexError:
        return None


def _feed(left: deque[Kernel], disk: DiskCache, target: Target) -> None:
    """Start one worker and give it a kernel whenever it has done one, until none is left or it dies."""
    # In a frozen application, the executable is the application.
    if getattr(sys, "frozen", False) or not sys.executable:
        return
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    try:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what fails there is done again here, and told here
            text=True,
        ) as worker:
            tell, answers = cast("TextIO", worker.stdin), cast("TextIO", worker.stdout)
            tell.write(json.dumps(_setting(disk, target)) + "\n")
            tell.flush()
            # A worker answers once it has started, too: until then others take the kernels.
            while answers.readline() and (kernel := _next(left)) is not None:
                tell.write(kernel_name(*kernel) + "\n")
                tell.flush()
    except OSError:
        return


def _setting(disk: DiskCache, target: Target) -> dict[str, object]:
    """What a worker has to know before its first kernel."""
    return {
        "folder": str(disk.folder),
        "limit_bytes": disk.limit_bytes,
        "target": asdict(target),
        "versions": versions(),
    }


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(orders: TextIO, answers: TextIO) -> None:
    """A worker: compile the kernels named in ``orders`` until they end; answer each, and the beginning, with a line."""
    setting = json.loads(orders.readline())
    if setting["versions"] != versions():
        return  # the package was changed after the other process began: it would not find what is compiled here
    jit = Jit(DiskCache(Path(setting["folder"]), setting["limit_bytes"]))
    target = Target(**setting["target"])
    known = {algorithm.name: algorithm for algorithm in ALGORITHMS}
    answers.write("ready\n")
    answers.flush()
    for line in orders:
        name, _, text = line.partition(" ")
        store(known[name], Spec.parse(text), target, jit)
        answers.write("done\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
