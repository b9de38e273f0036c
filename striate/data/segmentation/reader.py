"""Images with masks: a folder of images beside a folder of masks, paired by name, in two or three dimensions.

The folders are called ``images`` and ``masks`` or ``labels`` (or ``imagesTr`` and ``labelsTr``), with ``train``,
``val`` and ``test`` above or below them if the source has parts. A mask has the name of its image, whatever the
extension, and perhaps ``_mask``, ``_label``, ``_seg`` or ``_gt`` behind it. Classes are declared in ``classes.csv`` or
``classes.txt`` beside the folders (see `masks`), or found: whole numbers from 0, or 0 and 255.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from striate.data.conversion import convert_channels, target_size
from striate.data.file import File, file_on_disk, is_file
from striate.data.file_kinds import DamagedFileError, file_kind, holds_sample
from striate.data.file_names import NAME_OPTIONS, Names
from striate.data.items import Item, ItemCollection, ItemPart
from striate.data.options import Option, one_of, resolve, text, whole_number
from striate.data.reader import SPLIT_WORDS, SPLITS, Collection, ReadOptions
from striate.data.segmentation.masks import (
    ClassTable,
    Lookup,
    Mask,
    decode_mask,
    fit_pair,
    found_classes,
    read_class_table,
    resize_nearest,
)
from striate.data.segmentation.tiles import TILE_OPTIONS, tiling
from striate.data.subjects import number_over_parts
from striate.data.threads import each
from striate.data.volumes.nifti import NIFTI, read_nifti
from striate.data.volumes.tiff_pages import decode_pages
from striate.data.volumes.volume import SPACING, resampled, resampled_size
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch

    from striate.data.source import Source

_IMAGES = {"image": "", "images": "", "imgs": "", "imagestr": "train", "imagests": "test"}
_MASKS = {
    "mask": "",
    "masks": "",
    "label": "",
    "labels": "",
    "annotations": "",
    "segmentations": "",
    "labelstr": "train",
    "labelsts": "test",
}
_ENDING = re.compile(r"[-_.](masks?|labels?|seg|segmentation|gt|img|image|0000)$", re.IGNORECASE)
_TABLES = ("classes.csv", "classes.txt")


class _Pair(NamedTuple):
    image: File
    mask: File


class SegmentationReader:
    """Reads folders of images and of masks."""

    kind = "segmentation"
    summary = "a folder with images/ and masks/ (or labels/) whose files have the same names"
    options = (
        Option("classes", None, "a file with one class a line: name, or name,id,colour", *text()),
        Option("void", None, "the label id of positions that are ignored", *whole_number(0, 2**24)),
        *TILE_OPTIONS,
        *NAME_OPTIONS,
        SPACING,
        Option("pages", "first", "what of a TIFF file is read: its first page, or all", *one_of("first", "volume")),
    )

    def recognises(self, source: Source) -> str | None:
        """Recognise the two folders by their names and the files in them."""
        if source.form not in ("folder", "archive"):
            return None
        found = {kind: folder for file in source.files if (placed := _place(file)) for kind, folder in [placed[1:3]]}
        return f"a folder {found['image']} beside {found['mask']}" if len(found) == 2 else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Pair the files and decode all of them once.

        Raises `DataError` for images without a mask and masks without an image, sizes that differ, and label ids that
        are no class.
        """
        found = self.items(source, options)
        items = found.parts["train"].items
        own = options.own
        if not isinstance(items, Pairs) or own["patch"] is None:
            return found.open(options, source.label)
        rank = decode_mask(items.pairs[0].mask, own["pages"]).ids.ndim
        return found.open(options, source.label, tiling(own, rank), items.lookup.fill)

    def items(self, source: Source, options: ReadOptions) -> ItemCollection:
        """Pair the files without decoding images. Raises `DataError` as `read` does, but not for what is in images."""
        own = options.own
        names = Names(own)
        pairs, ignored = _pairs(source, names)
        table_file = _table_file(source, own["classes"])
        every = [pair for several in pairs.values() for pair in several]
        table = read_class_table(table_file) if table_file else _scan(every, own, source.label, options.skip_corrupt)
        lookup = Lookup(table, own["void"])
        groups = _groups(pairs, names, source.label, tiled=own["patch"] is not None)
        rest = Collection(
            self.kind,
            lookup.names,
            {},
            ignored=tuple(name for name in ignored if table_file is None or name != table_file.name),
            task="segmentation",
            void=lookup.void,
            normalise="sample" if every[0].image.suffix in NIFTI.suffixes else "dataset",
            reading={"label_ids": list(table.without(own["void"]).ids)},
        )
        parts = {
            split: ItemPart(Pairs(tuple(several), lookup, options), None, groups.get(split))
            for split, several in pairs.items()
        }
        return ItemCollection(parts, rest)


def _place(file: File) -> tuple[str, str, str, str] | None:
    """The part of a file, whether it is an image or a mask, the folder that says so, and what pairs it."""
    if not holds_sample(file):
        return None
    *folders, base = PurePosixPath(file.name).parts
    for place, folder in enumerate(folders):
        word = folder.lower()
        if word in _IMAGES or word in _MASKS:
            kind = "image" if word in _IMAGES else "mask"
            split = (_IMAGES if kind == "image" else _MASKS)[word]
            rest = folders[:place] + folders[place + 1 :]
            named = next((name for name in rest if name.lower() in SPLIT_WORDS), None)
            if named is not None:
                split = split or SPLIT_WORDS[named.lower()]
                rest.remove(named)
            return split or "train", kind, folder, "/".join((*rest, base[: len(base) - len(file.suffix)]))
    return None


def _pairs(source: Source, names: Names) -> tuple[dict[str, list[_Pair]], list[str]]:
    images: dict[str, dict[str, File]] = {}
    masks: dict[str, dict[str, File]] = {}
    ignored = []
    left_out: set[tuple[str, str]] = set()
    for file in source.files:
        placed = _place(file)
        if placed is None:
            ignored.append(file.name)
            continue
        split, kind, _, key = placed
        if kind == "image" and not names.take(_bare(file)):
            left_out.add((split, _ENDING.sub("", key)))
            continue
        known = (images if kind == "image" else masks).setdefault(split, {})
        if key in known:
            raise DataError(
                f"one {kind} of each name",
                f"{known[key].name} and {file.name} in {source.label}",
                "Keep one of them, or put them into folders of their own.",
            )
        known[key] = file
    pairs: dict[str, list[_Pair]] = {}
    for split in SPLITS:
        if split in images and split in masks:
            wanted = {k: f for k, f in masks[split].items() if (split, _ENDING.sub("", k)) not in left_out}
            for pair in _paired(images[split], wanted, source.label):
                told = names.read(_bare(pair.image)).split if names.tell_splits else None
                pairs.setdefault(told or split, []).append(pair)
        else:
            # Images to be predicted, as test parts of competitions are.
            ignored += [file.name for file in (images.get(split) or masks.get(split) or {}).values()]
    if "train" not in pairs:
        raise DataError(
            "images with masks to train on",
            f"{source.label} with {', '.join(pairs) or 'none'} only",
            "Name the part train, or leave the parts out.",
        )
    return pairs, ignored


def _paired(images: Mapping[str, File], masks: Mapping[str, File], label: str) -> list[_Pair]:
    if not set(images) <= set(masks):
        # Exact names first: a trimmed one may belong to two.
        images = {_ENDING.sub("", key): file for key, file in images.items()}
        masks = {_ENDING.sub("", key): file for key, file in masks.items()}
    without = [file.name for key, file in images.items() if key not in masks]
    lonely = [file.name for key, file in masks.items() if key not in images]
    for names, what, other in ((without, "a mask", "image"), (lonely, "an image", "mask")):
        if names:
            raise DataError(
                f"{what} for every {other}, of the same name",
                f"{names[0]} of {label} without one, {len(names)} such in all",
                f"Add {what}, or remove the {other}.",
            )
    return [_Pair(file, masks[key]) for key, file in sorted(images.items())]


def _table_file(source: Source, given: str | None) -> File | None:
    if given is None:
        return next((file for name in _TABLES if (file := source.find(name)) is not None), None)
    found = source.find(given)
    if found is None and not is_file(Path(given)):
        raise DataError("a file of classes that exists", f"classes={given!r}", "Name one beside images and masks.")
    return found or file_on_disk(Path(given), given)


def _scan(pairs: list[_Pair], own: Mapping[str, Any], label: str, skip_corrupt: bool) -> ClassTable:
    seen: set[int] = set()

    def ids(pair: _Pair) -> list[int]:
        mask = decode_mask(pair.mask, own["pages"])
        if mask.coloured:
            # Says what is missing.
            Lookup(ClassTable((), ()), 0)(mask, pair.mask.label)
        return [int(number) for number in np.unique(mask.ids.numpy())]

    for found in each(ids, pairs):
        if isinstance(found, DataError):
            if skip_corrupt and isinstance(found, DamagedFileError):
                continue
            raise found
        seen.update(found)
    return found_classes(seen, own["void"], f"masks of {label}")


def _groups(pairs: Mapping[str, list[_Pair]], names: Names, label: str, tiled: bool) -> dict[str, torch.Tensor]:
    listed = {split: [pair.image for pair in several] for split, several in pairs.items()}
    told = number_over_parts({s: [names.read(_bare(f)).subject for f in files] for s, files in listed.items()}, label)
    # The tiles of an image belong to one part.
    return told or (
        number_over_parts({s: [f.name for f in files] for s, files in listed.items()}, label) if tiled else {}
    )


def _bare(file: File) -> str:
    return file.name[: len(file.name) - len(file.suffix)]


@dataclass(frozen=True)
class Pairs:
    """Images and their masks as `Items`: decoded, compared, and brought to the channels and size asked for."""

    pairs: tuple[_Pair, ...]
    lookup: Lookup
    wanted: ReadOptions

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """The image's name."""
        return self.pairs[index].image.name

    def decode(self, index: int) -> Item:
        """Decode a pair. Raises `DamagedFileError` if either is broken or they do not fit each other."""
        pair, own = self.pairs[index], self.wanted.own
        mask = decode_mask(pair.mask, own["pages"], self.lookup.coloured)
        inputs, value_scale, size = _image(pair.image, own, mask)
        if tuple(mask.ids.shape) != size:
            raise DamagedFileError(
                "an image and a mask of one size",
                f"{pair.image.label} of {_sized(size)} and {pair.mask.label} of {_sized(mask.ids.shape)}",
                "Save the mask at the size of its image.",
            )
        indices = resize_nearest(self.lookup(mask, pair.mask.label), tuple(inputs.shape[1:]))
        inputs = convert_channels(inputs[None], self.wanted.channels, pair.image.label)[0]
        goal = target_size(self.wanted.image_size, indices.ndim)
        inputs, indices = fit_pair(inputs, indices, goal, self.wanted.fit, self.lookup.fill)
        return Item(inputs, indices, value_scale, size)


def _image(file: File, own: Mapping[str, Any], mask: Mask) -> tuple[torch.Tensor, float, tuple[int, ...]]:
    """An image at the spacing asked for, full white, and its size as stored."""
    if file.suffix in NIFTI.suffixes:
        volume = read_nifti(file)
        if mask.spacing is not None and not np.allclose(volume.spacing, mask.spacing, rtol=1e-2):
            raise DamagedFileError(
                "an image and a mask of one spacing",
                f"{file.label} with {_sized(volume.spacing)} mm and its mask with {_sized(mask.spacing)}",
                "Resample the mask to its image.",
            )
        size = tuple(volume.values.shape[1:])
        resampled_size(volume, own["spacing"], file.label)
        return resampled(volume, own["spacing"], file.label), 1.0, size
    if own["pages"] == "volume" and file.suffix in (".tif", ".tiff"):
        inputs, value_scale = decode_pages(file)
    else:
        kind = file_kind(file.suffix)
        if kind is None:
            raise DataError("a file of a kind that holds a sample", file.label, "Convert it to one of them.")
        inputs, value_scale = kind.decode(file, resolve({}, kind.options, kind.name))
    return inputs, value_scale, tuple(inputs.shape[1:])


def _sized(lengths: Iterable[float]) -> str:
    return " x ".join(f"{length:g}" for length in lengths)
