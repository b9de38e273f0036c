"""Features at named stages, tables of features, and what every registered network tells of its stages and its head."""

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from striate.data import load_data
from striate.errors import ModelError
from striate.models import create_model, feature_table, features, list_models, model_entry
from striate.models.features import head_name, stage_names
from striate.models.outputs import WithAuxiliary


def families():
    """One network of each builder."""
    found = {}
    for name in list_models():
        builder = model_entry(name).builder
        found.setdefault(getattr(builder, "func", builder), name)
    return sorted(found.values())


def hooks(model):
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())


@pytest.mark.parametrize("name", families())
def test_every_family_tells_its_stages_and_its_head(name):
    entry = model_entry(name)
    options = {"input_size": entry.min_input_size} if "input_size" in entry.options else {}
    with torch.device("meta"):
        model = create_model(name, spatial_dims=entry.usual_rank, in_channels=2, num_classes=3, **options).eval()
        size = (entry.min_input_size,) * entry.usual_rank
        tokens = entry.input_kind == "tokens"
        x = torch.zeros(2, *size, dtype=torch.long) if tokens else torch.zeros(2, 2, *size)
        found = features(model, x)
    assert tuple(found) == stage_names(model)
    assert all(len(each) == 2 for each in found.values())
    model.get_submodule(head_name(model))


@pytest.fixture
def model():
    return create_model("lenet").eval()


def test_features_are_what_the_layers_put_out(model):
    x = torch.rand(3, 1, 28, 28)
    found = features(model, x)
    assert list(found) == ["pool1", "pool2"]
    assert torch.equal(found["pool1"], model[:3](x))
    assert torch.equal(found["pool2"], model[:6](x))
    assert list(features(model, x, "act4")) == ["act4"]
    assert list(features(model, x, ("fc3", "conv1", "fc3"))) == ["fc3", "conv1"]
    assert torch.equal(features(model, x, ["fc3"])["fc3"], model(x))
    assert hooks(model) == 0


def test_features_follow_the_modes_they_are_called_in(model):
    x = torch.rand(1, 1, 28, 28)
    features(model, x, "conv2")["conv2"].sum().backward()
    assert model.conv1.weight.grad.any()
    with torch.inference_mode():
        assert features(model, x)["pool1"].is_inference()
    assert not model.training
    model.train()
    features(model, x)
    assert model.training


def test_a_layer_that_writes_in_place_changes_no_feature():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(inplace=True))
    x = torch.randn(4, 1, 9)
    assert torch.equal(features(model, x, "0")["0"], model[0](x))
    assert features(model, x, "0")["0"].min() < 0


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x


class Auxiliary(nn.Module):
    def forward(self, x):
        return WithAuxiliary(x + 1, (x,), (0.3,))


def test_outputs_with_auxiliary_ones_give_the_main_one():
    found = features(nn.Sequential(Auxiliary()), torch.zeros(1, 2), "0")
    assert torch.equal(found["0"], torch.ones(1, 2))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            "pool3",
            (
                "Expected stages to be names of submodules; received 'pool3'. Did you mean 'pool2' or 'pool1'? "
                "Its stages: pool1, pool2. Its submodules: conv1, act1, pool1, conv2, act2, pool2, flatten, fc1, "
                "act3, fc2, act4, dropout, fc3, and those inside them."
            ),
        ),
        (("conv1", "zzzzzz"), "received 'zzzzzz'. Its stages: pool1, pool2."),
        ((), "stages=()"),
    ],
)
def test_unknown_stages_are_refused_with_those_there_are(model, stages, message):
    with pytest.raises(ModelError) as error:
        features(model, torch.zeros(1, 1, 28, 28), stages)
    assert message in str(error.value)


def test_hooks_are_removed_after_errors(model):
    with pytest.raises(ModelError, match="a batch of shape"):
        features(model, torch.zeros(1, 2, 28, 28))
    pair = nn.Sequential(nn.Identity(), TwoOutputs())
    with pytest.raises(ModelError, match="received a tuple from '1'"):
        features(pair, torch.zeros(1, 2), ("0", "1"))
    pair.unused = nn.Identity()
    pair.forward = lambda x: x
    with pytest.raises(ModelError, match="'unused', which did not run"):
        features(pair, torch.zeros(1, 2), "unused")
    with pytest.raises(ModelError, match="names of submodules in stages, as this network tells no stages"):
        features(pair, torch.zeros(1, 2))
    assert hooks(model) == hooks(pair) == 0


def test_a_table_holds_what_the_head_sees(model):
    x = torch.rand(10, 1, 28, 28)
    table = feature_table(model.train(), x.split(4))
    assert table.shape == (10, 84)
    assert table.dtype == np.float32
    assert model.training
    assert model.dropout.training
    assert hooks(model) == 0
    np.testing.assert_allclose(table, model.eval()[:-1](x).detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_table_of_stages_averages_positions(model):
    x = torch.rand(5, 1, 28, 28)
    table, labels = feature_table(
        model, [(x[:3], torch.arange(3)), (x[3:], torch.arange(2))], ("pool1", "fc1"), labelled=True
    )
    assert table.shape == (5, 6 + 120)
    assert labels.tolist() == [0, 1, 2, 0, 1]
    np.testing.assert_allclose(table[:, :6], model[:3](x).mean((2, 3)).detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_table_of_a_network_in_bfloat16_or_with_a_convolution_as_head(model):
    assert feature_table(model.bfloat16(), [torch.rand(2, 1, 28, 28).bfloat16()]).dtype == np.float32
    assert feature_table(model.double(), [torch.rand(2, 1, 28, 28).double()]).dtype == np.float64
    squeeze = create_model("squeezenet1_1", spatial_dims=1)
    assert feature_table(squeeze, [torch.rand(2, 1, 64)]).shape == (2, 512)


def test_tables_refuse_what_they_cannot_use(model):
    with pytest.raises(ModelError, match="at least one batch"):
        feature_table(model, [])
    with pytest.raises(ModelError, match="pairs of inputs and labels"):
        feature_table(model, [torch.zeros(1, 1, 28, 28)], labelled=True)
    with pytest.raises(ModelError, match="names its final layer"):
        feature_table(nn.Sequential(nn.Linear(2, 2)), [torch.zeros(1, 2)])
    assert not model.training


def test_a_support_vector_machine_learns_from_features():
    data = load_data("digits", val_fraction=0)
    network = create_model("lenet", field=16)

    def table(part):
        pictures, labels = part.fetch(range(len(part)))
        batches = zip((pictures / data.value_scale).split(300), labels.split(300), strict=True)
        return feature_table(network, batches, ("pool1", "fc1"), labelled=True)

    learner = make_pipeline(StandardScaler(), SVC(C=10)).fit(*table(data.train))
    # Even the random features of a fresh network tell most of the ten digits apart.
    assert learner.score(*table(data.test)) > 0.75
