"""Which algorithm computes a problem: the one whose estimate is lowest among those that can."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.cache import DiskCache, folder
from striate.compiler.jit import Function, Jit

if TYPE_CHECKING:
    from striate.compiler.algorithm import Algorithm, Launch, Strides
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target


@dataclass(frozen=True, slots=True)
class Plan:
    """A problem, ready to be computed as often as wanted: call it with the addresses of `algorithm.POINTERS`."""

    problem: ConvProblem
    algorithm: Algorithm
    function: Function
    launch: Launch

    def __call__(self, a: int, b: int, bias: int, out: int, workspace: int) -> None:
        """Run the kernel. Wrong addresses or arrays of another size crash the process."""
        self.function.call(a, b, bias, out, workspace, ctypes.addressof(self.launch.table), self.launch.threads)


def choose(problem: ConvProblem, target: Target, strict: bool = False) -> Algorithm | None:
    """The algorithm to use; None if there is none. ``strict`` leaves out those that are not exact."""
    spec = problem.spec
    able = [
        algorithm
        for algorithm in ALGORITHMS
        if spec.pass_ in algorithm.passes
        and (algorithm.exact or not strict)
        and algorithm.obstacle(spec, target) is None
    ]
    return min(able, key=lambda algorithm: algorithm.cycles(problem, target), default=None)


def plan(
    problem: ConvProblem,
    algorithm: Algorithm,
    target: Target,
    weight_strides: Strides,
    threads: int,
    jit: Jit | None = None,
) -> Plan:
    """Compile ``problem`` with ``algorithm``, or find it compiled."""
    return Plan(
        problem,
        algorithm,
        compiled(algorithm, problem.spec, target, jit or default_jit()),
        algorithm.launch(problem, target, weight_strides, threads),
    )


def compiled(algorithm: Algorithm, spec: Spec, target: Target, jit: Jit) -> Function:
    """The kernel of one kind of layer: from memory, from disk, or new."""
    pointers = len(algorithm.signature(spec).pointers)
    return jit.get(f"{algorithm.name} {spec}", lambda: algorithm.build(spec, target), pointers, target)


@cache
def default_jit() -> Jit:
    """The kernels of this process."""
    return Jit(DiskCache(folder()))
