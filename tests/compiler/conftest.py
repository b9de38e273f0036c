"""What the compiler's tests share: a cache of their own."""

import sys
from pathlib import Path

import pytest

from striate.compiler.cache import DiskCache
from striate.compiler.jit import Jit

sys.path.insert(0, str(Path(__file__).parent))  # makes any_problem.py importable, which importlib mode does not


@pytest.fixture(scope="session")
def jit(tmp_path_factory):
    return Jit(DiskCache(tmp_path_factory.mktemp("kernels")))
