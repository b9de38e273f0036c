"""Writing files so that nobody ever sees one half written."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTIAL = ".partial"
"""What the names of files being written contain. A killed process can leave such a file; nothing reads it."""


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, which takes its place when the block ends without an error.

    The path given ends in the same suffix. A process killed at any moment leaves the old file or the new one;
    ``durable`` also waits for the disk, so that the same holds for a machine that loses power.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.txt")
    ...     with replacing(path) as beside:
    ...         _ = beside.write_text("whole")
    ...     path.read_text()
    'whole'
    """
    beside = path.with_name(f".{path.stem}.{os.getpid()}{PARTIAL}{path.suffix}")
    try:
        yield beside
        if durable:
            with beside.open("rb") as stream:
                os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
