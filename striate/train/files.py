"""Reading the text files of a run within a size limit, and writing tables of what it says."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.data.single import writing
from striate.errors import CheckpointError
from striate.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike

MAX_TEXT_BYTES = 64 * 2**20
"""A text file of a run (configuration, metrics, labels) larger than this is refused before it is read."""


def read_text(path: Path) -> str:
    """Read a UTF-8 file of a run. Raises `CheckpointError` above MAX_TEXT_BYTES; system errors pass through.

    >>> read_text(Path("nowhere.toml"))
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.toml'
    """
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise CheckpointError(
            f"a text file of at most {MAX_TEXT_BYTES} bytes", f"{path} of {size} bytes", "It is not a file of a run."
        )
    return path.read_text(encoding="utf-8")


def write_table(path: str | PathLike[str], headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows to a CSV file; names of files that are no text come out as the bytes they are.

    Raises `DataError` for a place that cannot be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(f"{folder}/a.csv", ["path", "share"], [["a, b.png", 0.5]])
    ...     Path(folder, "a.csv").read_text().splitlines()
    ['path,share', '"a, b.png",0.5']
    """
    with (
        writing(path),
        replacing(Path(path)) as beside,
        beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(headings)
        table.writerows(rows)
