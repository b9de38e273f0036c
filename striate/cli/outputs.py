"""Where commands may write: told before the work that would be lost, not after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def check_output_file(path: Path | None) -> None:
    """Check that a file can be made, or replaced, at ``path`` (None: nothing to write). Raises `InputError`."""
    if path is None:
        return
    if path.is_dir():
        raise InputError("a file to write", f"the folder {path}", "Add a file name.")
    if not path.parent.is_dir():
        raise InputError("a file in a folder that exists", str(path), f"Create {path.parent} first.")


def check_output_folder(path: Path | None) -> None:
    """Check that ``path`` is a folder or that one can be made there. Raises `InputError`."""
    if path is None:
        return
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir():
        raise InputError("a folder to write to", f"{path}, where {nearest} is a file", "Choose another folder.")
