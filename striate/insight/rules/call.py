"""One call of an operator, and the table of rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import Tensor

    from striate.insight.layout import Trace

Rule: TypeAlias = "Callable[[Call, Tensor, int], Trace | None]"
"""A rule gets a call and one of its outputs, with the output's place among them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator: its schema name, its arguments, what is known of its tensors, where to note trouble."""

    name: str
    arguments: Mapping[str, Any]
    trace_of: Callable[[Any], Trace | None]
    note: Callable[[str], None]

    def trace(self, argument: str) -> Trace | None:
        """The trace of a tensor argument."""
        return self.trace_of(self.arguments.get(argument))

    def dim(self, ndim: int, argument: str = "dim") -> int:
        """A dimension argument as a number from 0."""
        return int(self.arguments[argument]) % max(ndim, 1)

    def lose(self, trace: Trace, axes: set[int] | None = None) -> Trace:
        """Mark fields as unknown, with a note if they were known."""
        chosen = set(range(len(trace.fields))) if axes is None else axes
        hidden = trace.hidden(chosen)
        if hidden != trace:
            self.note(f"{self.name} rearranges positions in a way that is not followed; receptive fields end there")
        return hidden


RULES: dict[str, Rule] = {}
"""The rules by schema name."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for these operators, of ATen where no other library is named."""

    def register(function: Rule) -> Rule:
        RULES.update({name if "::" in name else f"aten::{name}": function for name in names})
        return function

    return register


def schema_of(operator: torch._ops.OpOverload) -> torch.FunctionSchema:
    """The schema of an operator: its name, its arguments, and whether it writes to them."""
    return operator._schema  # noqa: SLF001  # there is no public way to it
