"""Convolutions and transposed convolutions in every rank, padding and padding mode.

What is called convolution is cross-correlation, as everywhere in this field; `true_convolution` flips the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate import geometry
from striate.errors import GeometryError
from striate.ops import compiled, seam
from striate.ops.activation import ACTIVATIONS
from striate.ops.checking import is_plain, remembered
from striate.ops.padding import extend

if TYPE_CHECKING:
    from torch import Tensor

    from striate.compiler.problem import Activation
    from striate.geometry import Axes, Padding

_check_conv = remembered(geometry.check_conv)
_check_conv_transpose = remembered(geometry.check_conv_transpose)


def conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    padding_value: float = 0.0,
    spatial_dims: int | None = None,
    scale: Tensor | None = None,
    activation: Activation | None = None,
) -> Tensor:
    """Convolve ``input`` with ``weight``, in the rank of the weight.

    Shapes: input ``(N, C, *spatial)`` or unbatched ``(C, *spatial)``; weight ``(C_out, C // groups, *kernel_size)``
    with 1, 2 or 3 spatial axes (exactly ``spatial_dims`` where that is given); bias ``(C_out,)``.

    ``padding`` is a number, one per axis, (before, after) pairs, ``"valid"``, ``"same"`` (an output of
    ``ceil(input / stride)``, the odd position after), ``"same_lower"`` (before) or ``"causal"``. ``padding_mode`` is
    ``zeros``, ``reflect``, ``replicate``, ``circular`` or ``constant``, which pads with ``padding_value``. The output
    is multiplied by ``scale``, (C_out,), before the bias is added, and rectified with ``activation`` "relu" or "relu6";
    where no gradient is wanted that happens on its way to memory. Raises `GeometryError`.

    >>> import torch
    >>> conv(torch.arange(1.0, 7.0).view(1, 1, 6), torch.full((1, 1, 3), 2.0), padding=1)
    tensor([[[ 6., 12., 18., 24., 30., 22.]]])
    >>> conv(torch.tensor([[[-1.0, 2.0]]]), torch.ones(1, 1, 1), activation="relu")
    tensor([[[0., 2.]]])
    """
    if activation is not None and activation not in ACTIVATIONS:
        words = " or ".join(map(repr, ACTIVATIONS))
        raise GeometryError(
            f"activation of {words} or None", f"activation={activation!r}", "Apply others to the output."
        )
    if scale is not None and scale.shape != weight.shape[:1]:
        size = tuple(scale.shape)
        raise GeometryError(f"scale of shape ({weight.shape[0]},)", f"scale of shape {size}", "Give one per channel.")
    known = (
        padding_mode == "zeros"
        and activation is None
        and scale is None
        and type(groups) is int
        and (type(stride) is int or is_plain(stride))
        and (type(padding) is int or is_plain(padding))
        and (type(dilation) is int or is_plain(dilation))
    )
    if known:
        output = compiled.again(input, weight, bias, (stride, padding, dilation, groups, spatial_dims))
        if output is not None:
            return output
    window, pads = _check_conv(
        input.shape,
        weight.shape,
        None if bias is None else bias.shape,
        stride,
        padding,
        dilation,
        groups,
        padding_mode,
        padding_value,
        spatial_dims,
    )
    padded = input
    if padding_mode != "zeros":
        padded, pads = extend(input, pads, padding_mode, padding_value), ((0, 0),) * len(pads)
    output = seam.convolution(padded, weight, bias, window.stride, pads, window.dilation, groups, scale, activation)
    if known:
        written = (stride, padding, dilation, groups, spatial_dims)
        compiled.remember(input, weight, bias, written, window.stride, pads, window.dilation)
    return output


def conv_transpose(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    output_padding: Axes = 0,
    groups: int = 1,
    dilation: Axes = 1,
    *,
    output_size: Axes | None = None,
    padding_mode: str = "zeros",
    padding_value: float = 0.0,
    spatial_dims: int | None = None,
) -> Tensor:
    """Apply the transpose of a convolution, in the rank of the weight.

    Shapes: input ``(N, C, *spatial)`` or unbatched ``(C, *spatial)``; weight ``(C, C_out // groups, *kernel_size)``
    (exactly ``spatial_dims`` spatial axes where that is given); bias ``(C_out,)``.

    ``padding`` is what is cropped from the full output: a number, one per axis, pairs, ``"valid"`` (nothing), or
    ``"same"``, ``"same_lower"`` or ``"causal"``, whose output is ``input * stride`` long. ``output_padding`` adds
    positions at the end, and ``output_size`` (spatial axes) chooses it. The input is taken to continue beyond its
    borders as ``padding_mode`` says, by as much as the output can see. Raises `GeometryError`.

    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016, section 4.

    >>> import torch
    >>> conv_transpose(torch.ones(1, 1, 3), torch.ones(1, 1, 3), stride=2, padding="same")
    tensor([[[1., 1., 2., 1., 2., 1.]]])
    """
    window, by = _check_conv_transpose(
        input.shape,
        weight.shape,
        None if bias is None else bias.shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        output_size,
        padding_mode,
        padding_value,
        spatial_dims,
    )
    return seam.transposed_convolution(
        extend(input, by, padding_mode, padding_value),
        weight,
        bias,
        window.window.stride,
        window.pads,
        window.output_padding,
        groups,
        window.window.dilation,
    )


def true_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    padding_value: float = 0.0,
    spatial_dims: int | None = None,
) -> Tensor:
    """Convolve as mathematics defines it: `conv` with the kernel flipped along every spatial axis.

    Shapes, arguments and errors are those of `conv`.

    >>> import torch
    >>> image = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    >>> true_convolution(image, torch.tensor([[[[1.0, 0.0], [0.0, -1.0]]]])).flatten()
    tensor([4., 4., 4., 4.])
    """
    return conv(
        input,
        weight.flip(tuple(range(2, weight.dim()))),
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        padding_value=padding_value,
        spatial_dims=spatial_dims,
    )
