"""Samples whose names hold their labels, side by side in one folder or below folders of parts and classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from striate.data.file_kinds import holds_sample
from striate.data.file_names import NAME_OPTIONS, Names, Told, as_labels, number_subjects, without_suffix
from striate.data.labels import index_labels
from striate.data.options import Option, one_of
from striate.data.reader import SPLITS, Collection, FilePart, ReadOptions
from striate.data.targets import identities
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from striate.data.dataset import Task
    from striate.data.file import File
    from striate.data.source import Source

TASK = Option(
    "task",
    None,
    "what labels are: classes, or identities for verification, whole ones of which are held out",
    *one_of("classification", "verification"),
)
"""The option of readers whose labels may be identities."""


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
