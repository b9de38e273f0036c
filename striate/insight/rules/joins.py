"""Operators in which tensors meet: elementwise arithmetic, concatenation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.insight.fields import Field
from striate.insight.layout import Factor, Trace
from striate.insight.rules.call import Call, rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


# Elementwise, though PyTorch does not mark them so.
@rule("_prelu_kernel", "hardswish")
@rule(
    "copy", "where", "masked_fill", "native_dropout", "native_channel_shuffle", "channel_shuffle", "lift_fresh", "fill"
)
def meet(call: Call, output: Tensor, index: int) -> Trace | None:
    """Elementwise operators, with broadcasting: every output sees what its operands see."""
    operands = [trace for value in call.arguments.values() if (trace := call.trace_of(value)) is not None]
    return join(call, operands, output.shape)


def join(call: Call, operands: Sequence[Trace], shape: Sequence[int]) -> Trace | None:
    """The trace of tensors that are broadcast against each other to ``shape``."""
    if not operands:
        return None
    aligned = [
        Trace(trace.fields, (*(((Factor(1),),) * (len(shape) - len(trace.dims))), *trace.dims)) for trace in operands
    ]
    dims = []
    for dim, size in enumerate(shape):
        fitting = [trace.dims[dim] for trace in aligned if trace.shape[dim] == size]
        dims.append(max(fitting, key=lambda d: len({a for f in d for a in f.axes}), default=(Factor(size),)))
    joint = Trace(aligned[0].fields, tuple(dims))
    met = []
    lost = set()
    for axis, first in enumerate(joint.fields):
        branches = [trace.fields[axis] for trace in aligned]
        field = Field.meet(branches)
        # A branch whose one position is broadcast over many shifts nothing only if it sees all of them.
        fixed = any(
            [axis in trace.axes_along(d) for d in range(len(shape))]
            != [axis in joint.axes_along(d) for d in range(len(shape))]
            for trace in aligned
            if not trace.fields[axis].everywhere
        )
        if field is None or (fixed and not field.everywhere):
            lost.add(axis)
            field = first.unknown()
        met.append(field)
    if any(all(trace.fields[axis].known for trace in aligned) for axis in lost):
        call.note(f"{call.name} joins maps whose positions do not match; receptive fields end there")
    return Trace(tuple(met), joint.dims)


@rule("log_sigmoid_forward", "rrelu_with_noise")
def _activation(call: Call, output: Tensor, index: int) -> Trace | None:
    # What else they return is kept for the backward pass.
    return None if index else call.trace("self")


@rule("glu")
def _gate(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    dim = call.dim(output.ndim)
    axes = trace.axes_along(dim)
    return call.lose(trace, axes).with_dim(dim, (Factor(output.shape[dim], tuple(sorted(axes))),))


@rule("cat")
def _cat(call: Call, output: Tensor, index: int) -> Trace | None:
    operands = [trace for value in call.arguments["tensors"] if (trace := call.trace_of(value)) is not None]
    if not operands:
        return None
    dim = call.dim(output.ndim)
    axes = set().union(*(trace.axes_along(dim) for trace in operands))
    joined = (Factor(output.shape[dim], tuple(sorted(axes))),)
    met = join(call, [trace.with_dim(dim, joined) for trace in operands], output.shape)
    return None if met is None else call.lose(met, axes)


@rule("stack")
def _stack(call: Call, output: Tensor, index: int) -> Trace | None:
    operands = [trace for value in call.arguments["tensors"] if (trace := call.trace_of(value)) is not None]
    dim = call.dim(output.ndim)
    met = join(call, operands, [size for position, size in enumerate(output.shape) if position != dim])
    return None if met is None else met.with_new_dim(dim, output.shape[dim])
