"""Which axis of an array is which.

``layout`` is a word with one letter per axis: N samples, C channels, then L (signals), HW (images) or DHW (volumes).
Without it the rule is:

==== ===================================================================================================================
axes meaning
==== ===================================================================================================================
2    NL, signals of one channel
3    NHW, grey images; but when one axis has at most 16 entries and the other at least 4 times as many, signals with
     channels along the short one (NCL or NLC)
4    NHWC when only the last axis has 1 to 4 entries, NCHW when only the second has; NDHW, grey volumes, when neither
5    NDHWC or NCDHW in the same way
==== ===================================================================================================================

Anything else is ambiguous, and an error asks for the word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from striate.errors import DataError, did_you_mean

LAYOUTS = ("NL", "NCL", "NLC", "NHW", "NCHW", "NHWC", "NDHW", "NCDHW", "NDHWC")

_MAX_IMAGE_CHANNELS = 4
_MAX_SIGNAL_CHANNELS = 16
_SIGNAL_RATIO = 4


def find_layout(shape: tuple[int, ...], name: str) -> str:
    """Tell the axes of an array of samples by the rule above. Raises `DataError` where it is ambiguous.

    >>> find_layout((100, 28, 28), "x"), find_layout((100, 32, 32, 3), "x"), find_layout((100, 128, 9), "x")
    ('NHW', 'NHWC', 'NLC')
    """
    if len(shape) == 2:
        return "NL"
    if len(shape) == 3:
        second, last = shape[1:]
        if second <= _MAX_SIGNAL_CHANNELS and last >= _SIGNAL_RATIO * second:
            return "NCL"
        if last <= _MAX_SIGNAL_CHANNELS and second >= _SIGNAL_RATIO * last:
            return "NLC"
        return "NHW"
    if len(shape) in (4, 5):
        first, last = (1 <= shape[axis] <= _MAX_IMAGE_CHANNELS for axis in (1, -1))
        if first != last:
            return {(4, True): "NCHW", (4, False): "NHWC", (5, True): "NCDHW", (5, False): "NDHWC"}[len(shape), first]
        if len(shape) == 4 and not first:
            return "NDHW"
    raise DataError(
        "an array of samples with 2 to 5 axes, whose channel axis has 1 to 4 entries",
        f"{name} of shape {shape}",
        f"Name the axes with layout, one of {', '.join(LAYOUTS)}.",
    )


def as_samples(array: npt.NDArray[Any], layout: str | None, name: str) -> torch.Tensor:
    """Bring an array to (N, C, *spatial): uint8 as it is, every other kind of number as float32.

    Raises `DataError` for an unknown or unfitting layout, an empty axis, and values that are not finite.

    >>> as_samples(np.zeros((5, 32, 32, 3), np.uint8), None, "x").shape
    torch.Size([5, 3, 32, 32])
    """
    word = check_layout(layout) if layout is not None else find_layout(array.shape, name)
    if len(word) != array.ndim:
        raise DataError(
            f"an array with {len(word)} axes for layout {word}",
            f"{name} of shape {array.shape}",
            "Give the layout that it has.",
        )
    if 0 in array.shape:
        raise DataError("an array without empty axes", f"{name} of shape {array.shape}", "Check how it was written.")
    array = np.moveaxis(array, word.index("C"), 1) if "C" in word else np.expand_dims(array, 1)
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise DataError(
                "finite values",
                f"{name} with {bad} that are NaN or infinite in float32",
                "Clean or rescale the data first.",
            )
    array = np.ascontiguousarray(array)
    # A tensor may be written to, so it must not share memory with bytes that may not.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def check_layout(layout: Any) -> str:
    """Return ``layout`` if it is one of LAYOUTS. Raises `DataError`."""
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise DataError("a layout word", f"layout={layout!r}", did_you_mean(str(layout).upper(), LAYOUTS))
    return layout
