"""Optimisers against steps worked out with plain numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from striate.train.optimizer import SGD, Adam, AdamW, Penalty, RMSprop, build_optimizer

START, GRADS, RATE = 2.0, (0.5, -0.25), 0.1


def stepped(settings: Any, *, ndim: int = 2, l1: float = 0.0, l2: float = 0.0) -> float:
    """The weight after a step with each of GRADS."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.full((1,) * ndim, START, dtype=torch.float64))
    optimizer, penalty = build_optimizer(settings, module), Penalty(module, l1=l1, l2=l2)
    for grad in GRADS:
        module.weight.grad = torch.full_like(module.weight, grad)
        penalty.add()
        optimizer.step()
    return module.weight.item()


def test_sgd() -> None:
    assert stepped(SGD(learning_rate=RATE, momentum=0.0)) == pytest.approx(2.0 - 0.1 * 0.5 + 0.1 * 0.25, rel=1e-14)


def test_momentum() -> None:
    # v1 = 0.5, v2 = 0.9 * 0.5 - 0.25 = 0.2
    assert stepped(SGD(learning_rate=RATE, momentum=0.9)) == pytest.approx(2.0 - 0.1 * (0.5 + 0.2), rel=1e-14)


def test_nesterov() -> None:
    # each step goes grad + 0.9 * v: 0.5 + 0.45 = 0.95, then -0.25 + 0.9 * 0.2 = -0.07
    settings = SGD(learning_rate=RATE, momentum=0.9, nesterov=True)
    assert stepped(settings) == pytest.approx(2.0 - 0.1 * (0.95 - 0.07), rel=1e-14)


def adam_by_hand(decay: float = 0.0, grads: Any = GRADS) -> float:
    w, m, v = START, 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        w -= RATE * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= RATE * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    return w


def test_adam() -> None:
    assert stepped(Adam(learning_rate=RATE)) == pytest.approx(adam_by_hand(), rel=1e-12)


def test_adamw_decay_is_decoupled_and_spares_vectors() -> None:
    settings = AdamW(learning_rate=RATE, weight_decay=0.3)
    assert stepped(settings) == pytest.approx(adam_by_hand(decay=0.3), rel=1e-12)
    assert stepped(settings, ndim=1) == pytest.approx(adam_by_hand(), rel=1e-12)


def test_rmsprop() -> None:
    w, v = START, 0.0
    for g in GRADS:
        v = 0.99 * v + 0.01 * g * g
        w -= RATE * g / (v**0.5 + 1e-8)
    assert stepped(RMSprop(learning_rate=RATE)) == pytest.approx(w, rel=1e-12)


def test_l1_and_l2_are_gradients_of_the_loss() -> None:
    w = START
    for g in GRADS:
        w -= RATE * (g + 0.2 * w + 0.05 * (1 if w > 0 else -1))
    assert stepped(SGD(learning_rate=RATE, momentum=0.0), l1=0.05, l2=0.2) == pytest.approx(w, rel=1e-14)


def test_penalties_spare_vectors() -> None:
    settings = SGD(learning_rate=RATE, momentum=0.0)
    assert stepped(settings, ndim=1, l1=0.05, l2=0.2) == stepped(settings, ndim=1)


def test_l2_in_adam_is_pytorchs_weight_decay() -> None:
    weight = nn.Parameter(torch.full((1, 1), START, dtype=torch.float64))
    theirs = torch.optim.Adam([weight], lr=RATE, weight_decay=0.2)
    for grad in GRADS:
        weight.grad = torch.full_like(weight, grad)
        theirs.step()
    assert stepped(Adam(learning_rate=RATE), l2=0.2) == pytest.approx(weight.item(), rel=1e-14)


def test_penalty_matches_autograd() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double()
    penalty = Penalty(module, l1=0.3, l2=0.7)
    assert penalty
    assert not Penalty(module, l1=0.0, l2=0.0)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalty.add()
    weight = module[0].weight
    (expected,) = torch.autograd.grad(0.3 * weight.abs().sum() + 0.7 / 2 * weight.square().sum(), weight)
    torch.testing.assert_close(weight.grad, expected)
    for parameter in (module[0].bias, module[1].weight, module[1].bias):
        assert not parameter.grad.any()


def test_frozen_parameters_stay_out() -> None:
    module = nn.Linear(2, 2)
    module.weight.requires_grad_(False)
    optimizer = build_optimizer(AdamW(), module)
    assert [parameter for group in optimizer.param_groups for parameter in group["params"]] == [module.bias]
