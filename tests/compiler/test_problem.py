import pytest
from any_problem import problems
from hypothesis import given

from striate.compiler.problem import ConvProblem
from striate.errors import GeometryError


@given(problems())
def test_the_text_form_parses_back(problem):
    assert ConvProblem.parse(str(problem)) == problem


@pytest.mark.parametrize(
    ("text", "output", "macs"),
    [
        ("2d n8 c64 o64 i56 k3 s1 p1", (56, 56), 8 * 64 * 64 * 9 * 56 * 56),
        ("2d n8 c3 o64 i224x192 k7 s2 p3", (112, 96), 8 * 3 * 64 * 49 * 112 * 96),
        ("1d n32 c64 o64 i1000 k3 s1 p64:0 d32", (1000,), 32 * 64 * 64 * 3 * 1000),
        ("2d n8 c192 o192 i28 k3 s1 p1 g192", (28, 28), 8 * 192 * 9 * 28 * 28),
        ("3d n2 c32 o32 i32 k3 s1 p1", (32, 32, 32), 2 * 32 * 32 * 27 * 32**3),
    ],
)
def test_published_layers(text, output, macs):
    problem = ConvProblem.parse(text)
    assert (str(problem), problem.output_size, problem.macs) == (text, output, macs)


def test_the_spec_leaves_out_what_a_kernel_takes_at_run_time():
    one, other = (ConvProblem.parse(f"2d n{n} c8 o8 i{i} k3 s1 p{p}") for n, i, p in ((1, 7, 0), (8, 56, 1)))
    assert one.spec == other.spec
    assert str(one.spec) == "2d c8 o8 k3 s1"
    assert one.with_pass("grad_weight").spec != one.spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "4d n1 c1 o1 i1 k1",
            (
                "Expected a convolution such as '2d n8 c64 o64 i56 k3 s1 p1'; received '4d n1 c1 o1 i1 k1', at '4d'. "
                "Begin with 1d, 2d or 3d."
            ),
        ),
        (
            "2d n1 c1 o1 i5 kx",
            (
                "Expected a convolution such as '2d n8 c64 o64 i56 k3 s1 p1'; received '2d n1 c1 o1 i5 kx', at 'kx'. "
                "See striate.compiler.problem for the words of the text form."
            ),
        ),
        (
            "2d n1 c1 c2 o1 i5 k1",
            (
                "Expected a convolution such as '2d n8 c64 o64 i56 k3 s1 p1'; received '2d n1 c1 c2 o1 i5 k1', "
                "at 'c2'. Give in_channels once."
            ),
        ),
        (
            "2d c1 o1 k1",
            (
                "Expected a convolution such as '2d n8 c64 o64 i56 k3 s1 p1'; received '2d c1 o1 k1'. "
                "Add n, i: n batch, c in, o out, i size, k kernel."
            ),
        ),
        (
            "1d n1 c1 o1 i2 k3",
            (
                "Expected a padded input of at least 3 on axis 0, the extent of the kernel; "
                "received input size 2 with padding (0, 0). "
                "Enlarge the input, pad more, or use a smaller kernel_size or dilation."
            ),
        ),
    ],
)
def test_what_cannot_be_read(text, message):
    with pytest.raises(GeometryError) as caught:
        ConvProblem.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "Expected dtype to be one of float32, float64; received dtype='int8'. Pick one."),
        (
            {"pass_": "back"},
            "Expected pass to be one of forward, grad_input, grad_weight; received pass='back'. Pick one.",
        ),
        (
            {"activation": "x"},
            "Expected activation to be one of relu, relu6; received activation='x'. Pick one, or None.",
        ),
        (
            {"scale": True},
            "Expected a scale in the forward pass with a bias; received forward without a bias. Leave it out.",
        ),
        (
            {"scale": True, "bias": True, "pass_": "grad_input"},
            "Expected a scale in the forward pass with a bias; received grad_input with a bias. Leave it out.",
        ),
        ({"batch": -1}, "Expected batch of at least 0; received batch=-1. Give the number of samples."),
    ],
)
def test_settings_out_of_range(settings, message):
    usual = {"spatial_dims": 1, "batch": 1, "in_channels": 1, "out_channels": 1, "input_size": 3, "kernel_size": 1}
    with pytest.raises(GeometryError) as caught:
        ConvProblem.of(**{**usual, **settings})
    assert str(caught.value) == message
