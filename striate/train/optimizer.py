"""The optimisers a run can name, and how the two kinds of weight penalty are applied.

- ``l1`` and ``l2`` are terms of the loss, ``l1 * sum(|w|)`` and ``l2 / 2 * sum(w ** 2)``: their gradients,
  ``l1 * sign(w)`` and ``l2 * w``, are added to those of the data before the optimiser sees them (and after gradient
  clipping, which concerns the data alone). For SGD, Adam and RMSprop ``l2`` is what PyTorch calls ``weight_decay``.
  The losses that are reported are those of the data, without these terms.
- ``weight_decay`` belongs to AdamW only and is decoupled: ``w`` shrinks by ``learning_rate * weight_decay * w`` in
  every step, whatever the gradient's scale.

Both kinds apply to parameters with two or more axes, the weights of convolutions and dense layers. Biases and the
scales of normalisations are left alone, since shrinking them regularises nothing.

With a ``layer_decay`` below 1 the learning rate of each stage is that share of the rate of the stage after it; the last
layers, after all stages, have the full rate (Howard and Ruder, Universal language model fine-tuning, 2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field

from striate.errors import ConfigError
from striate.train.section import Section
from striate.train.stages import parameters_by_stage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

_Fraction = Annotated[float, Field(ge=0, lt=1)]
_AtLeastZero = Annotated[float, Field(ge=0)]


class _Optimizer(Section):
    section: ClassVar[str] = "optimizer"
    learning_rate: float = Field(default=2e-3, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    l1: _AtLeastZero = 0.0
    l2: _AtLeastZero = 0.0


class SGD(_Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's form of it.

    >>> SGD(learning_rate=0.1, momentum=0.9, nesterov=True).momentum
    0.9
    """

    name: Literal["sgd"] = "sgd"
    learning_rate: float = Field(default=0.05, gt=0)
    momentum: _Fraction = 0.9
    nesterov: bool = False

    def model_post_init(self, context: Any, /) -> None:
        """Check what the fields cannot check alone. Raises `ConfigError`."""
        if self.nesterov and self.momentum == 0:
            raise ConfigError(
                "a momentum above 0 with nesterov",
                "optimizer.momentum=0.0, optimizer.nesterov=True",
                "Give a momentum, usually 0.9, or set nesterov to false.",
            )


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2015)."""

    name: Literal["adam"] = "adam"
    beta1: _Fraction = 0.9
    beta2: _Fraction = 0.999
    eps: float = Field(default=1e-8, gt=0)


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    name: Literal["adamw"] = "adamw"
    beta1: _Fraction = 0.9
    beta2: _Fraction = 0.999
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: _AtLeastZero = 0.01


class RMSprop(_Optimizer):
    """RMSprop (Hinton, lecture 6 of the Coursera course, 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: float = Field(default=1e-3, gt=0)
    alpha: _Fraction = 0.99
    momentum: _Fraction = 0.0
    eps: float = Field(default=1e-8, gt=0)


OptimizerSettings: TypeAlias = Annotated[SGD | Adam | AdamW | RMSprop, Field(discriminator="name")]


def build_optimizer(
    settings: SGD | Adam | AdamW | RMSprop, module: nn.Module, *, fused: bool = True
) -> torch.optim.Optimizer:
    """Make PyTorch's optimiser for the trainable parameters of ``module``.

    ``fused`` picks PyTorch's one-pass kernels where the optimiser has them. The learning rate is set again before every
    step by the schedule; every group of parameters holds in ``scale`` the share of it that it gets. Raises `ModelError`
    for a ``layer_decay`` with a network that tells no stages.

    >>> build_optimizer(AdamW(), torch.nn.Linear(2, 1)).param_groups[0]["weight_decay"]
    0.01
    """
    groups = _groups(settings.layer_decay, module)
    rate = settings.learning_rate
    match settings:
        case SGD():
            return torch.optim.SGD(
                groups, lr=rate, momentum=settings.momentum, nesterov=settings.nesterov, fused=fused or None
            )
        case Adam():
            return torch.optim.Adam(
                groups, lr=rate, betas=(settings.beta1, settings.beta2), eps=settings.eps, fused=fused or None
            )
        case AdamW():
            return torch.optim.AdamW(
                groups,
                lr=rate,
                betas=(settings.beta1, settings.beta2),
                eps=settings.eps,
                weight_decay=settings.weight_decay,
                fused=fused or None,
            )
        case RMSprop():
            return torch.optim.RMSprop(
                groups, lr=rate, alpha=settings.alpha, momentum=settings.momentum, eps=settings.eps
            )


def _groups(layer_decay: float, module: nn.Module) -> list[dict[str, Any]]:
    """Groups of parameters: for each stage those that penalties apply to, and the others."""
    every = dict(module.named_parameters())
    parts = [tuple(every)] if layer_decay == 1 else list(parameters_by_stage(module).values())
    groups: list[dict[str, Any]] = []
    for depth, names in enumerate(reversed(parts)):
        trainable = [every[name] for name in names if every[name].requires_grad]
        scale = layer_decay**depth
        groups.append({"params": list(penalised(trainable)), "scale": scale})
        others = [parameter for parameter in trainable if parameter.ndim < 2]
        groups.append({"params": others, "weight_decay": 0.0, "scale": scale})
    return [group for group in groups if group["params"]]


def penalised(parameters: Iterable[nn.Parameter]) -> Iterable[nn.Parameter]:
    """Select the parameters that weight penalties apply to: those with two or more axes."""
    return (parameter for parameter in parameters if parameter.ndim >= 2)


class Penalty:
    """Adds the gradients of ``l1 * sum(|w|) + l2 / 2 * sum(w ** 2)`` to those of the loss.

    >>> layer = torch.nn.Linear(1, 1)
    >>> _ = layer.weight.data.fill_(-2.0), layer(torch.zeros(1, 1)).backward()
    >>> Penalty(layer, l1=0.5, l2=0.25).add()
    >>> layer.weight.grad
    tensor([[-1.]])
    """

    def __init__(self, module: nn.Module, *, l1: float, l2: float) -> None:
        trainable = (parameter for parameter in module.parameters() if parameter.requires_grad)
        self._parameters = list(penalised(trainable)) if l1 or l2 else []
        self._l1, self._l2 = l1, l2

    def __bool__(self) -> bool:
        return bool(self._parameters)

    @torch.no_grad()
    def add(self) -> None:
        """Add the penalty's gradient to ``grad`` of every parameter that has one."""
        for parameter in self._parameters:
            if parameter.grad is not None:
                if self._l2:
                    parameter.grad.add_(parameter, alpha=self._l2)
                if self._l1:
                    parameter.grad.add_(parameter.sign(), alpha=self._l1)
