"""Machine code that Python calls as a function of its own."""

import ctypes
import gc
import sys
import threading

import numpy as np
import pytest
from small_kernels import SCALE, get_scale

from striate.compiler.builtin import builtin


def call(function, source, result, factor, threads=1):
    table = SCALE.table((source.shape[0],), count=source.shape[1])
    return function.call(source.ctypes.data, factor.ctypes.data, result.ctypes.data, ctypes.addressof(table), threads)


def test_a_kernel_is_called_and_gives_none(jit):
    source, result = np.ones((3, 5), np.float32), np.zeros((3, 5), np.float32)
    assert call(get_scale(jit), source, result, np.full(1, 2, np.float32)) is None
    assert (result == 2).all()


@pytest.mark.parametrize("wrong", [(), (1, 2), (1.0,) * 5, ("a",) * 5, (None,) * 5, (0,) * 6])
def test_anything_but_so_many_integers_is_refused_before_it_runs(jit, wrong):
    with pytest.raises(TypeError):
        get_scale(jit).call(*wrong)


def test_calls_count_no_references(jit):
    source, result, factor = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), np.ones(1, np.float32)
    function, address = get_scale(jit), 2**61 + 1
    before = sys.getrefcount(None), sys.getrefcount(address)
    for _ in range(10_000):
        call(function, source, result, factor)
    assert abs(sys.getrefcount(None) - before[0]) < 1000
    assert sys.getrefcount(address) == before[1]


def test_other_threads_run_meanwhile():
    """Two threads meet in machine code: each must be inside for the other to leave."""
    libc = ctypes.CDLL(None)
    barrier = ctypes.create_string_buffer(64)
    libc.pthread_barrier_init(barrier, None, 2)
    wait = builtin(ctypes.cast(libc.pthread_barrier_wait, ctypes.c_void_p).value, 1)
    threads = [threading.Thread(target=wait, args=(ctypes.addressof(barrier),), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_functions_go_with_their_kernels():
    gc.collect()
    libc = ctypes.CDLL(None)
    address = ctypes.cast(libc.abs, ctypes.c_void_p).value
    functions = [builtin(address, 1) for _ in range(100)]
    assert all(function(1) is None for function in functions)
    held = sys.getrefcount(functions[0])  # by the list and by this call
    assert held == 2
