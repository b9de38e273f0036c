"""Winograd: exact matrices, errors within the stated bound, no spill, memory that stays small."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_kernel import expected, run, whole_numbers

from striate.compiler import jit as compiler
from striate.compiler.algorithms import winograd_steps
from striate.compiler.algorithms.winograd import WinogradFour, WinogradFourWide, WinogradThree, WinogradTwo
from striate.compiler.algorithms.winograd_axis import axis
from striate.compiler.algorithms.winograd_transform import POINTS, filtering
from striate.compiler.choose import choose, plan
from striate.compiler.problem import LAYOUTS, ConvProblem
from striate.compiler.target import AVX512, host

EVERY = (WinogradFour(), WinogradThree(), WinogradTwo(), WinogradFourWide())


def name(value):
    return getattr(value, "name", str(value))


@pytest.mark.parametrize("outputs", POINTS)
def test_matrices_are_exact(outputs):
    one = filtering(outputs, 3)
    x = [Fraction(number * number - 7, 3) for number in range(one.inputs)]
    w = [Fraction(2), Fraction(-5, 7), Fraction(11)]

    def times(matrix, values):
        return [sum(a * b for a, b in zip(row, values, strict=True)) for row in matrix]

    products = [a * b for a, b in zip(times(one.g, w), times(one.b, x), strict=True)]
    assert times(one.a, products) == [sum(x[i + k] * w[k] for k in range(3)) for i in range(outputs)]


@pytest.mark.parametrize("kind", ["normal", "positive", "alternating", "equal"])
@pytest.mark.parametrize(
    "text",
    [
        "1d n2 c64 o32 i90 k3 s1 p1",
        "2d n1 c256 o32 i6 k3 s1 p1",
        "2d n1 c3 o16 i14 k3 s1 p1",
        "3d n1 c16 o16 i6 k3 s1 p1",
        "1d n2 c32 o32 i90 k3 s1 p8 d8",
        "1d n2 c64 o16 i60 k39 s1 p19",
        "2d n1 c40 o16 i13 k7x3 s1 p3x2 d1x2",
    ],
)
@pytest.mark.parametrize("algorithm", EVERY, ids=name)
def test_errors_stay_within_the_bound(algorithm, text, kind, jit):
    problem = ConvProblem.parse(text)
    random = np.random.default_rng(3)
    shapes = [(*array.shape,) for array in whole_numbers(problem)[:2]]
    operands = [random.standard_normal(shape) if kind == "normal" else random.random(shape) for shape in shapes]
    if kind == "alternating":
        # Neighbours of opposite sign are what the transforms amplify most.
        for array in operands:
            array *= 1 - 2 * (np.indices(array.shape[2:]).sum(0) % 2)
    if kind == "equal":
        # The same rounding happens again and again.
        operands = [np.full(shape, 0.9) for shape in shapes]
    operands = [array.astype("float32").astype(float) for array in operands]
    wanted, _ = expected(problem, *operands)
    result, _ = run(algorithm, problem, *operands, jit=jit)
    error = np.abs(result - wanted).max()
    assert error <= algorithm.bound(problem) * np.prod([np.abs(array).max() for array in operands])
    assert error <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("algorithm", EVERY, ids=name)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_layer_of_stride_1(algorithm, data, jit):
    pass_ = data.draw(st.sampled_from(algorithm.passes))
    rank = data.draw(st.integers(1, 3))
    taps = st.sampled_from([3, 3, 1, *range(2, 10 - 2 * rank)])
    kernel = data.draw(st.lists(taps, min_size=rank, max_size=rank).filter(lambda k: max(k) > 1))
    dilation = [data.draw(st.sampled_from([1, 1, 2, 3, 5])) for _ in kernel]
    padding = [data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4))) for _ in kernel]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(data.draw(st.integers(1, 11)), r - sum(p)) for r, p in zip(reach, padding, strict=True)]
    problem = ConvProblem.of(
        spatial_dims=rank,
        batch=data.draw(st.integers(0, 4)),
        in_channels=data.draw(st.integers(1, 40)),
        out_channels=data.draw(st.sampled_from([1, 7, 16, 17, 40])),
        input_size=tuple(size),
        kernel_size=tuple(kernel),
        padding=tuple(padding),
        dilation=tuple(dilation),
        bias=True,
        activation="relu" if pass_ == "forward" else None,
        pass_=pass_,
        layout=data.draw(st.sampled_from(LAYOUTS)),
    )
    arrays = whole_numbers(problem)
    last, start = data.draw(st.booleans()), data.draw(st.booleans())
    result, _ = run(algorithm, problem, *arrays, jit=jit, threads=3, weight_last=last, at_start=start)
    np.testing.assert_allclose(result, expected(problem, *arrays)[0], rtol=0, atol=algorithm.tolerance(problem))


@pytest.mark.parametrize("pass_", WinogradTwo.passes)
def test_a_weight_may_lie_in_any_order(pass_, jit):
    algorithm, problem = WinogradTwo(), ConvProblem.parse("2d n1 c5 o18 i6 k3 s1 p1")
    for order in itertools.permutations(range(4)):
        this = problem.with_pass(pass_)
        sizes = (this.spec.out_channels, this.spec.in_channels, 3, 3)
        strides = [int(np.prod([sizes[later] for later in order[order.index(dim) + 1 :]])) for dim in range(4)]
        _, weight, _ = whole_numbers(this)
        stored = weight.transpose(order).astype("float32").copy()
        assert [stride // 4 for stride in stored.transpose(np.argsort(order)).strides] == strides
        result = _with_strides(algorithm, this, stored, tuple(strides), jit)
        first, second, _ = whole_numbers(this)
        np.testing.assert_allclose(result, expected(this, first, second)[0], atol=algorithm.tolerance(this))


def _with_strides(algorithm, problem, stored, strides, jit):
    """Run on a weight that lies in memory as ``stored``, with channels-last activations."""
    first, _, _ = whole_numbers(problem)
    source = np.ascontiguousarray(np.moveaxis(first, 1, -1), "float32")
    channels = problem.spec.out_channels if problem.spec.pass_ == "forward" else problem.spec.in_channels
    result = np.empty((problem.batch, *problem.input_size, channels), "float32")
    ready = plan(problem, algorithm, host(), strides, 1, jit)
    memory = np.empty(ready.launch.workspace_bytes // 4 + 16, "float32")
    place = memory.ctypes.data + -memory.ctypes.data % 64
    ready(source.ctypes.data, stored.ctypes.data, 0, result.ctypes.data, place)
    return np.moveaxis(result, -1, 1)


@pytest.mark.parametrize("text", ["2d n8 c64 o64 i56 k3 s1 p1", "1d n32 c32 o32 i1000 k39 s1 p19"])
@pytest.mark.parametrize("algorithm", EVERY, ids=name)
def test_the_inner_loop_has_no_spill(algorithm, text):
    spec = ConvProblem.parse(text).spec
    text = compiler.assembly(algorithm.build(spec, AVX512).text, AVX512)
    sizes = []
    for block in re.split(r"\n(?=\.LBB\w+:)", text):
        # A loop jumps to its own beginning; only products broadcast values.
        loop = re.match(r"(\.LBB\w+):.*?\tj\w+\t\1\n", block, re.DOTALL)
        sums = len(re.findall(r"vfmadd\w+ps", loop[0])) if loop else 0
        if loop and sums >= 8 and "vbroadcastss" in loop[0]:
            assert "(%rsp" not in loop[0]
            # Of the frame of a function that has one; elsewhere this is a register like any other.
            assert not re.search(r"-\d+\(%rbp", loop[0])
            sizes.append(sums)
    assert 26 in sizes


def test_wide_layers_need_little_memory():
    problem = ConvProblem.parse("2d n8 c512 o512 i7 k3 s1 p1")
    weights = 512 * 512 * 9 * 4
    for algorithm in (WinogradFour(), WinogradFourWide()):
        assert algorithm.launch(problem, AVX512, (512 * 9, 9, 3, 1), 1).workspace_bytes < 1.2 * weights


@pytest.mark.parametrize(
    ("text", "rounds"),
    [("2d n8 c64 o64 i56 k3 s1 p1", 1), ("2d n8 c256 o256 i14 k3 s1 p1", 3), ("2d n1 c256 o256 i14 k3 s1 p1", 4)],
)
def test_transformed_weights_take_no_more_room_than_the_rest(text, rounds):
    problem = ConvProblem.parse(text)
    spec, algorithm = problem.spec, WinogradFour()
    shape = winograd_steps.shape(spec, AVX512, algorithm.tile)
    share = algorithm.share(shape, problem, AVX512.l2_bytes // 4)
    assert math.ceil(shape.blocks / share) == rounds
    values = problem.batch * math.prod(problem.input_size) * (spec.in_channels + spec.out_channels)
    room = max(values, 9 * spec.in_channels * spec.out_channels)
    assert share * shape.planes * shape.terms * shape.width <= room + shape.planes * shape.terms * shape.width / 2


@pytest.mark.parametrize("share", [1, 2, 3])
@pytest.mark.parametrize("pass_", ["forward", "grad_input"])
def test_rounds_of_a_few_output_channels_make_the_same_outputs(pass_, share, jit, monkeypatch):
    problem = ConvProblem.parse(f"2d n2 c130 o130 i9 k3 s1 p1 bias {'' if pass_ == 'forward' else pass_}")
    arrays = whole_numbers(problem)
    once, _ = run(WinogradFour(), problem, *arrays, jit=jit, threads=3)
    monkeypatch.setattr(WinogradFour, "share", lambda *_: share)
    several, _ = run(WinogradFour(), problem, *arrays, jit=jit, threads=3)
    assert (several == once).all()


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ("2d n8 c64 o64 i56 k3 s1 p1", "winograd-4"),
        ("2d n8 c128 o128 i28 k3 s1 p2 d2", "winograd-4"),
        ("1d n32 c64 o64 i1000 k9 s1 p4", "winograd-4"),
        ("2d n2 c256 o256 i33 k3 s1 p12 d12", "winograd-3"),  # residues of three outputs
        ("2d n2 c256 o256 i33 k3 s1 p24 d24", "direct"),  # residues of one or two
    ],
)
def test_the_cheapest_is_chosen_and_strict_precision_leaves_it_out(text, best):
    problem = ConvProblem.parse(text)
    assert choose(problem, AVX512).name == best
    assert choose(problem, AVX512, strict=True).exact


def test_any_number_of_taps_takes_whole_triples_and_any_dilation_whole_residues():
    long = axis(4, 7)
    assert (long.triples, long.inputs, long.span) == (3, 6, 12)
    for size in range(40):
        dilated = axis(4, 3, 5)
        corners = {group * 20 + residue for group in range(9) for residue in range(5)}
        assert dilated.tiles(size) == sum(corner < size for corner in corners)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2d n1 c8 o8 i9 k3 s2 p1", "stride"),
        ("2d n1 c8 o8 i9 k3 s1 p1 g2", "groups"),
        ("2d n1 c8 o8 i9 k1 s1 p0", "one tap"),
    ],
)
def test_obstacles_say_why(text, reason):
    for algorithm in EVERY:
        assert reason in algorithm.obstacle(ConvProblem.parse(text).spec, host())
