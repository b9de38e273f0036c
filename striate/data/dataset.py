"""A data set that is ready to train on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from striate.data.samples import Samples


Task: TypeAlias = Literal["classification", "multi-label", "regression", "segmentation", "verification"]
"""What is to be learned: one class, several labels, numbers, a class per position, or who is the same."""

Normalise: TypeAlias = Literal["dataset", "sample", "none"]
"""Zero mean and unit variance per channel: of the training part, of each sample by itself, or not at all."""


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

    ``task`` decides what targets are (see `Samples`) and what ``classes`` names: the classes, the labels, the numbers
    to predict, or for verification the identities, those of the training part first. Segmentation ignores positions of
    the class ``void``. With ``input_kind`` "tokens" inputs are int64 (N, L), indices into ``vocabulary``, where 0 fills
    up and 1 stands for what is unknown; ``vectors`` (V, D) are word vectors for a network's embedding to start from.
    ``normalise`` says how values are to be scaled, ``reading`` how files became samples, in plain values, so that new
    files can be read alike.

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
    task: Task = "classification"
    input_kind: Literal["values", "tokens"] = "values"
    vocabulary: tuple[str, ...] = ()
    void: int | None = None
    normalise: Normalise = "dataset"
    reading: Mapping[str, Any] = field(default_factory=dict)
    vectors: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def spatial_dims(self) -> int:
        """1 for signals and texts, 2 for images, 3 for volumes."""
        return len(self.input_size)

    @property
    def in_channels(self) -> int:
        """The number of channels of every sample; of texts the size of the vocabulary."""
        return len(self.vocabulary) if self.input_kind == "tokens" else self.train.item_shape[0]

    @property
    def input_size(self) -> tuple[int, ...]:
        """The spatial size of every sample."""
        return self.train.item_shape if self.input_kind == "tokens" else self.train.item_shape[1:]

    @property
    def outputs(self) -> int:
        """How many outputs a network needs: one per class, and for verification one per identity to train on."""
        if self.task == "verification":
            return int(self.train.labels.max()) + 1
        return len(self.classes)

    @property
    def parts(self) -> dict[str, Samples]:
        """The parts that exist, by name, in the order train, val, test."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: samples for name, samples in named.items() if samples is not None}
