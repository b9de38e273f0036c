"""Operators that only rearrange: views, permutations, slices, copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.insight.fields import window
from striate.insight.layout import Factor, Trace
from striate.insight.rules.call import Call, rule

if TYPE_CHECKING:
    from torch import Tensor


@rule("detach", "alias", "clone", "contiguous", "_to_copy", "view_as_real", "lift_fresh_copy", "bernoulli")
def _same(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    return trace if trace is None or len(trace.dims) == output.ndim else trace.forgotten(output.shape)


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "view_copy")
def _view(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    reshaped, whole = trace.reshaped(tuple(output.shape))
    if not whole:
        call.note(f"{call.name} cuts a spatial axis into parts; receptive fields end there")
    return reshaped


@rule("squeeze")
def _squeeze(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    given = call.arguments.get("dim")
    ndim = len(trace.dims)
    dims = range(ndim) if given is None else [d % ndim for d in ([given] if isinstance(given, int) else given)]
    return trace.without_dims(*(dim for dim in dims if trace.shape[dim] == 1))


@rule("unsqueeze")
def _unsqueeze(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    return None if trace is None else trace.with_new_dim(call.dim(output.ndim))


@rule("permute", "transpose", "t")
def _permute(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    order = list(range(output.ndim))
    if "dims" in call.arguments:
        order = [dim % output.ndim for dim in call.arguments["dims"]]
    else:
        first, second = (
            (call.dim(output.ndim, "dim0"), call.dim(output.ndim, "dim1"))
            if "dim0" in call.arguments
            else (0, output.ndim - 1)
        )
        order[first], order[second] = order[second], order[first]
    return trace.permuted(order)


@rule("expand", "repeat")
def _expand(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    while len(trace.dims) < output.ndim:
        trace = trace.with_new_dim(0)
    for dim, size in enumerate(output.shape):
        if trace.shape[dim] != size:
            trace = call.lose(trace, trace.axes_along(dim)).with_dim(dim, (Factor(size),))
    return trace


def _take(call: Call, trace: Trace, dim: int, start: int, step: int, size: int) -> Trace:
    """Keep ``size`` positions of a dimension from ``start`` on."""
    if start == 0 and size == trace.shape[dim]:
        return trace
    axis = trace.only_axis(dim)
    if axis is None:
        axes = trace.axes_along(dim)
        return call.lose(trace, axes).with_dim(dim, (Factor(size, tuple(sorted(axes))),))
    taken = trace.change({axis}, lambda field: window(field, 1, step, -start))
    return taken.with_dim(dim, (Factor(size, (axis,)),))


@rule("slice")
def _slice(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    dim = call.dim(output.ndim)
    length = trace.shape[dim]
    start, _, step = slice(call.arguments["start"], call.arguments["end"], call.arguments["step"]).indices(length)
    return _take(call, trace, dim, start, step, output.shape[dim])


@rule("select")
def _select(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    dim = call.dim(len(trace.dims))
    position = call.arguments["index"] % trace.shape[dim]
    return _take(call, trace, dim, position, 1, 1).without_dims(dim)


@rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk")
def _split(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    dim = call.dim(output.ndim)
    sizes = call.arguments.get("split_sizes") or call.arguments.get("split_size")
    start = sum(sizes[:index]) if isinstance(sizes, list | tuple) else index * int(sizes or 0)
    return _take(call, trace, dim, start, 1, output.shape[dim])


@rule("unbind")
def _unbind(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    dim = call.dim(len(trace.dims))
    return _take(call, trace, dim, index, 1, 1).without_dims(dim)


@rule("flip", "roll", "index_select", "sort", "topk")
def _rearrange(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    given = call.arguments.get("dims", call.arguments.get("dim"))
    ndim = len(trace.dims)
    for dim in [given] if isinstance(given, int) else list(given or range(ndim)):
        dim = dim % max(ndim, 1)
        axes = tuple(sorted(trace.axes_along(dim)))
        trace = call.lose(trace, set(axes)).with_dim(dim, (Factor(output.shape[dim], axes),))
    return trace


@rule("embedding")
def _embedding(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("indices")
    return None if trace is None else trace.with_new_dim(output.ndim - 1, output.shape[-1])


@rule(
    *(f"{kind}_like" for kind in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")),
    *(f"new_{kind}" for kind in ("empty", "zeros", "ones", "full", "empty_strided")),
    "_local_scalar_dense",
    "sym_size",
)
def _constant(call: Call, output: Tensor, index: int) -> Trace | None:
    return None
