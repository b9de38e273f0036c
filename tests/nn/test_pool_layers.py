"""Pools as layers against torch's own; what torch lacks against plain arithmetic."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn as tnn
from torch.nn import functional as F

from striate import nn
from striate.errors import GeometryError

RANKS = (1, 2, 3)


def both(name, rank):
    return getattr(nn, f"{name}{rank}d"), getattr(tnn, f"{name}{rank}d")


def assert_same_pool(ours, theirs, x):
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    results = []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        output = layer(leaf)
        results.append((output, torch.autograd.grad(output.square().sum(), leaf)[0]))
    torch.testing.assert_close(results[0], results[1])


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(RANKS),
    st.integers(2, 3),
    st.none() | st.integers(1, 3),
    st.integers(0, 1),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
)
def test_window_pools_are_torchs(rank, kernel_size, stride, padding, dilation, ceil_mode, count_include_pad):
    x = torch.rand(2, 2, *range(5, 5 + rank)).double()
    ours, theirs = both("MaxPool", rank)
    window = {"kernel_size": kernel_size, "stride": stride, "ceil_mode": ceil_mode}
    assert_same_pool(
        ours(**window, padding=padding, dilation=dilation), theirs(**window, padding=padding, dilation=dilation), x
    )
    ours, theirs = both("AvgPool", rank)
    average = {"padding": padding, "count_include_pad": count_include_pad}
    assert repr(ours(2)).startswith(f"AvgPool{rank}d(kernel_size=")
    mine, its = ours(**window, **average), theirs(**window, **average)
    assert isinstance(mine, type(its))
    torch.testing.assert_close(mine(x), its(x))
    ours, theirs = both("LPPool", rank)
    assert_same_pool(ours(2, **window), theirs(2, **window), x)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("size", [1, 3])
def test_adaptive_pools_are_torchs(rank, size):
    x = torch.randn(2, 3, *range(5, 5 + rank))
    for name in ("AdaptiveMaxPool", "AdaptiveAvgPool"):
        ours, theirs = both(name, rank)
        assert_same_pool(ours(size), theirs(size), x)


@pytest.mark.parametrize("rank", RANKS)
def test_unpooling_puts_the_maxima_back(rank):
    x = torch.randn(2, 3, *(6,) * rank)
    ours, theirs = both("MaxPool", rank)
    undo, torchs = both("MaxUnpool", rank)
    pooled = ours(2, return_indices=True)(x)
    expected = theirs(2, return_indices=True)(x)
    assert torch.equal(pooled[0], expected[0])
    assert torch.equal(pooled[1], expected[1])
    assert isinstance(undo(2), torchs)
    assert torch.equal(undo(2)(*pooled), torchs(2)(*expected))


@pytest.mark.parametrize("rank", RANKS)
def test_sum_and_global_pools_are_plain_sums(rank):
    x = torch.randint(-5, 6, (2, 3, *(4,) * rank)).float()
    axes = tuple(range(2, 2 + rank))
    sums = getattr(nn, f"SumPool{rank}d")(2)(x)
    windows = x
    for axis in axes:
        windows = windows.unfold(axis, 2, 2)
    assert torch.equal(sums, windows.flatten(2 + rank).sum(-1))
    for name, value in (("Avg", x.mean(axes)), ("Max", x.amax(axes)), ("Sum", x.sum(axes))):
        layer = getattr(nn, f"Global{name}Pool{rank}d")
        torch.testing.assert_close(layer(keepdim=False)(x), value)
        assert layer()(x).shape == (2, 3, *(1,) * rank)
        assert repr(layer()) == f"Global{name}Pool{rank}d(keepdim=True)"


@pytest.mark.parametrize("rank", RANKS)
def test_words_and_pairs_pad_pools(rank):
    x = torch.rand(1, 2, *(7,) * rank)
    last = F.pad(x, (0, 1) * rank, value=-torch.inf)
    torch_max = both("MaxPool", rank)[1]
    same, pairs = (getattr(nn, f"MaxPool{rank}d")(2, padding=padding) for padding in ("same", ((0, 1),) * rank))
    assert torch.equal(same(x), torch_max(2)(last))
    assert torch.equal(pairs(x), torch_max(2)(last))


@pytest.mark.parametrize("kind", ["max", "avg", "sum", "adaptive_avg", "adaptive_max"])
@pytest.mark.parametrize("rank", RANKS)
def test_pool_class_picks_and_the_layer_travels(kind, rank, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # torch.compile sets it if nobody does
    layer = nn.pool_class(kind, rank)(2)
    x = torch.randn(1, 2, *(5,) * rank)
    for twin in (
        copy.deepcopy(layer),
        torch.export.export(layer, (x,)).module(),
    ):
        assert torch.equal(twin(x), layer(x))
    torch._dynamo.reset()
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.pool_class("average", 2),
            (
                "Expected the kind of a pool: max, avg, sum, lp, adaptive_max, adaptive_avg, global_avg, "
                "global_max, global_sum, max_unpool; received 'average'. Did you mean 'avg'?"
            ),
        ),
        (
            lambda: nn.MaxPool2d(2, padding=2),
            (
                "Expected pool padding smaller than the kernel's extent 2 on axis 0; received padding (2, 2). "
                "Some windows would see only padding: pad less or use a larger kernel_size."
            ),
        ),
        (
            lambda: nn.AvgPool2d(2, divisor_override=0),
            (
                "Expected divisor_override to be an integer other than 0; received divisor_override=0. "
                "Leave it at None to divide by the window's size."
            ),
        ),
        (
            lambda: nn.SumPool1d(0),
            "Expected kernel_size of at least 1 on every axis; received kernel_size=0. Raise it to 1 or more.",
        ),
        (
            lambda: nn.AdaptiveAvgPool2d(0),
            "Expected output_size of at least 1 on every axis; received output_size=(0, 0). Raise it to 1 or more.",
        ),
        (
            lambda: nn.MaxUnpool3d((2, 2)),
            (
                "Expected kernel_size to have 3 entries, one per spatial axis; received kernel_size=(2, 2) with 2. "
                "Give one per axis, or one number for all of them."
            ),
        ),
    ],
)
def test_wrong_arguments_are_named_at_construction(make, message):
    with pytest.raises(GeometryError) as error:
        make()
    assert str(error.value) == message
