"""Decoding many things at once on a few threads, in order."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Given = TypeVar("Given")
Made = TypeVar("Made")

_WORKERS = min(os.cpu_count() or 1, 8)


def each(function: Callable[[Given], Made], things: Iterable[Given]) -> Iterator[Made | DataError]:
    """Apply a function to things on a few threads and give the results in order, or the `DataError` in place of one.

    Only two results per thread are ever ahead of what has been taken, because each may be a large volume.

    >>> list(each(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    waiting: deque[Future[Made | DataError]] = deque()
    for thing in things:
        waiting.append(_pool().submit(_attempt, function, thing))
        if len(waiting) > 2 * _WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _attempt(function: Callable[[Given], Made], thing: Given) -> Made | DataError:
    try:
        return function(thing)
    except DataError as error:
        return error


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_WORKERS, thread_name_prefix="striate-items")


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork; a child that inherited the pool would wait for them for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)
