"""Calls that were made before take a short way: it must see everything that the long one sees."""

import gc
import os
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import striate
from striate import nn, ops
from striate.errors import GeometryError
from striate.ops.compiled import differentiable, passes, repeated, routes

TORCH = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}


def example():
    return torch.randn(1, 4, 7, 6), torch.randn(5, 4, 3, 3), torch.randn(5)


def known(*given, **options):
    """Make a call twice; from then on it is known."""
    for _ in range(2):
        result = ops.conv2d(*given, **options)
    return result


def test_a_known_call_keeps_its_kernel_when_the_plan_is_forgotten():
    x, w, b = example()
    passes.FORWARD._values.clear()
    repeated._CALLS._values.clear()
    known(x, w, b)
    (choice,) = passes.FORWARD._values.values()
    table = weakref.ref(choice.plan.launch.table)
    del choice
    passes.FORWARD._values.clear()  # as when others have taken the place, or another thread put its own there
    gc.collect()
    assert table() is not None
    repeated._CALLS._values.clear()
    gc.collect()
    assert table() is None


def test_the_second_call_is_neither_checked_nor_normalised(monkeypatch):
    x, w, b = example()
    wanted = ops.conv2d(x, w, b, 1, 1)
    monkeypatch.setattr(routes, "conv", lambda *_: pytest.fail("the long way was taken"))
    monkeypatch.setattr(striate.ops.seam, "convolution", lambda *_: pytest.fail("the long way was taken"))
    assert torch.equal(ops.conv2d(x, w, b, 1, 1), wanted)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_layer_takes_it_too(rank, monkeypatch):
    layer, x = nn.conv_class(rank)(3, 4, 3, padding="same"), torch.randn(2, 3, *(5,) * rank)
    wanted = layer(x)
    monkeypatch.setattr(striate.ops.seam, "convolution", lambda *_: pytest.fail("the long way was taken"))
    assert torch.equal(layer(x), wanted)
    assert layer(x).requires_grad


def test_settings_are_seen():
    x, w, b = example()
    known(x, w, b)
    with striate.use_compiled(False):
        assert ops.conv2d(x, w.requires_grad_(), b).grad_fn.name() == "ConvolutionBackward0"
    asked = []
    with striate.precision("strict"):
        y = ops.conv2d(x, w, b)
        y = ops.conv2d(x, w, b)
        asked.append(y.grad_fn.arguments.strict)
    asked.append(ops.conv2d(x, w, b).grad_fn.arguments.strict)
    assert asked == [True, False]


def test_what_listens_is_seen():
    x, w, b = example()
    known(x, w, b)
    seen = []

    class Dispatch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    class Overrides(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    for mode in (Dispatch, Overrides):
        seen.clear()
        with mode():
            ops.conv2d(x, w, b)
        assert any("striate.conv" in name for name in seen), mode
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.conv2d(x, w, b).dtype == torch.bfloat16
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        ops.conv2d(x, w, b)
    assert any(event.key == "striate::conv" for event in profile.key_averages())
    assert torch.vmap(lambda x: ops.conv2d(x, w, b))(x[None]).shape == (1, 1, 5, 5, 4)
    assert isinstance(torch.func.grad(lambda w: ops.conv2d(x, w, b).sum())(w), torch.Tensor)


def test_arguments_that_only_equal_known_ones_are_checked():
    x, w, b = example()
    known(x, w, b, 2, 1)
    known(x, w, b, (2, 2), (1, 1))
    known(x, w, b, 1, 1)
    assert torch.equal(ops.conv2d(x, w, b, [2, 2], [1, 1]), ops.conv2d(x, w, b, 2, 1))
    for wrong in ({"stride": 2.0}, {"stride": (2.0, 2.0)}, {"stride": True}, {"groups": True}, {"groups": 1.0}):
        with pytest.raises(GeometryError):
            ops.conv2d(x, w, b, **{"stride": 2, "padding": 1, **wrong})
    with pytest.raises(GeometryError):
        ops.conv1d(x, w, b, 2, 1)
    with pytest.raises(GeometryError):
        ops.conv2d(x, w, b[:4], 2, 1)
    with pytest.raises(GeometryError):
        ops.conv2d(x, w[:, :3], b, 2, 1)


def test_tensors_of_another_kind_are_left_to_torch():
    x, w, b = example()
    known(x, w, b)
    assert ops.conv2d(x.double(), w.double(), b.double()).dtype == torch.float64
    assert ops.conv2d(x.to("meta"), w.to("meta"), b.to("meta")).device.type == "meta"
    z = torch._efficientzerotensor(x.shape)
    assert torch.equal(ops.conv2d(z, w, b), b.view(1, 5, 1, 1).expand(1, 5, 5, 4))
    assert torch.equal(ops.conv2d(x, torch._efficientzerotensor(w.shape), b), ops.conv2d(z, w, b))
    assert torch.equal(ops.conv2d(x, w, torch._efficientzerotensor(b.shape)), ops.conv2d(x, w, torch.zeros(5)))
    torch.testing.assert_close(ops.conv2d(torch._neg_view(x), w, b), torch.conv2d(-x, w, b), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ops.conv2d(x, w, torch._neg_view(b)), torch.conv2d(x, w, -b), rtol=1e-4, atol=1e-5)


def test_a_bias_that_is_not_dense_is_read_as_it_lies():
    x, w, _ = example()
    whole = torch.randn(10)
    known(x, w, whole[:5])
    for bias in (whole[::2], whole[:1].expand(5), whole.flip(0)[5:]):
        torch.testing.assert_close(ops.conv2d(x, w, bias), torch.conv2d(x, w, bias), rtol=1e-4, atol=1e-5)


def test_in_inference_mode():
    x, w, b = example()
    w.requires_grad_()
    known(x, w, b)
    with torch.inference_mode():
        for _ in range(2):
            output = ops.conv2d(x, w, b)
            assert output.is_inference()
            assert not output.requires_grad
    with torch.no_grad():
        assert not ops.conv2d(x, w, b).requires_grad
    # A tensor born in inference mode may be used by later training, but not saved for it, as in torch.
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        ops.conv2d(inference_tensor(x), w, b)


def inference_tensor(x):
    with torch.inference_mode():
        return x.clone()


def test_the_number_of_threads_is_seen():
    x, w = torch.randn(2, 16, 40, 40), torch.randn(16, 16, 3, 3)
    wanted, before = known(x, w), torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            torch.testing.assert_close(known(x, w), wanted, rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_weights_changed_in_place_or_replaced_are_read_anew():
    layer, x = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 6, 6)
    layer(x)
    layer(x)
    with torch.no_grad():
        layer.weight.mul_(2)
    torch.testing.assert_close(layer(x), torch.conv2d(x, layer.weight, layer.bias), rtol=1e-4, atol=1e-5)
    layer.weight = torch.nn.Parameter(torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(layer(x), torch.conv2d(x, layer.weight, layer.bias), rtol=1e-4, atol=1e-5)
    layer.stride = [2, 2]  # as some libraries do to a finished layer
    torch.testing.assert_close(layer(x), torch.conv2d(x, layer.weight, layer.bias, 2), rtol=1e-4, atol=1e-5)


def test_saved_tensors_are_watched():
    x, w, b = example()
    x.requires_grad_()
    w.requires_grad_()
    known(x, w, b)
    y = ops.conv2d(x, w, b)
    with torch.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.shape) or t, lambda t: t):
        ops.conv2d(x, w, b)
    assert packed == [x.shape, w.shape]
    y = ops.conv2d(x, w, b)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.sum().backward()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so_where_torch_says(value):
    x, w, b = example()
    with striate.precision("strict"):
        for tensor in (x, w, b):
            kept = tensor.view(-1)[3].item()
            tensor.view(-1)[3] = value
            own, theirs = ops.conv2d(x, w, b, padding=1), torch.conv2d(x, w, b, padding=1)
            assert torch.equal(own.isnan(), theirs.isnan())
            assert torch.equal(own.isinf(), theirs.isinf())
            tensor.view(-1)[3] = kept


@st.composite
def lying(draw, channels):
    """A tensor of any order of axes, with axes of 1, cut out of a larger one, or expanded."""
    rank = draw(st.integers(2, 3))
    shape = [draw(st.integers(1, 2)), channels, *(draw(st.sampled_from([1, 3, 4])) for _ in range(rank))]
    order = draw(st.permutations(range(rank + 2)))
    x = torch.randn([shape[i] + 2 for i in order]).permute([order.index(i) for i in range(rank + 2)])
    x = x[tuple(slice(0, n) for n in shape)]
    how = draw(st.sampled_from(["cut", "dense", "flipped", "stepped", "expanded", "last", "first"]))
    if how == "dense":
        x = x.clone(memory_format=torch.preserve_format)
    elif how == "flipped":
        x = x.flip(2)
    elif how == "stepped":
        x = torch.randn([2 * n for n in shape])[tuple(slice(None, None, 2) for _ in shape)]
    elif how == "expanded":
        x = x[:, :, :1].expand(shape)
    elif how == "last":
        x = x.contiguous(memory_format=torch.channels_last if rank == 2 else torch.channels_last_3d)
    elif how == "first":
        x = x.contiguous()
    return x


@settings(max_examples=60, deadline=None)
@given(lying(4))
def test_outputs_lie_as_torchs_do(x):
    # A weight in channels-last order is another test's: what torch makes of it depends on the number of threads. A
    # single small volume goes to an operator of torch's that keeps no order.
    rank = x.dim() - 2
    assume(rank == 2 or len(x) > 1)
    w = torch.randn(4, 4, *(3,) * rank)
    own, theirs = ops.conv(x, w, padding=1), TORCH[rank](x, w, padding=1)
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-4)
    last = torch.channels_last if rank == 2 else torch.channels_last_3d
    for memory_format in (torch.contiguous_format, last):
        assert own.is_contiguous(memory_format=memory_format) or not theirs.is_contiguous(memory_format=memory_format)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_calls_of_changing_shapes_leak_nothing():
    w, b = torch.randn(8, 4, 3, requires_grad=True), torch.randn(8, requires_grad=True)

    def calls(first, count):
        for number in range(first, first + count):
            x = torch.ones(1 + number % 3, 4, 3 + number, requires_grad=True)
            ops.conv1d(x, w, b).sum().backward()
            w.grad = b.grad = None

    calls(0, 300)
    gc.collect()
    before = resident_bytes()
    # Each length is new, so that every memory of calls is filled and emptied.
    memories = (repeated._CALLS, passes.FORWARD, passes.GRAD_INPUT, passes.GRAD_WEIGHT)
    most = [memory._most for memory in memories]
    try:
        for memory in memories:
            memory._most = 100
            memory.get.__self__.clear()
        calls(300, 300)
        assert all(50 <= len(memory) <= 100 for memory in memories[1:])
    finally:
        for memory, kept in zip(memories, most, strict=True):
            memory._most = kept
    gc.collect()
    assert resident_bytes() - before < 8 << 20


def test_only_ordinary_tensors_are_at_once():
    x, w, b = example()
    assert differentiable.at_once(x, w, b)
    assert not differentiable.at_once(x, w, b.double())
    assert not differentiable.at_once(x.to_sparse(), w)
    assert not differentiable.at_once(x.to_mkldnn(), w)
    assert not differentiable.at_once(torch._neg_view(x), w)
