"""Bringing rows of pixels into a thread's scratch memory, and results out of it, in either layout.

A register tile wants its source as rows of pixels with all channels of a pixel side by side, and zeros where the window
reaches over the border. A staged row is just that: ``reach`` pixels from position ``left`` on, copied from
channels-last memory or transposed from contiguous memory, with zeros outside ``0 <= position < size``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.compiler.moves import copy, fill, transpose

if TYPE_CHECKING:
    from striate.compiler.emit import Kernel
    from striate.compiler.problem import Layout
    from striate.compiler.values import Index, Number, Pointer


def bring_row(
    k: Kernel,
    layout: Layout,
    source: Pointer,
    channels: int,
    pitch: int,
    plane: Number,
    size: Number,
    left: Index,
    reach: Number,
    to: Pointer,
) -> None:
    """Stage ``to[pixel][channel]`` for pixels ``left`` up to ``left + reach`` of a row of ``size`` pixels.

    Staged pixels lie ``pitch`` elements apart, which may leave gaps. ``source`` is the row's first element; ``plane``
    is how far apart the channels of contiguous memory are.
    """
    low = k.minimum(k.maximum(0 - left, 0), reach)
    high = k.maximum(k.minimum(size - left, reach), low)
    _clear(k, to, low, channels, pitch)
    if layout == "contiguous" and channels > 1:
        transpose(k, source + left + low, plane, to + low * pitch, pitch, channels, high - low)
    elif pitch == channels:
        copy(k, source + (left + low) * channels, to + low * channels, (high - low) * channels)
    else:
        with k.loop(high, low) as pixel:
            copy(k, source + (left + pixel) * channels, to + pixel * pitch, channels)
    _clear(k, to + high * pitch, reach - high, channels, pitch)


def _clear(k: Kernel, to: Pointer, pixels: Number, channels: int, pitch: int) -> None:
    if pitch == channels:
        fill(k, to, k.index(pixels) * channels)
        return
    with k.loop(pixels) as pixel:
        fill(k, to + pixel * pitch, channels)
