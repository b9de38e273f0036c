"""Losses that torch does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import nn

from striate.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Reduction: TypeAlias = Literal["mean", "sum", "none"]


def half_squared_error(output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """The total error of the textbooks: half the squared difference to the target, summed over the outputs of a sample.

    ``output`` is (N, C) or (C,), compared as it is: no softmax is applied, so give probabilities if the target is one.
    ``target`` is either of the same shape (one-hot or soft), or holds the class indices, (N,) or a single one. The
    result is the mean over the batch, its sum, or with ``none`` one value per sample, (N,).

    Raises `InputError` for a target that fits in neither way, an index outside the classes, or an unknown reduction.

    >>> output = torch.tensor([0.2, 0.4, 0.1, 0.3])
    >>> round(half_squared_error(output, torch.tensor([0.0, 0, 1, 0])).item(), 6)
    0.55
    >>> round(half_squared_error(output, torch.tensor(2)).item(), 6)
    0.55
    """
    if reduction not in ("mean", "sum", "none"):
        raise InputError("reduction to be mean, sum or none", f"reduction={reduction!r}", "Pick one.")
    if output.ndim not in (1, 2):
        raise InputError(
            "an output of shape (N, C), or (C,) for one sample",
            f"shape {tuple(output.shape)}",
            "Flatten everything but the batch first.",
        )
    if target.shape != output.shape:
        target = _one_hot(target, output)
    error = (output - target.to(output.dtype)).square().sum(-1) / 2
    if reduction == "none":
        return error
    return error.mean() if reduction == "mean" else error.sum()


def _one_hot(target: Tensor, output: Tensor) -> Tensor:
    if target.shape != output.shape[:-1] or target.is_floating_point() or target.dtype == torch.bool:
        raise InputError(
            f"a target of class indices of shape {tuple(output.shape[:-1])}, or one of shape {tuple(output.shape)}",
            f"a target of shape {tuple(target.shape)} and type {target.dtype}",
            "Give one index per sample, or one value per output.",
        )
    classes = output.shape[-1]
    # Reading values back would stall a GPU and cannot be traced; there an index outside gives an all-zero target.
    if target.device.type == "cpu" and not torch.compiler.is_compiling():
        outside = target[(target < 0) | (target >= classes)]
        if outside.numel():
            raise InputError(
                f"class indices from 0 to {classes - 1}, one for each of the {classes} outputs",
                f"index {int(outside[0])}",
                "Renumber the classes, or give the network more outputs.",
            )
    return target.unsqueeze(-1) == torch.arange(classes, device=target.device)


class HalfSquaredError(nn.Module):
    """`half_squared_error` as a module: outputs are compared as they are given, without a softmax.

    >>> loss = HalfSquaredError()
    >>> round(loss(torch.tensor([[0.1, 0.1, 0.7, 0.1]]), torch.tensor([2])).item(), 6)
    0.06
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise InputError("reduction to be mean, sum or none", f"reduction={reduction!r}", "Pick one.")
        self.reduction: Reduction = reduction

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compare outputs with targets; see `half_squared_error`."""
        return half_squared_error(output, target, self.reduction)

    def extra_repr(self) -> str:
        """The reduction."""
        return f"reduction={self.reduction!r}"
