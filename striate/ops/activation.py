"""The activations that kernels apply to their output, as PyTorch computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import torch.nn.functional as F

from striate.compiler.problem import Activation

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


def activated(activation: Activation | None, output: Tensor) -> Tensor:
    """``output`` after the activation.

    >>> import torch
    >>> activated("relu6", torch.tensor([-1.0, 2.0, 8.0]))
    tensor([0., 2., 6.])
    """
    if activation is None:
        return output
    return F.relu(output) if activation == "relu" else F.relu6(output)
