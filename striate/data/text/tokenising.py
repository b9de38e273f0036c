"""From a text to its tokens: words by one of two rules, or characters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS = ("words", "characters")
"""What a token is."""

TOKENISERS = {
    "simple": (
        "letters, digits, apostrophes and backquotes make words; each comma, bracket, exclamation and question mark is "
        "a word; the endings 's 've n't 're 'd 'll begin a new word; every other character parts words"
    ),
    "spaces": "words are what stands between white space, for texts that are cut into words already",
}
"""The rules for words. "simple" is the one that the data sets of Kim's paper were prepared with, for any alphabet."""

_OUTSIDE = re.compile(r"[^\w(),!?'`]|_")
_ENDING = re.compile(r"(?='s|'ve|n't|'re|'d|'ll)", re.IGNORECASE)
_MARK = re.compile(r"([(),!?])")


def tokeniser(unit: str, rule: str, lowercase: bool) -> Callable[[str], list[str]]:
    """The function that cuts a text into tokens; ``rule`` is one of TOKENISERS and only matters for words.

    >>> tokeniser("words", "simple", True)("It isn't bad - at all!")
    ['it', 'is', "n't", 'bad', 'at', 'all', '!']
    >>> tokeniser("words", "spaces", False)("It isn't bad - at all!")
    ['It', "isn't", 'bad', '-', 'at', 'all!']
    >>> tokeniser("characters", "simple", True)("A b")
    ['a', ' ', 'b']
    """
    cut = list if unit == "characters" else _simple if rule == "simple" else str.split
    return (lambda text: cut(text.lower())) if lowercase else (lambda text: cut(text))


def _simple(text: str) -> list[str]:
    text = _OUTSIDE.sub(" ", text)
    if "'" in text:
        text = _ENDING.sub(" ", text)
    return _MARK.sub(r" \1 ", text).split()
