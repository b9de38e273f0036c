"""The temporal convolutional network: what it counts, and that it never looks ahead."""

import pytest
import torch

from striate.errors import ModelError
from striate.insight import summary
from striate.models import TCN, create_model


def small(**options):
    options = {"hidden_channels": 6, "levels": 3, "kernel_size": 3, **options}
    return TCN(2, 4, **options)


def test_parameters():
    model = create_model("tcn", spatial_dims=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 66_910
    first = sum(parameter.numel() for parameter in model.network[0].parameters())
    assert first == (7 * 25 + 50) + (25 * 7 * 25 + 50) + (25 + 25)


def test_an_output_depends_on_its_step_and_earlier_ones_alone():
    torch.manual_seed(0)
    model = small(every_step=True).eval().double()
    x = torch.randn(1, 2, 40, dtype=torch.double, requires_grad=True)
    output = model(x)
    assert output.shape == (1, 4, 40)
    for step in (0, 17, 39):
        (gradient,) = torch.autograd.grad(output[:, :, step].sum(), x, retain_graph=True)
        seen = gradient.abs().sum((0, 1)).nonzero().flatten()
        assert seen.max() == step
        assert seen.min() == max(0, step - model.receptive_field + 1)


@pytest.mark.parametrize(("levels", "kernel_size"), [(1, 2), (3, 3), (4, 5), (8, 7)])
def test_receptive_field_is_the_papers(levels, kernel_size):
    model = small(levels=levels, kernel_size=kernel_size, every_step=True)
    field = 1 + 2 * (kernel_size - 1) * (2**levels - 1)
    assert model.receptive_field == field
    stages = {row.name: row for row in summary(model.network, (1, 2, 30)).rows}
    last = stages[f"{levels - 1}.conv2"].receptive_field[0]
    assert last.size == field
    # The newest input that the first output sees is the first.
    assert last.first[1] == 0


def test_the_last_step_decides():
    model = small().eval()
    every = small(every_step=True).eval()
    every.load_state_dict(model.state_dict())
    x = torch.randn(3, 2, 25)
    torch.testing.assert_close(model(x), every(x)[:, :, -1])


def test_weights_are_a_norm_times_a_direction_and_start_small():
    torch.manual_seed(0)
    model = create_model("tcn", spatial_dims=1)
    conv = model.network[3].conv1
    norm, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
    assert norm.shape == (25, 1, 1)
    torch.testing.assert_close(conv.weight, norm * direction / direction.norm(dim=(1, 2), keepdim=True))
    assert conv.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert all(block.downsample is None for block in model.network[1:])


def test_files_with_the_older_names_of_weight_norm_load():
    model, other = small().eval(), small().eval()
    older = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in model.state_dict().items()
    }
    assert any(key.endswith("weight_g") for key in older)
    other.load_state_dict(older)
    x = torch.randn(1, 2, 9)
    torch.testing.assert_close(other(x), model(x))


def test_levels_are_checked():
    with pytest.raises(ModelError, match="at least 1 level; received levels=0"):
        create_model("tcn", spatial_dims=1, levels=0)
