"""`striate.accelerate`: what it changes, what it leaves, what it says, and that it can be taken back."""

import copy
import io
import json

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import striate
from striate.compiler.plan import default_jit
from striate.errors import ModelError
from striate.nn import accelerate as module
from striate.nn.acceleration import undo
from striate.nn.changed import Changed


def image_model():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding="same", groups=4), nn.MaxPool2d(2),
        nn.ConvTranspose2d(8, 4, 2, 2), nn.Flatten(), nn.Linear(4 * 8 * 8, 5),
    )  # fmt: skip


def signal_model():
    return nn.Sequential(
        nn.Conv1d(3, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(3, 2, 1),
        nn.Conv1d(8, 6, 3, dilation=2), nn.AvgPool1d(2), nn.ConvTranspose1d(6, 4, 3, 2, output_padding=1),
    )  # fmt: skip


def volume_model():
    return nn.Sequential(nn.Conv3d(1, 4, 3, 2, 1), nn.ReLU(), nn.ConvTranspose3d(4, 2, 2, 2))


MODELS = {
    "image": (image_model, (2, 3, 8, 8)),
    "signal": (signal_model, (2, 3, 30)),
    "volume": (volume_model, (1, 1, 6, 7, 8)),
}


def quick(model, example, **options):
    return striate.accelerate(model, example, **{"measure": False, **options})


def with_gradients(model, x):
    model.zero_grad()
    output = model(x)
    output.square().mean().backward()
    return [output.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("layout", ["auto", "channels_last", "contiguous"])
@pytest.mark.parametrize("name", MODELS)
def test_same_results_gradients_and_statistics(name, layout):
    build, shape = MODELS[name]
    model, x = build(), torch.randn(shape)
    plain = copy.deepcopy(model)
    report = quick(model, x, layout=layout)
    assert report.compiled == len(report.layers) == sum("Conv" in type(m).__name__ for m in plain.modules())
    for ours, theirs in zip(with_gradients(model, x), with_gradients(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("train", [True, False])
def test_nothing_is_left_to_compile(train):
    # Channels that no other test has, so that their kernels are new.
    model = nn.Sequential(
        nn.Conv2d(21 + train, 23, 3, padding=1), nn.BatchNorm2d(23), nn.ReLU6(), nn.Conv2d(23, 23, 5, groups=23),
        nn.ConvTranspose2d(23, 11, 2, 2), nn.BatchNorm2d(11), nn.Conv2d(11, 29, 1, bias=False), nn.ReLU(),
    ).train(train)  # fmt: skip
    x = torch.randn(3, 21 + train, 12, 12)
    before = default_jit().compiled
    quick(model, x)
    with torch.set_grad_enabled(train):
        ready = default_jit().compiled, compiled_anywhere()
        output = model(x)
        if train:
            output.sum().backward()
    assert (default_jit().compiled, compiled_anywhere()) == ready
    assert ready[0] > before


def compiled_anywhere():
    """Kernels that this process or one of its workers has compiled."""
    return len(list(default_jit().disk.folder.iterdir()))


def test_models_that_take_one_size_of_batch_only():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(4, 8, 3), nn.ReLU()

        def forward(self, x):
            return self.relu(self.conv(x.reshape(6, 4, 9, 9)))

    model = Folded().eval()
    report = quick(model, (3, 2, 4, 9, 9))
    assert report.compiled == 1
    assert report.layout == "channels_last"
    assert report.notes == ("in inference convolutions compute 0 batch norms and 1 ReLUs that follow them",)


def test_channels_last_from_the_first_layer_to_the_last():
    for build, shape in (MODELS["signal"], MODELS["volume"]):
        model, x = build(), torch.randn(shape)
        quick(model, shape, layout="channels_last")
        for layer in model:
            x = layer(x)
            assert x.stride(1) == 1


@pytest.mark.parametrize("measure", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_but_classes_changes_and_undo_restores_them(name, measure):
    build, shape = MODELS[name]
    model = build()
    model[1].eval()
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    for p in model.parameters():
        p.grad = torch.full_like(p, 3.0)

    def state(besides=()):
        tensors = model.state_dict(keep_vars=True)
        return (
            [id(m) for m in model.modules()],
            {
                key: (id(t), t.stride(), t.tolist(), None if t.grad is None else t.grad.tolist())
                for key, t in tensors.items()
            },
            [{key: id(value) for key, value in vars(m).items() if key not in besides} for m in model.modules()],
            [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
            torch.get_rng_state().tolist(),
        )

    before, classes = state(), [type(m) for m in model.modules()]
    report = striate.accelerate(model, shape, measure=measure, keep_slower=True, rounds=1, train=True)
    assert state(besides=("fusion", "scope")) == before
    changed = [type(m) for m in model.modules()]
    assert changed != classes
    assert all(issubclass(new, old) for new, old in zip(changed, classes, strict=True))
    report.undo()
    assert state() == before
    assert [type(m) for m in model.modules()] == classes


def test_copies_and_files_stay_accelerated():
    model, x = signal_model().eval(), torch.randn(2, 3, 30)
    quick(model, x)
    expected = model(x)
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    for other in (copy.deepcopy(model), torch.load(stream, weights_only=False)):
        assert [type(m) for m in other.modules()] == [type(m) for m in model.modules()]
        assert torch.equal(other(x), expected)
        assert other[0].weight is not model[0].weight
        undo(other)
        assert type(other[0]) is nn.Conv1d
    assert isinstance(model[0], Changed)


def test_state_dicts_go_both_ways():
    model, plain = image_model(), image_model()
    quick(model, (2, 3, 8, 8))
    plain.load_state_dict(model.state_dict())
    model.load_state_dict(plain.state_dict())
    stream = io.BytesIO()
    torch.save(model.state_dict(), stream)
    stream.seek(0)
    plain.load_state_dict(torch.load(stream, weights_only=True))


def test_a_layer_that_is_parametrized_before_or_after():
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(2, 4, 3)), nn.Conv2d(4, 4, 1))
    x = torch.randn(1, 2, 6, 6)
    expected, before = model(x), type(model[0])
    report = quick(model, x)
    assert [row.reason for row in report.layers] == [None, None]
    torch.testing.assert_close(copy.deepcopy(model)(x), expected, rtol=1e-4, atol=1e-5)
    undo(model)
    assert type(model[0]) is before

    quick(model, x)
    parametrize.remove_parametrizations(model[0], "weight")
    parametrizations.orthogonal(model[1])
    expected = model(x)
    undo(model)
    assert type(model[0]) is nn.Conv2d
    assert type(model[1]).__bases__ == (nn.Conv2d,)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    parametrize.remove_parametrizations(model[1], "weight")
    assert type(model[1]) is nn.Conv2d


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_that_hooks_compute():
    model = nn.Sequential(torch.nn.utils.weight_norm(nn.Conv1d(2, 4, 3)))
    x = torch.randn(1, 2, 9)
    expected = model(x)
    quick(model, x)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


class Named(nn.Conv2d):
    """A subclass that changes nothing."""


class Doubled(nn.Conv2d):
    def forward(self, input):
        return 2 * super().forward(input)


class Standardised(nn.Conv2d):
    def _conv_forward(self, input, weight, bias):
        return super()._conv_forward(input, weight - weight.mean(), bias)


def reasons(model, example, **options):
    return {row.name: row.reason for row in quick(model, example, **options).layers}


def test_every_layer_that_stays_has_a_reason():
    model = nn.Sequential(Named(2, 2, 1), Doubled(2, 2, 1), Standardised(2, 2, 1), nn.Conv2d(2, 2, 1))
    model[3].forward = lambda x: x
    assert reasons(model, (1, 2, 4, 4)) == {
        "0": None,
        "1": "Doubled has a forward of its own",
        "2": "Standardised has a _conv_forward of its own",
        "3": "forward is replaced on this instance",
    }
    assert type(model[1]) is Doubled
    assert isinstance(model[0], Changed)
    assert isinstance(model[0], Named)
    assert "float64" in reasons(nn.Sequential(nn.Conv2d(2, 2, 1)).double(), (1, 2, 4, 4))["0"]
    with striate.use_compiled(False):
        assert "switched off" in reasons(nn.Sequential(nn.Conv2d(2, 2, 1)), (1, 2, 4, 4))["0"]


def test_a_layer_that_is_not_reached_and_one_that_is_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3)
            self.again = self.used

        def forward(self, x):
            return self.used(self.again(x))

    report = quick(Twice().eval(), (1, 2, 5, 5))
    assert [(row.name, row.calls, row.reason) for row in report.layers] == [
        ("used", 2, None),
        ("unused", 0, "the example input does not reach it"),
    ]


def test_a_quantised_layer_stays():
    layer = nn.Conv2d(2, 2, 1)
    layer.__class__ = type("Conv2d", (nn.Conv2d,), {"__module__": "torch.ao.nn.qat.modules.conv"})
    assert reasons(nn.Sequential(layer), (1, 2, 4, 4)) == {"0": "it is quantised"}


def test_the_layer_that_pytorch_computes_faster_stays(monkeypatch):
    real = module.layer_times

    def slow_first(layer, *args):
        found = real(layer, *args)
        if layer.kernel_size == (1, 1):
            return found
        times = type(found.ours)(*(found.torch_in_layout.median * 2,) * 3)
        return type(found)(times, found.torch_in_layout, found.torch_best, found.error, found.torch_error)

    monkeypatch.setattr(module, "layer_times", slow_first)
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 4, 1))
    report = striate.accelerate(model, (1, 2, 8, 8), rounds=1)
    assert report.layers[0].reason.startswith("which was faster")
    assert type(model[0]) is nn.Conv2d
    report = striate.accelerate(model, (1, 2, 8, 8), rounds=1, keep_slower=True)
    assert report.layers[0].reason is None
    assert isinstance(model[0], Changed)


def test_the_report():
    model = image_model()
    report = striate.accelerate(model, (2, 3, 8, 8), rounds=1, keep_slower=True)
    assert [row.problem for row in report.layers] == [
        "2d n2 c3 o8 i10 k3 s1 p0 bias",
        "2d n2 c8 o8 i8 k3 s1 p1 g4 bias",
        "2d n2 c8 o4 i4 k2 s2 p0 bias transposed",
    ]
    assert list(report.layers[0].algorithms) == ["forward", "grad_weight"]  # nobody needs the gradient of the image
    assert list(report.layers[1].algorithms) == ["forward", "grad_input", "grad_weight"]
    for row in report.layers:
        assert 0 < row.error < 1e-4
        assert row.gain > 0
    assert report.gain > 0
    assert report.difference < 1e-4
    assert json.loads(json.dumps(report.to_dict()))["layers"][2]["problem"].endswith("transposed")
    text = str(report)
    assert "3 of 3 compiled" in text
    assert "forward and backward" in text
    inference = striate.accelerate(model.eval(), (2, 3, 8, 8), rounds=1, keep_slower=True)
    assert list(inference.layers[1].algorithms) == ["forward"]


class Viewed(nn.Module):
    """Insists on contiguous activations, as many tutorials do."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense = nn.Conv2d(2, 4, 3), nn.Linear(4 * 36, 3)

    def forward(self, x):
        return self.dense(self.conv(x).view(-1, 4 * 36))


def test_a_model_that_needs_contiguous_activations_gets_them():
    model, x = Viewed(), torch.randn(2, 2, 8, 8)
    expected = model(x)
    report = quick(model, x)
    assert report.layout == "contiguous"
    assert "view size" in report.notes[0]
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="view size"):
        striate.accelerate(model, x, layout="channels_last")
    assert type(model.conv) is nn.Conv2d


def test_a_model_that_fails_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Linear(7, 2))
    with pytest.raises(RuntimeError):
        striate.accelerate(model, (2, 2, 8, 8))
    assert type(model[0]) is nn.Conv2d
    assert model[1].num_batches_tracked == 0
    assert not model[0]._forward_pre_hooks


def test_what_is_refused():
    with pytest.raises(ModelError, match="received a lazy layer, '0'"):
        striate.accelerate(nn.Sequential(nn.LazyConv2d(2, 3)), (1, 2, 8, 8))
    with pytest.raises(ModelError, match=r"expected a torch\.nn\.Module; received int"[1:]):
        striate.accelerate(3, (1, 2))
    with pytest.raises(ModelError, match="layout='channels_first'"):
        striate.accelerate(nn.Conv2d(1, 1, 1), (1, 1, 2, 2), layout="channels_first")


def test_several_and_named_inputs():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 2, 3)

        def forward(self, a, b):
            return {"sum": self.conv(a) + self.conv(b)}

    a, b = torch.randn(1, 1, 8), torch.randn(1, 1, 8)
    assert quick(Sum(), (a, b)).layers[0].calls == 2
    assert striate.accelerate(Sum(), {"b": b, "a": a}, rounds=1, keep_slower=True).difference < 1e-4


def test_other_batches_unbatched_inputs_and_output_size():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 2, 3, 2))
    plain = copy.deepcopy(model)
    quick(model, (1, 2, 8, 8))
    for x in (torch.randn(3, 2, 9, 5), torch.randn(2, 7, 7), torch.randn(0, 2, 8, 8)):
        torch.testing.assert_close(model(x), plain(x), rtol=1e-4, atol=1e-5)
    x = torch.randn(1, 4, 5, 5)
    for size in ((12, 11), (1, 2, 11, 12)):
        torch.testing.assert_close(model[1](x, size), plain[1](x, size), rtol=1e-4, atol=1e-5)


def test_pooling_with_indices_and_flat_norms_are_pytorchs_own():
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.MaxPool1d(2, return_indices=True))
    x = torch.randn(1, 2, 9)
    expected = model(x)
    quick(model, x, layout="channels_last")
    for ours, theirs in zip(model(x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    norm = nn.Sequential(nn.Conv1d(2, 4, 1), nn.BatchNorm1d(4))
    quick(norm, (3, 2, 5), layout="channels_last")
    assert norm[1](torch.randn(3, 4)).shape == (3, 4)


def test_layers_of_our_own_keep_their_kernels():
    model = striate.create_model("lenet")
    plain = copy.deepcopy(model)
    report = quick(model, (2, 1, 28, 28))
    assert [row.reason for row in report.layers] == [None, None]
    assert "Striate's own" in report.notes[-1]
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(model(x), plain(x), rtol=1e-4, atol=1e-5)


def test_traced_by_fx_and_compiled():
    model, x = image_model().eval(), torch.randn(2, 3, 8, 8)
    quick(model, x)
    expected = model(x)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), expected)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    torch.compiler.reset()


def test_distributed_data_parallel(tmp_path):
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        model, x = volume_model(), torch.randn(1, 1, 6, 7, 8)
        plain = copy.deepcopy(model)
        wrapped = nn.parallel.DistributedDataParallel(model)
        quick(wrapped, x)
        assert isinstance(model[0], Changed)
        for ours, theirs in zip(with_gradients(wrapped, x), with_gradients(plain, x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    finally:
        torch.distributed.destroy_process_group()
