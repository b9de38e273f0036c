"""U-Net and V-Net: published counts and sizes, what each path contributes, and the Dice loss."""

import pytest
import torch
from torch import nn

from striate.errors import GeometryError, ModelError
from striate.geometry import ReceptiveField
from striate.models import UNet, VNet, create_model, dice_loss, features
from striate.models.unet import smallest_valid
from striate.models.vnet import ResidualStage


def count(model):
    return sum(each.numel() for each in model.parameters())


def on_meta(name, spatial_dims, **options):
    with torch.device("meta"):
        return create_model(name, spatial_dims=spatial_dims, **options)


# U-Net ---------------------------------------------------------------------------------------------------------------


def test_unet_has_the_published_parameters_however_padded():
    for padding in ("same", "valid"):
        model = on_meta("unet", 2, in_channels=1, num_classes=2, padding=padding)
        assert count(model) == 31_030_658
    convolutions = [each for each in model.modules() if isinstance(each, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23  # section 2 of the paper


def test_unet_3d_has_the_published_parameters():
    model = on_meta("unet_3d", 3, in_channels=3, num_classes=3)
    norms = sum(each.numel() for key, each in model.named_parameters() if ".norm." in key)
    biases = sum(each.numel() for key, each in model.named_parameters() if key.startswith("up") and "bias" in key)
    assert count(model) - norms - biases == 19_069_955
    channels = [tuple(level[block].conv.out_channels for block in (0, 1)) for level in model.contract]
    assert channels == [(32, 64), (64, 128), (128, 256), (256, 512)]


@pytest.mark.parametrize(
    ("name", "size", "out"), [("unet", (572, 572), (388, 388)), ("unet_3d", (132, 132, 116), (44, 44, 28))]
)
def test_unpadded_sizes_are_the_papers(name, size, out):
    model = on_meta(name, len(size), in_channels=1, num_classes=3, padding="valid")
    with torch.device("meta"):
        assert model(torch.zeros(1, 1, *size)).shape == (1, 3, *out)
        found = features(model, torch.zeros(1, 1, *size))
    if name == "unet":
        # Figure 1: the last of every level.
        assert [each.shape[-1] for each in found.values()] == [568, 280, 136, 64, 28, 52, 100, 196, 388]
        assert [each.shape[1] for each in found.values()] == [64, 128, 256, 512, 1024, 512, 256, 128, 64]


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
def test_below_the_smallest_unpadded_size_nothing_is_left(depth):
    least = smallest_valid(depth)
    model = create_model("unet", spatial_dims=1, width=1, depth=depth, padding="valid")
    assert model(torch.zeros(1, 1, least)).shape[-1] >= 1
    with pytest.raises(ModelError, match=f"at least {least}"):
        model(torch.zeros(1, 1, least - 1))
    model.smallest = 1
    with pytest.raises(GeometryError):
        model(torch.zeros(1, 1, least - 1))


@pytest.mark.parametrize("up", ["transposed", "resize"])
@pytest.mark.parametrize("size", [(1,), (37,), (16, 31), (5, 8, 9)])
def test_padded_output_has_the_size_of_the_input(up, size):
    model = create_model("unet", spatial_dims=len(size), width=2, up=up, num_classes=3)
    assert model(torch.zeros(2, 1, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("size", [32, 37])
def test_padded_and_unpadded_agree_where_no_border_is_seen(size):
    torch.manual_seed(0)
    padded = UNet(1, 1, 2, ((4, 4), (6, 6)))
    valid = UNet(1, 1, 2, ((4, 4), (6, 6)), padding="valid")
    valid.load_state_dict(padded.state_dict())
    x = torch.randn(1, 1, 2 * size)
    lost = 2 * size - valid(x).shape[-1]
    assert lost == 16
    torch.testing.assert_close(padded(x)[..., 8:-8], valid(x))


def test_bridges_carry_what_pools_lose():
    torch.manual_seed(0)
    model = UNet(1, 1, 1, ((4, 4), (8, 8)))
    x = torch.randn(1, 1, 16)
    outputs = model(x)
    with torch.no_grad():
        for parameter in model.up.parameters():
            parameter.zero_()
    assert not torch.equal(model(x), outputs)  # the way up counts
    near = model(x + (torch.arange(16) == 0))
    assert torch.equal(near[..., 5:], model(x)[..., 5:])  # without it only four convolutions see the input


def test_unet_keeps_the_size_of_its_maps_about():
    torch.manual_seed(0)
    model = create_model("unet", spatial_dims=2, width=16, dropout=0.0)
    with torch.no_grad():
        found = features(model, torch.randn(2, 1, 64, 64))
    for name, maps in found.items():
        # A pool takes the larger ones, so there is more on every level; wrong gains would be 2 or a half per layer.
        assert 0.3 < maps.square().mean() < 12, name


def test_unet_norm_and_dropout():
    model = on_meta("unet", 2, norm="batch", dropout=0.25)
    assert sum(isinstance(each, nn.BatchNorm2d) for each in model.modules()) == 18
    rates = [[each.p for each in level.modules() if isinstance(each, nn.Dropout)] for level in model.contract]
    assert rates == [[], [], [], [0.25], [0.25]]


@pytest.mark.parametrize("options", [{"padding": "full"}, {"up": "nearest"}, {"width": 0}, {"depth": -1}])
def test_bad_options_of_unet_are_refused(options):
    with pytest.raises(ModelError):
        create_model("unet", **options)


# V-Net ---------------------------------------------------------------------------------------------------------------


def convolution_weights(channels, kernel, outputs):
    return channels * kernel * outputs + outputs


def test_vnet_has_the_layers_of_figure_2():
    stages = [(1, 16, 1), (32, 32, 2), (64, 64, 3), (128, 128, 3), (256, 256, 3)]
    stages += [(256, 256, 3), (128, 128, 3), (64, 64, 2), (32, 32, 1)]
    expected = 32 * 2 + 2  # to two classes
    for channels, wide, depth in stages:
        expected += convolution_weights(channels, 125, wide) + (depth - 1) * convolution_weights(wide, 125, wide)
        expected += depth * wide  # slopes of PReLU
    for narrow in (16, 32, 64, 128):
        expected += convolution_weights(narrow, 8, 2 * narrow) + 2 * narrow
    for wide, narrow in ((256, 128), (256, 64), (128, 32), (64, 16)):
        expected += convolution_weights(wide, 8, narrow) + narrow
    assert count(on_meta("vnet", 3, num_classes=2)) == expected == 65_175_314


def test_vnet_sees_what_table_1_says():
    seen, fields = ReceptiveField(), []
    model = on_meta("vnet", 3)
    for number, stage in enumerate(model.left):
        if number:
            seen = seen.through(2, stride=2)
        for _ in range(len(stage.convs) + 1):
            seen = seen.through(5)
        fields.append(int(seen.size))
    assert fields == [5, 22, 72, 172, 372]
    with torch.device("meta"):
        sizes = [tuple(each.shape[1:]) for each in features(model, torch.zeros(1, 1, 128, 128, 64)).values()]
    assert sizes[4] == (256, 8, 8, 4)
    assert sizes[5:] == [(256, 16, 16, 8), (128, 32, 32, 16), (64, 64, 64, 32), (32, 128, 128, 64)]


@pytest.mark.parametrize("size", [(1,), (37,), (17, 30), (5, 8, 19)])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_vnet_output_has_the_size_of_the_input(size, norm):
    model = VNet(len(size), 3, 2, width=4, norm=norm).eval()
    assert model(torch.zeros(2, 3, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize(("in_channels", "channels"), [(1, 4), (3, 4), (4, 4), (6, 4)])
def test_a_stage_adds_its_input(in_channels, channels):
    stage = ResidualStage(1, in_channels, channels, depth=2)
    nn.init.zeros_(stage.last.weight)
    nn.init.zeros_(stage.last.bias)
    x = torch.rand(2, in_channels, 9)
    expected = torch.stack([x[:, channel % in_channels] for channel in range(channels)], 1)
    assert torch.equal(stage(x), expected)


def test_dice_loss():
    labels = torch.tensor([[0, 1, 1, 2], [0, 0, 0, 1]])
    one_hot = torch.nn.functional.one_hot(labels, 3).float().mT
    assert dice_loss(50 * one_hot, labels) == pytest.approx(0, abs=1e-6)
    assert dice_loss(50 * one_hot[[1, 0]], labels) > 0.5
    even = dice_loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 1]]))
    # 2 * 3 * 0.5 / (4 * 0.25 + 3)
    assert even == pytest.approx(1 - 0.75)
    logits = torch.zeros(2, 3, 4, requires_grad=True)
    dice_loss(logits, labels).backward()
    assert logits.grad.any()
    with pytest.raises(ModelError):
        dice_loss(torch.zeros(1, 1, 4), torch.zeros(1, 4, dtype=torch.long))


def test_bad_width_of_vnet_is_refused():
    with pytest.raises(ModelError):
        VNet(1, 1, 2, width=0)
