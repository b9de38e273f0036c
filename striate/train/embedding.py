"""What a network knows of an input before it names it: the features that its last layer sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from striate.errors import ModelError
from striate.models.features import head_name

if TYPE_CHECKING:
    from torch import Tensor


def embed(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the input of a network's final layer, (n, features); where that has positions, their mean.

    ``model`` may be wrapped by Fabric. The final layer is the one that the network names, or its last `nn.Linear`.
    Raises `ModelError` for a network without one.

    >>> import torch
    >>> from striate.models import create_model
    >>> embed(create_model("lenet").eval(), torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 84])
    """
    caught: list[Tensor] = []
    hook = _head(model).register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    try:
        model(inputs)
    finally:
        hook.remove()
    features = caught[-1]
    return features.flatten(2).mean(dim=2) if features.ndim > 2 else features


def _head(model: nn.Module) -> nn.Module:
    wrapped = getattr(model, "module", None)
    inner = wrapped if isinstance(wrapped, nn.Module) else model
    try:
        return inner.get_submodule(head_name(inner))
    except ModelError:
        layers = [layer for layer in inner.modules() if isinstance(layer, nn.Linear)]
        if not layers:
            raise
        return layers[-1]
