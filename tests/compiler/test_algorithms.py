"""The battery: every algorithm, pass, rank, layout and target against the definition, on guarded memory."""

import re

import numpy as np
import pytest
from any_problem import problems
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from run_kernel import expected, run, whole_numbers

from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.problem import LAYOUTS, ConvProblem
from striate.compiler.target import AVX2, AVX512, SSE, host, runs_here

LAYERS = [
    "2d n2 c5 o7 i9x11 k3 s1 p1",
    "2d n1 c16 o40 i20 k3 s1 p1 bias relu",
    "2d n1 c16 o41 i19 k3 s1 p1 bias scale relu",
    "1d n2 c24 o24 i17 k3 s1 p1 g24 bias scale relu6",
    "2d n1 c2 o19 i21 k5 s2 p2 bias scale",
    "2d n2 c4 o6 i7x5 k3x2 s2x1 p1:0x0 d1x2 g2",
    "2d n2 c7 o33 i5 k1 s1 p0 bias",
    "2d n1 c3 o8 i12 k7 s2 p3 bias",
    "2d n2 c18 o18 i9 k3 s1 p1 g18 bias",
    "2d n1 c6 o18 i9 k3 s2 p1 g6",
    "2d n1 c24 o24 i7 k3 s1 p1 g6 bias",
    "2d n2 c1 o6 i12 k5 s1 p0 bias",
    "2d n2 c20 o2 i6 k3 s1 p1 bias",
    "2d n1 c9 o9 i33 k3 s1 p12 d12",
    "2d n1 c17 o17 i9 k11 s1 p5 g17",
    "3d n1 c2 o4 i4 k2 s1 p1 g2",
    "3d n1 c17 o17 i5 k3 s1 p1 g17",
    "3d n1 c1 o16 i6 k3 s1 p1",
    "1d n2 c3 o2 i9 k3 s2 p4:0 d2",
    "1d n2 c8 o33 i300 k5 s1 p2 bias",
    "1d n2 c6 o6 i70 k9 s1 p8:0 d2 g6",
    "2d n2 c3 o5 i4 k7 s1 p3",
    "2d n1 c4 o8 i3 k1 s4 p0",
    "1d n1 c4 o4 i3 k9 s1 p12 d3",
    "2d n0 c4 o4 i3 k3 s1 p1 bias",
    "3d n2 c3 o17 i5x6x7 k3x2x1 s1x2x3 p1x0x0 float64",
]
TARGETS = [AVX512, AVX2, SSE]
EVERY = [(algorithm, pass_) for algorithm in ALGORITHMS for pass_ in algorithm.passes]


def name(value):
    return getattr(value, "name", str(value))


def check(algorithm, problem, seed=0, **how):
    arrays = whole_numbers(problem, seed)
    result, grad_bias = run(algorithm, problem, *arrays, **how)
    wanted, wanted_bias = expected(problem, *arrays)
    if algorithm.exact:
        np.testing.assert_array_equal(result, wanted)
    else:
        np.testing.assert_allclose(
            result, wanted, rtol=0, atol=algorithm.tolerance(problem) * (3 if problem.spec.scale else 1)
        )
    if wanted_bias is not None:
        np.testing.assert_array_equal(grad_bias, wanted_bias)


def some(problems, layout, target):
    """A part of the problems that has every rank they have.

    Targets share all code but the width, and layouts all but how rows are brought: the host's own width gets every
    third one in the native layout, the rest every sixth to 18th. `test_every_layer_everywhere` leaves nothing out.
    """
    own = target.vector_bytes == host().vector_bytes
    step = {(True, "channels_last"): 3, (True, "contiguous"): 6, (False, "channels_last"): 12}.get((own, layout), 18)
    ranks = [problem.spec.spatial_dims for problem in problems]
    firsts = {ranks.index(rank) for rank in ranks}
    return [problem for place, problem in enumerate(problems) if place % step == 0 or place in firsts]


def check_layers(algorithm, pass_, layout, target, jit, choose=lambda problems, layout, target: problems):
    if not runs_here(target):
        pytest.skip(f"this machine cannot run {target.name} code")
    texts = (text if pass_ == "forward" else re.sub(" relu6?| scale", "", text) for text in LAYERS)
    problems = [ConvProblem.parse(f"{text} {pass_} {layout}") for text in texts]
    problems = [problem for problem in problems if algorithm.obstacle(problem.spec, target) is None]
    assert problems
    for problem in choose(problems, layout, target):
        for weight_last, at_start in ((False, False), (True, True)):
            check(algorithm, problem, jit=jit, target=target, weight_last=weight_last, at_start=at_start)


@pytest.mark.parametrize("target", TARGETS, ids=name)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("algorithm", "pass_"), EVERY, ids=name)
def test_equals_the_definition(algorithm, pass_, layout, target, jit):
    check_layers(algorithm, pass_, layout, target, jit, some)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=name)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("algorithm", "pass_"), EVERY, ids=name)
def test_every_layer_everywhere(algorithm, pass_, layout, target, jit):
    check_layers(algorithm, pass_, layout, target, jit)


@pytest.mark.parametrize(("algorithm", "pass_"), EVERY, ids=name)
@settings(
    max_examples=6,  # test_ten_thousand.py draws many more
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_any_problem(algorithm, pass_, data, jit):
    problem = data.draw(problems(pass_=pass_))
    assume(algorithm.obstacle(problem.spec, host()) is None)
    check(
        algorithm,
        problem,
        data.draw(st.integers(0, 99)),
        jit=jit,
        threads=data.draw(st.integers(1, 3)),
        weight_last=data.draw(st.booleans()),
        at_start=data.draw(st.booleans()),
    )
