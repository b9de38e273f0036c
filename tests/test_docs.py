"""The documentation runs: doctests of every module, and the blocks of README.md and docs/.

Blocks of one page run from top to bottom and share their names, in a folder of their own. A ``python`` block is
executed (as a doctest where it holds a prompt), and a ``console`` block's ``$ striate ...`` lines are run as commands
that must succeed; lines shown below such a command must occur in its output. Other languages, and commands other than
striate, are not run. Commands run in this process, as one of its own spends more time on importing than most of them
take; the slow tests give each its own.
"""

import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sklearn  # noqa: F401  # Optuna imports it, which sets variables of the environment
from typer.testing import CliRunner

import striate
from striate.cli.app import app

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "striate").rglob("*.py")
    if path.name != "__main__.py"
)
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Networks are shown on shapes; compiling a kernel for each of their layers would take most of the tests' time.
    with striate.use_compiled(not module.startswith("striate.models.")):
        result = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert result.failed == 0


def run_python(source: str, names: dict[str, object], page: str) -> None:
    if not source.lstrip().startswith(">>>"):
        exec(compile(source, page, "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(source, names, page, page, 0)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, clear_globs=False)
    names.update(test.globs)
    assert runner.failures == 0


def run_here(words: list[str]) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, words, prog_name="striate")
    return done.exit_code, done.stdout, done.stderr


def run_alone(words: list[str]) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "striate", *words]
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout, done.stderr


def run_commands(source: str, run: Callable[[list[str]], tuple[int, str, str]] = run_here) -> None:
    output = ""
    for line in source.splitlines():
        if line.startswith("$ striate "):
            code, told, complaints = run(shlex.split(line.removeprefix("$ striate "), comments=True))
            assert code == 0, told + complaints
            output = " ".join(told.split())
        elif not line.startswith("$ ") and line.strip() not in {"", "..."}:
            assert " ".join(line.split()) in output, f"{line!r} is not in the output of the command above it"


@pytest.mark.parametrize("run", [run_here, pytest.param(run_alone, marks=pytest.mark.slow)])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for language, source in BLOCK.findall(page.read_text()):
        if language == "python":
            run_python(source, names, page.name)
        else:
            run_commands(source, run)


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_wrong_example_would_be_found():
    with pytest.raises(AssertionError):
        run_python(">>> 1 + 1\n3\n", {}, "page")
    with pytest.raises(AssertionError):
        run_commands("$ striate nonsense\n")
