"""What no kernel of a machine can exceed: multiply-adds from registers alone, and copying memory.

Both are measured with kernels of a few lines. A convolution that needs its multiplications cannot run faster than the
first allows, none can run faster than its operands come and its result goes.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from striate.compiler.emit import Kernel, Program, Signature
from striate.compiler.moves import copy
from striate.compiler.plan import default_jit
from striate.compiler.stopwatch import bytes_moved
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from striate.compiler.jit import Function
    from striate.compiler.problem import ConvProblem
    from striate.compiler.target import Target

MULTIPLY = Signature(pointers=("values", "result"), numbers=("steps",), phases=("multiply",))
COPY = Signature(pointers=("source", "result"), numbers=("count",), phases=("copy",))
SUMS = 12
"""Independent sums: more than latency times rate of any multiply-adder, and few enough for sixteen registers."""
STEPS = 50_000
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """The shortest times for one problem that the machine allows."""

    arithmetic_seconds: float
    """Time for all multiply-adds. Algorithms that need fewer multiplications, such as Winograd's, can be quicker."""
    bandwidth_seconds: float
    """Time to copy as many bytes as operands and result have."""

    @property
    def binding(self) -> str:
        """Which of the two takes longer: ``arithmetic`` or ``bandwidth``."""
        return "arithmetic" if self.arithmetic_seconds >= self.bandwidth_seconds else "bandwidth"


def bounds(problem: ConvProblem, target: Target, threads: int) -> Bounds:
    """Measure (once for each target and size class) what the machine allows for ``problem``."""
    moved = bytes_moved(problem)
    # Copies of as many bytes, to a power of two, stay in the same cache as the problem, or in none.
    rate = copy_bytes_per_second(target, threads, 1 << max(16, moved.bit_length()))
    return Bounds(2 * problem.macs / peak_flops(target, problem.spec.dtype, threads), moved / rate)


@cache
def peak_flops(target: Target, dtype: str, threads: int) -> float:
    """Floating-point operations per second of a loop of multiply-adds that touches no memory, two for each."""
    function = default_jit().get(f"multiply {dtype}", lambda: _multiply(target, dtype), len(MULTIPLY.pointers), target)
    lanes = target.lanes(dtype)
    values, result = np.full(2, 0.5, dtype), np.zeros(threads * SUMS * lanes, dtype)
    best = _shortest(function, MULTIPLY.table((threads,), steps=STEPS), values, result, threads)
    return 2 * lanes * SUMS * STEPS * threads / best


@cache
def copy_bytes_per_second(target: Target, threads: int, total_bytes: int) -> float:
    """Bytes read plus bytes written per second by a copy of ``total_bytes / 2``."""
    function = default_jit().get("copy", lambda: _copy(target), len(COPY.pointers), target)
    tasks = 8 * threads
    count = max(1, total_bytes // 2 // BYTES["float32"] // tasks)
    source, result = np.ones(tasks * count, np.float32), np.zeros(tasks * count, np.float32)
    best = _shortest(function, COPY.table((tasks,), count=count), source, result, threads)
    return 2 * tasks * count * BYTES["float32"] / best


def _multiply(target: Target, dtype: str) -> Program:
    k = Kernel("multiply", target, MULTIPLY, dtype)
    with k.phase("multiply"):
        a, b = ((k.pointers["values"] + place).load().broadcast(k.lanes) for place in (0, 1))
        with k.tasks() as task:
            own = k.pointers["result"] + task * (SUMS * k.lanes)
            # Begun with what LLVM cannot know, or it would compute equal sums only once.
            sums = [k.variable((own + place * k.lanes).load(k.lanes)) for place in range(SUMS)]
            with k.loop(k.numbers["steps"]):
                for each in sums:
                    each.set(k.fma(a, b, each.get()))
            for place, each in enumerate(sums):
                (own + place * k.lanes).store(each.get())
    return k.finish()


def _copy(target: Target) -> Program:
    k = Kernel("copy", target, COPY)
    with k.phase("copy"):
        count = k.numbers["count"]
        with k.tasks() as task:
            copy(k, k.pointers["source"] + task * count, k.pointers["result"] + task * count, count)
    return k.finish()


def _shortest(
    function: Function,
    table: ctypes.Array[ctypes.c_int64],
    source: np.ndarray[tuple[int], np.dtype[np.generic]],
    result: np.ndarray[tuple[int], np.dtype[np.generic]],
    threads: int,
) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function(source.ctypes.data, result.ctypes.data, ctypes.addressof(table), threads)
        best = min(best, time.perf_counter() - start)
    return best
