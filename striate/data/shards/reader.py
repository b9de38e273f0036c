"""Shards: tar files of many samples each, in the format of WebDataset, read at random.

The files of one sample have the same name up to the first dot: ``000123.jpg`` and ``000123.cls``. Of each sample one
file is its input (any kind that holds a sample), ``.cls`` holds the number or word of its class, ``.json`` may hold
``targets`` and ``group``, and ``.mask.png`` (or ``.mask.npy``, ``.mask.nii.gz``) its mask. Shards whose names begin
with train, val or test, or that lie in folders of these names, are those parts. ``dataset.json``, as `pack` writes it,
says what the samples are; without it classes are read off the shards.

A tar has no table of contents, so all headers are read once, and samples are then read wherever they lie: the order of
training and its resumption are as exact as for any other set. The library webdataset reads shards front to back and
shuffles in a buffer, which gives neither, so only its format is used.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from striate.data.conversion import target_size
from striate.data.decoding import Decoder
from striate.data.file import MAX_FILE_BYTES, File, check_readable_name
from striate.data.file_kinds import DamagedFileError, file_kind, file_kinds
from striate.data.items import Item, ItemCollection, ItemPart
from striate.data.npy import read_npy
from striate.data.reader import SPLIT_WORDS, SPLITS, Collection, ReadOptions
from striate.data.segmentation.masks import ClassTable, Lookup, decode_mask, fit_pair, found_classes
from striate.data.segmentation.tiles import TILE_OPTIONS, tiling
from striate.data.shards.facts import FACTS, ShardFacts, read_facts
from striate.data.targets import identities
from striate.data.threads import each
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.data.options import Option
    from striate.data.source import Source

_SMALL = 2**20
_MASKS = ("mask", "seg")


class Member(NamedTuple):
    """A file inside a shard: which shard, its extension, and where its bytes lie."""

    shard: int
    suffix: str
    offset: int
    size: int


@dataclass(slots=True)
class _Contents:
    """The samples of a part: names, inputs, masks, and what stands in ``.cls`` and ``.json``."""

    names: list[str] = field(default_factory=list)
    inputs: list[Member] = field(default_factory=list)
    masks: list[Member] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)


class ShardReader:
    """Reads a folder of tar shards in WebDataset's format."""

    kind = "shards"
    summary = "a folder of WebDataset .tar shards"

    @property
    def options(self) -> tuple[Option, ...]:
        """Those of all kinds of files that shards may hold."""
        named = {option.name: option for kind in file_kinds() for option in kind.options if option.name != "layout"}
        return (*TILE_OPTIONS, *(replace(option, default=None) for option in named.values()))

    def recognises(self, source: Source) -> str | None:
        """Recognise a folder whose samples are in tar files."""
        shards = [file for file in source.files if file.suffix == ".tar"]
        others = [file for file in source.files if file.suffix not in (".tar", ".json", ".txt", ".md")]
        if source.form != "folder" or not shards or others:
            return None
        return f"{len(shards)} tar {'shards' if len(shards) > 1 else 'shard'}"

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the headers of all shards and decode every sample once.

        Raises `DataError` naming the shard or sample at fault.
        """
        shards = tuple(file for file in source.files if file.suffix == ".tar")
        facts = read_facts(source)
        contents: dict[str, _Contents] = {}
        for place, shard in enumerate(shards):
            _scan(place, shard, contents.setdefault(_part(shard.name), _Contents()))
        contents = {split: contents[split] for split in SPLITS if split in contents}
        if "train" not in contents or not contents["train"].names:
            raise DataError(
                "shards with samples to train on", source.label, "Name shards train-000000.tar, or without a part."
            )
        facts = facts or _guessed(contents, shards, source.label)
        lookup = (
            Lookup(ClassTable(facts.classes, facts.label_ids), facts.void) if facts.task == "segmentation" else None
        )
        targets, classes = _targets(facts, contents, source.label)
        groups = _groups(contents, source.label)
        decoder = _decoder(facts, options)
        parts = {
            split: ItemPart(
                ShardItems(
                    shards, tuple(one.names), tuple(one.inputs), tuple(one.masks), decoder, lookup, facts.input_kind
                ),
                targets.get(split),
                groups.get(split),
            )
            for split, one in contents.items()
        }
        rest = Collection(
            self.kind,
            classes,
            {},
            ignored=tuple(f.name for f in source.files if f.suffix != ".tar" and f.name != FACTS),
            task=facts.task,
            input_kind=facts.input_kind,
            vocabulary=facts.vocabulary,
            void=facts.void if lookup is None else lookup.void,
            normalise=facts.normalise,
            reading={**facts.reading, **_of_kinds(contents, decoder)},
        )
        if options.own["patch"] is None:
            opened = ItemCollection(parts, rest).open(options, source.label)
        else:
            opened = _tiled(parts, rest, lookup, options, source.label)
        return replace(opened, value_scale=facts.value_scale or opened.value_scale)


def _tiled(
    parts: dict[str, ItemPart], rest: Collection, lookup: Lookup | None, options: ReadOptions, label: str
) -> Collection:
    if lookup is None:
        raise DataError(
            "samples with masks to cut into tiles", f"patch={options.own['patch']!r} for {label}", "Leave patch out."
        )
    whole = dict(parts)
    if all(part.groups is None for part in parts.values()):
        # The tiles of an image belong to one part.
        first = 0
        for split, part in parts.items():
            whole[split] = replace(part, groups=torch.arange(first, first + len(part.items)))
            first += len(part.items)
    rank = parts["train"].items.decode(0).inputs.ndim - 1
    return ItemCollection(whole, rest).open(options, label, tiling(options.own, rank), lookup.fill)


def _part(name: str) -> str:
    words = [*PurePosixPath(name).parts[:-1], re.split(r"[-_.]", PurePosixPath(name).name)[0]]
    return next((SPLIT_WORDS[word.lower()] for word in words if word.lower() in SPLIT_WORDS), "train")


def _scan(place: int, shard: File, contents: _Contents) -> None:
    """Read the headers of a shard, and what is small enough to be a label."""
    try:
        with shard.open() as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            key, members, small = "", dict[str, Member](), dict[str, bytes]()
            for entry in archive:
                # The list that tarfile keeps of everything seen would grow with the shard.
                archive.members = []  # type: ignore[attr-defined]
                if entry.isdir():
                    continue
                _check(entry, shard)
                name = PurePosixPath(entry.name)
                base, _, ending = name.name.partition(".")
                if str(name.with_name(base)) != key:
                    _add(key, members, small, contents, shard)
                    key, members, small = str(name.with_name(base)), {}, {}
                suffix = f".{ending.lower()}"
                if suffix in members or suffix in small:
                    raise DataError(
                        "one file of each kind per sample", f"{entry.name} twice in {shard.label}", "Pack it again."
                    )
                if suffix in (".cls", ".json", ".txt") and entry.size <= _SMALL:
                    content = archive.extractfile(entry)
                    small[suffix] = content.read() if content is not None else b""
                else:
                    members[suffix] = Member(place, suffix, entry.offset_data, entry.size)
            _add(key, members, small, contents, shard)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            "a complete, uncompressed tar", f"{shard.label}: {error}", "Pack or download it again."
        ) from error


def _check(entry: tarfile.TarInfo, shard: File) -> None:
    check_readable_name(entry.name)
    if not entry.isreg() or entry.issparse():
        raise DataError("shards of plain files", f"{entry.name!r} in {shard.label}, a link or device", "Pack it again.")
    if entry.size > MAX_FILE_BYTES or entry.offset_data + entry.size > shard.size:
        raise DataError(
            "a complete tar with files of at most 1 GiB",
            f"{shard.label}, whose file {entry.name!r} has {entry.size} bytes",
            "It is cut off or damaged: pack or download it again.",
        )


def _add(key: str, members: dict[str, Member], small: dict[str, bytes], contents: _Contents, shard: File) -> None:
    if not members and not small:
        return
    masks = [member for suffix, member in members.items() if suffix.split(".")[1] in _MASKS]
    inputs = [m for s, m in members.items() if m not in masks and file_kind(s) is not None]
    if len(inputs) != 1 or len(masks) > 1:
        kinds = ", ".join((*members, *small))
        raise DataError(
            "one input per sample, of a kind that holds a sample",
            f"{key} in {shard.label} with {kinds}",
            "Keep one input and at most one mask of the same name.",
        )
    contents.names.append(f"{key}{inputs[0].suffix}")
    contents.inputs.append(inputs[0])
    contents.masks += [member._replace(suffix=f".{member.suffix.split('.', 2)[2]}") for member in masks]
    try:
        contents.classes.append(small.get(".cls", b"").decode("utf-8").strip())
        read = json.loads(small.get(".json", b"{}"))
    except ValueError as error:
        raise DataError("labels in UTF-8 and JSON", f"{key} in {shard.label}: {error}", "Pack it again.") from error
    contents.facts.append(read if isinstance(read, dict) else {})


def _guessed(contents: dict[str, _Contents], shards: Sequence[File], label: str) -> ShardFacts:
    """What shards without a dataset.json are: masks if they have them, and otherwise classes."""
    train = contents["train"]
    if train.masks:
        seen: set[int] = set()
        every = [member for one in contents.values() for member in one.masks]
        for ids in each(lambda member: np.unique(decode_mask(_file(shards, member, label)).ids.numpy()), every):
            if isinstance(ids, DataError):
                raise ids
            seen.update(ids.tolist())
        table = found_classes(seen, None, f"masks of {label}")
        return ShardFacts("segmentation", table.names, label_ids=table.ids)
    if not all(train.classes):
        name = train.names[train.classes.index("")]
        raise DataError(
            "a class (.cls) or a mask (.mask.png) for every sample, or a dataset.json",
            f"{name} of {label} without",
            "Pack the set again with striate pack.",
        )
    whole = all(word.isdecimal() and len(word) < 10 for word in train.classes)
    words = sorted(set(train.classes), key=int if whole else str)
    return ShardFacts("classification", tuple(words))


def _targets(
    facts: ShardFacts, contents: dict[str, _Contents], label: str
) -> tuple[dict[str, torch.Tensor | None], tuple[str, ...]]:
    if facts.task == "segmentation":
        for one in contents.values():
            if len(one.masks) != len(one.names):
                raise DataError(
                    "a mask for every sample",
                    f"{label} with {len(one.names)} samples and {len(one.masks)} masks",
                    "Pack the set again.",
                )
        return dict.fromkeys(contents), facts.classes
    if facts.task in ("classification", "verification"):
        place = {name: index for index, name in enumerate(facts.classes)}
        found: dict[str, torch.Tensor | None] = {}
        for split, one in contents.items():
            wrong = next((index for index, word in enumerate(one.classes) if word not in place), None)
            if wrong is not None:
                raise DataError(
                    f"classes among the {len(place)} declared",
                    f"{one.classes[wrong]!r} of {one.names[wrong]} in {label}",
                    "Correct the label, or declare the class in dataset.json.",
                )
            found[split] = torch.tensor([place[word] for word in one.classes], dtype=torch.int64)
        return found, facts.classes
    rows = {}
    for split, one in contents.items():
        values = [read.get("targets") for read in one.facts]
        for index, row in enumerate(values):
            numbers = isinstance(row, list) and all(type(number) in (int, float) for number in row)
            if not numbers or len(row or ()) != len(facts.classes):
                raise DataError(
                    f"{len(facts.classes)} numbers as targets in .json",
                    f"{one.names[index]} in {label} with {row!r}",
                    "Pack the set again.",
                )
        rows[split] = torch.tensor(values, dtype=torch.float32)
    return dict(rows), facts.classes


def _groups(contents: dict[str, _Contents], label: str) -> dict[str, torch.Tensor]:
    known = [read.get("group") for one in contents.values() for read in one.facts]
    if not any(group is not None for group in known):
        return {}
    if any(type(group) is not int for group in known):
        raise DataError("a whole number as the group of every sample or of none", label, "Pack the set again.")
    _, numbers = identities({"all": np.array(known)}, None, label)
    ends = np.cumsum([len(one.names) for one in contents.values()])[:-1].tolist()
    return dict(zip(contents, numbers["all"].tensor_split(ends), strict=True))


def _decoder(facts: ShardFacts, options: ReadOptions) -> Decoder:
    given = {name: value for name, value in {**facts.reading, **options.own}.items() if value is not None}
    layout = options.layout or facts.layout
    return Decoder(options.channels, options.image_size, options.fit, {**given, "layout": layout})


def _of_kinds(contents: dict[str, _Contents], decoder: Decoder) -> dict[str, Any]:
    """The options of the kinds of files in the shards, for new files to be read alike."""
    suffixes = {member.suffix for one in contents.values() for member in one.inputs}
    known = [option for kind in file_kinds() if suffixes & set(kind.suffixes) for option in kind.options]
    return {
        option.name: decoder.options.get(option.name, option.default) for option in known if option.name != "layout"
    }


def _file(shards: Sequence[File], member: Member, name: str) -> File:
    shard = shards[member.shard]
    try:
        with shard.open() as stream:
            stream.seek(member.offset)
            content = stream.read(member.size)
    except OSError as error:
        raise DataError("a shard that can be read", f"{shard.label}: {error}", "Check the disk it lies on.") from error
    if len(content) != member.size:
        raise DataError(
            "a shard as it was when the data set was opened", shard.label, "Do not change it while it is in use."
        )
    return File(f"{name.partition('.')[0]}{member.suffix}", f"{shard.label}/{name}", member.size, content)


@dataclass(frozen=True)
class ShardItems:
    """Samples inside shards, as `Items`."""

    shards: tuple[File, ...]
    names: tuple[str, ...]
    inputs: tuple[Member, ...]
    masks: tuple[Member, ...]
    decoder: Decoder
    lookup: Lookup | None
    input_kind: str

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The sample's name within its shard."""
        return self.names[index]

    def decode(self, index: int) -> Item:
        """Decode a sample. Raises `DamagedFileError` if it is broken, or its mask does not fit it."""
        name = self.names[index]
        file = _file(self.shards, self.inputs[index], name)
        if self.input_kind == "tokens":
            tokens = read_npy(io.BytesIO(file.read()), file.size, file.label, lambda count, label: None)
            return Item(torch.from_numpy(tokens.astype(np.int64)))
        if self.lookup is None:
            decoded = self.decoder(file)
            return Item(decoded.inputs, None, decoded.value_scale, decoded.stored_size)
        return self._with_mask(index, file, self.lookup)

    def _with_mask(self, index: int, file: File, lookup: Lookup) -> Item:
        # Not before both are known to fit each other may either be resized.
        decoded = replace(self.decoder, image_size=None)(file)
        mask = lookup(decode_mask(_file(self.shards, self.masks[index], self.names[index])), file.label)
        if tuple(mask.shape) != decoded.stored_size:
            raise DamagedFileError(
                "an input and a mask of one size",
                f"{file.label} of {decoded.stored_size} with a mask of {tuple(mask.shape)}",
                "Pack the set again.",
            )
        goal = target_size(self.decoder.image_size, mask.ndim)
        inputs, mask = fit_pair(decoded.inputs, mask, goal, self.decoder.fit, lookup.fill)
        return Item(inputs, mask, decoded.value_scale, decoded.stored_size)
