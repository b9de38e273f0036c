"""The sliding window that convolutions and pools share: padding by rule, output size, what must fit."""

from __future__ import annotations

from dataclasses import dataclass

from striate.errors import GeometryError
from striate.geometry.arguments import (
    Axes,
    Padding,
    Pads,
    Size,
    check_spatial_dims,
    normalise_padding,
    per_axis,
    rank_of,
)


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
    rank = rank_of(input_size, spatial_dims)
    window = Window.of(rank, kernel_size, stride, padding, dilation)
    return window.output_size(per_axis("input_size", input_size, rank), ceil_mode=ceil_mode)
