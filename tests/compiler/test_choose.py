"""Which algorithm is chosen, by estimate or by measurement, and what is said about it."""

import json
import threading

import pytest
import torch

from striate.compiler import choose as choosing
from striate.compiler import explain as explaining
from striate.compiler import tuning
from striate.compiler.algorithm import Algorithm
from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.choose import able, choose, tune
from striate.compiler.explain import explain
from striate.compiler.problem import PASSES, ConvProblem
from striate.compiler.target import AVX2, NEON, host

PROBLEM = ConvProblem.parse("2d n1 c8 o8 i6 k3 s1 p1")


class MadeUp(Algorithm):
    """Says what it is told to say."""

    passes = ("forward",)

    def __init__(self, name, cycles, *, exact=True, why_not=None):
        self.name, self.exact = name, exact
        self._cycles, self._why_not = cycles, why_not

    def obstacle(self, spec, target):
        return self._why_not

    def cycles(self, problem, target):
        return self._cycles

    signature = build = launch = None


@pytest.fixture
def listed(monkeypatch, tmp_path):
    """Puts other algorithms into the list, and measurements into a folder of their own."""
    monkeypatch.setenv("STRIATE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("STRIATE_TUNE", raising=False)
    monkeypatch.setattr(tuning, "_known", {})

    def put(*algorithms):
        monkeypatch.setattr(choosing, "ALGORITHMS", algorithms)
        monkeypatch.setattr(explaining, "ALGORITHMS", algorithms)

    return put


@pytest.fixture
def timed(monkeypatch):
    """Replaces the stopwatch by times that are given; says what was measured how often."""
    runs = []

    def put(**seconds):
        def measure(problem, algorithms, target, threads, jit=None):
            runs.append((str(problem), [algorithm.name for algorithm in algorithms], threads))
            return {algorithm.name: seconds[algorithm.name] for algorithm in algorithms}

        monkeypatch.setattr("striate.compiler.stopwatch.seconds", measure)
        return runs

    return put


SLOW, QUICK, ROUGH = MadeUp("slow", 3e6), MadeUp("quick", 2e6), MadeUp("rough", 1e6, exact=False)
UNABLE = MadeUp("unable", 1, why_not="stride 2")


def chosen(problem=PROBLEM, **how):
    found = choose(problem, host(), **how)
    return found and found.name


def test_the_lowest_estimate_wins_among_those_that_can(listed):
    listed(SLOW, UNABLE, ROUGH, QUICK)
    assert chosen() == "rough"
    assert chosen(strict=True) == "quick"
    assert chosen(PROBLEM.with_pass("grad_input")) is None
    listed(UNABLE)
    assert chosen() is None


def test_equal_estimates_go_to_the_first(listed):
    first, second = MadeUp("first", 5), MadeUp("second", 5)
    listed(first, second)
    assert chosen() == "first"
    listed(second, first)
    assert chosen() == "second"


def test_explanations_say_why_and_why_not(listed):
    listed(SLOW, UNABLE, ROUGH, QUICK)
    assert str(explain(PROBLEM)).splitlines() == [
        "2d n1 c8 o8 i6 k3 s1 p1: rough",
        "  slow    estimated: 3 million cycles, 3.00 times the cost",
        "  unable  stride 2",
        "  rough   chosen; estimated: 1 million cycles; not with strict precision",
        "  quick   estimated: 2 million cycles, 2.00 times the cost",
        "  With strict precision: quick.",
    ]
    assert explain(PROBLEM).predicted_ms == pytest.approx(1e3 * 1e6 / 3.7e9)


def test_explanations_of_ties_and_of_nothing(listed):
    listed(MadeUp("first", 0), MadeUp("second", 0), MadeUp("third", 7))
    assert str(explain(PROBLEM)).splitlines()[1:] == [
        "  first   chosen; estimated: 0 cycles",
        "  second  estimated: 0 cycles, the same cost, listed later",
        "  third   estimated: 7 cycles",
    ]
    nothing = explain(PROBLEM.with_pass("grad_weight"))
    assert (nothing.chosen, nothing.strict, nothing.predicted_ms) == (None, None, None)
    assert "PyTorch computes it" in str(nothing)
    assert "first   computes forward only" in str(nothing)


def test_what_was_measured_decides_over_what_was_estimated(listed, timed):
    listed(SLOW, UNABLE, ROUGH, QUICK)
    runs = timed(slow=0.001, quick=0.003, rough=0.002)
    assert tune(PROBLEM) == {"slow": 0.001, "quick": 0.003, "rough": 0.002}
    assert runs == [(str(PROBLEM), ["slow", "rough", "quick"], torch.get_num_threads())]
    assert chosen() == chosen(strict=True) == "slow"
    assert chosen(ConvProblem.parse("2d n2 c8 o8 i6 k3 s1 p1")) == "rough"  # another batch is another problem
    assert len(runs) == 1
    text = str(explain(PROBLEM))
    assert "slow    chosen; measured: 1 ms" in text
    assert "quick   measured: 3 ms" in text
    assert "3.00 times the time" in text


def test_measurements_outlive_the_process(listed, timed):
    listed(SLOW, QUICK)
    timed(slow=0.001, quick=0.003)
    tune(PROBLEM)
    tuning._known.clear()  # as in a new process
    assert chosen() == "slow"
    (path,) = tuning.measured()
    assert json.loads(path.read_text())["problem"] == str(PROBLEM)
    assert tuning.forget() == 1
    assert chosen() == "quick"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"seconds": 3}', '{"seconds": {"slow": "x"}}', "\xff"])
def test_a_damaged_measurement_is_ignored_and_written_anew(content, listed, timed):
    listed(SLOW, QUICK)
    timed(slow=0.001, quick=0.003)
    tune(PROBLEM)
    (path,) = tuning.measured()
    path.write_bytes(content.encode("latin-1"))
    tuning._known.clear()
    assert chosen() == "quick"
    with tuning.tuned():
        assert chosen() == "slow"
    tuning._known.clear()
    assert chosen() == "slow"


def test_measurements_hold_for_one_number_of_threads_code_and_target(listed, timed, monkeypatch):
    listed(SLOW, QUICK)
    timed(slow=0.001, quick=0.003)
    tune(PROBLEM)
    assert choose(PROBLEM, AVX2).name == "quick"
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert chosen() == "quick"
    finally:
        torch.set_num_threads(before)
    assert chosen() == "slow"
    monkeypatch.setattr("striate.compiler.jit.versions", lambda: "other code")
    assert chosen() == "quick"


def test_problems_are_measured_at_first_sight_where_that_is_switched_on(listed, timed, monkeypatch):
    listed(SLOW, QUICK)
    runs = timed(slow=0.001, quick=0.003)
    assert chosen() == "quick"
    assert not runs
    monkeypatch.setenv("STRIATE_TUNE", "1")
    assert [chosen(), chosen()] == ["slow", "slow"]
    assert len(runs) == 1
    other = ConvProblem.parse("2d n3 c8 o8 i6 k3 s1 p1")
    with tuning.tuned(False):
        assert chosen(other) == "quick"
    assert str(explain(other))
    assert choose(other, NEON).name == "quick"  # cannot run here
    assert chosen(ConvProblem.parse("2d n0 c8 o8 i6 k3 s1 p1")) == "quick"  # nothing to measure
    assert len(runs) == 1
    monkeypatch.setenv("STRIATE_TUNE", "0")
    assert chosen(other) == "quick"


def test_hopeless_algorithms_are_not_run(listed, timed):
    listed(MadeUp("hopeless", 1e9), QUICK, MadeUp("rough", 1e6, exact=False))
    runs = timed(quick=0.1, rough=0.2)
    tune(PROBLEM)
    assert runs[0][1] == ["quick", "rough"]
    listed(MadeUp("hopeless", 1e9), MadeUp("rough", 1e6, exact=False))
    assert chosen(strict=True) == "hopeless"


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(listed, timed, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STRIATE_CACHE_DIR", str(tmp_path / "file"))
    listed(SLOW, QUICK)
    timed(slow=0.001, quick=0.003)
    tune(PROBLEM)
    assert chosen() == "slow"


def test_threads_may_choose_and_measure_at_once(listed, timed):
    listed(SLOW, QUICK)
    timed(slow=0.001, quick=0.003)
    found = []

    def work():
        with tuning.tuned():
            found.extend(chosen(ConvProblem.parse(f"2d n{n} c8 o8 i6 k3 s1 p1")) for n in range(1, 9))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["slow"] * 48


@pytest.mark.parametrize("pass_", PASSES)
def test_real_algorithms_are_measured_on_real_memory(pass_, listed):
    listed(*ALGORITHMS)
    problem = ConvProblem.parse(f"2d n2 c8 o16 i8x7 k3 s1 p1 bias {pass_}")
    times = tune(problem)
    assert times.keys() <= {algorithm.name for algorithm in able(problem.spec, host())}
    if times:
        assert all(0 < value < 1 for value in times.values())
        assert chosen(problem) == min(times, key=times.get)
