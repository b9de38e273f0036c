"""MobileNet v1, v2, v3: sizes from the literature, widths, how separable and inverted blocks are made."""

import pytest
import torch

from striate.errors import ModelError
from striate.insight import summary
from striate.models import create_model
from striate.models.mobilenet_v1 import DepthwiseSeparable
from striate.models.mobilenet_v2 import InvertedResidual
from striate.models.parts import round_channels
from striate.nn import SqueezeExcitation

NAMES = ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"]


def meta(name, **options):
    with torch.device("meta"):
        return create_model(name, in_channels=3, num_classes=1000, **options).eval()


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "width", "parameters", "million_macs"),
    [
        # Howard 2017, table 6; the exact counts are those of the authors' later code.
        ("mobilenet_v1", 1.0, 4_231_976, 569),
        ("mobilenet_v1", 0.75, 2_585_560, 325),
        ("mobilenet_v1", 0.5, 1_331_592, 149),
        ("mobilenet_v1", 0.25, 470_072, 41),
        # Sandler 2018, table 4, and the authors' published list.
        ("mobilenet_v2", 1.0, 3_504_872, 300),
        ("mobilenet_v2", 1.4, 6_108_776, 582),
        ("mobilenet_v2", 0.75, 2_636_424, 209),
        ("mobilenet_v2", 0.5, 1_968_680, 97),
        ("mobilenet_v2", 0.35, 1_677_128, 59),
        # Howard 2019, tables 3 and 4 (219, 66 and 56 million with the authors' way of counting).
        ("mobilenet_v3_large", 1.0, 5_483_032, 217),
        ("mobilenet_v3_small", 1.0, 2_542_856, 56),
    ],
)
def test_sizes_are_those_published(name, width, parameters, million_macs):
    model = meta(name, width=width)
    assert total(model) == parameters
    assert abs(summary(model, (1, 3, 224, 224)).macs / 1e6 - million_macs) < 1


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mobilenet_v1", [(64, 112), (128, 56), (256, 28), (512, 14), (1024, 7)]),
        ("mobilenet_v2", [(16, 112), (24, 56), (32, 28), (96, 14), (1280, 7)]),
        ("mobilenet_v3_large", [(16, 112), (24, 56), (40, 28), (112, 14), (960, 7)]),
        ("mobilenet_v3_small", [(16, 112), (16, 56), (24, 28), (48, 14), (576, 7)]),
    ],
)
def test_stages_have_the_papers_shapes(name, sizes):
    model, seen = meta(name), {}
    for stage in model.stages:
        model.get_submodule(stage).register_forward_hook(
            lambda _module, _inputs, output, stage=stage: seen.update({stage: tuple(output.shape[1:3])})
        )
    model(torch.zeros(1, 3, 224, 224, device="meta"))
    assert [seen[stage] for stage in model.stages] == sizes
    assert model.get_submodule(model.head).out_features == 1000


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_other_ranks_filter_along_every_axis(name, rank):
    with torch.device("meta"):
        model = create_model(name, spatial_dims=rank, in_channels=2, num_classes=5, width=0.5)
        assert model(torch.zeros(2, 2, *(33,) * rank)).shape == (2, 5)
    first = model.features[0][0]
    assert first.kernel_size == (3,) * rank
    assert first.stride == (2,) * rank


def test_a_separable_convolution_is_one_of_full_kernels():
    """Without norms and activation between, the pair is one convolution whose kernels are outer products."""
    block = DepthwiseSeparable(2, 3, 5, stride=2).double().eval()
    for part in (block.depthwise, block.pointwise):
        part[1].eps = 0.0
        part[2] = torch.nn.Identity()
    kernels = torch.einsum("oc,chw->ochw", block.pointwise[0].weight[..., 0, 0], block.depthwise[0].weight[:, 0])
    x = torch.randn(2, 3, 9, 8).double()
    torch.testing.assert_close(block(x), torch.nn.functional.conv2d(x, kernels, stride=2, padding=1))


def test_inverted_residuals_are_linear_at_the_ends_and_add_where_they_fit():
    block = InvertedResidual(2, 8, 8).eval()
    x = torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(block(x), x + block.conv(x))
    assert block.conv(x).min() < 0 < block.conv(x).max()
    assert block.conv[0][0].out_channels == 48
    assert not InvertedResidual(2, 8, 16).residual
    assert not InvertedResidual(2, 8, 8, stride=2).residual
    assert len(InvertedResidual(2, 8, 8, expansion=1).conv) == 3


def test_v3_gates_and_norms_are_the_papers():
    model = meta("mobilenet_v3_large")
    gated = [
        index
        for index, layer in enumerate(model.features[1:-1], 1)
        if any(isinstance(part, SqueezeExcitation) for part in layer.block)
    ]
    assert gated == [4, 5, 6, 11, 12, 13, 14, 15]
    for index in gated:
        gate = model.features[index].block[2]
        assert gate.fc1.out_channels == round_channels(gate.fc1.in_channels // 4)
        assert type(gate.scale_activation) is torch.nn.Hardsigmoid
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(0.001, 0.01)}
    swishes = [isinstance(layer.block[0][2], torch.nn.Hardswish) for layer in model.features[1:-1]]
    assert swishes == [False] * 6 + [True] * 9


def test_v1_keeps_the_variance_of_activations_at_the_start():
    model = create_model("mobilenet_v1", in_channels=3).eval()
    with torch.no_grad():
        output = model.features[:5](torch.randn(2, 3, 64, 64))
    # Nine layers: torch's own start, a sixth each, would leave a millionth. The zeros at the borders take some.
    assert 0.05 < output.square().mean() < 10


@pytest.mark.parametrize("name", NAMES[1:])
def test_dense_layers_start_small(name):
    model = create_model(name, num_classes=1000, width=0.35)
    dense = model.get_submodule(model.head)
    assert dense.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not dense.bias.any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf"), "wide", True])
def test_bad_widths_are_refused(name, width):
    with pytest.raises(ModelError) as error:
        create_model(name, width=width)
    assert str(error.value) == (
        f"Expected width to be a positive number; received width={width!r}. Use 1 for the usual width."
    )


@pytest.mark.parametrize("name", NAMES)
def test_empty_inputs_are_refused(name):
    with pytest.raises(ModelError, match="at least 1 per axis"):
        meta(name)(torch.zeros(1, 3, 0, 4, device="meta"))
