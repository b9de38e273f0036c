"""The baselines for time series: their counts by layer, and the length that they keep."""

import pytest
import torch
from torch import nn

from striate.models import FCNTimeSeries, ResNetTimeSeries, create_model
from striate.models.time_series import TimeSeriesBlock


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_of_the_fully_convolutional_network():
    model = create_model("fcn_ts", spatial_dims=1, num_classes=2)
    # Convolutions with biases, and two numbers a channel for batch norm.
    by_layer = [8 * 128 + 3 * 128, 128 * 5 * 256 + 3 * 256, 256 * 3 * 128 + 3 * 128, 128 * 2 + 2]
    assert [total(layer) for layer in (model.block1, model.block2, model.block3, model.fc)] == by_layer
    assert total(model) == 264_962


def test_parameters_of_the_residual_network():
    model = create_model("resnet_ts", spatial_dims=1, num_classes=2)

    def block(before, after, shortcut):
        return (8 * before + 5 * after + 3 * after) * after + 3 * 3 * after + shortcut

    expected = [
        block(1, 64, 64 + 3 * 64),
        block(64, 128, 64 * 128 + 3 * 128),
        block(128, 128, 2 * 128),
        128 * 2 + 2,
    ]
    assert [total(layer) for layer in (model.block1, model.block2, model.block3, model.fc)] == expected


def test_shortcut_is_batch_norm_alone_where_the_channels_stay():
    assert isinstance(TimeSeriesBlock(1, 4, 4).shortcut, nn.BatchNorm1d)
    block = TimeSeriesBlock(1, 4, 4).eval()
    for layer in (block.conv1, block.conv2, block.conv3):
        nn.init.zeros_(layer.conv.weight)
        nn.init.zeros_(layer.conv.bias)
    x = torch.randn(2, 4, 9)
    torch.testing.assert_close(block(x), (x / (1 + 1e-5) ** 0.5).relu())


@pytest.mark.parametrize("family", [FCNTimeSeries, ResNetTimeSeries])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_class_exists_in_every_rank_and_keeps_the_size(family, rank):
    small = {"channels": (4, 6, 4)} if family is FCNTimeSeries else {"width": 4}
    model = family(rank, 2, 3, **small)
    size = (9, 7, 5)[:rank]
    output = torch.randn(2, 2, *size)
    for name in model.stages:
        output = model.get_submodule(name)(output)
        assert output.shape[2:] == size
    assert model(torch.randn(2, 2, *size)).shape == (2, 3)
    assert isinstance(model.get_submodule(model.head), nn.Linear)


@pytest.mark.parametrize("name", ["fcn_ts", "resnet_ts", "inception_time"])
def test_any_length_will_do_and_biases_start_at_zero(name):
    model = create_model(name, spatial_dims=1, in_channels=6, num_classes=5).eval()
    for length in (1, 7, 50):
        assert model(torch.randn(1, 6, length)).shape == (1, 5)
    assert not any(value.any() for key, value in model.named_parameters() if key.endswith("bias"))


@pytest.mark.parametrize("name", ["fcn_ts", "resnet_ts", "inception_time", "m11"])
def test_activations_neither_vanish_nor_explode_at_the_start(name):
    torch.manual_seed(0)
    model = create_model(name, spatial_dims=1)
    deviation = model(torch.randn(4, 1, 600)).std()
    assert 0.01 < deviation < 10
