"""A text file with one class name per line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.errors import DataError

if TYPE_CHECKING:
    from striate.data.file import File

_MAX_BYTES = 2**20


def read_class_names(file: File) -> tuple[str, ...]:
    r"""Read the names in order; blank lines at the end are left out.

    Raises `DataError` for a file above 1 MiB, without names, with an empty or repeated one, or not in UTF-8.

    >>> from striate.data.file import File
    >>> read_class_names(File("classes.txt", "classes.txt", 8, b"cat\ndog\n"))
    ('cat', 'dog')
    """
    if file.size > _MAX_BYTES:
        raise DataError("class names of at most 1 MiB", f"{file.label} of {file.size} bytes", "One name per line.")
    try:
        names = [line.strip() for line in file.read().decode("utf-8-sig").rstrip().split("\n")]
    except UnicodeDecodeError as error:
        raise DataError("class names in UTF-8", f"{file.label}: {error}", "Save it as UTF-8.") from error
    check_class_names(names, file.label)
    return tuple(names)


def check_class_names(names: list[str], label: str) -> None:
    """Check that there are names, none empty and none twice. Raises `DataError`."""
    wrong = next((name for place, name in enumerate(names) if not name or name in names[:place]), None)
    if wrong is not None or not names:
        raise DataError(
            "class names that differ and are not empty", f"{wrong!r} in {label}", "Write each name once, one per line."
        )
