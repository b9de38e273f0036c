"""The battery that every registered network takes, in every rank it claims."""

import copy
import re

import pytest
import torch
from torch.nn import functional as F

from striate.errors import GeometryError, ModelError
from striate.geometry import conv_macs
from striate.models import create_model, list_models, model_entry

CASES = [(name, rank) for name in list_models() for rank in model_entry(name).spatial_dims]


def smallest(name, rank, **options):
    size = model_entry(name).min_input_size
    model = create_model(name, spatial_dims=rank, in_channels=2, num_classes=3, input_size=size, **options)
    return model, torch.randn(2, 2, *(size,) * rank)


@pytest.mark.parametrize(("name", "rank"), CASES)
@pytest.mark.parametrize("which", ["usual", "smallest"])
@pytest.mark.parametrize("training", [True, False])
def test_forward_and_backward_of_one_sample(name, rank, which, training):
    entry = model_entry(name)
    size = entry.input_size if which == "usual" else entry.min_input_size
    options = {} if which == "usual" else {"input_size": size}
    model = create_model(name, spatial_dims=rank, in_channels=1, num_classes=3, **options).train(training)
    logits = model(torch.randn(1, 1, *(size,) * rank))
    assert logits.shape == (1, 3)
    assert logits.isfinite().all()
    F.cross_entropy(logits, torch.tensor([1])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize(("name", "rank"), CASES)
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
        assert model(x).shape == (2, 3)


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_batch_is_dynamic_in_export_and_samples_do_not_mix(name, rank):
    model, x = smallest(name, rank)
    model.eval()
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    many = torch.randn(5, *x.shape[1:])
    torch.testing.assert_close(exported.module()(many), torch.cat([model(one[None]) for one in many]))


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_inputs_that_do_not_fit_are_refused(name, rank):
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
    model, _ = smallest(name, rank)
    size = (33,) * rank
    huge = torch.zeros(1, 2, *size)
    with pytest.raises(ModelError) as error:
        model(huge)
    assert error.value.remedy == f"Resize the input, or build the model with input_size={size}."
    built = create_model(name, spatial_dims=rank, in_channels=2, input_size=size)
    assert built(huge).shape == (1, 10)
    with pytest.raises((ModelError, GeometryError)):
        create_model(name, spatial_dims=rank, input_size=model_entry(name).min_input_size - 1)


@pytest.mark.parametrize("name", [name for name, rank in CASES if rank == 2])
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


@pytest.mark.parametrize("name", list_models())
def test_docstring_tells_the_true_parameters_and_macs(name):
    entry = model_entry(name)
    model = create_model(name)
    counts = {"macs": 0}

    def count(layer, inputs, output):
        if hasattr(layer, "connections"):
            counts["macs"] += layer.weight.numel() * output[0, 0].numel()
        elif hasattr(layer, "groups"):
            counts["macs"] += conv_macs(
                layer.in_channels, layer.out_channels, layer.kernel_size, tuple(output.shape[2:]), layer.groups
            )
        elif hasattr(layer, "in_features"):
            counts["macs"] += layer.weight.numel()

    for layer in model:
        layer.register_forward_hook(count)
    model(torch.zeros(1, 1, entry.input_size, entry.input_size))
    stated = {word: int(number.replace(",", "")) for number, word in re.findall(
        r"([\d,]+)\s+(?:trainable\s+)?(parameters|macs)", entry.builder.__doc__
    )}  # fmt: skip
    assert stated == {"parameters": sum(p.numel() for p in model.parameters()), "macs": counts["macs"]}
