"""IDX files as MNIST, Fashion-MNIST, KMNIST and EMNIST are distributed, gzipped or plain.

A file is two zero bytes, a byte for the type, a byte for the number of axes, one big-endian 32-bit size per axis, and
the values, big-endian. Images and labels are told apart by name: ``train-images-idx3-ubyte.gz`` with
``train-labels-idx1-ubyte.gz``, the test part with ``t10k`` or ``test`` for ``train``, and possibly a name before that
(``emnist-letters-train-...``). A file ``classes.txt`` beside them, one name per line, names the classes.

Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits, 1998, section File formats.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from striate.data.class_names import read_class_names
from striate.data.labels import check_counts, index_labels
from striate.data.layout import as_samples
from striate.data.reader import SPLIT_WORDS, ArrayPart, Collection, ReadOptions, numbered
from striate.data.source import Source, siblings
from striate.errors import DataError

if TYPE_CHECKING:
    from striate.data.file import File
    from striate.data.limits import Budget
    from striate.data.options import Option

_NAME = re.compile(r"(?P<prefix>.*?)(?P<content>images|labels)[-.]idx\d-ubyte(?P<gz>\.gz)?", re.IGNORECASE)

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, slots=True)
class _Pair:
    images: File
    labels: File


class IdxReader:
    """Reads a folder of IDX files, the beginning of their names, or one pair."""

    kind = "idx"
    summary = "IDX files such as train-images-idx3-ubyte.gz with train-labels-idx1-ubyte.gz"
    options: tuple[Option, ...] = ()

    def recognises(self, source: Source) -> str | None:
        """Recognise the names of IDX image files."""
        found = [
            file.base for file in source.files if (match := _NAME.fullmatch(file.base)) and match["content"] == "images"
        ]
        return f"an IDX file of images, {found[0]}" if found else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read images and labels. Raises `DataError` for a wrong magic number, damage, or counts that differ."""
        pairs = _pairs(source)
        images = {split: read_idx(pair.images, options.budget) for split, pair in pairs.items()}
        labels = {split: read_idx(pair.labels, options.budget) for split, pair in pairs.items()}
        for split, pair in pairs.items():
            check_counts(len(images[split]), len(labels[split]), pair.images.label, pair.labels.label)
        names = source.find("classes.txt")
        known = read_class_names(names) if names else None
        classes, indices = index_labels(labels, known, {split: pair.labels.label for split, pair in pairs.items()})
        parts = {
            split: ArrayPart(
                as_samples(images[split], options.layout, pair.images.label), indices[split], numbered(pair.images.base)
            )
            for split, pair in pairs.items()
        }
        scale = 255.0 if all(image.dtype == np.uint8 for image in images.values()) else 1.0
        used = {file.name for pair in pairs.values() for file in (pair.images, pair.labels)}
        ignored = tuple(f.name for f in source.files if f.name not in used and f.name != "classes.txt")
        return Collection(self.kind, classes, parts, scale, ignored if source.form in ("folder", "archive") else ())


def _pairs(source: Source) -> dict[str, _Pair]:
    files = siblings(Path(source.label)) if source.form == "file" else source.files
    found: dict[tuple[str, str], dict[str, File]] = {}
    for file in files:
        match = _NAME.fullmatch(file.base)
        if match:
            contents = found.setdefault((file.folder, match["prefix"]), {})
            # An unpacked copy wins over the archive that torchvision leaves beside it.
            if match["content"] not in contents or not match["gz"]:
                contents[match["content"].lower()] = file
    if source.form == "file":
        match = _NAME.fullmatch(source.files[0].base)
        found = {key: contents for key, contents in found.items() if match and key == ("", match["prefix"])}
    pairs: dict[str, _Pair] = {}
    chosen: dict[str, str] = {}
    for (folder, prefix), contents in sorted(found.items()):
        beginning, split = _split_of(prefix)
        name = f"{folder}/{beginning}" if folder else beginning
        if set(contents) != {"images", "labels"}:
            alone = next(iter(contents.values()))
            other = "labels" if "images" in contents else "images"
            raise DataError(
                "IDX files in pairs of images and labels",
                f"{alone.label} without its {other}",
                f"Put its {other} beside it, under the same name with {other!r}.",
            )
        if split in pairs:
            raise DataError(
                "one IDX data set",
                f"{source.label} with both {chosen[split] or 'train'!r} and {name or 'train'!r}",
                "Give the folder followed by the beginning of the names of one of them.",
            )
        pairs[split], chosen[split] = _Pair(contents["images"], contents["labels"]), name
    if "train" not in pairs:
        raise DataError(
            "an IDX file of training images", f"{source.label} with only {', '.join(pairs)}", "Add the train files."
        )
    return pairs


def _split_of(prefix: str) -> tuple[str, str]:
    words = [word for word in re.split(r"[-_.]", prefix) if word]
    if words and words[-1].lower() in SPLIT_WORDS:
        return "-".join(words[:-1]), SPLIT_WORDS[words[-1].lower()]
    return "-".join(words), "train"


def read_idx(file: File, budget: Budget) -> npt.NDArray[Any]:
    """Read one IDX file, gzipped or plain, in the byte order of this machine.

    The size that the header gives is taken from the budget before anything is inflated, and no more than that is read.
    Raises `DataError` for a wrong magic number, a file that is cut off or too long, or damage.
    """
    try:
        with file.open() as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if zipped else raw
            return _read_stream(stream, file.label, budget)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError("a complete IDX file", f"{file.label}: {error}", "Download it again.") from error


def _read_stream(stream: BinaryIO, label: str, budget: Budget) -> npt.NDArray[Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 5:
        raise DataError(
            "an IDX file, which begins with two zero bytes, a type and 1 to 5 axes",
            f"{label}, which begins with 0x{magic.hex()}",
            "Check that it is the file its name says, and download it again.",
        )
    dtype, axes = np.dtype(_TYPES[magic[2]]), magic[3]
    header = stream.read(4 * axes)
    if len(header) < 4 * axes:
        raise DataError("a complete IDX file", f"{label}, cut off within its header", "Download it again.")
    shape = struct.unpack(f">{axes}I", header)
    expected = math.prod(shape) * dtype.itemsize
    budget.take(expected, label)
    data = stream.read(expected + 1)
    if len(data) != expected:
        raise DataError(
            f"{expected} bytes of values, for the shape {shape} in the header",
            f"{label} with {'more' if len(data) > expected else len(data)}",
            "The file is cut off or damaged: download it again.",
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
