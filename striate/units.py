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


def readable_count(count: int) -> str:
    """A number of things to three digits, in thousands, millions and so on.

    >>> [readable_count(count) for count in (640, 9_408, 25_557_032, 4_089_184_256)]
    ['640', '9.41 K', '25.6 M', '4.09 G']
    """
    if count < 1000:
        return str(count)
    power = min((len(str(count)) - 1) // 3, 5)
    power += round(count / 1000**power) == 1000 and power < 5  # 999,999 is 1.00 M
    value = count / 1000**power
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {'KMGTP'[power - 1]}"


def readable_size(size: Iterable[object]) -> str:
    """A size per axis, joined by x.

    >>> readable_size((28, 32))
    '28x32'
    """
    return "x".join(map(str, size))
