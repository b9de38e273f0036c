"""Feature maps against a plain forward pass, in layers and in functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import ModelError
from striate.insight import feature_maps, filters
from striate.models import create_model


def rank(spatial_dims: int) -> nn.Sequential:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[spatial_dims - 1]
    pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[spatial_dims - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[spatial_dims - 1]
    return nn.Sequential(conv(2, 3, 3), norm(3), nn.ReLU(inplace=True), pool(2), conv(3, 4, 2)).eval()


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_layers_in_every_rank(spatial_dims):
    net = rank(spatial_dims)
    nn.init.normal_(net[1].bias)
    x = torch.randn(2, 2, *[10] * spatial_dims)
    stages = feature_maps(net, x)
    assert list(stages) == ["0", "4"]
    first = stages["0"]
    assert list(first.steps) == ["convolution", "activation", "pooling"]
    torch.testing.assert_close(first.convolution, net[0](x))
    torch.testing.assert_close(first.activation, net[2](net[1](net[0](x))))
    torch.testing.assert_close(first.pooling, net[:4](x))
    assert list(stages["4"].steps) == ["convolution"]
    assert stages["4"].activation is None
    assert stages["4"].pooling is None
    torch.testing.assert_close(stages["4"].convolution, net(x))
    assert feature_maps(net, x[0])["0"].convolution.shape[0] == 1


def test_an_in_place_non_linearity_does_not_reach_the_convolutions_maps():
    net, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True)), torch.randn(1, 1, 9, 9)
    stage = feature_maps(net, x)["0"]
    torch.testing.assert_close(stage.convolution, net[0](x))
    assert stage.convolution.min() < 0
    torch.testing.assert_close(stage.activation, net(x))


class Functions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.weight = nn.Conv1d(1, 4, 5), nn.Parameter(torch.randn(6, 4, 3))
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = 1.7159 * torch.tanh(self.conv(x) * 2 / 3)
        x = F.conv1d(F.avg_pool1d(x, 2), self.weight)
        x = F.max_pool1d(x * torch.sigmoid(x), 2)
        return F.relu(self.head(x.mean(2)))


def test_functions_scaled_and_composed_non_linearities():
    net, x = Functions(), torch.randn(1, 1, 32)
    stages = feature_maps(net, x)
    assert {name: list(stage.steps) for name, stage in stages.items()} == {
        "conv": ["convolution", "activation", "pooling"],
        "conv1d": ["convolution", "activation", "pooling"],
    }
    activated = 1.7159 * torch.tanh(net.conv(x) * 2 / 3)
    torch.testing.assert_close(stages["conv"].activation, activated)
    torch.testing.assert_close(stages["conv"].pooling, F.avg_pool1d(activated, 2))
    second = F.conv1d(F.avg_pool1d(activated, 2), net.weight)
    torch.testing.assert_close(stages["conv1d"].activation, F.silu(second))
    torch.testing.assert_close(stages["conv1d"].pooling, F.max_pool1d(F.silu(second), 2))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main, self.short = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.main(F.relu(self.main(x))) + self.short(x))


def test_a_sum_belongs_to_both_sides_and_repeated_calls_are_numbered():
    net, x = Residual(), torch.randn(1, 2, 6, 6)
    stages = feature_maps(net, x)
    assert list(stages) == ["main", "main [2]", "short"]
    for name in ("main [2]", "short"):
        torch.testing.assert_close(stages[name].activation, net(x))
    torch.testing.assert_close(stages["main"].activation, F.relu(net.main(x)))


def test_stages_can_be_chosen():
    net, x = rank(2), torch.randn(1, 2, 10, 10)
    assert list(feature_maps(net, x, ["4"])) == ["4"]
    with pytest.raises(ModelError) as caught:
        feature_maps(net, x, ["0", "conv4"])
    assert str(caught.value) == (
        "Expected stages to be convolutions of the model; received 'conv4'. Choose one of: 0, 4."
    )
    with pytest.raises(ModelError) as caught:
        feature_maps(nn.Flatten(), x, ["0"])
    assert str(caught.value) == (
        "Expected stages to be convolutions of the model; received '0'. This model computes no convolution."
    )
    with pytest.raises(ModelError) as caught:
        feature_maps(net, (1, 2, 10, 10))  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Expected an input tensor (N, C, *spatial); received (1, 2, 10, 10). Give an example to compute maps from."
    )


def test_partial_connections_are_convolutions_too():
    net, x = create_model("lenet5"), torch.randn(1, 1, 32, 32)
    found = filters(net)
    assert {name: tuple(weight.shape) for name, weight in found.items()} == {
        "c1": (6, 1, 5, 5),
        "c3": (16, 6, 5, 5),
        "c5": (120, 16, 5, 5),
    }
    assert torch.equal(found["c3"], net.get_submodule("c3").dense_weight())
    assert not found["c3"].requires_grad
    stages = feature_maps(net, x)
    assert list(stages) == list(found)
    torch.testing.assert_close(stages["c3"].convolution, net[:5](x))


def test_filters_are_copies_of_all_convolution_weights():
    net = nn.ModuleDict({"a": nn.Conv1d(2, 4, 3), "b": nn.ConvTranspose3d(2, 6, 2, groups=2), "c": nn.Linear(2, 2)})
    found = filters(net)
    assert {name: tuple(weight.shape) for name, weight in found.items()} == {"a": (4, 2, 3), "b": (2, 3, 2, 2, 2)}
    found["a"].zero_()
    assert net["a"].weight.abs().sum() > 0
    assert not found["a"].requires_grad
