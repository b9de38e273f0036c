"""The half squared error against its formula, for every form of target."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from striate.errors import InputError
from striate.nn import HalfSquaredError, half_squared_error


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_indices_one_hot_and_formula_agree(samples, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(samples, classes, generator=generator).double()
    target = torch.randint(classes, (samples,), generator=generator)
    one_hot = F.one_hot(target, classes)
    each = [
        sum((output[row, column].item() - float(one_hot[row, column])) ** 2 / 2 for column in range(classes))
        for row in range(samples)
    ]
    for form in (target, one_hot, one_hot.double()):
        torch.testing.assert_close(half_squared_error(output, form, "none"), torch.tensor(each).double())
        assert half_squared_error(output, form, "sum").item() == pytest.approx(sum(each))
        assert HalfSquaredError()(output, form).item() == pytest.approx(sum(each) / samples)


def test_gradient_is_the_difference():
    output = torch.randn(2, 3, requires_grad=True)
    target = torch.rand(2, 3)
    half_squared_error(output, target, "sum").backward()
    torch.testing.assert_close(output.grad, output.detach() - target)
    assert torch.autograd.gradcheck(half_squared_error, (output.detach().double().requires_grad_(), target.double()))


def test_one_sample_and_export():
    assert half_squared_error(torch.tensor([1.0, 2.0]), torch.tensor(0)).item() == 2.0
    example = (torch.randn(2, 3), torch.tensor([0, 2]))
    exported = torch.export.export(HalfSquaredError("sum"), example).module()
    torch.testing.assert_close(exported(*example), HalfSquaredError("sum")(*example))
    assert repr(HalfSquaredError("sum")) == "HalfSquaredError(reduction='sum')"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: half_squared_error(torch.zeros(2, 3), torch.tensor([0, 3])),
            (
                "Expected class indices from 0 to 2, one for each of the 3 outputs; received index 3. "
                "Renumber the classes, or give the network more outputs."
            ),
        ),
        (
            lambda: half_squared_error(torch.zeros(2, 3), torch.zeros(2)),
            (
                "Expected a target of class indices of shape (2,), or one of shape (2, 3); received a target of "
                "shape (2,) and type torch.float32. Give one index per sample, or one value per output."
            ),
        ),
        (
            lambda: half_squared_error(torch.zeros(2, 3), torch.zeros(3, 3)),
            (
                "Expected a target of class indices of shape (2,), or one of shape (2, 3); received a target of "
                "shape (3, 3) and type torch.float32. Give one index per sample, or one value per output."
            ),
        ),
        (
            lambda: half_squared_error(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)),
            (
                "Expected an output of shape (N, C), or (C,) for one sample; received shape (2, 3, 4). "
                "Flatten everything but the batch first."
            ),
        ),
        (
            lambda: half_squared_error(torch.zeros(2, 3), torch.zeros(2, 3), "average"),
            "Expected reduction to be mean, sum or none; received reduction='average'. Pick one.",
        ),
        (
            lambda: HalfSquaredError("average"),
            "Expected reduction to be mean, sum or none; received reduction='average'. Pick one.",
        ),
    ],
)
def test_errors_are_named(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message
