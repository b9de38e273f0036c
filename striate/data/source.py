"""What readers look at: a folder, an archive, a lone file or a built-in name, as a sorted list of named files."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from striate.data.archive import is_archive, read_archive
from striate.data.file import File, check_readable_name, file_on_disk, is_clutter, is_file, is_folder
from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from striate.data.limits import Budget

BUILT_IN = ("digits", "digits28")
"""Names of the data sets that come with the package; they win over a file of that name (write ``./digits`` for it)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something a reader may recognise.

    ``label`` is what the caller gave; ``files`` are sorted by name, whatever order the file system has. A folder or
    archive that holds nothing but one other folder stands for that folder. ``prefix`` files are those in a folder whose
    names begin with what was given, with that beginning taken off. ``empty`` names folders without any file.
    """

    label: str
    form: Literal["name", "file", "folder", "archive", "prefix"]
    files: tuple[File, ...]
    empty: tuple[str, ...] = ()

    def find(self, name: str) -> File | None:
        """The file of this name, or None."""
        return next((file for file in self.files if file.name == name), None)


def open_source(given: str | Path, budget: Budget) -> Source:
    """List what ``given`` holds. Archives are read into memory within the budget.

    Raises `DataError` for a path that does not exist, an empty folder, a link that leaves the folder, and archives that
    are damaged, unsafe or too large.

    >>> from striate.data.limits import Budget
    >>> open_source("digits", Budget()).form
    'name'
    """
    label = str(given)
    if isinstance(given, str) and given in BUILT_IN:
        return Source(label, "name", ())
    if not label:
        raise DataError("a file, a folder or a built-in data set", "an empty text", "Write . for this folder.")
    check_readable_name(label)
    path = Path(given).expanduser()
    if is_folder(path):
        folders: list[str] = []
        files = list(_walk(path, path.resolve(), "", folders))
        return _arranged(Source(label, "folder", tuple(files)), folders)
    if is_file(path):
        if is_archive(path):
            members, folders = read_archive(path, budget)
            return _arranged(Source(label, "archive", tuple(members)), folders)
        return Source(label, "file", (file_on_disk(path, path.name),))
    if os.path.exists(path):  # noqa: PTH110 - see is_file
        raise DataError("a file or folder", f"{label}, which is a device or pipe", "Write it to a file first.")
    begun = _files_beginning_with(path)
    if begun:
        return Source(label, "prefix", begun)
    raise DataError("a file, a folder or a built-in data set that exists", label, _nearest(path, label))


def absolute_source(given: str) -> str:
    """Give the same source as a text that means the same in every folder; what does not exist stays as it is.

    >>> absolute_source("digits"), absolute_source("no such file")
    ('digits', 'no such file')
    """
    path = Path(given).expanduser()
    if not given or given in BUILT_IN or not (is_file(path) or is_folder(path) or _files_beginning_with(path)):
        return given
    return str(path.resolve())


def siblings(path: Path) -> tuple[File, ...]:
    """The plain files in the folder of ``path``, sorted by name."""
    found = [entry for entry in path.parent.iterdir() if entry.is_file() and not is_clutter(entry.name)]
    return tuple(file_on_disk(entry, entry.name) for entry in sorted(found))


def _walk(folder: Path, root: Path, inside: str, folders: list[str]) -> Iterator[File]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(
            "a folder that can be read", f"{folder}: {error.strerror}", "Check its permissions, or leave it out."
        ) from error
    for entry in entries:
        if is_clutter(entry.name):
            continue
        check_readable_name(entry.path)
        if entry.is_symlink():
            check_link(Path(entry.path), root)
        if entry.is_dir():
            folders.append(f"{inside}{entry.name}")
            yield from _walk(Path(entry.path), root, f"{inside}{entry.name}/", folders)
        elif entry.is_file():
            yield File(f"{inside}{entry.name}", entry.path, entry.stat().st_size)


def check_link(path: Path, root: Path) -> None:
    """Check that a link leads to something inside ``root`` (resolved) and not back to a folder it lies in.

    Raises `DataError`.
    """
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError("links that lead to a file", f"{path}, a broken link", "Mend or remove it.") from error
    if not target.is_relative_to(root):
        raise DataError(
            f"links that stay inside {root}",
            f"{path}, which leads to {target}",
            "Copy what it leads to into the folder, or remove the link.",
        )
    if path.parent.resolve().is_relative_to(target):
        raise DataError("folders without cycles", f"{path}, a link to a folder it lies in", "Remove it.")


def _arranged(source: Source, folders: list[str]) -> Source:
    files = sorted(source.files, key=lambda file: file.name)
    if not files:
        raise DataError(
            "a folder with files in it",
            f"{source.label}, which is empty",
            "Put one sub-folder of images per class into it.",
        )
    filled = {str(parent) for file in files for parent in PurePosixPath(file.name).parents}
    empty = sorted(folder for folder in folders if folder not in filled)
    while True:
        tops = {name.partition("/")[0] for name in [*(file.name for file in files), *empty]}
        if len(tops) > 1 or not all("/" in file.name for file in files):
            return replace(source, files=tuple(files), empty=tuple(empty))
        files = [replace(file, name=file.name.partition("/")[2]) for file in files]
        empty = [name.partition("/")[2] for name in empty]


def _files_beginning_with(path: Path) -> tuple[File, ...]:
    if not path.name or not is_folder(path.parent):
        return ()
    found = [file for file in siblings(path) if file.name.startswith(path.name)]
    rest = tuple(replace(file, name=file.name[len(path.name) :].lstrip("-_.")) for file in found)
    # Only sets in parts or by polarity are given by the beginning of their names; anything else is a mistyped path.
    idx = tuple(file for file in rest if "idx" in file.name and "ubyte" in file.name)
    words = {word for file in rest for word in re.split(r"[-_.]", file.name.lower())}
    return idx or (rest if "train" in words or {"pos", "neg"} <= words else ())


def _nearest(path: Path, label: str) -> str:
    missing = path
    while not is_folder(missing.parent) and missing.parent != missing:
        missing = missing.parent
    names = [entry.name for entry in missing.parent.iterdir()] if is_folder(missing.parent) else []
    near = difflib.get_close_matches(missing.name, names, n=2, cutoff=0.6)
    alone = missing.name == label
    prefix = "" if alone else f"{missing.parent}/"
    return did_you_mean(str(missing), [*(prefix + name for name in near), *BUILT_IN])
