"""What the parameters of transforms may be, said in their annotations and checked when one is made.

::

    degrees: Annotated[float, Within(0, 180)] = 15.0
    area: Annotated[tuple[float, float], Span(0, 1)] = (0.08, 1.0)
"""

import math
import typing
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from striate.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Within:
    """A number from ``low`` to ``high``; whole if the default is."""

    low: float
    high: float = math.inf

    def accepted(self, value: object, *, whole: bool) -> Any:
        """The value as it is kept, or None if it is not such a number."""
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return None
        if not math.isfinite(value) or not self.low <= value <= self.high:
            return None
        return value if whole else float(value)

    def words(self, *, whole: bool) -> str:
        """What is expected, for a message."""
        kind = "a whole number" if whole else "a number"
        return f"{kind} of at least {self.low:g}" if self.high == math.inf else f"{kind} {_range(self)}"


@dataclass(frozen=True, slots=True)
class Span:
    """Two numbers, the first not above the second, both from ``low`` to ``high``."""

    low: float
    high: float = math.inf

    def accepted(self, value: object, *, whole: bool) -> Any:
        """The pair as it is kept, or None if it is not such a pair."""
        if not isinstance(value, list | tuple) or len(value) != 2:
            return None
        pair = tuple(Within(self.low, self.high).accepted(entry, whole=whole) for entry in value)
        return None if None in pair or pair[0] > pair[1] else pair

    def words(self, *, whole: bool) -> str:
        """What is expected, for a message."""
        return f"two numbers in rising order, {_range(self)}"


@dataclass(frozen=True, slots=True)
class Axes:
    """Spatial axes: whole numbers, each once, counted from 0, or from the end as -1, -2."""

    def accepted(self, value: object, *, whole: bool) -> Any:
        """The axes as a tuple, or None if they are none."""
        axes = (value,) if isinstance(value, int) else value
        if not isinstance(axes, list | tuple) or not axes or len(set(axes)) < len(axes):
            return None
        if any(isinstance(axis, bool) or not isinstance(axis, int) or not -3 <= axis <= 2 for axis in axes):
            return None
        return tuple(axes)

    def words(self, *, whole: bool) -> str:
        """What is expected, for a message."""
        return "spatial axes, each once, from 0 or from the end as -1"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some words."""

    choices: tuple[str, ...]

    def accepted(self, value: object, *, whole: bool) -> Any:
        """The word, or None if it is no such word."""
        return value if value in self.choices else None

    def words(self, *, whole: bool) -> str:
        """What is expected, for a message."""
        return f"one of {', '.join(self.choices)}"


def _range(limits: Within | Span) -> str:
    return f"of at least {limits.low:g}" if limits.high == math.inf else f"from {limits.low:g} to {limits.high:g}"


def check_parameters(owner: Any, name: str) -> None:
    """Check all annotated fields of a frozen dataclass, and keep whole numbers given for floats as floats.

    ``name`` is what messages call the owner. Raises `ConfigError`.

    >>> from striate.data.augmentation.affine import Rotate
    >>> Rotate(degrees=200)
    Traceback (most recent call last):
    striate.errors.ConfigError: Expected rotate.degrees to be a number from 0 to 180; received degrees=200. \
Leave it out for the usual 15.0.
    """
    kind: type = type(owner)
    for field_name, check, default in _checks(kind):
        value = getattr(owner, field_name)
        whole = isinstance(default[0] if isinstance(default, tuple) else default, int)
        accepted = check.accepted(value, whole=whole)
        if accepted is None:
            raise ConfigError(
                f"{name}.{field_name} to be {check.words(whole=whole)}",
                f"{field_name}={value!r}",
                f"Leave it out for the usual {default!r}.",
            )
        object.__setattr__(owner, field_name, accepted)


@cache
def _checks(kind: type) -> tuple[tuple[str, Any, Any], ...]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return tuple(
        (entry.name, check, entry.default)
        for entry in fields(kind)
        for check in getattr(hints[entry.name], "__metadata__", ())
    )
