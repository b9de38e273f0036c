"""Doing many things on a few threads: order, errors, how far ahead, and where there are no processors to spare."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from striate.data import threads
from striate.data.samples import empty_batch
from striate.data.threads import each
from striate.errors import DataError


def refused(number):
    if number % 7 == 3:
        raise DataError("a number that is liked", str(number), "Take another.")
    return number


@pytest.mark.parametrize("count", [0, 1, 5, 1000])
def test_results_come_in_order_with_errors_in_their_places(count):
    found = list(each(refused, range(count)))
    assert [str(one.received) if isinstance(one, DataError) else one for one in found] == [
        str(number) if number % 7 == 3 else number for number in range(count)
    ]


def test_defects_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        list(each(lambda number: 1 / number, [1, 0]))


def test_large_things_are_never_far_ahead():
    begun = []

    def slow(number):
        begun.append(number)
        time.sleep(2 * threads._RUN_SECONDS)
        return number

    found = each(slow, range(100))
    for taken in range(1, 20):
        assert next(found) == taken - 1
        assert len(begun) <= taken + 2 * threads._threads()
    found.close()


@pytest.mark.parametrize(("alone", "beside", "expected"), [(1.0, 2.2, False), (1.0, 1.8, False), (1.0, 1.2, True)])
def test_threads_are_used_where_they_were_faster(alone, beside, expected):
    pace = threads.Pace()
    chosen = []
    for _ in range(2 * threads._CYCLE):
        chosen.append(pace.on_threads(2))
        pace.note(chosen[-1], beside if chosen[-1] else alone)
    # Both are tried again from time to time; one run that took long for another reason decides nothing.
    for cycle in (chosen[: threads._CYCLE], chosen[threads._CYCLE :]):
        assert cycle[:7] == [False] * 3 + [True] * 4
        assert set(cycle[7:]) == {expected}
    pace.note(expected, 100.0)
    assert [pace.on_threads(2) for _ in range(20)][7:] == [expected] * 13


def test_runs_are_as_long_as_things_are_quick():
    pace = threads.Pace()
    assert pace.length(True) == 1
    for seconds, expected in ((1.0, 1), (threads._RUN_SECONDS / 8, 8), (1e-9, threads._LONGEST_RUN)):
        for _ in range(9):
            pace.note(True, seconds)
        assert pace.length(True) == expected
    assert pace.length(False) == 1


def test_quick_things_are_handed_over_in_runs():
    runs = 0

    class Counted:
        def __init__(self, pool):
            self.pool = pool

        def submit(self, *arguments):
            nonlocal runs
            runs += 1
            return self.pool.submit(*arguments)

    pool, before = Counted(threads._pool()), threads._pool
    threads._pool = lambda: pool
    try:
        assert list(each(abs, range(2000))) == list(range(2000))
    finally:
        threads._pool = before
    # All would be 2000; a machine that is busy may take some for slow.
    assert threads._threads() == 1 or 0 < runs < 1000


@pytest.mark.parametrize("shape", [(3, 2, 5), (0, 4), (2, 0)])
def test_workers_write_batches_to_where_they_are_sent(monkeypatch, shape):
    assert not empty_batch(shape, torch.float32).is_shared()
    monkeypatch.setattr("striate.data.samples.get_worker_info", lambda: SimpleNamespace(num_workers=2))
    batch = empty_batch(shape, torch.int64)
    assert (batch.shape, batch.dtype, batch.is_shared()) == (shape, torch.int64, True)
    batch.numpy()[...] = np.arange(batch.numel()).reshape(shape)
    assert batch.flatten().tolist() == list(range(batch.numel()))
    assert batch.is_contiguous()


def test_worker_processes_share_the_processors(monkeypatch):
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 6)
    assert threads._threads() == 6
    for workers, expected in ((2, 3), (4, 1), (12, 1)):
        info = SimpleNamespace(num_workers=workers)
        monkeypatch.setattr(threads, "get_worker_info", lambda info=info: info)
        assert threads._threads() == expected
    # With one processor each, nothing is handed over.
    assert set(each(lambda _: threading.current_thread(), range(9))) == {threading.current_thread()}
    assert isinstance(next(each(refused, [3])), DataError)
