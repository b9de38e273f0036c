"""Samples with labels, in memory or decoded when they are asked for. Both give the same tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch.utils.data import get_worker_info

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from striate.data.decoding import Decoded, Decoder
    from striate.data.file import File

Indices: TypeAlias = "torch.Tensor | Sequence[int]"


class Samples(Protocol):
    """A part of a data set: inputs (N, C, *spatial) as stored, uint8 or float32, or tokens (N, L) int64, and targets.

    Targets are int64 (N,) for classification and verification, float32 (N, K) for multi-label (0 or 1) and regression,
    and int64 (N, *spatial) for segmentation.
    """

    @property
    def labels(self) -> torch.Tensor:
        """All targets; for segmentation, whose masks come with `fetch` alone, an empty (N, 0)."""

    @property
    def groups(self) -> torch.Tensor | None:
        """Of whom each sample is, int64 (N,), equal numbers for equal subjects in all parts, if that is known."""

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one sample, (C, *spatial), or (L,) for tokens."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the inputs: torch.uint8, torch.float32, or torch.int64 for tokens."""

    @property
    def in_memory(self) -> bool:
        """Whether `fetch` only copies, with nothing to be read or decoded."""

    def __len__(self) -> int: ...

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs and labels at these indices, in their order."""

    def name(self, index: int) -> str:
        """What the sample is called: its file, or its place in one."""

    def subset(self, indices: Indices) -> Samples:
        """The samples at these indices, as samples of their own."""


class TensorSamples:
    """Samples that are held in memory.

    ``inputs`` is (N, C, *spatial), or (N, L) tokens of any integer type; ``targets`` is as `Samples` says, where masks
    may be of any integer type; ``name`` gives each sample's name by its index (by default its number); ``groups`` is
    (N,) int64 if given. Raises `DataError` if the lengths differ.

    >>> samples = TensorSamples(torch.arange(6).reshape(3, 1, 2).float(), torch.tensor([0, 1, 0]))
    >>> inputs, labels = samples.fetch([2, 0])
    >>> inputs[:, 0, 0].tolist(), labels.tolist()
    ([4.0, 0.0], [0, 0])
    """

    in_memory = True

    def __init__(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        name: Callable[[int], str] = str,
        *,
        groups: torch.Tensor | None = None,
    ) -> None:
        if len(inputs) != len(targets):
            raise DataError(
                "one label per sample",
                f"{len(inputs)} samples and {len(targets)} labels",
                "Give tensors of one length.",
            )
        if groups is not None and len(groups) != len(inputs):
            raise DataError(
                "one group per sample", f"{len(inputs)} samples and {len(groups)} groups", "Give tensors of one length."
            )
        self.inputs, self.targets, self.groups, self._name = inputs, targets, groups, name
        self._is_tokens = inputs.ndim == 2
        self._is_mask = not targets.is_floating_point() and targets.ndim > 1

    @property
    def labels(self) -> torch.Tensor:
        """The targets, or an empty (N, 0) where they are masks."""
        return self.targets.new_empty((len(self.targets), 0)) if self._is_mask else self.targets

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one sample, (C, *spatial)."""
        return tuple(self.inputs.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """The type of the inputs that `fetch` gives."""
        return torch.int64 if self._is_tokens else self.inputs.dtype

    def __len__(self) -> int:
        return len(self.targets)

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs and targets at these indices, in their order."""
        chosen = as_indices(indices)
        # index_select takes a third of the time of indexing, which is more general.
        inputs, targets = self.inputs.index_select(0, chosen), self.targets.index_select(0, chosen)
        return inputs.long() if self._is_tokens else inputs, targets.long() if self._is_mask else targets

    def name(self, index: int) -> str:
        """What the sample is called."""
        return self._name(index)

    def subset(self, indices: Indices) -> TensorSamples:
        """The samples at these indices, copied."""
        chosen = as_indices(indices)
        places = chosen.tolist()
        name, groups = self._name, self.groups
        return TensorSamples(
            self.inputs.index_select(0, chosen),
            self.targets.index_select(0, chosen),
            lambda index: name(places[index]),
            groups=None if groups is None else groups[chosen],
        )


class RelabelledSamples:
    """Other samples whose labels are looked up in ``mapping``, int64, from old label to new."""

    def __init__(self, inner: Samples, mapping: torch.Tensor) -> None:
        self._inner, self._mapping = inner, mapping

    @property
    def in_memory(self) -> bool:
        """Whether those of the other samples are."""
        return self._inner.in_memory

    @property
    def labels(self) -> torch.Tensor:
        """The new labels."""
        return self._mapping[self._inner.labels]

    @property
    def groups(self) -> torch.Tensor | None:
        """The groups of the other samples."""
        return self._inner.groups

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self._inner.item_shape

    @property
    def dtype(self) -> torch.dtype:
        """The type of the inputs."""
        return self._inner.dtype

    def __len__(self) -> int:
        return len(self._inner)

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs and new labels at these indices, in their order."""
        inputs, labels = self._inner.fetch(indices)
        return inputs, self._mapping[labels]

    def name(self, index: int) -> str:
        """What the sample is called."""
        return self._inner.name(index)

    def subset(self, indices: Indices) -> RelabelledSamples:
        """The samples at these indices."""
        return RelabelledSamples(self._inner.subset(indices), self._mapping)


class FileSamples:
    """Samples that are decoded on a few threads each time they are fetched, for sets that do not fit in memory.

    All files must have been decoded once by `load_data`, which has found their common ``item_shape`` and ``dtype``; a
    file that has changed since makes ``fetch`` raise `DataError`.
    """

    in_memory = False

    def __init__(
        self,
        files: Sequence[File],
        labels: torch.Tensor,
        decoder: Decoder,
        item_shape: tuple[int, ...],
        dtype: torch.dtype,
        *,
        groups: torch.Tensor | None = None,
    ) -> None:
        self._files, self.labels, self._decoder, self.groups = tuple(files), labels, decoder, groups
        self._item_shape, self._dtype = item_shape, dtype

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one sample, (C, *spatial)."""
        return self._item_shape

    @property
    def dtype(self) -> torch.dtype:
        """The type of the inputs."""
        return self._dtype

    def __len__(self) -> int:
        return len(self._files)

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs and labels at these indices, in their order. Raises `DataError` for a file that has changed."""
        chosen = as_indices(indices)
        files = [self._files[index] for index in chosen.tolist()]
        inputs = empty_batch((len(files), *self._item_shape), self._dtype)
        rows = inputs.numpy()  # whose copies of single samples wake no threads
        for place, (file, item) in enumerate(zip(files, self._decoder.each(files), strict=True)):
            rows[place] = self._checked(item, file).numpy()
        return inputs, self.labels[chosen]

    def _checked(self, item: Decoded | DataError, file: File) -> torch.Tensor:
        if isinstance(item, DataError):
            raise item
        if tuple(item.inputs.shape) != self._item_shape or item.inputs.dtype != self._dtype:
            raise DataError(
                f"a sample of shape {self._item_shape}, as when the data set was opened",
                f"{file.label} of shape {tuple(item.inputs.shape)}",
                "Do not change the files while they are in use.",
            )
        return item.inputs

    def name(self, index: int) -> str:
        """The file's name within the data set."""
        return self._files[index].name

    def subset(self, indices: Indices) -> FileSamples:
        """The samples at these indices."""
        chosen = as_indices(indices)
        files = [self._files[index] for index in chosen.tolist()]
        groups = None if self.groups is None else self.groups[chosen]
        return FileSamples(files, self.labels[chosen], self._decoder, self._item_shape, self._dtype, groups=groups)


def empty_batch(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Memory for a batch of samples; in a worker process what it shares with the one that waits, so it is not copied.

    >>> empty_batch((2, 3), torch.uint8).shape
    torch.Size([2, 3])
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    # As PyTorch's default_collate does it.
    new: Any = torch.UntypedStorage._new_shared  # noqa: SLF001
    storage = new(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


def as_indices(indices: Indices) -> torch.Tensor:
    """Indices as an int64 tensor, so that an empty list is one of no samples.

    >>> as_indices([2, 0])
    tensor([2, 0])
    """
    if isinstance(indices, torch.Tensor):
        return indices
    return torch.tensor(list(indices), dtype=torch.int64)
