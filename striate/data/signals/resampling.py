"""Signals brought to another sampling rate, without aliasing.

Even signals go through a low-pass filter, a sinc under a Kaiser window, evaluated where the new samples are. Uneven
time stamps are first interpolated linearly onto an even grid at least as dense as they are, and then filtered.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from striate.errors import DataError

_ZEROS = 24
"""Zero crossings of the sinc on each side: what the transition from passing to stopping takes."""

_BETA = 9.0
"""Of the Kaiser window: about 90 dB between what passes and what is stopped."""

_ROLLOFF = 0.92
"""The edge of what passes, as a part of half the lower rate; what lies above half of it is nearly gone."""

_MAX_KERNEL = 2**24


def resample_even(signal: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """Resample (C, L) from ``old`` to ``new`` samples per unit of time, to (C, ceil(L * new / old)), float32.

    The first sample keeps its time. Raises `DataError` for rates whose ratio is so odd that the filter would take too
    much memory.

    >>> resample_even(torch.ones(1, 8), 2, 1).round(decimals=3).tolist()
    [[1.0, 1.0, 1.0, 1.0]]
    """
    divisor = math.gcd(old, new)
    old, new = old // divisor, new // divisor
    if old == new:
        return signal
    kernel, step, reach = _kernel(old, new)
    channels, length = signal.shape
    blocks = -(-length // step)
    after = blocks * step + reach - length
    # The signal goes on as its mirror image in both directions, turned about its first and last value, so that
    # neither it nor its slope jumps.
    before = torch.arange(reach, 0, -1).clamp(max=length - 1)
    beyond = length - 1 - torch.arange(1, after + 1).clamp(max=length - 1)
    padded = torch.cat(
        (2 * signal[:, :1] - signal[:, before], signal, 2 * signal[:, -1:] - signal[:, beyond]), dim=1
    ).float()
    made = padded.unfold(1, step + 2 * reach, step) @ kernel
    return made.reshape(channels, -1)[:, : -(-length * new // old)].contiguous()


@lru_cache(maxsize=16)
def _kernel(old: int, new: int) -> tuple[torch.Tensor, int, int]:
    """The filters (taps, outputs) for a block of samples, the samples in a block, and how far beyond it they reach."""
    base = min(old, new) * _ROLLOFF
    reach = math.ceil(_ZEROS * old / base)
    # As many samples in a block as come from beside it: one multiplication of matrices does many outputs.
    blocks = -(-2 * reach // old)
    step, outputs = blocks * old, blocks * new
    if outputs * (step + 2 * reach) > _MAX_KERNEL:
        raise DataError(
            "sampling rates in a simple ratio", f"{old} to {new}", "Resample to a rounder rate, such as 16000."
        )
    times = torch.arange(outputs, dtype=torch.float64) / new
    times = times - torch.arange(-reach, step + reach)[:, None].double() / old
    inside = (1 - (times * base / _ZEROS).square()).clamp(min=0)
    window = torch.special.i0(_BETA * inside.sqrt()) * (inside > 0)
    kernel = torch.sinc(times * base) * window
    return (kernel / kernel.sum(0)).float(), step, reach


def resample_uneven(
    values: npt.NDArray[np.floating], seconds: npt.NDArray[np.float64], rate: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Resample values (L, C) at ascending times to ``rate`` per second: (M, C) float32, and the new times (M,).

    The first sample keeps its time.

    >>> values, times = resample_uneven(np.array([[0.0], [1.0], [3.0]]), np.array([0.0, 1.0, 3.0]), rate=1)
    >>> values[:, 0].tolist(), times.tolist()
    ([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0])
    """
    span = float(seconds[-1] - seconds[0])
    count = math.floor(span * rate * (1 + 1e-9) + 1e-6) + 1
    given = (len(seconds) - 1) / span if span > 0 else rate
    # A thousandth too fast is a clock that is not quite right, and nothing that could alias.
    factor = max(math.ceil(given / rate - 1e-3), 1)
    fine = seconds[0] + np.arange((count - 1) * factor + 1) / (rate * factor)
    laid = np.stack([np.interp(fine, seconds, channel) for channel in values.T])
    even = resample_even(torch.from_numpy(laid), factor, 1).numpy()
    return np.ascontiguousarray(even.T, dtype=np.float32), fine[::factor]
