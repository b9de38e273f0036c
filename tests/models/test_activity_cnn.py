"""The plain network for activity recognition."""

import pytest
import torch

from striate.errors import ModelError
from striate.models import create_model


def test_parameters_by_layer():
    model = create_model("activity_cnn", spatial_dims=1, in_channels=6, num_classes=5)
    first, second = 64 * (6 * 10 + 1), 64 * (64 * 10 + 1)
    dense = 100 * (64 * 12 + 1) + 5 * 101
    assert sum(parameter.numel() for parameter in model.parameters()) == first + second + dense


@pytest.mark.parametrize(("filters", "left"), [((8,), 25), ((8, 8), 12), ((4, 6, 8), 6)])
def test_each_filter_count_is_a_stage_with_a_pool(filters, left):
    model = create_model("activity_cnn", spatial_dims=1, in_channels=3, filters=filters)
    output = torch.randn(2, 3, 50)
    for name, width in zip(model.stages, filters, strict=True):
        output = model.get_submodule(name)(output)
        assert output.shape[1] == width
    assert output.shape[2] == left


def test_windows_that_are_too_short_are_refused():
    with pytest.raises(ModelError, match="an input_size of at least 8, so that 3 pools leave something; received 7"):
        create_model("activity_cnn", spatial_dims=1, input_size=7, filters=(4, 4, 4))
