"""Separable convolutions and blocks: the right parts, in the right order, of the right width."""

import pytest
import torch
from torch import nn as tnn

from striate import nn
from striate.errors import GeometryError
from striate.geometry import conv_parameters
from striate.nn.blocks import ACTIVATIONS

RANKS = (1, 2, 3)


def parts(block):
    return [name for name, _ in block.named_children()]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("multiplier", [1, 2])
def test_separable_is_depthwise_then_pointwise(rank, multiplier):
    layer = nn.separable_conv_class(rank)(3, 5, 3, stride=2, padding="same", multiplier=multiplier)
    assert parts(layer) == ["depthwise", "pointwise"]
    expected = conv_parameters(3, 3 * multiplier, (3,) * rank, groups=3) + conv_parameters(
        3 * multiplier, 5, (1,) * rank
    )
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected
    # One dense kernel does the same: the outer product of both steps.
    depthwise = layer.depthwise.weight.detach().double().unflatten(0, (3, multiplier)).squeeze(2)
    mixing = layer.pointwise.weight.detach().double().flatten(1).unflatten(1, (3, multiplier))
    dense = torch.einsum("ocm,cm...->oc...", mixing, depthwise)
    bias = layer.pointwise.bias + layer.pointwise.weight.flatten(1) @ layer.depthwise.bias
    whole = nn.conv_class(rank)(3, 5, 3, stride=2, padding="same")
    whole.load_state_dict({"weight": dense, "bias": bias.detach()})
    x = torch.randn(2, 3, *(7,) * rank)
    torch.testing.assert_close(layer(x), whole(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rank", RANKS)
def test_separable_with_norm_and_activation_between(rank):
    layer = nn.separable_conv_class(rank)(3, 5, 3, multiplier=2, norm="batch", activation="relu")
    assert parts(layer) == ["depthwise", "norm", "activation", "pointwise"]
    assert layer.norm.num_features == 6
    assert layer.depthwise.bias is None
    assert layer.pointwise.bias is not None


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(
    ("order", "width", "has_bias"),
    [
        ("conv norm activation dropout", 5, False),
        ("conv activation norm dropout", 5, True),
        ("norm activation conv dropout", 3, True),
        ("activation norm dropout conv", 3, True),
    ],
)
def test_block_follows_its_order(rank, order, width, has_bias):
    block = nn.ConvBlock(rank, 3, 5, 3, stride=2, dropout=0.1, order=order)
    assert parts(block) == order.split()
    assert block.norm.num_features == width
    assert (block.conv.bias is not None) == has_bias
    assert block(torch.randn(2, 3, *(7,) * rank)).shape == (2, 5, *(4,) * rank)


def test_block_leaves_out_what_is_not_wanted():
    assert parts(nn.ConvBlock(2, 3, 5, 3)) == ["conv", "norm", "activation"]
    bare = nn.ConvBlock(2, 3, 5, 3, norm=None, activation=None)
    assert parts(bare) == ["conv"]
    assert bare.conv.bias is not None
    assert nn.ConvBlock(2, 3, 5, 3, bias=True).conv.bias is not None
    assert parts(nn.ConvBlock(2, 3, 5, 3, order="conv activation")) == ["conv", "activation"]


def test_block_takes_another_convolution_and_functions():
    block = nn.ConvBlock(
        2, 4, 6, 3, groups=2, conv=nn.Conv2d, norm=lambda channels: tnn.GroupNorm(3, channels), activation=tnn.PReLU
    )
    assert block.conv.groups == 2
    assert block.norm.num_groups == 3
    assert isinstance(block.activation, tnn.PReLU)


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "layer", None])
@pytest.mark.parametrize("rank", RANKS)
def test_norms_keep_the_shape(norm, rank):
    x = torch.randn(2, 12, *(4,) * rank)
    layer = nn.norm_layer(norm, rank, 12)
    output = layer(x)
    assert output.shape == x.shape
    if norm == "layer":
        torch.testing.assert_close(output.mean((1, *range(2, 2 + rank))), torch.zeros(2), atol=1e-6, rtol=0)
    if norm == "group":
        assert layer.num_groups == 2


@pytest.mark.parametrize("word", ACTIVATIONS)
def test_activations_are_torchs(word):
    layer = nn.activation_layer(word)
    assert type(layer).__module__.startswith("torch.nn")
    assert layer(torch.randn(3)).shape == (3,)


@pytest.mark.parametrize("make", [lambda: nn.ConvBlock(2, 1, 4, 3), lambda: nn.SeparableConv2d(1, 4, 3)])
def test_slices_are_the_same_layers_in_a_plain_sequential(make):
    block = make()
    part = block[1:]
    assert type(part) is torch.nn.Sequential
    assert dict(part.named_children()) == dict(list(block.named_children())[1:])
    assert block[-1] is part[-1]


def test_dropout_is_of_whole_channels():
    dropped = nn.dropout_layer(0.5, 2)(torch.ones(1, 64, 3, 3))
    assert torch.equal(dropped.amax((2, 3)), dropped.amin((2, 3)))
    assert 0 < (dropped == 0).float().mean() < 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.norm_layer("bach", 2, 4),
            "Expected norm to be one of batch, instance, group, layer; received norm='bach'. Did you mean 'batch'?",
        ),
        (
            lambda: nn.activation_layer("rely"),
            (
                "Expected activation to be one of relu, relu6, leaky_relu, elu, selu, gelu, silu, mish, hardswish, "
                "softplus, sigmoid, tanh; received activation='rely'. Did you mean 'relu' or 'relu6'?"
            ),
        ),
        (
            lambda: nn.dropout_layer(1.0, 2),
            "Expected a dropout probability of at least 0 and below 1; received dropout=1.0. Use 0 for no dropout.",
        ),
        (
            lambda: nn.dropout_layer("0.5"),
            "Expected a dropout probability of at least 0 and below 1; received dropout='0.5'. Use 0 for no dropout.",
        ),
        (
            lambda: nn.ConvBlock(2, 1, 1, 3, order="norm activation"),
            (
                "Expected order to hold conv once, and any of norm, activation, dropout at most once; received "
                "order='norm activation'. Separate the words by spaces, as in \"conv norm activation\"."
            ),
        ),
        (
            lambda: nn.ConvBlock(2, 1, 1, 3, dropout=0.5, order="conv activation"),
            (
                "Expected order to say where dropout goes; received dropout=0.5 with order='conv activation'. "
                "Add dropout to order."
            ),
        ),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(GeometryError) as error:
        make()
    assert str(error.value) == message
