"""Of whom samples are: subjects numbered over all parts, and parts made of whole subjects."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

from striate.data.file_names import number_subjects
from striate.data.options import Option
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch


def _is_list_of_names(value: Any) -> bool:
    listed = value if isinstance(value, list | tuple) else [value]
    return bool(listed) and all((isinstance(name, str) and name) or type(name) is int for name in listed)


_NAMES = "a subject, or a list of them"

SUBJECT_OPTIONS = (
    Option("test_subjects", None, "whose samples are the test part", _NAMES, _is_list_of_names),
    Option("val_subjects", None, "whose samples are the validation part", _NAMES, _is_list_of_names),
)
"""Options of readers that are told by a column or an array of whom samples are."""


def number_over_parts(subjects: Mapping[str, Sequence[str | None]], label: str) -> dict[str, torch.Tensor]:
    """Number the subjects of all parts together, int64 (N,) per part; no parts if no subject is known.

    Raises `DataError` if only some are.

    >>> number_over_parts({"train": ["bob", "ann"], "test": ["bob"]}, "x")
    {'train': tensor([1, 0]), 'test': tensor([1])}
    """
    numbers = number_subjects([name for names in subjects.values() for name in names], label)
    if numbers is None:
        return {}
    ends = list(accumulate(len(names) for names in subjects.values()))
    return dict(zip(subjects, numbers.tensor_split(ends[:-1]), strict=True))


def split_by_subjects(subjects: Sequence[object], own: Mapping[str, Any], label: str) -> dict[str, list[int]]:
    """The places of samples per part, as the options ``test_subjects`` and ``val_subjects`` hold subjects out.

    Subjects are compared as texts. Raises `DataError` for a subject that does not occur or is in two parts, and if
    nobody is left to train on.

    >>> split_by_subjects([1, 2, 1, 3], {"test_subjects": [2]}, "x.npz")
    {'train': [0, 2, 3], 'test': [1]}
    """
    known = {str(name) for name in subjects}
    part_of: dict[str, str] = {}
    for split in ("val", "test"):
        given = own.get(f"{split}_subjects")
        for name in given if isinstance(given, list | tuple) else [] if given is None else [given]:
            if str(name) not in known or str(name) in part_of:
                raise DataError(
                    f"subjects of {label}, each in one part: {', '.join(sorted(known)[:20])}",
                    f"{name!r} in {split}_subjects",
                    "Correct the list of subjects.",
                )
            part_of[str(name)] = split
    parts: dict[str, list[int]] = {split: [] for split in ("train", *part_of.values())}
    for index, subject in enumerate(subjects):
        parts[part_of.get(str(subject), "train")].append(index)
    if not parts["train"]:
        raise DataError("subjects to train on", f"{label} with all held out", "Hold out fewer of them.")
    return parts
