"""Which algorithm computes a problem: the one whose estimate is lowest among those that can.

Where a problem was measured on this machine (`striate.compiler.tuning`), what was measured decides. Equal estimates go
to the algorithm that is listed first, so that the same problem always gets the same code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.compiler import tuning
from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.plan import Plan, compiled, default_jit, plan
from striate.compiler.target import host

if TYPE_CHECKING:
    from striate.compiler.algorithm import Algorithm
    from striate.compiler.problem import ConvProblem, Spec
    from striate.compiler.target import Target

__all__ = ["Plan", "able", "choose", "compiled", "default_jit", "obstacle", "plan", "tune"]


def choose(problem: ConvProblem, target: Target, strict: bool = False) -> Algorithm | None:
    """The algorithm to use; None if there is none. ``strict`` leaves out those that are not exact."""
    everyone = able(problem.spec, target)
    can = [algorithm for algorithm in everyone if algorithm.exact or not strict]
    if len(can) < 2:
        return can[0] if can else None
    times = tuning.seconds(problem, target, everyone)
    measured = [algorithm for algorithm in can if algorithm.name in times]
    if measured:
        return min(measured, key=lambda algorithm: times[algorithm.name])
    return min(can, key=lambda algorithm: algorithm.cycles(problem, target))


def tune(problem: ConvProblem, target: Target | None = None) -> dict[str, float]:
    """Measure the algorithms that can compute ``problem``, and let `choose` go by it from now on: seconds by name."""
    target = host() if target is None else target
    return tuning.measure(problem, target, able(problem.spec, target))


def able(spec: Spec, target: Target, strict: bool = False) -> list[Algorithm]:
    """The algorithms that can compute a kind of layer, as they are listed."""
    return [algorithm for algorithm in ALGORITHMS if obstacle(algorithm, spec, target, strict) is None]


def obstacle(algorithm: Algorithm, spec: Spec, target: Target, strict: bool = False) -> str | None:
    """Why ``algorithm`` cannot be used; None if it can."""
    if spec.pass_ not in algorithm.passes:
        return f"computes {' and '.join(algorithm.passes)} only"
    if strict and not algorithm.exact:
        return "strict precision leaves it out: its sums are not exactly those of the definition"
    return algorithm.obstacle(spec, target)
