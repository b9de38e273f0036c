"""Fixtures for every test: no display, no network, one clean environment, compiled kernels in a folder of their own."""

import os
import shutil
import tempfile

import pytest

# Before torch is imported, here and in the processes that tests start. Tests in parallel share the cores: threads that
# wait in turns for each other's cores spin, and ten times the work is done.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _WORKERS)))

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

# How long an example may take is no claim of ours, and a busy machine takes long.
settings.register_profile("striate", deadline=None)
settings.load_profile("striate")

os.environ.setdefault("MPLBACKEND", "agg")
# Set before xdist starts its workers, which inherit it and share the folder. One that is given is kept and stays warm.
KERNELS = None if "STRIATE_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="striate-tests-")
if KERNELS is not None:
    os.environ["STRIATE_CACHE_DIR"] = KERNELS

# pytest names the running test, torch.compile its cache; Lightning and TensorBoard set theirs when they are imported.
_SET_BY_LIBRARIES = ("PYTEST_", "TORCHINDUCTOR_", "CRC32C_SW_MODE", "PYTORCH_NVML_BASED_CUDA_CHECK")


def pytest_unconfigure():
    """Remove the folder with the process that made it."""
    if KERNELS is not None:
        shutil.rmtree(KERNELS, ignore_errors=True)


@pytest.fixture(autouse=True)
def _fixed_seed():
    """Start every test from the same random numbers."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _clean_environment():
    """Fail a test that leaks environment variables or the number of threads."""
    variables, threads = dict(os.environ), torch.get_num_threads()
    yield
    changed = {name for name in variables.keys() ^ os.environ.keys() if not name.startswith(_SET_BY_LIBRARIES)}
    assert not changed, f"the test leaked {changed}"
    assert torch.get_num_threads() == threads
