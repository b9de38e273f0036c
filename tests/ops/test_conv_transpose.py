import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from striate import geometry, ops
from striate.geometry import PADDING_MODES

TORCH = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def randn(*shape):
    return torch.randn(shape, dtype=torch.float64)


@st.composite
def problems(draw):
    rank = draw(st.sampled_from([1, 1, 1, 2, 2, 3]))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = axes(1, 4 - (rank == 3)), axes(1, 3), axes(1, 3 - (rank == 3))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    # Wide enough to be reflected as far as any output sees.
    size = tuple(
        1 + -(-(e + d) // s) + draw(st.integers(0, 2)) for e, d, s in zip(extent, dilation, stride, strict=True)
    )
    full = tuple((n - 1) * s + e for n, s, e in zip(size, stride, extent, strict=True))
    pads = tuple((draw(st.integers(0, (f - 1) // 2)), draw(st.integers(0, (f - 1) // 2))) for f in full)
    mode = draw(st.sampled_from(PADDING_MODES))
    groups, per_group, out_per_group = (draw(st.integers(1, 2)) for _ in range(3))
    shapes = ((2, groups * per_group, *size), (groups * per_group, out_per_group, *kernel))
    return shapes, draw(st.booleans()), stride, pads, extra, dilation, groups, mode, 1.5 if mode == "constant" else 0.0


@settings(max_examples=80, deadline=None)
@given(problems())
def test_conv_transpose_equals_its_definition_with_gradients(check, define, problem):
    (input_shape, weight_shape), biased, stride, pads, extra, dilation, groups, mode, value = problem
    torch.manual_seed(0)
    check(
        lambda x, w, b: ops.conv_transpose(
            x, w, b, stride, pads, extra, groups, dilation, padding_mode=mode, padding_value=value
        ),
        lambda x, w, b: define.conv_transpose(x, w, b, stride, pads, extra, dilation, groups, mode, value),
        randn(*input_shape),
        randn(*weight_shape),
        randn(weight_shape[1] * groups) if biased else None,
    )


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize("mode", PADDING_MODES)
def test_gradients_by_finite_differences(check, define, spatial_dims, mode):
    pads, extra = ((2, 0),) * spatial_dims, (1,) * spatial_dims
    kernel, stride, dilation = (3,) * spatial_dims, (2,) * spatial_dims, (1,) * spatial_dims
    torch.manual_seed(0)
    check(
        lambda x, w, b: ops.conv_transpose(x, w, b, stride, pads, extra, 2, padding_mode=mode),
        lambda x, w, b: define.conv_transpose(x, w, b, stride, pads, extra, dilation, 2, mode),
        randn(1, 2, *(2,) * spatial_dims),
        randn(2, 1, *kernel),
        randn(2),
        gradcheck=True,
    )


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_plain_padding_is_torchs_own_result_to_the_bit_without_kernels(spatial_dims):
    x, w, b = torch.randn(2, 4, *(5,) * spatial_dims), torch.randn(4, 3, *(3,) * spatial_dims), torch.randn(6)
    with ops.use_compiled(False):
        own = ops.conv_transpose(x, w, b, 2, 1, 1, 2, 2)
    assert torch.equal(own, TORCH[spatial_dims](x, w, b, 2, 1, 1, 2, 2))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_zeros_and_a_constant_of_zero_are_one(problem):
    """The second goes the way of all other modes: extend the input, transpose, crop."""
    (input_shape, weight_shape), _, stride, pads, extra, dilation, groups, _, _ = problem
    x, w = randn(*input_shape), randn(*weight_shape)
    extended = ops.conv_transpose(x, w, None, stride, pads, extra, groups, dilation, padding_mode="constant")
    torch.testing.assert_close(extended, ops.conv_transpose(x, w, None, stride, pads, extra, groups, dilation))


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from(["same", "same_lower", "causal", "valid"]), st.sampled_from(PADDING_MODES))
def test_words_give_input_times_stride(check, define, problem, word, mode):
    (input_shape, weight_shape), _, stride, _, _, dilation, groups, _, _ = problem
    x, w = randn(*input_shape), randn(*weight_shape)
    output = ops.conv_transpose(x, w, None, stride, word, 0, groups, dilation, padding_mode=mode)
    if word != "valid":
        assert tuple(output.shape[2:]) == tuple(n * s for n, s in zip(input_shape[2:], stride, strict=True))
    pads, extra = [], []
    for k, s, d in zip(weight_shape[2:], stride, dilation, strict=True):
        surplus = max(d * (k - 1) + 1 - s, 0)
        half = surplus // 2
        pads.append(
            {
                "valid": (0, 0),
                "causal": (0, surplus),
                "same": (half, surplus - half),
                "same_lower": (surplus - half, half),
            }[word]
        )
        extra.append(0 if word == "valid" else max(s - d * (k - 1) - 1, 0))
    wanted = define.conv_transpose(x, w, None, stride, pads, extra, dilation, groups, mode)
    torch.testing.assert_close(output, wanted)


@pytest.mark.parametrize("word", ["same", "same_lower"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (4, 2, 1), (3, 2, 2), (2, 3, 1), (5, 3, 1)])
def test_same_is_the_adjoint_of_the_convolution_with_same(word, kernel, stride, dilation):
    x, w = randn(1, 2, 4 * stride), randn(3, 2, kernel)
    y = randn(1, 3, 4)
    forward = ops.conv(x, w, None, stride, word, dilation)
    backward = ops.conv_transpose(y, w, None, stride, word, 0, 1, dilation)
    torch.testing.assert_close((forward * y).sum(), (backward * x).sum())


def test_causal_output_sees_nothing_that_follows():
    x = randn(1, 1, 6).requires_grad_()
    output = ops.conv_transpose(x, torch.ones(1, 1, 5, dtype=x.dtype), stride=2, padding="causal")
    for position in range(12):
        (seen,) = torch.autograd.grad(output[0, 0, position], x, retain_graph=True)
        assert not seen[0, 0, position // 2 + 1 :].any()


@pytest.mark.parametrize("wanted", [9, 10, (9,), (10,)])
def test_output_size_is_reached(wanted):
    x, w = randn(1, 1, 5), randn(1, 1, 3)
    size = wanted if isinstance(wanted, int) else wanted[0]
    output = ops.conv_transpose(x, w, stride=2, padding=1, output_size=wanted)
    assert torch.equal(output, F.conv_transpose1d(x, w, stride=2, padding=1, output_padding=size - 9))


def test_output_size_with_same_and_a_mode(define):
    x, w = randn(1, 1, 5), randn(1, 1, 4)
    output = ops.conv_transpose(x, w, stride=2, padding="same", output_size=11, padding_mode="circular")
    wanted = define.conv_transpose(x, w, None, (2,), ((1, 1),), (1,), (1,), 1, "circular")
    torch.testing.assert_close(output, wanted)


def test_output_padding_where_dilation_exceeds_stride():
    x, w = randn(1, 2, 4), randn(2, 1, 2)
    own = ops.conv_transpose(x, w, stride=1, output_padding=2, dilation=3, padding_mode="constant")
    torch.testing.assert_close(own, F.conv_transpose1d(x, w, stride=1, output_padding=2, dilation=3))
    assert geometry.TransposedWindow.of(1, 2, 1, 0, 3, 2).reach() == ((3, 5),)
