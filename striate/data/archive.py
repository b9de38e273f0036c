"""Tar archives, read into memory and never extracted, with their inflated size bounded.

The stream is read once, front to back. It is counted after inflation, so neither a member nor an over-long header of
the archive itself can grow past the budget. Names that leave the archive, links and devices are refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from striate.data.file import File, check_readable_name, is_clutter
from striate.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from striate.data.limits import Budget

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Whether the name is that of a tar archive this module reads."""
    return path.name.lower().endswith(SUFFIXES)


def read_archive(path: Path, budget: Budget) -> tuple[list[File], list[str]]:
    """Read every plain file of a tar archive into memory; the names of its folders come second.

    Raises `DataError` for a damaged archive, unsafe members, or content above the budget.
    """
    files: dict[str, File] = {}
    folders = []
    try:
        with _inflated(path) as stream, tarfile.open(fileobj=_Counted(stream, budget, str(path)), mode="r|") as archive:
            for member in archive:
                name = _safe_name(member, path)
                if is_clutter(name):
                    continue
                content = archive.extractfile(member)
                if content is None:
                    folders.append(name)
                else:
                    data = content.read()
                    files[name] = File(name, f"{path}/{name}", len(data), data)
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError("a complete tar archive", f"{path}: {error}", "Download or pack it again.") from error
    return list(files.values()), folders


def _inflated(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(path)
    if magic.startswith(b"BZh"):
        return bz2.open(path)
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(path)
    return path.open("rb")


class _Counted(io.RawIOBase):
    """The reading end that tarfile sees; every inflated byte is taken from the budget."""

    def __init__(self, stream: io.BufferedIOBase, budget: Budget, label: str) -> None:
        super().__init__()
        self._stream, self._budget, self._label = stream, budget, label

    def read(self, count: int = -1, /) -> bytes:
        data = self._stream.read(count)
        self._budget.take(len(data), self._label)
        return data


def _safe_name(member: tarfile.TarInfo, path: Path) -> str:
    check_readable_name(member.name)
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise DataError(
            "members that stay inside the archive",
            f"{member.name!r} in {path}",
            "Do not use this archive: it is unsafe.",
        )
    if not (member.isfile() or member.isdir()):
        raise DataError(
            "an archive of plain files and folders",
            f"{member.name!r} in {path}, a link or device",
            "Pack it again with tar --dereference --hard-dereference.",
        )
    return str(name)
