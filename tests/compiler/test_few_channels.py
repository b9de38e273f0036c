"""What only the kernels for few channels do: residues of a stride, interleaved lanes, tiles of several rows."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from run_kernel import expected, run, whole_numbers

from striate.compiler import jit as compiling
from striate.compiler import moves
from striate.compiler.algorithms.dot import Dot
from striate.compiler.algorithms.outer import Outer
from striate.compiler.algorithms.planar import Planar
from striate.compiler.algorithms.residues import Axis
from striate.compiler.problem import ConvProblem
from striate.compiler.target import AVX512


class Lanes:
    """A vector of numbers with the shuffles of a kernel's vector."""

    def __init__(self, values):
        self.values = list(values)
        self.lanes = len(self.values)

    def shuffle(self, order, other=None):
        both = self.values + (other.values if other else [None] * self.lanes)
        return Lanes(both[place] for place in order)

    def __add__(self, other):
        return Lanes(a + b for a, b in zip(self.values, other.values, strict=True))


def vectors(ways, lanes):
    return [Lanes(range(way * lanes, (way + 1) * lanes)) for way in range(ways)]


@pytest.mark.parametrize("lanes", [2, 4, 16])
@pytest.mark.parametrize("ways", range(1, 9))
def test_split_deals_out_and_join_undoes_it(ways, lanes):
    dealt = moves.split(vectors(ways, lanes))
    assert [vector.values for vector in dealt] == [list(range(way, ways * lanes, ways)) for way in range(ways)]
    assert [vector.values for vector in moves.join(dealt)] == [vector.values for vector in vectors(ways, lanes)]


@pytest.mark.parametrize(("count", "lanes"), [(1, 4), (2, 2), (2, 16), (4, 4), (8, 16), (16, 16)])
def test_sums_adds_up_each_vector(count, lanes):
    given = vectors(count, lanes)
    assert moves.sums(given).values == [sum(vector.values) for vector in given]


@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_classes_meet_every_tap_exactly_once(size, stride, dilation):
    axis = Axis(size, stride, dilation, backward=True)
    k = SimpleNamespace(
        index=int_index, select=lambda condition, a, b: a if condition else b
    )  # Python's numbers in place of a kernel's
    met = []
    for residue in range(axis.classes):
        taps = axis.taps(k, residue)
        for number in range(int(taps.count)):
            tap, place = taps.first + number * taps.step, taps.place + number * taps.place_step
            assert 0 <= place <= axis.span
            # Result m * stride + residue of the padded input is reached from source m + (place - span) by this tap.
            assert residue == (place - axis.span) * stride + tap * dilation
            met.append(int(tap))
    assert sorted(met) == list(range(size))


class int_index(int):
    """A number with the methods of a kernel's index; its operators give plain numbers again."""

    def equals(self, other):
        return self == other

    def __mod__(self, other):
        return int_index(int(self) % other)


ROWS = [
    "2d n2 c1 o1 i13x37 k5 s1 p2",
    "2d n1 c2 o3 i9x150 k3 s2 p1 bias",
    "2d n1 c3 o20 i11x21 k3x5 s1x3 p1x4:0 d2x1",
    "3d n1 c1 o2 i7x9x18 k3 s1 p1",
    "3d n1 c20 o1 i5x7x19 k3 s1x2x1 p1 bias",
    "1d n2 c40 o3 i900 k9 s5 p4",
    "1d n1 c9 o2 i700 k15 s1 p14:0",
    "2d n1 c2 o2 i3 k3 s1 p9 d2",
]


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("text", ROWS)
@pytest.mark.parametrize("algorithm", [Planar(), Dot(), Outer()], ids=lambda a: a.name)
def test_blocks_rows_and_residues(algorithm, text, layout, jit):
    done = 0
    for pass_ in algorithm.passes:
        problem = ConvProblem.parse(f"{text} {pass_} {layout}")
        if algorithm.obstacle(problem.spec, AVX512) is None:
            arrays = whole_numbers(problem)
            result, bias = run(algorithm, problem, *arrays, jit=jit, threads=3)
            wanted, wanted_bias = expected(problem, *arrays)
            np.testing.assert_array_equal(result, wanted)
            if wanted_bias is not None:
                np.testing.assert_array_equal(bias, wanted_bias)
            done += 1
    if not done:
        pytest.skip("no pass of it is meant for this algorithm")


def test_nan_stays_where_it_is(jit):
    # Channels filled up to whole vectors must hold zeros, not what lies beside them.
    problem = ConvProblem.parse("2d n1 c5 o1 i6 k3 s1 p1 contiguous")
    image, weight, _ = whole_numbers(problem)
    image[0, 4, 5, 5] = np.nan
    result, _ = run(Dot(), problem, image, weight, jit=jit)
    assert np.isnan(result[0, 0, 4:, 4:]).all()
    assert np.isnan(result).sum() == 4


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [
        (Planar(), "2d n64 c1 o6 i32 k5 s1 p0"),
        (Planar(), "2d n64 c1 o6 i32 k5 s1 p0 grad_input"),
        (Planar(), "3d n1 c1 o16 i64 k3 s1 p1 grad_input"),
        (Dot(), "2d n8 c3 o64 i224 k7 s2 p3 grad_input"),
        (Dot(), "1d n64 c3 o32 i512 k15 s1 p7 grad_input"),
        (Outer(), "2d n8 c64 o1 i56 k3 s1 p1 grad_weight"),
    ],
    ids=str,
)
def test_inner_loops_do_not_spill(algorithm, text):
    spec = ConvProblem.parse(text).spec
    machine_code = compiling.assembly(algorithm.build(spec, AVX512).text, AVX512)
    blocks = [block for block in re.split(r"\n(?=\.LBB)", machine_code) if block.count("vfmadd") >= 12]
    assert blocks
    for block in blocks:
        assert not [line for line in block.splitlines() if "rsp" in line and "zmm" in line]


def test_the_lanes_that_fill_are_estimated_to_be_faster():
    def estimates(text):
        problem = ConvProblem.parse(text)
        return [algorithm.cycles(problem, AVX512) for algorithm in (Planar(), Dot())]

    planar, dot = estimates("2d n64 c1 o6 i32 k5 s1 p0")
    assert planar < dot
    planar, dot = estimates("2d n8 c3 o64 i224 k7 s2 p3 grad_input")
    assert dot < planar
