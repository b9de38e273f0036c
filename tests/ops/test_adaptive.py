import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from striate import ops

AVG = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def parts(x, axis, count, reduce):
    """One axis divided into ``count`` parts from its definition, each brought to one value."""
    size = x.shape[axis]
    bounds = [(o * size // count, -(-(o + 1) * size // count)) for o in range(count)]
    return torch.stack([reduce(x.narrow(axis, low, high - low), axis) for low, high in bounds], axis)


@st.composite
def problems(draw):
    rank = draw(st.integers(1, 3))
    return tuple(tuple(draw(st.integers(1, 5)) for _ in range(rank)) for _ in range(2))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_adaptive_pools_equal_their_definition_with_gradients(check, problem):
    size, output = problem
    # Distinct values: the gradient of a maximum of equal ones is anyone's.
    x = torch.randperm(2 * 2 * torch.Size(size).numel()).double().view(2, 2, *size)

    def by_axis(reduce):
        def definition(x):
            for axis, count in enumerate(output, 2):
                x = parts(x, axis, count, reduce)
            return x

        return definition

    check(lambda x: ops.adaptive_avg_pool(x, output), by_axis(lambda part, axis: part.mean(axis)), x)
    check(lambda x: ops.adaptive_max_pool(x, output), by_axis(lambda part, axis: part.amax(axis)), x)
    values, indices = ops.adaptive_max_pool(x, output, return_indices=True)
    assert torch.equal(x.flatten(2).gather(2, indices.flatten(2)).view_as(values), values)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_adaptive_pools_are_torchs(spatial_dims):
    x = torch.randn(2, 3, *(5,) * spatial_dims)
    for batch in (x, x[0], x[:0]):
        rank = {"spatial_dims": spatial_dims}
        assert torch.equal(ops.adaptive_avg_pool(batch, 2, **rank), AVG[spatial_dims](batch, 2))
        assert torch.equal(ops.adaptive_max_pool(batch, 2, **rank), MAX[spatial_dims](batch, 2))
        for own, theirs in zip(
            ops.adaptive_max_pool(batch, 2, True, **rank), MAX[spatial_dims](batch, 2, True), strict=True
        ):
            assert torch.equal(own, theirs)


def test_none_keeps_an_axis():
    x = torch.randn(2, 3, 5, 7)
    assert torch.equal(ops.adaptive_avg_pool(x, (None, 2)), F.adaptive_avg_pool2d(x, (None, 2)))
    assert torch.equal(ops.adaptive_max_pool(x, None), x)
    assert ops.adaptive_avg_pool(x[0], (1, 1)).shape == (3, 1, 1)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_global_pools_with_gradients(check, spatial_dims):
    x = torch.randperm(2 * 3 * 3**spatial_dims).double().view(2, 3, *(3,) * spatial_dims)
    ones = (1,) * spatial_dims
    for operator, reduce in (
        (ops.global_avg_pool, lambda flat: flat.mean(2)),
        (ops.global_sum_pool, lambda flat: flat.sum(2)),
        (ops.global_max_pool, lambda flat: flat.max(2).values),
    ):
        check(operator, lambda x, reduce=reduce: reduce(x.flatten(2)).view(2, 3, *ones), x, gradcheck=True)
        assert operator(x, keepdim=False).shape == (2, 3)
        assert torch.equal(operator(x[0], spatial_dims=spatial_dims), operator(x)[0])
        assert operator(x[:0]).shape == (0, 3, *ones)


def test_equal_maxima_share_the_gradient():
    x = torch.ones(1, 1, 4, requires_grad=True)
    ops.global_max_pool(x).sum().backward()
    assert x.grad.tolist() == [[[0.25] * 4]]
