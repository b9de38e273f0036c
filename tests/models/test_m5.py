"""The networks on raw sound: layers, lengths and millions of parameters as the paper's table gives them."""

import pytest
import torch

from striate.insight import summary
from striate.models import RawAudioNet, create_model
from striate.nn import Conv1d

# Table 1 of the paper: layers with weights, and millions of parameters.
TABLE = {"m3": (3, 0.2), "m5": (5, 0.5), "m11": (11, 1.8), "m18": (18, 3.7)}


@pytest.mark.parametrize("name", TABLE)
def test_layers_and_parameters_are_the_papers(name):
    with torch.device("meta"):
        model = create_model(name, spatial_dims=1)
    layers, millions = TABLE[name]
    assert sum(isinstance(module, Conv1d) for module in model.modules()) + 1 == layers
    count = sum(parameter.numel() for parameter in model.parameters())
    # The paper cuts M5's 0.558 off where it rounds the others.
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(("name", "lengths"), [("m3", [2000, 500]), ("m18", [2000, 500, 125, 32, 32])])
def test_lengths_of_the_stages_are_the_papers(name, lengths):
    with torch.device("meta"):
        model = create_model(name, spatial_dims=1)
        rows = {row.name: row for row in summary(model, (1, 1, 32_000)).rows}
    assert rows["features.0.0.conv"].output_shape[2] == 8000
    for stage, length in zip(model.stages, lengths, strict=True):
        last = [row for name, row in rows.items() if name.startswith(f"{stage}.")][-1]
        assert last.output_shape[2] == length


def test_any_length_will_do():
    model = RawAudioNet(1, 4, ((8, 1), (8, 2), (16, 1))).eval()
    for length in (1, 79, 1001):
        assert model(torch.randn(1, 1, length)).shape == (1, 4)
