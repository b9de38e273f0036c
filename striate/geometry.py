"""The arithmetic of convolutions and pools: sizes, padding, parameters, cost and receptive fields.

Standard library only. Every argument of a convolution or a pool is normalised and checked here, once; the layers above
pass what they were given and use what comes back. Tensors are ``(N, C, *spatial)``, and all sizes below are the spatial
part, one entry per axis, first axis first.

What is called convolution is cross-correlation, as everywhere in this field: the kernel is not flipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from striate.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Size: TypeAlias = tuple[int, ...]
"""One number per spatial axis."""

Pads: TypeAlias = tuple[tuple[int, int], ...]
"""One (before, after) pair per spatial axis."""

Axes: TypeAlias = "int | Sequence[int]"
"""What a caller may give for a per-axis argument: one number for all axes, or one per axis."""

Padding: TypeAlias = "int | str | Sequence[int] | Sequence[tuple[int, int]]"
"""What a caller may give as padding: a number, one per axis, (before, after) pairs, or one of PADDING_WORDS."""

PADDING_WORDS = ("valid", "same", "same_lower", "causal")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "constant")


# Arguments -----------------------------------------------------------------------------------------------------------


def per_axis(name: str, value: Axes, spatial_dims: int, minimum: int = 1) -> Size:
    """Expand ``value`` to one integer per spatial axis and check that each is at least ``minimum``.

    ``name`` is the argument's name, used in messages. Raises `GeometryError`.

    >>> per_axis("stride", 2, spatial_dims=3)
    (2, 2, 2)
    """
    if _is_int(value):
        values: Size = (int(value),) * spatial_dims  # type: ignore[arg-type]
    else:
        values = _integers(name, value, spatial_dims)
    if any(entry < minimum for entry in values):
        raise GeometryError(
            f"{name} of at least {minimum} on every axis", f"{name}={value!r}", f"Raise it to {minimum} or more."
        )
    return values


def _is_int(value: object) -> bool:
    # Symbolic sizes and NumPy integers are integers too, hence __index__; isinstance comes first because torch.compile
    # can answer it for a symbolic size. A bool is both but is a slip.
    return (isinstance(value, int) or hasattr(value, "__index__")) and not isinstance(value, bool)


def _integers(name: str, value: object, spatial_dims: int) -> Size:
    entries = tuple(value) if isinstance(value, list | tuple) else None
    if entries is None or not all(_is_int(entry) for entry in entries):
        raise GeometryError(
            f"{name} to be an integer or one integer per axis",
            f"{name}={value!r}",
            f"Give an int, or a tuple of {spatial_dims}.",
        )
    if len(entries) != spatial_dims:
        raise GeometryError(
            f"{name} to have {spatial_dims} entries, one per spatial axis",
            f"{name}={value!r} with {len(entries)}",
            "Give one per axis, or one number for all of them.",
        )
    return entries


def check_spatial_dims(spatial_dims: int) -> int:
    """Return ``spatial_dims`` if it is 1, 2 or 3; raises `GeometryError` otherwise."""
    if spatial_dims not in (1, 2, 3):
        raise GeometryError(
            "spatial_dims of 1, 2 or 3",
            f"spatial_dims={spatial_dims!r}",
            "Use 1 for signals, 2 for images, 3 for volumes and video.",
        )
    return spatial_dims


def normalise_padding(padding: Padding, spatial_dims: int) -> str | Pads:
    """Bring any accepted form of ``padding`` to one of PADDING_WORDS or to a (before, after) pair per axis.

    Raises `GeometryError` for an unknown word, a wrong number of axes, or a negative amount.

    >>> normalise_padding(1, spatial_dims=2)
    ((1, 1), (1, 1))
    >>> normalise_padding([(0, 2)], spatial_dims=1)
    ((0, 2),)
    """
    if isinstance(padding, str):
        if padding not in PADDING_WORDS:
            raise GeometryError(
                f"padding to be a number, pairs, or one of {', '.join(PADDING_WORDS)}",
                f"padding={padding!r}",
                "Words are lower case.",
            )
        return padding
    if isinstance(padding, list | tuple) and any(isinstance(entry, list | tuple) for entry in padding):
        if len(padding) != spatial_dims or not all(isinstance(entry, list | tuple) for entry in padding):
            raise GeometryError(
                f"padding to have {spatial_dims} (before, after) pairs, one per spatial axis",
                f"padding={padding!r}",
                "Give one pair per axis.",
            )
        return tuple((pair[0], pair[1]) for pair in (per_axis("padding", entry, 2, 0) for entry in padding))
    return tuple((amount, amount) for amount in per_axis("padding", padding, spatial_dims, 0))  # type: ignore[arg-type]


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Check that channel counts are positive and divisible by ``groups``; raises `GeometryError`."""
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
        if not _is_int(value) or value < 1:
            raise GeometryError(f"{name} to be a positive integer", f"{name}={value!r}", "Use 1 or more.")
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value % groups:
            divisors = [str(d) for d in range(1, value + 1) if value % d == 0]
            raise GeometryError(
                f"{name} divisible by groups",
                f"{name}={value}, groups={groups}",
                f"For {value} channels groups can be {', '.join(divisors)}.",
            )


def check_padding_mode(padding_mode: str, pads: Pads, input_size: Size) -> None:
    """Check the mode's name, and that the input is wide enough to be reflected or wrapped by ``pads``.

    Raises `GeometryError`.
    """
    if padding_mode not in PADDING_MODES:
        raise GeometryError(
            f"padding_mode to be one of {', '.join(PADDING_MODES)}", f"padding_mode={padding_mode!r}", "Pick one."
        )
    # A reflection leaves out the border itself; a wrapped input may be repeated once in full.
    limit = {"reflect": 1, "circular": 0}.get(padding_mode)
    if limit is None:
        return
    for axis, ((before, after), size) in enumerate(zip(pads, input_size, strict=True)):
        if max(before, after) > size - limit:
            raise GeometryError(
                f"{padding_mode} padding of at most {max(size - limit, 0)} on axis {axis}, whose size is {size}",
                f"padding ({before}, {after})",
                "Pad less, enlarge the input, or use replicate or zeros.",
            )


# Windows: what convolutions and pools share --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window: the part of a convolution or pool that decides sizes and receptive fields.

    Build it with `Window.of`, which checks; one entry per spatial axis in each field. ``padding`` is a word of
    PADDING_WORDS or (before, after) pairs.

    >>> window = Window.of(2, kernel_size=3, stride=2, padding=1)
    >>> window.output_size((6, 6))
    (3, 3)
    """

    kernel_size: Size
    stride: Size
    padding: str | Pads
    dilation: Size

    @classmethod
    def of(
        cls,
        spatial_dims: int,
        kernel_size: Axes,
        stride: Axes = 1,
        padding: Padding = 0,
        dilation: Axes = 1,
    ) -> Window:
        """Normalise and check the arguments of a window. Raises `GeometryError`."""
        check_spatial_dims(spatial_dims)
        return cls(
            per_axis("kernel_size", kernel_size, spatial_dims),
            per_axis("stride", stride, spatial_dims),
            normalise_padding(padding, spatial_dims),
            per_axis("dilation", dilation, spatial_dims),
        )

    @property
    def spatial_dims(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel_size)

    @property
    def effective_kernel_size(self) -> Size:
        """The extent of the kernel with its gaps: ``dilation * (kernel_size - 1) + 1`` per axis."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))

    def pads(self, input_size: Size) -> Pads:
        """The (before, after) padding per axis for an input of this size.

        ``same`` makes the output ``ceil(input / stride)`` long, with the odd pixel after (as TensorFlow does);
        ``same_lower`` puts it before; ``causal`` pads before only, so that no output sees what follows its position.
        """
        self.check_rank(input_size)
        if not isinstance(self.padding, str):
            return self.padding
        extent = self.effective_kernel_size
        if self.padding == "valid":
            return ((0, 0),) * self.spatial_dims
        if self.padding == "causal":
            return tuple((e - 1, 0) for e in extent)
        pads = []
        for size, e, s in zip(input_size, extent, self.stride, strict=True):
            total = max((-(-size // s) - 1) * s + e - size, 0)
            small, large = total // 2, total - total // 2
            pads.append((small, large) if self.padding == "same" else (large, small))
        return tuple(pads)

    def output_size(self, input_size: Size, *, ceil_mode: bool = False) -> Size:
        """The output size of a convolution or pool with this window, ``floor((i + p - e) / s) + 1`` per axis.

        With ``ceil_mode`` (pools only) a last window that starts inside the input or its leading padding counts too.
        Raises `GeometryError` if the kernel does not fit into the padded input.
        """
        pads = self.pads(input_size)
        output = []
        for axis, (size, (before, after), extent, stride) in enumerate(
            zip(input_size, pads, self.effective_kernel_size, self.stride, strict=True)
        ):
            room = size + before + after - extent
            # A last window of ceil_mode may hang over, and may be the only one.
            if size < 1 or room < (1 - stride if ceil_mode else 0):
                raise GeometryError(
                    f"a padded input of at least {extent} on axis {axis}, the extent of the kernel",
                    f"input size {size} with padding ({before}, {after})",
                    "Enlarge the input, pad more, or use a smaller kernel_size or dilation.",
                )
            count = (-(-room // stride) if ceil_mode else room // stride) + 1
            # Numbers first: a symbolic size is only asked where the last window may start behind the input.
            if ceil_mode and after + stride > extent and (count - 1) * stride >= size + before:
                count -= 1
            output.append(count)
        return tuple(output)

    def whole(self, input_size: Size, *, ceil_mode: bool = False) -> Pads:
        """The padding under which every output's window is whole, also the last one of ``ceil_mode``.

        >>> Window.of(1, kernel_size=2, stride=2).whole((5,), ceil_mode=True)
        ((0, 1),)
        """
        pads = self.pads(input_size)
        if not ceil_mode:
            return pads
        counts = self.output_size(input_size, ceil_mode=True)
        return tuple(
            # Up to a stride more rounds up; where that would add a window behind the input, what its last one lacks.
            (before, after + s - 1 if after + s <= e else max((count - 1) * s + e - size - before, 0))
            for (before, after), s, e, count, size in zip(
                pads, self.stride, self.effective_kernel_size, counts, input_size, strict=True
            )
        )

    def check_rank(self, input_size: Size) -> None:
        """Check that ``input_size`` has one entry per spatial axis; raises `GeometryError`."""
        if len(input_size) != self.spatial_dims:
            raise GeometryError(
                f"an input with {self.spatial_dims} spatial axes, (N, C{', size' * self.spatial_dims})",
                f"{len(input_size)} spatial axes of size {tuple(input_size)}",
                f"Use the {len(input_size)}-D form of this operation or reshape the input.",
            )


def check_pool(window: Window, input_size: Size, *, ceil_mode: bool = False) -> None:
    """Check a pool's window against an input: no window may lie wholly in the padding. Raises `GeometryError`."""
    outputs = window.output_size(input_size, ceil_mode=ceil_mode)
    for axis, ((before, after), extent, size, stride, dilation, count) in enumerate(
        zip(
            window.pads(input_size),
            window.effective_kernel_size,
            input_size,
            window.stride,
            window.dilation,
            outputs,
            strict=True,
        )
    ):
        # An input narrower than the gaps of the kernel can fall between two of its taps.
        if size < dilation and any(
            not any(0 <= tap < size for tap in range(start, start + extent, dilation))
            for start in range(-before, count * stride - before, stride)
        ):
            raise GeometryError(
                f"pool windows that each see some of the input of size {size} on axis {axis}",
                f"dilation {dilation} with padding ({before}, {after})",
                "The input falls between the taps of a window: use a smaller dilation or less padding.",
            )
        if max(before, after) >= extent:
            raise GeometryError(
                f"pool padding smaller than the kernel's extent {extent} on axis {axis}",
                f"padding ({before}, {after})",
                "Some windows would see only padding: pad less or use a larger kernel_size.",
            )


def output_size(
    input_size: Axes,
    kernel_size: Axes,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    *,
    spatial_dims: int | None = None,
    ceil_mode: bool = False,
) -> Size:
    """The output size of a convolution or pool, per axis.

    The rank is ``spatial_dims`` or, without it, the length of ``input_size`` (1 for a plain number). Raises
    `GeometryError`. Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016, section 2.

    >>> output_size((128, 128), kernel_size=3)
    (126, 126)
    >>> output_size((7,), kernel_size=2, stride=2, padding="same")
    (4,)
    """
    rank = spatial_dims if spatial_dims is not None else (1 if _is_int(input_size) else len(input_size))  # type: ignore[arg-type]
    window = Window.of(rank, kernel_size, stride, padding, dilation)
    return window.output_size(per_axis("input_size", input_size, rank), ceil_mode=ceil_mode)


# Transposed convolutions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransposedWindow:
    """The geometry of a transposed convolution, checked: how far each axis grows.

    ``pads`` is what is cropped (before, after) from the full output, ``output_padding`` what is added after it.
    """

    window: Window
    pads: Pads
    output_padding: Size

    @classmethod
    def of(
        cls,
        spatial_dims: int,
        kernel_size: Axes,
        stride: Axes = 1,
        padding: Padding = 0,
        dilation: Axes = 1,
        output_padding: Axes = 0,
    ) -> TransposedWindow:
        """Normalise and check. ``same``, ``same_lower`` and ``causal`` give an output of ``input * stride``.

        ``same`` crops what the convolution with the same word would have padded, so the two are adjoint; ``causal``
        crops the end, so that no output depends on an input after it. Raises `GeometryError`.
        """
        window = Window.of(spatial_dims, kernel_size, stride, padding, dilation)
        extra = per_axis("output_padding", output_padding, spatial_dims, 0)
        if not isinstance(window.padding, str):
            pads = window.padding
        elif window.padding == "valid":
            pads = ((0, 0),) * spatial_dims
        else:
            if any(extra):
                raise GeometryError(
                    f"no output_padding with padding={window.padding!r}, which already fixes the output size",
                    f"output_padding={output_padding!r}",
                    "Leave output_padding at 0, or give the padding as numbers.",
                )
            grown = [e - s for e, s in zip(window.effective_kernel_size, window.stride, strict=True)]
            extra = tuple(max(-g, 0) for g in grown)
            halves = [(max(g, 0) // 2, max(g, 0) - max(g, 0) // 2) for g in grown]
            pads = {
                "same": tuple(halves),
                "same_lower": tuple((large, small) for small, large in halves),
                "causal": tuple((0, max(g, 0)) for g in grown),
            }[window.padding]
        limits = [max(s, d) for s, d in zip(window.stride, window.dilation, strict=True)]
        for axis, (amount, limit) in enumerate(zip(extra, limits, strict=True)):
            if amount >= limit:
                raise GeometryError(
                    f"output_padding below {limit} on axis {axis}, the larger of stride and dilation",
                    f"output_padding={output_padding!r}",
                    "A larger one would add outputs that no input reaches.",
                )
        return cls(window, pads, extra)

    def output_size(self, input_size: Size) -> Size:
        """The output size, ``(i - 1) * s + e - p + output_padding`` per axis.

        Raises `GeometryError` if it is not positive.
        """
        self.window.check_rank(input_size)
        sizes = tuple(
            (size - 1) * s + e - before - after + extra
            for size, s, e, (before, after), extra in zip(
                input_size,
                self.window.stride,
                self.window.effective_kernel_size,
                self.pads,
                self.output_padding,
                strict=True,
            )
        )
        if any(size < 1 for size in sizes) or any(size < 1 for size in input_size):
            raise GeometryError(
                "a transposed convolution with a positive output size",
                f"input size {tuple(input_size)}, which gives {sizes}",
                "Use less padding or a larger input.",
            )
        return sizes

    def reaching(self, input_size: Size, output_size: Axes) -> TransposedWindow:
        """The same window with the output_padding that makes the output exactly ``output_size``.

        Raises `GeometryError` if no output_padding does.
        """
        wanted = per_axis("output_size", output_size, self.window.spatial_dims)
        least = replace(self, output_padding=(0,) * self.window.spatial_dims).output_size(input_size)
        most = tuple(
            low + max(s, d) - 1 for low, s, d in zip(least, self.window.stride, self.window.dilation, strict=True)
        )
        if any(not low <= want <= high for low, want, high in zip(least, wanted, most, strict=True)):
            raise GeometryError(
                f"output_size between {least} and {most} for an input of {tuple(input_size)}",
                f"output_size={wanted}",
                "Choose a size in that range, or change stride or padding.",
            )
        return replace(self, output_padding=tuple(want - low for want, low in zip(wanted, least, strict=True)))

    def reach(self) -> Pads:
        """How many positions beyond the input's (start, end) the outputs reach on each axis.

        >>> TransposedWindow.of(1, kernel_size=4, stride=2, padding=1).reach()
        ((1, 1),)
        """
        return tuple(
            (max((extent - 1 - before) // stride, 0), max((extent - 1 + extra - after) // stride, 0))
            for extent, stride, (before, after), extra in zip(
                self.window.effective_kernel_size, self.window.stride, self.pads, self.output_padding, strict=True
            )
        )

    def extended(self, by: Pads) -> TransposedWindow:
        """The window that gives the same outputs from an input extended ``by`` (before, after) positions per axis."""
        pads = tuple(
            (before + first * stride, after + last * stride)
            for (before, after), (first, last), stride in zip(self.pads, by, self.window.stride, strict=True)
        )
        return replace(self, pads=pads)


def transposed_output_size(
    input_size: Axes,
    kernel_size: Axes,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    output_padding: Axes = 0,
    *,
    spatial_dims: int | None = None,
) -> Size:
    """The output size of a transposed convolution, per axis. Raises `GeometryError`.

    >>> transposed_output_size((4, 4), kernel_size=4, stride=2, padding=1)
    (8, 8)
    >>> transposed_output_size((5,), kernel_size=3, stride=2, padding="same")
    (10,)
    """
    rank = spatial_dims if spatial_dims is not None else (1 if _is_int(input_size) else len(input_size))  # type: ignore[arg-type]
    window = TransposedWindow.of(rank, kernel_size, stride, padding, dilation, output_padding)
    return window.output_size(per_axis("input_size", input_size, rank))


# Operators: shapes and arguments together ----------------------------------------------------------------------------


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
    if divisor_override is not None and (not _is_int(divisor_override) or divisor_override == 0):
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


# Cost ----------------------------------------------------------------------------------------------------------------


def conv_parameters(
    in_channels: int, out_channels: int, kernel_size: Size, groups: int = 1, *, bias: bool = True
) -> int:
    """The number of weights and biases of a convolution (a transposed one has as many).

    >>> conv_parameters(3, 5, (3, 3))
    140
    """
    check_groups(in_channels, out_channels, groups)
    return out_channels * (in_channels // groups) * math.prod(kernel_size) + (out_channels if bias else 0)


def conv_macs(in_channels: int, out_channels: int, kernel_size: Size, output_size: Size, groups: int = 1) -> int:
    """Multiply-accumulates of a convolution for one sample, padding counted as input, bias left out.

    For a transposed convolution give its *input* size as ``output_size``: it does the work of the convolution whose
    gradient it is.

    >>> conv_macs(1, 6, (5, 5), (28, 28))
    117600
    """
    check_groups(in_channels, out_channels, groups)
    return out_channels * (in_channels // groups) * math.prod(kernel_size) * math.prod(output_size)


def flops(macs: int) -> int:
    """Floating-point operations: two for every multiply-accumulate, always."""
    return 2 * macs


# Receptive fields ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """What one unit of a feature map sees of the network's input, along one axis.

    ``size`` is the extent in input pixels (infinite once a layer has mixed all positions), ``jump`` the distance in
    input pixels between neighbouring units, ``offset`` the centre of the first unit's field as an input index (0 is the
    centre of the first pixel). Exact fractions, because upsampling makes jumps below one. The field is the set of
    positions that can matter, borders and padding included; the *effective* field is smaller in practice.

    Source: Araujo, Norris and Sim, Computing receptive fields of convolutional neural networks, Distill 2019.

    >>> field = ReceptiveField().through(kernel_size=5).through(kernel_size=2, stride=2).through(kernel_size=5)
    >>> int(field.size), int(field.jump), str(field.offset)
    (14, 2, '13/2')
    """

    size: Fraction | float = field(default=Fraction(1))
    jump: Fraction = field(default=Fraction(1))
    offset: Fraction = field(default=Fraction(0))

    def through(
        self,
        kernel_size: int,
        stride: int = 1,
        pad_before: int = 0,
        dilation: int = 1,
    ) -> ReceptiveField:
        """The field after a convolution or pool along this axis."""
        reach = dilation * (kernel_size - 1)
        return ReceptiveField(
            self.size + reach * self.jump,
            self.jump * stride,
            self.offset + (Fraction(reach, 2) - pad_before) * self.jump,
        )

    def through_transposed(
        self, kernel_size: int, stride: int = 1, crop_before: int = 0, dilation: int = 1
    ) -> ReceptiveField:
        """The field after a transposed convolution along this axis.

        Output ``o`` sums the inputs ``i`` with ``o = i * stride - crop + k * dilation``, which lie within
        ``dilation * (kernel_size - 1) / stride`` of each other. How many whole positions that is differs from output to
        output; the fractional size holds them all, ``floor(size)`` at most.
        """
        reach = dilation * (kernel_size - 1)
        return ReceptiveField(
            self.size + Fraction(reach, stride) * self.jump,
            self.jump / stride,
            self.offset + (crop_before - Fraction(reach, 2)) * self.jump / stride,
        )

    def everywhere(self) -> ReceptiveField:
        """The field after a layer in which every output sees every position, such as a dense layer."""
        return replace(self, size=math.inf)

    @property
    def first(self) -> tuple[Fraction | float, Fraction | float]:
        """The first and last input position, as indices, that the first unit sees."""
        half = (self.size - 1) / 2
        return self.offset - half, self.offset + half

    @staticmethod
    def meet(fields: Iterable[ReceptiveField]) -> ReceptiveField:
        """The field of branches that are added or concatenated: the smallest one that covers them all.

        Branches that see everything (a squeeze-and-excitation gate) do not have to agree on the jump; the others do,
        and `GeometryError` is raised when they do not.
        """
        met = list(fields)
        local = [f for f in met if f.size != math.inf]
        if not local:
            return met[0]
        jumps = {f.jump for f in local}
        if len(jumps) > 1:
            raise GeometryError(
                "branches that meet to have equal total strides",
                f"strides {', '.join(str(jump) for jump in sorted(jumps))}",
                "Bring the branches to one resolution before they are added or concatenated.",
            )
        low, high = min(f.first[0] for f in local), max(f.first[1] for f in local)
        size = math.inf if len(local) < len(met) else high - low + 1
        return ReceptiveField(size, local[0].jump, Fraction(low + high) / 2)
