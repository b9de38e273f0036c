"""Packing a data set of any kind into tar shards, from which it is read without its many small files.

Files go into the shards as they are, arrays as one .npy per sample. The order of samples and the parts stay, so that
training on the shards is training on the source.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.data.file import MAX_FILE_BYTES, is_folder
from striate.data.file_kinds import file_kinds
from striate.data.items import ItemCollection, ItemPart
from striate.data.limits import Budget
from striate.data.options import resolve
from striate.data.reader import SPLITS, ArrayPart, Collection, FilePart, ReadOptions
from striate.data.registry import recognise
from striate.data.samples import TensorSamples
from striate.data.shards.facts import FACTS, ShardFacts
from striate.data.single import writing
from striate.data.source import open_source
from striate.data.threads import each
from striate.errors import DataError
from striate.files import PARTIAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from striate.data.reader import Part
    from striate.data.samples import Samples

DEFAULT_SHARD_BYTES = 256 * 2**20

_RECORD = 512
_CHUNK = 64
_AXES = {1: "L", 2: "HW", 3: "DHW"}


@dataclass(slots=True)
class Packed:
    """What was written: the number of samples and of shards per part, and all bytes."""

    samples: dict[str, int] = field(default_factory=dict)
    shards: dict[str, int] = field(default_factory=dict)
    nbytes: int = 0


def pack(
    source: str | Path,
    out: str | Path,
    *,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    options: Mapping[str, Any] | None = None,
    layout: str | None = None,
    memory_limit: int | None = None,
) -> Packed:
    """Write the samples of a data set to shards ``train-000000.tar`` and so on in the new folder ``out``.

    Shards are closed before they would exceed ``shard_bytes``; a sample that is larger has one to itself. ``options``
    are those of the source. The folder appears when it is whole. Raises `DataError` for a folder that has something in
    it already, for a source that cannot be read, and for text whose vocabulary waits for the training part.

    >>> packed = pack("digits", "shards", shard_bytes=2**20)
    >>> packed.samples, packed.shards
    ({'train': 1797}, {'train': 4})
    >>> from striate.data import load_data
    >>> len(load_data("shards").train)
    1258
    """
    target = Path(out)
    if type(shard_bytes) is not int or shard_bytes < 1:
        raise DataError("a positive size of shards in bytes", f"{shard_bytes!r}", "Leave it out for 256 MiB.")
    if target.exists() and (not is_folder(target) or any(target.iterdir())):
        raise DataError("a new folder for the shards", f"{out}, which has something in it", "Name another.")
    budget = Budget(memory_limit)
    opened = open_source(source, budget)
    reader, _ = recognise(opened)
    given = dict(options or {})
    ours = {option.name for option in reader.options}
    own = resolve({name: value for name, value in given.items() if name in ours}, reader.options, reader.kind)
    wanted = ReadOptions(budget, layout, own)
    # What is decoded one by one is not brought to one size here.
    find = getattr(reader, "items", None)
    found: ItemCollection | None = find(opened, wanted) if find is not None else None
    collection = reader.read(opened, wanted) if found is None else found.rest
    rest = {name: value for name, value in given.items() if name not in ours}
    if collection.settle is not None:
        raise DataError(
            "a source whose samples are known before it is split",
            f"{opened.label}, whose vocabulary the training part decides",
            "Train on it as it is: texts are small.",
        )
    of_files = resolve(rest, _options_of(collection), f"the files of a {collection.kind} source") if rest else {}
    reading = {"kind": collection.kind, **own, **{name: of_files[name] for name in rest}, **collection.reading}
    packed = Packed()
    with _new_folder(target) as folder:
        parts: Mapping[str, Part | ItemPart] = collection.parts if found is None else found.parts
        for split in SPLITS:
            if split in parts:
                part = parts[split]
                with _Shards(folder, split, shard_bytes) as shards:
                    samples = _items(part, collection) if isinstance(part, ItemPart) else _samples(part, collection)
                    for name, members in samples:
                        shards.add(name, members)
                packed.samples[split], packed.shards[split] = len(shards.keys), shards.count
        facts = _facts(parts["train"], collection, reading, layout)
        (folder / FACTS).write_text(json.dumps(facts.to_dict(), indent=1), encoding="utf-8")
        packed.nbytes = sum(entry.stat().st_size for entry in folder.iterdir())
    return packed


def _options_of(collection: Collection) -> list[Any]:
    suffixes = {file.suffix for part in collection.parts.values() if isinstance(part, FilePart) for file in part.files}
    known = [option for kind in file_kinds() if suffixes & set(kind.suffixes) for option in kind.options]
    return [option for option in known if option.name != "layout"]


def _facts(
    train: Part | ItemPart, collection: Collection, reading: Mapping[str, Any], layout: str | None
) -> ShardFacts:
    value_scale: float | None = collection.value_scale
    if isinstance(train, FilePart):
        value_scale = None
    else:
        if isinstance(train, ItemPart):
            item = train.items.decode(0)
            rank, value_scale = item.inputs.ndim - 1, item.value_scale
        else:
            rank = train.inputs.ndim - 2 if isinstance(train, ArrayPart) else len(train.item_shape) - 1
        layout = None if collection.input_kind == "tokens" else f"NC{_AXES[rank]}"
    # Masks are written as class indices, so the numbers of classes are those from 0 on.
    ids = tuple(range(len(collection.classes))) if collection.task == "segmentation" else ()
    return ShardFacts(
        collection.task,
        collection.classes,
        ids,
        collection.input_kind,
        collection.vocabulary,
        collection.void,
        collection.normalise,
        value_scale,
        layout,
        {name: value for name, value in reading.items() if _is_plain(value)},
    )


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return value is not None


def _samples(part: Part, collection: Collection) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The name of every sample, and its files by their extensions."""
    if isinstance(part, FilePart):
        for index, file in enumerate(part.files):
            group = None if part.groups is None else int(part.groups[index])
            yield file.name, {file.suffix: file.read(), **_labels(part.labels[index], group, collection)}
        return
    samples: Samples = (
        TensorSamples(part.inputs, part.labels, part.name, groups=part.groups) if isinstance(part, ArrayPart) else part
    )
    for start in range(0, len(samples), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(samples)))
        inputs, targets = samples.fetch(rows)
        for place, index in enumerate(rows):
            group = None if samples.groups is None else int(samples.groups[index])
            if collection.task == "segmentation":
                yield samples.name(index), _files(inputs[place], targets[place], None, group, collection)
            else:
                yield samples.name(index), _files(inputs[place], None, targets[place], group, collection)


def _items(part: ItemPart, collection: Collection) -> Iterator[tuple[str, dict[str, bytes]]]:
    for index, item in enumerate(each(part.items.decode, range(len(part.items)))):
        if isinstance(item, DataError):
            raise item
        target = None if part.targets is None else part.targets[index]
        group = None if part.groups is None else int(part.groups[index])
        yield part.items.name(index), _files(item.inputs, item.mask, target, group, collection)


def _files(
    inputs: torch.Tensor,
    mask: torch.Tensor | None,
    target: torch.Tensor | None,
    group: int | None,
    collection: Collection,
) -> dict[str, bytes]:
    files = {".npy": _npy(inputs.numpy())}
    if mask is not None:
        files[".mask.npy"] = _npy(mask.numpy().astype(np.uint8) if int(mask.max()) <= 255 else mask.numpy())
    return {**files, **_labels(target, group, collection)}


def _labels(target: torch.Tensor | None, group: int | None, collection: Collection) -> dict[str, bytes]:
    facts: dict[str, Any] = {} if group is None else {"group": group}
    files = {}
    if target is not None and collection.task in ("classification", "verification"):
        files[".cls"] = collection.classes[int(target)].encode()
    elif target is not None:
        facts["targets"] = target.tolist()
    return {**files, ".json": json.dumps(facts).encode()} if facts else files


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


class _Shards:
    """The shards of one part, written one after the other."""

    def __init__(self, folder: Path, split: str, limit: int) -> None:
        self._folder, self._split, self._limit = folder, split, limit
        self._archive: tarfile.TarFile | None = None
        self._size = self.count = 0
        self.keys: set[str] = set()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, name: str, members: Mapping[str, bytes]) -> None:
        size = sum(_RECORD + -(-len(content) // _RECORD) * _RECORD for content in members.values())
        if self._archive is None or self._size + size + tarfile.RECORDSIZE > self._limit:
            self._close()
            path = self._folder / f"{self._split}-{self.count:06d}.tar"
            self._archive, self._size = tarfile.open(path, "w", format=tarfile.PAX_FORMAT), 0  # noqa: SIM115
            self.count += 1
        key = self._key(name)
        for suffix, content in members.items():
            if len(content) > MAX_FILE_BYTES:
                raise DataError("samples of at most 1 GiB", f"{name} of {len(content)} bytes", "Cut it into pieces.")
            # No time, owner or mode: the same samples give the same bytes.
            entry = tarfile.TarInfo(f"{key}{suffix}")
            entry.size = len(content)
            self._archive.addfile(entry, io.BytesIO(content))
        self._size += size

    def _key(self, name: str) -> str:
        """A name without dots, because what follows the first dot is the kind of file."""
        folder, slash, base = name.rpartition("/")
        bare = re.sub(r"[^\w-]+", "_", base.rpartition(".")[0] or base).strip("_") or "sample"
        key, again = f"{folder}{slash}{bare}", 1
        while key in self.keys:
            again += 1
            key = f"{folder}{slash}{bare}-{again}"
        self.keys.add(key)
        return key

    def _close(self) -> None:
        if self._archive is not None:
            self._archive.close()
            self._archive = None


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder beside that takes its place when it is whole."""
    beside = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL}")
    try:
        with writing(target):
            beside.mkdir()
            yield beside
            beside.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
