"""The kinds of files that hold one sample each: by which extension they are known, and how they are decoded.

Whatever is registered here can lie in a folder of classes, be listed in a manifest, and be predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from striate.data.dataset import Normalise
    from striate.data.file import File
    from striate.data.options import Option


class DamagedFileError(DataError):
    """One file that cannot be decoded; it may be left out if the caller agrees, unlike a mistake in the settings."""


class Decode(Protocol):
    """Decodes one file with resolved options to (C, *spatial), uint8 or float32, and the value of full white.

    Raises `DamagedFileError` for a file that is broken, and `DataError` for one that does not suit the options.
    """

    def __call__(self, file: File, options: Mapping[str, Any]) -> tuple[torch.Tensor, float]:
        """Decode the file."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file: its name ("image"), its extensions in lower case, its decoder and the options of that.

    ``agree`` takes all files of a data set and the resolved options and gives options that the files decide together,
    such as the one sampling rate they have, so that new files are read alike. It raises `DataError` if they differ.
    ``normalise`` is what is proposed for data sets of such files (see `Dataset`).
    """

    name: str
    suffixes: tuple[str, ...]
    decode: Decode
    options: tuple[Option, ...] = ()
    agree: Callable[[Sequence[File], Mapping[str, Any]], dict[str, Any]] | None = None
    normalise: Normalise = "dataset"


_KINDS: dict[str, FileKind] = {}
_BY_SUFFIX: dict[str, FileKind] = {}


def register_file_kind(kind: FileKind) -> FileKind:
    """Add a kind of file. Raises `DataError` if the name or one of the extensions is taken."""
    taken = [suffix for suffix in kind.suffixes if suffix in _BY_SUFFIX]
    if kind.name in _KINDS or taken:
        what = f"a second kind {kind.name!r}" if kind.name in _KINDS else f"a second kind with {taken[0]}"
        raise DataError("kinds of files with names and extensions of their own", what, "Name it differently.")
    _KINDS[kind.name] = kind
    _BY_SUFFIX.update(dict.fromkeys(kind.suffixes, kind))
    return kind


def file_kinds() -> tuple[FileKind, ...]:
    """All kinds of files.

    >>> [kind.name for kind in file_kinds()][:2]
    ['image', 'array']
    """
    return tuple(_KINDS.values())


def file_kind(suffix: str) -> FileKind | None:
    """The kind of file with this extension, or None."""
    return _BY_SUFFIX.get(suffix)


def holds_sample(file: File) -> bool:
    """Whether a file is of a kind that holds one sample."""
    return file.suffix in _BY_SUFFIX


def sample_suffixes() -> tuple[str, ...]:
    """The extensions of all kinds, sorted."""
    return tuple(sorted(_BY_SUFFIX))
