"""What is special to the direct kernels; that they are right, the battery of `test_algorithms` shows."""

import math
import re

import numpy as np
import pytest
from run_kernel import expected, run, whole_numbers

from striate.compiler import jit as compiler
from striate.compiler.algorithms import panels
from striate.compiler.algorithms.blocking import Shape, blocking
from striate.compiler.algorithms.direct import Direct
from striate.compiler.algorithms.gather import tiles, width
from striate.compiler.choose import plan
from striate.compiler.problem import ConvProblem
from striate.compiler.target import AVX2, AVX512, NEON, host

DIRECT = Direct()


@pytest.mark.parametrize("pass_", ["forward", "grad_input"])
def test_one_kernel_serves_every_batch_and_size(pass_, jit):
    sizes = ("n1 c6 o9 i8 k3 s2 p1", "n3 c6 o9 i5x31 k3 s2 p0", "n2 c6 o9 i1 k3 s2 p1:2", "n1 c6 o9 i3x250 k3 s2 p1")
    compiled = set()
    for text in sizes:
        problem = ConvProblem.parse(f"2d {text} {pass_}")
        arrays = whole_numbers(problem)
        np.testing.assert_array_equal(run(DIRECT, problem, *arrays, jit=jit)[0], expected(problem, *arrays)[0])
        compiled.add(jit.compiled)
    assert len(compiled) == 1


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize(
    "text",
    [
        "2d n2 c64 o96 i7 k3 s1 p1",  # too few rows for many threads: channel blocks are shared out
        "2d n3 c512 o64 i3 k3 s1 p1",  # small images, large weights, pixels with gaps between them
        "2d n1 c256 o16 i20 k1 s1 p0",
        "2d n0 c4 o16 i3 k1 s1 p0",
        "2d n1 c8 o8 i2x1500 k3 s1 p1",
        "2d n1 c300 o5 i2x900 k3 s1 p6 d6",  # rows too long for the cache: chunks, and taps far apart
        "2d n1 c300 o5 i2x900 k3 s2 p1 contiguous",
    ],
)
@pytest.mark.parametrize("pass_", ["forward", "grad_input"])
def test_however_it_is_cut(text, pass_, threads, jit):
    problem = ConvProblem.parse(f"{text} {pass_}")
    arrays = whole_numbers(problem)
    result = run(DIRECT, problem, *arrays, jit=jit, threads=threads)[0]
    np.testing.assert_array_equal(result, expected(problem, *arrays)[0])


def test_the_blocks_of_a_task_stay_in_the_second_level_cache():
    for text in ("2d n8 c64 o64 i56 k3 s1 p1", "2d n8 c3 o64 i224 k7 s2 p3", "1d n2 c64 o64 i100000 k9 s1 p4"):
        for layout in ("channels_last", "contiguous"):
            problem = ConvProblem.parse(f"{text} {layout}")
            spec, shape = problem.spec, Shape.of(problem)
            cut = blocking(spec, shape, AVX512, 2)
            assert sum(cut.scratch(spec, shape, width(spec, AVX512))) * 4 <= AVX512.l2_bytes // 2, text


@pytest.mark.parametrize("pass_", ["forward", "grad_input"])
@pytest.mark.parametrize("kernel", ["k3x2", "k1"])
def test_weights_may_lie_in_memory_in_any_way(pass_, kernel, jit):
    problem = ConvProblem.parse(f"2d n1 c6 o10 i5 {kernel} s1 p0 g2 {pass_}")
    first, second, _ = whole_numbers(problem)
    # Taps outermost, output channels innermost, and every other element unused.
    apart = np.zeros((*second.shape[2:], *second.shape[1::-1], 2), "float32")
    apart[..., 0] = second.transpose(2, 3, 1, 0)
    weight = apart[..., 0].transpose(3, 2, 0, 1)
    wanted = expected(problem, first, second)[0]
    source = np.ascontiguousarray(np.moveaxis(first, 1, -1), "float32")
    result = np.zeros((wanted.shape[0], *wanted.shape[2:], wanted.shape[1]), "float32")
    ready = plan(problem, DIRECT, host(), tuple(stride // 4 for stride in weight.strides), 1, jit)
    workspace = np.zeros(ready.launch.workspace_bytes + 64, "uint8")
    begin = workspace.ctypes.data + -workspace.ctypes.data % 64
    ready(source.ctypes.data, apart.ctypes.data, 0, result.ctypes.data, begin)
    np.testing.assert_array_equal(np.moveaxis(result, -1, 1), wanted)


def test_memory_order_of_weights():
    spec = ConvProblem.parse("2d n1 c4 o6 i5 k3 s1 p0").spec
    for strides, order in (
        ((36, 9, 3, 1), panels.TAPS_LAST),
        ((36, 1, 12, 4), panels.CHANNELS_LAST),
        ((1, 6, 72, 24), panels.GAPS),
    ):
        assert panels.numbers(spec, strides)["weight_order"] == order


def stretches(assembly):
    """The code between two labels, for every stretch of it."""
    return re.split(r"^[^\s#].*:.*$", assembly, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("target", "multiply_add", "spill"),
    [(AVX512, "vfmadd", "(%rsp)"), (AVX2, "vfmadd", "(%rsp)"), (NEON, "fmla", "[sp")],
    ids=["avx512", "avx2", "neon"],
)
@pytest.mark.parametrize("pass_", ["forward", "grad_input"])
@pytest.mark.parametrize("layer", ["2d n8 c64 o64 i56 k3 s1 p1", "2d n8 c240 o240 i28 k1 s1 p0 g3"])
def test_every_tile_stays_in_registers(layer, pass_, target, multiply_add, spill):
    spec = ConvProblem.parse(f"{layer} {pass_}").spec
    code = stretches(compiler.assembly(DIRECT.build(spec, target).text, target))
    for tile in tiles(spec, target):
        loops = [part for part in code if part.count(multiply_add) == tile.pixels * tile.vectors]
        assert loops, tile
        for loop in loops:
            if tile.pixels > 1:
                assert spill not in loop, loop
                # One load for each weight vector and each pixel, and a few instructions that count.
                lines = [line for line in loop.splitlines() if line.strip() and not line.strip().startswith(("#", "."))]
                assert len(lines) <= math.prod((tile.pixels, tile.vectors)) + tile.pixels + tile.vectors + 12, loop
