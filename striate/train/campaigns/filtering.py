"""Conditions on runs: ``data=digits and (val_accuracy>0.9 or not model~lenet)``.

::

    condition  := all ("or" all)*
    all        := one ("and" one)*
    one        := "not" one | "(" condition ")" | NAME OPERATOR VALUE
    OPERATOR   := = == != < <= > >= ~

A value is a number, a word, or a text in quotes; ``~`` asks whether a text contains it. Numbers are compared as
numbers, all else as texts, and letters of both cases are the same. What a run does not have fulfils no comparison.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from striate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    Lookup = Callable[[str], Any]
    Test = Callable[[Lookup], bool]

_MOST_CHARACTERS = 2000
_DEEPEST = 40
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"[^"]*"|'[^']*')
      | (?P<operator>==|!=|<=|>=|=|<|>|~)
      | (?P<bracket>[()])
      | (?P<word>[^\s()=<>!~"']+)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read; ``names`` are those it asks for.

    >>> condition = Condition.parse("data=digits and val_accuracy>0.9")
    >>> condition({"data": "digits", "val_accuracy": 0.95}.get), condition({"data": "digits"}.get)
    (True, False)
    """

    names: frozenset[str]
    _test: Test

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition. Raises `InputError` that shows where it cannot be read."""
        if len(text) > _MOST_CHARACTERS:
            raise InputError(
                f"a condition of at most {_MOST_CHARACTERS} characters", f"{len(text)} of them", "Shorten it."
            )
        parser = _Parser(text)
        test = parser.alternatives(0)
        if parser.kind:
            raise parser.error("'and', 'or' or the end")
        return cls(frozenset(parser.names), test)

    def __call__(self, lookup: Lookup) -> bool:
        """Whether it holds, where ``lookup`` gives the value of a name, or None."""
        return self._test(lookup)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._next, self.names = text, 0, set[str]()
        self.kind, self._token, self._start = "", "", 0
        self._advance()

    def alternatives(self, depth: int) -> Test:
        tests = [self._all(depth)]
        while self._takes("or"):
            tests.append(self._all(depth))
        return tests[0] if len(tests) == 1 else lambda lookup: any(test(lookup) for test in tests)

    def _all(self, depth: int) -> Test:
        tests = [self._one(depth)]
        while self._takes("and"):
            tests.append(self._one(depth))
        return tests[0] if len(tests) == 1 else lambda lookup: all(test(lookup) for test in tests)

    def _one(self, depth: int) -> Test:
        if depth > _DEEPEST:
            raise self.error(f"at most {_DEEPEST} conditions within each other")
        if self._takes("not"):
            inner = self._one(depth + 1)
            return lambda lookup: not inner(lookup)
        if self._takes("("):
            inside = self.alternatives(depth + 1)
            if not self._takes(")"):
                raise self.error("a closing bracket")
            return inside
        if self.kind != "word":
            raise self.error("the name of a column or setting")
        name = self._taken()
        if self.kind != "operator":
            raise self.error("one of = != < <= > >= ~")
        operator = self._taken()
        if self.kind not in ("word", "text"):
            raise self.error("a value")
        value = self._taken()
        self.names.add(name)
        return lambda lookup: _holds(lookup(name), operator, value)

    def _taken(self) -> str:
        token = self._token[1:-1] if self.kind == "text" else self._token
        self._advance()
        return token

    def _takes(self, token: str) -> bool:
        found = self.kind in ("word", "bracket") and self._token.lower() == token
        if found:
            self._advance()
        return found

    def _advance(self) -> None:
        self._start = self._next
        if not self._text[self._next :].strip():
            self.kind, self._token = "", ""
            return
        match = _TOKEN.match(self._text, self._next)
        if match is None or match.lastgroup is None:
            self.kind, self._token = "?", self._text[self._next :].strip()[:1]
            raise self.error("names, operators, values and brackets")
        self.kind, self._token, self._next = match.lastgroup, match[match.lastgroup], match.end()

    def error(self, expected: str) -> InputError:
        before = self._text[: self._start].strip()
        found = repr(self._token) if self.kind else "the end"
        return InputError(
            f"{expected} after {before!r}" if before else expected,
            f"{found} in {self._text.strip()!r}",
            "For example: data=digits and val_accuracy>0.9",
        )


def _holds(value: Any, operator: str, wanted: str) -> bool:
    if value is None:
        return False
    mine, theirs = _number(value), _number(wanted)
    one: Any = mine if mine is not None and theirs is not None else _text(value)
    other: Any = theirs if mine is not None and theirs is not None else wanted.casefold()
    match operator:
        case "~":
            return wanted.casefold() in _text(value)
        case "=" | "==":
            return bool(one == other)
        case "!=":
            return bool(one != other)
        case "<":
            return bool(one < other)
        case "<=":
            return bool(one <= other)
        case ">":
            return bool(one > other)
        case _:
            return bool(one >= other)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    return str(value).casefold()
