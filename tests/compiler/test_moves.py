"""Filling, copying and transposing inside a kernel: every size, and not a byte beside it."""

import numpy as np
import pytest
from run_kernel import Guarded
from small_kernels import call, made

from striate.compiler.emit import Signature
from striate.compiler.moves import copy, fill, transpose, turn
from striate.compiler.target import AVX2, AVX512, SSE, runs_here

TARGETS = [AVX512, AVX2, SSE]
DTYPES = ["float32", "float64"]
SIZES = [0, 1, 3, 4, 5, 8, 15, 16, 17, 31, 33, 70]
MOVE = Signature(pointers=("source", "result"), numbers=("count",), phases=("move",))
TRANSPOSE = Signature(
    pointers=("source", "result"), numbers=("rows", "columns", "source_row", "result_row"), phases=("move",)
)


@pytest.fixture(params=TARGETS, ids=lambda target: target.name)
def target(request):
    if not runs_here(request.param):
        pytest.skip(f"this machine cannot run {request.param.name} code")
    return request.param


def guarded(values, at_start=False):
    """A copy of an array that touches a page nobody may touch; it lives as long as the memory returned with it."""
    memory = Guarded(values.nbytes, at_start)
    array = memory.array(values.shape, str(values.dtype))
    array[...] = values
    return memory, array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("at_start", [False, True])
def test_fill_and_copy(target, dtype, at_start, jit):
    filled = made(jit, "fill", MOVE, lambda k: fill_tasks(k), dtype, target)
    copied = made(jit, "copy", MOVE, lambda k: copy_tasks(k), dtype, target)
    for count in SIZES:
        source = np.arange(1, count + 1, dtype=dtype)
        kept, result = guarded(np.full(count, np.nan, dtype), at_start)
        also_kept, read = guarded(source, at_start)
        call(filled, MOVE, (read, result), (1,), count=count)
        assert (result == 2.5).all()
        call(copied, MOVE, (read, result), (1,), count=count)
        np.testing.assert_array_equal(result, source)
        del kept, also_kept


def fill_tasks(k):
    with k.tasks():
        fill(k, k.pointers["result"], k.numbers["count"], 2.5)


def copy_tasks(k):
    with k.tasks():
        copy(k, k.pointers["source"], k.pointers["result"], k.numbers["count"])


def transpose_tasks(k):
    with k.tasks():
        n, p = k.numbers, k.pointers
        transpose(k, p["source"], n["source_row"], p["result"], n["result_row"], n["rows"], n["columns"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("at_start", [False, True])
def test_transpose_any_number_of_rows_and_columns(target, dtype, at_start, jit):
    function = made(jit, "transpose", TRANSPOSE, transpose_tasks, dtype, target)
    for rows in SIZES:
        for columns in SIZES:
            source = np.arange(1, rows * columns + 1, dtype=dtype).reshape(rows, columns)
            kept, read = guarded(source, at_start)
            also_kept, result = guarded(np.full((columns, rows), np.nan, dtype), at_start)
            call(
                function, TRANSPOSE, (read, result), (1,), rows=rows, columns=columns, source_row=columns,
                result_row=rows,
            )  # fmt: skip
            np.testing.assert_array_equal(result, source.T)
            del kept, also_kept


def test_transpose_leaves_what_lies_between_rows(target, jit):
    function = made(jit, "transpose", TRANSPOSE, transpose_tasks, "float32", target)
    source, result = np.arange(20 * 40, dtype="f4").reshape(20, 40), np.full((40, 30), -1, "f4")
    call(function, TRANSPOSE, (source, result), (1,), rows=18, columns=33, source_row=40, result_row=30)
    np.testing.assert_array_equal(result[:33, :18], source[:18, :33].T)
    assert (result[33:] == -1).all()
    assert (result[:, 18:] == -1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_turning_a_square_in_registers(target, dtype, jit):
    lanes = target.lanes(dtype)

    def write(k):
        with k.tasks():
            square = [(k.pointers["source"] + row * lanes).load(lanes) for row in range(lanes)]
            for row, vector in enumerate(turn(square)):
                (k.pointers["result"] + row * lanes).store(vector)

    source = np.arange(lanes * lanes, dtype=dtype).reshape(lanes, lanes)
    result = np.zeros_like(source)
    call(made(jit, "turn", MOVE, write, dtype, target), MOVE, (source, result), (1,), count=0)
    np.testing.assert_array_equal(result, source.T)
