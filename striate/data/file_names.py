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

from striate.data.file_kinds import holds_sample
from striate.data.labels import index_labels
from striate.data.options import Check, Option, one_of
from striate.data.reader import SPLIT_WORDS, SPLITS, Collection, FilePart, ReadOptions
from striate.data.targets import identities
from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from striate.data.dataset import Task
    from striate.data.file import File
    from striate.data.source import Source

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


TASK = Option(
    "task",
    None,
    "what labels are: classes, or identities for verification, whole ones of which are held out",
    *one_of("classification", "verification"),
)
"""The option of readers whose labels may be identities."""


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


def read_by_names(
    kind: str, source: Source, options: ReadOptions, splits: Mapping[str, str] | None = None
) -> Collection:
    """List the samples of a folder by what their names tell.

    A label that the name does not tell is the folder below those in ``splits``, which maps top folders to what they
    mean. Raises `DataError` for names that do not match, and for samples without a label.
    """
    names = Names(options.own)
    files: dict[str, list[File]] = {}
    told: dict[str, list[Told]] = {}
    for file in source.files:
        name = without_suffix(file.name)
        if not holds_sample(file) or not names.take(name):
            continue
        read = names.read(name)
        folders = file.name.split("/")[:-1]
        above = (splits or {}).get(folders[0]) if folders else None
        label = read.label or next(iter(folders[above is not None :]), None)
        if label is None:
            raise DataError(
                "a label in every name, or a folder for every class",
                repr(file.name),
                "Put the group (?P<label>...) into name_pattern.",
            )
        split = (read.split if names.tell_splits else None) or above or "train"
        files.setdefault(split, []).append(file)
        told.setdefault(split, []).append(Told(label, read.subject, split))
    if "train" not in files:
        raise DataError(
            "samples to train on",
            f"{source.label} with {', '.join(files) or 'none'} by their names",
            "Correct select, test_pattern and val_pattern.",
        )
    present = [split for split in SPLITS if split in files]
    every = as_labels([each.label or "" for split in present for each in told[split]])
    cuts = np.cumsum([len(files[split]) for split in present])[:-1]
    labels = dict(zip(present, np.split(every, cuts), strict=True))
    task: Task = options.own.get("task") or "classification"
    if task == "verification":
        classes, indices = identities(labels, None, source.label)
    else:
        classes, indices = index_labels(labels, None, {split: f"{source.label} ({split})" for split in present})
    groups = number_subjects([each.subject for split in present for each in told[split]], source.label)
    grouped = dict(zip(present, groups.tensor_split(cuts.tolist()), strict=True)) if groups is not None else {}
    parts = {split: FilePart(tuple(files[split]), indices[split], grouped.get(split)) for split in present}
    used = {file.name for listed in files.values() for file in listed}
    ignored = tuple(file.name for file in source.files if file.name not in used)
    return Collection(kind, classes, parts, ignored=ignored, task=task)


class NamedFilesReader:
    """Reads images or recordings that lie side by side, with their labels in their names."""

    kind = "named-files"
    summary = "a folder (or tar archive) of images or recordings whose names hold the label (option name_pattern)"
    options = (*NAME_OPTIONS, TASK)

    def recognises(self, source: Source) -> str | None:
        """Recognise samples at the top of a folder and nowhere else."""
        found = [file for file in source.files if holds_sample(file)]
        if source.form not in ("folder", "archive") or not found or any("/" in file.name for file in found):
            return None
        return f"{'a folder' if source.form == 'folder' else 'an archive'} of samples side by side"

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """List the files by their names. Raises `DataError` where labels are not told."""
        if options.own.get("name_pattern") is None:
            raise DataError(
                "images in one sub-folder per class",
                f"{source.label} with images but no sub-folders",
                "Sort them into one folder per class, or list them with their labels in a CSV file; if their names hold"
                " the label, say where with the option name_pattern.",
            )
        return read_by_names(self.kind, source, options)
