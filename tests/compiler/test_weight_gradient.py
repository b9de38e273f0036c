"""What the weight gradient promises: every way of cutting tiles, splits that threads do not decide, tidy loops."""

import re

import numpy as np
import pytest
from run_kernel import expected, run, whole_numbers

from striate.compiler import jit as compiling
from striate.compiler.algorithms import weight_gradient
from striate.compiler.algorithms.weight_blocks import blocks_of
from striate.compiler.algorithms.weight_gradient import WeightGradient
from striate.compiler.algorithms.weight_tiles import exchanged, tile_of
from striate.compiler.problem import ConvProblem
from striate.compiler.target import AVX2, AVX512, MADE_UP

LAYERS = {
    "apart": "2d n1 c40 o20 i9 k3 s1 p1",
    "apart, several blocks of channels": "2d n2 c150 o300 i5 k3 s1 p1",
    "apart, wide dilation": "2d n1 c30 o16 i20 k3 s1 p12 d12",
    "part of a line": "1d n3 c5 o18 i150 k13 s1 p6 bias",
    "all lines": "3d n2 c1 o9 i3x17x66 k3 s1 p1 bias",
    "lines, the last tile moved back": "2d n2 c2 o5 i11x80 k5 s2 p2",
    "one tap, strided": "2d n2 c33 o17 i9 k1 s2 p0",
    "pixels as one line": "2d n3 c20 o70 i31 k1 s1 p0 bias",
    "input and grad_output exchanged": "2d n3 c96 o24 i13 k1 s1 p0",
    "exchanged, with padding": "2d n2 c37 o5 i4x9 k1 s1 p2:1x0:3",
}


def problem(text, words=""):
    return ConvProblem.parse(f"{text} grad_weight {words}")


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("text", LAYERS.values(), ids=LAYERS)
def test_every_way_of_cutting(text, layout, jit):
    layer = problem(text, layout)
    arrays = whole_numbers(layer)
    wanted, wanted_bias = expected(layer, *arrays)
    for weight_last in (False, True):
        result, bias = run(WeightGradient(), layer, *arrays, jit=jit, weight_last=weight_last)
        np.testing.assert_array_equal(result, wanted)
        if wanted_bias is not None:
            np.testing.assert_array_equal(bias, wanted_bias)


def test_the_layers_above_are_cut_in_different_ways():
    tiles = {name: tile_of(problem(text).spec, AVX512) for name, text in LAYERS.items()}
    assert not tiles["apart"].merged
    assert tiles["part of a line"].parts > 1
    assert tiles["all lines"].depths == tiles["all lines"].heights == 3
    lines = tiles["lines, the last tile moved back"]
    assert lines.merged
    assert lines.kernel[1] % lines.heights
    blocks = blocks_of(problem(LAYERS["apart, several blocks of channels"]), AVX512)
    assert blocks.in_blocks > 1
    assert blocks.out_blocks > 1
    others = {name for name, text in LAYERS.items() if exchanged(problem(text).spec, AVX512)}
    assert others == {name for name in LAYERS if "exchanged" in name}


def test_the_sum_does_not_depend_on_threads(jit):
    layer = problem("2d n4 c24 o32 i40 k3 s1 p1 bias")
    assert blocks_of(layer, AVX512).splits > 1
    random = np.random.default_rng(0)
    first, second = random.normal(size=(4, 32, 40, 40)), random.normal(size=(4, 24, 40, 40))
    results = [run(WeightGradient(), layer, first, second, jit=jit, threads=threads) for threads in (1, 2, 3)]
    for gradient, bias in results[1:]:
        np.testing.assert_array_equal(gradient, results[0][0])
        np.testing.assert_array_equal(bias, results[0][1])


def test_which_rows_lie_side_by_side():
    spec = problem("2d n1 c6 o5 i7 k3x2 s1 p0").spec
    assert weight_gradient._runs(spec, (36, 6, 2, 1)) == (6, 1)
    assert weight_gradient._runs(spec, (36, 1, 12, 6)) == (1, 1)
    assert weight_gradient._runs(spec, (72, 12, 2, 1)) == (6, 0)
    assert weight_gradient._runs(spec, (72, 12, 4, 2)) == (1, 0)


@pytest.mark.parametrize("runs", [(6, 0), (1, 0)])
def test_rows_that_lie_apart(runs, jit, monkeypatch):
    monkeypatch.setattr(weight_gradient, "_runs", lambda spec, strides: runs)
    layer = problem("2d n2 c20 o19 i7 k3x2 s1 p1x0")
    arrays = whole_numbers(layer)
    result, _ = run(WeightGradient(), layer, *arrays, jit=jit)
    np.testing.assert_array_equal(result, expected(layer, *arrays)[0])


@pytest.mark.parametrize("target", MADE_UP, ids=lambda target: target.name)
def test_scratch_of_a_thread_fits_the_cache(target):
    for text in ("2d n8 c64 o64 i56 k3 s1 p1", "2d n8 c512 o2048 i7 k1 s1 p0", "1d n32 c64 o64 i1000 k3 s1 p32 d32"):
        blocks = blocks_of(problem(text), target)
        assert (blocks.sums + blocks.input + blocks.grad_output) * 4 <= target.l2_bytes * 7 // 8


@pytest.mark.parametrize("target", [AVX512, AVX2], ids=lambda target: target.name)
@pytest.mark.parametrize(
    "text", ["2d n8 c64 o64 i56 k3 s1 p1", "2d n8 c3 o64 i224 k7 s2 p3", "2d n8 c6 o16 i14 k5 s1 p0"]
)
def test_the_inner_loop_keeps_its_sums_in_registers(text, target):
    spec = problem(text).spec
    tile = tile_of(spec, target)
    code = compiling.assembly(WeightGradient().build(spec, target).text, target)
    blocks = re.split(r"^\.?\w+:.*$", code, flags=re.MULTILINE)
    inner = max(blocks, key=lambda block: block.count("vfmadd"))
    lines = [line for line in inner.splitlines() if line.startswith("\t") and not line.startswith("\t.")]
    assert sum("vfmadd" in line for line in lines) == tile.rows * tile.vectors
    assert not [line for line in lines if "(%rsp)" in line or re.search(r"vmov\w+\t%\w+, ", line)]
