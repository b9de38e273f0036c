"""EfficientNet: compound scaling, the blocks' arithmetic, stochastic depth, initialisation."""

import math

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from striate.insight import summary
from striate.models import create_model, model_entry
from striate.models.efficientnet import EfficientNet, InvertedBottleneck

# Millions of parameters and billions of multiply-adds of the paper's table 2, and parameters of torchvision's weights.
PUBLISHED = [
    (5.3, 0.39, 5_288_548),
    (7.8, 0.70, 7_794_184),
    (9.2, 1.0, 9_109_994),
    (12, 1.8, 12_233_232),
    (19, 4.2, 19_341_616),
    (30, 9.9, 30_389_784),
    (43, 19, 43_040_704),
    (66, 37, 66_347_960),
]
# Section 3.3 of the paper and the authors' table: width, depth, dropout.
SCALES = [
    (1.0, 1.0, 0.2), (1.0, 1.1, 0.2), (1.1, 1.2, 0.3), (1.2, 1.4, 0.3),
    (1.4, 1.8, 0.4), (1.6, 2.2, 0.4), (1.8, 2.6, 0.5), (2.0, 3.1, 0.5),
]  # fmt: skip


def on_meta(index, **options):
    with torch.device("meta"):
        return create_model(f"efficientnet_b{index}", in_channels=3, num_classes=1000, **options)


@pytest.mark.parametrize("index", range(8))
def test_sizes_are_those_published(index):
    millions, billions, exact = PUBLISHED[index]
    network, entry = on_meta(index), model_entry(f"efficientnet_b{index}")
    count = sum(each.numel() for each in network.parameters())
    assert count == exact
    assert count / 1e6 == pytest.approx(millions, rel=0.02)
    # The paper's B2 has inputs of 260, those of torchvision's weights 288.
    size = 260 if index == 2 else entry.input_size
    assert summary(network.eval(), (1, 3, size, size)).macs / 1e9 == pytest.approx(billions, rel=0.1)


@pytest.mark.parametrize("index", range(8))
def test_scaling_rounds_channels_to_eights_and_blocks_up(index):
    width, depth, dropout = SCALES[index]
    network = on_meta(index)
    stages = [network.features[place] for place in range(1, 8)]
    assert [len(stage) for stage in stages] == [math.ceil(depth * count) for count in (1, 2, 2, 3, 3, 4, 1)]
    for stage, base in zip(stages, (16, 24, 40, 80, 112, 192, 320), strict=True):
        out = stage[-1].block[-1][0].out_channels
        assert out % 8 == 0
        assert 0.9 * base * width <= out < base * width + 8
    assert network.classifier[0].p == dropout
    norms = {(norm.eps, norm.momentum) for norm in network.modules() if isinstance(norm, _BatchNorm)}
    assert norms == {(0.001, 0.01) if index >= 5 else (1e-5, 0.1)}


def test_blocks_are_skipped_more_often_the_deeper_they_are():
    network = on_meta(0)
    blocks = [each for each in network.modules() if isinstance(each, InvertedBottleneck)]
    assert len(blocks) == 16
    assert [block.stochastic_depth.probability for block in blocks] == pytest.approx([0.2 * i / 16 for i in range(16)])


def test_a_skipped_block_is_the_identity():
    block = InvertedBottleneck(2, 8, 8, 3, 1, expansion=6, drop=0.99).train()
    x = torch.randn(4, 8, 5, 5)
    assert torch.equal(block(x), x)
    assert not InvertedBottleneck(2, 8, 8, 3, 2, expansion=6, drop=0.0).keeps_shape


def test_a_block_is_its_formula():
    block = InvertedBottleneck(2, 8, 8, 5, 1, expansion=6, drop=0.0).eval()
    (expand, depthwise, gate, project), x = block.block, torch.randn(2, 8, 6, 6)
    wide = nn.functional.silu(expand[1](expand[0](x)))
    wide = nn.functional.silu(depthwise[1](depthwise[0](wide)))
    gates = torch.sigmoid(gate.fc2(nn.functional.silu(gate.fc1(wide.mean((2, 3), keepdim=True)))))
    assert gate.fc1.out_channels == 2  # a quarter of what comes in, not of the 48
    torch.testing.assert_close(block(x), project[1](project[0](gates * wide)) + x)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_stage_shrinks_as_table_1_says(rank):
    network = EfficientNet(rank, 2, 3, width=0.25).eval()
    x, sizes = torch.randn(1, 2, *(64,) * rank), []
    for stage in network.features:
        x = stage(x)
        sizes.append(x.shape[-1])
    assert sizes == [32, 32, 16, 8, 4, 4, 2, 2, 2]


def test_initial_weights_keep_the_size_of_signals():
    network = EfficientNet(2, 3, 1000)
    depthwise = network.features[6][1].block[1][0]
    assert depthwise.weight.std().item() == pytest.approx((2 / 25) ** 0.5, rel=0.02)
    dense = network.classifier[1]
    assert dense.weight.abs().max().item() <= 1000**-0.5
    assert not dense.bias.any()
    # In training, before any step, no stage lets signals die out or blow up.
    x = torch.randn(8, 3, 32, 32)
    for stage in network.features:
        x = stage(x)
        assert 0.1 < x.std().item() < 10
