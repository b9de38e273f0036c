"""The algebra of receptive fields against real stacks of layers: which inputs matter to which output?"""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from striate.errors import GeometryError
from striate.geometry import ReceptiveField

LENGTH = 200


def positive(*shape):
    return torch.rand(shape, dtype=torch.float64) + 0.5


@st.composite
def layers(draw, transposed):
    kind = draw(st.sampled_from(["conv", "pool", "transposed"] if transposed else ["conv", "pool"]))
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3 if kind != "transposed" else 4))
    dilation = 1 if kind == "pool" else draw(st.integers(1, 3))
    padding = draw(st.integers(0, kernel // 2))
    return kind, kernel, stride, padding, dilation


def run(x, stack):
    """A stack in which everything that can matter does, as all weights are positive."""
    for kind, kernel, stride, padding, dilation in stack:
        if kind == "conv":
            x = F.conv1d(x, positive(1, 1, kernel), None, stride, padding, dilation)
        elif kind == "pool":
            x = F.avg_pool1d(x, kernel, stride, padding)
        else:
            x = F.conv_transpose1d(x, positive(1, 1, kernel), None, stride, padding, 0, 1, dilation)
    return x


def predict(stack, field=None):
    field = field or ReceptiveField()
    for kind, kernel, stride, padding, dilation in stack:
        step = field.through_transposed if kind == "transposed" else field.through
        field = step(kernel, stride, padding, dilation)
    return field


def seen(function, length=LENGTH):
    """For each output, the first and the last input position with a gradient; None where there is none."""
    x = positive(1, 1, length).requires_grad_()
    output = function(x)[0, 0]
    basis = torch.eye(len(output), dtype=x.dtype)
    (rows,) = torch.autograd.grad(output, x, basis, is_grads_batched=True)
    hulls = []
    for row in rows[:, 0, 0] != 0:
        positions = row.nonzero().flatten().tolist()
        hulls.append((positions[0], positions[-1]) if positions else None)
    return hulls


def bounds(field, unit):
    first, last = field.first
    return first + unit * field.jump, last + unit * field.jump


@settings(max_examples=60, deadline=None)
@given(st.lists(layers(transposed=False), min_size=1, max_size=3))
def test_convolutions_and_pools_see_exactly_the_field(stack):
    field = predict(stack)
    compared = 0
    for unit, hull in enumerate(seen(lambda x: run(x, stack))):
        first, last = bounds(field, unit)
        if first >= 0 and last < LENGTH:
            assert hull == (first, last)
            compared += 1
        elif hull is not None:
            assert first <= hull[0] <= hull[1] <= last
    assert compared > 0
    assert field.size == last - first + 1


@settings(max_examples=60, deadline=None)
@given(st.lists(layers(transposed=True), min_size=1, max_size=3))
def test_no_output_sees_beyond_the_field_with_transposed_convolutions(stack):
    field = predict(stack)
    widest = 0
    try:
        hulls = seen(lambda x: run(x, stack), 40)
    except RuntimeError:  # the stack needs more than 40 positions
        reject()
    for unit, hull in enumerate(hulls):
        if hull is not None:
            first, last = bounds(field, unit)
            assert first <= hull[0] <= hull[1] <= last
            widest = max(widest, hull[1] - hull[0] + 1)
    assert widest <= math.floor(field.size)


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", range(1, 5))
def test_the_widest_output_of_a_transposed_convolution_fills_the_field(kernel, stride):
    field = ReceptiveField().through_transposed(kernel, stride)
    hulls = [h for h in seen(lambda x: F.conv_transpose1d(x, positive(1, 1, kernel), None, stride)) if h]
    assert max(last - first + 1 for first, last in hulls) == math.floor(field.size)
    assert field.size == 1 + Fraction(kernel - 1, stride)
    assert field.jump == Fraction(1, stride)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(layers(transposed=False), max_size=2),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 3)), min_size=2, max_size=3),
    st.integers(1, 2),
)
def test_branches_see_together_what_each_of_them_sees(trunk, branches, stride):
    def network(x):
        x = run(x, trunk)
        parts = [run(x, [("conv", k, stride, min(p, d * (k - 1)), d)]) for k, p, d in branches]
        length = min(part.shape[-1] for part in parts)
        return sum(part[..., :length] for part in parts)

    start = predict(trunk)
    field = ReceptiveField.meet(
        [start.through(kernel, stride, min(pad, d * (kernel - 1)), d) for kernel, pad, d in branches]
    )
    compared = 0
    for unit, hull in enumerate(seen(network)):
        first, last = bounds(field, unit)
        if first >= 0 and last < LENGTH:
            assert hull == (first, last)
            compared += 1
    assert compared > 0


def test_branches_that_see_everything():
    local = ReceptiveField().through(3, 2, 1)
    gate = local.everywhere()
    met = ReceptiveField.meet([local, gate])
    assert met.size == math.inf
    assert (met.jump, met.offset) == (local.jump, local.offset)
    assert ReceptiveField.meet([gate, gate]) == gate
    assert gate.first == (-math.inf, math.inf)
    assert gate.through(3, 2).size == math.inf
    assert gate.through_transposed(3, 2).size == math.inf
    # A gate on another resolution says nothing about positions, so it may differ.
    assert ReceptiveField.meet([local, ReceptiveField().everywhere()]) == met


def test_branches_of_different_resolution_are_refused():
    with pytest.raises(GeometryError) as raised:
        ReceptiveField.meet([ReceptiveField().through(3), ReceptiveField().through(3, 2)])
    assert str(raised.value) == (
        "Expected branches that meet to have equal total strides; received strides 1, 2. "
        "Bring the branches to one resolution before they are added or concatenated."
    )


def chain(*steps):
    field = ReceptiveField()
    for kernel, stride, *rest in steps:
        field = field.through(kernel, stride, *rest)
    return int(field.size), int(field.jump)


VGG16 = [(3, 1)] * 2 + [(2, 2)] + [(3, 1)] * 2 + [(2, 2)] + ([(3, 1)] * 3 + [(2, 2)]) * 3
ALEXNET = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
MOBILENET = [(3, 2)] + [(3, s) for s in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)]


def resnet(*units):
    """Bottleneck stages as in the paper's TensorFlow models: each stage but the last strides in its last unit."""
    stages = [[(3, 1)] * (n - 1) + [(3, 2 if i < 3 else 1)] for i, n in enumerate(units)]
    return [(7, 2), (3, 2)] + [layer for stage in stages for layer in stage]


@pytest.mark.parametrize(
    ("stack", "size", "stride"),
    [
        (VGG16, 212, 32),
        (ALEXNET, 195, 32),
        (MOBILENET, 315, 32),
        (resnet(3, 4, 6, 3), 483, 32),
        (resnet(3, 4, 23, 3), 1027, 32),
    ],
    ids=["vgg16", "alexnet", "mobilenet", "resnet50", "resnet101"],
)
def test_published_fields(stack, size, stride):
    """Table of Araujo, Norris and Sim, Distill 2019."""
    assert chain(*stack) == (size, stride)


def test_lenet_and_a_dilated_stack():
    assert chain((5, 1), (2, 2), (5, 1), (2, 2), (5, 1)) == (32, 4)
    # Exponential dilation, as WaveNet (van den Oord et al. 2016): ten layers see 1024 samples.
    assert chain(*[(2, 1, 0, 2**i) for i in range(10)]) == (1024, 1)


def test_offset_is_the_centre_of_the_first_unit():
    assert ReceptiveField().through(3, 1, 1).offset == 0
    assert ReceptiveField().through(2, 2).offset == Fraction(1, 2)
    assert ReceptiveField().through(3, 2, 1).through(3, 2, 1).first == (-3, 3)
    assert ReceptiveField().through_transposed(2, 2).offset == Fraction(-1, 4)
