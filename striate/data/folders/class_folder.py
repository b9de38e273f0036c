"""A folder, or a tar archive of one, with one sub-folder per class, and possibly train, val and test above them.

The classes are the names of the sub-folders in alphabetical order, as in torchvision. Files may lie deeper within a
class. ``training``, ``valid``, ``validation``, ``dev`` and ``testing`` are understood too, in any case of letters. What
the names of files tell beyond that is read with patterns (see `file_names`).
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import torch

from striate.data.file_kinds import holds_sample, sample_suffixes
from striate.data.file_names import NAME_OPTIONS, Names
from striate.data.folders.named_files import TASK, read_by_names
from striate.data.reader import SPLIT_WORDS, Collection, FilePart, ReadOptions
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.data.file import File
    from striate.data.source import Source


class ClassFolderReader:
    """Reads images (or .npy arrays) that are sorted into one sub-folder per class."""

    kind = "class-folder"
    summary = "a folder (or tar archive) with one sub-folder of images per class"
    options = (*NAME_OPTIONS, TASK)

    def recognises(self, source: Source) -> str | None:
        """Recognise images in sub-folders."""
        found = [file for file in source.files if "/" in file.name and holds_sample(file)]
        if source.form not in ("folder", "archive") or not found:
            return None
        splits = _split_folders(source.files)
        what = f"{', '.join(splits)} with" if splits else ""
        return " ".join(("sub-folders", what, "one folder of images per class")).replace("  ", " ")

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """List the files of each class. Raises `DataError` for a class without images, or unknown outside train."""
        splits = _split_folders(source.files)
        if Names(options.own):
            return read_by_names(self.kind, source, options, splits)
        tops = {split: f"{folder}/" for folder, split in splits.items()} if splits else {"train": ""}
        if "train" not in tops:
            raise DataError(
                "a train folder", f"{source.label} with only {', '.join(splits)}", "Add it, or name it train."
            )
        verified = options.own.get("task") == "verification"
        # Nobody has to be in two parts to be recognised again.
        folders = tops.values() if verified else [tops["train"]]
        classes = tuple(sorted({name for top in folders for name in _class_names(source, top)}))
        parts = {}
        used: set[str] = set()
        for split, top in tops.items():
            unknown = [name for name in _class_names(source, top) if name not in classes]
            if unknown:
                raise DataError(
                    f"{top} to have the classes of {tops['train']}",
                    f"{source.label} with {unknown[0]!r} only in {top}",
                    f"Add {unknown[0]!r} to {tops['train']}, or remove it.",
                )
            parts[split] = _part(source.files, top, classes)
            used.update(file.name for file in parts[split].files)
        for index, name in enumerate(classes):
            if not verified and not (parts["train"].labels == index).any():
                raise DataError(
                    "images in the folder of every class",
                    f"none in {source.label.rstrip('/')}/{tops['train']}{name}",
                    f"Put images of the kinds {', '.join(sample_suffixes())} there, or remove the folder.",
                )
        ignored = tuple(file.name for file in source.files if file.name not in used)
        return Collection(self.kind, classes, parts, ignored=ignored, task=options.own.get("task") or "classification")


def _split_folders(files: Sequence[File]) -> dict[str, str]:
    """The top folders that are splits, with what they mean; empty if the top folders are classes."""
    tops: dict[str, bool] = {}
    for file in files:
        folders = PurePosixPath(file.name).parts[:-1]
        if folders and holds_sample(file):
            tops[folders[0]] = tops.get(folders[0], True) and len(folders) > 1
    found = {
        folder: SPLIT_WORDS[folder.lower()] for folder, deep in tops.items() if deep and folder.lower() in SPLIT_WORDS
    }
    return found if "train" in found.values() or len(found) == len(tops) else {}


def _class_names(source: Source, top: str) -> list[str]:
    # An empty folder counts, so that a class without images is noticed.
    names = [*(file.name for file in source.files), *(f"{folder}/" for folder in source.empty)]
    inside = (name[len(top) :] for name in names if name.startswith(top))
    return sorted({name.partition("/")[0] for name in inside if "/" in name})


def _part(files: Sequence[File], top: str, classes: tuple[str, ...]) -> FilePart:
    index = {name: place for place, name in enumerate(classes)}
    chosen = []
    labels = []
    for file in files:
        folder, slash, _ = file.name[len(top) :].partition("/")
        if file.name.startswith(top) and slash and holds_sample(file):
            chosen.append(file)
            labels.append(index[folder])
    return FilePart(tuple(chosen), torch.tensor(labels, dtype=torch.int64))
