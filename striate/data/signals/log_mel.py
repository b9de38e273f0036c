"""Log-mel spectrograms: how loud each band of a sound is over time, in bands as wide as hearing makes them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from striate.errors import DataError

MelScale: TypeAlias = Literal["slaney", "htk"]

_QUIETEST = 1e-10
_RANGE_DB = 80.0

# Slaney's scale is linear up to 1000 Hz, 3 mels in 200 Hz, and logarithmic above, 27 mels for a factor of 6.4.
_LINEAR = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR
_LOG_STEP = math.log(6.4) / 27


def hz_to_mel(hz: npt.ArrayLike, scale: MelScale = "slaney") -> npt.NDArray[np.float64]:
    """From frequencies to mels: Slaney's Auditory Toolbox (1998), or O'Shaughnessy (1987) as HTK has it.

    >>> hz_to_mel([500, 1000, 6400]).round(1).tolist(), hz_to_mel(1000, "htk").round(1).item()
    ([7.5, 15.0, 42.0], 1000.0)
    """
    values = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + values / 700)
    above = _BREAK_MEL + np.log(np.maximum(values, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(values < _BREAK_HZ, values / _LINEAR, above)


def mel_to_hz(mel: npt.ArrayLike, scale: MelScale = "slaney") -> npt.NDArray[np.float64]:
    """From mels to frequencies, the inverse of `hz_to_mel`.

    >>> mel_to_hz([7.5, 15, 42]).round(6).tolist()
    [500.0, 1000.0, 6400.0]
    """
    values = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700 * (10 ** (values / 2595) - 1)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(values, _BREAK_MEL) - _BREAK_MEL))
    return np.where(values < _BREAK_MEL, values * _LINEAR, above)


@lru_cache(maxsize=16)
def mel_filters(rate: int, fft: int, mels: int, f_min: float, f_max: float, scale: MelScale = "slaney") -> torch.Tensor:
    """Triangular filters (mels, fft // 2 + 1) with centres evenly spaced in mels, each of area 1 over frequency.

    Raises `DataError` for bands beyond half the rate, and for so many that some hold no frequency of the transform.

    >>> mel_filters(16000, 512, 40, 0.0, 8000.0).shape
    torch.Size([40, 257])
    """
    if not 0 <= f_min < f_max <= rate / 2:
        raise DataError(
            f"0 <= f_min < f_max <= {rate / 2:g} Hz, half the sampling rate",
            f"f_min={f_min:g}, f_max={f_max:g}",
            "Correct them, or leave them out for the whole range.",
        )
    edges = mel_to_hz(np.linspace(hz_to_mel(f_min, scale), hz_to_mel(f_max, scale), mels + 2), scale)
    bins = np.arange(fft // 2 + 1) * (rate / fft)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    slopes = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    filters = np.maximum(slopes, 0) * (2 / (right - left))
    empty = int((filters.max(1) == 0).sum())
    if empty:
        raise DataError(
            "mel bands that each hold a frequency",
            f"{mels} bands of which {empty} hold none of the {fft // 2 + 1} frequencies at {rate} Hz",
            "Lower mels, or raise window_ms or f_min.",
        )
    return torch.from_numpy(filters.astype(np.float32))


def log_mel(
    waveform: torch.Tensor,
    rate: int,
    *,
    window_ms: float = 25.0,
    hop_ms: float = 10.0,
    mels: int = 64,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: MelScale = "slaney",
) -> torch.Tensor:
    """The log-mel spectrogram (C, mels, 1 + L // hop) of a waveform (C, L), in decibels.

    Frames under a Hann window are centred at every hop, with silence before and after; the transform has the next power
    of two of samples. Power below 1e-10 and what is more than 80 dB below the loudest is cut off there, as librosa's
    ``power_to_db`` does. Raises `DataError` as `mel_filters`, and for a hop of no sample.

    >>> log_mel(torch.zeros(1, 8000), 8000, mels=20).shape
    torch.Size([1, 20, 101])
    """
    window, hop = round(rate * window_ms / 1000), round(rate * hop_ms / 1000)
    if window < 2 or hop < 1:
        raise DataError(
            f"window_ms and hop_ms that hold samples at {rate} Hz",
            f"window_ms={window_ms:g}, hop_ms={hop_ms:g}",
            "Raise them.",
        )
    fft = 1 << (window - 1).bit_length()
    filters = mel_filters(rate, fft, mels, float(f_min), rate / 2 if f_max is None else float(f_max), scale)
    spectrum = torch.stft(
        waveform, fft, hop, window, torch.hann_window(window), center=True, pad_mode="constant", return_complex=True
    )
    power = filters @ (spectrum.real.square() + spectrum.imag.square())
    decibels = 10 * torch.log10(power.clamp(min=_QUIETEST))
    return torch.maximum(decibels, decibels.max() - _RANGE_DB)
