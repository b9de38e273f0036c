import pytest
import torch

from striate.errors import GeometryError
from striate.nn import ChannelNorm, SqueezeExcitation, StochasticDepth


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_squeeze_excitation_scales_channels_by_a_gate_of_their_means(rank):
    layer = SqueezeExcitation(rank, 6, 2)
    x = torch.randn(2, 6, *(4,) * rank)
    means = x.flatten(2).mean(2)
    hidden = torch.relu(means @ layer.fc1.weight.flatten(1).T + layer.fc1.bias)
    gates = torch.sigmoid(hidden @ layer.fc2.weight.flatten(1).T + layer.fc2.bias)
    torch.testing.assert_close(layer(x), x * gates.reshape(2, 6, *[1] * rank))


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = StochasticDepth(0.25)
    output = layer(torch.ones(4000, 3, 2))
    assert {round(value, 4) for value in output.unique().tolist()} == {0.0, round(1 / 0.75, 4)}
    assert (output == output[:, :1, :1]).all()
    assert abs(output.mean() - 1) < 0.03
    assert torch.equal(layer.eval()(torch.ones(2, 3)), torch.ones(2, 3))


@pytest.mark.parametrize("probability", [-0.1, 1, 2])
def test_a_probability_outside_its_range_is_refused(probability):
    with pytest.raises(GeometryError, match="at least 0 and below 1"):
        StochasticDepth(probability)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_channel_norm_is_layer_norm_of_each_position(rank):
    layer = ChannelNorm(5)
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(2, 5, *(3,) * rank)
    mean, deviation = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    wanted = (x - mean) / (deviation + layer.eps).sqrt() * layer.weight.reshape(-1, *[1] * rank)
    torch.testing.assert_close(layer(x), wanted)
