"""ConvNeXt: sizes, the block's arithmetic, layer scale, stochastic depth, initialisation."""

import pytest
import torch
from torch.nn import functional as F

from striate.errors import ModelError
from striate.models import ConvNeXt, create_model
from striate.models.convnext import ConvNeXtBlock

SMALL = {"widths": (8, 16, 24, 32), "depths": (1, 1, 2, 1)}


@pytest.mark.parametrize(
    ("name", "count", "blocks", "drop"),
    [
        ("tiny", 28_589_128, 18, 0.1),
        ("small", 50_223_688, 36, 0.4),
        ("base", 88_591_464, 36, 0.5),
        ("large", 197_767_336, 36, 0.5),
    ],
)
def test_sizes_are_those_published(name, count, blocks, drop):
    with torch.device("meta"):
        network = create_model(f"convnext_{name}", in_channels=3, num_classes=1000)
    assert sum(each.numel() for each in network.parameters()) == count
    found = [each for each in network.modules() if isinstance(each, ConvNeXtBlock)]
    probabilities = [block.stochastic_depth.probability for block in found]
    assert probabilities == pytest.approx([drop * index / (blocks - 1) for index in range(blocks)])


def test_a_block_is_its_formula():
    block = ConvNeXtBlock(2, 8, layer_scale=0.5)
    conv, _, norm, wide, _, narrow, _ = block.block
    x = torch.randn(2, 8, 9, 9)
    y = F.conv2d(x, conv.weight, conv.bias, padding=3, groups=8)
    mean = y.mean(1, keepdim=True)
    y = (y - mean) / ((y - mean).square().mean(1, keepdim=True) + 1e-6).sqrt()
    y = y * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    y = F.gelu(F.conv2d(y, wide.weight[..., None, None], wide.bias))
    y = F.conv2d(y, narrow.weight[..., None, None], narrow.bias)
    torch.testing.assert_close(block(x), x + 0.5 * y)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_ranks_share_the_plan(rank):
    network = ConvNeXt(rank, 2, 3, **SMALL).eval()
    x, shapes = torch.randn(1, 2, *(40,) * rank), []
    for layer in network.features:
        x = layer(x)
        shapes.append((x.shape[1], x.shape[-1]))
    assert shapes == [(8, 10), (8, 10), (16, 5), (16, 5), (24, 2), (24, 2), (32, 1), (32, 1)]
    assert network.features[1][0].layer_scale.shape == (8,) + (1,) * rank


def test_initial_blocks_are_nearly_the_identity():
    network = ConvNeXt(2, 3, 10, **SMALL)
    x = torch.randn(1, 8, 8, 8)
    assert (network.features[1](x) - x).abs().max() < 1e-4
    weights = torch.cat([network.features[5][i].block[3].weight.flatten() for i in range(2)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)
    assert not network.features[5][0].block[3].bias.any()


def test_small_inputs_are_refused():
    with pytest.raises(ModelError, match="at least 32 per axis"):
        ConvNeXt(1, 2, 3, **SMALL)(torch.zeros(1, 2, 31))


def test_smaller_networks_for_smaller_images():
    network = create_model("convnext_tiny", in_channels=1, width=8, depths=(1, 1, 2, 1), patch=2)
    assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 10)
    assert sum(isinstance(each, ConvNeXtBlock) for each in network.modules()) == 5
    with pytest.raises(ModelError, match="16"):
        network(torch.zeros(2, 1, 15, 15))


@pytest.mark.parametrize("options", [{"depths": (1, 1, 1)}, {"depths": (1, 0, 1, 1)}, {"width": 0}, {"patch": -1}])
def test_sizes_that_are_none(options):
    with pytest.raises(ModelError, match=r"Expected a positive width and patch, and four positive depths; received"):
        create_model("convnext_tiny", **options)
