"""Calls that were made before, by what their caller wrote: nothing is checked, normalised or chosen again.

A layer is called with the same shapes again and again, and for a small one the way to its kernel costs as much as the
kernel. Known calls take a short one: is everything plain, which call is it, run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch

from striate.ops.compiled import passes
from striate.ops.compiled.differentiable import Way, apply_conv, at_once
from striate.ops.compiled.plans import Arguments, Compiled, Memory, threads
from striate.ops.settings import chosen

if TYPE_CHECKING:
    from torch import Tensor

    from striate.compiler.problem import Activation
    from striate.geometry import Axes, Padding, Pads, Size

    Written: TypeAlias = tuple[Axes, Padding, Axes, int, int | None]
    """Stride, padding, dilation, groups and rank, as the caller gave them: plain integers, words, tuples of them."""

_CALLS: Memory[Way] = Memory()
_grad_enabled = torch.is_grad_enabled


def again(input: Tensor, weight: Tensor, bias: Tensor | None, written: Written) -> Tensor | None:
    """The convolution, if this call is known and nothing but autograd listens; else None."""
    if not at_once(input, weight, bias) or not chosen.compiled:
        return None
    width = None if bias is None else bias.shape
    try:
        known = _CALLS.get(
            (input.shape, input.stride(), weight.shape, weight.stride(), width, written, chosen.strict, threads())
        )
    except TypeError:  # a list, say, which the caller's checks may take
        return None
    if known is None:
        return None
    if _grad_enabled() and (input.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)):
        return apply_conv(known, input, weight, bias)  # type: ignore[no-any-return,no-untyped-call]
    return known.compute(input, weight, bias)  # type: ignore[no-any-return]


def finished(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    pads: Pads,
    dilation: Size,
    groups: int,
    scale: Tensor | None,
    activation: Activation | None,
) -> Tensor | None:
    """The convolution, times ``scale``, plus the bias, with its activation, in one go.

    None where gradients are wanted or anything listens.
    """
    if input.dim() != weight.dim() or not chosen.compiled or not at_once(input, weight, bias):
        return None
    if _grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in (input, weight, bias, scale)):
        return None
    if scale is not None:
        if not at_once(scale, weight):
            return None
        bias = torch.cat((torch.zeros_like(scale) if bias is None else bias, scale))
    scaled = scale is not None
    arguments = Arguments(stride, pads, dilation, groups, chosen.strict, activation=activation, scale=scaled)
    return passes.forward(input, weight, bias, arguments)


def remember(
    input: Tensor, weight: Tensor, bias: Tensor | None, written: Written, stride: Size, pads: Pads, dilation: Size
) -> None:
    """Let `again` know a call that has just been made, if a kernel computed it."""
    if not at_once(input, weight, bias) or not chosen.compiled:
        return
    width, count = None if bias is None else bias.shape, threads()
    arguments = Arguments(stride, pads, dilation, written[3], chosen.strict)
    operands = (input.shape, input.stride(), weight.shape, weight.stride(), width)
    choice = passes.FORWARD.get((*operands, arguments, count))
    if isinstance(choice, Compiled):
        # Its gradients, too, need not ask again how things lie.
        settled = arguments._replace(channels_last=choice.channels_last)
        _CALLS.put((*operands, written, chosen.strict, count), Way(choice.run, settled))
