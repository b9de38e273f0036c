"""AlexNet, ZFNet, VGG and C3D: convolutions in a row, then dense layers."""

import pytest
import torch

from striate.errors import GeometryError, ModelError
from striate.insight import summary
from striate.models import create_model, model_entry
from striate.models.alexnet import AlexNet, AlexNet2012, response_norm
from striate.models.c3d import C3D
from striate.models.vgg import VGG
from striate.models.zfnet import ZFNet


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(name, **options):
    entry = model_entry(name)
    with torch.device("meta"):
        return create_model(
            name,
            **{
                "spatial_dims": entry.usual_rank,
                "in_channels": entry.in_channels,
                "num_classes": entry.num_classes,
                **options,
            },
        ).eval()


def sizes(model, x, names):
    """The extent of the last axis after each of these layers."""
    found = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _layer, _inputs, output, name=name: found.__setitem__(name, output.shape[-1])
        )
        for name in names
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return [found[name] for name in names]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("alexnet", 61_100_840),
        ("alexnet_2012", 60_965_224),
        ("zfnet", 62_357_608),
        ("vgg11", 132_863_336),
        ("vgg13", 133_047_848),
        ("vgg16", 138_357_544),
        ("vgg19", 143_667_240),
        ("vgg11_bn", 132_868_840),
        ("vgg13_bn", 133_053_736),
        ("vgg16_bn", 138_365_992),
        ("vgg19_bn", 143_678_248),
        ("c3d", 79_991_015),
    ],
)
def test_parameters_are_the_published(name, parameters):
    assert count(on_meta(name)) == parameters


def test_c3d_for_ucf101():
    assert count(on_meta("c3d", num_classes=101)) == 78_409_573


def test_alexnet_without_groups():
    # The count of the ungrouped network that textbooks give.
    assert count(on_meta("alexnet_2012", groups=1)) == 62_378_344


def test_macs_of_a_clip_are_those_stated():
    assert summary(on_meta("c3d"), (1, 3, 16, 112, 112)).macs == model_entry("c3d").macs


@pytest.mark.parametrize("size", [224, 227])
def test_alexnet_2012_has_the_sizes_of_the_paper(size):
    names = ["pool1", "pool2", "conv5", "pool5", "avgpool"]
    with torch.device("meta"):
        assert sizes(on_meta("alexnet_2012"), torch.zeros(1, 3, size, size), names) == [27, 13, 13, 6, 6]


def test_zfnet_has_the_sizes_of_figure_3():
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "avgpool"]
    with torch.device("meta"):
        assert sizes(on_meta("zfnet"), torch.zeros(1, 3, 224, 224), names) == [110, 55, 26, 13, 13, 13, 13, 6, 6]


def test_c3d_has_the_sizes_of_the_paper():
    model = on_meta("c3d")
    with torch.device("meta"):
        clip = torch.zeros(1, 3, 16, 112, 112)
        assert model[: list(dict(model.named_children())).index("pool1") + 1](clip).shape == (1, 64, 16, 56, 56)
        assert sizes(model, clip, ["pool2", "pool3", "pool4", "pool5", "avgpool"]) == [28, 14, 7, 4, 4]


def test_response_norm_is_the_formula_of_the_paper():
    x = 30 * torch.randn(2, 7, 3, 3, dtype=torch.float64)
    expected = torch.empty_like(x)
    for channel in range(7):
        near = x[:, max(0, channel - 2) : channel + 3]
        expected[:, channel] = x[:, channel] / (2 + 1e-4 * near.square().sum(1)) ** 0.75
    torch.testing.assert_close(response_norm()(x), expected)


def test_groups_meet_only_in_the_third_convolution():
    model = AlexNet2012(1, 1, 2, hidden=4).eval()
    names = list(dict(model.named_children()))
    x = torch.randn(1, 96, 15, requires_grad=True)
    model[names.index("pool1") : names.index("relu2")](x)[:, :128].sum().backward()
    assert x.grad[:, :48].any()
    assert not x.grad[:, 48:].any()


def test_alexnet_2012_starts_as_the_paper_says():
    model = AlexNet2012(2, 3, 10, hidden=256)
    for name in ("conv2", "conv4", "conv5", "fc6", "fc7"):
        assert (model.get_submodule(name).bias == 1).all()
    for name in ("conv1", "conv3", "fc8"):
        assert not model.get_submodule(name).bias.any()
    assert model.conv3.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert ZFNet(1, 3, 10, hidden=8).conv3.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_vgg_starts_from_the_rule_of_he_by_the_outputs():
    model = VGG(2, 3, 10, (1, 1, 1, 1, 1), norm="batch", hidden=8, pooled=1)
    for layer in model.features:
        if isinstance(layer, torch.nn.Conv2d):
            assert layer.weight.var().item() == pytest.approx(2 / (9 * layer.out_channels), rel=0.1)
            assert not layer.bias.any()
    assert model.classifier[0].weight.std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vgg_has_as_many_layers_as_its_name_says(depth):
    model = on_meta(f"vgg{depth}_bn")
    assert sum(name.endswith("weight") and tensor.ndim > 1 for name, tensor in model.state_dict().items()) == depth
    with torch.device("meta"):
        assert sizes(model, torch.zeros(1, 3, 224, 224), model.stages) == [112, 56, 28, 14, 7]


@pytest.mark.parametrize(
    "make", [AlexNet, AlexNet2012, ZFNet, lambda *args, **options: VGG(*args, (1,) * 5, **options)]
)
def test_every_rank_and_size_fits_the_dense_layers(make):
    for rank, pooled in ((1, None), (2, 2), (3, None)):
        with torch.device("meta"):
            model = make(rank, 2, 3, hidden=4, pooled=pooled)
            assert model(torch.zeros(2, 2, 70, *(64,) * (rank - 1))).shape == (2, 3)
    with pytest.raises(GeometryError):
        make(4, 2, 3)
    with pytest.raises(GeometryError):
        make(2, 2, 3, pooled=-1)


def test_c3d_refuses_what_is_no_clip():
    with torch.device("meta"):
        model = C3D(3, 5, width=0.125, hidden=8)
        assert model(torch.zeros(1, 3, 1, 1, 1)).shape == (1, 5)
        with pytest.raises(ModelError, match="a batch of shape"):
            model(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ModelError, match="c3d in 3-D"):
        create_model("c3d", spatial_dims=2)
