"""FCN and DeepLab: published sizes, where their parts look, and what is added on the way up."""

import pytest
import torch
from torch.nn import functional as F

from striate.errors import ModelError
from striate.models import create_model
from striate.models.deeplab import ASPP, ImagePooling
from striate.models.fcn_vgg import FCN, bilinear_
from striate.models.outputs import WithAuxiliary
from striate.models.vgg import VGG
from striate.nn import conv_transpose_class

# Parameters, and giga-macs at 520x520 with the auxiliary head, as torchvision publishes them.
PUBLISHED = {
    "fcn_resnet50": (35_322_218, 152.717),
    "fcn_resnet101": (54_314_346, 232.738),
    "deeplabv3_resnet50": (42_004_074, 178.722),
    "deeplabv3_resnet101": (60_996_202, 258.743),
}
RESNETS = sorted(PUBLISHED)


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **{"in_channels": 3, "num_classes": 21, **options})


@pytest.mark.parametrize("name", RESNETS)
def test_sizes_are_those_published(name):
    from striate.models import model_entry

    parameters, giga_macs = PUBLISHED[name]
    assert sum(each.numel() for each in on_meta(name).parameters()) == parameters
    # In evaluation the auxiliary head does not run here: 3x3 from 1024 to 256, and 1x1 to 21, on 65 x 65 positions.
    auxiliary = (9 * 1024 * 256 + 256 * 21) * 65 * 65
    assert (model_entry(name).macs + auxiliary) / 1e9 == pytest.approx(giga_macs, abs=5e-4)


@pytest.mark.parametrize("name", RESNETS)
def test_state_is_in_the_order_backbone_classifier_auxiliary(name):
    state = list(on_meta(name).state_dict())
    parts = list(dict.fromkeys(key.split(".")[0] for key in state))
    assert parts == ["backbone", "classifier", "aux_classifier"]
    assert state[-2:] == ["aux_classifier.4.weight", "aux_classifier.4.bias"]
    without = list(on_meta(name, auxiliary=False).state_dict())
    assert without == [key for key in state if not key.startswith("aux")]


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
@pytest.mark.parametrize("size", [(7,), (33, 18), (9, 16, 5)])
def test_every_size_comes_out_as_it_came(name, size):
    model = create_model(name, spatial_dims=len(size), in_channels=2, num_classes=5, width=2)
    x = torch.randn(2, 2, *size)
    result = model(x)
    assert isinstance(result, WithAuxiliary)
    assert result.output.shape == result.auxiliary[0].shape == (2, 5, *size)
    assert result.weights == (0.5,)
    assert model.eval()(x).shape == (2, 5, *size)
    plain = create_model(name, spatial_dims=len(size), in_channels=2, num_classes=5, width=2, auxiliary=False)
    assert plain(x).shape == (2, 5, *size)


@pytest.mark.parametrize(("stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))])
def test_output_stride_and_rates(stride, rates):
    model = on_meta("deeplabv3_resnet50", output_stride=stride)
    assert [branch[0].dilation for branch in model.classifier[0].convs[1:4]] == [(rate, rate) for rate in rates]
    with torch.device("meta"):
        assert model.eval().backbone(torch.zeros(1, 3, 128, 64))[-1].shape[2:] == (128 // stride, 64 // stride)


def test_pyramid_is_its_branches_side_by_side():
    torch.manual_seed(0)
    pyramid = ASPP(2, 6, 4, rates=(1, 2)).eval()
    x = torch.randn(2, 6, 9, 8)
    seen = [branch(x) for branch in pyramid.convs]
    assert [each.shape for each in seen] == [(2, 4, 9, 8)] * 4
    torch.testing.assert_close(pyramid(x), pyramid.project(torch.cat(seen, 1)))
    mean = pyramid.convs[-1]
    assert isinstance(mean, ImagePooling)
    torch.testing.assert_close(mean(x), F.interpolate(mean[:](x), (9, 8), mode="bilinear"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fcn_resnet50", {"output_stride": 4}),
        ("deeplabv3_resnet50", {"output_stride": 4}),
        ("deeplabv3_resnet50", {"rates": (6, 0)}),
        ("fcn_resnet50", {"width": 0}),
    ],
)
def test_bad_options_of_resnets_are_refused(name, options):
    with pytest.raises(ModelError):
        create_model(name, **options)


# On VGG -------------------------------------------------------------------------------------------------------------

BEFORE_SCORES = 14_714_688 + (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096


@pytest.mark.parametrize(
    ("name", "more"), [("fcn32s", 0), ("fcn16s", 513 * 21 + 16 * 21**2), ("fcn8s", (513 + 257) * 21 + 32 * 21**2)]
)
def test_vgg_with_scores(name, more):
    model = on_meta(name)
    learned = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert learned == BEFORE_SCORES + 4097 * 21 + more
    fixed = {key for key, each in model.named_parameters() if not each.requires_grad}
    assert fixed == {f"{model.head}.weight"}


def test_layers_before_the_scores_are_those_of_vgg():
    with torch.device("meta"):
        vgg, fcn = VGG(2, 3, 10, (2, 2, 3, 3, 3)), FCN(2, 3, 21, 32)
    mine = [tensor.shape for key, tensor in fcn.state_dict().items() if key.startswith("conv")]
    assert mine == [tensor.shape for key, tensor in vgg.state_dict().items() if key.startswith("features")]
    assert fcn.fc6.weight.flatten(1).shape == vgg.classifier[0].weight.shape


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_vgg_scores_lie_where_their_pixels_are(stride):
    # A network whose convolutions all hand on the mean of what they see moves a bright region to where it was.
    model = FCN(1, 1, 1, stride, width=1, hidden=1).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
        elif not name.startswith("upscore"):
            torch.nn.init.constant_(parameter, 1 / parameter[0].numel())
    x = torch.zeros(1, 1, 400)
    x[..., 150:250] = 1.0
    with torch.no_grad():
        y = model(x)[0, 0]
    centre = (y * torch.arange(400)).sum() / y.sum()
    assert abs(centre.item() - 199.5) < 16
    assert y[200] > 2 * y[0]


@pytest.mark.parametrize("rank", [1, 2])
def test_enlargement_starts_as_linear_interpolation(rank):
    layer = conv_transpose_class(rank)(2, 2, 8, stride=4, bias=False)
    bilinear_(layer)
    x = torch.randn(1, 2, *[6] * rank)
    inside = (..., *[slice(4, -4)] * rank)
    grown = F.interpolate(x, scale_factor=4, mode=("linear", "bilinear")[rank - 1])
    whole = layer(x)[(..., *[slice(2, -2)] * rank)]
    torch.testing.assert_close(whole[inside], grown[inside])


def test_vgg_scores_start_at_zero_and_strides_are_checked():
    model = FCN(2, 1, 3, 16, width=1, hidden=2).eval()
    assert not model(torch.randn(1, 1, 5, 40)).any()
    with pytest.raises(ModelError):
        FCN(1, 1, 3, 4)
    with pytest.raises(ModelError):
        create_model("fcn8s", spatial_dims=3)
