from dataclasses import replace

import numpy as np
import torch
from any_problem import problems
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.compiler import reference


@settings(max_examples=60, deadline=None)
@given(problems(dtype="float64", activation=None, scale=False), st.integers(0, 2**31))
def test_every_pass_is_torch_in_float64(problem, seed):
    spec, random = problem.spec, np.random.default_rng(seed)
    x = torch.from_numpy(random.normal(size=(problem.batch, spec.in_channels, *problem.input_size))).requires_grad_()
    w = torch.from_numpy(random.normal(size=(spec.out_channels, spec.group_in_channels, *spec.kernel_size)))
    b = torch.from_numpy(random.normal(size=spec.out_channels))
    w.requires_grad_()
    padded = torch.nn.functional.pad(x, [amount for pair in reversed(problem.pads) for amount in pair])
    operator = getattr(torch.nn.functional, f"conv{spec.spatial_dims}d")
    y = operator(padded, w, b, spec.stride, 0, spec.dilation, spec.groups)
    upstream = torch.from_numpy(random.normal(size=y.shape))
    y.backward(upstream)
    arrays = [t.detach().numpy() for t in (x, w, b, upstream)]
    np.testing.assert_allclose(reference.forward(problem, *arrays[:3]), y.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(reference.grad_input(problem, arrays[3], arrays[1]), x.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(reference.grad_weight(problem, arrays[3], arrays[0]), w.grad.numpy(), atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(problems(activation="relu", scale=False))
def test_relu_comes_last(problem):
    spec, random = problem.spec, np.random.default_rng(0)
    x = random.normal(size=(problem.batch, spec.in_channels, *problem.input_size))
    w = random.normal(size=(spec.out_channels, spec.group_in_channels, *spec.kernel_size))
    b = random.normal(size=spec.out_channels)
    plain = replace(problem, spec=replace(spec, activation=None))
    np.testing.assert_array_equal(reference.forward(problem, x, w, b), np.maximum(reference.forward(plain, x, w, b), 0))


@settings(max_examples=20, deadline=None)
@given(problems(pass_="forward", bias=True, scale=True))
def test_scales_come_before_biases(problem):
    spec, random = problem.spec, np.random.default_rng(0)
    x = random.normal(size=(problem.batch, spec.in_channels, *problem.input_size))
    w = random.normal(size=(spec.out_channels, spec.group_in_channels, *spec.kernel_size))
    shift, scale = random.normal(size=(2, spec.out_channels))
    scaled = w * scale.reshape(-1, *[1] * (w.ndim - 1))
    plain = replace(problem, spec=replace(spec, scale=False))
    ours = reference.forward(problem, x, w, np.concatenate([shift, scale]))
    np.testing.assert_allclose(ours, reference.forward(plain, x, scaled, shift), atol=1e-12)
