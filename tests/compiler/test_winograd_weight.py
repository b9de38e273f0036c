"""Winograd for weights: errors within the stated bound, splits that threads do not decide, no spill, small memory."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_kernel import expected, run, whole_numbers

from striate.compiler import jit as compiling
from striate.compiler.algorithms.winograd_transform import POINTS, filtering, transposed
from striate.compiler.algorithms.winograd_weight import WinogradWeight, WinogradWeightThree
from striate.compiler.algorithms.winograd_weight_blocks import blocks_of, cut
from striate.compiler.choose import choose, plan
from striate.compiler.loops import innermost
from striate.compiler.problem import LAYOUTS, ConvProblem
from striate.compiler.target import AVX2, AVX512, MADE_UP, host

ALGORITHM = WinogradWeight()
EVERY = (ALGORITHM, WinogradWeightThree())


def name(value):
    return getattr(value, "name", str(value))


def problem(text, words=""):
    return ConvProblem.parse(f"{text} grad_weight {words}")


@pytest.mark.parametrize("outputs", POINTS)
def test_the_transposed_matrices_make_the_gradient(outputs):
    one = filtering(outputs, 3)
    x = [Fraction(number * number - 7, 3) for number in range(one.inputs)]
    y = [Fraction(5, number + 2) for number in range(outputs)]

    def times(matrix, values):
        return [sum(a * b for a, b in zip(row, values, strict=True)) for row in matrix]

    products = [a * b for a, b in zip(times(transposed(one.a), y), times(one.b, x), strict=True)]
    wanted = [sum(x[i + k] * y[i] for i in range(outputs)) for k in range(3)]
    assert times(transposed(one.g), products) == wanted


@pytest.mark.parametrize("kind", ["normal", "positive", "alternating", "equal"])
@pytest.mark.parametrize(
    "text",
    [
        "1d n2 c32 o16 i90 k3 s1 p1",
        "2d n4 c40 o32 i14 k3 s1 p1",
        "2d n1 c3 o16 i60 k3 s1 p1",
        "3d n1 c16 o16 i6 k3 s1 p1",
        "1d n2 c32 o32 i90 k3 s1 p8 d8",
        "1d n2 c20 o16 i60 k39 s1 p19",
        "2d n1 c20 o16 i13 k7x3 s1 p3x2 d1x2",
    ],
)
@pytest.mark.parametrize("algorithm", EVERY, ids=name)
def test_errors_stay_within_the_bound(algorithm, text, kind, jit):
    layer = problem(text)
    random = np.random.default_rng(3)
    shapes = [(*array.shape,) for array in whole_numbers(layer)[:2]]
    operands = [random.standard_normal(shape) if kind == "normal" else random.random(shape) for shape in shapes]
    if kind == "alternating":
        # Neighbours of opposite sign are what the transforms amplify most.
        for array in operands:
            array *= 1 - 2 * (np.indices(array.shape[2:]).sum(0) % 2)
    if kind == "equal":
        # The same rounding happens again and again.
        operands = [np.full(shape, 0.9) for shape in shapes]
    operands = [array.astype("float32").astype(float) for array in operands]
    wanted, _ = expected(layer, *operands)
    result, _ = run(algorithm, layer, *operands, jit=jit)
    error = np.abs(result - wanted).max()
    assert error <= algorithm.bound(layer) * np.prod([np.abs(array).max() for array in operands])
    assert error <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("algorithm", EVERY, ids=name)
@settings(max_examples=16, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_layer_of_stride_1(algorithm, data, jit):
    rank = data.draw(st.integers(1, 3))
    taps = st.sampled_from([3, 3, 1, *range(2, 10 - 2 * rank)])
    kernel = data.draw(st.lists(taps, min_size=rank, max_size=rank).filter(lambda k: max(k) > 1))
    dilation = [data.draw(st.sampled_from([1, 1, 2, 3, 5])) for _ in kernel]
    padding = [data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4))) for _ in kernel]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(data.draw(st.integers(1, 11)), r - sum(p)) for r, p in zip(reach, padding, strict=True)]
    layer = ConvProblem.of(
        spatial_dims=rank,
        batch=data.draw(st.integers(0, 4)),
        in_channels=data.draw(st.integers(1, 40)),
        out_channels=data.draw(st.sampled_from([1, 7, 16, 17, 40])),
        input_size=tuple(size),
        kernel_size=tuple(kernel),
        padding=tuple(padding),
        dilation=tuple(dilation),
        bias=True,
        pass_="grad_weight",
        layout=data.draw(st.sampled_from(LAYOUTS)),
    )
    arrays = whole_numbers(layer)
    last, start = data.draw(st.booleans()), data.draw(st.booleans())
    result, bias = run(algorithm, layer, *arrays, jit=jit, threads=3, weight_last=last, at_start=start)
    wanted, wanted_bias = expected(layer, *arrays)
    np.testing.assert_allclose(result, wanted, rtol=0, atol=algorithm.tolerance(layer))
    np.testing.assert_array_equal(bias, wanted_bias)


def test_a_weight_may_lie_in_any_order(jit):
    layer = problem("2d n1 c5 o18 i6 k3 s1 p1")
    first, second, _ = whole_numbers(layer)
    wanted, _ = expected(layer, first, second)
    sources = [np.ascontiguousarray(np.moveaxis(array, 1, -1), "float32") for array in (first, second)]
    for order in itertools.permutations(range(4)):
        gradient = np.full([(18, 5, 3, 3)[axis] for axis in order], np.nan, "float32").transpose(np.argsort(order))
        strides = tuple(stride // 4 for stride in gradient.strides)
        ready = plan(layer, ALGORITHM, host(), strides, 1, jit)
        memory = np.empty(ready.launch.workspace_bytes // 4 + 16, "float32")
        place = memory.ctypes.data + -memory.ctypes.data % 64
        ready(sources[0].ctypes.data, sources[1].ctypes.data, 0, gradient.ctypes.data, place)
        np.testing.assert_allclose(gradient, wanted, atol=ALGORITHM.tolerance(layer))


@pytest.mark.parametrize("text", ["2d n3 c70 o150 i27 k3 s1 p1", "2d n4 c24 o32 i70 k3 s1 p1"])
def test_shares_and_splits_do_not_depend_on_threads(text, jit):
    layer = problem(text, "bias")
    parts = cut(layer, AVX512, ALGORITHM.tile)
    assert parts.blocks.in_blocks * parts.blocks.out_blocks > 1 or parts.splits > 1
    assert parts.steps > 1
    random = np.random.default_rng(0)
    operands = [random.normal(size=array.shape) for array in whole_numbers(layer)[:2]]
    results = [run(ALGORITHM, layer, *operands, jit=jit, threads=threads) for threads in (1, 2, 3)]
    for gradient, bias in results[1:]:
        np.testing.assert_array_equal(gradient, results[0][0])
        np.testing.assert_array_equal(bias, results[0][1])


@pytest.mark.parametrize("target", MADE_UP, ids=lambda target: target.name)
@pytest.mark.parametrize(
    "text", ["2d n8 c64 o64 i56 k3 s1 p1", "2d n8 c512 o512 i7 k3 s1 p1", "3d n2 c32 o32 i32 k3 s1 p1"]
)
def test_what_a_thread_works_on_fits_the_cache(text, target):
    layer = problem(text)
    blocks = blocks_of(layer.spec, target, ALGORITHM.tile)
    tiles = blocks.most * (blocks.v_pitch + blocks.d_pitch)
    assert blocks.s.planes * tiles * 4 <= target.l2_bytes // 2
    assert blocks.s.planes * (tiles + blocks.plane) * 4 <= target.l2_bytes
    one, four = (
        ALGORITHM.launch(layer, target, (1,) * (2 + layer.spec.spatial_dims), threads).workspace_bytes
        for threads in (1, 4)
    )
    assert four - one <= 4.5 * target.l2_bytes


@pytest.mark.parametrize("target", [AVX512, AVX2], ids=lambda target: target.name)
@pytest.mark.parametrize("text", ["2d n8 c64 o64 i56 k3 s1 p1", "3d n2 c32 o32 i32 k3 s1 p1"])
def test_the_inner_loop_keeps_its_sums_in_registers(text, target):
    spec = problem(text).spec
    blocks = blocks_of(spec, target, ALGORITHM.tile)
    loop = innermost(compiling.assembly(ALGORITHM.build(spec, target).text, target))[0]
    assert loop.multiply_adds == blocks.rows * blocks.vectors
    assert loop.spills == 0
    # With what is asked for of the next tiles, and the addresses of that.
    assert loop.loads <= blocks.rows + blocks.vectors + 4
    assert loop.others <= 8


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ("2d n8 c64 o64 i56 k3 s1 p1", "winograd-weight"),
        ("2d n8 c128 o128 i28 k3 s1 p1", "winograd-weight"),
        ("2d n8 c256 o256 i14 k3 s1 p1", "winograd-weight"),
        ("2d n2 c256 o256 i33 k3 s1 p12 d12", "winograd-weight-3"),  # residues of three outputs
        ("2d n8 c64 o3 i56 k3 s1 p1", "outer"),
        ("3d n1 c1 o16 i64 k3 s1 p1", "direct-weight"),
        ("2d n1 c256 o256 i4 k3 s1 p12 d12", "direct-weight"),
    ],
)
def test_the_cheapest_is_chosen_and_strict_precision_leaves_it_out(text, best):
    layer = problem(text)
    assert choose(layer, AVX512).name == best
    assert choose(layer, AVX512, strict=True).exact


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2d n1 c8 o8 i9 k3 s2 p1", "stride"),
        ("2d n1 c8 o8 i9 k3 s1 p1 g2", "groups"),
        ("2d n1 c8 o8 i9 k1 s1 p0", "one tap"),
        ("2d n1 c8 o8 i9 k31 s1 p15", "room"),
    ],
)
def test_obstacles_say_why(text, reason):
    assert reason in ALGORITHM.obstacle(problem(text).spec, AVX512)
