"""InceptionTime: its counts, branches and shortcuts."""

import pytest
import torch
from torch import nn

from striate.errors import ModelError
from striate.models import InceptionTime, create_model
from striate.models.inception_time import InceptionModule


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("kernel_sizes", "count"), [((40, 20, 10), 420_450), ((39, 19, 9), 404_994)])
def test_parameters(kernel_sizes, count):
    model = create_model("inception_time", spatial_dims=1, num_classes=2, kernel_sizes=kernel_sizes)
    assert total(model) == count


def test_a_module_is_its_branches_side_by_side():
    module = InceptionModule(1, 6, 3, (9, 4), 2).eval()
    x = torch.randn(2, 6, 20)
    squeezed = module.bottleneck(x)
    expected = [module.convs[0](squeezed), module.convs[1](squeezed), module.conv_pool(module.pool(x))]
    torch.testing.assert_close(module(x), module.norm(torch.cat(expected, 1)).relu())
    assert module(x).shape == (2, 9, 20)
    assert squeezed.shape == (2, 2, 20)
    assert isinstance(InceptionModule(1, 1, 3, (9, 4), 2).bottleneck, nn.Identity)


def test_even_kernels_have_the_odd_step_after_as_keras_has():
    conv = InceptionModule(1, 1, 1, (4,), 2).convs[0]
    assert conv.pads((20,)) == ((1, 2),)


@pytest.mark.parametrize(("depth", "shortcuts"), [(1, 0), (3, 1), (5, 1), (6, 2)])
def test_a_shortcut_goes_around_every_third_module(depth, shortcuts):
    model = InceptionTime(1, 2, 3, depth=depth, filters=2, kernel_sizes=(5, 3)).eval()
    assert len(model.shortcuts) == shortcuts
    assert model.stages == tuple(f"blocks.{number}" for number in range(depth))
    x = torch.randn(2, 2, 12)
    before = output = x
    for number in range(depth):
        output = model.blocks[number](output)
        if number in (2, 5):
            output = before = (output + model.shortcuts[number // 3](before)).relu()
    torch.testing.assert_close(model(x), model.fc(output.mean(2)))


def test_depth_is_checked():
    with pytest.raises(ModelError, match="a depth of at least 1; received depth=0"):
        create_model("inception_time", spatial_dims=1, depth=0)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_class_exists_in_other_ranks(rank):
    model = InceptionTime(rank, 2, 3, filters=2, kernel_sizes=(3, 2))
    assert model(torch.randn(2, 2, *(6, 5, 4)[:rank])).shape == (2, 3)
