"""A problem made ready to run: its kernel, compiled or found, and what the kernel has to be told."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

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
        compiled(algorithm, problem.spec, target, default_jit() if jit is None else jit),
        algorithm.launch(problem, target, weight_strides, threads),
    )


def compiled(algorithm: Algorithm, spec: Spec, target: Target, jit: Jit) -> Function:
    """The kernel of one kind of layer: from memory, from disk, or new."""
    pointers = len(algorithm.signature(spec).pointers)
    return jit.get(kernel_name(algorithm, spec), lambda: algorithm.build(spec, target), pointers, target)


def store(algorithm: Algorithm, spec: Spec, target: Target, jit: Jit) -> None:
    """Compile one kind of layer to disk, unless it is there."""
    jit.store(kernel_name(algorithm, spec), lambda: algorithm.build(spec, target), target)


def kernel_name(algorithm: Algorithm, spec: Spec) -> str:
    """What `Jit` knows a kernel by."""
    return f"{algorithm.name} {spec}"


@cache
def default_jit() -> Jit:
    """The kernels of this process."""
    return Jit(DiskCache(folder()))
