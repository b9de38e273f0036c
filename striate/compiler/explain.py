"""Why a problem is computed the way it is: the algorithm chosen, and what speaks against each of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.compiler import parallel, tuning
from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.choose import able, choose, obstacle
from striate.compiler.target import host

if TYPE_CHECKING:
    from striate.compiler.problem import ConvProblem
    from striate.compiler.target import Target

CLOCK_HZ = 3.7e9
"""Cycles per second of the core that estimates are made for; another core's differ by a common factor."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One algorithm and what is known of it for one problem."""

    name: str
    cycles: float | None
    """The cost model's estimate, all cores together; None if the algorithm cannot compute the problem."""
    seconds: float | None
    """How long it took when the problem was measured; None if it was not."""
    exact: bool
    """Whether every sum is made of products of inputs and weights."""
    verdict: str
    """Why it was chosen, or why not."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `choose` decides for a problem, and why. Its text form is meant to be read.

    >>> from striate.compiler.problem import ConvProblem
    >>> explanation = explain(ConvProblem.parse("2d n8 c64 o64 i56 k3 s1 p1"))
    >>> explanation.chosen in {candidate.name for candidate in explanation.candidates}
    True
    """

    problem: ConvProblem
    chosen: str | None
    """The algorithm; None if no algorithm can, and PyTorch's operator computes the problem."""
    strict: str | None
    """What is chosen in its place where precision is strict."""
    candidates: tuple[Candidate, ...]

    @property
    def predicted_ms(self) -> float | None:
        """The estimate for the chosen algorithm on one core of 3.7 GHz, in milliseconds."""
        cycles = next((each.cycles for each in self.candidates if each.name == self.chosen), None)
        return None if cycles is None else 1e3 * cycles / CLOCK_HZ

    def __str__(self) -> str:
        wide = max((len(each.name) for each in self.candidates), default=0)
        lines = [f"{self.problem}: {self.chosen or 'no algorithm can; PyTorch computes it'}"]
        lines += [f"  {each.name:{wide}}  {each.verdict}" for each in self.candidates]
        if self.strict != self.chosen:
            lines.append(f"  With strict precision: {self.strict or 'none'}.")
        return "\n".join(lines)


def explain(problem: ConvProblem, target: Target | None = None) -> Explanation:
    """Say which algorithm `choose` picks for ``problem`` on ``target`` (by default this machine), and why."""
    target = host() if target is None else target
    with tuning.tuned(False):
        chosen, strict = choose(problem, target), choose(problem, target, strict=True)
        times = tuning.seconds(problem, target, able(problem.spec, target))
    estimates = {each.name: each.cycles(problem, target) for each in able(problem.spec, target)}
    candidates = []
    for algorithm in ALGORITHMS:
        name = algorithm.name
        reason = obstacle(algorithm, problem.spec, target)
        if chosen is None or reason is not None:
            verdict = reason or ""
        elif name in times and chosen.name in times:
            verdict = f"measured: {1e3 * times[name]:.3g} ms on {_threads()}"
            if name != chosen.name:
                verdict += _beside(times[name], times[chosen.name], "time")
        else:
            verdict = f"estimated: {_cycles(estimates[name])}"
            if name != chosen.name:
                verdict += _beside(estimates[name], estimates[chosen.name], "cost")
        if chosen is not None and name == chosen.name:
            verdict = f"chosen; {verdict}"
        if reason is None and not algorithm.exact:
            verdict += "; not with strict precision"
        candidates.append(Candidate(name, estimates.get(name), times.get(name), algorithm.exact, verdict))
    return Explanation(
        problem,
        None if chosen is None else chosen.name,
        None if strict is None else strict.name,
        tuple(candidates),
    )


def _cycles(count: float) -> str:
    return f"{count / 1e6:.3g} million cycles" if count >= 1e6 else f"{count:,.0f} cycles"


def _beside(more: float, less: float, what: str) -> str:
    if more <= less:
        return f", the same {what}, listed later"
    return f", {more / less:.2f} times the {what}" if less else ""


def _threads() -> str:
    count = parallel.threads()
    return f"{count} threads" if count > 1 else "one thread"
