"""The window of a transposed convolution: how far each axis grows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from striate.errors import GeometryError
from striate.geometry.arguments import Axes, Padding, Pads, Size, per_axis, rank_of
from striate.geometry.window import Window


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
    rank = rank_of(input_size, spatial_dims)
    window = TransposedWindow.of(rank, kernel_size, stride, padding, dilation, output_padding)
    return window.output_size(per_axis("input_size", input_size, rank))
