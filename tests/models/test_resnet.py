"""Residual networks against their papers: sizes, what a shortcut does, and what each member changes in the branch."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import ModelError
from striate.models import ResNet, ResNetBackbone, create_model, model_entry
from striate.models.resnet import BasicBlock, Bottleneck, ResNetTrunk

# As published with the weights (torchvision's documentation).
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}
GIGA_MACS = {
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "resnet101": 7.801,
    "resnet152": 11.514,
    "resnext50_32x4d": 4.230,
    "resnext101_32x8d": 16.414,
    "resnext101_64x4d": 15.460,
    "wide_resnet50_2": 11.398,
    "wide_resnet101_2": 22.753,
}
BLOCKS = [BasicBlock, Bottleneck]


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def settled(model):
    """The network in evaluation with norms that do something."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias, std=0.3)
    return model.eval()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_macs_are_the_published_ones(name):
    assert total(on_meta(name, in_channels=3, num_classes=1000)) == PARAMETERS[name]
    assert model_entry(name).macs / 1e9 == pytest.approx(GIGA_MACS[name], abs=5e-4)


def test_blocks_that_change_no_channels_keep_their_input():
    shortcuts = {
        name: [
            place
            for place, block in enumerate(model.get_submodule("layer1"))
            if type(block.downsample) is nn.Sequential
        ]
        for name, model in ((name, on_meta(name)) for name in ("resnet34", "resnet50"))
    }
    assert shortcuts == {"resnet34": [], "resnet50": [0]}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", [64, 128, 256, 512]), ("resnet50", [256, 512, 1024, 2048])]
)
def test_stages_have_the_sizes_of_the_paper(name, channels, rank):
    model = on_meta(name, spatial_dims=rank)
    outputs = model.stage_outputs(torch.zeros(1, 1, *(224,) * rank, device="meta"))
    assert [tuple(output.shape[1:]) for output in outputs] == [
        (count, *(size,) * rank) for count, size in zip(channels, [56, 28, 14, 7], strict=True)
    ]
    assert model.stage_channels == tuple(channels)


def test_small_stem_keeps_small_images_and_the_names_of_the_tensors():
    model = on_meta("resnet18", in_channels=3, small_stem=True)
    outputs = model.stage_outputs(torch.zeros(1, 3, 32, 32, device="meta"))
    assert [output.shape[-1] for output in outputs] == [32, 16, 8, 4]
    assert model.state_dict().keys() == on_meta("resnet18").state_dict().keys()
    # The count that is quoted for ResNet-18 on CIFAR-10.
    assert total(model) == 11_173_962


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("rank", "replace"),
    [(1, (False, False, True)), (1, (True, False, True)), (1, (True, True, True)), (2, (False, True, True))],
)
def test_dilated_stages_compute_the_same_values_on_a_finer_grid(block, rank, replace):
    """The algorithme à trous: every value of the strided network is among those of the dilated one."""
    strided = settled(ResNetBackbone(rank, 1, block, (1, 2, 2, 2), 4 if block is BasicBlock else 8)).double()
    dilated = ResNetBackbone(
        rank, 1, block, (1, 2, 2, 2), 4 if block is BasicBlock else 8, replace_stride_with_dilation=replace
    )
    dilated.double().load_state_dict(strided.state_dict())
    x = torch.randn(2, 1, *(44,) * rank, dtype=torch.float64)
    step = 1
    pairs = zip(strided(x)[1:], dilated.eval()(x)[1:], replace, strict=True)
    for coarse, fine, replaced in pairs:
        step *= 2 if replaced else 1
        torch.testing.assert_close(fine[(..., *[slice(None, None, step)] * rank)], coarse)
    assert step == 2 ** sum(replace)


def test_the_form_for_dense_prediction_has_an_output_stride_of_8():
    model = on_meta("resnet50", replace_stride_with_dilation=(False, True, True))
    outputs = model.stage_outputs(torch.zeros(1, 1, 64, 64, device="meta"))
    assert [output.shape[-1] for output in outputs] == [16, 8, 8, 8]
    # As DeepLab's published weights expect: the first block of a stage still has the dilation of the stage before.
    dilations = [[block.conv2.dilation[0] for block in stage] for stage in (model.layer3, model.layer4)]
    assert dilations == [[1, 2, 2, 2, 2, 2], [2, 4, 4]]
    assert all(block.conv2.padding == block.conv2.dilation for block in [*model.layer3, *model.layer4])


def test_the_backbone_is_the_network_without_its_head():
    torch.manual_seed(0)
    model = settled(ResNet(2, 3, 7, BasicBlock, (1, 1, 1, 1), 4))
    backbone = ResNetBackbone(2, 3, BasicBlock, (1, 1, 1, 1), 4).eval()
    backbone.load_state_dict({key: value for key, value in model.state_dict().items() if not key.startswith("fc.")})
    x = torch.randn(2, 3, 40, 40)
    outputs = backbone(x)
    assert len(outputs) == len(backbone.stages) == len(model.stages)
    assert torch.equal(model.get_submodule(model.head)(outputs[-1].mean((2, 3))), model(x))
    assert isinstance(model, ResNetTrunk)


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_begin_as_the_identity_where_asked(block):
    x = torch.rand(2, 8 * block.expansion, 9)
    model = ResNetBackbone(1, 1, block, (2, 1, 1, 1), 8, zero_init_residual=True).train()
    assert torch.equal(model.layer1[1](x), x)
    assert not torch.equal(ResNetBackbone(1, 1, block, (2, 1, 1, 1), 8).train().layer1[1](x), x)
    loss = model(torch.randn(4, 1, 64))[-1].square().mean()
    loss.backward()
    assert model.layer1[1].last_norm.weight.grad.any()


@pytest.mark.parametrize("block", BLOCKS)
def test_stochastic_depth_rises_and_drops_whole_branches_in_training_only(block):
    model = ResNetBackbone(1, 1, block, (1, 2, 1, 1), 8, stochastic_depth=0.5)
    drops = [layer.drop.probability for stage in model.stages for layer in model.get_submodule(stage)]
    assert drops == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    torch.manual_seed(0)
    layer = block(1, 8 * block.expansion, 8, drop=0.5)
    x = torch.rand(64, 8 * block.expansion, 9)
    kept = [not torch.equal(output, sample) for output, sample in zip(layer.train()(x), x, strict=True)]
    assert 20 < sum(kept) < 44
    assert all(not torch.equal(output, sample) for output, sample in zip(layer.eval()(x), x, strict=True))


def test_the_bottleneck_strides_in_its_3x3_convolution():
    block = on_meta("resnet50").layer2[0]
    assert [conv.stride for conv in (block.conv1, block.conv2, block.conv3)] == [(1, 1), (2, 2), (1, 1)]


def test_resnext_is_a_sum_of_narrow_paths():
    """Forms a and c of figure 3: a grouped 3x3 is as many separate bottlenecks, whose outputs are added."""
    cardinality, path_width, channels = 4, 2, 16
    block = Bottleneck(1, 4 * channels, channels, groups=cardinality, width_per_group=8, norm=None).double()
    assert block.conv1.out_channels == cardinality * path_width
    x = torch.rand(2, 4 * channels, 11, dtype=torch.float64)
    paths = zip(
        block.conv1.weight.split(path_width),
        block.conv2.weight.split(path_width),
        block.conv3.weight.split(path_width, dim=1),
        strict=True,
    )
    total_of_paths = sum(
        F.conv1d(F.conv1d(F.conv1d(x, first).relu(), middle, padding=1).relu(), last) for first, middle, last in paths
    )
    torch.testing.assert_close(block(x), (x + total_of_paths).relu())


def test_the_members_differ_in_the_middle_of_the_bottleneck_only():
    def shapes(name):
        block = on_meta(name).layer1[1]
        return [tuple(conv.weight.shape[:2]) for conv in (block.conv1, block.conv2, block.conv3)]

    assert shapes("resnet50") == [(64, 256), (64, 64), (256, 64)]
    assert shapes("wide_resnet50_2") == [(128, 256), (128, 128), (256, 128)]
    assert shapes("resnext50_32x4d") == [(128, 256), (128, 4), (256, 128)]
    assert shapes("resnext101_32x8d") == [(256, 256), (256, 8), (256, 256)]
    assert shapes("resnext101_64x4d") == [(256, 256), (256, 4), (256, 256)]


def test_convolutions_begin_so_that_gradients_keep_their_size():
    torch.manual_seed(0)
    model = ResNet(2, 3, 10, BasicBlock, (1, 1, 1, 1), 32)
    for conv in (layer for layer in model.modules() if isinstance(layer, nn.Conv2d)):
        fan_out = conv.out_channels * math.prod(conv.kernel_size)
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
    # A gradient that came through a rectifier, which stops half of it, has the size it had before it.
    conv = model.layer2[0].conv2
    x = torch.randn(4, 64, 16, 16, requires_grad=True)
    before = torch.randn(4, 64, 16, 16)
    conv(x).backward(before * (torch.rand_like(before) < 0.5))
    assert x.grad[..., 1:-1, 1:-1].square().mean().item() == pytest.approx(before.square().mean().item(), rel=0.1)
    assert all((layer.weight == 1).all() for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))


def test_a_narrow_network_learns_pictures_by_heart():
    torch.manual_seed(1)
    model = create_model("resnet18", width=8, small_stem=True)
    pictures, labels = torch.randn(10, 1, 16, 16), torch.arange(10)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(20):
        optimiser.zero_grad()
        F.cross_entropy(model(pictures), labels).backward()
        optimiser.step()
    assert (model(pictures).argmax(1) == labels).all()


def test_other_norms_take_the_places_of_batch_norm():
    model = create_model("resnet18", spatial_dims=1, width=8, norm="group")
    assert isinstance(model.bn1, nn.GroupNorm)
    assert model(torch.randn(1, 1, 40)).shape == (1, 10)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet18", {"width": 0}, "width to be an integer of at least 1"),
        ("resnet18", {"width": True}, "width to be an integer of at least 1"),
        ("resnext50_32x4d", {"width": 8}, "width to be an integer of at least 16"),
        ("resnet20", {"width": 1.5}, "width to be an integer of at least 1"),
        ("r3d_18", {"width": -1, "spatial_dims": 3}, "width to be an integer of at least 1"),
        ("resnet18", {"replace_stride_with_dilation": (True, True)}, "three of True and False"),
        ("resnet18", {"replace_stride_with_dilation": True}, "three of True and False"),
        ("resnet18", {"replace_stride_with_dilation": (1, 2, 4)}, "three of True and False"),
        ("resnet18", {"stochastic_depth": 1.0}, "a probability of at least 0 and below 1"),
        ("resnet20", {"stochastic_depth": -0.1}, "a probability of at least 0 and below 1"),
        ("r3d_18", {"stochastic_depth": True, "spatial_dims": 3}, "a probability of at least 0 and below 1"),
        ("resnet20", {"zero_init_residual": True, "norm": None}, "a norm with weights"),
    ],
)
def test_options_that_make_no_sense_are_refused(name, options, expected):
    with pytest.raises(ModelError, match=expected):
        on_meta(name, **options)


def test_an_empty_input_is_refused():
    with pytest.raises(ModelError, match="at least 1 per axis"):
        on_meta("resnet18")(torch.zeros(1, 1, 5, 0, device="meta"))
