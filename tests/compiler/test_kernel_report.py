"""What is said about a kernel: its inner loop, its speed, and what the machine allows."""

import pytest

from striate.compiler import bounds, stopwatch
from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.bounds import Bounds, copy_bytes_per_second, peak_flops
from striate.compiler.loops import innermost
from striate.compiler.problem import ConvProblem
from striate.compiler.report import report
from striate.compiler.target import NEON, host
from striate.errors import InputError

X86 = """
kernel_compute:
.LBB0_1:                                # %outer
	movq	%rax, 8(%rsp)
	.p2align	4
.LBB0_2:                                # =>This Inner Loop Header: Depth=2
	vmovups	(%rdi,%rax), %zmm0
	vbroadcastss	64(%rsi), %zmm1
	vfmadd231ps	%zmm0, %zmm1, %zmm2     # zmm2 = (zmm1 * zmm0) + zmm2
	vfmadd231ps	4(%rsi){1to16}, %zmm0, %zmm3
	vmovups	%zmm2, (%rdx)
	vmovaps	-56(%rsp), %zmm5
	addq	$64, %rax
	jne	.LBB0_2
	decq	%rcx
	jne	.LBB0_1
.LBB0_3:
	movl	$7, (%rdi)
	incq	%rdi
	jmp	.LBB0_3
"""
ARM = """
.LBB1_2:                                // =>This Inner Loop Header: Depth=1
	ldp	q0, q1, [x8, #16]
	ldr	s2, [x9], #4
	fmla	v4.4s, v0.4s, v2.s[0]
	str	q4, [sp, #32]
	stp	q4, q5, [x10]
	subs	x11, x11, #1
	b.ne	.LBB1_2
"""


def test_the_innermost_loop_that_computes_comes_first():
    first, second = innermost(X86)
    assert first.instructions[0] == "vmovups (%rdi,%rax), %zmm0"
    assert first.instructions[-1] == "jne .LBB0_2"
    assert (first.multiply_adds, first.loads, first.stores, first.spills, first.others) == (2, 4, 1, 1, 2)
    assert (second.multiply_adds, second.stores, second.others) == (0, 1, 2)
    assert innermost("") == []


def test_a_dense_loop_comes_before_a_long_one():
    dense = [".LA:", *["vfmadd231ps %zmm0, %zmm1, %zmm2"] * 9, "jne .LA"]
    long = [".LB:", *["vfmadd231ps %zmm0, %zmm1, %zmm2", "vmovaps %zmm3, %zmm4"] * 30, "jne .LB"]
    rest = [".LC:", *["vfmadd231ps %zmm0, %zmm1, %zmm2"] * 7, "jne .LC"]
    lines = [line if line.startswith(".") else f" {line}" for line in (*rest, *long, *dense)]
    assert [loop.multiply_adds for loop in innermost("\n".join(lines))] == [9, 30, 7]


def test_loops_of_another_architecture():
    (loop,) = innermost(ARM)
    assert loop.instructions[0] == "ldp q0, q1, [x8, #16]"
    assert (loop.multiply_adds, loop.loads, loop.stores, loop.spills, loop.others) == (1, 2, 2, 1, 2)


def test_sizes_of_a_problem():
    problem = ConvProblem.parse("2d n2 c4 o6 i5x7 k3 s1 p0 g2 float64")
    assert stopwatch.elements(problem) == (2 * 4 * 35, 6 * 2 * 9, 2 * 6 * 15)
    assert stopwatch.bytes_moved(problem) == 8 * (280 + 108 + 180)
    assert stopwatch.weight_strides(problem) == (18, 9, 3, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_multiply_add_loop_touches_no_memory(dtype):
    from striate.compiler.jit import assembly

    loop = innermost(assembly(bounds._multiply(host(), dtype).text, host()))[0]
    assert loop.multiply_adds == bounds.SUMS
    assert loop.loads == loop.stores == loop.spills == 0
    assert peak_flops(host(), dtype, 1) > 1e9


def test_copying_has_a_speed():
    assert copy_bytes_per_second(host(), 1, 1 << 16) > 1e8


def test_the_longer_bound_binds():
    assert Bounds(2.0, 1.0).binding == "arithmetic"
    assert Bounds(1.0, 2.0).binding == "bandwidth"


def test_a_report_of_a_real_kernel():
    told = report(ConvProblem.parse("2d n1 c16 o32 i14 k3 s1 p1"), host(), 1)
    assert told.algorithm == told.explanation.chosen
    assert told.inner_loop.multiply_adds > 1
    assert "define" in told.llvm
    assert len(told.essay) > 200
    assert told.measured_seconds > 0
    assert told.bounds.arithmetic_seconds > 0
    assert told.to_dict()["inner_loop"]["spills"] == told.inner_loop.spills
    assert 0 < told.compile_seconds < 10


def test_what_cannot_run_here_is_not_measured():
    for problem, target in (("2d n1 c16 o32 i14 k3 s1 p1", NEON), ("2d n0 c16 o32 i14 k3 s1 p1", host())):
        told = report(ConvProblem.parse(problem), target, 1)
        assert told.measured_seconds is None
        assert told.bounds is None
        assert told.to_dict()["measured_ms"] is None


def test_another_algorithm_can_be_asked_for():
    problem = ConvProblem.parse("2d n1 c16 o32 i14 k3 s1 p1")
    assert report(problem, host(), 1, ALGORITHMS[0].name).algorithm == ALGORITHMS[0].name
    with pytest.raises(InputError, match=r"name of an algorithm; received 'drect'\. Did you mean 'direct'"):
        report(problem, host(), 1, "drect")


def test_an_algorithm_that_cannot_says_why(monkeypatch):
    monkeypatch.setattr(type(ALGORITHMS[0]), "obstacle", lambda *_: "too wide")
    with pytest.raises(InputError, match=f"received {ALGORITHMS[0].name}, which cannot: too wide"):
        report(ConvProblem.parse("1d n1 c3 o3 i4 k3"), host(), 1, ALGORITHMS[0].name)
