"""GoogLeNet and Inception v3: sizes from the literature, branches, factorised filters, auxiliary heads."""

import pytest
import torch

from striate.errors import ModelError
from striate.insight import summary
from striate.models import create_model
from striate.models.googlenet import AuxiliaryHead, Inception
from striate.models.inception import (
    AuxiliaryClassifier,
    Mixed,
    along_each_axis,
    inception_a,
    inception_b,
    inception_c,
    inception_d,
    inception_e,
)
from striate.models.outputs import WithAuxiliary

NAMES = ["googlenet", "inception_v3"]


def meta(name, **options):
    with torch.device("meta"):
        return create_model(name, in_channels=3, num_classes=1000, **options)


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "auxiliary", "parameters"),
    # Without heads: the counts that torchvision and Keras give for the published weights.
    [
        ("googlenet", True, 13_004_888),
        ("googlenet", False, 6_624_904),
        ("inception_v3", True, 27_161_264),
        ("inception_v3", False, 23_834_568),
    ],
)
def test_sizes_are_those_published(name, auxiliary, parameters):
    assert total(meta(name, auxiliary=auxiliary)) == parameters


@pytest.mark.parametrize(("name", "size", "billion_macs"), [("googlenet", 224, 1.50), ("inception_v3", 299, 5.71)])
def test_macs_are_those_published(name, size, billion_macs):
    assert round(summary(meta(name).eval(), (1, 3, size, size)).macs / 1e9, 2) == billion_macs


@pytest.mark.parametrize(
    ("name", "size", "sizes"),
    [
        ("googlenet", 224, [(64, 112), (192, 56), (480, 28), (832, 14), (1024, 7)]),
        ("inception_v3", 299, [(64, 147), (192, 71), (288, 35), (768, 17), (2048, 8)]),
    ],
)
def test_stages_have_the_papers_shapes(name, size, sizes):
    model, seen = meta(name), {}
    for stage in model.stages:
        model.get_submodule(stage).register_forward_hook(
            lambda _module, _inputs, output, stage=stage: seen.update({stage: tuple(output.shape[1:3])})
        )
    model(torch.zeros(2, 3, size, size, device="meta"))
    assert [seen[stage] for stage in model.stages] == sizes
    assert model.get_submodule(model.head).out_features == 1000


@pytest.mark.parametrize(("name", "size", "weights"), [("googlenet", 32, (0.3, 0.3)), ("inception_v3", 75, (0.4,))])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_heads_answer_in_training_only(name, size, weights, rank):
    with torch.device("meta"):
        model = create_model(name, spatial_dims=rank, in_channels=2, num_classes=7)
        x = torch.zeros(2, 2, *(size,) * rank)
        result = model(x)
        assert isinstance(result, WithAuxiliary)
        assert result.weights == weights
        assert [each.shape for each in (result.output, *result.auxiliary)] == [(2, 7)] * (1 + len(weights))
        assert model.eval()(x).shape == (2, 7)
        plain = create_model(name, spatial_dims=rank, in_channels=2, num_classes=7, auxiliary=False)
        assert plain(x).shape == (2, 7)
    heads = {key.split(".")[0] for key in model.state_dict()} - {key.split(".")[0] for key in plain.state_dict()}
    assert heads == set(model.auxiliary_modules)


def test_heads_see_modules_4a_and_4d_and_the_last_17x17():
    shapes = {}
    for name, size in (("googlenet", 224), ("inception_v3", 299)):
        model = meta(name)
        for head in model.auxiliary_modules:
            model.get_submodule(head).register_forward_pre_hook(
                lambda _module, inputs, head=head: shapes.update({head: tuple(inputs[0].shape[1:])})
            )
        model(torch.zeros(2, 3, size, size, device="meta"))
    assert shapes == {"aux1": (512, 14, 14), "aux2": (528, 14, 14), "AuxLogits": (768, 17, 17)}


def test_a_module_is_its_four_branches_side_by_side():
    module = Inception(2, 16, (4, 3, 5, 2, 6, 7)).eval()
    x = torch.randn(2, 16, 7, 7)
    pooled = torch.nn.functional.max_pool2d(x, 3, 1, 1)
    parts = [module.branch1(x), module.branch2(x), module.branch3(x), module.branch4[1](pooled)]
    assert [part.shape[1] for part in parts] == [4, 5, 6, 7]
    assert torch.equal(module(x), torch.cat(parts, 1))


def test_norms_have_the_published_eps():
    for name in NAMES:
        norms = [layer for layer in meta(name).modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        assert {norm.eps for norm in norms} == {0.001}
        assert {norm.momentum for norm in norms} == {0.1}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("make", "outputs", "size"),
    [
        (lambda rank: inception_a(rank, 8, 32), 256, 9),
        (lambda rank: inception_b(rank, 8), 488, 4),
        (lambda rank: inception_c(rank, 8, 16), 768, 9),
        (lambda rank: inception_d(rank, 8), 520, 4),
        (lambda rank: inception_e(rank, 8), 2048, 9),
    ],
)
def test_blocks_in_every_rank(make, outputs, size, rank):
    with torch.device("meta"):
        block = make(rank)
        assert block.out_channels == outputs
        assert block(torch.zeros(1, 8, *(9,) * rank)).shape == (1, outputs, *(size,) * rank)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_filters_along_the_axes_see_a_whole_cube(rank):
    assert along_each_axis(rank, 3) == [(1, 1, 3)[-rank:], (1, 3, 1)[-rank:], (3, 1, 1)[-rank:]][:rank] or rank == 1
    block = Mixed(rank, 1)
    block.branch("row", *((1, line) for line in along_each_axis(rank, 7)))
    block.eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(1)
        for name, buffer in block.named_buffers():
            buffer.fill_(1 if name.endswith("var") else 0)
    x = torch.zeros(1, 1, *(15,) * rank)
    x[(0, 0, *(7,) * rank)] = 1
    # The biases of the norms are 1 everywhere, so what the point adds is what differs from no point at all.
    seen = (block(x) - block(torch.zeros_like(x))).abs() > 1e-3
    assert seen.sum() == 7**rank
    assert seen[(0, 0, *(slice(4, 11),) * rank)].all()


def test_the_head_of_inception_pools_small_features_to_five():
    head = AuxiliaryClassifier(2, 4, 3).eval()
    for size in (1, 3, 16, 17, 18, 30):
        assert head(torch.randn(1, 4, size, size)).shape == (1, 3)
    x = torch.randn(1, 4, 17, 17)
    pooled = torch.nn.functional.avg_pool2d(x, 5, 3)
    torch.testing.assert_close(head(x), head.fc(head.conv1(head.conv0(pooled)).flatten(1)))
    assert AuxiliaryHead(3, 8, 3).fc1.in_features == 128 * 4**3


def test_weights_start_normal_and_cut_off():
    with torch.device("meta"):
        assert create_model("googlenet").fc.weight.is_meta
    model = create_model("googlenet", auxiliary=False)
    weights = torch.cat([layer.weight.flatten() for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)])
    assert weights.abs().max() <= 0.02
    # A normal distribution cut off at two deviations has 0.88 of them.
    assert weights.std().item() == pytest.approx(0.0088, rel=0.01)


@pytest.mark.slow
def test_inception_starts_with_its_own_deviations():
    model = create_model("inception_v3")
    assert model.Mixed_6b.branch1x1.conv.weight.std().item() == pytest.approx(0.088, rel=0.02)
    assert model.AuxLogits.conv1.conv.weight.std().item() == pytest.approx(0.0088, rel=0.02)
    assert model.AuxLogits.fc.weight.std().item() == pytest.approx(0.00088, rel=0.05)


@pytest.mark.parametrize(("name", "least"), [("googlenet", 15), ("inception_v3", 75)])
def test_the_smallest_input_is_the_smallest(name, least):
    model = meta(name)
    assert model(torch.zeros(2, 3, least, least, device="meta")).output.shape == (2, 1000)
    with pytest.raises(ModelError) as error:
        model(torch.zeros(2, 3, least, least - 1, device="meta"))
    assert str(error.value) == (
        f"Expected an input of at least {least} per axis, the smallest that leaves something in every layer; "
        f"received size {least}x{least - 1}. Enlarge or pad the inputs."
    )
