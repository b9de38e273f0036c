"""One file of a data set, on disk or inside an archive that is held in memory."""

from __future__ import annotations

import io
import os
import posixpath
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from striate.errors import DataError

MAX_FILE_BYTES = 2**30
"""A single image, signal or volume file larger than this is refused before it is read."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that a reader can open: ``name`` within its data set, ``label`` for messages, and its size in bytes.

    ``content`` holds the bytes of an archive's member; without it the file is on disk at ``label``.

    >>> File("cat/1.png", "pets.tar/cat/1.png", 3, b"abc").read()
    b'abc'
    """

    name: str
    label: str
    size: int
    content: bytes | None = None

    @property
    def suffix(self) -> str:
        """The last extension in lower case, with its dot; ".nii.gz" is one."""
        # Asked for several times a sample: a PurePosixPath would take as long as decoding a small image.
        name = self.name.lower()
        return ".nii.gz" if name.endswith(".nii.gz") else posixpath.splitext(name)[1]

    @property
    def base(self) -> str:
        """The name without its folders."""
        return PurePosixPath(self.name).name

    @property
    def folder(self) -> str:
        """The folders of the name, ``""`` for a file at the top."""
        return self.name.rpartition("/")[0]

    def open(self) -> BinaryIO:
        """Open the file for reading. Raises `DataError` if the system refuses."""
        if self.content is not None:
            return io.BytesIO(self.content)
        try:
            # A Path takes longer to be made than a small file to be read.
            return open(self.label, "rb")  # noqa: PTH123
        except OSError as error:
            raise DataError(
                "a file that can be read",
                f"{self.label}: {error.strerror}",
                "Check that it exists and its permissions.",
            ) from error

    def read(self) -> bytes:
        """The whole content. Raises `DataError` for a file above MAX_FILE_BYTES."""
        if self.size > MAX_FILE_BYTES:
            raise DataError(
                f"a file of at most {MAX_FILE_BYTES} bytes per sample",
                f"{self.label} of {self.size} bytes",
                "Leave it out, or cut it into smaller samples.",
            )
        with self.open() as stream:
            try:
                # As many bytes are set aside as are asked for, so the limit is not what to ask for.
                data = stream.read(self.size + 1)
                return data if len(data) <= self.size else data + stream.read(MAX_FILE_BYTES - len(data))
            except OSError as error:
                raise DataError(
                    "a file that can be read", f"{self.label}: {error.strerror}", "Check the disk it lies on."
                ) from error


def is_clutter(name: str) -> bool:
    """Whether a file or folder is something that desktop systems leave behind, not data.

    >>> is_clutter("cat/.DS_Store"), is_clutter("cat/1.png")
    (True, False)
    """
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db") for part in PurePosixPath(name).parts)


def is_file(path: Path) -> bool:
    """Whether this is a file; also False where the system refuses to say, as for names that are too long.

    >>> is_file(Path("x" * 5000))
    False
    """
    # pathlib's own raises for some refusals in some versions of Python.
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether this is a folder; also False where the system refuses to say, as for names that are too long.

    >>> is_folder(Path("x" * 5000))
    False
    """
    return os.path.isdir(path)  # noqa: PTH112


def check_readable_name(name: str) -> None:
    r"""Check that a name is text, so that it can be printed and written to files. Raises `DataError`.

    >>> check_readable_name("caf\udce9.png")
    Traceback (most recent call last):
    striate.errors.DataError: Expected names of files and folders in UTF-8; received 'caf\\udce9.png'. Rename it.
    """
    # What Python cannot decode in a name comes as a lone surrogate.
    if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise DataError("names of files and folders in UTF-8", ascii(name), "Rename it.")


def file_on_disk(path: Path, name: str) -> File:
    """Describe a file on disk under its name within the data set."""
    return File(name, str(path), path.stat().st_size)
