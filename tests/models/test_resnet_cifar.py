"""The residual networks of the CIFAR-10 study: their counts, and a shortcut that has no parameters."""

import pytest
import torch
from torch import nn

from striate.models import create_model
from striate.models.resnet_cifar import CifarResNet, PaddedShortcut


@pytest.mark.parametrize(
    ("name", "parameters", "in_the_paper"),
    [
        ("resnet20", 269_722, "0.27M"),
        ("resnet32", 464_154, "0.46M"),
        ("resnet44", 658_586, "0.66M"),
        ("resnet56", 853_018, "0.85M"),
        ("resnet110", 1_727_962, "1.7M"),
    ],
)
def test_layers_and_parameters_are_those_of_the_paper(name, parameters, in_the_paper):
    with torch.device("meta"):
        model = create_model(name, in_channels=3, num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    digits = len(in_the_paper.split(".")[1]) - 1
    assert f"{parameters / 1e6:.{digits}f}M" == in_the_paper
    weighted = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(weighted) == int(name.removeprefix("resnet"))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_stages_halve_the_map_and_double_the_channels(rank):
    model = CifarResNet(rank, 2, 10, blocks=2, width=4)
    output = model.relu(model.bn1(model.conv1(torch.randn(2, 2, *(17,) * rank))))
    shapes = []
    for stage in model.stages:
        output = model.get_submodule(stage)(output)
        shapes.append(tuple(output.shape[1:]))
    assert shapes == [(4, *(17,) * rank), (8, *(9,) * rank), (16, *(5,) * rank)]


@pytest.mark.parametrize("size", [(6,), (5, 6), (3, 4, 7)])
@pytest.mark.parametrize("added", [4, 3])
def test_the_padded_shortcut_keeps_every_other_value_and_adds_zeros(size, added):
    x = torch.randn(2, 4, *size)
    output = PaddedShortcut(added)(x)
    before = added // 2
    assert output.shape == (2, 4 + added, *((length + 1) // 2 for length in size))
    kept = output[:, before : before + 4]
    assert torch.equal(kept, x[(..., *[slice(None, None, 2)] * len(size))])
    assert output.count_nonzero() == kept.count_nonzero()


def test_a_block_that_does_nothing_passes_on_the_padded_shortcut():
    model = CifarResNet(2, 3, 10, blocks=1, width=4, zero_init_residual=True)
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(model.layer1(x), x)
    assert torch.equal(model.layer2(x), PaddedShortcut(4)(x))


def test_stochastic_depth_rises_linearly_over_all_blocks():
    model = create_model("resnet20", stochastic_depth=0.5)
    drops = [block.drop.probability for stage in model.stages for block in model.get_submodule(stage)]
    assert drops == pytest.approx([0.5 * (place + 1) / 9 for place in range(9)])
