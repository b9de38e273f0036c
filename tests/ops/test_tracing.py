"""The operators where torch is not simply run: compiled, exported, cast, mapped, or without data."""

import shutil

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, export

from striate import ops

RANKS = [1, 2, 3]


def cases(rank):
    """Every operator, by name: a function of the input (2, 4, *(7,) * rank) and the kernel (4, 2, *(3,) * rank)."""
    odd = ((2, 1),) * rank
    return {
        "conv": lambda x, w: ops.conv(x, w, None, 2, 1, groups=2),
        "conv by rank": lambda x, w: getattr(ops, f"conv{rank}d")(x, w, None, 1, 1, 2, 2),
        "conv pairs": lambda x, w: ops.conv(x, w, padding=odd, groups=2),
        "conv same": lambda x, w: ops.conv(x, w, stride=2, padding="same", groups=2),
        "conv reflect": lambda x, w: ops.conv(x, w, padding=odd, groups=2, padding_mode="reflect"),
        "conv circular": lambda x, w: ops.conv(x, w, padding="causal", groups=2, padding_mode="circular"),
        "true_convolution": lambda x, w: ops.true_convolution(x, w, padding=1, groups=2),
        "conv_transpose": lambda x, w: ops.conv_transpose(x, w, None, 2, 1, 1, 2),
        "conv_transpose pairs": lambda x, w: ops.conv_transpose(x, w, None, 2, odd, 0, 2),
        "conv_transpose replicate": lambda x, w: ops.conv_transpose(
            x, w, stride=2, padding=1, padding_mode="replicate"
        ),
        "max_pool": lambda x, w: ops.max_pool(x, 3, 2, 1),
        "max_pool pairs": lambda x, w: ops.max_pool(x, 3, 2, odd),
        "max_pool and back": lambda x, w: ops.max_unpool(
            *ops.max_pool(x, 3, 2, odd, 1, False, True), 3, 2, odd, x.shape
        ),
        "avg_pool": lambda x, w: ops.avg_pool(x, 3, 2, 1),
        "avg_pool pairs": lambda x, w: ops.avg_pool(x, 3, 2, odd, False, False),
        "sum_pool": lambda x, w: ops.sum_pool(x, 3, 2, 1),
        "lp_pool": lambda x, w: ops.lp_pool(x.abs() + 0.1, 2, 3, 2),
        "adaptive_avg_pool": lambda x, w: ops.adaptive_avg_pool(x, 2),
        "adaptive_max_pool": lambda x, w: ops.adaptive_max_pool(x, 2),
        "global pools": lambda x, w: ops.global_avg_pool(x) + ops.global_max_pool(x) + ops.global_sum_pool(x),
        "resize nearest": lambda x, w: ops.resize(x, scale_factor=2),
        "resize linear": lambda x, w: ops.resize(x, 9, mode="linear"),
        "resize cubic": lambda x, w: ops.resize(x, 9, mode="cubic"),
    }


ALL = [(name, rank) for rank in RANKS for name in cases(rank)]
IN_ONE_RANK = [(name, 2) for name in cases(2)] + [("conv", 1), ("max_pool pairs", 3), ("conv_transpose pairs", 1)]


def example(rank, **options):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, *(7,) * rank, generator=generator).to(**options)
    return x, torch.randn(4, 2, *(3,) * rank, generator=generator).to(**options)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def with_gradients(function, *inputs):
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    output = function(*leaves)
    return output, *torch.autograd.grad(output.square().sum(), leaves, allow_unused=True)


@pytest.mark.parametrize(("name", "rank"), IN_ONE_RANK)
def test_compiled_in_one_graph_with_gradients(name, rank):
    function = cases(rank)[name]
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    for own, wanted in zip(
        with_gradients(compiled, *example(rank)), with_gradients(function, *example(rank)), strict=True
    ):
        torch.testing.assert_close(own, wanted)


@pytest.mark.parametrize("name", ["conv pairs", "conv_transpose", "max_pool", "avg_pool pairs"])
def test_compiled_once_for_all_sizes(name):
    function = cases(2)[name]
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, backend=counter, fullgraph=True, dynamic=True)
    _, w = example(2)
    counts = []
    for shape in ((5, 4, 9, 8), (7, 4, 11, 10), (6, 4, 14, 13)):  # no two sizes alike: torch takes those for one
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x, w), function(x, w))
        counts.append(counter.frame_count)
    assert counts == counts[:1] * 3


class Calls(torch.nn.Module):
    def __init__(self, function, weight):
        super().__init__()
        self.function, self.weight = function, torch.nn.Parameter(weight)

    def forward(self, x):
        return self.function(x, self.weight)


@pytest.mark.parametrize("name", list(cases(2)))
def test_exported(name):
    x, w = example(2)
    module = Calls(cases(2)[name], w)
    torch.testing.assert_close(export(module, (x,)).module()(x), module(x))


@pytest.mark.parametrize(
    ("name", "rank", "strict"),
    [
        ("conv", 1, False),
        ("conv", 2, True),
        ("conv", 3, False),
        ("conv pairs", 2, True),
        ("conv pairs", 2, False),
        ("conv_transpose", 2, False),
        ("conv_transpose pairs", 1, False),
        ("max_pool", 1, False),
        ("max_pool", 2, False),
        ("max_pool pairs", 1, True),
        ("max_pool pairs", 2, False),
        ("avg_pool", 2, False),
        ("avg_pool pairs", 2, True),
        ("sum_pool", 1, False),
        ("lp_pool", 2, False),
        ("adaptive_avg_pool", 2, False),
        ("global pools", 3, False),
    ],
)
def test_exported_for_any_batch_and_size(name, rank, strict):
    x, w = example(rank)
    module = Calls(cases(rank)[name], w)
    free = {0: Dim("batch"), **{axis: Dim(f"size{axis}", min=5) for axis in range(2, 2 + rank)}}
    program = export(module, (x,), dynamic_shapes=({**free},), strict=strict)
    for shape in ((3, 4, *range(9, 9 + rank)), (1, 4, *(6,) * rank)):
        other = torch.randn(shape)
        torch.testing.assert_close(program.module()(other), module(other))


@pytest.mark.parametrize(("name", "rank"), ALL)
def test_without_data(name, rank):
    x, w = example(rank)
    wanted = cases(rank)[name](x, w)
    meta = cases(rank)[name](x.to("meta"), w.to("meta"))
    assert (meta.shape, meta.dtype, meta.device.type) == (wanted.shape, wanted.dtype, "meta")
    with FakeTensorMode() as mode:
        fake = cases(rank)[name](mode.from_tensor(x), mode.from_tensor(w))
    assert (fake.shape, fake.dtype) == (wanted.shape, wanted.dtype)


@pytest.mark.parametrize(("name", "rank"), ALL)
def test_under_autocast(name, rank):
    x, w = example(rank)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = cases(rank)[name](x, w)
    if name.startswith(("conv", "true")):
        assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), cases(rank)[name](x, w), rtol=0.05, atol=0.15)


@pytest.mark.parametrize(("name", "rank"), [case for case in ALL if "resize" not in case[0]])
@pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet implemented the batching rule")
def test_mapped_over_one_more_axis(name, rank):
    x, w = example(rank)
    many = torch.stack([x, 2 * x, x - 1])
    mapped = torch.func.vmap(cases(rank)[name], (0, None))(many, w)
    torch.testing.assert_close(mapped, torch.stack([cases(rank)[name](one, w) for one in many]))


@pytest.mark.parametrize(("name", "rank"), ALL)
def test_functional_gradients(name, rank):
    x, w = example(rank)

    def loss(x, w):
        return cases(rank)[name](x, w).square().sum()

    _, wanted, _ = with_gradients(cases(rank)[name], x, w)
    # PyTorch's operators compute under torch.func; sums of some hundred products differ in their last bits.
    torch.testing.assert_close(torch.func.grad(loss)(x, w), wanted, rtol=1e-4, atol=2e-4)


def test_gradients_of_each_sample():
    x, w = example(2)
    each = torch.func.vmap(
        torch.func.grad(lambda w, x: ops.conv(x, w, padding="same", groups=2).square().sum()), (None, 0)
    )
    wanted = [torch.func.grad(lambda w, x=one: ops.conv(x, w, padding="same", groups=2).square().sum())(w) for one in x]
    torch.testing.assert_close(each(w, x), torch.stack(wanted))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_to_machine_code(monkeypatch):
    monkeypatch.setenv("_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR", "")  # torch sets it; undone after the test

    def network(x, w):
        return ops.max_pool(ops.conv(x, w, padding=((2, 1), (0, 1)), groups=2).relu(), 2)

    inputs = example(2)
    torch.testing.assert_close(torch.compile(network, fullgraph=True)(*inputs), network(*inputs))
