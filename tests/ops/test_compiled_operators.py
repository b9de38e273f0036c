"""The operators where torch is not simply run: checked, compiled, exported, cast, mapped, profiled, without data."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import export

from striate import ops

RANKS = [1, 2, 3]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def example(rank, channels_last=False):
    torch.manual_seed(0)
    x = torch.randn(2, 4, *(6,) * rank)
    x = ops.compiled.operators.passes.densified(x, channels_last)
    return x, torch.randn(6, 2, *(3,) * rank), torch.randn(6)


def window(rank, groups=2):
    return (2,) * rank, [1, 0] * rank, (1,) * rank, groups


SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in ((3, False), (1, True), (2, False), (3, True))]


# All ranks and layouts are registered in the same way: one of each here, the rest among the slow tests.
@pytest.mark.parametrize(("rank", "channels_last"), [(1, False), (2, True), *SLOW])
def test_operators_keep_torchs_rules(rank, channels_last):
    x, w, b = (t.requires_grad_() for t in example(rank, channels_last))
    y = ops.conv(x, w, b, 2, ((1, 0),) * rank, groups=2).detach().requires_grad_()
    args = window(rank)
    torch.library.opcheck(torch.ops.striate.conv, (x, w, b, *args))
    torch.library.opcheck(torch.ops.striate.conv, (x, w, None, *args, True, True))
    torch.library.opcheck(
        torch.ops.striate.conv_grad_input, (y, w, torch.randn(4, requires_grad=True), x.shape[2:], *args)
    )
    strides = w.stride()
    for bias in (False, True):
        torch.library.opcheck(torch.ops.striate.conv_grad_weight, (y, x, bias, w.shape[2:], strides, *args))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("transposed", [False, True])
def test_compiled_in_one_graph_it_is_our_operator(rank, transposed):
    names = []

    def backend(graph, inputs):
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    def function(x, w):
        if transposed:
            return ops.conv_transpose(x, w, None, 2, 1, 1)
        return ops.conv(x, w, None, 2, ((1, 0),) * rank)

    x, w = torch.randn(2, 4, *(6,) * rank), torch.randn(4, 4, *(3,) * rank)
    compiled = torch.compile(function, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x, w), function(x, w))
    assert [name for name in names if "striate" in name]


def test_a_compiled_function_sees_the_settings_change():
    x, w, _ = example(2)
    frames = []

    def backend(graph, inputs):
        frames.append(next(str(n.target) + str(n.args) for n in graph.graph.nodes if "conv" in str(n.target)))
        return graph

    compiled = torch.compile(lambda x, w: ops.conv(x, w, groups=2), backend=backend, fullgraph=True)
    compiled(x, w)
    with ops.precision("strict"):
        compiled(x, w)
    with ops.use_compiled(False):
        compiled(x, w)
    compiled(x, w)
    assert len(frames) == 3
    assert "striate" in frames[0]
    assert "False" in frames[0]
    assert "True" in frames[1]
    assert "striate" not in frames[2]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_results_without_data_lie_as_those_with(rank, channels_last):
    x, w, b = example(rank, channels_last)
    wanted = ops.conv(x, w, b, 2, groups=2)
    with FakeTensorMode() as mode:
        fake = ops.conv(*(mode.from_tensor(t) for t in (x, w, b)), 2, groups=2)
    meta = torch.ops.striate.conv(*(t.to("meta") for t in (x, w, b)), *window(rank))
    assert (fake.shape, fake.stride(), fake.dtype) == (wanted.shape, wanted.stride(), wanted.dtype)
    assert meta.device.type == "meta"


def test_exported_with_our_operator():
    class Calls(torch.nn.Module):
        def forward(self, x, w, b):
            return ops.conv(x, w, b, padding="same", groups=2)

    inputs = example(2)
    program = export(Calls(), inputs)
    assert any("striate.conv" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(*inputs), Calls()(*inputs))


def test_autocast_casts_as_torch_does():
    x, w, b = (t.requires_grad_() for t in example(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ops.conv(x, w, b, groups=2)
        direct = torch.ops.striate.conv(x, w, b, (1, 1), [0] * 4, (1, 1), 2)
        assert torch.equal(output, torch.conv2d(x, w, b, groups=2))
    assert output.dtype == direct.dtype == torch.bfloat16
    assert torch.autograd.grad(direct.float().sum(), x)[0].dtype == torch.float32
    # A backward pass inside the region keeps the precision of its forward call.
    y = ops.conv(x, w, b, groups=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = torch.autograd.grad(y.square().sum(), (x, w, b), retain_graph=True)
    outside = torch.autograd.grad(y.square().sum(), (x, w, b))
    for a, b in zip(inside, outside, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("mapped", [(0, None, None), (1, None, None), (None, 0, None), (0, 0, 0)])
@pytest.mark.parametrize("name", ["conv", "conv_grad_input"])
def test_mapped(name, mapped):
    x, w, b = example(2)
    first, b = (x, b) if name == "conv" else (torch.randn(2, 6, 3, 3), b[:4])
    rest = (*(() if name == "conv" else ((6, 6),)), *window(2))
    given = [
        t if dim is None else torch.stack([t, 2 * t, t - 1], dim) for t, dim in zip((first, w, b), mapped, strict=True)
    ]
    operator = getattr(torch.ops.striate, name)
    own = torch.vmap(lambda *tensors: operator(*tensors, *rest), mapped)(*given)
    for i in range(3):
        one = [t if dim is None else t.select(dim, i) for t, dim in zip(given, mapped, strict=True)]
        torch.testing.assert_close(own[i], operator(*one, *rest), rtol=1e-4, atol=1e-4)


def test_mapped_gradients_of_weights():
    x, w, _ = example(2)
    y = torch.randn(3, 2, 6, 3, 3)
    rest = (True, w.shape[2:], w.stride(), *window(2))
    own = torch.vmap(lambda one: torch.ops.striate.conv_grad_weight(one, x, *rest))(y)
    for i in range(3):
        for a, b in zip(own, torch.ops.striate.conv_grad_weight(y[i], x, *rest), strict=True):
            torch.testing.assert_close(a[i], b, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own, at its first use
def test_forward_mode_differentiation():
    from torch.autograd import forward_ad

    x, w, _ = example(2)
    tangent = torch.randn_like(x)
    with forward_ad.dual_level():
        moved = forward_ad.unpack_dual(ops.conv(forward_ad.make_dual(x, tangent), w, groups=2)).tangent
    torch.testing.assert_close(moved, torch.conv2d(tangent, w, groups=2))


def test_a_profile_shows_the_operator():
    x, w, _ = example(2)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        ops.conv(x, w, groups=2)
    assert any(event.key == "striate::conv" for event in profile.key_averages())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_for_torchscript_it_is_torchs_operator():
    x, w, _ = example(2)
    traced = torch.jit.trace(lambda x: ops.conv(x, w, groups=2), x)
    assert "_convolution" in str(traced.graph)
    torch.testing.assert_close(traced(x + 1), ops.conv(x + 1, w, groups=2))
