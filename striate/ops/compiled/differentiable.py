"""The three passes with their derivatives, each by the others: a convolution can be differentiated any number of times.

With ``g`` the gradient of a result::

    conv(x, w, b)             x: grad_input(g, w)      w, b: grad_weight(g, x)
    grad_input(y, w, b)       y: conv(g, w)            w: grad_weight(y, g)       b: sum of g
    grad_weight(y, x) = gw, gb
                              y: conv(x, g of gw, g of gb)                        x: grad_input(y, g of gw)

`conv`, `grad_input` and `grad_weight` take one of two ways. Where nothing but autograd listens, they run at once. Where
a graph is traced or a mode looks on, they call the registered operators, which lead back here.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.autograd.function import Function

from striate.ops.compiled import passes
from striate.ops.compiled.layouts import like
from striate.ops.compiled.plans import layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor

    from striate.geometry import Size
    from striate.ops.compiled.plans import Arguments

_NOTHING = nullcontext()
_TYPES = frozenset({torch.Tensor, torch.nn.Parameter})
# Bound once: every call asks them all, and a look-up in torch costs as much as the answer.
_FLOAT, _STRIDED = torch.float32, torch.strided
_is_compiling = torch.compiler.is_dynamo_compiling
_dispatch_modes = torch._C._len_torch_dispatch_stack  # noqa: SLF001
_function_modes = torch._C._len_torch_function_stack  # noqa: SLF001
_transforms = torch._C._are_functorch_transforms_active  # noqa: SLF001
_script_tracing = torch._C._get_tracing_state  # noqa: SLF001
_no_autocast = partial(torch._C._dispatch_tls_is_dispatch_key_excluded, torch._C.DispatchKey.AutocastCPU)  # noqa: SLF001
_profiler = torch._C._autograd._profiler_enabled  # noqa: SLF001


def transformed() -> str | None:
    """What is at work that PyTorch's own operators know best: torch.func or forward-mode differentiation."""
    if _transforms():
        return "a transform of torch.func is at work"
    if forward_ad._current_level >= 0:  # noqa: SLF001
        return "forward-mode differentiation is at work"
    return None


def surroundings() -> str | None:
    """What is at work that must see PyTorch's own operators, if anything."""
    if torch.is_autocast_enabled("cpu"):
        return f"autocast computes in {torch.get_autocast_dtype('cpu')}".replace("torch.", "")
    if _script_tracing() is not None:
        return "torch.jit records PyTorch's operators"
    return transformed()


def known(tensor: Tensor) -> bool:
    """Whether a tensor is one that torch made: ordinary, or without data for a graph that is traced."""
    return type(tensor) in _TYPES or isinstance(tensor, FakeTensor)


def plain(tensor: Tensor) -> bool:
    """Whether this is an ordinary float32 tensor in the memory of the CPU, its numbers as they are stored."""
    return (
        type(tensor) in _TYPES
        and tensor.dtype is _FLOAT
        and tensor.is_cpu
        and tensor.layout is _STRIDED
        and not tensor.is_neg()
    )


def at_once(first: Tensor, second: Tensor, bias: Tensor | None = None) -> bool:
    """Whether these tensors are plain, and nothing but autograd listens to what is computed."""
    # Every call comes here, so `plain` is written out.
    return not (
        _is_compiling()
        or _dispatch_modes()
        or _function_modes()
        or not _no_autocast()
        or _profiler()
        or _transforms()
        or forward_ad._current_level >= 0  # noqa: SLF001
        or _script_tracing() is not None
        or type(first) not in _TYPES
        or type(second) not in _TYPES
        or first.dtype is not _FLOAT
        or second.dtype is not _FLOAT
        or not first.is_cpu
        or not second.is_cpu
        or first.layout is not _STRIDED
        or second.layout is not _STRIDED
        or first.is_neg()
        or second.is_neg()
        or (
            bias is not None
            and (
                type(bias) not in _TYPES
                or bias.dtype is not _FLOAT
                or not bias.is_cpu
                or bias.layout is not _STRIDED
                or bias.is_neg()
            )
        )
    )


def conv(input: Tensor, weight: Tensor, bias: Tensor | None, arguments: Arguments) -> Tensor:
    """The convolution of ``(N, C, *spatial)``."""
    if at_once(input, weight, bias):
        return conv_at_once(input, weight, bias, arguments)
    return torch.ops.striate.conv(input, weight, bias, *flat(arguments))  # type: ignore[no-any-return]


def conv_at_once(input: Tensor, weight: Tensor, bias: Tensor | None, arguments: Arguments) -> Tensor:
    """`conv` of tensors of which `at_once` is true."""
    if torch.is_grad_enabled() and (
        input.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        return apply_conv(Way(passes.forward, arguments), input, weight, bias)  # type: ignore[no-any-return,no-untyped-call]
    return passes.forward(input, weight, bias, arguments)


def grad_input(
    grad_output: Tensor, weight: Tensor, bias: Tensor | None, input_size: Size, arguments: Arguments
) -> Tensor:
    """The gradient of the input of `conv`; with a bias, the transposed convolution."""
    if at_once(grad_output, weight, bias):
        return grad_input_at_once(grad_output, weight, bias, input_size, arguments)
    return torch.ops.striate.conv_grad_input(grad_output, weight, bias, input_size, *flat(arguments))  # type: ignore[no-any-return]


def grad_input_at_once(
    grad_output: Tensor, weight: Tensor, bias: Tensor | None, input_size: Size, arguments: Arguments
) -> Tensor:
    """`grad_input` of tensors of which `at_once` is true."""
    if torch.is_grad_enabled() and (
        grad_output.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        return _grad_input(Way(passes.grad_input, arguments), grad_output, weight, bias, input_size)  # type: ignore[no-any-return,no-untyped-call]
    return passes.grad_input(grad_output, weight, bias, input_size, arguments)


def grad_weight(
    grad_output: Tensor, input: Tensor, bias: bool, kernel_size: Size, strides: Size, arguments: Arguments
) -> tuple[Tensor, Tensor]:
    """The gradients of the weight and of the bias of `conv`, the latter empty unless asked for."""
    if not at_once(grad_output, input):
        return torch.ops.striate.conv_grad_weight(  # type: ignore[no-any-return]
            grad_output, input, bias, kernel_size, strides, *flat(arguments)
        )
    if torch.is_grad_enabled() and (grad_output.requires_grad or input.requires_grad):
        return GradWeight.apply(  # type: ignore[no-any-return,no-untyped-call]
            Way(passes.grad_weight, arguments), grad_output, input, bias, kernel_size, strides
        )
    return passes.grad_weight(grad_output, input, bias, kernel_size, strides, arguments)


def flat(arguments: Arguments) -> tuple[Sequence[int], Sequence[int], Sequence[int], int, bool, bool | None]:
    """The arguments as operators of torch take them: pads as one list, before and after for each axis."""
    stride, pads, dilation, groups, strict, channels_last, *_ = arguments
    return stride, [amount for pair in pads for amount in pair], dilation, groups, strict, channels_last


class Way(NamedTuple):
    """What computes an operator, a pass or the operator below autograd, and the last argument it is given."""

    compute: Callable[..., Any]
    arguments: Arguments


class Conv(Function):
    """`conv` and its derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        way: Way,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        """Compute, and keep what the wanted gradients need."""
        if ctx.needs_input_grad[2]:
            ctx.save_for_backward(input, weight)
        else:
            ctx.save_for_backward(None, weight)
            ctx.lie = (input.shape, input.stride())
        compute, ctx.arguments = way
        return compute(input, weight, bias, ctx.arguments)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The wanted gradients."""
        source, weight = ctx.saved_tensors
        shape, strides = ctx.lie if source is None else (source.shape, source.stride())
        arguments = settled(ctx.arguments, shape, strides, weight)
        _, needs_input, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        to_input = to_weight = to_bias = None
        with uncast():
            if needs_input and not weight_first(weight, source):
                to_input = grad_input(grad, weight, None, shape[2:], arguments)
            if needs_weight:
                lie = weight.stride() if weight.is_contiguous() else like(weight.shape, weight.stride())
                to_weight, sums = grad_weight(grad, source, needs_bias, weight.shape[2:], lie, arguments)
                to_bias = sums if needs_bias else None
            elif needs_bias:
                to_bias = channel_sums(grad)
            if needs_input and to_input is None:
                to_input = grad_input(grad, weight, None, shape[2:], arguments)
        return None, to_input, to_weight, to_bias


class GradInput(Function):
    """`grad_input` and its derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        way: Way,
        grad_output: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        input_size: Size,
    ) -> Tensor:
        """Compute, and keep what the wanted gradients need."""
        if ctx.needs_input_grad[2]:
            ctx.save_for_backward(grad_output, weight)
        else:
            ctx.save_for_backward(None, weight)
            ctx.lie = (grad_output.shape, grad_output.stride())
        compute, ctx.arguments = way
        return compute(grad_output, weight, bias, input_size, ctx.arguments)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The wanted gradients."""
        grad_output, weight = ctx.saved_tensors
        shape, strides = ctx.lie if grad_output is None else (grad_output.shape, grad_output.stride())
        arguments = settled(ctx.arguments, shape, strides, weight)
        _, needs_output, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        to_output = to_weight = None
        with uncast():
            if needs_output and not weight_first(weight, grad_output):
                to_output = conv(grad, weight, None, arguments)
            if needs_weight:
                lie = weight.stride() if weight.is_contiguous() else like(weight.shape, weight.stride())
                to_weight, _ = grad_weight(grad_output, grad, False, weight.shape[2:], lie, arguments)
            if needs_output and to_output is None:
                to_output = conv(grad, weight, None, arguments)
        return None, to_output, to_weight, channel_sums(grad) if needs_bias else None, None


class GradWeight(Function):
    """`grad_weight` and its derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        way: Way,
        grad_output: Tensor,
        input: Tensor,
        bias: bool,
        kernel_size: Size,
        strides: Size,
    ) -> tuple[Tensor, Tensor]:
        """Compute, and keep what the wanted gradients need."""
        _, needs_output, needs_input, *_ = ctx.needs_input_grad
        ctx.save_for_backward(grad_output if needs_input else None, input if needs_output else None)
        ctx.sizes = (grad_output.shape, input.shape)
        ctx.bias = bias
        ctx.set_materialize_grads(False)
        compute, ctx.arguments = way
        return compute(grad_output, input, bias, kernel_size, strides, ctx.arguments)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_sums: Tensor | None) -> Any:
        """The wanted gradients."""
        grad_output, source = ctx.saved_tensors
        shape, input_shape = ctx.sizes
        _, needs_output, needs_input, *_ = ctx.needs_input_grad
        sums = grad_sums if ctx.bias else None
        to_output = to_input = None
        with uncast():
            if needs_output and grad is not None:
                to_output = conv(source, grad, sums, ctx.arguments)
            elif needs_output and sums is not None:
                to_output = sums.view(-1, *[1] * (len(shape) - 2)).expand(shape)
            if needs_input and grad is not None:
                to_input = grad_input(grad_output, grad, None, input_shape[2:], ctx.arguments)
        return None, to_output, to_input, None, None, None


# Without what `Function.apply` adds for torch.func, which `at_once` has ruled out: a third of the cost of a call.
apply_conv = super(Function, Conv).apply
_grad_input = super(Function, GradInput).apply


def weight_first(weight: Tensor, other: Tensor | None) -> bool:
    """Whether the gradient of the weight is the smaller one.

    The smaller comes first: it lies beside what the other needs of memory for itself, and which is gone by the end.
    ``other`` is None where nobody wants the gradient of the weight.
    """
    return other is not None and weight.numel() < other.numel()


def settled(arguments: Arguments, shape: Size, strides: Size, weight: Tensor) -> Arguments:
    """The arguments with the layout of the forward call, so that gradients lie as their tensors do."""
    if arguments.channels_last is not None:
        return arguments
    return arguments._replace(channels_last=layout_of(arguments, shape, strides, weight.shape, weight.stride()))


def channel_sums(tensor: Tensor) -> Tensor:
    """The sum over everything but channels."""
    return tensor.sum((0, *range(2, tensor.dim())))


def uncast() -> AbstractContextManager[object]:
    """Gradients are computed in the dtype of their forward call, whether or not autocast is on around them."""
    return _NOTHING if _no_autocast() else torch.autocast("cpu", enabled=False)
