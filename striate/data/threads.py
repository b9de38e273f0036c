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


def each(function: Callable[[Given], Made], things: Iterable[Given]) -> Iterator[Made | DataError]:
    """Apply a function to things on a few threads and give the results in order, or the `DataError` in place of one.

    Only two results per thread are ever ahead of what has been taken, because each may be a large volume; or two runs
    of results, where they are made so quickly that several are worth being made in a row. Where worker processes leave
    no processor for threads, each thing is done when it is its turn.

    >>> list(each(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    threads = _threads()
    if threads == 1:
        for thing in things:
            yield from _attempt(function, [thing])[0]
        return
    waiting: deque[Future[tuple[list[Made | DataError], float]]] = deque()
    left, length = iter(things), 1
    while run := list(islice(left, length)):
        waiting.append(_pool().submit(_attempt, function, run))
        if len(waiting) > 2 * threads:
            made, seconds = waiting.popleft().result()
            length = min(max(int(_RUN_SECONDS * len(made) / max(seconds, 1e-9)), 1), _LONGEST_RUN)
            yield from made
    while waiting:
        yield from waiting.popleft().result()[0]


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
