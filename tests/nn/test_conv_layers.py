"""Convolution layers against torch's own, and against explicit padding where torch has no such argument."""

import copy
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn as tnn
from torch.nn import functional as F

from striate import nn
from striate.errors import GeometryError

RANKS = (1, 2, 3)
TORCH_CONV = {1: tnn.Conv1d, 2: tnn.Conv2d, 3: tnn.Conv3d}
TORCH_TRANSPOSED = {1: tnn.ConvTranspose1d, 2: tnn.ConvTranspose2d, 3: tnn.ConvTranspose3d}
FUNCTIONAL = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def per_axis(rank, low, high):
    return st.integers(low, high) | st.tuples(*[st.integers(low, high)] * rank)


@st.composite
def torch_arguments(draw, transposed):
    rank = draw(st.sampled_from(RANKS))
    groups = draw(st.integers(1, 2))
    arguments = {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": draw(per_axis(rank, 1, 3)),
        "stride": draw(per_axis(rank, 1, 2)),
        "padding": draw(per_axis(rank, 0, 2)),
        "dilation": draw(per_axis(rank, 1, 2)),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    if not transposed:
        arguments["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    return rank, arguments


def assert_same_layer(ours, theirs, x):
    """Equal class in torch's eyes, fresh weights, parameters' names, text, outputs and all gradients."""
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, its)
    results = []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        output = layer(leaf)
        grads = torch.autograd.grad((output * output.detach().cos()).sum(), [leaf, *layer.parameters()])
        results.append([output, *grads])
    for mine, its in zip(*results, strict=True):
        torch.testing.assert_close(mine, its)


@settings(max_examples=60, deadline=None)
@given(torch_arguments(transposed=False), st.booleans())
def test_is_torchs_convolution(chosen, batched):
    rank, arguments = chosen
    torch.manual_seed(0)
    ours = nn.conv_class(rank)(**arguments, dtype=torch.float64)
    torch.manual_seed(0)
    theirs = TORCH_CONV[rank](**arguments, dtype=torch.float64)
    shape = (arguments["in_channels"], *range(6, 6 + rank))
    assert_same_layer(ours, theirs, torch.randn(2, *shape).double() if batched else torch.randn(shape).double())


@settings(max_examples=60, deadline=None)
@given(torch_arguments(transposed=True))
def test_is_torchs_transposed_convolution(chosen):
    rank, arguments = chosen
    torch.manual_seed(0)
    ours = nn.conv_transpose_class(rank)(**arguments, dtype=torch.float64)
    torch.manual_seed(0)
    theirs = TORCH_TRANSPOSED[rank](**arguments, dtype=torch.float64)
    x = torch.randn(2, arguments["in_channels"], *range(5, 5 + rank)).double()
    assert_same_layer(ours, theirs, x)


def expected_pads(padding, size, extent, stride):
    """What each word means along one axis, written out once more."""
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return extent - 1, 0
    total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return (total // 2, total - total // 2) if padding == "same" else (total - total // 2, total // 2)


@settings(max_examples=40, deadline=None)  # each compiles a kernel
@given(
    st.sampled_from(RANKS),
    st.sampled_from(["same", "same_lower", "causal", "valid", "pairs"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from([("zeros", 0.0), ("constant", 1.5)]),
)
def test_paddings_that_torch_lacks_equal_explicit_padding(rank, padding, kernel_size, stride, dilation, mode):
    padding_mode, value = mode
    size = tuple(range(8, 8 + rank))
    extent = dilation * (kernel_size - 1) + 1
    if padding == "pairs":
        pads = [(axis, 2) for axis in range(rank)]
        padding = pads
    else:
        pads = [expected_pads(padding, length, extent, stride) for length in size]
    layer = nn.conv_class(rank)(
        2, 3, kernel_size, stride, padding, dilation, padding_mode=padding_mode, padding_value=value
    )
    assert layer.pads(size) == tuple(pads)
    x = torch.randn(2, 2, *size)
    padded = F.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)
    reference = FUNCTIONAL[rank](padded, layer.weight, layer.bias, stride, 0, dilation)
    torch.testing.assert_close(layer(x), reference)
    if padding in ("same", "same_lower"):
        assert reference.shape[2:] == tuple(math.ceil(length / stride) for length in size)


@pytest.mark.parametrize("rank", RANKS)
def test_causal_output_does_not_see_what_follows(rank):
    layer = nn.conv_class(rank)(1, 1, 3, padding="causal", dilation=2)
    x = torch.randn(1, 1, *(9,) * rank)
    later = x.clone()
    later[(..., *(slice(5, None),) * rank)] += 1
    kept = (..., *(slice(0, 5),) * rank)
    assert torch.equal(layer(x)[kept], layer(later)[kept])
    assert not torch.equal(layer(x), layer(later))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("padding", ["same", "same_lower"])
@pytest.mark.parametrize("kernel_size", [2, 3, 4])
def test_transposed_same_is_the_adjoint_of_same(rank, padding, kernel_size):
    down = nn.conv_class(rank)(2, 3, kernel_size, 2, padding, bias=False, dtype=torch.float64)
    up = nn.conv_transpose_class(rank)(3, 2, kernel_size, 2, padding, bias=False, dtype=torch.float64)
    up.load_state_dict(down.state_dict())
    wide, narrow = torch.randn(1, 2, *(6,) * rank).double(), torch.randn(1, 3, *(3,) * rank).double()
    torch.testing.assert_close((down(wide) * narrow).sum(), (wide * up(narrow)).sum())


@pytest.mark.parametrize("rank", RANKS)
def test_transposed_padding_modes_continue_a_flat_input(rank):
    layer = nn.conv_transpose_class(rank)(1, 1, 3, padding=1, bias=False, padding_mode="replicate")
    torch.nn.init.ones_(layer.weight)
    flat = layer(torch.ones(1, 1, *(5,) * rank))
    assert torch.equal(flat, torch.full_like(flat, 3.0**rank))
    constant = nn.conv_transpose_class(rank)(1, 1, 3, padding=1, bias=False, padding_mode="constant", padding_value=1.0)
    constant.load_state_dict(layer.state_dict())
    assert torch.equal(constant(torch.ones(1, 1, *(5,) * rank)), flat)


def test_output_size_is_taken_spatial_or_whole_and_replaces_output_padding():
    torch.manual_seed(0)
    ours = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1)
    theirs = tnn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 2, 4, 4)
    for output_size in [(7, 8), (8, 8), (1, 3, 7, 7)]:
        torch.testing.assert_close(ours(x, output_size=output_size), theirs(x, output_size=list(output_size)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv1d(2, 4, 3, 2, "same", padding_mode="constant", padding_value=0.5),
        lambda: nn.Conv2d(2, 4, (3, 2), padding=((0, 1), (2, 0))),
        lambda: nn.Conv3d(2, 4, 2, 2, "same_lower", groups=2),
        lambda: nn.ConvTranspose2d(2, 4, 3, 2, "same", padding_mode="reflect"),
        lambda: nn.DepthwiseConv2d(2, 3, 2, padding="causal"),
        lambda: nn.SeparableConv1d(2, 3, 3, norm="batch", activation="relu"),
    ],
)
class TestTravels:
    """A layer survives copying, pickling, saving, compiling and exporting."""

    def sample(self, layer):
        rank = getattr(layer, "spatial_dims", 2)
        return torch.randn(2, 2, *range(6, 6 + rank))

    def test_copy_and_pickle(self, make):
        layer = make().eval()
        x = self.sample(layer)
        stream = io.BytesIO()
        torch.save(layer, stream)
        stream.seek(0)
        for twin in (
            copy.deepcopy(layer),
            torch.load(stream, weights_only=False),
        ):
            assert torch.equal(twin(x), layer(x))
            assert repr(twin) == repr(layer)

    def test_compile_and_export(self, make, monkeypatch, tmp_path):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # torch.compile sets it if nobody does
        layer = make().eval()
        x = self.sample(layer)
        torch._dynamo.reset()
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), layer(x))
        exported = torch.export.export(layer, (x,)).module()
        torch.testing.assert_close(exported(x), layer(x))

    def test_float_types_and_meta(self, make):
        layer = make().eval()
        x = self.sample(layer)
        shape = layer(x).shape
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(x).shape == shape
        assert copy.deepcopy(layer).to("meta")(x.to("meta")).shape == shape


@pytest.mark.parametrize("rank", RANKS)
def test_weights_go_both_ways_between_torchs_class_and_ours(rank):
    for ours, theirs in (
        (nn.conv_class(rank)(2, 4, 3, padding="same"), TORCH_CONV[rank](2, 4, 3, padding="same")),
        (nn.conv_transpose_class(rank)(2, 4, 3, stride=2), TORCH_TRANSPOSED[rank](2, 4, 3, stride=2)),
    ):
        x = torch.randn(1, 2, *(6,) * rank)
        assert not torch.allclose(ours(x), theirs(x))
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(x), theirs(x))
        torch.nn.init.normal_(ours.weight)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(x), theirs(x))


def test_repr_names_what_torch_does_not_have():
    layer = nn.Conv2d(1, 2, 3, padding=((0, 1), (1, 0)), padding_mode="constant", padding_value=2.0)
    assert repr(layer) == (
        "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=((0, 1), (1, 0)), "
        "padding_mode=constant, padding_value=2.0)"
    )
    assert repr(nn.Conv1d(1, 2, 3, padding=[(1, 1)])) == repr(tnn.Conv1d(1, 2, 3, padding=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.Conv2d(3, 4, 3, groups=2),
            (
                "Expected in_channels divisible by groups; received in_channels=3, groups=2. "
                "For 3 channels groups can be 1, 3."
            ),
        ),
        (
            lambda: nn.Conv2d(3, 4, 3, padding="Same"),
            (
                "Expected padding to be a number, pairs, or one of valid, same, same_lower, causal; "
                "received padding='Same'. Words are lower case."
            ),
        ),
        (
            lambda: nn.Conv1d(1, 1, 3, padding_mode="mirror"),
            (
                "Expected padding_mode to be one of zeros, reflect, replicate, circular, constant; "
                "received padding_mode='mirror'. Pick one."
            ),
        ),
        (
            lambda: nn.Conv1d(1, 1, 3, padding_value=1.0),
            (
                "Expected padding_value only with padding_mode='constant'; received padding_value=1.0 with "
                "padding_mode='zeros'. Set padding_mode='constant', or leave padding_value at 0."
            ),
        ),
        (
            lambda: nn.Conv3d(1, 1, (3, 3)),
            (
                "Expected kernel_size to have 3 entries, one per spatial axis; received kernel_size=(3, 3) with 2. "
                "Give one per axis, or one number for all of them."
            ),
        ),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, stride=2, output_padding=2),
            (
                "Expected output_padding below 2 on axis 0, the larger of stride and dilation; "
                "received output_padding=2. "
                "A larger one would add outputs that no input reaches."
            ),
        ),
        (
            lambda: nn.DepthwiseConv1d(2, 3, multiplier=0),
            "Expected multiplier to be a positive integer; received multiplier=0. Use 1 for one filter per channel.",
        ),
        (
            lambda: nn.conv_class(4),
            (
                "Expected spatial_dims of 1, 2 or 3; received spatial_dims=4. "
                "Use 1 for signals, 2 for images, 3 for volumes and video."
            ),
        ),
    ],
)
def test_wrong_arguments_are_named_at_construction(make, message):
    with pytest.raises(GeometryError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("rank", RANKS)
def test_depthwise_grouped_and_pointwise_are_torchs_with_arguments_fixed(rank):
    x = torch.randn(2, 4, *(6,) * rank)
    for ours, theirs in (
        (
            nn.depthwise_conv_class(rank)(4, 3, 2, stride=2, padding=1),
            TORCH_CONV[rank](4, 8, 3, stride=2, padding=1, groups=4),
        ),
        (nn.grouped_conv_class(rank)(4, 6, 3, 2), TORCH_CONV[rank](4, 6, 3, groups=2)),
        (nn.pointwise_conv_class(rank)(4, 5), TORCH_CONV[rank](4, 5, 1)),
    ):
        assert isinstance(ours, TORCH_CONV[rank])
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(x), theirs(x))
    assert nn.depthwise_conv_class(rank)(4, 3, 2).multiplier == 2
