"""Numbers on the command line: ``1 2 3`` is a signal, ``1 2; 3 4`` an image, ``1 2; 3 4 | 5 6; 7 8`` a volume."""

from __future__ import annotations

import math
import re

from striate.errors import InputError


def parse_numbers(text: str) -> list[object]:
    """Read numbers as nested lists: entries apart by spaces or commas, rows by ``;`` or ``/``, planes by ``|``.

    Raises `InputError` for a word that is no finite number, and for rows or planes of different lengths.

    >>> parse_numbers("1 0 -1; 1 0 -1")
    [[1.0, 0.0, -1.0], [1.0, 0.0, -1.0]]
    >>> parse_numbers("1, 2.5")
    [1.0, 2.5]
    """
    planes = [[_row(row) for row in re.split(r"[;/\n]", plane.strip())] for plane in text.split("|")]
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
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError(
            "numbers such as '1 2 3' or '1 0 -1; 1 0 -1'",
            repr(text.strip()),
            "Separate entries by spaces, rows by ';'.",
        )
    return numbers


def begins_with_number(text: str) -> bool:
    """Whether a text is meant as numbers, right or wrong, rather than as a name.

    >>> begins_with_number("-1 2; 3"), begins_with_number("1 2 x"), begins_with_number("photo.png")
    (True, True, False)
    """
    return re.match(r"\s*[-+]?\.?\d[\d.e+-]*(?![^\s,;/|])", text) is not None


def format_numbers(values: object) -> str:
    """Write nested lists the way `parse_numbers` reads them, one row a line, planes apart by a line of ``|``.

    The columns of rows are aligned.

    >>> print(format_numbers([[2.0, -6.5], [1.0, 0.0]]))
    2 -6.5
    1    0
    """
    if isinstance(values, list) and values and isinstance(values[0], list):
        if isinstance(values[0][0], list):
            return "\n|\n".join(map(format_numbers, values))
        rows = [[_written(value) for value in row] for row in values]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (" ".join(map(str.rjust, row, widths)) for row in rows)
        return "\n".join(lines)
    return " ".join(map(_written, values))  # type: ignore[call-overload]


def _written(value: float) -> str:
    return f"{value + 0.0:.10g}"  # adding 0 makes -0 a 0


def parse_shape(text: str) -> tuple[int, ...]:
    """Read a shape such as ``1x28x28``. Raises `InputError`.

    >>> parse_shape("3x224x224")
    (3, 224, 224)
    """
    words = text.lower().replace(",", "x").split("x")
    if not all(word.strip().isdecimal() and 0 < int(word) < 2**31 for word in words):
        raise InputError("a shape such as 1x28x28", repr(text), "Join positive whole numbers by x.")
    return tuple(int(word) for word in words)


def parse_sizes(text: str) -> int | tuple[int, ...]:
    """Read one size for all axes, or one per axis: ``3`` or ``3x5``. Raises `InputError`.

    >>> parse_sizes("3"), parse_sizes("3x5")
    (3, (3, 5))
    """
    words = text.strip().lower().split("x")
    if not all(word.isdecimal() for word in words):
        raise InputError("a whole number, or one per axis such as 2x1", repr(text.strip()), "Join the numbers by x.")
    return int(words[0]) if len(words) == 1 else tuple(map(int, words))
