"""Operators that sum over positions or channels: reductions, matrix products, attention, normalisations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.insight.cost import ATTENTION
from striate.insight.layout import Factor, Trace
from striate.insight.rules.call import Call, rule
from striate.insight.rules.joins import join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@rule(
    "max.dim", "min", "max", "argmax", "argmin", "std_mean", "var_mean", "linalg_vector_norm", "norm", "median", "mode"
)
def reduce(call: Call, output: Tensor, index: int) -> Trace | None:
    """Reductions over ``dim``, or over everything."""
    trace = call.trace("self") or call.trace("input")
    if trace is None:
        return None
    ndim = len(trace.dims)
    given = call.arguments.get("dim")
    listed = [given] if isinstance(given, int) else list(given or range(ndim))
    dims = [dim % max(ndim, 1) for dim in listed]
    trace = trace.spread(*dims)
    if output.ndim == ndim:
        for dim in dims:
            trace = trace.with_dim(dim, (Factor(output.shape[dim]),))
        return trace
    return trace.without_dims(*dims)


@rule("_softmax", "_log_softmax", "softmax", "log_softmax")
def _softmax(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    return None if trace is None else trace.spread(call.dim(output.ndim))


@rule("mm", "bmm", "addmm", "_addmm_activation", "baddbmm", "mv", "addmv", "dot", "linear")
def _matrix_product(call: Call, output: Tensor, index: int) -> Trace | None:
    names = {"addmm": ("mat1", "mat2"), "_addmm_activation": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2")} | {
        "mv": ("self", "vec"), "addmv": ("mat", "vec"), "dot": ("self", "tensor"), "linear": ("input", "weight")
    }  # fmt: skip
    operator = call.name.removeprefix("aten::")
    left, right = (call.trace(name) for name in names.get(operator, ("self", "mat2")))
    operands = []
    if left is not None:
        left = left.spread(len(left.dims) - 1)
        operands.append(
            left.without_dims(len(left.dims) - 1)
            if operator in ("mv", "addmv", "dot")
            else left.with_dim(len(left.dims) - 1, (Factor(output.shape[-1]),))
        )
    if right is not None:
        summed = max(len(right.dims) - 2, 0)
        right = right.spread(summed)
        operands.append(
            right.without_dims(summed) if len(right.dims) == 1 else right.with_dim(summed, (Factor(output.shape[-2]),))
        )
    if len(operands) == 2:
        # An attention score belongs to two positions at once, which are no one field; taken for everything, as the sum
        # that always follows is.
        both = set(range(len(operands[0].fields)))
        both = {axis for axis in both if all(axis in o.axes_along(*range(len(o.dims))) for o in operands)}
        batch = operands[0].axes_along(*range(output.ndim - 2)) if output.ndim > 2 else set()
        operands = [o.change(both - batch, lambda field: field.through_everything()) for o in operands]
    added = call.trace("self") if operator.startswith(("add", "_add", "badd")) else call.trace("bias")
    return join(call, [*operands, added] if added is not None else operands, output.shape)


@rule(*(name.removeprefix("aten::") for name in ATTENTION))
def _attention(call: Call, output: Tensor, index: int) -> Trace | None:
    operands = [trace for name in ("query", "key", "value") if (trace := call.trace(name)) is not None]
    if not operands or index > 0:
        return None
    spread = [trace.spread(output.ndim - 2, output.ndim - 1) for trace in operands]
    axes = set().union(*(trace.axes_along(output.ndim - 2, output.ndim - 1) for trace in operands))
    query = spread[0].change(axes, lambda field: field.through_everything())
    return query.with_dim(output.ndim - 1, (Factor(output.shape[-1]),))


@rule("mkldnn_rnn_layer")
def _recurrent(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("input")
    if trace is None:
        return None
    trace = trace.spread(0, len(trace.dims) - 1)
    return trace.with_dim(2, (Factor(output.shape[2]),)) if index == 0 else trace.without_dims(0)


# Normalisations: their statistics are left out, and the summary says so ----------------------------------------------


def _normalise(call: Call, trace: Trace | None, dims: Sequence[int]) -> Trace | None:
    if trace is not None and any(not trace.fields[axis].everywhere for axis in trace.axes_along(*dims)):
        call.note("normalises over positions; the receptive field leaves out what its statistics see")
    return trace


@rule("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training")
def _batch_norm(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("input")
    if index or trace is None:
        return None
    batch_statistics = call.arguments.get("training", False)
    return _normalise(call, trace, [d for d in range(output.ndim) if d != 1] if batch_statistics else [])


@rule("native_group_norm")
def _group_norm(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("input")
    return None if index or trace is None else _normalise(call, trace, range(1, output.ndim))


@rule("native_layer_norm", "_fused_rms_norm")
def _layer_norm(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("input")
    count = len(call.arguments["normalized_shape"])
    return None if index or trace is None else _normalise(call, trace, range(output.ndim - count, output.ndim))
