"""LeNet's relatives: their sizes, the field inputs are centred in, and LeNet-5 against the paper."""

import pytest
import torch
from torch.nn import functional as F

from striate.errors import GeometryError, ModelError
from striate.models import create_model
from striate.models.digit_codes import digit_codes, random_codes
from striate.models.lenet5 import C3_CONNECTIONS

FIELD_MODELS = ["lenet", "lenet_drawn", "lenet5"]


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


def by_layer(model):
    return {name: total(layer) for name, layer in model.named_children() if total(layer)}


def test_parameters_by_layer():
    assert by_layer(create_model("lenet")) == {"conv1": 156, "conv2": 2416, "fc1": 48120, "fc2": 10164, "fc3": 850}
    assert by_layer(create_model("lenet5")) == {
        "c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164,
    }  # fmt: skip
    assert by_layer(create_model("two_conv")) == {"conv1": 320, "conv2": 18496, "fc1": 3212288, "fc2": 10250}
    assert total(create_model("lenet")) == 61706
    assert total(create_model("lenet5")) == 60000
    # 5 taps a filter in 1-D, 125 in 3-D; the field of 32 leaves 5 positions an axis for the dense layers.
    assert by_layer(create_model("lenet", spatial_dims=1))["fc1"] == 16 * 5 * 120 + 120
    assert by_layer(create_model("lenet", spatial_dims=3))["conv2"] == 16 * 6 * 125 + 16


@pytest.mark.parametrize("name", FIELD_MODELS)
@pytest.mark.parametrize("size", [(28, 28), (1, 1), (27, 32), (32, 30)])
def test_smaller_inputs_are_centred_in_the_field(name, size):
    model = create_model(name).eval()
    x = torch.randn(2, 1, *size)
    gaps = [32 - length for length in size]
    centred = F.pad(x, [gaps[1] // 2, gaps[1] - gaps[1] // 2, gaps[0] // 2, gaps[0] - gaps[0] // 2])
    assert centred.shape[2:] == (32, 32)
    torch.testing.assert_close(model(x), model(centred))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_field_follows_input_size_and_can_be_set(rank):
    assert create_model("lenet", spatial_dims=rank).conv1.field == (32,) * rank
    assert create_model("lenet", spatial_dims=rank, input_size=28).conv1.field == (32,) * rank
    mixed = tuple(range(30, 40, 4))[:rank]
    model = create_model("lenet", spatial_dims=rank, input_size=mixed)
    assert model.conv1.field == tuple(max(32, length) for length in mixed)
    assert model(torch.zeros(1, 1, *mixed)).shape == (1, 10)
    small = create_model("lenet", spatial_dims=rank, field=16)
    assert small.fc1.in_features == 16
    assert small(torch.zeros(1, 1, *(16,) * rank)).shape == (1, 10)


@pytest.mark.parametrize("name", [*FIELD_MODELS, "two_conv"])
def test_the_layers_before_the_last_are_a_slice(name):
    model, x = create_model(name).eval(), torch.rand(2, 1, 28, 28)
    features = model[:-1]
    assert [layer for layer, _ in features.named_children()] == [layer for layer, _ in model.named_children()][:-1]
    assert torch.equal(model[-1](features(x)), model(x))


def test_options_choose_the_parts():
    model = create_model("lenet", activation="tanh", pool="avg", dropout=0.3)
    assert type(model.act1).__name__ == "Tanh"
    assert type(model.pool1).__name__ == "AvgPool2d"
    assert model.dropout.p == 0.3
    assert create_model("two_conv", dropout=0.1).dropout.p == 0.1


@pytest.mark.parametrize(
    ("call", "error_class", "message"),
    [
        (
            lambda: create_model("lenet")(torch.zeros(1, 1, 33, 40)),
            ModelError,
            (
                "Expected an input of at most 32x32, the field this model was built for; received size 33x40. "
                "Resize the input, or build the model with input_size=(33, 40)."
            ),
        ),
        (
            lambda: create_model("two_conv")(torch.zeros(1, 1, 32, 28)),
            ModelError,
            (
                "Expected an input of size 28x28, which this model was built for; received size 32x28. "
                "Resize the input, or build the model with input_size=(32, 28)."
            ),
        ),
        (
            lambda: create_model("lenet", field=15),
            ModelError,
            "Expected a field of at least 16 on every axis; received field=15. Enlarge it.",
        ),
        (
            lambda: create_model("lenet5", field=20, input_size=28),
            ModelError,
            (
                "Expected a field at least as large as the inputs; received field=(20, 20) with input_size=(28, 28). "
                "Enlarge the field."
            ),
        ),
        (
            lambda: create_model("two_conv", input_size=(3, 28)),
            ModelError,
            (
                "Expected an input_size of at least 4 per axis, so that two pools leave something; received 3x28. "
                "Enlarge the inputs, or pad them."
            ),
        ),
        (
            lambda: create_model("lenet", input_size=(28, 28, 28)),
            GeometryError,
            (
                "Expected input_size to have 2 entries, one per spatial axis; received input_size=(28, 28, 28) with 3. "
                "Give one per axis, or one number for all of them."
            ),
        ),
        (
            lambda: create_model("two_conv", dropout=1.5),
            GeometryError,
            "Expected a dropout probability of at least 0 and below 1; received dropout=1.5. Use 0 for no dropout.",
        ),
    ],
)
def test_errors_are_named(call, error_class, message):
    with pytest.raises(error_class) as error:
        call()
    assert str(error.value) == message


# LeNet-5 as published ------------------------------------------------------------------------------------------------

# Table I, a row for every map of S2 with an X where a map of C3 sees it.
TABLE_1 = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


def test_c3_is_connected_as_in_table_1():
    rows = TABLE_1.split()
    assert [[source for source in range(6) if rows[source][out] == "X"] for out in range(16)] == [
        sorted(sources) for sources in C3_CONNECTIONS
    ]
    dense = create_model("lenet5").c3.dense_weight()
    assert dense.shape == (16, 6, 5, 5)
    for out in range(16):
        for source in range(6):
            assert dense[out, source].any() == (rows[source][out] == "X")


def test_connections_are_as_many_as_the_paper_counts():
    model, feature_map, connections = create_model("lenet5"), torch.zeros(1, 1, 32, 32), 0
    for name, layer in model.named_children():
        feature_map = layer(feature_map)
        positions = feature_map[0, 0].numel()
        if name in ("s2", "s4"):
            connections += feature_map[0].numel() * (4 + 1)
        elif total(layer):
            connections += total(layer) * positions
    assert connections + 10 * 84 == 340_908


def test_forward_is_the_papers_arithmetic():
    """The same network once more, in float64 with plain torch and nothing shared."""
    model = create_model("lenet5").double()
    x = torch.randn(3, 1, 32, 32).double()
    w = dict(model.named_parameters())

    def squash(state):
        return 1.7159 * torch.tanh(2 / 3 * state)

    def subsample(maps, layer):
        sums = maps[..., ::2, ::2] + maps[..., 1::2, ::2] + maps[..., ::2, 1::2] + maps[..., 1::2, 1::2]
        return torch.stack(
            [
                sums[:, c] * w[f"{layer}.weight"].flatten()[c] + w[f"{layer}.bias"].flatten()[c]
                for c in range(sums.shape[1])
            ],
            dim=1,
        )

    maps = squash(F.conv2d(x, w["c1.weight"], w["c1.bias"]))
    maps = squash(subsample(maps, "s2"))
    outputs, kernel = [], 0
    for out, sources in enumerate(C3_CONNECTIONS):
        state = w["c3.bias"][out]
        for source in sources:
            state = state + F.conv2d(maps[:, source : source + 1], w["c3.weight"][kernel][None, None])
            kernel += 1
        outputs.append(state)
    maps = squash(torch.cat(outputs, dim=1))
    maps = squash(subsample(maps, "s4"))
    units = squash(F.conv2d(maps, w["c5.weight"], w["c5.bias"]))[..., 0, 0]
    units = squash(units @ w["f6.weight"].T + w["f6.bias"])
    distances = torch.stack([(units - code).square().sum(1) for code in digit_codes().double()], dim=1)
    torch.testing.assert_close(model(x), -distances)
    torch.testing.assert_close(create_model_scaled(model, 0.1)(x), -distances * 0.1)


def create_model_scaled(model, scale):
    twin = create_model("lenet5", scale=scale).double()
    twin.load_state_dict(model.state_dict())
    return twin


def test_weights_start_within_the_papers_bounds():
    model = create_model("lenet5")
    fan_in = {"c1": 25, "s2": 4, "s4": 4, "c5": 400, "f6": 120}
    for name, count in fan_in.items():
        largest = getattr(model, name).weight.abs().max().item()
        assert 0.5 * 2.4 / count < largest <= 2.4 / count
    dense = model.c3.dense_weight()
    for out, sources in enumerate(C3_CONNECTIONS):
        assert 0.8 * 2.4 / (25 * len(sources)) < dense[out].abs().max() <= 2.4 / (25 * len(sources))


def test_codes_are_ten_different_drawings():
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    differing = (codes.unsqueeze(1) != codes).sum(-1)
    assert differing[~torch.eye(10, dtype=bool)].min() >= 10
    model = create_model("lenet5")
    assert torch.equal(model.output.codes, codes)
    assert "output.codes" in model.state_dict()
    assert not any("codes" in name for name, _ in model.named_parameters())


def test_other_class_counts_get_random_codes_from_a_fixed_seed():
    before = torch.get_rng_state()
    codes = random_codes(26)
    assert torch.equal(before, torch.get_rng_state())
    assert codes.shape == (26, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert len(codes.unique(dim=0)) == 26
    assert torch.equal(create_model("lenet5", num_classes=26).output.codes, codes)
