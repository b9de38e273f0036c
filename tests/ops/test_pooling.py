import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from striate import geometry, ops
from striate.errors import GeometryError

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
LP = {1: F.lp_pool1d, 2: F.lp_pool2d, 3: F.lp_pool3d}


def distinct(*shape):
    """Values far enough apart for finite differences of a maximum, above and below zero."""
    count = math.prod(shape)
    return (torch.randperm(count, generator=torch.Generator().manual_seed(3)).double() - count / 3).view(shape) / 7


@st.composite
def problems(draw, *, dilated=False):
    rank = draw(st.sampled_from([1, 1, 2, 2, 3]))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride = axes(1, 4 - (rank == 3)), axes(1, 3)
    dilation = axes(1, 3) if dilated else (1,) * rank
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    size = tuple(max(e - draw(st.integers(0, 1)), 2) + draw(st.integers(0, 3 - (rank == 3))) for e in extent)
    ceil_mode = draw(st.booleans())
    hangs = ceil_mode and all(s > e - n for s, e, n in zip(stride, extent, size, strict=True))
    pads = tuple(
        (max(draw(st.integers(0, e - 1)), 0 if hangs else e - n), draw(st.integers(0, e - 1)))
        for e, n in zip(extent, size, strict=True)
    )
    symmetric = tuple(before for before, _ in pads)
    # One number per axis is the way into torch's own padding, pairs are the way around it.
    padding = draw(
        st.sampled_from([pads, symmetric, 0 if all(n >= e for n, e in zip(size, extent, strict=True)) else pads])
    )
    pads = geometry.normalise_padding(padding, rank)
    return (2, 2, *size), kernel, stride, padding, pads, dilation, ceil_mode


@settings(max_examples=80, deadline=None)
@given(problems(dilated=True))
# More padding than half the kernel, but not than half its extent: torch's pools go by the kernel alone.
@example(((2, 2, 6, 5), (3, 2), (2, 1), (2, 1), ((2, 2), (1, 1)), (2, 3), True))
def test_max_pool_equals_its_definition_with_gradients_and_indices(check, define, problem):
    shape, kernel, stride, padding, pads, dilation, ceil_mode = problem
    x = distinct(*shape)
    check(
        lambda x: ops.max_pool(x, kernel, stride, padding, dilation, ceil_mode),
        lambda x: define.pool(x, lambda v, i, n: v.amax(-1), kernel, stride, pads, dilation, ceil_mode),
        x,
    )
    values, indices = ops.max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    wanted = define.pool(x, lambda v, i, n: torch.tensor(i)[v.argmax(-1)], kernel, stride, pads, dilation, ceil_mode)
    assert torch.equal(indices, wanted)
    assert torch.equal(x.flatten(2).gather(2, indices.flatten(2)).view_as(values), values)


@settings(max_examples=80, deadline=None)
@given(problems(), st.booleans(), st.sampled_from([None, None, 3, -2]))
def test_avg_pool_equals_its_definition_with_gradients(check, define, problem, include, divisor):
    shape, kernel, stride, padding, pads, _, ceil_mode = problem
    check(
        lambda x: ops.avg_pool(x, kernel, stride, padding, ceil_mode, include, divisor),
        lambda x: define.pool(
            x,
            lambda v, i, n: v.sum(-1) / (divisor or (n if include else len(i))),
            kernel,
            stride,
            pads,
            ceil_mode=ceil_mode,
        ),
        distinct(*shape),
    )


@settings(max_examples=50, deadline=None)
@given(problems())
def test_sum_pool_equals_its_definition_with_gradients(check, define, problem):
    shape, kernel, stride, padding, pads, _, ceil_mode = problem
    check(
        lambda x: ops.sum_pool(x, kernel, stride, padding, ceil_mode),
        lambda x: define.pool(x, lambda v, i, n: v.sum(-1), kernel, stride, pads, ceil_mode=ceil_mode),
        distinct(*shape),
    )


@settings(max_examples=50, deadline=None)
@given(problems(), st.sampled_from([1, 2, 3, 2.5]))
def test_lp_pool_equals_its_definition_with_gradients(check, define, problem, p):
    shape, kernel, stride, padding, pads, _, ceil_mode = problem
    window = math.prod(kernel)
    check(
        lambda x: ops.lp_pool(x, p, kernel, stride, ceil_mode, padding=padding),
        lambda x: define.pool(
            x, lambda v, i, n: (v.pow(p).sum(-1) * window / n).pow(1 / p), kernel, stride, pads, ceil_mode=ceil_mode
        ),
        distinct(*shape).abs() + 0.1,
    )


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2, "same", "causal"])
def test_gradients_by_finite_differences(spatial_dims, padding):
    x = distinct(1, 1, *(4,) * spatial_dims).requires_grad_()
    for operator in (
        lambda x: ops.max_pool(x, 3, 2, padding),
        lambda x: ops.avg_pool(x, 3, 2, padding, count_include_pad=False),
        lambda x: ops.sum_pool(x, 3, 2, padding),
        lambda x: ops.lp_pool(x, 2, 3, 2, padding=padding),
        lambda x: ops.lp_pool(x, math.inf, 3, 2, padding=padding),
    ):
        assert torch.autograd.gradcheck(operator, x)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_they_are_torchs_where_torch_has_them(spatial_dims, ceil_mode):
    x = torch.randn(2, 3, *(5,) * spatial_dims)
    for size in (x, x[0]):
        for arguments in ((2,), (3, 2), (3, 1, 1), (2, [], 1)):
            rank = {"spatial_dims": spatial_dims}
            own = ops.max_pool(size, *arguments, ceil_mode=ceil_mode, return_indices=True, **rank)
            theirs = MAX[spatial_dims](size, *arguments, ceil_mode=ceil_mode, return_indices=True)
            assert torch.equal(own[0], theirs[0])
            assert torch.equal(own[1], theirs[1])
            own = ops.avg_pool(size, *arguments, ceil_mode=ceil_mode, **rank)
            assert torch.equal(own, AVG[spatial_dims](size, *(a or 2 for a in arguments), ceil_mode=ceil_mode))
        for p in (1, 2, math.inf, -math.inf):
            own = ops.lp_pool(size.abs() + 0.1, p, 3, 2, ceil_mode, **rank)
            torch.testing.assert_close(own, LP[spatial_dims](size.abs() + 0.1, p, 3, 2, ceil_mode))


def test_lp_pool_of_nothing_has_no_gradient_and_odd_powers_keep_their_sign():
    x = torch.tensor([[[0.0, 0.0, -3.0, -4.0, 1.0, 2.0]]], requires_grad=True)
    output = ops.lp_pool(x, 3, 2)
    torch.testing.assert_close(output, torch.tensor([[[0.0, -(91 ** (1 / 3)), 9 ** (1 / 3)]]]))
    output.sum().backward()
    assert x.grad[0, 0, :2].tolist() == [0, 0]
    assert x.grad.isfinite().all()
    assert ops.lp_pool(torch.tensor([[[0.0, 2.0, 4.0, 4.0]]]), -1, 2).tolist() == [[[0, 2]]]


def test_an_infinite_norm_keeps_integers():
    x = torch.tensor([[[[1, -7, 2, 3]]]])
    for p, expected in ((math.inf, [[[[7, 3]]]]), (-math.inf, [[[[1, 2]]]])):
        output = ops.lp_pool2d(x, p, (1, 2))
        assert output.dtype == torch.int64
        assert output.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8])
def test_max_pool_of_integers_never_returns_padding(dtype):
    low = torch.iinfo(dtype).min
    x = torch.tensor([[[low, low, 3]]], dtype=dtype)
    values, indices = ops.max_pool(x, 2, 2, "same", return_indices=True)
    assert values.tolist() == [[[low, 3]]]
    assert indices.tolist() == [[[0, 2]]]


def test_indices_stay_inside_where_all_values_are_minus_infinity():
    x = torch.full((1, 1, 3, 3), -math.inf)
    _, indices = ops.max_pool(x, 2, 2, ((1, 0), (1, 0)), return_indices=True)
    assert indices.tolist() == [[[[0, 1], [3, 4]]]]


@settings(max_examples=60, deadline=None)
@given(problems())
def test_max_unpool_puts_back_what_max_pool_found(check, problem):
    shape, kernel, _, padding, _, _, ceil_mode = problem
    x = distinct(*shape)
    try:
        values, indices = ops.max_pool(x, kernel, None, padding, 1, ceil_mode, return_indices=True)
    except GeometryError:  # the stride was drawn for another window
        return
    restored = ops.max_unpool(values, indices, kernel, None, padding, shape[2:])
    found = torch.zeros_like(x).flatten(2)
    for sample, channel, *corner in torch.cartesian_prod(*map(torch.arange, values.shape)).tolist():
        place = (sample, channel, *corner)
        found[sample, channel, indices[place]] = values[place]
    assert torch.equal(restored, found.view(shape))
    assert torch.equal(ops.max_unpool(values, indices, kernel, None, padding, shape), restored)
    assert torch.autograd.gradcheck(
        lambda v: ops.max_unpool(v, indices, kernel, None, padding, shape), values.requires_grad_()
    )


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_max_unpool_is_torchs(spatial_dims):
    theirs = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}[spatial_dims]
    x = torch.randn(2, 3, *(6,) * spatial_dims)
    for batch in (x, x[0]):
        values, indices = MAX[spatial_dims](batch, 2, 2, return_indices=True)
        own = ops.max_unpool(values, indices, 2, spatial_dims=spatial_dims)
        assert torch.equal(own, theirs(values, indices, 2))
        sized = ops.max_unpool(values, indices, 2, output_size=(7,) * spatial_dims, spatial_dims=spatial_dims)
        assert torch.equal(sized, theirs(values, indices, 2, output_size=(7,) * spatial_dims))


@pytest.mark.parametrize("word", ["same", "same_lower", "causal"])
def test_max_unpool_with_words(word):
    x = distinct(1, 1, 7)
    values, indices = ops.max_pool(x, 3, 2, word, return_indices=True)
    restored = ops.max_unpool(values, indices, 3, 2, word, 7)
    kept = restored != 0
    assert torch.equal(restored[kept], x[kept])
    assert restored.max() == x.max()
    assert ops.max_unpool(values, indices, 3, 2, word).shape == (1, 1, 8)


@pytest.mark.parametrize(
    ("shape", "kernel", "spatial_dims", "output"),
    [
        ((2, 3, 8), 2, None, (2, 3, 4)),
        ((2, 3, 8, 8), 2, None, (2, 3, 4, 4)),
        ((2, 3, 8, 8, 8), 2, None, (2, 3, 4, 4, 4)),
        ((3, 8, 8), (2, 2), None, (3, 4, 4)),
        ((3, 8, 8), 2, 2, (3, 4, 4)),
        ((3, 8), 2, 1, (3, 4)),
        ((3, 8, 8), 2, 1, (3, 8, 4)),
        ((0, 3, 8, 8), 2, None, (0, 3, 4, 4)),
    ],
)
def test_the_rank_is_told_by_the_argument_the_kernel_or_the_input(shape, kernel, spatial_dims, output):
    x = torch.zeros(shape)
    rank = {"spatial_dims": spatial_dims}
    assert ops.max_pool(x, kernel, **rank).shape == output
    assert ops.max_pool(x, kernel, padding="causal", **rank).dim() == len(output)
    assert ops.avg_pool(x, kernel, **rank).shape == output
    assert ops.sum_pool(x, kernel, **rank).shape == output
    assert ops.lp_pool(x, 2, kernel, **rank).shape == output
