"""Compiling many kernels in worker processes, and what happens where those cannot help."""

import io
import json
import subprocess
import sys
import textwrap

import pytest

from striate.compiler import workers
from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.cache import DiskCache
from striate.compiler.jit import Jit
from striate.compiler.plan import compiled, kernel_name
from striate.compiler.problem import Spec
from striate.compiler.target import NEON, SSE, host
from striate.compiler.workers import main, prepare

DIRECT = ALGORITHMS[0]
KERNELS = [(DIRECT, Spec.parse(f"2d c{channels} o{channels} k1 s1")) for channels in (3, 16, 40)]


def all_there(jit, target=None):
    return all(jit.has(kernel_name(*kernel), target or host()) for kernel in KERNELS)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_every_missing_kernel_is_compiled_once(count, tmp_path):
    jit = Jit(DiskCache(tmp_path))
    assert prepare([*KERNELS, *KERNELS], jit=jit, workers=count) == 3
    assert all_there(jit)
    assert len(jit.disk.entries()) == 3
    assert prepare(KERNELS, jit=jit, workers=count) == 0
    before = jit.compiled
    for algorithm, spec in KERNELS:
        assert compiled(algorithm, spec, host(), jit)
    assert jit.compiled == before


def test_few_kernels_start_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_feed", lambda *_: pytest.fail("a process was started"))
    monkeypatch.setattr(workers, "_cores", lambda: 8)
    assert prepare(KERNELS[:2], jit=Jit(DiskCache(tmp_path))) == 2


def test_workers_alone_can_compile_everything(tmp_path, monkeypatch):
    jit, here = Jit(DiskCache(tmp_path)), Jit.store

    def store(self, *arguments):
        if self is not jit:
            here(self, *arguments)

    # What this process takes from the queue it does not compile at first: its workers must have done the rest.
    left = workers.deque(KERNELS)
    monkeypatch.setattr(Jit, "store", store)
    workers._feed(left, jit.disk, host())
    assert not left
    assert all_there(jit)
    assert jit.compiled == 0


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/false", "/bin/cat", "/bin/true"])
def test_workers_that_cannot_work_are_done_without(program, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", program)
    jit = Jit(DiskCache(tmp_path))
    assert prepare(KERNELS, jit=jit, workers=2) == 3
    assert all_there(jit)
    assert jit.compiled <= 3


def test_a_frozen_application_is_not_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    jit = Jit(DiskCache(tmp_path))
    assert prepare(KERNELS, jit=jit, workers=1) == 3
    assert jit.compiled == 3


def test_where_nothing_can_be_kept_this_process_compiles(tmp_path):
    (tmp_path / "file").write_text("")
    jit = Jit(DiskCache(tmp_path / "file"))
    assert prepare(KERNELS, jit=jit, workers=1) == 3
    assert all_there(jit)
    assert jit.kernels == jit.compiled == 3


def test_a_kernel_that_cannot_be_built_fails_here_with_its_own_error(tmp_path):
    class Broken(type(DIRECT)):
        name = "broken"

        def build(self, spec, target):
            raise ZeroDivisionError("this kernel")

    with pytest.raises(ZeroDivisionError, match="this kernel"):
        prepare([(Broken(), KERNELS[0][1]), *KERNELS], jit=Jit(DiskCache(tmp_path)), workers=1)


@pytest.mark.parametrize("target", [SSE, NEON], ids=lambda target: target.name)
def test_kernels_for_other_machines_can_be_prepared(target, tmp_path):
    jit = Jit(DiskCache(tmp_path))
    assert prepare(KERNELS, target, jit=jit, workers=1) == 3
    assert all_there(jit, target)
    assert not all_there(jit)


def answers_of_a_worker(setting):
    orders = io.StringIO("\n".join([json.dumps(setting), *(kernel_name(*kernel) for kernel in KERNELS)]) + "\n")
    answers = io.StringIO()
    main(orders, answers)
    return answers.getvalue().split()


def test_a_worker_answers_its_beginning_and_each_kernel(tmp_path):
    disk = DiskCache(tmp_path)
    assert answers_of_a_worker(workers._setting(disk, host())) == ["ready", "done", "done", "done"]
    assert all_there(Jit(disk))


def test_a_worker_of_other_code_leaves(tmp_path):
    disk = DiskCache(tmp_path)
    assert answers_of_a_worker({**workers._setting(disk, host()), "versions": "other"}) == []
    assert disk.entries() == []


def test_a_program_without_a_main_guard_can_prepare(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            from striate.compiler.algorithms import ALGORITHMS
            from striate.compiler.cache import DiskCache
            from striate.compiler.jit import Jit
            from striate.compiler.problem import Spec
            from striate.compiler.workers import prepare

            print("begun")
            specs = [Spec.parse(f"1d c{{c}} o{{c}} k1 s1") for c in (2, 3, 4)]
            print(prepare([(ALGORITHMS[0], s) for s in specs], jit=Jit(DiskCache(Path({str(tmp_path)!r}))), workers=2))
            """
        )
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["begun", "3"], done.stderr
