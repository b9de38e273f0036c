import ctypes
import mmap

import numpy as np
import pytest
from any_problem import problems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from striate.compiler import reference
from striate.compiler.algorithms import direct
from striate.compiler.problem import ConvProblem
from striate.compiler.target import AVX2, AVX512, NEON, SSE, host, runs_here

LAYERS = [
    "2d n2 c5 o7 i9x11 k3 s1 p1",
    "2d n1 c16 o40 i20 k3 s1 p1 bias relu",
    "2d n2 c4 o6 i7x5 k3x2 s2x1 p1:0x0 d1x2 g2",
    "3d n1 c2 o4 i4 k2 s1 p1 g2",
    "1d n2 c3 o2 i9 k3 s2 p4:0 d2",
    "1d n2 c8 o33 i300 k5 s1 p2",
    "2d n2 c3 o5 i4 k7 s1 p3",
    "2d n1 c4 o8 i3 k1 s4 p0",
    "1d n1 c4 o4 i3 k9 s1 p12 d3",
    "2d n0 c4 o4 i3 k3 s1 p1",
    "3d n2 c3 o17 i5x6x7 k3x2x1 s1x2x3 p1x0x0 float64",
]


def whole_numbers(problem, seed=0):
    """Small integers: every sum is exact in float32, so a direct kernel must agree to the bit."""
    spec, random = problem.spec, np.random.default_rng(seed)
    return (
        random.integers(-3, 4, (problem.batch, spec.in_channels, *problem.input_size)).astype(float),
        random.integers(-3, 4, (spec.out_channels, spec.group_in_channels, *spec.kernel_size)).astype(float),
        random.integers(-3, 4, spec.out_channels).astype(float) if spec.bias else None,
    )


@pytest.mark.parametrize("target", [AVX512, AVX2, SSE], ids=lambda target: target.name)
@pytest.mark.parametrize("text", LAYERS)
def test_forward_equals_the_reference(text, target, run_direct):
    if not runs_here(target):
        pytest.skip(f"this machine cannot run {target.name} code")
    problem = ConvProblem.parse(text)
    arrays = whole_numbers(problem)
    np.testing.assert_array_equal(run_direct(problem, *arrays, target=target), reference.forward(problem, *arrays))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems(pass_="forward"), seed=st.integers(0, 99), threads=st.integers(1, 3))
def test_forward_of_any_problem(problem, seed, threads, run_direct):
    arrays = whole_numbers(problem, seed)
    got = run_direct(problem, *arrays, threads=threads)
    np.testing.assert_array_equal(got, reference.forward(problem, *arrays))


def test_one_kernel_serves_every_batch_and_size(jit, run_direct):
    first = ConvProblem.parse("2d n1 c6 o9 i8 k3 s1 p1")
    run_direct(first, *whole_numbers(first))
    compiled = jit.compiled
    for text in ("2d n3 c6 o9 i5x31 k3 s1 p0", "2d n2 c6 o9 i1 k3 s1 p1:2", "2d n1 c6 o9 i3x250 k3 s1 p1"):
        problem = ConvProblem.parse(text)
        arrays = whole_numbers(problem)
        np.testing.assert_array_equal(run_direct(problem, *arrays), reference.forward(problem, *arrays))
    assert jit.compiled == compiled


class Guarded:
    """An array that ends where a page begins that nobody may touch."""

    def __init__(self, array):
        page = mmap.PAGESIZE
        pages = -(-array.nbytes // page)
        self._map = mmap.mmap(-1, (pages + 1) * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(start + pages * page), page, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
        self.address = start + pages * page - array.nbytes
        ctypes.memmove(self.address, array.ctypes.data, array.nbytes)


@pytest.mark.parametrize("text", ["2d n1 c5 o7 i6 k3 s1 p1", "1d n2 c3 o33 i40 k5 s2 p2", "2d n1 c3 o20 i17 k1 s1 p0"])
def test_nothing_is_read_or_written_beyond_the_arrays(text, jit):
    problem = ConvProblem.parse(text + " bias")
    forward = direct.Forward.load(problem.spec, host(), jit)
    x, w, b = (array.astype("float32") for array in whole_numbers(problem))
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    y = np.zeros((problem.batch, *problem.output_size, problem.spec.out_channels), "float32")
    packed, scratch = (
        np.zeros(size, "float32") for size in (forward.packed_elements, forward.scratch_elements(problem))
    )
    guarded = [Guarded(array) for array in (x, packed, b, y, scratch)]
    weight = Guarded(w)
    forward.pack(weight.address, guarded[1].address, 1)
    forward(problem, *(array.address for array in guarded), 1)
    result = np.ctypeslib.as_array(ctypes.cast(guarded[3].address, ctypes.POINTER(ctypes.c_float)), y.shape)
    np.testing.assert_array_equal(
        np.moveaxis(result, -1, 1), reference.forward(problem, np.moveaxis(x, -1, 1).astype(float), w.astype(float), b)
    )


def inner_loops(assembly, instruction):
    """The number of multiply-adds between two labels, for every stretch of code that has any."""
    stretches, count = [], 0
    for line in assembly.splitlines():
        if line.endswith(":"):
            stretches.append(count)
            count = 0
        count += instruction in line
    return [stretch for stretch in stretches if stretch]


@pytest.mark.parametrize(("target", "instruction"), [(AVX512, "vfmadd"), (AVX2, "vfmadd"), (NEON, "fmla")])
def test_generated_code_for_other_machines_keeps_the_tile_in_registers(target, instruction):
    from striate.compiler import jit as compiler

    spec = ConvProblem.parse("2d n8 c64 o64 i56 k3 s1 p1").spec
    text = compiler.assembly(direct.build_forward(spec, target).text, target)
    widest = direct.tiles(spec, target)[0]
    assert widest.pixels * widest.vectors in inner_loops(text, instruction)
