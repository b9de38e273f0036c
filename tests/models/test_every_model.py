"""The battery that every registered network takes, in every rank it claims.

Networks of more than LIGHT parameters take it on meta tensors, which have shapes and no values, and with values only
among the slow tests.
"""

import copy

import pytest
import torch
from torch.nn import functional as F

from striate.errors import GeometryError, ModelError
from striate.insight import summary
from striate.models import create_model, list_models, model_entry
from striate.models.outputs import main_output

LIGHT = 4_000_000
CASES = [(name, rank) for name in list_models() for rank in model_entry(name).spatial_dims]


def heavy(name):
    return model_entry(name).parameters > LIGHT


def by_weight(cases):
    """Cases, the heavy ones marked slow."""
    return [pytest.param(*case, marks=[pytest.mark.slow] if heavy(case[0]) else []) for case in cases]


def built(name, rank, which, in_channels=2, num_classes=3):
    """The network for its usual or smallest input, and a batch of two such inputs."""
    entry = model_entry(name)
    size = entry.input_size if which == "usual" else entry.min_input_size
    options = {"input_size": size} if "input_size" in entry.options else {}
    model = create_model(name, spatial_dims=rank, in_channels=in_channels, num_classes=num_classes, **options)
    return model, torch.randn(2, in_channels, *(size,) * rank)


def smallest(name, rank):
    return built(name, rank, "smallest")


@pytest.mark.parametrize(("name", "rank"), by_weight(CASES))
@pytest.mark.parametrize("which", ["usual", "smallest"])
@pytest.mark.parametrize("training", [True, False])
def test_forward_and_backward_of_one_sample(name, rank, which, training):
    model, x = built(name, rank, which)
    model.train(training)
    if training:
        # One value per channel has no deviation: batch norm refuses it, and so does torch's own.
        batch = x if any("BatchNorm" in type(layer).__name__ for layer in model.modules()) else x[:1]
    else:
        batch = x[:1]
    output = model(batch)
    every = [output] if isinstance(output, torch.Tensor) else [output.output, *output.auxiliary]
    assert all(each.isfinite().all() for each in every)
    if model_entry(name).task == "classification":
        assert main_output(output).shape == (len(batch), 3)
    sum(each.square().mean() + each.flatten(1)[:, 0].mean() for each in every).backward()
    for parameter_name, parameter in model.named_parameters():
        if not training and parameter_name.startswith(tuple(getattr(model, "auxiliary_modules", ()))):
            continue
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    touched = sum(bool(parameter.grad.any()) for parameter in model.parameters() if parameter.grad is not None)
    assert touched


@pytest.mark.parametrize(("name", "rank"), by_weight(CASES))
def test_copy_state_and_export(name, rank):
    model, x = smallest(name, rank)
    model.eval()
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    twin, _ = smallest(name, rank)
    assert not torch.equal(twin.eval()(x), expected)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), expected)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), expected)


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_can_be_built_without_memory(name, rank):
    with torch.device("meta"):
        model, x = smallest(name, rank)
        assert all(tensor.is_meta for tensor in model.state_dict().values())
        output = main_output(model(x))
        assert output.is_meta
        if model_entry(name).task == "classification":
            assert output.shape == (2, 3)


@pytest.mark.parametrize(("name", "rank"), by_weight(CASES))
def test_batch_is_dynamic_in_export_and_samples_do_not_mix(name, rank):
    model, x = smallest(name, rank)
    model.eval()
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    many = torch.randn(5, *x.shape[1:])
    torch.testing.assert_close(exported.module()(many), torch.cat([model(one[None]) for one in many]))


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_inputs_that_do_not_fit_are_refused(name, rank):
    with torch.device("meta"):
        model, x = smallest(name, rank)
    sizes = ", size" * rank
    for wrong in (x[0], x[:, :1]):
        with pytest.raises(ModelError) as error:
            model(wrong)
        assert str(error.value) == (
            f"Expected a batch of shape (N, 2{sizes}); received an input of shape {tuple(wrong.shape)}. "
            "Reshape it, or build the model with other spatial_dims or in_channels."
        )


@pytest.mark.parametrize(("name", "rank"), [case for case in CASES if "input_size" in model_entry(case[0]).options])
def test_a_larger_input_is_refused_with_how_to_build_for_it(name, rank):
    entry = model_entry(name)
    size = (entry.input_size + 1,) * rank
    with torch.device("meta"):
        model, _ = smallest(name, rank)
        huge = torch.zeros(1, 2, *size)
        with pytest.raises(ModelError) as error:
            model(huge)
        assert error.value.remedy == f"Resize the input, or build the model with input_size={size}."
        larger = create_model(name, spatial_dims=rank, in_channels=2, input_size=size)
        assert larger(huge).shape == (1, 10)
    with pytest.raises((ModelError, GeometryError)):
        create_model(name, spatial_dims=rank, input_size=entry.min_input_size - 1)


@pytest.mark.parametrize(("name", "rank"), [case for case in CASES if "input_size" not in model_entry(case[0]).options])
def test_a_smaller_input_is_refused_with_the_smallest(name, rank):
    least = model_entry(name).min_input_size
    if least == 1:
        return
    with torch.device("meta"):
        model, x = smallest(name, rank)
        for axis in range(2, 2 + rank):
            with pytest.raises(ModelError, match=f"at least {least}"):
                model(x.narrow(axis, 0, least - 1))


@pytest.mark.parametrize("name", list_models())
def test_parameters_and_macs_are_those_registered(name):
    entry = model_entry(name)
    options = {"input_size": entry.input_size} if "input_size" in entry.options else {}
    with torch.device("meta"):
        model = create_model(
            name,
            spatial_dims=entry.usual_rank,
            in_channels=entry.in_channels,
            num_classes=entry.num_classes,
            **options,
        ).eval()
    assert sum(each.numel() for each in model.parameters() if each.requires_grad) == entry.parameters
    counted = summary(model, (1, entry.in_channels, *[entry.input_size] * entry.usual_rank))
    assert counted.macs == entry.macs
    assert f"{entry.parameters:,} parameters" in entry.description


@pytest.mark.parametrize("name", ["lenet", "lenet5", "lenet_drawn", "two_conv"])
def test_learns_ten_pictures_by_heart(name):
    torch.manual_seed(1)
    model = create_model(name)
    pictures, labels = torch.randn(10, 1, 28, 28), torch.arange(10)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(25):
        optimiser.zero_grad()
        F.cross_entropy(model(pictures), labels).backward()
        optimiser.step()
    assert (model.eval()(pictures).argmax(1) == labels).all()
