"""Plain data out of a pickle, without unpickling it.

A pickle is a program that may import and call anything. Here its instructions are only listed (by the standard
library's disassembler, which runs none of them) and those that build numbers, texts, lists, tuples and dictionaries are
acted out. Of all the things a pickle can name, three are understood, by their meaning and never by importing them: a
NumPy array of plain numbers, its dtype, and bytes as Python 3 spells them in old protocols. Anything else is refused.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

_CONSTANTS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NUMBER = re.compile(r"[biuf][1248]")
_MALFORMED = (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError)


class _RefusedError(ValueError):
    """The pickle asks for something that is not plain data."""


@dataclass(frozen=True, slots=True)
class _Name:
    """Something the pickle would import."""

    text: str


@dataclass(slots=True)
class _Type:
    """A NumPy dtype under construction."""

    code: str
    order: str = "|"

    def build(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise _RefusedError("a dtype that is not a plain number")
        self.order = state[1]


@dataclass(slots=True)
class _Array:
    """A NumPy array under construction."""

    value: np.ndarray | None = field(default=None)

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Type):
            raise _RefusedError("an array without a numeric dtype")
        # What is checked is not put into messages: a pickle can hold things whose text is exponentially long.
        if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
            raise _RefusedError("an array without a proper shape")
        kind = np.dtype(dtype.order + dtype.code)
        data = raw.encode("latin-1") if isinstance(raw, str) else raw
        if len(data) != math.prod(shape) * kind.itemsize:
            raise _RefusedError("an array whose bytes do not fill its shape")
        self.value = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


_MARK = _Name("(mark)")


def read_pickle(stream: BinaryIO, label: str) -> dict[str, Any]:
    r"""Read a dictionary of plain data from a pickle; keys and values that are bytes become texts (latin-1).

    Raises `DataError` for anything but plain data, and for a damaged file.

    >>> import io
    >>> read_pickle(io.BytesIO(b"\x80\x02}U\x06labels]K\x07as."), "data_batch_1")
    {'labels': [7]}
    """
    try:
        with warnings.catch_warnings():
            # Damaged text makes Python warn of unknown escapes; whatever it becomes is judged below.
            warnings.simplefilter("ignore", DeprecationWarning)
            found = _Machine().dictionary(stream)
        return {_text(key): _finished(value) for key, value in found.items()}
    except _RefusedError as error:
        raise DataError(
            "a pickle of plain numbers, texts and NumPy arrays in a dictionary",
            f"{label}, which contains {error}",
            "Do not trust this file; download the data set from its own site.",
        ) from error
    except _MALFORMED as error:
        raise DataError("a complete pickle file", f"{label}: {error}", "Download it again.") from error


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _finished(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list):
        return [_text(entry) if isinstance(entry, bytes) else entry for entry in value]
    return value


class _Machine:
    """The pickle machine without its dangerous half."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def dictionary(self, stream: BinaryIO) -> dict[Any, Any]:
        found = self.run(stream)
        if not isinstance(found, dict):
            raise _RefusedError(f"a {type(found).__name__}")
        return found

    def run(self, stream: BinaryIO) -> Any:
        argument: Any
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name in _CONSTANTS:
                self.stack.append(argument)
            elif name in _LITERALS:
                self.stack.append(_LITERALS[name])
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                self.memo[argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                self.stack.append(self.memo[argument])
            elif name in _TUPLES:
                self.stack.append(tuple(self.pop_several(_TUPLES[name])))
            elif name == "STOP":
                return self.stack.pop()
            elif name == "GLOBAL":
                self.stack.append(_Name(argument.replace(" ", ".")))
            elif name in _STEPS:
                _STEPS[name](self)
            elif name not in ("PROTO", "FRAME"):
                raise _RefusedError(f"the instruction {name}")
        raise ValueError("it does not end")

    def pop_several(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("more is taken than was put")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def pop_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise IndexError("a mark is missing")
        taken = self.stack[start + 1 :]
        del self.stack[start:]
        return taken

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def append(self, entries: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _RefusedError("entries added to something that is not a list")
        target.extend(entries)

    def set_items(self, entries: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or not all(isinstance(key, str | bytes | int) for key in entries[::2]):
            raise _RefusedError("items set in something that is not a dictionary of texts")
        target.update(zip(entries[::2], entries[1::2], strict=True))

    def name_from_stack(self) -> None:
        module, name = self.pop_several(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise _RefusedError("a name that is not a text")
        self.stack.append(_Name(f"{module}.{name}"))

    def reduce(self) -> None:
        called, arguments = self.pop_several(2)
        text = called.text if isinstance(called, _Name) else type(called).__name__
        if text in ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"):
            made: Any = _Array()
        elif text == "numpy.dtype" and isinstance(arguments[0], str) and _NUMBER.fullmatch(arguments[0]):
            made = _Type(arguments[0])
        elif text == "_codecs.encode" and arguments[1] in ("latin1", "latin-1"):
            made = arguments[0].encode("latin-1")
        else:
            raise _RefusedError(f"a call of {text}")
        self.stack.append(made)

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _Array | _Type):
            raise _RefusedError(f"state for a {type(target).__name__}")
        target.build(state)


_STEPS: dict[str, Callable[[_Machine], None]] = {
    "MARK": lambda machine: machine.stack.append(_MARK),
    "MEMOIZE": _Machine.memoize,
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine: machine.stack.append(()),
    "EMPTY_DICT": lambda machine: machine.stack.append({}),
    "LIST": lambda machine: machine.stack.append(machine.pop_mark()),
    "TUPLE": lambda machine: machine.stack.append(tuple(machine.pop_mark())),
    "DICT": lambda machine: _dict_from_mark(machine),
    "APPEND": lambda machine: machine.append(machine.pop_several(1)),
    "APPENDS": lambda machine: machine.append(machine.pop_mark()),
    "SETITEM": lambda machine: machine.set_items(machine.pop_several(2)),
    "SETITEMS": lambda machine: machine.set_items(machine.pop_mark()),
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}


def _dict_from_mark(machine: _Machine) -> None:
    entries = machine.pop_mark()
    machine.stack.append({})
    machine.set_items(entries)
