"""Reading the text files of a run within a size limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

MAX_TEXT_BYTES = 64 * 2**20
"""A text file of a run (configuration, metrics, labels) larger than this is refused before it is read."""


def read_text(path: Path) -> str:
    """Read a UTF-8 file of a run. Raises `CheckpointError` above MAX_TEXT_BYTES; system errors pass through.

    >>> import pathlib
    >>> read_text(pathlib.Path("nowhere.toml"))
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.toml'
    """
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise CheckpointError(
            f"a text file of at most {MAX_TEXT_BYTES} bytes", f"{path} of {size} bytes", "It is not a file of a run."
        )
    return path.read_text(encoding="utf-8")
