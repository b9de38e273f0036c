"""Samples that are made of several files each, or of parts of one: kept in memory if they fit, or made on demand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from striate.data.dataset import SkippedFile
from striate.data.file_kinds import DamagedFileError
from striate.data.samples import TensorSamples, as_indices, empty_batch
from striate.data.threads import Pace, each
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from striate.data.limits import Budget
    from striate.data.reader import Collection, ReadOptions
    from striate.data.samples import Indices, Samples
    from striate.data.segmentation.tiles import Tiling


class Item(NamedTuple):
    """One thing decoded: inputs (C, *spatial) or tokens (L,), the mask (*spatial) if it has one, and full white.

    ``stored_size`` is the spatial size before any resizing, where that is another.
    """

    inputs: torch.Tensor
    mask: torch.Tensor | None = None
    value_scale: float = 1.0
    stored_size: tuple[int, ...] | None = None


class Items(Protocol):
    """Things that can be decoded, in any process."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What the thing is called within its data set."""

    def decode(self, index: int) -> Item:
        """Decode one of them as it is asked for. Raises `DamagedFileError` for what may be left out."""


@dataclass(frozen=True, slots=True)
class ItemPart:
    """A part of a source: its items, their targets as `Samples` says (None: masks), and their groups if known."""

    items: Items
    targets: torch.Tensor | None = None
    groups: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class ItemCollection:
    """What a reader found that is still to be decoded: items per part, and the rest of its collection."""

    parts: dict[str, ItemPart]
    rest: Collection

    def open(self, options: ReadOptions, label: str, tiling: Tiling | None = None, fill: int = 0) -> Collection:
        """Decode every item once; see `open_items`."""
        opened = open_items(
            self.parts, options.budget, label, skip_corrupt=options.skip_corrupt, tiling=tiling, fill=fill
        )
        return replace(
            self.rest,
            parts=opened.parts,
            value_scale=opened.value_scale,
            skipped=tuple(opened.skipped),
            stored_sizes=opened.stored_sizes,
        )


class Place(NamedTuple):
    """Which item a sample is of, and where its tile begins, and what it is called; a whole item begins nowhere."""

    item: int
    start: tuple[int, ...]
    name: str


@dataclass(slots=True)
class Opened:
    """Samples per part, the value of full white, and what was left out."""

    parts: dict[str, Samples] = field(default_factory=dict)
    value_scale: float = 1.0
    skipped: list[SkippedFile] = field(default_factory=list)
    stored_sizes: Counter[tuple[int, ...]] = field(default_factory=Counter)


class ItemSamples:
    """Samples that are decoded on a few threads each time they are fetched. Items are decoded once for all tiles."""

    in_memory = False

    def __init__(
        self,
        items: Items,
        places: Sequence[Place],
        example: Item,
        targets: torch.Tensor | None,
        *,
        tiling: Tiling | None = None,
        fill: int = 0,
        groups: torch.Tensor | None = None,
    ) -> None:
        self._items, self._places, self._targets, self.groups = items, tuple(places), targets, groups
        self._tiling, self._fill = tiling, fill
        self._pace = Pace()
        # An example would keep a sample alive in every copy; its shape and type are what is needed.
        self._example = Item(example.inputs[:0], None if example.mask is None else example.mask[:0])
        self._item_shape = tuple(example.inputs.shape)
        self._mask_shape = None if example.mask is None else tuple(example.mask.shape)

    @property
    def labels(self) -> torch.Tensor:
        """The targets, or an empty (N, 0) where they are masks."""
        return torch.empty((len(self), 0), dtype=torch.int64) if self._targets is None else self._targets

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one sample, (C, *spatial)."""
        return self._item_shape

    @property
    def dtype(self) -> torch.dtype:
        """The type of the inputs."""
        return self._example.inputs.dtype

    def __len__(self) -> int:
        return len(self._places)

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs and targets at these indices, in their order. Raises `DataError` for what has changed."""
        chosen = as_indices(indices)
        wanted: dict[int, list[tuple[int, Place]]] = {}
        for row, index in enumerate(chosen.tolist()):
            place = self._places[index]
            wanted.setdefault(place.item, []).append((row, place))
        inputs = empty_batch((len(chosen), *self._item_shape), self.dtype)
        masks = None if self._mask_shape is None else empty_batch((len(chosen), *self._mask_shape), torch.int64)
        # NumPy copies on this thread; PyTorch would wake its own for every sample, beside those that decode.
        rows_of_inputs, rows_of_masks = inputs.numpy(), None if masks is None else masks.numpy()
        read = each(self._items.decode, list(wanted), self._pace)
        for (item, rows), decoded in zip(wanted.items(), read, strict=True):
            if isinstance(decoded, DataError):
                raise decoded
            for row, place in rows:
                piece = cut(decoded, place, self._tiling, self._fill)
                self._check(piece, self._items.name(item))
                rows_of_inputs[row] = piece.inputs.numpy()
                if rows_of_masks is not None and piece.mask is not None:
                    rows_of_masks[row] = piece.mask.numpy()
        return inputs, self.labels[chosen] if masks is None else masks

    def _check(self, item: Item, name: str) -> None:
        if tuple(item.inputs.shape) != self._item_shape or item.inputs.dtype != self.dtype:
            raise DataError(
                f"a sample of shape {self._item_shape}, as when the data set was opened",
                f"{name} of shape {tuple(item.inputs.shape)}",
                "Do not change the files while they are in use.",
            )

    def name(self, index: int) -> str:
        """What the sample is called."""
        return self._places[index].name

    def subset(self, indices: Indices) -> ItemSamples:
        """The samples at these indices."""
        chosen = as_indices(indices)
        mask = None if self._mask_shape is None else torch.empty(self._mask_shape, dtype=torch.uint8)
        return ItemSamples(
            self._items,
            [self._places[index] for index in chosen.tolist()],
            Item(torch.empty(self._item_shape, dtype=self.dtype), mask),
            None if self._targets is None else self._targets[chosen],
            tiling=self._tiling,
            fill=self._fill,
            groups=None if self.groups is None else self.groups[chosen],
        )


class _Names:
    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places

    def __call__(self, index: int) -> str:
        return self._places[index].name


def cut(item: Item, place: Place, tiling: Tiling | None, fill: int) -> Item:
    """The tile of an item that a place names, or the whole item."""
    if tiling is None:
        return item
    mask = None if item.mask is None else tiling.cut(item.mask, place.start, fill)
    return Item(tiling.cut(item.inputs, place.start), mask, item.value_scale)


def open_items(
    parts: Mapping[str, ItemPart],
    budget: Budget,
    label: str,
    *,
    skip_corrupt: bool = False,
    tiling: Tiling | None = None,
    fill: int = 0,
) -> Opened:
    """Decode every item once, and keep the samples if all fit into the budget.

    With ``tiling`` samples are tiles, masks filled up with ``fill``. Raises `DataError` for mixed shapes or kinds of
    values, and for damaged items unless they may be skipped.
    """
    opened = Opened()
    walk = _Walk(budget.left, label, tiling, fill)
    found: dict[str, tuple[list[Place], list[Item]]] = {}
    for split, part in parts.items():
        places: list[Place] = []
        kept: list[Item] = []
        for index, item in enumerate(each(part.items.decode, range(len(part.items)))):
            name = part.items.name(index)
            if isinstance(item, DataError):
                if not (skip_corrupt and isinstance(item, DamagedFileError)):
                    raise item
                opened.skipped.append(SkippedFile(name, item.received))
                continue
            opened.stored_sizes[item.stored_size or tuple(item.inputs.shape[1:])] += 1
            for place in walk.places(index, name, item):
                piece = walk.take(cut(item, place, tiling, fill), name)
                places.append(place)
                kept.append(piece)
                if not walk.fits:
                    kept.clear()
        found[split] = places, kept
    if walk.first is None:
        raise DataError("at least one sample that can be decoded", f"{label} without any", "Replace what is damaged.")
    opened.value_scale = walk.first.value_scale
    for split, (places, kept) in found.items():
        if not places and split != "train":
            continue
        rows = torch.tensor([place.item for place in places], dtype=torch.int64)
        part = parts[split]
        targets = None if part.targets is None else part.targets[rows]
        groups = None if part.groups is None else part.groups[rows]
        if walk.fits:
            opened.parts[split] = _in_memory(kept, places, walk.first, targets, groups)
        else:
            opened.parts[split] = ItemSamples(
                part.items, places, walk.first, targets, tiling=tiling, fill=fill, groups=groups
            )
    if walk.fits:
        budget.take(walk.used, label)
    return opened


class _Walk:
    """Sees every sample once: whether they are alike, and whether they fit."""

    def __init__(self, available: int, label: str, tiling: Tiling | None, fill: int) -> None:
        self._available, self._label, self._tiling, self._fill = available, label, tiling, fill
        self.first: Item | None = None
        self._first_name = ""
        self.used = 0

    @property
    def fits(self) -> bool:
        return self.used <= self._available

    def places(self, index: int, name: str, item: Item) -> list[Place]:
        if self._tiling is None:
            return [Place(index, (), name)]
        shape = tuple(item.inputs.shape[1:])
        if len(shape) != len(self._tiling.size):
            raise DataError(
                f"patch to be one size, or {len(shape)} of them",
                f"patch={list(self._tiling.size)} for {name} of size {' x '.join(map(str, shape))}",
                "Give a size for each axis.",
            )
        return [Place(index, start, self._tiling.name(name, start, shape)) for start in self._tiling.starts(shape)]

    def take(self, item: Item, name: str) -> Item:
        if self.first is None:
            self.first, self._first_name = item, name
        alike = (item.inputs.shape, item.inputs.dtype, item.value_scale)
        if alike != (self.first.inputs.shape, self.first.inputs.dtype, self.first.value_scale):
            raise DataError(
                f"samples of one shape and kind, {_seen(self.first)} as in {self._first_name}",
                f"{name} of {self._label} with {_seen(item)}",
                "Give image_size or patch for one size, and channels=1 or channels=3 for grey or colour.",
            )
        self.used += item.inputs.nbytes + (0 if item.mask is None else item.mask.nbytes)
        return item


def _seen(item: Item) -> str:
    channels, *size = item.inputs.shape if item.inputs.ndim > 1 else (1, *item.inputs.shape)
    kind = str(item.inputs.dtype).removeprefix("torch.")
    return f"{' x '.join(map(str, size))} and {channels} {'channel' if channels == 1 else 'channels'} ({kind})"


def _in_memory(
    kept: list[Item], places: list[Place], first: Item, targets: torch.Tensor | None, groups: torch.Tensor | None
) -> TensorSamples:
    inputs = torch.empty((len(kept), *first.inputs.shape), dtype=first.inputs.dtype)
    masks = None if first.mask is None else torch.empty((len(kept), *first.mask.shape), dtype=first.mask.dtype)
    # Each piece is given up when it is copied, so that the two together never take twice the memory.
    for row in range(len(kept)):
        item = kept[row]
        kept[row] = first
        inputs[row] = item.inputs
        if masks is not None and item.mask is not None:
            masks[row] = item.mask
    labels = masks if masks is not None else targets
    if labels is None:
        labels = torch.zeros(len(kept), dtype=torch.int64)
    return TensorSamples(inputs, labels, _Names(places), groups=groups)
