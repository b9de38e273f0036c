"""From a layer's call to the pass that computes it, and what would compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from striate.ops.compiled import differentiable, plans
from striate.ops.compiled.layouts import dense_strides
from striate.ops.compiled.plans import Arguments, Operand
from striate.ops.settings import chosen

if TYPE_CHECKING:
    from torch import Tensor

    from striate.compiler.problem import ConvProblem, Pass
    from striate.geometry import Pads, Size


@dataclass(frozen=True, slots=True)
class Route:
    """What computes a call: the named algorithm, or PyTorch's operator for a reason."""

    algorithm: str | None
    reason: str | None
    problem: ConvProblem | None
    """The problem the kernel solves; a transposed convolution is the ``grad_input`` pass of one. None where there is
    no such problem."""

    @property
    def compiled(self) -> bool:
        """Whether a kernel computes the call."""
        return self.algorithm is not None


def conv(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, pads: Pads, dilation: Size, groups: int
) -> Tensor | None:
    """The convolution of ``(N, C, *spatial)`` or ``(C, *spatial)``; None if it is PyTorch's to compute."""
    if not chosen.compiled:
        return None
    if input.dim() == len(stride) + 1:
        output = conv(input.unsqueeze(0), weight, bias, stride, pads, dilation, groups)
        return None if output is None else output.squeeze(0)
    arguments = Arguments(stride, pads, dilation, groups, chosen.strict)
    if differentiable.at_once(input, weight, bias):
        return differentiable.conv_at_once(input, weight, bias, arguments)
    if obstacle(input, weight, bias) is not None:
        return None
    return differentiable.conv(input, weight, bias, arguments)


def conv_transpose(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    pads: Pads,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Tensor | None:
    """The transposed convolution, as the gradient of a convolution's input; None if it is PyTorch's to compute."""
    if not chosen.compiled:
        return None
    if input.dim() == len(stride) + 1:
        output = conv_transpose(input.unsqueeze(0), weight, bias, stride, pads, output_padding, groups, dilation)
        return None if output is None else output.squeeze(0)
    adjoint = _adjoint(input.shape[2:], weight.shape[2:], stride, pads, output_padding, dilation)
    if adjoint is None:
        return None
    size, arguments = adjoint[0], Arguments(stride, adjoint[1], dilation, groups, chosen.strict)
    if differentiable.at_once(input, weight, bias):
        return differentiable.grad_input_at_once(input, weight, bias, size, arguments)
    if obstacle(input, weight, bias) is not None:
        return None
    return differentiable.grad_input(input, weight, bias, size, arguments)


def _adjoint(
    input_size: Size, kernel_size: Size, stride: Size, pads: Pads, output_padding: Size, dilation: Size
) -> tuple[Size, Pads] | None:
    """Input size and pads of the convolution whose transpose this is; None if there is none.

    Positions that are added after the output first undo what is cropped there. Of those beyond, a convolution has fewer
    than its stride: more would give its window another place.
    """
    size, after_all = [], []
    for i, k, s, d, (before, after), added in zip(
        input_size, kernel_size, stride, dilation, pads, output_padding, strict=True
    ):
        if added - after >= s:
            return None
        size.append((i - 1) * s + d * (k - 1) + 1 - before - after + added)
        after_all.append((before, max(after - added, 0)))
    return tuple(size), tuple(after_all)


def obstacle(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> str | None:
    """Why PyTorch's operator computes convolutions of these tensors; None where kernels may. Settings count too."""
    if not chosen.compiled:
        return "compiled kernels are switched off"
    for name, tensor in (("input", input), ("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.dtype != torch.float32:
            return f"kernels compute float32, the {name} is {tensor.dtype}".replace("torch.", "")
        if tensor.device.type != "cpu":
            return f"kernels run on the CPU, the {name} is on {tensor.device}"
    if torch.compiler.is_compiling():
        return None
    for name, tensor in (("input", input), ("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.layout != torch.strided:
            return f"kernels read dense tensors, the {name} is {tensor.layout}".replace("torch.", "")
        if not differentiable.known(tensor):
            return f"kernels read plain tensors, the {name} is a {type(tensor).__name__}"
    return differentiable.surroundings()


def route(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Size,
    pads: Pads,
    dilation: Size,
    groups: int = 1,
    output_padding: Size | None = None,
    pass_: Pass = "forward",
) -> Route:
    """What would compute a convolution of these tensors, or one of its gradients, now, and why.

    The arguments are normalised, one entry per spatial axis. ``output_padding`` makes it a transposed convolution. The
    tensors' values do not matter; nothing is compiled or computed.

    >>> x, w = torch.empty(1, 4, 8, 8, dtype=torch.float64), torch.empty(4, 4, 3, 3, dtype=torch.float64)
    >>> route(x, w, stride=(1, 1), pads=((1, 1), (1, 1)), dilation=(1, 1)).reason
    'kernels compute float32, the input is float64'
    """
    reason = obstacle(input, weight, bias)
    if reason is not None:
        return Route(None, reason, None)
    rank = len(stride)
    outer, lies = Operand.of(input if input.dim() == rank + 2 else input.unsqueeze(0)), Operand.of(weight)
    arguments = Arguments(stride, pads, dilation, groups, chosen.strict)
    layout = plans.layout_of(arguments, outer.shape, outer.strides, lies.shape, lies.strides)
    arguments = arguments._replace(channels_last=layout)
    if output_padding is None:
        sizes = zip(outer.shape[2:], lies.shape[2:], stride, pads, dilation, strict=True)
        output = tuple((i + a + b - d * (k - 1) - 1) // s + 1 for i, k, s, (a, b), d in sizes)
        inner = (outer.shape[0], lies.shape[0], *output)
    else:
        adjoint = _adjoint(outer.shape[2:], lies.shape[2:], stride, pads, output_padding, dilation)
        if adjoint is None:
            return Route(None, "the output reaches further beyond its input than a stride", None)
        inner = (outer.shape[0], lies.shape[1] * groups, *adjoint[0])
        arguments = arguments._replace(pads=adjoint[1])
    other = Operand(inner, dense_strides(inner, layout))
    # The layer's own tensors in the roles they have in the convolution.
    x, y = (outer, other) if output_padding is None else (other, outer)
    kernel_pass: Pass = pass_
    if output_padding is not None and pass_ != "grad_weight":
        kernel_pass = "grad_input" if pass_ == "forward" else "forward"
    first, second, result = {
        "forward": (x, lies, y),
        "grad_input": (y, lies, x),
        "grad_weight": (y, x, lies),
    }[kernel_pass]
    # The bias belongs to the forward call, and its gradient to the weight's, of a convolution at least.
    with_bias = bias is not None and (pass_ == "forward" or (pass_ == "grad_weight" and output_padding is None))
    found = plans.decide(kernel_pass, first, second, arguments, result.shape, with_bias)
    if found.algorithm is None:
        return Route(None, found.reason, found.problem)
    return Route(found.algorithm.name, None, found.problem)
