"""The one place where convolutions are computed: by a compiled kernel, or by PyTorch's operator.

Everything above hands over arguments that are checked and normalised, one entry per spatial axis. Padding here is
always with zeros, as (before, after) pairs. `striate.ops.compiled.route` says which of the two it is, and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from striate.ops import compiled, native
from striate.ops.activation import activated

if TYPE_CHECKING:
    from torch import Tensor

    from striate.compiler.problem import Activation
    from striate.geometry import Pads, Size


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    pads: Pads,
    dilation: Size,
    groups: int,
    scale: Tensor | None = None,
    activation: Activation | None = None,
) -> Tensor:
    """The convolution of ``(N, C, *spatial)`` or ``(C, *spatial)`` with ``(C_out, C // groups, *kernel_size)``.

    >>> import torch
    >>> convolution(torch.ones(1, 1, 3), torch.ones(1, 1, 2), None, (1,), ((1, 0),), (1,), 1)
    tensor([[[1., 2., 2.]]])
    """
    if scale is not None or activation is not None:
        return _finished(input, weight, bias, stride, pads, dilation, groups, scale, activation)
    output = compiled.conv(input, weight, bias, stride, pads, dilation, groups)
    if output is not None:
        return output
    return native.convolution(input, weight, bias, stride, pads, dilation, groups)


def _finished(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    pads: Pads,
    dilation: Size,
    groups: int,
    scale: Tensor | None,
    activation: Activation | None,
) -> Tensor:
    """The convolution and what is to become of its output: by one kernel, or one after another."""
    output = compiled.finished(input, weight, bias, stride, pads, dilation, groups, scale, activation)
    if output is not None:
        return output
    output = convolution(input, weight, None if scale is not None else bias, stride, pads, dilation, groups)
    if scale is not None:
        each = (-1, *[1] * len(stride))
        output = output * scale.view(each) if bias is None else torch.addcmul(bias.view(each), output, scale.view(each))
    return activated(activation, output)


def transposed_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    pads: Pads,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Tensor:
    """The transposed convolution of ``(N, C, *spatial)`` with ``(C, C_out // groups, *kernel_size)``.

    ``pads`` is cropped from the full output, ``output_padding`` positions are added after it.

    >>> import torch
    >>> transposed_convolution(torch.ones(1, 1, 3), torch.ones(1, 1, 2), None, (1,), ((0, 1),), (0,), 1, (1,))
    tensor([[[1., 2., 2.]]])
    """
    output = compiled.conv_transpose(input, weight, bias, stride, pads, output_padding, groups, dilation)
    if output is not None:
        return output
    return native.transposed_convolution(input, weight, bias, stride, pads, output_padding, groups, dilation)
