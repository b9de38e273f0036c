"""ShuffleNet v1 and v2: sizes from the literature, the shuffle, and what may see what."""

import pytest
import torch

from striate.errors import ModelError
from striate.insight import summary
from striate.models import create_model
from striate.models.shufflenet_v1 import ChannelShuffle
from striate.models.shufflenet_v1 import ShuffleUnit as UnitV1
from striate.models.shufflenet_v2 import ShuffleUnit as UnitV2

V1 = [f"shufflenet_v1_g{groups}" for groups in (1, 2, 3, 4, 8)]
V2 = [f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")]


def meta(name, **options):
    with torch.device("meta"):
        return create_model(name, in_channels=3, num_classes=1000, **options).eval()


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("groups", "parameters", "million_macs"),
    # Zhang 2017, table 1, which leaves the dense layer out of its complexity.
    [(1, 1_531_936, 143), (2, 1_733_848, 140), (3, 1_865_728, 137), (4, 1_968_344, 133), (8, 2_434_768, 137)],
)
def test_v1_has_the_complexity_of_table_1(groups, parameters, million_macs):
    model = meta(f"shufflenet_v1_g{groups}")
    assert total(model) == parameters
    without_head = summary(model, (1, 3, 224, 224)).macs - model.fc.weight.numel()
    assert abs(without_head / 1e6 - million_macs) < 1


@pytest.mark.parametrize(
    ("groups", "width", "parameters"),
    # Widths that the groups share out evenly, as other implementations count them.
    [
        (1, 0.25, 209_746),
        (1, 0.5, 534_484),
        (1, 0.75, 975_214),
        (3, 0.25, 305_902),
        (3, 0.5, 718_324),
        (3, 0.75, 1_238_266),
    ],
)
def test_v1_widths(groups, width, parameters):
    assert total(meta(f"shufflenet_v1_g{groups}", width=width)) == parameters


@pytest.mark.parametrize(("width", "million_macs"), [(0.5, 38), (1.5, 292), (2, 524)])
def test_v1_scales_have_the_papers_complexity(width, million_macs):
    model = meta("shufflenet_v1_g3", width=width)
    assert abs(summary(model, (1, 3, 224, 224)).macs / 1e6 - million_macs) < 1


@pytest.mark.parametrize("name", V1)
@pytest.mark.parametrize("width", [0.1, 0.25, 0.5, 0.7, 1.3, 2])
def test_v1_can_be_built_with_any_width(name, width):
    with torch.device("meta"):
        assert create_model(name, width=width)(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "parameters", "million_macs"),
    # Ma 2018, table 5 (41, 146, 299 and 591 million, pools included).
    [(V2[0], 1_366_792, 41), (V2[1], 2_278_604, 146), (V2[2], 3_503_624, 299), (V2[3], 7_393_996, 591)],
)
def test_v2_has_the_papers_sizes(name, parameters, million_macs):
    model = meta(name)
    assert total(model) == parameters
    assert summary(model, (1, 3, 224, 224)).macs / 1e6 == pytest.approx(million_macs, rel=0.02)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("shufflenet_v1_g3", [(24, 112), (240, 28), (480, 14), (960, 7)]),
        ("shufflenet_v1_g8", [(24, 112), (384, 28), (768, 14), (1536, 7)]),
        ("shufflenet_v2_x1_5", [(24, 112), (176, 28), (352, 14), (1024, 7)]),
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


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6])
def test_shuffle_deals_channels_out(groups, rank):
    channels = torch.arange(12).reshape(1, 12, *(1,) * rank).expand(2, 12, *(2,) * rank)
    dealt = ChannelShuffle(groups)(channels)
    expected = [group * (12 // groups) + turn for turn in range(12 // groups) for group in range(groups)]
    assert dealt[1].flatten(1)[:, -1].tolist() == expected
    assert torch.equal(ChannelShuffle(12 // groups)(dealt), channels)
    if groups in (2, 3, 4, 6) and rank == 2:
        torch.testing.assert_close(dealt, torch.nn.functional.channel_shuffle(channels.float(), groups).long())


def test_v1_groups_hear_of_each_other_only_through_the_shuffle():
    unit = UnitV1(2, 72, 72, groups=3).double().eval()
    x = torch.rand(1, 72, 5, 5).double()
    changed = x.clone()
    changed[:, :24] += 1

    def groups_that_change():
        before, after = (unit.expand(unit.depthwise(unit.shuffle(unit.compress(each)))) for each in (x, changed))
        return [not torch.equal(*parts) for parts in zip(before.chunk(3, 1), after.chunk(3, 1), strict=True)]

    assert groups_that_change() == [True, True, True]
    unit.shuffle = torch.nn.Identity()
    assert groups_that_change() == [True, False, False]


def test_v1_units_join_by_sum_or_by_channels():
    x = torch.rand(2, 24, 6, 6)
    same = UnitV1(2, 24, 24, groups=3).eval()
    inner = same.expand(same.depthwise(same.shuffle(same.compress(x))))
    torch.testing.assert_close(same(x), (x + inner).relu())
    shrinking = UnitV1(2, 24, 36, groups=3, stride=2).eval()
    torch.testing.assert_close(shrinking(x)[:, :24], torch.nn.functional.avg_pool2d(x, 3, 2, 1))
    assert shrinking.expand[0].out_channels == 12


def test_v2_passes_on_half_of_the_channels_untouched():
    unit = UnitV2(2, 16, 16).eval()
    x = torch.randn(2, 16, 5, 5)
    output = unit(x)
    assert torch.equal(output[:, ::2], x[:, :8])
    torch.testing.assert_close(output[:, 1::2], unit.branch2(x[:, 8:]))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("name", ["shufflenet_v1_g4", "shufflenet_v2_x0_5"])
def test_other_ranks(name, rank):
    with torch.device("meta"):
        model = create_model(name, spatial_dims=rank, in_channels=2, num_classes=5)
        assert model(torch.zeros(2, 2, *(33,) * rank)).shape == (2, 5)
    assert model.conv1[0].kernel_size == (3,) * rank


def test_v1_keeps_activations_in_size_at_the_start():
    model = create_model("shufflenet_v1_g3", in_channels=3, width=0.5)
    seen = []
    model.avgpool.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
    assert 0.1 < seen[0].square().mean() < 100


def test_bad_arguments_are_refused():
    from striate.models import ShuffleNetV1

    with pytest.raises(ModelError) as error:
        ShuffleNetV1(2, 3, 10, groups=5)
    assert str(error.value) == (
        "Expected groups to be one of 1, 2, 3, 4, 8; received groups=5. The paper has no other forms."
    )
    with pytest.raises(ModelError, match="Expected width to be a positive number"):
        create_model("shufflenet_v1_g3", width=-0.5)
    with pytest.raises(ModelError, match="at least 1 per axis"):
        meta("shufflenet_v2_x0_5")(torch.zeros(1, 3, 0, 4, device="meta"))
