"""A data set that is ready to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from striate.data.samples import Samples


class SkippedFile(NamedTuple):
    """A file that could not be decoded and was left out: its name within the data set, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled samples in up to three parts, as `load_data` gives them.

    ``kind`` is the reader's, ``reason`` what the source was recognised by. ``val`` and ``test`` are None where there is
    no such part; ``official`` names the parts that the source itself has, the others were split off. Inputs come as
    stored, and ``value_scale`` is the value of full white: 255 for uint8 images, 16 for the 8x8 digits, 65535 for
    16-bit images, 1 for arrays of other numbers. ``stored_sizes`` counts the sizes before any resizing, ``skipped``
    lists damaged files that were left out, ``ignored`` files that are not samples, ``in_memory`` says whether samples
    are kept decoded.

    >>> from striate.data import load_data
    >>> dataset = load_data("digits")
    >>> len(dataset.train), len(dataset.val), len(dataset.test)
    (1258, 180, 359)
    >>> dataset.in_channels, dataset.input_size, dataset.classes[:3]
    (1, (8, 8), ('0', '1', '2'))
    """

    source: str
    kind: str
    reason: str
    classes: tuple[str, ...]
    train: Samples
    val: Samples | None
    test: Samples | None
    value_scale: float
    official: tuple[str, ...]
    stored_sizes: Mapping[tuple[int, ...], int]
    skipped: tuple[SkippedFile, ...] = ()
    ignored: tuple[str, ...] = ()
    in_memory: bool = True

    @property
    def spatial_dims(self) -> int:
        """1 for signals, 2 for images, 3 for volumes."""
        return len(self.train.item_shape) - 1

    @property
    def in_channels(self) -> int:
        """The number of channels of every sample."""
        return self.train.item_shape[0]

    @property
    def input_size(self) -> tuple[int, ...]:
        """The spatial size of every sample."""
        return self.train.item_shape[1:]

    @property
    def parts(self) -> dict[str, Samples]:
        """The parts that exist, by name, in the order train, val, test."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: samples for name, samples in named.items() if samples is not None}
