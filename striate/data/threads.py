"""Decoding many things at once on a few threads, in order."""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from torch.utils.data import get_worker_info

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Given = TypeVar("Given")
Made = TypeVar("Made")

_MOST_THREADS = 8

_RUN_SECONDS = 2e-3
"""Quick things are done in runs that take about so long: handing one over takes as long as reading a small image."""

_LONGEST_RUN = 64

_TRIED_ALONE = 3
_CYCLE = 250
"""Of so many runs the first few are made one way and the other, to see which is faster."""

_GAIN = 0.8
"""Threads have to take less than this part of the time: what each takes is uncertain, and they keep others waiting."""


class Pace:
    """Whether things of a kind are made faster on several threads or on one, by what they took so far.

    What is mostly Python, as reading a small image is, only one thread at a time computes, and threads that wait for
    each other take longer than one alone. Decoding a large one, or waiting for a disk, is what threads are for.

    >>> pace = Pace()
    >>> [pace.on_threads(2) for _ in range(4)]
    [False, False, False, True]
    """

    def __init__(self) -> None:
        self._runs = 0
        self._took: dict[bool, deque[float]] = {way: deque(maxlen=9) for way in (False, True)}

    def on_threads(self, threads: int) -> bool:
        """Whether the next run is for the threads."""
        place = self._runs % _CYCLE
        self._runs += 1
        if place < _TRIED_ALONE + 2 * threads:
            return place >= _TRIED_ALONE
        return self._seconds(True) < _GAIN * threads * self._seconds(False)

    def length(self, on_threads: bool) -> int:
        """How many things make a run."""
        seconds = self._seconds(on_threads)
        return min(max(int(_RUN_SECONDS / seconds), 1), _LONGEST_RUN) if seconds else 1

    def note(self, on_threads: bool, seconds: float) -> None:
        """Remember what a thing took, in seconds."""
        self._took[on_threads].append(seconds)

    def _seconds(self, on_threads: bool) -> float:
        """What is usual; 0 while nothing is known. Imports, and others on the machine, make single runs long."""
        took = self._took[on_threads]
        return sorted(took)[len(took) // 2] if took else 0.0


def each(
    function: Callable[[Given], Made], things: Iterable[Given], pace: Pace | None = None
) -> Iterator[Made | DataError]:
    """Apply a function to things on a few threads and give the results in order, or the `DataError` in place of one.

    Only two results per thread are ever ahead of what has been taken, because each may be a large volume; or two runs
    of results, where they are made so quickly that several are worth being made in a row. Where threads turn out to be
    slower than one alone, or worker processes leave no processor for them, each thing is done when it is its turn;
    ``pace`` remembers that for calls with things of the same kind.

    >>> list(each(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    threads, left = _threads(), iter(things)
    pace = Pace() if pace is None else pace
    waiting: deque[Future[tuple[list[Made | DataError], float]]] = deque()

    def first_waiting() -> list[Made | DataError]:
        made, seconds = waiting.popleft().result()
        pace.note(True, seconds / len(made))
        return made

    while True:
        on_threads = threads > 1 and pace.on_threads(threads)
        run = list(islice(left, pace.length(on_threads) if threads > 1 else 1))
        while waiting and (not run or not on_threads or len(waiting) >= 2 * threads):
            yield from first_waiting()
        if not run:
            return
        if on_threads:
            waiting.append(_pool().submit(_attempt, function, run))
        else:
            made, seconds = _attempt(function, run)
            pace.note(False, seconds / len(made))
            yield from made


def _attempt(function: Callable[[Given], Made], run: list[Given]) -> tuple[list[Made | DataError], float]:
    """The results of a run, and the seconds that they took."""
    began = time.perf_counter()
    made: list[Made | DataError] = []
    for thing in run:
        try:
            made.append(function(thing))
        except DataError as error:
            made.append(error)
    return made, time.perf_counter() - began


def _threads() -> int:
    """How many threads this process may decode on: its share of the processors."""
    worker = get_worker_info()
    share = (os.cpu_count() or 1) // (1 if worker is None else worker.num_workers)
    return min(max(share, 1), _MOST_THREADS)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), thread_name_prefix="striate-items")


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork; a child that inherited the pool would wait for them for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)
