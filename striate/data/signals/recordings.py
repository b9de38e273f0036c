"""Recordings of any length, whatever file they come from: what they are, what is checked, and their options.

Every reader of signals makes `Recording`s and hands them to `striate.data.signals.cutting.collect`, so these options
are the same for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.data.file_kinds import DamagedFileError
from striate.data.file_names import NAME_OPTIONS
from striate.data.options import Option, number, one_of, whole_number, yes_or_no
from striate.data.signals.resampling import resample_uneven
from striate.data.subjects import SUBJECT_OPTIONS
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""What time stamps may count, in seconds."""


RECORDING_OPTIONS = (
    Option("window", None, "samples in a window; without it recordings are taken whole", *whole_number(1)),
    Option("step", None, "samples from one window to the next; without it windows do not overlap", *whole_number(1)),
    Option(
        "window_label",
        "majority",
        "the label of a window whose samples have several: that of most, or no such windows",
        *one_of("majority", "pure"),
    ),
    Option("blocks", None, "pieces of a recording that windows do not straddle, for splitting", *whole_number(1)),
    Option("rate", None, "samples per second to resample to, by the time stamps", *number(1e-6)),
    Option("repair_times", False, "whether to sort by time and keep the first sample of each time", *yes_or_no()),
    Option("missing", "error", "what to do with NaN samples", *one_of("error", "interpolate")),
    *NAME_OPTIONS,
    *SUBJECT_OPTIONS,
)
"""Options of every reader that makes recordings."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording: values (L, C), and its target, once (1 row) or for every sample (L rows).

    Targets of classification are int64 (1,) or (L,), those of other tasks float64 (1, K) or (L, K). ``seconds`` (L,)
    are the times of the samples, if they are known.
    """

    name: str
    values: npt.NDArray[Any]
    target: npt.NDArray[Any]
    subject: str | None = None
    split: str | None = None
    seconds: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A recording, or a whole file, that could not be read: its name, and why."""

    name: str
    error: DamagedFileError


def prepare(recording: Recording, own: Mapping[str, Any]) -> Recording:
    """Check one recording and bring it to the rate that the options ask for; values become float32.

    Raises `DamagedFileError` for one that is empty, shorter than the window, or has samples that are not finite or
    times that do not ascend.

    >>> recording = Recording("walk", np.array([[1.0], [np.nan], [3.0]]), np.array([0]))
    >>> prepare(recording, {"missing": "interpolate"}).values[:, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    name, values, seconds = recording.name, recording.values, recording.seconds
    if not len(values):
        raise DamagedFileError("a recording with samples", f"{name}, which is empty", "Remove it.")
    target = recording.target
    if seconds is not None and own.get("repair_times"):
        seconds, kept = np.unique(seconds, return_index=True)
        values, target = values[kept], target[kept] if len(target) > 1 else target
    if seconds is not None:
        _check_times(seconds, name)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        values = _mended(values, name, own.get("missing", "error"))
    rate = own.get("rate")
    if rate is not None:
        if seconds is None:
            raise DataError(
                "time stamps to resample by", f"rate={rate:g} for {name} without any", "Name them with the option time."
            )
        given, (values, seconds) = seconds, resample_uneven(values, seconds, rate)
        if len(target) > 1:
            # The label of a new sample is that of the old one nearest in time.
            target = target[np.searchsorted((given[1:] + given[:-1]) / 2, seconds)]
    window = own.get("window")
    if window is not None and len(values) < window:
        raise DamagedFileError(
            f"recordings of at least {window} samples, as many as a window",
            f"{name} with {len(values)}",
            "Lower window, or leave short ones out with skip_corrupt.",
        )
    return replace(recording, values=values, target=target, seconds=seconds)


def _check_times(seconds: npt.NDArray[np.float64], name: str) -> None:
    if not np.isfinite(seconds).all():
        raise DamagedFileError("a time for every sample", f"{name} with some missing", "Fill them in.")
    back = np.flatnonzero(np.diff(seconds) <= 0)
    if len(back):
        row = int(back[0]) + 1
        what = "twice the same time" if seconds[row] == seconds[row - 1] else "a time before that of the last sample"
        raise DamagedFileError(
            "times that ascend",
            f"{name} with {what} at sample {row} ({len(back)} such samples)",
            "Give repair_times to sort them and keep the first of each time, or leave the times out.",
        )


def _mended(values: npt.NDArray[np.float32], name: str, missing: str) -> npt.NDArray[np.float32]:
    if np.isinf(values).any():
        count = int(np.isinf(values).sum())
        raise DamagedFileError(
            "finite samples", f"{name} with {count} that are infinite in float32", "Clean or rescale the data first."
        )
    gaps = np.isnan(values)
    if missing == "error":
        row, channel = np.argwhere(gaps)[0].tolist()
        raise DamagedFileError(
            "samples without NaN",
            f"{name} with {int(gaps.sum())}, first at sample {row} of channel {channel}",
            "Clean the data, or fill gaps with missing='interpolate'.",
        )
    if gaps.all(0).any():
        raise DamagedFileError(
            "channels with at least one sample",
            f"{name} with nothing but NaN in channel {int(gaps.all(0).argmax())}",
            "Leave the channel or the recording out.",
        )
    mended = values.copy()
    places = np.arange(len(values))
    for channel in np.flatnonzero(gaps.any(0)):
        gap = gaps[:, channel]
        mended[gap, channel] = np.interp(places[gap], places[~gap], values[~gap, channel])
    return mended
