"""How a kernel is born, for one problem: chosen, written, compiled, and measured beside what the machine allows."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler import bounds, stopwatch
from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.choose import obstacle
from striate.compiler.explain import CLOCK_HZ, Explanation, explain
from striate.compiler.jit import assembly, compile_object
from striate.compiler.loops import Loop, innermost
from striate.compiler.target import runs_here
from striate.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from striate.compiler.algorithm import Algorithm
    from striate.compiler.problem import ConvProblem
    from striate.compiler.target import Target


@dataclass(frozen=True, slots=True)
class KernelReport:
    """One kernel and how it came to be. What was measured is None where this machine cannot run it."""

    explanation: Explanation
    algorithm: str
    essay: str
    """What the algorithm's file says of itself: formula, layout, loops, why."""
    llvm: str
    """The kernel as it was written, before any optimisation."""
    inner_loop: Loop | None
    """The machine code of the innermost loop that computes most."""
    compile_seconds: float
    code_bytes: int
    threads: int
    predicted_seconds: float
    measured_seconds: float | None
    bounds: bounds.Bounds | None

    def to_dict(self) -> dict[str, object]:
        """For JSON: everything but the essay and the code."""
        problem, limit, loop = self.explanation.problem, self.bounds, self.inner_loop
        return {
            "problem": str(problem),
            "macs": problem.macs,
            "bytes_moved": stopwatch.bytes_moved(problem),
            "algorithm": self.algorithm,
            "strict": self.explanation.strict,
            "candidates": [
                {"name": each.name, "cycles": each.cycles, "verdict": each.verdict}
                for each in self.explanation.candidates
            ],
            "compile_ms": 1e3 * self.compile_seconds,
            "code_bytes": self.code_bytes,
            "threads": self.threads,
            "predicted_ms": 1e3 * self.predicted_seconds,
            "measured_ms": None if self.measured_seconds is None else 1e3 * self.measured_seconds,
            "arithmetic_bound_ms": limit and 1e3 * limit.arithmetic_seconds,
            "bandwidth_bound_ms": limit and 1e3 * limit.bandwidth_seconds,
            "binding": limit and limit.binding,
            "inner_loop": loop
            and {
                "multiply_adds": loop.multiply_adds,
                "loads": loop.loads,
                "stores": loop.stores,
                "spills": loop.spills,
                "others": loop.others,
            },
        }


def report(problem: ConvProblem, target: Target, threads: int, name: str | None = None) -> KernelReport | None:
    """Make the kernel for ``problem`` and say everything about it; None if no algorithm can.

    ``name`` picks an algorithm in place of the one that `choose` picks. Raises `InputError` if it cannot.
    """
    explanation = explain(problem, target)
    algorithm = _named(name or explanation.chosen, problem, target) if name or explanation.chosen else None
    if algorithm is None:
        return None
    start = time.perf_counter()
    text = algorithm.build(problem.spec, target).text
    code = compile_object(text, target)
    compile_seconds = time.perf_counter() - start
    loops = innermost(assembly(text, target))
    runs = runs_here(target) and problem.macs > 0
    return KernelReport(
        explanation,
        algorithm.name,
        inspect.cleandoc(inspect.getdoc(inspect.getmodule(algorithm)) or ""),
        text,
        loops[0] if loops and loops[0].multiply_adds else None,
        compile_seconds,
        len(code),
        threads,
        algorithm.cycles(problem, target) / CLOCK_HZ / threads,
        stopwatch.seconds(problem, [algorithm], target, threads)[algorithm.name] if runs else None,
        bounds.bounds(problem, target, threads) if runs else None,
    )


def _named(name: str | None, problem: ConvProblem, target: Target) -> Algorithm:
    known = {algorithm.name: algorithm for algorithm in ALGORITHMS}
    if name not in known:
        raise InputError("the name of an algorithm", repr(name), did_you_mean(str(name), known))
    reason = obstacle(known[name], problem.spec, target)
    if reason is not None:
        raise InputError(f"an algorithm for {problem}", f"{name}, which cannot: {reason}", "Leave the choice open.")
    return known[name]
