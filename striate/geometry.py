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
    # Symbolic sizes of torch.compile and NumPy integers are integers too, hence __index__ and not isinstance; a bool
    # has __index__ as well but is a slip.
    return hasattr(value, "__index__") and not isinstance(value, bool)


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
            if size < 1 or room < 0:
                raise GeometryError(
                    f"a padded input of at least {extent} on axis {axis}, the extent of the kernel",
                    f"input size {size} with padding ({before}, {after})",
                    "Enlarge the input, pad more, or use a smaller kernel_size or dilation.",
                )
            count = room // stride + 1
            if ceil_mode and room % stride and count * stride < size + before:
                count += 1
            output.append(count)
        return tuple(output)

    def check_rank(self, input_size: Size) -> None:
        """Check that ``input_size`` has one entry per spatial axis; raises `GeometryError`."""
        if len(input_size) != self.spatial_dims:
            raise GeometryError(
                f"an input with {self.spatial_dims} spatial axes, (N, C{', size' * self.spatial_dims})",
                f"{len(input_size)} spatial axes of size {tuple(input_size)}",
                f"Use the {len(input_size)}-D form of this operation or reshape the input.",
            )


def check_pool(window: Window, input_size: Size) -> None:
    """Check a pool's window against an input: no window may lie wholly in the padding. Raises `GeometryError`."""
    for axis, ((before, after), extent) in enumerate(
        zip(window.pads(input_size), window.effective_kernel_size, strict=True)
    ):
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

        Output ``o`` sums the inputs ``i`` with ``o = i * stride - crop + k * dilation``, so it reaches over at most
        ``ceil(extent / stride)`` of them.
        """
        reach = dilation * (kernel_size - 1)
        return ReceptiveField(
            self.size + (-(-(reach + 1) // stride) - 1) * self.jump,
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
