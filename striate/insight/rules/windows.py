"""Operators with a sliding window: convolutions, pools, paddings, resizes."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from striate.insight import fields
from striate.insight.layout import Factor, Trace
from striate.insight.rules.call import Call, rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from striate.insight.fields import Field


def _along_window(call: Call, trace: Trace, output: Tensor, count: int, change: Callable[[int, Field], Field]) -> Trace:
    """Apply ``change(i, field)`` to the axis along the i-th of the last ``count`` dimensions."""
    for position in range(count):
        dim = output.ndim - count + position
        axis = trace.only_axis(dim)
        if axis is not None:
            trace = trace.change({axis}, lambda field, position=position: change(position, field))  # type: ignore[misc]  # mypy cannot infer a lambda's default
            trace = trace.with_dim(dim, (Factor(output.shape[dim], (axis,)),))
        elif trace.axes_along(dim):
            axes = trace.axes_along(dim)
            trace = call.lose(trace, axes).with_dim(dim, (Factor(output.shape[dim], tuple(sorted(axes))),))
        else:
            trace = trace.with_dim(dim, (Factor(output.shape[dim]),))
    return trace


def _entry(values: Sequence[int], position: int, default: int) -> int:
    # ATen takes one number for all axes, or nothing for the default.
    return values[position] if len(values) > 1 else values[0] if values else default


@rule("convolution", "_convolution")
def _convolution(call: Call, output: Tensor, index: int) -> Trace | None:
    trace, arguments = call.trace("input"), call.arguments
    if trace is None:
        return None
    kernel_size = tuple(arguments["weight"].shape[2:])
    along = fields.transposed_window if arguments["transposed"] else fields.window

    def change(position: int, field: Field) -> Field:
        stride, pad, dilation = (_entry(arguments[n], position, 1) for n in ("stride", "padding", "dilation"))
        return along(field, kernel_size[position], stride, pad, dilation)

    trace = trace.spread(1).with_dim(1, (Factor(output.shape[1]),))
    return _along_window(call, trace, output, len(kernel_size), change)


@rule("striate::conv", "striate::conv_grad_input")
def _compiled(call: Call, output: Tensor, index: int) -> Trace | None:
    transposed = call.name.endswith("grad_input")
    trace, arguments = call.trace("grad_output" if transposed else "input"), call.arguments
    if trace is None:
        return None
    kernel_size = tuple(arguments["weight"].shape[2:])
    along = fields.transposed_window if transposed else fields.window

    def change(position: int, field: Field) -> Field:
        stride, dilation, before = arguments["stride"], arguments["dilation"], arguments["pads"][::2]
        return along(field, kernel_size[position], stride[position], before[position], dilation[position])

    trace = trace.spread(1).with_dim(1, (Factor(output.shape[1]),))
    return _along_window(call, trace, output, len(kernel_size), change)


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices")
def _pool(call: Call, output: Tensor, index: int) -> Trace | None:
    trace, arguments = call.trace("self"), call.arguments
    if trace is None:
        return None

    def change(position: int, field: Field) -> Field:
        kernel_size = _entry(arguments["kernel_size"], position, 1)
        stride = _entry(arguments["stride"], position, kernel_size)
        dilation = _entry(arguments.get("dilation", ()), position, 1)
        return fields.window(field, kernel_size, stride, _entry(arguments["padding"], position, 0), dilation)

    return _along_window(call, trace, output, int(call.name.split("_pool")[1][0]), change)


@rule(
    *(f"{prefix}adaptive_{kind}_pool{rank}d" for prefix in ("", "_") for kind in ("avg", "max") for rank in (1, 2, 3))
)
def _adaptive_pool(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    count = len(call.arguments["output_size"])
    before, after = trace.shape[-count:], output.shape[-count:]
    return _along_window(
        call, trace, output, count, lambda position, f: fields.adaptive_window(f, before[position], after[position])
    )


_RESIZES = {
    f"{prefix}{mode}{rank}d{suffix}": mode.replace("_exact", "-exact")
    for mode, ranks in {
        "nearest": (1, 2, 3),
        "nearest_exact": (1, 2, 3),
        "linear": (1,),
        "bilinear": (2,),
        "trilinear": (3,),
        "bicubic": (2,),
    }.items()
    for rank in ranks
    for prefix, suffix in (("upsample_", ""), ("_upsample_", ""), ("_upsample_", "_aa"))
} | {f"_upsample_nearest_exact{rank}d": "nearest-exact" for rank in (1, 2, 3)}


@rule(*_RESIZES)
def _resize(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self") or call.trace("input")
    if trace is None:
        return None
    count = output.ndim - 2
    before, after = trace.shape[-count:], output.shape[-count:]
    listed = call.arguments.get("scale_factors")
    scales = listed or [value for name, value in call.arguments.items() if name.startswith("scales")]
    align_corners = bool(call.arguments.get("align_corners", False))
    operator = call.name.removeprefix("aten::")

    def change(position: int, field: Field) -> Field:
        scale = scales[position] if scales else None
        if align_corners:
            ratio = Fraction(before[position] - 1, max(after[position] - 1, 1))
        elif scale is None:
            ratio = Fraction(before[position], after[position])
        else:
            ratio = Fraction(1 / scale).limit_denominator(1000)
        if ratio == 0:  # one corner is all that is read
            return field.unknown()
        return fields.resized(
            field, ratio, _RESIZES[operator], align_corners=align_corners, antialias=operator.endswith("_aa")
        )

    return _along_window(call, trace, output, count, change)


@rule("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(call: Call, output: Tensor, index: int) -> Trace | None:
    trace = call.trace("self")
    if trace is None:
        return None
    if "unshuffle" in call.name:
        factor = call.arguments["downscale_factor"]
        trace = _along_window(call, trace, output, 2, lambda _, f: fields.window(f, factor, factor))
    else:
        ratio = Fraction(1, call.arguments["upscale_factor"])
        trace = _along_window(call, trace, output, 2, lambda _, f: fields.resized(f, ratio, "nearest"))
    return trace.with_dim(output.ndim - 3, (Factor(output.shape[-3]),))


@rule(
    "constant_pad_nd",
    *(f"{mode}_pad{rank}d" for mode in ("reflection", "replication") for rank in (1, 2, 3)),
)
def pad(call: Call, output: Tensor, index: int) -> Trace | None:
    """Paddings of any mode: what is mirrored or wrapped is taken to lie where it is put."""
    trace = call.trace("self")
    if trace is None:
        return None
    amounts = call.arguments["pad" if "pad" in call.arguments else "padding"]
    count = len(amounts) // 2
    # PyTorch lists the pairs from the last dimension to the first.
    before = [amounts[2 * (count - 1 - position)] for position in range(count)]
    after = [amounts[2 * (count - 1 - position) + 1] for position in range(count)]

    def change(position: int, field: Field) -> Field:
        return fields.window(field, 1, pad_before=before[position])

    padded = [output.ndim - count + position for position in range(count) if before[position] or after[position]]
    for dim in padded:
        if trace.axes_along(dim) and trace.only_axis(dim) is None:
            trace = call.lose(trace, trace.axes_along(dim))
    untouched = {dim: trace.dims[dim] for dim in range(output.ndim) if dim not in padded}
    trace = _along_window(call, trace, output, count, change) if padded else trace
    for dim, was in untouched.items():
        trace = trace.with_dim(dim, was)
    return trace
