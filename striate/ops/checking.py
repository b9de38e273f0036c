"""Remembers the checks of `striate.geometry`, so that calling with known shapes costs a look-up only."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

Arguments = TypeVarTuple("Arguments")
R = TypeVar("R")

_SINGLE = frozenset({int, float, str, bool, type(None), torch.Size})
_INTEGER = frozenset({int})
_EXACT = frozenset({int, str})


def remembered(check: Callable[[*Arguments], R]) -> Callable[[*Arguments], R]:
    """Make a function of plain numbers, words and shapes answer from memory when it is asked the same again.

    Only answers for plain integers, words and tuples of plain integers are kept: ``(2.0, 2.0)`` equals ``(2, 2)`` but
    must be refused every time. While a graph is traced, sizes can be symbols, and the check itself runs.
    """
    cached = functools.lru_cache(maxsize=2048, typed=True)(check)

    @functools.wraps(check)
    def answer(*args: *Arguments) -> R:
        if torch.compiler.is_compiling():
            return check(*args)
        for value in args:
            if type(value) not in _SINGLE and not _plain(value):
                return check(*args)
        try:
            return cached(*args)
        except TypeError:  # a shape with a symbolic size cannot be hashed
            return check(*args)

    return answer


def is_plain(value: object) -> bool:
    """Whether a value is an integer, a word or a tuple of these: what equals it is the same then.

    >>> is_plain("same"), is_plain((2, 2)), is_plain(True), is_plain((2.0, 2.0))
    (True, True, False, False)
    """
    return type(value) in _EXACT or _plain(value)


def _plain(value: object) -> bool:
    if type(value) is not tuple:
        return False
    return _INTEGER.issuperset(map(type, value)) or all(_plain(entry) for entry in value)
