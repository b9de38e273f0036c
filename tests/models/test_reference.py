"""Networks that others publish weights for: the same tensors, and the same outputs for the same weights.

`reference.json` holds, per network, a hash over the names and shapes of all tensors, and the first and last values and
the norm of the output for the weights and the input of `filling.py`, computed with the networks' usual implementation.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from filling import fill_model, reference_input

from striate.models import create_model, list_models

REFERENCE = json.loads(Path(__file__).with_name("reference.json").read_text())
HERE = [name for name in REFERENCE if name in list_models()]
LIGHT = 30_000_000


def build(name):
    shape = REFERENCE[name]["input_shape"]
    classes = REFERENCE[name]["num_classes"]
    return create_model(name, spatial_dims=len(shape) - 2, in_channels=shape[1], num_classes=classes)


@pytest.mark.parametrize("name", HERE)
def test_tensors_have_the_published_names_and_shapes(name):
    with torch.device("meta"):
        model = build(name)
    state = model.state_dict()
    lines = "\n".join(f"{key} {list(tensor.shape)}" for key, tensor in state.items())
    assert len(state) == REFERENCE[name]["tensors"]
    assert hashlib.sha256(lines.encode()).hexdigest() == REFERENCE[name]["tensors_sha256"]
    assert sum(parameter.numel() for parameter in model.parameters()) == REFERENCE[name]["parameters"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if REFERENCE[name]["parameters"] > LIGHT else []) for name in HERE],
)
def test_the_same_weights_give_the_same_output(name):
    expected = REFERENCE[name]
    model = build(name).eval()
    fill_model(model)
    with torch.inference_mode():
        output = model(reference_input(expected["input_shape"])).double().flatten(1)
    assert list(output.shape) == expected["output_shape"]
    norm = expected["norm"]
    assert output.norm().item() == pytest.approx(norm, rel=1e-4)
    flat = output.flatten()
    torch.testing.assert_close(flat[:6], torch.tensor(expected["first"]).double(), rtol=0, atol=1e-4 * norm)
    torch.testing.assert_close(flat[-6:], torch.tensor(expected["last"]).double(), rtol=0, atol=1e-4 * norm)
