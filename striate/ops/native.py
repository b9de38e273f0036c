"""PyTorch's own convolutions: the one place where they are called.

Arguments are checked and normalised, one entry per spatial axis. Padding is always with zeros, as (before, after)
pairs. Padding that is equal on both sides goes to torch's operator as it is, without a padded copy of the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from striate.ops.padding import extend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from striate.geometry import Pads, Size

CONVOLUTION = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
TRANSPOSED = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}


def convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, pads: Pads, dilation: Size, groups: int
) -> Tensor:
    """The convolution of ``(N, C, *spatial)`` or ``(C, *spatial)`` with ``(C_out, C // groups, *kernel_size)``.

    >>> convolution(torch.ones(1, 1, 3), torch.ones(1, 1, 2), None, (1,), ((1, 0),), (1,), 1)
    tensor([[[1., 2., 2.]]])
    """
    operator = CONVOLUTION[len(stride)]
    shared = [before for before, after in pads if before == after]
    if len(shared) == len(pads):
        return operator(input, weight, bias, stride, shared, dilation, groups)
    # What both sides share stays with the operator, so that the copy is as small as it can be.
    shared = [min(pair) for pair in pads]
    excess = tuple((before - both, after - both) for (before, after), both in zip(pads, shared, strict=True))
    return operator(extend(input, excess), weight, bias, stride, shared, dilation, groups)


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

    >>> transposed_convolution(torch.ones(1, 1, 3), torch.ones(1, 1, 2), None, (1,), ((0, 1),), (0,), 1, (1,))
    tensor([[[1., 2., 2.]]])
    """
    operator = TRANSPOSED[len(stride)]
    if all(before == after for before, after in pads):
        both = [before for before, _ in pads]
        return operator(input, weight, bias, stride, both, output_padding, groups, dilation)
    both, extra, crops = [], [], []
    for (before, after), added, s, d in zip(pads, output_padding, stride, dilation, strict=True):
        last = after - added  # below zero: the output reaches beyond the full one
        if 0 <= before - last < max(s, d):
            crop, beyond = before, before - last
        else:
            crop = max(min(before, last), 0)
            beyond = max(crop - last, 0)
        both.append(crop)
        extra.append(beyond)
        crops.append((before - crop, max(last - crop, 0)))
    output = operator(input, weight, bias, stride, both, extra, groups, dilation)
    first = output.dim() - len(stride)
    for axis, (start, end) in enumerate(crops, first):
        if start or end:
            output = output.narrow(axis, start, output.shape[axis] - start - end)
    return output


def grad_input(
    grad_output: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    input_size: Sequence[int],
    stride: Size,
    pads: Pads,
    dilation: Size,
    groups: int,
) -> Tensor:
    """The gradient of `convolution` for its input, whose spatial size is ``input_size``; ``bias`` is added to it.

    >>> grad_input(torch.ones(1, 1, 2), torch.ones(1, 1, 2), None, (3,), (1,), ((0, 0),), (1,), 1)
    tensor([[[1., 2., 1.]]])
    """
    added = tuple(
        size - ((o - 1) * s + d * (k - 1) + 1 - before - after)
        for size, o, s, d, k, (before, after) in zip(
            input_size, grad_output.shape[2:], stride, dilation, weight.shape[2:], pads, strict=True
        )
    )
    return transposed_convolution(grad_output, weight, bias, stride, pads, added, groups, dilation)


def grad_weight(
    grad_output: Tensor,
    input: Tensor,
    bias: bool,
    kernel_size: Sequence[int],
    stride: Size,
    pads: Pads,
    dilation: Size,
    groups: int,
) -> tuple[Tensor, Tensor | None]:
    """The gradients of `convolution` for its weight and, where ``bias`` says so, for its bias.

    >>> grad_weight(torch.ones(1, 1, 2), torch.arange(3.0).view(1, 1, 3), True, (2,), (1,), ((0, 0),), (1,), 1)
    (tensor([[[1., 3.]]]), tensor([2.]))
    """
    channels = grad_output.shape[1]
    shape = (channels, input.shape[1] // groups, *kernel_size)
    shared = [min(pair) for pair in pads]
    excess = tuple((before - both, after - both) for (before, after), both in zip(pads, shared, strict=True))
    _, gradient, sums = torch.ops.aten.convolution_backward(
        grad_output,
        extend(input, excess),
        grad_output.new_empty(()).expand(shape),  # only its shape counts
        [channels],
        stride,
        shared,
        dilation,
        False,
        [0] * len(stride),
        groups,
        [False, True, bias],
    )
    return gradient, sums
