"""What each of PyTorch's operators does to receptive fields.

One function per kind of operator, found by schema name. It gets a `Call` and one of its outputs, and returns the
output's `Trace`, or None where the output does not depend on the input's values. Operators without a rule are not
guessed: the fields behind them are marked as unknown and the summary says so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from striate.insight.rules import sums, views, windows
from striate.insight.rules.call import RULES, Call, Rule, schema_of
from striate.insight.rules.joins import meet

if TYPE_CHECKING:
    from torch import Tensor

    from striate.insight.layout import Trace

__all__ = ["Call", "fitted", "rule_for", "schema_of", "views", "windows"]


def rule_for(operator: torch._ops.OpOverload) -> Rule | None:
    """The rule of an operator, or None."""
    schema = schema_of(operator)
    found = RULES.get(schema.name) or RULES.get(schema.name.removesuffix("_"))
    if found is None and torch.Tag.pointwise in operator.tags:
        return meet
    if found is None and torch.Tag.reduction in operator.tags:
        return sums.reduce
    return found


def fitted(call: Call, trace: Trace | None, output: Tensor) -> Trace | None:
    """Check a rule's answer against the shape that the operator returned; a layout that does not fit is forgotten."""
    if trace is None or trace.shape == tuple(output.shape):
        return trace
    if math.prod(trace.shape) == math.prod(output.shape):
        return trace.forgotten(output.shape)
    return call.lose(trace).forgotten(output.shape)
