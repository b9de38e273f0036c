"""Vectors across groups: their lanes, the taps that reach a result, splits that do not change sums, inner loops."""

import re
from itertools import pairwise

import numpy as np
import pytest
from run_kernel import expected, run, whole_numbers

from striate.compiler import jit as compiler
from striate.compiler.algorithms.lane_groups import LaneGroups
from striate.compiler.algorithms.lanewise import Lanewise
from striate.compiler.algorithms.lanewise_weight import LanewiseWeight
from striate.compiler.algorithms.tap_axis import TapAxis
from striate.compiler.problem import ConvProblem
from striate.compiler.target import AVX2, AVX512

WIDE = [
    "2d n1 c18 o18 i5x37 k5 s2 p2 g18",
    "2d n1 c5 o5 i4x33 k3x31 s1 p1x15 g5",
    "2d n1 c12 o24 i4x31 k3 s1 p1 g12 bias",
    "2d n1 c24 o12 i7x50 k3 s3 p1 g12 bias",
    "2d n1 c8 o8 i14x40 k3 s4x2 p1 d6x4 g2",
    "1d n1 c3 o3 i1100 k19 s1 p18:0 g3 bias",
    "1d n1 c3 o3 i1500 k4 s1 p0 g3",
    "3d n1 c3 o3 i3x5x31 k3x3x5 s1x2x2 p1x1x2 g3 bias",
]


def algorithm(pass_):
    return LanewiseWeight() if pass_ == "grad_weight" else Lanewise()


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("pass_", ["forward", "grad_input", "grad_weight"])
@pytest.mark.parametrize("text", WIDE)
def test_whole_and_partial_tiles(text, pass_, layout, jit):
    problem = ConvProblem.parse(f"{text} {pass_} {layout}")
    arrays = whole_numbers(problem)
    result, grad_bias = run(algorithm(pass_), problem, *arrays, jit=jit, threads=3)
    wanted, wanted_bias = expected(problem, *arrays)
    np.testing.assert_array_equal(result, wanted)
    if wanted_bias is not None:
        np.testing.assert_array_equal(grad_bias, wanted_bias)


@pytest.mark.parametrize("pass_", ["forward", "grad_input", "grad_weight"])
def test_threads_do_not_change_a_bit(pass_, jit):
    problem = ConvProblem.parse(f"2d n3 c40 o40 i19 k3 s1 p1 g40 bias {pass_}")
    random = np.random.default_rng(0)
    first, second, bias = (random.standard_normal(values.shape) for values in whole_numbers(problem))
    results = [run(algorithm(pass_), problem, first, second, bias, jit=jit, threads=t) for t in (1, 2, 3)]
    for result, grad_bias in results[1:]:
        np.testing.assert_array_equal(result, results[0][0])
        np.testing.assert_array_equal(grad_bias, results[0][1])


@pytest.mark.parametrize("stride", range(1, 7))
@pytest.mark.parametrize("dilation", range(1, 7))
@pytest.mark.parametrize("taps", range(1, 6))
def test_every_result_has_one_of_the_counts_of_taps(taps, dilation, stride):
    axis = TapAxis(taps, stride, dilation, backward=True)
    for place in range(stride):
        found = [k for k in range(taps) if (place - k * dilation) % stride == 0]
        assert len(found) in axis.counts
        assert all(b - a == axis.tap_step for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("text", "groups", "vectors"),
    [
        ("2d n1 c192 o192 i9 k3 g192", 16, 12),
        ("2d n1 c128 o128 i9 k3 g32", 4, 8),
        ("2d n1 c15 o15 i9 k3 g5", 5, 1),
        ("2d n1 c32 o96 i9 k3 g32", 5, 7),
        ("2d n1 c17 o17 i9 k3 g17", 16, 2),
    ],
)
def test_whole_groups_fill_a_vector(text, groups, vectors):
    lanes = LaneGroups.of(ConvProblem.parse(text).spec, AVX512)
    assert (lanes.groups, lanes.vectors) == (groups, vectors)


def test_wide_groups_are_left_to_others():
    spec = ConvProblem.parse("2d n1 c64 o64 i9 k3 s1 p1 g2").spec
    assert "do not fit" in Lanewise().obstacle(spec, AVX2)
    assert Lanewise().obstacle(ConvProblem.parse("2d n1 c64 o64 i9 k3 s1 p1 g64").spec, AVX2) is None


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_the_inner_loop_keeps_its_sums_in_registers(kernel):
    spec = ConvProblem.parse(f"2d n1 c64 o64 i28 k{kernel} s1 p{kernel // 2} g64").spec
    text = compiler.assembly(Lanewise().build(spec, AVX512).text, AVX512)
    blocks = re.split(r"^\.L\w+:", text, flags=re.MULTILINE)
    # The shortest is the tile inside the source; at its border each load also chooses its address.
    inner = min((block for block in blocks if block.count("vfmadd") == 14 * kernel), key=len)
    assert not re.search(r"%zmm\d+, -?\d*\(%rsp\)", inner)
