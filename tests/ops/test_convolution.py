import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from striate import geometry, ops
from striate.errors import GeometryError

TORCH = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MODES = ("zeros", "reflect", "replicate", "circular", "constant")


def randn(*shape):
    return torch.randn(shape, dtype=torch.float64)


@st.composite
def problems(draw):
    """A convolution that is right by construction: the input is at least as wide as the kernel."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 3]))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = axes(1, 4 - (rank == 3)), axes(1, 3), axes(1, 2)
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    size = tuple(e + draw(st.integers(0, 2)) for e in extent)
    pairs = tuple((draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))) for n in size)
    padding = draw(st.one_of(st.sampled_from(geometry.PADDING_WORDS), st.just(pairs)))
    groups, per_group, out_per_group = (draw(st.integers(1, 2)) for _ in range(3))
    mode = draw(st.sampled_from(MODES))
    value = 1.5 if mode == "constant" else 0.0
    shapes = ((2, groups * per_group, *size), (groups * out_per_group, per_group, *kernel))
    return shapes, draw(st.booleans()), stride, padding, dilation, groups, mode, value


def written_out(padding, size, kernel, stride, dilation):
    """The words as (before, after), from their definitions: the output is ceil(input / stride) long, and so on."""
    if not isinstance(padding, str):
        return padding
    pads = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        extent = d * (k - 1) + 1
        total = 0
        while (n + total - extent) // s + 1 < -(-n // s):
            total += 1
        half = total // 2
        pads.append(
            {
                "valid": (0, 0),
                "causal": (extent - 1, 0),
                "same": (half, total - half),
                "same_lower": (total - half, half),
            }[padding]
        )
    return tuple(pads)


@settings(max_examples=80, deadline=None)
@given(problems())
def test_conv_equals_its_definition_with_gradients(check, define, problem):
    (input_shape, weight_shape), biased, stride, padding, dilation, groups, mode, value = problem
    pads = written_out(padding, input_shape[2:], weight_shape[2:], stride, dilation)
    torch.manual_seed(0)
    check(
        lambda x, w, b: ops.conv(x, w, b, stride, padding, dilation, groups, padding_mode=mode, padding_value=value),
        lambda x, w, b: define.conv(x, w, b, stride, pads, dilation, groups, mode, value),
        randn(*input_shape),
        randn(*weight_shape),
        randn(weight_shape[0]) if biased else None,
    )


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize("padding", [1, ((0, 1),), "same", "same_lower", "causal", "valid"])
@pytest.mark.parametrize("mode", MODES)
def test_gradients_by_finite_differences(check, define, spatial_dims, padding, mode):
    padding = padding * spatial_dims if isinstance(padding, tuple) else padding
    kernel, stride, dilation = (2,) * spatial_dims, (2,) * spatial_dims, (1,) * spatial_dims
    pads = (
        ((1, 1),) * spatial_dims
        if padding == 1
        else written_out(padding, (3,) * spatial_dims, kernel, stride, dilation)
    )
    torch.manual_seed(0)
    check(
        lambda x, w, b: ops.conv(x, w, b, 2, padding, groups=2, padding_mode=mode),
        lambda x, w, b: define.conv(x, w, b, stride, pads, dilation, 2, mode),
        randn(1, 2, *(3,) * spatial_dims),
        randn(2, 1, *kernel),
        randn(2),
        gradcheck=True,
    )


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_second_derivatives(spatial_dims):
    x, w = randn(1, 1, *(3,) * spatial_dims).requires_grad_(), randn(1, 1, *(2,) * spatial_dims).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, w: ops.conv(x, w, padding="same", padding_mode="replicate"), (x, w))
    assert torch.autograd.gradgradcheck(lambda x, w: ops.conv_transpose(x, w, stride=2, padding="same"), (x, w))


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_plain_padding_is_torchs_own_result_to_the_bit_without_kernels(spatial_dims):
    x, w, b = torch.randn(2, 4, *(6,) * spatial_dims), torch.randn(6, 2, *(3,) * spatial_dims), torch.randn(6)
    with ops.use_compiled(False):
        assert torch.equal(ops.conv(x, w, b, 2, 1, 2, 2), TORCH[spatial_dims](x, w, b, 2, 1, 2, 2))
        assert torch.equal(
            ops.conv(x, w, None, padding="same", groups=2), TORCH[spatial_dims](x, w, padding="same", groups=2)
        )
        assert torch.equal(ops.conv(x[0], w, b, groups=2), TORCH[spatial_dims](x[0], w, b, groups=2))


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("padding", [1, (1, 2), ((1, 1), (2, 2)), "same"])
def test_equal_padding_makes_no_padded_copy(padding):
    x, w = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 3, 3)
    for compiled, name in ((False, "convolution"), (True, "conv")):
        with ops.use_compiled(compiled), Recorder() as recorder:
            ops.conv(x, w, padding=padding)
        assert recorder.names == [name]


def test_unequal_padding_copies_only_what_the_operator_cannot_do():
    x, w = torch.zeros(1, 1, 8), torch.zeros(1, 1, 4)
    with ops.use_compiled(False), Recorder() as recorder:
        ops.conv(x, w, padding="same")
    assert "constant_pad_nd" in recorder.names
    assert recorder.names[-1] == "convolution"
    with Recorder() as recorder:
        ops.conv(x, w, padding="same")
    assert recorder.names == ["conv"]  # a kernel pads as it reads


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_unbatched_and_empty_batches(spatial_dims, mode):
    x, w = randn(2, *(4,) * spatial_dims), randn(3, 2, *(2,) * spatial_dims)
    for operator in (ops.conv, ops.conv_transpose):
        weight = w if operator is ops.conv else w.transpose(0, 1)
        batched = operator(x[None], weight, padding="same", padding_mode=mode)
        assert batched.shape == (1, 3, *(4,) * spatial_dims)
        torch.testing.assert_close(operator(x, weight, padding="same", padding_mode=mode), batched[0])
        empty = torch.empty(0, *x.shape, dtype=x.dtype)
        assert operator(empty, weight, padding="same", padding_mode=mode).shape == (0, 3, *(4,) * spatial_dims)


def test_channels_last_stays_channels_last():
    x = torch.randn(2, 4, 6, 6).to(memory_format=torch.channels_last)
    w = torch.randn(4, 4, 2, 2).to(memory_format=torch.channels_last)
    for padding in (1, "same", "causal"):
        assert ops.conv(x, w, padding=padding).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_true_convolution_is_polynomial_multiplication(spatial_dims):
    # Products of polynomials are convolutions: evaluated at any point, full padding multiplies the values.
    x, w = randn(3, 3, 3)[(0,) * (3 - spatial_dims)], randn(2, 2, 2)[(0,) * (3 - spatial_dims)]

    def at(coefficients, point):
        for coordinate in point:
            powers = torch.tensor([coordinate**i for i in range(len(coefficients))], dtype=torch.float64)
            coefficients = torch.tensordot(powers, coefficients, 1)
        return coefficients

    product = ops.true_convolution(x[None], w[None, None], padding=1)[0]
    point = (0.7, -1.3, 0.4)[:spatial_dims]
    torch.testing.assert_close(at(product, point), at(x, point) * at(w, point))
    flipped = ops.conv(x[None], w.flip(*range(spatial_dims))[None, None], padding=1)[0]
    assert torch.equal(product, flipped)
    assert not torch.equal(product, ops.conv(x[None], w[None, None], padding=1)[0])


def test_true_convolution_passes_every_argument_on():
    x, w, b = randn(1, 2, 6), randn(4, 1, 3), randn(4)
    torch.testing.assert_close(
        ops.true_convolution(x, w, b, 2, ((3, 1),), 2, 2, padding_mode="constant", padding_value=2.0, spatial_dims=1),
        F.conv1d(F.pad(x, (3, 1), value=2.0), w.flip(2), b, 2, 0, 2, 2),
    )


ONE_TO_SIX = [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("kernel", "settings", "output"),
    [
        ([2], {}, [2, 4, 6, 8, 10, 12]),
        ([2, 2], {}, [6, 10, 14, 18, 22]),
        ([2, 2, 2], {}, [12, 18, 24, 30]),
        ([2, 2, 2], {"padding": 1}, [6, 12, 18, 24, 30, 22]),
        ([2] * 5, {"padding": 2}, [12, 20, 30, 40, 36, 30]),
        ([2, 2, 2], {"stride": 3}, [12, 30]),
        ([2, 2, 2], {"dilation": 2}, [18, 24]),
    ],
)
def test_worked_examples_in_one_dimension(kernel, settings, output):
    x = torch.tensor(ONE_TO_SIX, dtype=torch.float32).view(1, 1, 6)
    w = torch.tensor(kernel, dtype=torch.float32).view(1, 1, -1)
    assert ops.conv(x, w, **settings).flatten().tolist() == pytest.approx(output)


def test_worked_example_of_groups():
    x = torch.tensor([ONE_TO_SIX, [10 * i for i in ONE_TO_SIX]], dtype=torch.float32)
    w = torch.tensor([2.0, 4.0, 6.0, 8.0]).view(4, 1, 1)
    two = ops.conv(x, w[:2], groups=2)
    assert two.tolist() == [[2, 4, 6, 8, 10, 12], [40, 80, 120, 160, 200, 240]]
    four = ops.conv(x, w, groups=2)
    assert four[:, 0].tolist() == [2, 4, 60, 80]
    assert four[:, -1].tolist() == [12, 24, 360, 480]


def test_a_numpy_integer_and_a_list_do_as_well():
    numpy = pytest.importorskip("numpy")
    x, w = torch.randn(1, 1, 7, 7), torch.randn(1, 1, 3, 3)
    own = ops.conv(x, w, stride=numpy.int64(2), padding=[1, 1])
    torch.testing.assert_close(own, F.conv2d(x, w, stride=2, padding=1))


def test_a_float_is_refused_even_after_its_integer_was_accepted():
    x, w = torch.zeros(1, 1, 7, 7), torch.zeros(1, 1, 3, 3)
    for right, wrong in (((2, 2), (2.0, 2.0)), ((1, 1), (True, True)), (1, True), (2, 2.0)):
        ops.conv(x, w, None, right)
        with pytest.raises(GeometryError, match="stride to be an integer"):
            ops.conv(x, w, None, wrong)
