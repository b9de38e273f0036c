"""What the compiler's tests share: a cache of their own, and running a forward problem on NumPy arrays."""

import sys
from pathlib import Path

import numpy as np
import pytest

from striate.compiler.algorithms import direct
from striate.compiler.cache import DiskCache
from striate.compiler.jit import Jit
from striate.compiler.target import host

sys.path.insert(0, str(Path(__file__).parent))  # makes any_problem.py importable, which importlib mode does not


@pytest.fixture(scope="session")
def jit(tmp_path_factory):
    return Jit(DiskCache(tmp_path_factory.mktemp("kernels")))


@pytest.fixture(scope="session")
def run_direct(jit):
    """Run the direct kernel on arrays (N, C, *spatial); give the output in the same order."""

    def run(problem, input, weight, bias=None, target=None, threads=2):
        forward = direct.Forward.load(problem.spec, target or host(), jit)
        kind = problem.spec.dtype
        x = np.ascontiguousarray(np.moveaxis(input, 1, -1), kind)
        w = np.ascontiguousarray(weight, kind)
        b = np.ascontiguousarray(np.zeros(problem.spec.out_channels) if bias is None else bias, kind)
        packed = np.empty(forward.packed_elements, kind)
        scratch = np.full(forward.scratch_elements(problem) * threads, np.nan, kind)
        y = np.full((problem.batch, *problem.output_size, problem.spec.out_channels), np.nan, kind)
        forward.pack(w.ctypes.data, packed.ctypes.data, threads)
        forward(problem, *(a.ctypes.data for a in (x, packed, b, y, scratch)), threads)
        return np.moveaxis(y, -1, 1)

    return run
