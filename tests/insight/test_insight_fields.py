"""Receptive fields against brute force: which input positions reach which unit, found by gradients or by NaNs."""

from fractions import Fraction
from math import floor, inf

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from striate.geometry import ReceptiveField
from striate.insight import summary
from striate.insight.fields import Field, adaptive_window, resized, transposed_window, window
from striate.insight.summary import _Listing


def positive(net: nn.Module) -> nn.Module:
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    return net.double().eval()


def traced(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, tuple[Field, ...], list[str]]:
    listing = _Listing(net)
    listing.tracing.follow(x)
    with torch.no_grad(), listing.tracing, listing:
        output = net(x)
    trace = listing.tracing.trace(output)
    assert trace is not None
    return output, trace.fields, list(listing.tracing.notes)


def seen(net: nn.Module, shape: tuple[int, ...], axis: int, probe: str) -> list[tuple[float, float]]:
    """Per unit along an axis (through the middle of the others): the first and last position that reaches it."""
    x = torch.rand(1, *shape, dtype=torch.float64) + 0.5
    size = shape[1 + axis]
    rows = []
    if probe == "nan":
        batch = x.repeat(size, *[1] * len(shape))
        for position in range(size):
            batch[position].select(1 + axis, position).fill_(torch.nan)
        out = net(batch)
        middle = [s // 2 if a != axis else slice(None) for a, s in enumerate(out.shape[2:])]
        reached = out.sum(1)[(slice(None), *middle)].isnan()  # position, unit
        rows = list(reached.T)
    else:
        x.requires_grad_()
        out = net(x)
        middle = [s // 2 if a != axis else slice(None) for a, s in enumerate(out.shape[2:])]
        for unit in out.sum(1)[(0, *middle)]:
            (gradient,) = torch.autograd.grad(unit, x, retain_graph=True)
            rows.append(gradient[0].abs().sum([d for d in range(gradient[0].ndim) if d != 1 + axis]) > 0)
    spans = []
    for row in rows:
        where = row.nonzero()[:, 0].tolist()
        spans.append((where[0], where[-1]) if where else (inf, -inf))
    return spans


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(2, 2, 3, padding=1)
        self.short = nn.Conv2d(2, 2, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.short(x))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.five = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=2)
        self.wide = nn.Conv2d(1, 2, (1, 7), padding=(0, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.max_pool2d(x, 3, 1, 1)
        return torch.cat([self.one(x), self.five(x), self.wide(x), self.one(pooled)], 1)


class UNet(nn.Module):
    def __init__(self, up: nn.Module) -> None:
        super().__init__()
        self.down, self.deep, self.up = nn.Conv1d(1, 2, 3, padding=1), nn.Conv1d(2, 2, 3, padding=1), up
        self.last = nn.Conv1d(4, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(x)
        deep = self.deep(F.avg_pool1d(self.deep(F.avg_pool1d(x, 2)), 2))
        deep = self.up(self.up(deep))
        return self.last(torch.cat([x, deep], 1))


class Asymmetric(nn.Module):
    def __init__(self, mode: str = "constant") -> None:
        super().__init__()
        self.mode, self.conv = mode, nn.Conv2d(1, 1, (3, 4), stride=(1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(self.conv(F.pad(x, (3, 0, 0, 1), mode=self.mode)), (0, 1, 2, 0)))


class Slices(nn.Module):
    """Space to depth as some detectors do it, with a transposed layout in between."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        left, right = x.chunk(2, 1)
        return F.avg_pool2d(left * right, 3, 1)[:, :, 1:-1]


def sequence(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


NETS = {
    "strided": ("nan", (1, 40), sequence(nn.Conv1d(1, 2, 5, 2, 2), nn.ReLU(), nn.Conv1d(2, 1, 4, 3, 1))),
    "dilated": (
        "gradient", (1, 60),
        sequence(nn.Conv1d(1, 1, 3, dilation=4), nn.Conv1d(1, 1, 2, dilation=7, padding=3)),
    ),
    "max pools": ("nan", (1, 40), sequence(nn.Conv1d(1, 1, 3), nn.MaxPool1d(3, 2, 1), nn.MaxPool1d(2, dilation=2))),
    "lenet": ("nan", (1, 34, 30), sequence(nn.Conv2d(1, 2, 5), nn.MaxPool2d(2), nn.Tanh(), nn.Conv2d(2, 2, 5))),
    "anisotropic": (
        "nan", (1, 30, 24),
        sequence(nn.Conv2d(1, 2, (5, 3), (2, 1)), nn.AvgPool2d((1, 2), padding=(0, 1))),
    ),
    "lp pool": ("gradient", (1, 20, 20), sequence(nn.LPPool2d(2, 3, 2))),
    "activations": (
        "gradient", (2, 30),
        sequence(
            nn.Conv1d(2, 4, 3), nn.PReLU(4), nn.Hardswish(), nn.LogSigmoid(), nn.RReLU(), nn.GLU(1), nn.Conv1d(2, 1, 2)
        ),
    ),
    "residual": ("nan", (2, 24, 24), sequence(Residual(), Residual())),
    "inception": ("nan", (1, 20, 20), Inception()),
    "asymmetric": ("gradient", (1, 24, 28), Asymmetric()),
    "reflected": ("gradient", (1, 24, 28), Asymmetric("reflect")),
    "circular": ("gradient", (1, 24, 28), Asymmetric("circular")),
    "circular layer": ("gradient", (1, 30), sequence(nn.Conv1d(1, 1, 5, padding=2, padding_mode="circular"))),
    "slices": ("gradient", (2, 24, 24), Slices()),
    "transposed": ("gradient", (1, 30), sequence(nn.ConvTranspose1d(1, 1, 3, 2, 1, 1), nn.Conv1d(1, 1, 3))),
    "sparse transposed": ("gradient", (1, 30), sequence(nn.ConvTranspose1d(1, 1, 1, 3), nn.Conv1d(1, 1, 2))),
    "dilated transposed": (
        "gradient", (1, 30),
        sequence(nn.ConvTranspose1d(1, 1, 3, 2, dilation=3), nn.AvgPool1d(3, 2)),
    ),
    "decoder": (
        "gradient", (1, 12, 12),
        sequence(nn.ConvTranspose2d(1, 1, 4, 2, 1), nn.ConvTranspose2d(1, 1, 4, 2, 1)),
    ),
    "unet transposed": ("gradient", (1, 64), UNet(nn.ConvTranspose1d(2, 2, 2, 2))),
    "unet nearest": ("gradient", (1, 64), UNet(nn.Upsample(scale_factor=2, mode="nearest"))),
    "unet linear": ("gradient", (1, 64), UNet(nn.Upsample(scale_factor=2, mode="linear"))),
    "bilinear corners": ("gradient", (1, 12, 12), sequence(nn.Upsample((23, 34), mode="bilinear", align_corners=True))),
    "bicubic": ("gradient", (1, 16, 16), sequence(nn.Upsample((24, 40), mode="bicubic"), nn.AvgPool2d(2))),
    "nearest-exact": ("gradient", (1, 30), sequence(nn.Upsample(20, mode="nearest-exact"), nn.Conv1d(1, 1, 2))),
    "pixel shuffle": ("gradient", (4, 12, 12), sequence(nn.Conv2d(4, 8, 3), nn.PixelShuffle(2), nn.Conv2d(2, 1, 2))),
    "pixel unshuffle": ("gradient", (1, 24, 24), sequence(nn.PixelUnshuffle(3), nn.Conv2d(9, 1, 2))),
    "adaptive": ("gradient", (1, 21, 30), sequence(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d((7, 8)))),
    "volume": ("nan", (1, 12, 14, 13), sequence(nn.Conv3d(1, 1, (3, 1, 5), (1, 2, 1)), nn.MaxPool3d(2), nn.ReLU())),
    "volume up": (
        "gradient", (1, 6, 6, 6),
        sequence(nn.Upsample(scale_factor=2, mode="trilinear"), nn.Conv3d(1, 1, 2)),
    ),
    "separable": ("nan", (2, 20, 20), sequence(nn.Conv2d(2, 2, 3, 2, groups=2), nn.Conv2d(2, 3, 1), nn.ReLU6())),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_every_inner_unit_sees_what_the_field_says(name):
    probe, shape, net = NETS[name]
    net = positive(net)
    _, fields, notes = traced(net, torch.rand(1, *shape, dtype=torch.float64))
    assert notes == []
    reported = summary(net, (1, *shape)).receptive_field
    for axis, field in enumerate(fields):
        size = shape[1 + axis]
        compared = []
        for unit, span in enumerate(seen(net, shape, axis, probe)):
            low, high = field.at(unit)
            if low > high or (low >= 2 and high <= size - 3):
                assert span == (low, high), (axis, unit)
                compared.append(high - low + 1)
        assert compared
        assert reported[axis] == field.report()
        # Long nets on short inputs have few inner units; all the others show the largest.
        assert max(compared) == reported[axis].size or len(compared) < len(field.spans)


LAYERS = st.one_of(
    st.builds(
        lambda k, s, p, d: nn.Conv1d(1, 1, k, s, min(p, d * (k - 1)), d),
        st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3),
    ),
    st.builds(
        lambda k, s, d: nn.ConvTranspose1d(1, 1, k, s, dilation=d),
        st.integers(1, 4), st.integers(1, 3), st.integers(1, 2),
    ),
    st.builds(lambda k, s: nn.AvgPool1d(k, s, k // 2), st.integers(1, 4), st.integers(1, 3)),
    st.builds(lambda f: nn.Upsample(scale_factor=f, mode="nearest"), st.integers(2, 3)),
    st.builds(lambda f: nn.Upsample(scale_factor=f, mode="linear"), st.integers(2, 3)),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(LAYERS, min_size=1, max_size=4))
def test_any_chain(layers):
    net = positive(nn.Sequential(*layers))
    try:
        output, (field,), _ = traced(net, torch.rand(1, 1, 40, dtype=torch.float64))
    except RuntimeError:  # a kernel larger than what is left
        assume(False)
    assume(2 <= output.shape[2] <= 150)
    for unit, span in enumerate(seen(net, (1, 40), 0, "gradient")):
        low, high = field.at(unit)
        if 8 <= low <= high <= 31:
            assert span == (low, high)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=6
    )
)
def test_chains_of_windows_agree_with_the_geometry(windows):
    field, expected = Field(), ReceptiveField()
    for kernel_size, stride, pad, dilation in windows:
        field = window(field, kernel_size, stride, pad, dilation)
        expected = expected.through(kernel_size, stride, pad, dilation)
    assert field.report() == expected


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2))
def test_a_transposed_window_agrees_with_the_geometry(kernel_size, stride, crop):
    assume(kernel_size % stride == 0)  # all phases see equally many, so that the centres are even
    report = transposed_window(Field(), kernel_size, stride, crop).report()
    expected = ReceptiveField().through_transposed(kernel_size, stride, crop)
    # The geometry's fractional size covers the whole pattern; no single unit sees more than its floor.
    assert report == ReceptiveField(Fraction(floor(expected.size)), expected.jump, expected.offset)


def test_published_fields():
    # Araujo, Norris and Sim 2019, table of common networks: AlexNet 195, VGG-16 212 at their last pool.
    alexnet = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
    vgg = [size for count in (2, 2, 3, 3, 3) for size in [(3, 1)] * count + [(2, 2)]]
    for layers, expected in ((alexnet, (195, 32)), (vgg, (212, 32))):
        net = nn.Sequential(*(nn.Conv2d(1, 1, k, s, k // 2) for k, s in layers))
        report = summary(net, (1, 1, 256, 256)).receptive_field[0]
        assert (report.size, report.jump) == expected


def everything(net: nn.Module, shape: tuple[int, ...]) -> list[object]:
    found = summary(net, shape)
    return [None if axis is None else axis.size for axis in found.receptive_field]


def test_layers_that_see_everything():
    conv = nn.Conv2d(1, 4, 3)
    assert everything(nn.Sequential(conv, nn.Flatten(), nn.Linear(4 * 36, 3)), (1, 1, 8, 8)) == [inf, inf]
    assert everything(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (1, 1, 8, 8)) == [inf, inf]
    assert everything(nn.Sequential(conv, nn.AdaptiveMaxPool2d(1)), (1, 1, 8, 8)) == [inf, inf]
    assert everything(nn.Sequential(conv, nn.Softmax(dim=2)), (1, 1, 8, 8)) == [inf, 3]
    # One position left is not everything: the field stays what the layers made it.
    last = nn.Sequential(nn.Conv2d(1, 4, 5, 2), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 3))
    assert everything(last, (1, 1, 9, 9)) == [9, 9]


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.squeeze = nn.Conv2d(2, 2, 3, 2), nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))


def test_a_gate_sees_everything_but_keeps_the_grid():
    report = summary(Gate(), (1, 2, 17, 17)).receptive_field[0]
    assert report == ReceptiveField(inf, Fraction(2), Fraction(1))


class Tokens(nn.Module):
    def __init__(self, attend: bool) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.zeros(1, 1, 8))
        self.mlp, self.attention = nn.Linear(8, 8), nn.MultiheadAttention(8, 2, batch_first=True) if attend else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.mlp(self.patch(x).flatten(2).transpose(1, 2))
        if self.attention is None:
            return tokens.transpose(1, 2).unflatten(2, (4, 5))
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        return self.attention(tokens, tokens, tokens)[0][:, 0]


def test_tokens_keep_their_patch_until_attention():
    for axis in summary(Tokens(attend=False), (1, 3, 16, 20)).receptive_field:
        assert axis == ReceptiveField(Fraction(4), Fraction(4), Fraction(3, 2))
    found = summary(Tokens(attend=True), (1, 3, 16, 20))
    assert [axis.size for axis in found.receptive_field] == [inf, inf]
    assert found.notes == (
        "the model: aten::cat rearranges positions in a way that is not followed; receptive fields end there",
    )


class Strange(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv = how, nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        match self.how:
            case "flip":
                return self.conv(x.flip(2))
            case "cumulative":
                return x.cumsum(3)
            case "mismatch":
                return x[:, :, :6, :6] + F.interpolate(x, size=(6, 6))
            case "written":
                y = torch.zeros_like(x)
                y[:, :, 2:] = x[:, :, :-2]
                return y
            case "cut":
                return x.view(1, 1, 4, 3, 4, 3).permute(0, 2, 4, 1, 3, 5)
        return x


LOST = "rearranges positions in a way that is not followed; receptive fields end there"


@pytest.mark.parametrize(
    ("how", "fields", "note"),
    [
        ("flip", [None, 5], f"aten::flip {LOST}"),
        ("cumulative", [None, None], "what aten::cumsum does is not known; receptive fields and macs leave it out"),
        ("mismatch", [None, None], "aten::add joins maps whose positions do not match; receptive fields end there"),
        ("written", [None, None], f"aten::copy_ {LOST}"),
        ("cut", [None, None], "aten::view cuts a spatial axis into parts; receptive fields end there"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_said_and_not_guessed(how, fields, note):
    found = summary(Strange(how), (1, 1, 12, 12))
    assert [None if axis is None else axis.size for axis in found.receptive_field] == fields
    assert found.notes == (f"the model: {note}",)


def test_statistics_over_positions_are_named():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.BatchNorm2d(4))
    found = summary(net, (1, 1, 8, 8))
    text = "normalises over positions; the receptive field leaves out what its statistics see"
    assert found.notes == (f"1: {text}", f"2: {text}")
    assert found.receptive_field[0].size == 3


def test_fields_meet():
    narrow, wide = window(Field(), 3, pad_before=1), window(Field(), 6, pad_before=2)
    assert Field.meet([narrow, wide]).at(0) == (-2, 3)
    assert Field.meet([narrow, window(Field(), 1, stride=2)]) is None
    assert Field.meet([narrow, Field(everywhere=True)]).report() == ReceptiveField(inf, Fraction(1), Fraction(0))
    assert not Field.meet([narrow, wide.unknown()]).known
    assert Field.meet([narrow.unknown(), Field(everywhere=True)]).everywhere
    assert Field.meet([Field(everywhere=True).unknown(), narrow]).everywhere


def test_a_pattern_that_is_too_long_is_given_up():
    field = resized(Field(), Fraction(1009, 1013), "linear")
    assert field.known
    assert len(field.spans) == 1013
    assert not resized(field, Fraction(1021, 1019), "linear").known
    assert Field.meet([field, Field(((0, 0),) * 1021, field.jump)]) is None
    assert adaptive_window(Field(), 7, 1).everywhere
    assert not window(field.unknown(), 3).known
