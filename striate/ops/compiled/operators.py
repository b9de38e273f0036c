"""The passes as operators of torch: ``striate::conv``, ``striate::conv_grad_input``, ``striate::conv_grad_weight``.

What torch has to know of each, besides the kernel on the CPU: the shape and strides of the result (for graphs and meta
tensors), the derivatives, what autocast makes of it, and what torch.func does. Tensors that no kernel takes are left to
PyTorch's operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from striate.ops import native
from striate.ops.compiled import passes
from striate.ops.compiled.differentiable import Conv, GradInput, GradWeight, Way, flat, plain, transformed
from striate.ops.compiled.layouts import dense_strides
from striate.ops.compiled.plans import Arguments, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

_WINDOW = (
    "SymInt[] stride, SymInt[] pads, SymInt[] dilation, SymInt groups, bool strict=False, bool? channels_last=None"
)
_library: Any = torch.library.Library("striate", "DEF")  # type: ignore[no-untyped-call]
_library.define(f"conv(Tensor input, Tensor weight, Tensor? bias, {_WINDOW}) -> Tensor")
_library.define(
    f"conv_grad_input(Tensor grad_output, Tensor weight, Tensor? bias, SymInt[] input_size, {_WINDOW}) -> Tensor"
)
_library.define(
    "conv_grad_weight(Tensor grad_output, Tensor input, bool bias, SymInt[] kernel_size, SymInt[] strides, "
    f"{_WINDOW}) -> (Tensor, Tensor)"
)


def _gather(
    stride: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    strict: bool = False,
    channels_last: bool | None = None,
) -> Arguments:
    pairs = tuple(zip(pads[::2], pads[1::2], strict=True))
    return Arguments(tuple(stride), pairs, tuple(dilation), groups, strict, channels_last)


def _layout(first: Tensor, second: Tensor, arguments: Arguments) -> bool:
    return layout_of(arguments, first.shape, first.stride(), second.shape, second.stride())


# What computes: the kernel for plain tensors, else PyTorch's operator.


def _conv(input: Tensor, weight: Tensor, bias: Tensor | None, *window: Any) -> Tensor:
    arguments = _gather(*window)
    if plain(input) and plain(weight) and (bias is None or plain(bias)):
        return passes.forward(input, weight, bias, arguments)
    return passes.native_forward(_layout(input, weight, arguments), input, weight, bias, arguments)


def _grad_input(
    grad_output: Tensor, weight: Tensor, bias: Tensor | None, input_size: Sequence[int], *window: Any
) -> Tensor:
    arguments, size = _gather(*window), tuple(input_size)
    if plain(grad_output) and plain(weight) and (bias is None or plain(bias)):
        return passes.grad_input(grad_output, weight, bias, size, arguments)
    layout = _layout(grad_output, weight, arguments)
    return passes.native_grad_input(layout, grad_output, weight, bias, size, arguments)


def _grad_weight(
    grad_output: Tensor, input: Tensor, bias: bool, kernel_size: Sequence[int], strides: Sequence[int], *window: Any
) -> tuple[Tensor, Tensor]:
    ways = passes.grad_weight if plain(grad_output) and plain(input) else passes.native_grad_weight
    return ways(grad_output, input, bias, tuple(kernel_size), tuple(strides), _gather(*window))


# The results without their numbers.


def _fake_conv(input: Tensor, weight: Tensor, bias: Tensor | None, *window: Any) -> Tensor:
    arguments = _gather(*window)
    shape = passes.output_shape(input, weight, arguments)
    return input.new_empty_strided(shape, dense_strides(shape, _layout(input, weight, arguments)))


def _fake_grad_input(
    grad_output: Tensor, weight: Tensor, bias: Tensor | None, input_size: Sequence[int], *window: Any
) -> Tensor:
    arguments = _gather(*window)
    shape = (grad_output.shape[0], weight.shape[1] * arguments.groups, *input_size)
    return grad_output.new_empty_strided(shape, dense_strides(shape, _layout(grad_output, weight, arguments)))


def _fake_grad_weight(
    grad_output: Tensor, input: Tensor, bias: bool, kernel_size: Sequence[int], strides: Sequence[int], *window: Any
) -> tuple[Tensor, Tensor]:
    channels = grad_output.shape[1]
    shape = (channels, input.shape[1] // _gather(*window).groups, *kernel_size)
    return grad_output.new_empty_strided(shape, strides), grad_output.new_empty(channels if bias else 0)


# With derivatives. torch.func and forward-mode differentiation know PyTorch's operators, so they get those.


def _native_conv(input: Tensor, weight: Tensor, bias: Tensor | None, *window: Any) -> Tensor:
    stride, pads, dilation, groups, *_ = _gather(*window)
    return native.convolution(input, weight, bias, stride, pads, dilation, groups)


def _native_grad_input(
    grad_output: Tensor, weight: Tensor, bias: Tensor | None, input_size: Sequence[int], *window: Any
) -> Tensor:
    stride, pads, dilation, groups, *_ = _gather(*window)
    return native.grad_input(grad_output, weight, bias, input_size, stride, pads, dilation, groups)


def _native_grad_weight(
    grad_output: Tensor, input: Tensor, bias: bool, kernel_size: Sequence[int], strides: Sequence[int], *window: Any
) -> tuple[Tensor, Tensor]:
    stride, pads, dilation, groups, *_ = _gather(*window)
    found, sums = native.grad_weight(grad_output, input, bias, kernel_size, stride, pads, dilation, groups)
    return found, grad_output.new_empty(0) if sums is None else sums


def _below(operator: Callable[..., Any]) -> Callable[..., Any]:
    """The operator without its derivatives, taking `Arguments`."""

    def compute(*operands: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():  # noqa: SLF001  # what torch.library itself uses
            return operator(*operands[:-1], *flat(operands[-1]))

    return compute


_WINDOW_LENGTH = 6


def _register(
    name: str, kernel: Callable[..., Any], fake: Callable[..., Any], by_torch: Callable[..., Any], derived: Any
) -> None:
    operator = getattr(torch.ops.striate, name).default
    below = _below(operator)
    defaults = [argument.default_value for argument in operator._schema.arguments]  # noqa: SLF001

    def differentiable(*given: Any) -> Any:
        if transformed():
            return by_torch(*given)
        given = (*given, *defaults[len(given) :])  # torch leaves out what equals a default
        operands, arguments = given[:-_WINDOW_LENGTH], _gather(*given[-_WINDOW_LENGTH:])
        tensors = [value for value in operands if isinstance(value, torch.Tensor)]
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return derived.apply(Way(below, arguments), *operands)
        return below(*operands, arguments)

    def mapped(info: Any, in_dims: tuple[Any, ...], *given: Any) -> Any:
        if name != "conv_grad_weight" and not any(isinstance(dim, int) for dim in in_dims[1:]):
            # One weight for all: the mapped axis is more batch.
            first = given[0].movedim(in_dims[0], 0)
            return operator(first.flatten(0, 1), *given[1:]).unflatten(0, first.shape[:2]), 0
        results = [
            operator(
                *(
                    value.select(dim, i) if isinstance(dim, int) else value
                    for value, dim in zip(given, in_dims, strict=True)
                )
            )
            for i in range(info.batch_size)
        ]
        if isinstance(results[0], tuple):
            return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0, 0)
        return torch.stack(results), 0

    _library.impl(name, kernel, "CPU")
    _library.impl(name, differentiable, "Autograd")
    torch.library.register_fake(f"striate::{name}", fake, lib=_library)
    torch.library.register_vmap(f"striate::{name}", mapped, lib=_library)
    for backend in ("CUDA", "XPU", "MPS", "PrivateUse1"):
        _library.impl(name, by_torch, backend)


_register("conv", _conv, _fake_conv, _native_conv, Conv)
_register("conv_grad_input", _grad_input, _fake_grad_input, _native_grad_input, GradInput)
_register("conv_grad_weight", _grad_weight, _fake_grad_weight, _native_grad_weight, GradWeight)
_library.impl("conv", _native_conv, "AutocastCPU")
