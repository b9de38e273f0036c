"""What a reader is, and what it hands over: samples and labels per part, before splitting and conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from striate.data.file import File
    from striate.data.limits import Budget
    from striate.data.source import Source

SPLITS = ("train", "val", "test")
"""The parts of a data set, in the order they are listed."""

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "t10k": "test",
}
"""What folders, keys and columns call the parts (lower case), and what they are called here."""


def numbered(base: str) -> Callable[[int], str]:
    """Names for the samples of an array: its own name and their index.

    >>> numbered("x.npy")(3)
    'x.npy[3]'
    """
    return lambda index: f"{base}[{index}]"


@dataclass(frozen=True, slots=True)
class ArrayPart:
    """Samples that are arrays already: inputs (N, C, *spatial), uint8 or float32; labels (N,) int64; their names."""

    inputs: Tensor
    labels: Tensor
    name: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class FilePart:
    """Samples that are one file each, still to be decoded; labels (N,) int64."""

    files: tuple[File, ...]
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Collection:
    """What a reader found.

    ``parts`` maps train, val and test to what the source itself says; without a split of its own everything is under
    train. ``value_scale`` is the value of full white (arrays only), ``ignored`` names files that are not samples.
    """

    kind: str
    classes: tuple[str, ...]
    parts: Mapping[str, ArrayPart | FilePart]
    value_scale: float = 1.0
    ignored: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a reader is told: how much memory it may take, and the axes of arrays (see `layout`) if the caller knows."""

    budget: Budget
    layout: str | None = None


class Reader(Protocol):
    """One kind of source. Register an instance with `striate.data.register_reader`."""

    @property
    def kind(self) -> str:
        """A short name of the kind of source."""

    @property
    def summary(self) -> str:
        """What the source looks like, to be listed when nothing fits."""

    def recognises(self, source: Source) -> str | None:
        """Say by what the source is recognised, or None if it is another kind. Opens nothing large."""

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read it. Raises `DataError` naming the file at fault."""
