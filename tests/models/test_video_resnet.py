"""Residual networks for video: what each form does along time."""

import math

import pytest
import torch
from torch import nn

from striate.insight import summary
from striate.models import create_model
from striate.models.video_resnet import VideoBlock, factored_conv, frame_conv, inner_channels, joint_conv

NAMES = ["r3d_18", "mc3_18", "r2plus1d_18"]


@pytest.mark.parametrize(
    ("name", "parameters", "macs", "giga_macs"),
    [
        # Parameters and 1e9 macs as published with the weights (torchvision's documentation).
        ("r3d_18", 33_371_472, 40_696_553_472, 40.697),
        ("mc3_18", 11_695_440, 43_342_635_008, 43.343),
        ("r2plus1d_18", 31_505_325, 40_519_080_960, 40.519),
    ],
)
def test_parameters_and_macs_of_a_clip(name, parameters, macs, giga_macs):
    with torch.device("meta"):
        model = create_model(name, spatial_dims=3, in_channels=3, num_classes=400).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert summary(model, (1, 3, 16, 112, 112)).macs == macs
    assert macs / 1e9 == pytest.approx(giga_macs, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "frames"), [("r3d_18", [8, 4, 2, 1]), ("mc3_18", [8] * 4), ("r2plus1d_18", [8, 4, 2, 1])]
)
def test_what_is_left_of_time_and_space(name, frames):
    with torch.device("meta"):
        model = create_model(name, spatial_dims=3, in_channels=3)
        output = model.stem(torch.zeros(1, 3, 8, 48, 48))
        shapes = []
        for stage in model.stages:
            output = model.get_submodule(stage)(output)
            shapes.append(tuple(output.shape[1:]))
    assert shapes == [(64 * 2**n, left, 24 // 2**n, 24 // 2**n) for n, left in enumerate(frames)]


def test_mc3_mixes_frames_in_the_stem_and_the_first_stage_only():
    model = create_model("mc3_18", spatial_dims=3, in_channels=3, width=4).eval().double()
    late = nn.Sequential(model.layer2, model.layer3, model.layer4)
    clip = torch.rand(1, 4, 6, 9, 9, dtype=torch.float64)
    frame_by_frame = torch.cat([late(clip[:, :, [time]]) for time in range(6)], dim=2)
    torch.testing.assert_close(late(clip), frame_by_frame)
    early = model.layer1
    assert not torch.allclose(early(clip)[:, :, :3], early(clip[:, :, :3]))


def test_a_factored_convolution_is_one_in_space_and_then_one_in_time():
    conv = factored_conv(3, 5, 7, stride=2)
    assert [tuple(layer.kernel_size) for layer in conv if hasattr(layer, "kernel_size")] == [(1, 3, 3), (3, 1, 1)]
    assert [tuple(layer.stride) for layer in conv if hasattr(layer, "stride")] == [(1, 2, 2), (2, 1, 1)]
    assert conv(torch.zeros(1, 3, 5, 8, 8)).shape == joint_conv(3, 5, 0, 2)(torch.zeros(1, 3, 5, 8, 8)).shape


@pytest.mark.parametrize(("before", "after"), [(64, 64), (64, 128), (256, 512), (512, 512)])
def test_factored_convolutions_have_the_weights_of_joint_ones(before, after):
    inner = inner_channels(before, after)
    factored, joint = inner * (9 * before + 3 * after), 27 * before * after
    assert factored <= joint < factored + 9 * before + 3 * after


def test_both_convolutions_of_a_factored_block_share_the_inner_channels():
    with torch.device("meta"):
        block = VideoBlock(64, 128, factored_conv, stride=2)
    assert [conv[0][0].out_channels for conv in (block.conv1, block.conv2)] == [230, 230]


def test_frames_are_not_skipped_by_the_shortcut_of_frame_convolutions():
    assert VideoBlock(2, 4, frame_conv, stride=2).downsample[0].stride == (1, 2, 2)
    assert VideoBlock(2, 4, joint_conv, stride=2).downsample[0].stride == (2, 2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_initialisation_and_options(name):
    torch.manual_seed(0)
    model = create_model(name, spatial_dims=3, in_channels=3, width=8, stochastic_depth=0.4, zero_init_residual=True)
    for conv in (layer for layer in model.modules() if isinstance(layer, nn.Conv3d)):
        deviation = math.sqrt(2 / (conv.out_channels * math.prod(conv.kernel_size)))
        assert conv.weight.std().item() == pytest.approx(deviation, rel=0.2)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not model.fc.bias.any()
    blocks = [block for stage in model.stages for block in model.get_submodule(stage)]
    assert [block.drop.probability for block in blocks] == pytest.approx([0.05 * place for place in range(1, 9)])
    x = torch.rand(2, 8, 3, 5, 5)
    assert torch.equal(model.layer1(x), x)
    assert model.stem(torch.zeros(1, 3, 3, 10, 10)).shape == (1, 8, 3, 5, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_clip_of_the_usual_size_goes_forward_and_back(name):
    model = create_model(name, spatial_dims=3, in_channels=3, num_classes=400)
    output = model(torch.randn(1, 3, 16, 112, 112))
    assert output.shape == (1, 400)
    output.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
