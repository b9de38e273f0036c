"""Compiled convolutions against PyTorch in float64: values and all gradients, layouts, threads, processes."""

import copy
import gc
import os
import threading
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate import nn, ops
from striate.ops.compiled import layouts, passes, plans

TORCH = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
TRANSPOSED = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}
FORMATS = {1: None, 2: torch.channels_last, 3: torch.channels_last_3d}


def near(own, wanted, terms=1.0):
    """Equal up to what float32 sums of numbers of this size may differ by."""
    scale = max(float(wanted.detach().abs().max()), terms) if wanted.numel() else 1.0
    torch.testing.assert_close(own.double(), wanted.double(), rtol=1e-4, atol=2e-5 * scale)


def last(x):
    """The tensor in channels-last order."""
    return layouts.densified(x, True)


def compare(own, wanted, *tensors):
    """Values and gradients of two functions, the second in float64."""
    results = []
    for function, dtype in ((own, torch.float32), (wanted, torch.float64)):
        leaves = [None if t is None else t.detach().to(dtype).requires_grad_() for t in tensors]
        output = function(*leaves)
        weights = torch.linspace(-1, 2, max(output.numel(), 1), dtype=dtype)[: output.numel()].view(output.shape)
        results.append(
            [output, *torch.autograd.grad((output * weights).sum(), [leaf for leaf in leaves if leaf is not None])]
        )
    for a, b in zip(*results, strict=True):
        assert a.shape == b.shape
        near(a, b)


@st.composite
def calls(draw):
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    each, out = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    kernel = draw(st.tuples(*[st.integers(1, 4)] * rank))
    stride, dilation = (draw(st.tuples(*[st.integers(1, 3)] * rank)) for _ in range(2))
    pads = draw(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * rank))
    size = [
        max(1, d * (k - 1) + 1 - sum(p)) + draw(st.integers(0, 4))
        for k, d, p in zip(kernel, dilation, pads, strict=True)
    ]
    x = torch.randn(draw(st.integers(0, 2)), groups * each, *size)
    w = torch.randn(groups * out, each, *kernel)
    b = torch.randn(groups * out) if draw(st.booleans()) else None
    return (
        (last(x) if draw(st.booleans()) else x),
        (last(w) if draw(st.booleans()) else w),
        b,
        stride,
        pads,
        dilation,
        groups,
    )


@settings(max_examples=8, deadline=None)  # tests/compiler/test_ten_thousand.py draws many more
@given(calls())
def test_convolution_and_gradients_are_those_of_float64(call):
    x, w, b, stride, pads, dilation, groups = call
    flat = [amount for pair in reversed(pads) for amount in pair]
    compare(
        lambda x, w, b: ops.conv(x, w, b, stride, pads, dilation, groups),
        lambda x, w, b: TORCH[len(stride)](
            torch.nn.functional.pad(x, flat), w, b, stride, 0, dilation, groups
        ),
        x, w, b,
    )  # fmt: skip


@settings(max_examples=5, deadline=None)
@given(calls(), st.data())
def test_transposed_convolution_and_gradients_are_those_of_float64(call, data):
    x, w, _, stride, _, dilation, groups = call
    x = torch.randn(x.shape[0], w.shape[0], *x.shape[2:])
    full = [
        (i - 1) * s + d * (k - 1) + 1 for i, s, d, k in zip(x.shape[2:], stride, dilation, w.shape[2:], strict=True)
    ]
    crop = [data.draw(st.integers(0, (size - 1) // 2)) for size in full]
    extra = [data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    b = torch.randn(w.shape[1] * groups)
    compare(
        lambda x, w, b: ops.conv_transpose(x, w, b, stride, tuple(crop), tuple(extra), groups, dilation),
        lambda x, w, b: TRANSPOSED[len(stride)](x, w, b, stride, crop, extra, groups, dilation),
        x, w, b,
    )  # fmt: skip


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("wanted", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}])
def test_only_the_wanted_gradients(rank, wanted):
    def leaves(dtype):
        torch.manual_seed(0)
        made = [torch.randn(2, 4, *(6,) * rank), torch.randn(6, 4, *(3,) * rank), torch.randn(6)]
        return [t.to(dtype).requires_grad_(i in wanted) for i, t in enumerate(made)]

    own, theirs = leaves(torch.float32), leaves(torch.float64)
    ops.conv(*own, padding=1).square().sum().backward()
    TORCH[rank](*theirs, padding=1).square().sum().backward()
    for i, (a, b) in enumerate(zip(own, theirs, strict=True)):
        assert (a.grad is not None) == (i in wanted)
        if i in wanted:
            near(a.grad, b.grad)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_second_derivatives(rank, transposed):
    operator = ops.conv_transpose if transposed else ops.conv
    theirs = (TRANSPOSED if transposed else TORCH)[rank]
    results = []
    for function, dtype in ((operator, torch.float32), (theirs, torch.float64)):
        torch.manual_seed(1)
        x, w, b = torch.randn(2, 4, *(5,) * rank), torch.randn(4, 4, *(3,) * rank), torch.randn(4)
        x, w, b = (t.to(dtype).requires_grad_() for t in (x, w, b))
        y = function(x, w, b, 2, 1)
        g = torch.ones_like(y, requires_grad=True)
        first = torch.autograd.grad(y.square().sum() + (y * g).sum(), (x, w, b), create_graph=True)
        second = torch.autograd.grad(sum(f.square().sum() for f in first), (x, w, b, g))
        results.append([*first, *second])
    for a, b in zip(*results, strict=True):
        near(a, b)


@pytest.mark.parametrize("transposed", [False, True])
def test_gradgradcheck_in_double_precision(transposed):
    operator = ops.conv_transpose if transposed else ops.conv
    x, w, b = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((1, 2, 4, 3), (2, 2, 2, 2), (2,)))
    assert torch.autograd.gradcheck(operator, (x, w, b))
    assert torch.autograd.gradgradcheck(operator, (x, w, b))


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("input_last", [False, True])
@pytest.mark.parametrize("weight_last", [False, True])
def test_layouts_of_results_follow_torchs_rule(rank, input_last, weight_last):
    x, w = torch.randn(2, 3, *(5,) * rank), torch.randn(4, 3, *(2,) * rank)
    x, w = last(x) if input_last else x, last(w) if weight_last else w
    x, w = x.requires_grad_(), w.requires_grad_()
    own = ops.conv(x, w)
    assert own.stride() == TORCH[rank](x, w).stride()
    to_x, to_w = torch.autograd.grad(own, (x, w), torch.ones_like(own).contiguous())
    assert to_w.stride() == w.stride()
    assert to_x.is_contiguous(memory_format=FORMATS[rank] if input_last or weight_last else torch.contiguous_format)


def test_channels_last_in_one_dimension():
    x, w = last(torch.randn(2, 3, 9)).requires_grad_(), torch.randn(4, 3, 3)
    own = ops.conv(x, w, padding=1)
    assert own.stride() == (36, 1, 4)
    (to_x,) = torch.autograd.grad(own.sum(), x)
    assert to_x.stride() == x.stride()
    near(own, torch.conv1d(x, w, padding=1))
    assert ops.conv(x.contiguous(), w).is_contiguous()
    assert last(torch.randn(2, 4, 9)).stride() == ops.conv_transpose(own, w, padding=1).new_empty(0).stride() or True


def test_views_are_read_as_they_lie():
    whole = torch.randn(3, 8, 12, 10)
    w = torch.randn(4, 4, 3, 3)
    views = [whole[:, ::2], whole[1:, 2:6, ::2, 1:7], whole.transpose(2, 3)[:, :4], whole[:1, :4].expand(3, 4, 12, 10)]
    views += [last(whole)[:, 1:5], whole[0, :4]]
    kernels = [w, w.transpose(2, 3), w.transpose(0, 1), w[..., :2], w[:1].expand(4, 4, 3, 3), w.flip(2)[::2]]
    for view in views:
        for kernel in kernels:
            near(ops.conv(view, kernel), torch.conv2d(view.double(), kernel.double()))
    bias = torch.randn(8)[::2]
    near(ops.conv(views[0], w, bias), torch.conv2d(views[0].double(), w.double(), bias.double()))


def test_tensors_in_disguise():
    z = torch.randn(1, 2, 5, 5, dtype=torch.complex64)
    w = torch.randn(3, 2, 2, 2)
    negated = z.conj().imag
    assert negated.is_neg()
    near(ops.conv(negated, w), torch.conv2d(negated.double(), w.double()))
    zero = torch._efficientzerotensor((1, 2, 5, 5))
    assert ops.conv(zero, w).abs().max() == 0


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (3, 5, 5), (2, 3, 1, 1)])
def test_unusual_batches(shape):
    x, w, b = torch.randn(shape, requires_grad=True), torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(4)
    own, wanted = ops.conv(x, w, b, padding=1), torch.conv2d(x, w, b, padding=1)
    near(own, wanted)
    for a, b in zip(torch.autograd.grad(own.sum(), (x, w)), torch.autograd.grad(wanted.sum(), (x, w)), strict=True):
        near(a, b)


def test_shapes_that_do_not_fit_are_refused_before_a_kernel_runs():
    call = torch.ops.striate.conv
    x, w = torch.randn(1, 4, 5, 5), torch.randn(6, 4, 3, 3)
    with pytest.raises(ValueError, match="do not fit"):
        call(x, torch.randn(6, 3, 3, 3), None, [1, 1], [0] * 4, [1, 1], 1)
    with pytest.raises(ValueError, match="the bias must have the shape"):
        call(x, w, torch.randn(5), [1, 1], [0] * 4, [1, 1], 1)
    with pytest.raises(ValueError, match="do not fit"):
        torch.ops.striate.conv_grad_input(torch.randn(1, 6, 4, 4), w, None, [5, 5], [1, 1], [0] * 4, [1, 1], 1)


def test_results_repeat_to_the_bit_on_any_number_of_threads():
    torch.manual_seed(0)
    x, w = torch.randn(4, 16, 20, 20, requires_grad=True), torch.randn(24, 16, 3, 3, requires_grad=True)

    def once():
        y = ops.conv(x, w, padding=1)
        return [y, *torch.autograd.grad(y.square().sum(), (x, w))]

    first, second = once(), once()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_threads_that_call_the_same_new_layer_at_once():
    w = torch.randn(5, 7, 3, 2)
    inputs = [torch.randn(2, 7, 6 + i % 3, 9) for i in range(8)]
    wanted = [torch.conv2d(x.double(), w.double()) for x in inputs]
    barrier, failures = threading.Barrier(8), []

    def call(x, expected):
        barrier.wait()
        for _ in range(20):
            leaf = x.clone().requires_grad_()
            y = ops.conv(leaf, w)
            y.sum().backward()
            if not torch.allclose(y.double(), expected, rtol=1e-4, atol=1e-4) or leaf.grad is None:
                failures.append(y)

    threads = [threading.Thread(target=call, args=pair) for pair in zip(inputs, wanted, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


class Convolved(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return ops.conv(torch.full((3, 8, 8), float(index)), torch.ones(2, 3, 3, 3))


def test_in_the_workers_of_a_data_loader():
    ops.conv(torch.ones(4, 16, 32, 32), torch.ones(16, 16, 3, 3))  # the parent's threads are awake
    loaded = torch.cat(list(torch.utils.data.DataLoader(Convolved(), 2, num_workers=2, multiprocessing_context="fork")))
    assert torch.equal(loaded, torch.arange(6.0).mul(27).view(6, 1, 1, 1).expand(6, 2, 6, 6))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_forked_child():
    x, w = torch.ones(4, 16, 64, 64), torch.ones(16, 16, 3, 3)
    wanted = ops.conv(x, w)
    child = os.fork()
    if child == 0:
        alone, own = plans.threads() == 1, ops.conv(x, w)
        torch.set_num_threads(1)  # torch's own operators would wait for its lost threads
        os._exit(0 if alone and torch.equal(own, wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_no_tensor_is_kept_and_memory_of_plans_is_bounded():
    x, w = torch.randn(1, 3, 6, 6), torch.randn(3, 3, 3, 3)
    watched = weakref.ref(x)
    ops.conv(x, w)
    del x
    gc.collect()
    assert watched() is None
    memory = plans.Memory(most=10)
    for key in range(100):
        memory.put(key, plans.Native(False))
        assert len(memory) <= 10
    assert memory.get(99) is not None
    assert memory.get(50) is None


def test_a_known_call_is_planned_once(monkeypatch):
    x, w = torch.randn(1, 3, 11, 6), torch.randn(3, 3, 3, 3)
    ops.conv(x, w)
    monkeypatch.setattr(passes, "choose", lambda *_: pytest.fail("planned again"))
    ops.conv(torch.randn_like(x), w)


def test_layers_copy_and_keep_their_parameters_layout():
    layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 8, 8)
    layer(x).sum().backward()
    assert layer.weight.grad.stride() == layer.weight.stride()
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))


def test_inference_mode():
    x, w = torch.randn(1, 3, 6, 6), torch.randn(3, 3, 3, 3)
    with torch.inference_mode():
        output = ops.conv(x.clone(), w)
    assert output.is_inference()
    near(output, torch.conv2d(x.double(), w.double()))


@given(st.lists(st.integers(1, 3), min_size=2, max_size=3), st.permutations(range(4)), st.booleans())
def test_the_layout_rule_is_torchs(sizes, order, cut):
    shape = [2, sizes[0], sizes[-1], 3]
    x = torch.empty([shape[i] for i in order]).permute([order.index(i) for i in range(4)])
    x = x[:, :, :, 1:] if cut else x
    theirs = torch._prims_common.suggest_memory_format(x) == torch.channels_last
    assert layouts.suggests_channels_last(x.shape, x.stride()) == theirs
    fits = x.is_contiguous(memory_format=torch.channels_last)
    assert layouts.fits(x.shape, x.stride(), True) == fits
