"""The three passes on plain tensors: float32, dense or strided, in the memory of the CPU. No autograd in here.

Each looks its call up, and lets the kernel or PyTorch's operator run. The result lies in the layout of the call either
way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from striate.ops import native
from striate.ops.activation import activated
from striate.ops.compiled.layouts import densified
from striate.ops.compiled.plans import Choice, Compiled, Memory, Operand, choose, threads

if TYPE_CHECKING:
    from torch import Tensor

    from striate.geometry import Size
    from striate.ops.compiled.plans import Arguments

FORWARD: Memory[Choice] = Memory()
GRAD_INPUT: Memory[Choice] = Memory()
GRAD_WEIGHT: Memory[Choice] = Memory()


def output_shape(input: Tensor, weight: Tensor, arguments: Arguments) -> Size:
    """The shape of a convolution's output."""
    sizes = zip(input.shape[2:], weight.shape[2:], arguments.stride, arguments.pads, arguments.dilation, strict=True)
    spatial = ((i + before + after - d * (k - 1) - 1) // s + 1 for i, k, s, (before, after), d in sizes)
    return (input.shape[0], weight.shape[0], *spatial)


def forward(input: Tensor, weight: Tensor, bias: Tensor | None, arguments: Arguments) -> Tensor:
    """The convolution of ``input``."""
    width = None if bias is None else bias.shape
    count = threads()
    key = (input.shape, input.stride(), weight.shape, weight.stride(), width, arguments, count)
    choice = FORWARD.get(key)
    if choice is None:
        shape = output_shape(input, weight, arguments)
        _check_bias(bias, shape[1] * (1 + arguments.scale))
        choice = choose(
            "forward", Operand.of(input), Operand.of(weight), arguments, shape, None, bias is not None, count
        )
        FORWARD.put(key, choice)
    if isinstance(choice, Compiled):
        return choice.run(input, weight, bias)
    return native_forward(choice.channels_last, input, weight, bias, arguments)


def native_forward(
    channels_last: bool, input: Tensor, weight: Tensor, bias: Tensor | None, arguments: Arguments
) -> Tensor:
    """The convolution by PyTorch's operator, in the layout of the call."""
    stride, pads, dilation, groups, *_ = arguments
    if arguments.scale and bias is not None:
        shift, scale = (each.view(-1, *[1] * len(stride)) for each in bias.chunk(2))
        output = native.convolution(input, weight, None, stride, pads, dilation, groups)
        output = torch.addcmul(shift, output, scale)
    else:
        output = native.convolution(input, weight, bias, stride, pads, dilation, groups)
    return activated(arguments.activation, densified(output, channels_last))


def grad_input(
    grad_output: Tensor, weight: Tensor, bias: Tensor | None, input_size: Size, arguments: Arguments
) -> Tensor:
    """The gradient of the input; with a bias, the transposed convolution of ``grad_output``."""
    width = None if bias is None else bias.shape
    count = threads()
    key = (grad_output.shape, grad_output.stride(), weight.shape, weight.stride(), width, input_size, arguments, count)
    choice = GRAD_INPUT.get(key)
    if choice is None:
        shape = (grad_output.shape[0], weight.shape[1] * arguments.groups, *input_size)
        _check_bias(bias, shape[1])
        choice = choose(
            "grad_input", Operand.of(grad_output), Operand.of(weight), arguments, shape, None, bias is not None, count
        )
        GRAD_INPUT.put(key, choice)
    if isinstance(choice, Compiled):
        return choice.run(grad_output, weight, bias)
    return native_grad_input(choice.channels_last, grad_output, weight, bias, input_size, arguments)


def native_grad_input(
    channels_last: bool,
    grad_output: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    input_size: Size,
    arguments: Arguments,
) -> Tensor:
    """The gradient of the input by PyTorch's operator, in the layout of the call."""
    stride, pads, dilation, groups, *_ = arguments
    gradient = native.grad_input(grad_output, weight, bias, input_size, stride, pads, dilation, groups)
    return densified(gradient, channels_last)


def grad_weight(
    grad_output: Tensor, input: Tensor, bias: bool, kernel_size: Size, strides: Size, arguments: Arguments
) -> tuple[Tensor, Tensor]:
    """The gradients of the weight, which gets these strides, and of the bias: empty unless ``bias`` asks for it."""
    count = threads()
    key = (
        grad_output.shape, grad_output.stride(), input.shape, input.stride(), bias, kernel_size, strides, arguments,
        count,
    )  # fmt: skip
    choice = GRAD_WEIGHT.get(key)
    if choice is None:
        shape = (grad_output.shape[1], input.shape[1] // arguments.groups, *kernel_size)
        choice = choose(
            "grad_weight", Operand.of(grad_output), Operand.of(input), arguments, shape, strides, bias, count
        )
        GRAD_WEIGHT.put(key, choice)
    if isinstance(choice, Compiled):
        sums = grad_output.new_empty(grad_output.shape[1] if bias else 0)
        return choice.run(grad_output, input, sums if bias else None), sums
    return native_grad_weight(grad_output, input, bias, kernel_size, strides, arguments)


def native_grad_weight(
    grad_output: Tensor, input: Tensor, bias: bool, kernel_size: Size, strides: Size, arguments: Arguments
) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias by PyTorch's operator."""
    stride, pads, dilation, groups, *_ = arguments
    found, sums = native.grad_weight(grad_output, input, bias, kernel_size, stride, pads, dilation, groups)
    if found.stride() != strides:
        found = found.new_empty_strided(found.shape, strides).copy_(found)
    return found, grad_output.new_empty(0) if sums is None else sums


def _check_bias(bias: Tensor | None, channels: int) -> None:
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ValueError(f"the bias must have the shape ({channels},), not {tuple(bias.shape)}")
