"""What a reader is, and what it hands over: samples and labels per part, before splitting and conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from striate.data.dataset import Normalise, SkippedFile, Task
    from striate.data.file import File
    from striate.data.limits import Budget
    from striate.data.options import Option
    from striate.data.samples import Samples
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
    """Samples that are arrays already, to be converted to the channels and size that are asked for.

    Inputs are (N, C, *spatial), uint8 or float32; targets as `Samples` says, but no masks; groups (N,) int64.
    """

    inputs: Tensor
    labels: Tensor
    name: Callable[[int], str]
    groups: Tensor | None = None


@dataclass(frozen=True, slots=True)
class FilePart:
    """Samples that are one file each, still to be decoded; targets as `Samples` says, but no masks; groups (N,)."""

    files: tuple[File, ...]
    labels: Tensor
    groups: Tensor | None = None


Part: TypeAlias = "ArrayPart | FilePart | Samples"
"""A part as a reader gives it; `Samples` are taken as they are, with the size and channels that they have."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What a reader found.

    ``parts`` maps train, val and test to what the source itself says; without a split of its own everything is under
    train. ``value_scale`` is the value of full white (not of files, whose decoder says it), ``ignored`` names files
    that are not samples, ``skipped`` damaged ones that were left out as `ReadOptions.skip_corrupt` allows, each with
    the reason. The rest is as in `Dataset`; ``reading`` is what the reader needs to read new files alike, apart from
    the options it was given. ``stored_sizes`` may be given with `Samples`, whose sizes are alike already.

    What only the training part decides, such as a vocabulary, waits until the parts are split: ``settle`` is then
    called with them and gives the collection to use in place of this one, whose parts are `Samples`.
    """

    kind: str
    classes: tuple[str, ...]
    parts: Mapping[str, Part]
    value_scale: float = 1.0
    ignored: tuple[str, ...] = field(default=())
    skipped: tuple[SkippedFile, ...] = ()
    task: Task = "classification"
    input_kind: Literal["values", "tokens"] = "values"
    vocabulary: tuple[str, ...] = ()
    void: int | None = None
    normalise: Normalise = "dataset"
    reading: Mapping[str, Any] = field(default_factory=dict)
    stored_sizes: Mapping[tuple[int, ...], int] | None = None
    vectors: Tensor | None = field(default=None, compare=False)
    settle: Callable[[Mapping[str, Samples]], Collection] | None = None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a reader is told.

    ``budget`` says how much memory it may take, ``layout`` the axes of arrays (see `layout`) if the caller knows,
    ``own`` its own options, resolved; ``channels``, ``image_size`` and ``fit`` are what the caller wants of samples,
    for readers that give `Samples`; ``skip_corrupt`` allows to leave out damaged files; ``seed`` decides what is drawn.
    Texts are filled up to ``shortest`` tokens at least. With ``reading``, how another set was read, samples are to be
    as they are there: the same vocabulary, length or rate, whatever this set would suggest.
    """

    budget: Budget
    layout: str | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    channels: int | None = None
    image_size: int | tuple[int, ...] | None = None
    fit: Literal["resize", "pad"] = "resize"
    skip_corrupt: bool = False
    seed: int = 0
    shortest: int = 1
    reading: Mapping[str, Any] = field(default_factory=dict)


class Reader(Protocol):
    """One kind of source. Register an instance with `striate.data.register_reader`.

    One whose samples are not one file each is a `ReadsNew` too, if it can read new files for prediction.
    """

    @property
    def kind(self) -> str:
        """A short name of the kind of source."""

    @property
    def summary(self) -> str:
        """What the source looks like, to be listed when nothing fits."""

    @property
    def options(self) -> tuple[Option, ...]:
        """The options of its own."""

    def recognises(self, source: Source) -> str | None:
        """Say by what the source is recognised, or None if it is another kind. Opens nothing large."""

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read it. Raises `DataError` naming the file at fault."""


@runtime_checkable
class ReadsNew(Protocol):
    """A reader that finds samples in a new file, for prediction."""

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
        """The samples of a file with their names, as stored; ``reading`` is `Dataset.reading`. Raises `DataError`."""


@runtime_checkable
class ReadsSeveral(ReadsNew, Protocol):
    """A reader whose samples lie in several files each, one of which stands for all."""

    def first_of(self, name: str, reading: Mapping[str, Any]) -> str | None:
        """The name of the file to read in place of this one, perhaps itself; None for one that holds no samples."""
