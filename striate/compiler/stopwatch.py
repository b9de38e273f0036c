"""How long algorithms take on this machine, side by side on the same numbers."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from striate.compiler.plan import plan
from striate.compiler.target import BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.compiler.algorithm import Algorithm
    from striate.compiler.jit import Jit
    from striate.compiler.problem import ConvProblem
    from striate.compiler.target import Target

ROUNDS = 7
ROUND_SECONDS = 0.01
"""At least this long is each algorithm run in each round, as often as that takes."""


def elements(problem: ConvProblem) -> tuple[int, int, int]:
    """How many numbers input, weight and output hold."""
    spec = problem.spec
    return (
        problem.batch * spec.in_channels * math.prod(problem.input_size),
        spec.out_channels * spec.group_in_channels * math.prod(spec.kernel_size),
        problem.batch * spec.out_channels * math.prod(problem.output_size),
    )


def bytes_moved(problem: ConvProblem) -> int:
    """What any algorithm must move: both operands read and the result written, once each."""
    return sum(elements(problem)) * BYTES[problem.spec.dtype]


def weight_strides(problem: ConvProblem) -> tuple[int, ...]:
    """The strides of a weight that lies as torch makes it."""
    spec = problem.spec
    shape = (spec.out_channels, spec.group_in_channels, *spec.kernel_size)
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def seconds(
    problem: ConvProblem, algorithms: Sequence[Algorithm], target: Target, threads: int, jit: Jit | None = None
) -> dict[str, float]:
    """The shortest time of each algorithm, by name. They take turns, so that a busy moment hits all of them alike."""
    if not algorithms:
        return {}
    spec = problem.spec
    random = np.random.default_rng(0)
    x, weight, y = (random.random(count, np.float32).astype(spec.dtype) - 0.5 for count in elements(problem))
    bias = np.zeros(2 * max(spec.in_channels, spec.out_channels), spec.dtype)  # room for scales too
    a, b, out = {"forward": (x, weight, y), "grad_input": (y, weight, x), "grad_weight": (y, x, weight)}[spec.pass_]
    plans = [plan(problem, algorithm, target, weight_strides(problem), threads, jit) for algorithm in algorithms]
    workspace = np.empty(max(ready.launch.workspace_bytes for ready in plans) + 64, np.uint8)
    aligned = -(-workspace.ctypes.data // 64) * 64
    arguments = (a.ctypes.data, b.ctypes.data, bias.ctypes.data if spec.bias else 0, out.ctypes.data, aligned)
    best: dict[str, float] = {}
    for turn in range(ROUNDS + 1):
        for ready in plans:
            name = ready.algorithm.name
            repeats = max(1, math.ceil(ROUND_SECONDS / best[name])) if turn else 1
            start = time.perf_counter()
            for _ in range(repeats):
                ready(*arguments)
            taken = max((time.perf_counter() - start) / repeats, 1e-9)
            # The first turn only brings code and memory in.
            best[name] = taken if turn < 2 else min(best[name], taken)
    return best
