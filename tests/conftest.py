"""Fixtures for every test: no display, no network, one clean environment."""

import os

import pytest
import torch

os.environ.setdefault("MPLBACKEND", "agg")

# pytest names the running test, torch.compile its cache; Lightning and TensorBoard set theirs when they are imported.
_SET_BY_LIBRARIES = ("PYTEST_", "TORCHINDUCTOR_", "CRC32C_SW_MODE", "PYTORCH_NVML_BASED_CUDA_CHECK")


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
