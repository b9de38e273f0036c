"""The options that kinds of sources and files have of their own: declared once, checked once, listed by themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, the value it has if nobody says otherwise, what it means, and what it may be.

    ``expected`` puts into words what ``accepts`` checks; None is accepted where it is the default.

    >>> window = Option("window", None, "samples in a window", *whole_number(1))
    >>> window.checked(50)
    50
    """

    name: str
    default: Any
    meaning: str
    expected: str
    accepts: Callable[[Any], bool]

    def checked(self, value: Any) -> Any:
        """Return the value. Raises `DataError` if the option cannot have it."""
        if (value is None and self.default is None) or self.accepts(value):
            return value
        raise DataError(f"{self.name} to be {self.expected}", f"{self.name}={value!r}", f"It means: {self.meaning}.")


Check = tuple[str, "Callable[[Any], bool]"]
"""What a value must be, in words and as a test."""


def whole_number(least: int, most: int | None = None) -> Check:
    """A whole number from ``least`` to ``most``.

    >>> words, accepts = whole_number(1)
    >>> words, accepts(3), accepts(0), accepts(True)
    ('a whole number of at least 1', True, False, False)
    """
    words = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    return words, lambda value: type(value) is int and value >= least and (most is None or value <= most)


def number(least: float, most: float = math.inf) -> Check:
    """A finite number from ``least`` to ``most``.

    >>> number(0)[1](0.5), number(0)[1](float("inf"))
    (True, False)
    """
    words = f"a number of at least {least:g}" if most == math.inf else f"a number from {least:g} to {most:g}"
    return words, lambda value: type(value) in (int, float) and math.isfinite(value) and least <= value <= most


def one_of(*words: str) -> Check:
    """One of these words.

    >>> one_of("mean", "sum")[0]
    "one of 'mean', 'sum'"
    """
    return f"one of {', '.join(map(repr, words))}", lambda value: isinstance(value, str) and value in words


def text() -> Check:
    """Any text that is not empty."""
    return "a text", lambda value: isinstance(value, str) and bool(value)


def texts() -> Check:
    """A list of texts, or one text."""
    return (
        "a text or a list of texts",
        lambda value: (
            bool(value)
            and all(
                isinstance(each, str)
                for each in ([value] if isinstance(value, str) else value if _is_list(value) else [None])
            )
        ),
    )


def numbers() -> Check:
    """A finite number above 0, or a list of them."""
    return (
        "a number above 0, or a list of them",
        lambda value: (
            bool(value)
            and all(
                type(each) in (int, float) and 0 < each < math.inf for each in (value if _is_list(value) else [value])
            )
        ),
    )


def yes_or_no() -> Check:
    """True or false."""
    return "true or false", lambda value: isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def resolve(given: Mapping[str, Any], known: Iterable[Option], source: str) -> dict[str, Any]:
    """Fill in what is not given and check what is. Raises `DataError` for options that ``source`` does not have.

    >>> resolve({}, [Option("window", 50, "samples in a window", *whole_number(1))], "a table")
    {'window': 50}
    """
    options = {option.name: option for option in known}
    for name, value in given.items():
        if name not in options:
            listed = ", ".join(sorted(options)) or "none"
            remedy = did_you_mean(name, options) if options else "Leave it out."
            raise DataError(f"options of {source}: {listed}", f"{name}={value!r}", remedy)
    return {name: option.checked(given.get(name, option.default)) for name, option in options.items()}
