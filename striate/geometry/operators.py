"""Shapes and arguments of an operator together: whether this input, this weight and these settings fit one another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from striate.errors import GeometryError
from striate.geometry.arguments import (
    Axes,
    Padding,
    Pads,
    Size,
    check_groups,
    check_padding_mode,
    check_spatial_dims,
    is_integer,
    is_number,
    per_axis,
)
from striate.geometry.transposed import TransposedWindow
from striate.geometry.window import Window, check_pool

if TYPE_CHECKING:
    from collections.abc import Sequence


def spatial_size(input_shape: Size, spatial_dims: int) -> Size:
    """The spatial part of an input's shape, ``(N, C, *spatial)`` or, unbatched, ``(C, *spatial)``.

    Raises `GeometryError` for another rank, for no channels, and for an empty spatial axis.

    >>> spatial_size((8, 3, 32, 24), spatial_dims=2)
    (32, 24)
    """
    if len(input_shape) not in (spatial_dims + 1, spatial_dims + 2):
        axes = ", size" * spatial_dims
        raise GeometryError(
            f"an input with {spatial_dims} spatial axes, (N, C{axes}) or unbatched (C{axes})",
            f"an input of shape {tuple(input_shape)}",
            "Use the form of this operation for the input's rank, or reshape the input.",
        )
    first = len(input_shape) - spatial_dims
    if any(size < 1 for size in input_shape[first - 1 :]):
        raise GeometryError(
            "an input with at least one channel and one position on every spatial axis",
            f"an input of shape {tuple(input_shape)}",
            "Only the batch may be empty.",
        )
    return tuple(input_shape[first:])


def operator_rank(input_shape: Size, spatial_dims: int | None, *per_axis_values: object) -> int:
    """The number of spatial axes a pool works on.

    It is ``spatial_dims`` where given, else the length of the first of ``per_axis_values`` that has one entry per axis,
    else what an input ``(N, C, *spatial)`` has. Raises `GeometryError`.

    >>> operator_rank((8, 3, 32, 24), None, 2), operator_rank((3, 32, 24), None, (2, 2))
    (2, 2)
    """
    if spatial_dims is not None:
        return check_spatial_dims(spatial_dims)
    for value in per_axis_values:
        if isinstance(value, list | tuple):
            return check_spatial_dims(len(value))
    if len(input_shape) not in (3, 4, 5):
        raise GeometryError(
            "an input of shape (N, C, *spatial) with 1, 2 or 3 spatial axes",
            f"an input of shape {tuple(input_shape)}",
            "Reshape the input, or give spatial_dims for an unbatched one.",
        )
    return len(input_shape) - 2


def _check_weight(
    input_shape: Size,
    weight_shape: Size,
    bias_shape: Size | None,
    groups: int,
    spatial_dims: int | None,
    *,
    transposed: bool,
) -> tuple[int, Size]:
    """Check that input, weight and bias fit together; return the rank and the input's spatial size."""
    layout = "in_channels, out_channels // groups" if transposed else "out_channels, in_channels // groups"
    rank = len(weight_shape) - 2
    if rank not in ((1, 2, 3) if spatial_dims is None else (spatial_dims,)):
        raise GeometryError(
            f"a weight ({layout}, *kernel_size) with {spatial_dims or '1, 2 or 3'} spatial axes",
            f"a weight of shape {tuple(weight_shape)}",
            "Use the form of this operation for the weight's rank, or reshape the weight.",
        )
    size = spatial_size(input_shape, rank)
    in_channels = input_shape[len(input_shape) - rank - 1]
    check_groups(in_channels, in_channels if transposed else weight_shape[0], groups)
    if transposed:
        out_channels, given, wanted = weight_shape[1] * groups, weight_shape[0], in_channels
    else:
        out_channels, given, wanted = weight_shape[0], weight_shape[1], in_channels // groups
    check_groups(in_channels, out_channels, groups)
    if given != wanted:
        raise GeometryError(
            f"a weight ({layout}, *kernel_size) for {in_channels} input channels and groups={groups}",
            f"a weight of shape {tuple(weight_shape)} for an input of shape {tuple(input_shape)}",
            f"Its {'first' if transposed else 'second'} axis must be {wanted}.",
        )
    if bias_shape is not None and tuple(bias_shape) != (out_channels,):
        raise GeometryError(
            f"a bias of shape ({out_channels},), one value per output channel",
            f"a bias of shape {tuple(bias_shape)}",
            "Give one value per output channel, or None.",
        )
    return rank, size


def _check_padding_value(padding_mode: str, padding_value: float) -> None:
    if not is_number(padding_value):
        raise GeometryError("padding_value to be a number", f"padding_value={padding_value!r}", "Use 0 for zeros.")
    if padding_mode != "constant" and padding_value != 0:
        raise GeometryError(
            "padding_value only with padding_mode='constant'",
            f"padding_value={padding_value!r} with padding_mode={padding_mode!r}",
            "Set padding_mode='constant', or leave padding_value at 0.",
        )


def check_conv(
    input_shape: Size,
    weight_shape: Size,
    bias_shape: Size | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    padding_value: float = 0.0,
    spatial_dims: int | None = None,
) -> tuple[Window, Pads]:
    """Check a whole convolution; return its window and the padding of this input.

    Shapes are those of the tensors, weight ``(out_channels, in_channels // groups, *kernel_size)``; the input may be
    unbatched. ``spatial_dims``, where given, is what the weight must have. Raises `GeometryError`.

    >>> window, pads = check_conv((8, 3, 32, 32), (16, 3, 5, 5), (16,), stride=2, padding="same")
    >>> window.stride, pads
    ((2, 2), ((1, 2), (1, 2)))
    """
    rank, size = _check_weight(input_shape, weight_shape, bias_shape, groups, spatial_dims, transposed=False)
    window = Window.of(rank, tuple(weight_shape[2:]), stride, padding, dilation)
    window.output_size(size)
    pads = window.pads(size)
    check_padding_mode(padding_mode, pads, size)
    _check_padding_value(padding_mode, padding_value)
    return window, pads


def check_conv_transpose(
    input_shape: Size,
    weight_shape: Size,
    bias_shape: Size | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    output_padding: Axes = 0,
    groups: int = 1,
    dilation: Axes = 1,
    output_size: Axes | None = None,
    padding_mode: str = "zeros",
    padding_value: float = 0.0,
    spatial_dims: int | None = None,
) -> tuple[TransposedWindow, Pads]:
    """Check a whole transposed convolution; return its window and by how much the input is extended on each axis.

    The weight is ``(in_channels, out_channels // groups, *kernel_size)``. Unless ``padding_mode`` is ``zeros`` the
    input is extended as far as the outputs reach beyond it, and the window is that of the extended input. Raises
    `GeometryError`.

    >>> window, by = check_conv_transpose((1, 2, 5), (2, 3, 4), stride=2, padding=1, padding_mode="replicate")
    >>> window.pads, by
    (((3, 3),), ((1, 1),))
    """
    rank, size = _check_weight(input_shape, weight_shape, bias_shape, groups, spatial_dims, transposed=True)
    window = TransposedWindow.of(rank, tuple(weight_shape[2:]), stride, padding, dilation, output_padding)
    if output_size is not None:
        if any(per_axis("output_padding", output_padding, rank, 0)):
            raise GeometryError(
                "either output_padding or output_size",
                f"output_padding={output_padding!r} and output_size={output_size!r}",
                "output_size already decides the output padding: leave output_padding at 0.",
            )
        window = window.reaching(size, output_size)
    window.output_size(size)
    by = ((0, 0),) * rank if padding_mode == "zeros" else window.reach()
    check_padding_mode(padding_mode, by, size)
    _check_padding_value(padding_mode, padding_value)
    return window.extended(by), by


def check_pooling(
    input_shape: Size,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    dilation: Axes = 1,
    ceil_mode: bool = False,
    spatial_dims: int | None = None,
    divisor_override: int | None = None,
) -> tuple[Window, Pads, Size]:
    """Check a whole pool; return its window, the padding of this input, and the output size.

    Without ``stride`` windows do not overlap. The rank is found as `operator_rank` says. Raises `GeometryError`.

    >>> check_pooling((8, 3, 7), kernel_size=2, padding="same")[1:]
    (((0, 1),), (4,))
    """
    # torch.nn.functional takes an empty list for "as the kernel".
    stride = kernel_size if stride is None or (isinstance(stride, list | tuple) and not stride) else stride
    rank = operator_rank(input_shape, spatial_dims, kernel_size, stride)
    size = spatial_size(input_shape, rank)
    window = Window.of(rank, kernel_size, stride, padding, dilation)
    if divisor_override is not None and (not is_integer(divisor_override) or divisor_override == 0):
        raise GeometryError(
            "divisor_override to be an integer other than 0",
            f"divisor_override={divisor_override!r}",
            "Leave it at None to divide by the window's size.",
        )
    check_pool(window, size, ceil_mode=ceil_mode)
    return window, window.pads(size), window.output_size(size, ceil_mode=ceil_mode)


def check_adaptive(
    input_shape: Size, output_size: int | Sequence[int | None] | None, spatial_dims: int | None = None
) -> Size:
    """Check an adaptive pool; return the output size, where None keeps the input's. Raises `GeometryError`.

    >>> check_adaptive((8, 3, 7, 9), (1, None))
    (1, 9)
    """
    rank = operator_rank(input_shape, spatial_dims, output_size)
    size = spatial_size(input_shape, rank)
    entries = tuple(output_size) if isinstance(output_size, list | tuple) else (output_size,) * rank
    if len(entries) == rank:
        entries = tuple(kept if entry is None else entry for entry, kept in zip(entries, size, strict=True))
    return per_axis("output_size", entries, rank)  # type: ignore[arg-type]  # per_axis is what checks the entries


def check_unpool(
    input_shape: Size,
    indices_shape: Size,
    kernel_size: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    output_size: Axes | None = None,
    spatial_dims: int | None = None,
) -> Size:
    """Check the undoing of a max pool; return the size to restore.

    Without ``output_size`` it is what the transposed convolution with this window would give. ``output_size`` (spatial
    axes, or the whole shape as torch takes it) must differ from that by less than a stride. Raises `GeometryError`.

    >>> check_unpool((1, 1, 3), (1, 1, 3), kernel_size=2)
    (6,)
    """
    if tuple(indices_shape) != tuple(input_shape):
        raise GeometryError(
            "indices of the input's shape, as max_pool with return_indices gives them",
            f"indices of shape {tuple(indices_shape)} for an input of shape {tuple(input_shape)}",
            "Pass the two results of max_pool on together.",
        )
    stride = kernel_size if stride is None or (isinstance(stride, list | tuple) and not stride) else stride
    rank = operator_rank(input_shape, spatial_dims, kernel_size, stride)
    size = spatial_size(input_shape, rank)
    window = TransposedWindow.of(rank, kernel_size, stride, padding)
    if output_size is None:
        return window.output_size(size)
    if isinstance(output_size, list | tuple) and len(output_size) == len(input_shape):
        output_size = output_size[len(input_shape) - rank :]
    wanted = per_axis("output_size", output_size, rank)
    full = replace(window, pads=((0, 0),) * rank).output_size(size)
    usual = tuple(f - before - after for f, (before, after) in zip(full, window.pads, strict=True))
    least = tuple(max(u - s + 1, 1) for u, s in zip(usual, window.window.stride, strict=True))
    most = tuple(u + s - 1 for u, s in zip(usual, window.window.stride, strict=True))
    if any(not low <= want <= high for low, want, high in zip(least, wanted, most, strict=True)):
        raise GeometryError(
            f"output_size between {least} and {most} for an input of {size}",
            f"output_size={wanted}",
            "Give the size of what was pooled.",
        )
    return wanted
