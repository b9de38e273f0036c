"""Network in Network, SqueezeNet, DenseNet and VoxNet: much done with few parameters."""

import pytest
import torch

from striate.errors import ModelError
from striate.models import create_model, model_entry
from striate.models.densenet import DenseBlock, DenseNet
from striate.models.nin import NetworkInNetwork
from striate.models.squeezenet import Fire, SqueezeNet
from striate.models.voxnet import VoxNet


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("nin", 966_986),
        ("nin_imagenet", 7_595_176),
        ("squeezenet1_0", 1_248_424),
        ("squeezenet1_1", 1_235_496),
        ("densenet121", 7_978_856),
        ("densenet161", 28_681_000),
        ("densenet169", 14_149_480),
        ("densenet201", 20_013_928),
        ("densenet_bc_100_12", 769_162),
        ("voxnet", 921_736),
    ],
)
def test_parameters_are_the_published(name, parameters):
    entry = model_entry(name)
    with torch.device("meta"):
        model = create_model(
            name, spatial_dims=entry.usual_rank, in_channels=entry.in_channels, num_classes=entry.num_classes
        )
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def stage_shapes(model, x):
    found = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _layer, _inputs, output, name=name: found.__setitem__(name, tuple(output.shape[1:]))
        )
        for name in model.stages
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return [found[name] for name in model.stages]


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("nin", 32, [(96, 16), (192, 8)]),
        ("nin_imagenet", 224, [(96, 27), (256, 13), (384, 6)]),
        ("squeezenet1_0", 224, [(96, 109), (256, 54), (512, 27), (512, 13)]),
        ("squeezenet1_1", 224, [(64, 111), (128, 55), (256, 27), (512, 13)]),
        ("densenet121", 224, [(256, 56), (512, 28), (1024, 14), (1024, 7)]),
        ("densenet161", 224, [(384, 56), (768, 28), (2112, 14), (2208, 7)]),
        ("densenet_bc_100_12", 32, [(216, 32), (300, 16), (342, 8)]),
    ],
)
@pytest.mark.parametrize("rank", [1, 2])
def test_stages_have_the_shapes_of_the_paper(name, size, expected, rank):
    with torch.device("meta"):
        model = create_model(name, spatial_dims=rank, in_channels=3).eval()
        shapes = stage_shapes(model, torch.zeros(1, 3, *(size,) * rank))
    assert shapes == [(channels, *(extent,) * rank) for channels, extent in expected]


def test_fire_joins_narrow_filters_before_wide_ones():
    fire = Fire(2, 6, squeezed=2, expanded=5)
    x = torch.randn(1, 6, 7, 7)
    squeezed = fire.squeeze(x).relu()
    output = fire(x)
    assert torch.equal(output[:, :5], fire.expand1x1(squeezed).relu())
    assert torch.equal(output[:, 5:], fire.expand3x3(squeezed).relu())


def test_scores_are_means_of_rectified_class_maps():
    model = SqueezeNet(2, 3, 4).eval()
    features = torch.randn(2, 512, 5, 5)
    maps = model.classifier[1](features).relu()
    torch.testing.assert_close(model.classifier(features).flatten(1), maps.mean((2, 3)))
    assert model.classifier[1].weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_network_in_network_is_a_perceptron_at_every_position():
    model = NetworkInNetwork(1, 2, 3).eval()
    x = torch.randn(1, 2, 9)
    block = model[:6](x)
    # The block's output at a position is that of the same layers on the five inputs around it alone.
    window = torch.nn.functional.pad(x, (2, 2))[:, :, 3:8]
    torch.testing.assert_close(model[:6](window)[:, :, 2], block[:, :, 3])


def test_a_dense_block_keeps_all_it_was_given_and_adds_growth():
    block = DenseBlock(2, 3, 5, growth=4).eval()
    x = torch.randn(2, 5, 6, 6)
    output = block(x)
    assert output.shape == (2, 17, 6, 6)
    assert torch.equal(output[:, :5], x)
    last = block["denselayer3"]
    torch.testing.assert_close(last([output[:, :5], output[:, 5:13]]), output[:, 13:])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_memory_efficient_training_computes_the_same(rank):
    def train(memory_efficient):
        torch.manual_seed(0)
        model = DenseNet(
            rank, 2, 3, depths=(2, 2), growth=4, stem=6, large=False, memory_efficient=memory_efficient
        ).double()
        x = torch.randn(3, 2, *(6,) * rank, dtype=torch.float64, requires_grad=True)
        output = model(x)
        output.square().sum().backward()
        return output, x.grad, *[parameter.grad for parameter in model.parameters()]

    for plain, efficient in zip(train(False), train(True), strict=True):
        torch.testing.assert_close(efficient, plain)


def test_memory_efficient_training_keeps_less():
    def kept(memory_efficient):
        model = DenseNet(2, 3, 3, depths=(6,), growth=4, stem=8, large=False, memory_efficient=memory_efficient)
        amounts = []

        def note(tensor):
            amounts.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(torch.randn(2, 3, 16, 16))
        return sum(amounts)

    assert kept(True) < 0.7 * kept(False)


def test_densenet_starts_with_steady_activations():
    model = DenseNet(2, 3, 10, depths=(3, 3), growth=12, stem=24, large=False)
    maps = []
    for layer in model.modules():
        if type(layer).__name__ == "DenseLayer":
            layer.register_forward_hook(lambda _layer, _inputs, output: maps.append(output.std().item()))
    model(torch.randn(8, 3, 16, 16))
    # Before every convolution a norm and a rectifier, after which He's rule gives a deviation near 1.
    assert len(maps) == 6
    assert all(0.6 < each < 1.6 for each in maps)


def test_densenet_in_three_dimensions():
    with torch.device("meta"):
        model = create_model("densenet121", spatial_dims=3, in_channels=1)
        assert stage_shapes(model, torch.zeros(2, 1, 32, 64, 64)) == [
            (256, 8, 16, 16),
            (512, 4, 8, 8),
            (1024, 2, 4, 4),
            (1024, 1, 2, 2),
        ]


def test_voxnet_takes_the_grid_it_was_built_for():
    model = VoxNet((16, 12, 11), 2, 3).eval()
    assert model(torch.zeros(1, 2, 16, 12, 11)).shape == (1, 3)
    with pytest.raises(ModelError, match="input_size"):
        model(torch.zeros(1, 2, 16, 16, 16))
    with pytest.raises(ModelError) as error:
        create_model("voxnet", spatial_dims=3, input_size=(32, 32, 10))
    assert str(error.value) == (
        "Expected an input_size of at least 11 per axis, so that the pool leaves something; received 32x32x10. "
        "Enlarge the grid, or pad it."
    )


def test_voxnet_starts_as_the_paper_says():
    model = VoxNet((32, 32, 32), 1, 10)
    assert model.fc1.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert model.conv2.weight.var().item() == pytest.approx(2 / (1.01 * 32 * 27), rel=0.05)


def test_wrong_arguments_say_what_is_right():
    with pytest.raises(ModelError) as error:
        SqueezeNet(2, 3, 10, "2.0")
    assert str(error.value).startswith("Expected version to be 1.0 or 1.1; received version='2.0'.")
    with pytest.raises(ModelError) as error:
        NetworkInNetwork(2, 3, 10, "mnist")
    assert str(error.value) == (
        "Expected form to be cifar or imagenet; received form='mnist'. Choose one of: cifar, imagenet."
    )
    for wrong in ({"depths": ()}, {"depths": (2, 0)}, {"depths": (2,), "growth": 0}, {"depths": (2,), "stem": 0}):
        with pytest.raises(ModelError, match="at least one block"):
            DenseNet(2, 3, 10, **wrong)
