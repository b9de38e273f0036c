"""The field of a network whose dense layers fix its input size: smaller inputs are centred in it, larger ones refused.

LeCun and others centred MNIST's 28 x 28 digits in a field of 32 x 32, so that strokes near the border could still lie
in the middle of the highest feature detectors' receptive fields (1998, section II.B). Here the first convolution adds
the zeros as its own padding, which costs no copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate import ops
from striate.errors import ModelError
from striate.geometry import Axes, Pads, Size, check_spatial_dims, per_axis
from striate.nn.conv import Conv1d, Conv2d, Conv3d, _Convolution, simplest
from striate.units import readable_size

if TYPE_CHECKING:
    from torch import Tensor

    from striate.compiler.problem import Activation


def field_size(spatial_dims: int, input_size: Axes | None, field: Axes | None, usual: int, minimum: int) -> Size:
    """The size a network is built for: ``field``, or else the larger of the usual field and the inputs, per axis.

    Raises `GeometryError` for sizes that are not one positive integer per axis, and `ModelError` for a field that is
    smaller than the inputs or than the network needs.
    """
    inputs = per_axis("input_size", usual if input_size is None else input_size, spatial_dims)
    if field is None:
        return tuple(max(usual, size) for size in inputs)
    size = per_axis("field", field, spatial_dims)
    if any(extent < minimum for extent in size):
        raise ModelError(f"a field of at least {minimum} on every axis", f"field={field!r}", "Enlarge it.")
    if input_size is not None and any(extent < inner for extent, inner in zip(size, inputs, strict=True)):
        raise ModelError(
            "a field at least as large as the inputs", f"field={size} with input_size={inputs}", "Enlarge the field."
        )
    return size


def check_batch(input: Tensor, spatial_dims: int, in_channels: int) -> None:
    """Check that an input is a batch of the right rank and channels; raises `ModelError`."""
    if input.ndim != spatial_dims + 2 or input.shape[1] != in_channels:
        raise ModelError(
            f"a batch of shape (N, {in_channels}{', size' * spatial_dims})",
            f"an input of shape {tuple(input.shape)}",
            "Reshape it, or build the model with other spatial_dims or in_channels.",
        )


def check_smallest(input: Tensor, smallest: int) -> None:
    """Check that an input is at least ``smallest`` on every axis; raises `ModelError`."""
    size = tuple(input.shape[2:])
    if min(size) < smallest:
        raise ModelError(
            f"an input of at least {smallest} per axis, the smallest that leaves something in every layer",
            f"size {readable_size(size)}",
            "Enlarge or pad the inputs.",
        )


def check_exact_size(input: Tensor, size: Size) -> None:
    """Check that an input has the very size a model was built for; raises `ModelError`."""
    got = tuple(input.shape[2:])
    if got != size:
        raise ModelError(
            f"an input of size {readable_size(size)}, which this model was built for",
            f"size {readable_size(got)}",
            f"Resize the input, or build the model with input_size={got}.",
        )


class _FieldConv(_Convolution):
    """A convolution over a field of fixed size in which smaller inputs are centred, whatever their size; any rank.

    With an odd difference the extra zero comes after. Raises `ModelError` when called with an input larger than the
    field, of another rank, or with other channels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Axes, field: Size) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        self.field = field

    def pads(self, input_size: Size) -> Pads:
        """The (before, after) padding per axis that centres an input of this size in the field."""
        if any(size > extent for size, extent in zip(input_size, self.field, strict=True)):
            raise ModelError(
                f"an input of at most {readable_size(self.field)}, the field this model was built for",
                f"size {readable_size(tuple(input_size))}",
                f"Resize the input, or build the model with input_size={tuple(input_size)}.",
            )
        gaps = [extent - size for size, extent in zip(input_size, self.field, strict=True)]
        return tuple((gap // 2, gap - gap // 2) for gap in gaps)

    def _conv_forward(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: Tensor | None = None,
        activation: Activation | None = None,
    ) -> Tensor:
        check_batch(input, self.spatial_dims, self.in_channels)
        pads = self.pads(tuple(input.shape[2:]))
        return ops.conv(input, weight, bias, 1, simplest(pads), scale=scale, activation=activation)

    def extra_repr(self) -> str:
        """The arguments as torch shows them, and the field."""
        return f"{super().extra_repr()}, field={self.field}"


class FieldConv1d(_FieldConv, Conv1d):
    """Convolution of signals that centres shorter ones in its field.

    >>> import torch
    >>> FieldConv1d(1, 6, 5, field=(32,))(torch.zeros(1, 1, 20)).shape
    torch.Size([1, 6, 28])
    """


class FieldConv2d(_FieldConv, Conv2d):
    """Convolution of images that centres smaller ones in its field.

    >>> FieldConv2d(1, 6, 5, field=(32, 32)).pads((28, 27))
    ((2, 2), (2, 3))
    """


class FieldConv3d(_FieldConv, Conv3d):
    """Convolution of volumes that centres smaller ones in its field.

    >>> FieldConv3d(1, 6, 5, field=(32, 32, 32)).pads((16, 32, 32))
    ((8, 8), (0, 0), (0, 0))
    """


def field_conv_class(spatial_dims: int) -> type[FieldConv1d] | type[FieldConv2d] | type[FieldConv3d]:
    """The convolution over a field of a rank. Raises `GeometryError`.

    >>> field_conv_class(1).__name__
    'FieldConv1d'
    """
    return (FieldConv1d, FieldConv2d, FieldConv3d)[check_spatial_dims(spatial_dims) - 1]
