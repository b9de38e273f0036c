"""Sizes and amounts as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def readable_bytes(count: int) -> str:
    """A number of bytes in the largest binary unit that leaves it at 1 or more.

    >>> readable_bytes(1536)
    '1.5 KiB'
    """
    power = min(max(count.bit_length() - 1, 0) // 10, 5)
    return f"{count} B" if power == 0 else f"{count / 1024**power:.1f} {'KMGTP'[power - 1]}iB"


def readable_size(size: Iterable[object]) -> str:
    """A size per axis, joined by x.

    >>> readable_size((28, 32))
    '28x32'
    """
    return "x".join(map(str, size))
