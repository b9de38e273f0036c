"""The register: what it lists, what it builds, and how it answers to what it does not know."""

import pytest
import torch

from striate.errors import ModelError
from striate.models import create_model, list_models, model_entry
from striate.models.registry import register, unregister

NAMES = ["lenet", "lenet5", "lenet_drawn", "two_conv"]


@pytest.fixture
def dense():
    """A network that is registered for one test only."""

    @register(summary="One layer", paper="", year=1958, input_size=8, min_input_size=1, spatial_dims=(1,), task="other")
    def dense_only(spatial_dims, in_channels, num_classes, *, bias=True):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(in_channels * 8, num_classes, bias=bias))

    yield dense_only
    unregister("dense_only")


def test_lists_are_sorted_and_filtered(dense):
    assert list_models() == sorted([*NAMES, "dense_only"])
    assert list_models(task="classification") == NAMES
    assert list_models(spatial_dims=3) == ["lenet", "lenet_drawn", "two_conv"]
    assert list_models(task="other", spatial_dims=2) == []


@pytest.mark.parametrize("name", NAMES)
def test_entries_are_complete(name):
    entry = model_entry(name)
    assert entry.name == name
    assert entry.summary
    assert entry.paper
    assert 1980 <= entry.year <= 2030
    assert entry.task == "classification"
    assert set(entry.spatial_dims) <= {1, 2, 3}
    assert 1 <= entry.min_input_size <= entry.input_size
    assert "input_size" in entry.options


def test_options_reach_the_builder(dense):
    assert create_model("dense_only", spatial_dims=1, in_channels=2, bias=False)[1].weight.shape == (10, 16)
    assert model_entry("dense_only").options == {"bias": True}
    assert create_model("lenet", dropout=0.25).dropout.p == 0.25


def register_twice():
    @register(summary="", paper="", year=1998, input_size=1, min_input_size=1)
    def lenet(spatial_dims, in_channels, num_classes):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: create_model("lenett"),
            "Expected the name of a model; received 'lenett'. Did you mean 'lenet' or 'lenet5'?",
        ),
        (
            lambda: model_entry("resnet"),
            "Expected the name of a model; received 'resnet'. Did you mean 'lenet' or 'lenet5'?",
        ),
        (
            lambda: create_model("vgg"),
            "Expected the name of a model; received 'vgg'. Choose one of: lenet, lenet5, lenet_drawn, two_conv.",
        ),
        (
            lambda: create_model(["lenet"]),
            "Expected the name of a model; received ['lenet']. Did you mean 'lenet' or 'lenet5'?",
        ),
        (
            lambda: create_model("lenet5", scale=float("nan")),
            "Expected scale to be a positive number; received scale=nan. Use 1 for the distances as they are.",
        ),
        (
            lambda: create_model("lenet5", scale="0.1"),
            "Expected scale to be a positive number; received scale='0.1'. Use 1 for the distances as they are.",
        ),
        (
            lambda: create_model("lenet5", spatial_dims=3),
            "Expected lenet5 in 2-D; received spatial_dims=3. Models in 3-D: lenet, lenet_drawn, two_conv.",
        ),
        (
            lambda: create_model("lenet", spatial_dims=4),
            "Expected lenet in 1-D or 2-D or 3-D; received spatial_dims=4. Networks exist in 1-D, 2-D and 3-D.",
        ),
        (
            lambda: create_model("lenet", num_classes=0),
            "Expected num_classes to be a positive integer; received num_classes=0. Use 1 or more.",
        ),
        (
            lambda: create_model("lenet", in_channels=1.0),
            "Expected in_channels to be a positive integer; received in_channels=1.0. Use 1 or more.",
        ),
        (
            lambda: create_model("two_conv", droput=0.1),
            (
                "Expected options that two_conv takes: input_size=None, dropout=0.5; received droput=0.1. "
                "Did you mean 'dropout'?"
            ),
        ),
        (
            register_twice,
            (
                "Expected a name that no other model has; received a second model named 'lenet'. "
                "Rename the builder function."
            ),
        ),
    ],
)
def test_errors_are_named(call, message):
    with pytest.raises(ModelError) as error:
        call()
    assert str(error.value) == message
