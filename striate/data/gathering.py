"""From what a reader found to samples of one shape: arrays converted, files decoded, damage and mixtures noticed."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from striate.data.conversion import convert_channels, pad_or_crop, resize, target_size
from striate.data.dataset import SkippedFile
from striate.data.file_kinds import DamagedFileError
from striate.data.reader import SPLITS, ArrayPart, Collection, FilePart
from striate.data.samples import FileSamples, Samples, TensorSamples
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from striate.data.decoding import Decoded, Decoder
    from striate.data.file import File
    from striate.data.limits import Budget


class SkippedFileWarning(UserWarning):
    """Damaged files were left out of a data set, as ``skip_corrupt`` asked."""


@dataclass(slots=True)
class Gathered:
    """Samples per part, not yet split, and what was seen on the way."""

    parts: dict[str, Samples] = field(default_factory=dict)
    value_scale: float = 1.0
    stored_sizes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    skipped: list[SkippedFile] = field(default_factory=list)


def gather(collection: Collection, decoder: Decoder, skip_corrupt: bool, budget: Budget, label: str) -> Gathered:
    """Make samples of one shape out of a collection, in memory if they fit into the budget.

    Raises `DataError` for mixed sizes, channels or kinds of values, and for damaged files unless they may be skipped.
    """
    ready = {s: p for s, p in collection.parts.items() if not isinstance(p, ArrayPart | FilePart)}
    arrays = {s: p for s in SPLITS if isinstance(p := collection.parts.get(s), ArrayPart)}
    files = {s: p for s in SPLITS if isinstance(p := collection.parts.get(s), FilePart)}
    if ready:
        gathered = _gather_samples(ready, collection, label)
    elif arrays:
        gathered = _gather_arrays(arrays, collection.value_scale, decoder, budget, label)
    else:
        gathered = _gather_files(files, decoder, skip_corrupt, budget, label)
    if gathered.skipped:
        first = gathered.skipped[0]
        warnings.warn(
            f"{len(gathered.skipped)} damaged files of {label} are left out, first {first.name}: {first.reason}",
            SkippedFileWarning,
            stacklevel=3,
        )
    return gathered


def _gather_samples(parts: Mapping[str, Samples], collection: Collection, label: str) -> Gathered:
    gathered = Gathered(parts={split: parts[split] for split in SPLITS if split in parts})
    gathered.value_scale, gathered.skipped = collection.value_scale, list(collection.skipped)
    gathered.stored_sizes.update(collection.stored_sizes or {})
    for samples in parts.values() if collection.stored_sizes is None else ():
        gathered.stored_sizes[samples.item_shape[collection.input_kind == "values" :]] += len(samples)
    _check_alike(gathered.parts, label)
    return gathered


def _gather_arrays(
    parts: Mapping[str, ArrayPart], value_scale: float, decoder: Decoder, budget: Budget, label: str
) -> Gathered:
    gathered = Gathered(value_scale=value_scale)
    for split, part in parts.items():
        shape = tuple(part.inputs.shape[1:])
        gathered.stored_sizes[shape[1:]] += len(part.inputs)
        size = target_size(decoder.image_size, len(shape) - 1) or shape[1:]
        channels = decoder.channels or shape[0]
        if (channels, *size) != shape:
            count = len(part.inputs) * channels * math.prod(size) * part.inputs.element_size()
            budget.take(count, f"{label}, converted to {channels} channels of size {' x '.join(map(str, size))},")
        inputs = convert_channels(part.inputs, decoder.channels, label)
        inputs = resize(inputs, size) if decoder.fit == "resize" else pad_or_crop(inputs, size)
        gathered.parts[split] = TensorSamples(inputs, part.labels, part.name, groups=part.groups)
    _check_alike(gathered.parts, label)
    return gathered


def _check_alike(parts: Mapping[str, Samples], label: str) -> None:
    train = parts["train"]
    for split, samples in parts.items():
        if samples.item_shape != train.item_shape or samples.dtype != train.dtype:
            raise DataError(
                f"samples of one shape and kind, {_description(train.item_shape, train.dtype)} as in train",
                f"{label} with {_description(samples.item_shape, samples.dtype)} in {split}",
                _remedy(samples.item_shape, train.item_shape),
            )


def _gather_files(
    parts: Mapping[str, FilePart], decoder: Decoder, skip_corrupt: bool, budget: Budget, label: str
) -> Gathered:
    gathered = Gathered()
    sieve = _Sieve(decoder, skip_corrupt)
    in_memory: bool | None = None
    kept: dict[str, tuple[torch.Tensor | None, list[int]]] = {}
    total = sum(len(part.files) for part in parts.values())
    for split, part in parts.items():
        store: torch.Tensor | None = None
        places: list[int] = []
        for place, (file, item) in enumerate(zip(part.files, decoder.each(part.files), strict=True)):
            decoded = sieve.check(file, item, gathered)
            if decoded is None:
                continue
            shape, dtype = decoded.inputs.shape, decoded.inputs.dtype
            if in_memory is None:
                # All samples have the shape of the first, so the whole size is known as soon as it is decoded.
                in_memory = total * decoded.inputs.nbytes <= budget.left
            if in_memory:
                if store is None:
                    store = torch.empty((len(part.files), *shape), dtype=dtype)
                store[len(places)] = decoded.inputs
            places.append(place)
        kept[split] = store, places
    if sieve.first is None:
        raise DataError("at least one file that can be decoded", f"{label} without any", "Replace the damaged files.")
    gathered.value_scale = sieve.first.value_scale
    shape, dtype = sieve.first.inputs.shape, sieve.first.inputs.dtype
    for split, (store, places) in kept.items():
        files = [parts[split].files[place] for place in places]
        labels, groups = parts[split].labels[places], parts[split].groups
        groups = None if groups is None else groups[places]
        if not places and split != "train":
            continue
        if in_memory:
            inputs = torch.empty((0, *shape), dtype=dtype) if store is None else store[: len(places)]
            gathered.parts[split] = TensorSamples(inputs, labels, _names(files), groups=groups)
        else:
            gathered.parts[split] = FileSamples(files, labels, decoder, tuple(shape), dtype, groups=groups)
    return gathered


def _names(files: list[File]) -> Callable[[int], str]:
    return lambda index: files[index].name


class _Sieve:
    """Lets samples through that decode and that look like the first one."""

    def __init__(self, decoder: Decoder, skip_corrupt: bool) -> None:
        self._decoder, self._skip_corrupt = decoder, skip_corrupt
        self.first: Decoded | None = None
        self._first_name = ""

    def check(self, file: File, item: Decoded | DataError, gathered: Gathered) -> Decoded | None:
        if isinstance(item, DataError):
            if not (self._skip_corrupt and isinstance(item, DamagedFileError)):
                raise item
            gathered.skipped.append(SkippedFile(file.name, item.received))
            return None
        if self.first is None:
            self.first, self._first_name = item, file.label
        first = self.first
        kind = (item.inputs.shape, item.inputs.dtype, item.value_scale)
        if kind != (first.inputs.shape, first.inputs.dtype, first.value_scale):
            shape, wanted = tuple(item.inputs.shape), tuple(first.inputs.shape)
            raise DataError(
                f"samples of one shape and kind, {_description(wanted, first.inputs.dtype)} as in {self._first_name}",
                f"{file.label} with {_description(shape, item.inputs.dtype)}",
                _remedy(shape, wanted),
            )
        gathered.stored_sizes[item.stored_size] += 1
        return item


def _description(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    channels, *size = shape
    plural = "channel" if channels == 1 else "channels"
    return f"{' x '.join(map(str, size))} and {channels} {plural} ({str(dtype).removeprefix('torch.')})"


def _remedy(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if len(shape) != len(wanted):
        return "Keep signals, images and volumes in data sets of their own."
    mends = []
    if shape[1:] != wanted[1:]:
        mends.append(f"image_size, for example image_size={wanted[1]}")
    if shape[0] != wanted[0]:
        mends.append("channels=1 for grey or channels=3 for colour")
    if not mends:
        return "Save all of them with the same number of bits."
    return f"Give {' and '.join(mends)}."
