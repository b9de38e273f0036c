"""Numbers on the command line: ``1 2 3`` is a signal, ``1 2; 3 4`` an image, ``1 2; 3 4 | 5 6; 7 8`` a volume."""

from __future__ import annotations

import re

from striate.errors import InputError


def parse_numbers(text: str) -> list[object]:
    """Read numbers as nested lists: entries apart by spaces or commas, rows by ``;`` or ``/``, planes by ``|``.

    Raises `InputError` for a word that is no number, and for rows or planes of different lengths.

    >>> parse_numbers("1 0 -1; 1 0 -1")
    [[1.0, 0.0, -1.0], [1.0, 0.0, -1.0]]
    >>> parse_numbers("1, 2.5")
    [1.0, 2.5]
    """
    planes = [[_row(row) for row in re.split(r"[;/\n]", plane)] for plane in text.split("|")]
    if len({len(row) for plane in planes for row in plane}) > 1 or len({len(plane) for plane in planes}) > 1:
        raise InputError("rows of equal length", repr(text), "Give every row, and every plane, as many entries.")
    if len(planes) > 1:
        return list(planes)
    return list(planes[0]) if len(planes[0]) > 1 else list(planes[0][0])


def _row(text: str) -> list[float]:
    words = [word for word in re.split(r"[\s,]+", text) if word]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not numbers:
        raise InputError(
            "numbers such as '1 2 3' or '1 0 -1; 1 0 -1'",
            repr(text.strip()),
            "Separate entries by spaces, rows by ';'.",
        )
    return numbers


def format_numbers(values: object) -> str:
    """Write nested lists the way `parse_numbers` reads them, one row a line, planes apart by a line of ``|``.

    >>> print(format_numbers([[2.0, 6.5], [1.0, 0.0]]))
    2 6.5
    1 0
    """
    if isinstance(values, list) and values and isinstance(values[0], list):
        separator = "\n|\n" if isinstance(values[0][0], list) else "\n"
        return separator.join(format_numbers(entry) for entry in values)
    return " ".join(f"{value:g}" for value in values)  # type: ignore[attr-defined]


def parse_shape(text: str) -> tuple[int, ...]:
    """Read a shape such as ``1x28x28``. Raises `InputError`.

    >>> parse_shape("3x224x224")
    (3, 224, 224)
    """
    words = text.lower().replace(",", "x").split("x")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise InputError("a shape such as 1x28x28", repr(text), "Join positive whole numbers by x.")
    return tuple(int(word) for word in words)


def parse_sizes(text: str) -> int | tuple[int, ...]:
    """Read one size for all axes, or one per axis: ``3`` or ``3x5``. Raises `InputError`.

    >>> parse_sizes("3"), parse_sizes("3x5")
    (3, (3, 5))
    """
    sizes = parse_shape(text) if text.strip("0") else (0,)
    return sizes[0] if len(sizes) == 1 else sizes
