"""Random numbers: every source of them seeded, saved and given back, and the order of an epoch's samples."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def epoch_order(size: int, seed: int, epoch: int) -> torch.Tensor:
    """Return the order of an epoch's samples, a permutation of 0 .. size - 1 from the seed and the epoch alone.

    So a run that resumes in the middle of an epoch needs to know no more than its place in it.

    >>> epoch_order(5, seed=0, epoch=1).sort().values.tolist()
    [0, 1, 2, 3, 4]
    """
    # NumPy promises that SeedSequence and PCG64 keep their streams; a permutation by argsort of raw words keeps ours.
    words = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(size)
    return torch.from_numpy(np.argsort(words, kind="stable"))


def rng_state() -> dict[str, Any]:
    """Return the state of all global random number generators, in plain types and tensors.

    >>> state = rng_state()
    >>> first = torch.rand(1).item(), random.random()
    >>> set_rng_state(state)
    >>> first == (torch.rand(1).item(), random.random())
    True
    """
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, list(words), gauss],
        "numpy": {**legacy, "state": {"key": legacy["state"]["key"].tolist(), "pos": int(legacy["state"]["pos"])}},
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Put all global generators back to a state from `rng_state`."""
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    legacy = state["numpy"]
    np.random.set_state({**legacy, "state": {**legacy["state"], "key": np.array(legacy["state"]["key"], np.uint32)}})
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every global generator and make GPU kernels deterministic, and leave both as they were found.

    >>> with seeded(0):
    ...     first = torch.rand(1)
    >>> with seeded(0):
    ...     bool(first == torch.rand(1))
    True
    """
    state = rng_state()
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        if torch.cuda.is_available():
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
            torch.use_deterministic_algorithms(True, warn_only=True)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # libraries that models and data may use draw from the global generator
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = flags
        torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])
        set_rng_state(state)
