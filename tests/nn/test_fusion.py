"""Batch norm and ReLU in the convolution before them: the same numbers, and only where nobody can tell."""

import copy
import io
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import striate
from striate import ops
from striate.errors import GeometryError
from striate.models import create_model
from striate.nn import conv_class
from striate.nn.fusion import chains

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def lived_in(model):
    """Give running statistics, scales and shifts values as after training."""
    for module in model.modules():
        if isinstance(module, tuple(NORM.values())):
            if module.running_mean is not None:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, -1, 2)
                nn.init.normal_(module.bias)
    return model.eval()


def stack(rank, *, inplace=False, bias=True, affine=True, own=False):
    conv = conv_class(rank) if own else CONV[rank]
    return lived_in(
        nn.Sequential(
            conv(2, 5, 3, padding=1, bias=bias),
            NORM[rank](5, affine=affine),
            nn.ReLU(inplace),
            conv(5, 4, 1),
            nn.ReLU6(inplace),
            conv(4, 3, 3),
            NORM[rank](3),
        )
    )


def fused(model, x, **options):
    return striate.accelerate(model, x, train=False, measure=False, **options)


def outputs(model, x):
    with torch.no_grad():
        return model(x)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize(
    "options", [{}, {"inplace": True}, {"bias": False}, {"affine": False}, {"own": True}], ids=lambda o: str(*o or "-")
)
def test_the_same_numbers(rank, layout, options):
    model, x = stack(rank, **options), torch.randn(2, 2, *(9, 8, 7)[:rank])
    expected = outputs(copy.deepcopy(model).double(), x.double())
    kept = x.clone()
    report = fused(model, x, layout=layout)
    assert "in inference convolutions compute 2 batch norms and 2 ReLUs that follow them" in report.notes
    torch.testing.assert_close(outputs(model, x), expected.float(), rtol=1e-4, atol=1e-5)
    assert torch.equal(x, kept)


@pytest.fixture
def refused(monkeypatch):
    """PyTorch's batch norm and ReLU fail."""

    def refuse(*_):
        raise AssertionError("computed by PyTorch")

    for layer in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.ReLU, nn.ReLU6):
        monkeypatch.setattr(layer, "forward", refuse)


def test_nothing_is_computed_twice(request):
    model, x = stack(2), torch.randn(1, 2, 6, 6)
    expected = outputs(model, x)
    fused(model, x)
    request.getfixturevalue("refused")
    torch.testing.assert_close(outputs(model, x), expected, rtol=1e-4, atol=1e-5)


def test_training_gradients_hooks_and_parts_are_untouched():
    model, x = stack(2), torch.randn(1, 2, 6, 6)
    plain = copy.deepcopy(model)
    fused(model, x)

    def close(ours, theirs):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

    close(model(x), plain(x))  # with gradients
    model(x).sum().backward()
    plain(x).sum().backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        close(ours.grad, theirs.grad)
    model.train(), plain.train()
    close(outputs(model, x), outputs(plain, x))
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        close(ours, theirs)
    model.eval(), plain.eval()
    # A convolution by itself, or in another model, is itself.
    close(outputs(model[0], x), outputs(plain[0], x))
    close(outputs(nn.Sequential(*model[:2]), x), outputs(plain[:2], x))
    for place in (0, 1, 2):
        seen = {}
        for name, each in (("ours", model), ("theirs", plain)):
            hook = each[place].register_forward_hook(lambda *call, seen=seen, name=name: seen.update({name: call[-1]}))
            outputs(each, x)
            hook.remove()
        close(seen["ours"], seen["theirs"])


def test_changed_weights_and_statistics_are_noticed():
    model, x = stack(2), torch.randn(1, 2, 6, 6)
    plain = copy.deepcopy(model)
    fused(model, x)
    for change in (
        lambda m: m[0].weight.data.mul_(2),
        lambda m: m[0].bias.data.add_(1),
        lambda m: m[1].running_mean.add_(0.5),
        lambda m: m[1].running_var.mul_(3),
        lambda m: m[1].weight.data.neg_(),
        lambda m: m[1].bias.data.add_(2),
        lambda m: m.load_state_dict({name: value + 0.25 for name, value in m.state_dict().items()}),
        lambda m: setattr(m[1], "bias", nn.Parameter(torch.ones(5))),
    ):
        outputs(model, x)
        with torch.no_grad():
            change(model)
            change(plain)
        torch.testing.assert_close(outputs(model, x), outputs(plain, x), rtol=1e-4, atol=1e-4)


class Branching(nn.Module):
    """Convolutions whose output something else sees."""

    def __init__(self):
        super().__init__()
        self.seen, self.twice, self.added, self.kept = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.norm, self.other, self.third, self.fourth = (nn.BatchNorm2d(3) for _ in range(4))
        self.relu = nn.ReLU()

    def forward(self, x):
        a = self.seen(x)
        x = self.norm(a) + a
        x = self.other(self.twice(self.other(self.twice(x)).exp()))
        b = self.third(self.added(x))
        b += x
        x = self.relu(b)
        c = self.kept(x)
        return self.relu(self.fourth(c)), c


def test_what_something_else_sees_stays():
    torch.manual_seed(3)
    model, x = lived_in(Branching()), torch.randn(1, 3, 5, 5)
    plain = copy.deepcopy(model)
    found = chains(model, [model.seen, model.twice, model.added, model.kept], lambda: model(x))
    assert {(chain.convolution, chain.norm, chain.relu) for chain in found} == {
        (model.twice, model.other, None),
        (model.added, model.third, None),
    }
    fused(model, x)
    for ours, theirs in zip(outputs(model, x), outputs(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_relu_of_nan_and_of_functions():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x):
            return F.relu(self.conv(x))

    model, x = Functional().eval(), torch.randn(1, 1, 6, 6)
    assert not any("ReLU" in note for note in fused(model, x).notes)
    stacked, x = stack(2), torch.full((1, 2, 6, 6), torch.nan)
    fused(stacked, x)
    assert outputs(stacked, x).isnan().all()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_v2", "densenet_bc_100_12", "googlenet")]


@pytest.mark.parametrize("name", ["resnet18", "lenet", *SLOW])
def test_whole_networks(name):
    torch.manual_seed(0)
    model, x = lived_in(create_model(name, in_channels=1)), torch.randn(2, 1, 32, 32)
    expected = outputs(copy.deepcopy(model).double(), x.double())
    fused(model, x)
    error = (outputs(model, x) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


def test_copies_and_files(request):
    model, x = stack(2), torch.randn(1, 2, 6, 6)
    fused(model, x)
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    request.getfixturevalue("refused")
    for other in (copy.deepcopy(model), torch.load(stream, weights_only=False)):
        assert torch.equal(outputs(other, x), outputs(model, x))
        with torch.no_grad():
            other[1].bias.zero_()
        assert not torch.equal(outputs(other, x), outputs(model, x))  # its own norm, not the first one's


def test_undo():
    model, x = stack(2), torch.randn(1, 2, 6, 6)
    plain = copy.deepcopy(model)
    fused(model, x).undo()
    assert [vars(m).keys() for m in model.modules()] == [vars(m).keys() for m in plain.modules()]
    assert torch.equal(outputs(model, x), outputs(plain, x))


def test_threads_enter_for_themselves():
    model, x = stack(2), torch.randn(1, 2, 6, 6)
    expected = outputs(model, x)
    fused(model, x)
    results = []
    threads = [threading.Thread(target=lambda: results.append(outputs(model, x))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_not_asked_for(request):
    model, x = stack(2), torch.randn(1, 2, 6, 6)
    assert not any("ReLU" in note for note in fused(model, x, fuse=False).notes)
    request.getfixturevalue("refused")
    with pytest.raises(AssertionError, match="computed by PyTorch"):
        outputs(model, x)


def test_compiled_graphs_are_left_to_the_compiler():
    model, x = stack(2), torch.randn(1, 2, 6, 6)
    expected = outputs(model, x)
    fused(model, x)
    graph = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(outputs(graph, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("unbatched", [False, True])
def test_activation_of_the_operator(rank, unbatched):
    x, weight = torch.randn(2, *(7, 6, 5)[:rank])[None], torch.randn(3, 2, *(3,) * rank)
    x = x[0] if unbatched else x
    expected = ops.conv(x, weight, padding=1).relu()
    torch.testing.assert_close(ops.conv(x, weight, padding=1, activation="relu"), expected, rtol=1e-5, atol=1e-5)
    weight.requires_grad_()
    ours = ops.conv(x, weight, padding="same", padding_mode="replicate", activation="relu")
    theirs = ops.conv(x, weight, padding="same", padding_mode="replicate").relu()
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(
        torch.autograd.grad(ours.sum(), weight), torch.autograd.grad(theirs.sum(), weight), strict=True
    ):
        torch.testing.assert_close(one, other)


class Causal(nn.Module):
    """A residual block of a TCN: what is padded is also added."""

    def __init__(self, channels, inplace=False):
        super().__init__()
        self.body = nn.Sequential(
            nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(channels, channels, 3, dilation=2), nn.ReLU(inplace)
        )
        self.shortcut = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        return self.shortcut(x) + self.body(x)


def padded(rank):
    sides = tuple(range(2 * rank))
    layers = [getattr(nn, f"ConstantPad{rank}d")(sides, 0.0), CONV[rank](2, 4, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, getattr(nn, f"ZeroPad{rank}d")(2), CONV[rank](4, 3, 3, stride=2))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("build", "shape"),
    [(lambda r=r: padded(r), (2, 2, *(9, 8, 7)[:r])) for r in (1, 2, 3)] + [(lambda: Causal(3), (2, 3, 20))],
    ids=["1d", "2d", "3d", "residual"],
)
def test_padding_is_left_to_the_convolution(build, shape, train, monkeypatch):
    model, x = build().train(train), torch.randn(shape)
    exact, given = copy.deepcopy(model).double(), x.double().requires_grad_()
    expected = exact(given)
    expected.square().sum().backward()
    pads = sum("Pad" in type(module).__name__ for module in model.modules())
    report = fused(model, x) if not train else striate.accelerate(model, x, measure=False)
    assert f"convolutions do the padding of {pads} layers before them" in report.notes

    def refuse(*_):
        raise AssertionError("padded by PyTorch")

    monkeypatch.setattr(nn.modules.padding._ConstantPadNd, "forward", refuse)
    x.requires_grad_()
    output = model(x)
    output.square().sum().backward()
    torch.testing.assert_close(output, expected.float(), rtol=1e-4, atol=1e-5)
    for ours, theirs in zip((x, *model.parameters()), (given, *exact.parameters()), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs(copy.deepcopy(model), x.detach()), expected.float(), rtol=1e-4, atol=1e-5)


def test_padding_that_others_see_stays():
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.pad, self.conv, self.other = nn.ZeroPad2d(1), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)

        def forward(self, x):
            y = self.pad(x)
            return self.conv(y) + self.other(y)

    ones = nn.Sequential(nn.ConstantPad2d(1, 1.0), nn.Conv2d(2, 2, 3))
    cropped = nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(2, 2, 3))
    mirrored = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"))
    shared = nn.ZeroPad2d(1)
    twice = nn.Sequential(shared, nn.Conv2d(2, 2, 3), shared, nn.Conv2d(2, 2, 3))
    for model in (Seen(), ones, cropped, mirrored, twice):
        model, x = model.eval(), torch.randn(1, 2, 7, 7)
        expected = outputs(model, x)
        assert not any("padding" in note for note in fused(model, x).notes)
        torch.testing.assert_close(outputs(model, x), expected, rtol=1e-4, atol=1e-5)


def test_padding_with_hooks_and_by_itself():
    model, x = padded(2).eval(), torch.randn(1, 2, 6, 6)
    expected, wide = outputs(model, x), outputs(model[0], x)
    fused(model, x)
    torch.testing.assert_close(outputs(model[0], x), wide)
    sizes = []
    for place in (0, 1):
        hook = model[place].register_forward_hook(lambda _, given, made: sizes.append((given[0].shape, made.shape)))
        torch.testing.assert_close(outputs(model, x), expected, rtol=1e-4, atol=1e-5)
        hook.remove()
    assert sizes[0] == (x.shape, wide.shape)
    assert sizes[1][0] == wide.shape


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scale_of_the_operator(bias, activation, dtype):
    x, weight = torch.randn(2, 3, 9, 9, dtype=dtype), torch.randn(4, 3, 3, 3, dtype=dtype)
    scale, shift = torch.randn(2, 4, dtype=dtype)
    expected = ops.conv(x, weight * scale.view(-1, 1, 1, 1), shift if bias else None, padding=1)
    rectify = {None: lambda y: y, "relu": F.relu, "relu6": F.relu6}[activation]
    expected = rectify(expected)

    def ours():
        return ops.conv(x, weight, shift if bias else None, padding=1, scale=scale, activation=activation)

    torch.testing.assert_close(ours(), expected, rtol=1e-4, atol=1e-5)
    scale.requires_grad_()
    (gradient,) = torch.autograd.grad(ours().sum(), scale)
    sums = ops.conv(x, weight, padding=1)
    y = ours().detach()
    passed = ((y != 0) & ((y != 6) | (activation == "relu"))) if activation else 1
    torch.testing.assert_close(gradient, (sums * passed).sum((0, 2, 3)), rtol=1e-3, atol=1e-3)


def test_a_scale_of_another_size():
    with pytest.raises(GeometryError) as caught:
        ops.conv(torch.zeros(1, 1, 3), torch.zeros(2, 1, 1), scale=torch.ones(3))
    assert str(caught.value) == "Expected scale of shape (2,); received scale of shape (3,). Give one per channel."


def test_another_activation():
    with pytest.raises(GeometryError) as caught:
        ops.conv(torch.zeros(1, 1, 3), torch.zeros(1, 1, 1), activation="tanh")
    assert str(caught.value) == (
        "Expected activation of 'relu' or 'relu6' or None; received activation='tanh'. Apply others to the output."
    )
