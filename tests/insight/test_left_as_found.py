"""Summaries and feature maps leave a model as it was, after success and after failure."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from striate.errors import ModelError
from striate.insight import feature_maps, summary


class Careless(nn.Module):
    """Changes whatever a forward pass can change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.old_norm = torch.nn.utils.spectral_norm(nn.Conv2d(4, 4, 1))
        self.table = nn.Embedding(4, 4, max_norm=0.1)
        self.register_buffer("count", torch.zeros(1))
        self.cache: torch.Tensor | None = None
        self.seen: list[torch.Tensor] = []

    def train(self, mode: bool = True) -> "Careless":
        raise RuntimeError("a model may do anything here")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.norm(self.conv(x)))
        self.count += 1
        self.cache = self.new = x
        self.seen.append(x)
        x = self.old_norm(x) + self.table(torch.zeros(1, dtype=torch.long)).view(1, 4, 1, 1)
        torch.rand(1), random.random(), np.random.rand()
        self.norm.train()
        return x.view(-1, 4, 30)  # refuses all but some sizes


@pytest.mark.parametrize("tool", [summary, feature_maps])
@pytest.mark.parametrize("size", [(5, 12), (6, 12)])
@pytest.mark.parametrize("values", [False, True])
def test_everything_is_put_back(tool, size, values):
    model = Careless()
    model.norm.training = False
    hook = model.conv.register_forward_hook(lambda module, args, output: None)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    if values:  # has to be run for real
        model.conv.register_forward_hook(lambda module, args, output: output * float(output.mean().item() < 9))
    grads = {name: (id(p), id(p.grad), p.grad.clone()) for name, p in model.named_parameters()}
    state = {name: (id(t), t.clone(), t._version) for name, t in model.state_dict(keep_vars=True).items()}
    flags = {name: module.training for name, module in model.named_modules()}
    hooks = {
        name: len(module._forward_hooks) + len(module._forward_pre_hooks) for name, module in model.named_modules()
    }
    attributes = {name: {k: id(v) for k, v in vars(m).items()} for name, m in model.named_modules()}
    x = torch.rand(1, 1, *size)
    before = x.clone()
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()

    if size == (5, 12):
        tool(model, x)
    else:
        with pytest.raises(ModelError):
            tool(model, x)

    assert {name: module.training for name, module in model.named_modules()} == flags
    assert {n: len(m._forward_hooks) + len(m._forward_pre_hooks) for n, m in model.named_modules()} == hooks
    assert {name: {k: id(v) for k, v in vars(m).items()} for name, m in model.named_modules()} == attributes
    assert model.seen == []
    for name, tensor in model.state_dict(keep_vars=True).items():
        identity, value, version = state[name]
        assert id(tensor) == identity
        assert torch.equal(tensor, value)
        assert tensor._version == version
    for name, parameter in model.named_parameters():
        identity, grad, value = grads[name]
        assert (id(parameter), id(parameter.grad)) == (identity, grad)
        assert torch.equal(parameter.grad, value)
        assert parameter.requires_grad
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert np.array_equal(np.random.get_state()[1], generators[2])
    assert torch.equal(x, before)
    assert torch.is_grad_enabled()
    hook.remove()


def test_inside_inference_mode_and_with_an_input_that_needs_gradients():
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU())
    x = torch.rand(1, 1, 8, requires_grad=True)
    with torch.inference_mode():
        assert summary(net, x).macs == 36
        maps = feature_maps(net, torch.rand(1, 1, 8))["0"]
    assert not maps.convolution.requires_grad
    assert feature_maps(net, x)["0"].activation.grad_fn is None
    assert x.grad is None
