r"""What the names of files and recordings tell: labels, subjects and parts, read with the caller's regular expressions.

``name_pattern`` has named groups, of which ``label``, ``subject`` and ``split`` are understood; it must match a whole
name without its extension, and without its folders unless it has a ``/``. In ``7_jackson_32.wav`` the pattern
``(?P<label>\d)_(?P<subject>\w+)_\d+`` finds the label 7 and the subject jackson. ``select``, ``test_pattern`` and
``val_pattern`` are searched for anywhere in a name: ``_[0-4]$`` puts recordings 0 to 4 into the test part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from striate.data.options import Check, Option
from striate.data.reader import SPLIT_WORDS
from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt


GROUPS = ("label", "subject", "split")
"""The groups of ``name_pattern`` that mean something."""


def pattern(*groups: str) -> Check:
    """A regular expression, with at least one of these named groups if there are any.

    >>> words, accepts = pattern("label")
    >>> accepts("(?P<label>a|b)"), accepts("a|b"), accepts("(")
    (True, False, False)
    """
    wanted = f" with at least one of the groups {', '.join(f'(?P<{group}>...)' for group in groups)}" if groups else ""
    return f"a regular expression{wanted}", lambda value: _is_pattern(value, groups)


def _is_pattern(value: Any, groups: Sequence[str]) -> bool:
    try:
        found = re.compile(value).groupindex
    except (re.error, TypeError):
        return False
    return bool(value) and (not groups or any(group in found for group in groups))


NAME_OPTIONS = (
    Option("name_pattern", None, "what names tell, without their extension, in named groups", *pattern(*GROUPS)),
    Option("select", None, "only what has this in its name is read", *pattern()),
    Option("test_pattern", None, "what has this in its name is the test part", *pattern()),
    Option("val_pattern", None, "what has this in its name is the validation part", *pattern()),
)
"""Options of readers whose samples or recordings have names."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a name tells; None for what it does not."""

    label: str | None = None
    subject: str | None = None
    split: str | None = None


class Names:
    r"""Reads names by the patterns among a reader's options.

    >>> names = Names({"name_pattern": r"(?P<label>\d)_(?P<subject>[a-z]+)_\d+", "test_pattern": "_[0-4]$"})
    >>> names.read("audio/7_jackson_3")
    Told(label='7', subject='jackson', split='test')
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = {option.name: options.get(option.name) for option in NAME_OPTIONS}
        compiled = {name: re.compile(text) for name, text in given.items() if text is not None}
        self._whole, self._select = compiled.get("name_pattern"), compiled.get("select")
        self._splits = {s: p for s in ("test", "val") if (p := compiled.get(f"{s}_pattern")) is not None}

    def __bool__(self) -> bool:
        return bool(self._whole or self._select or self._splits)

    @property
    def tell_splits(self) -> bool:
        """Whether names decide about parts."""
        return bool(self._splits) or (self._whole is not None and "split" in self._whole.groupindex)

    def take(self, name: str) -> bool:
        """Whether what has this name is to be read."""
        return self._select is None or self._select.search(name) is not None

    def read(self, name: str) -> Told:
        """What a name (without extension) tells. Raises `DataError` if the pattern does not match it."""
        found: dict[str, str | None] = {}
        if self._whole is not None:
            match = self._whole.fullmatch(name if "/" in self._whole.pattern else name.rpartition("/")[2])
            if match is None:
                raise DataError(
                    f"names that match the name_pattern {self._whole.pattern!r} as a whole",
                    repr(name),
                    "Correct the pattern, or leave such names out with select.",
                )
            found = match.groupdict()
        split = found.get("split")
        if split is not None and split.lower() not in SPLIT_WORDS:
            raise DataError(
                "a split of train, val or test", f"{split!r} in {name!r}", did_you_mean(split, ("train", "val", "test"))
            )
        split = None if split is None else SPLIT_WORDS[split.lower()]
        if self.tell_splits:
            split = next((s for s, searched in self._splits.items() if searched.search(name)), split or "train")
        return Told(found.get("label") or None, found.get("subject") or None, split)


def without_suffix(name: str) -> str:
    """A file's name without its extension.

    >>> without_suffix("a/7_jackson_32.wav")
    'a/7_jackson_32'
    """
    return str(PurePosixPath(name).with_suffix(""))


def number_subjects(subjects: Sequence[str | None], label: str) -> torch.Tensor | None:
    """Numbers (N,) for subjects, in the order of their names; None if none is known.

    Raises `DataError` if only some are.

    >>> number_subjects(["bo", "al", "bo"], "x")
    tensor([1, 0, 1])
    """
    known = [subject for subject in subjects if subject is not None]
    if not known:
        return None
    if len(known) < len(subjects):
        raise DataError(
            "a subject for every recording or for none",
            f"{label} with {len(subjects) - len(known)} of {len(subjects)} without one",
            "Fill them in, or leave them all out.",
        )
    return torch.from_numpy(np.unique(np.array(known), return_inverse=True)[1].astype(np.int64))


def as_labels(words: Sequence[str]) -> npt.NDArray[Any]:
    """Labels as an array of whole numbers if all are such, so that 10 comes after 9, and of texts otherwise.

    >>> as_labels(["9", "10"]), as_labels(["9", "x"])
    (array([ 9, 10]), array(['9', 'x'], dtype='<U1'))
    """
    # Numbers that are written in two ways, 1 and 01, stay two classes.
    whole = all(word.isascii() and word.isdecimal() and len(word) < 10 and str(int(word)) == word for word in words)
    return np.array([int(word) for word in words]) if whole else np.array(words)
