"""CIFAR-10 and CIFAR-100 as distributed: the binary version and the Python version, as folders or as the .tar.gz.

Images are 3x32x32, channel by channel. A binary record is the label (two for CIFAR-100, coarse and fine; fine is used)
and 3072 bytes. The Python version is a pickle, which is read without unpickling (see `pickles`).

Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009, and its web page.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.data.class_names import check_class_names, read_class_names
from striate.data.images.pickles import read_pickle
from striate.data.labels import check_counts, index_labels
from striate.data.layout import as_samples
from striate.data.reader import ArrayPart, Collection, ReadOptions
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from striate.data.file import File
    from striate.data.limits import Budget
    from striate.data.options import Option
    from striate.data.source import Source

_SHAPE = (3, 32, 32)
_PIXELS = 3072

_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


class CifarBinaryReader:
    """Reads ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, or ``train.bin`` and ``test.bin``."""

    kind = "cifar-binary"
    summary = "CIFAR-10 or CIFAR-100, binary version (data_batch_1.bin ... or train.bin, test.bin)"
    options: tuple[Option, ...] = ()

    def recognises(self, source: Source) -> str | None:
        """Recognise the names of the files."""
        names = {file.name for file in source.files}
        if {"data_batch_1.bin", "test_batch.bin"} & names:
            return "the binary batches of CIFAR-10"
        if {"train.bin", "test.bin", "fine_label_names.txt"} <= names:
            return "the binary files of CIFAR-100"
        return None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read all records. Raises `DataError` for missing or cut-off files and labels out of range."""
        ten = source.find("train.bin") is None
        names = read_class_names(_need(source, "batches.meta.txt" if ten else "fine_label_names.txt"))
        parts = _parts(source, ".bin") if ten else {"train": ("train.bin",), "test": ("test.bin",)}
        read = {
            split: [_records(_need(source, name), 1 if ten else 2, options.budget) for name in files]
            for split, files in parts.items()
        }
        return _collection(self.kind, source, names, parts, read)


class CifarPythonReader:
    """Reads ``data_batch_1`` to ``data_batch_5`` and ``test_batch``, or ``train`` and ``test``, which are pickles."""

    kind = "cifar-python"
    summary = "CIFAR-10 or CIFAR-100, Python version (data_batch_1 ... or train, test)"
    options: tuple[Option, ...] = ()

    def recognises(self, source: Source) -> str | None:
        """Recognise the names of the files."""
        names = {file.name for file in source.files}
        if {"data_batch_1", "test_batch"} & names:
            return "the Python batches of CIFAR-10"
        if {"train", "test", "meta"} <= names:
            return "the Python files of CIFAR-100"
        return None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read all batches. Raises `DataError` for missing, damaged or unsafe files and labels out of range."""
        ten = source.find("train") is None
        meta = _need(source, "batches.meta" if ten else "meta")
        key = "label_names" if ten else "fine_label_names"
        names = _pickle(meta, options.budget).get(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"a list of class names under {key}", meta.label, "Download the data set again.")
        check_class_names(names, meta.label)
        parts = _parts(source, "") if ten else {"train": ("train",), "test": ("test",)}
        labels = "labels" if ten else "fine_labels"
        read = {
            split: [_batch(_need(source, name), labels, options.budget) for name in files]
            for split, files in parts.items()
        }
        return _collection(self.kind, source, tuple(names), parts, read)


def _parts(source: Source, suffix: str) -> dict[str, tuple[str, ...]]:
    return {"train": tuple(name + suffix for name in _BATCHES), "test": (f"test_batch{suffix}",)}


def _need(source: Source, name: str) -> File:
    file = source.find(name)
    if file is None:
        raise DataError(f"all files of CIFAR, {name} among them", f"{source.label} without it", "Download it again.")
    return file


def _records(file: File, label_bytes: int, budget: Budget) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    record = label_bytes + _PIXELS
    if file.size % record or not file.size:
        raise DataError(
            f"whole records of {record} bytes",
            f"{file.label} of {file.size} bytes",
            "The file is cut off or damaged: download it again.",
        )
    budget.take(2 * file.size, file.label)
    records = np.frombuffer(file.read(), np.uint8).reshape(-1, record)
    return records[:, label_bytes:], records[:, label_bytes - 1]


def _pickle(file: File, budget: Budget) -> dict[str, Any]:
    # The bytes, the text they are read as, and the array made of it.
    budget.take(3 * file.size, file.label)
    with file.open() as stream:
        return read_pickle(stream, file.label)


def _batch(file: File, key: str, budget: Budget) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    found = _pickle(file, budget)
    data, labels = found.get("data"), found.get(key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        raise DataError(f"a uint8 array of rows of {_PIXELS} under data", file.label, "Download the data set again.")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 2**31 for label in labels):
        raise DataError(f"a list of whole numbers from 0 under {key}", file.label, "Download the data set again.")
    check_counts(len(data), len(labels), f"{file.label} (data)", f"{file.label} ({key})")
    return data, np.array(labels, np.int64)


def _collection(
    kind: str,
    source: Source,
    names: tuple[str, ...],
    files: Mapping[str, tuple[str, ...]],
    read: dict[str, list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]],
) -> Collection:
    labels = {split: np.concatenate([batch[1] for batch in batches]) for split, batches in read.items()}
    classes, indices = index_labels(labels, names, {split: f"{source.label} ({split})" for split in labels})
    parts = {}
    for split, batches in read.items():
        images = np.concatenate([batch[0] for batch in batches]).reshape(-1, *_SHAPE)
        names_of = _names([(file, len(batch[1])) for file, batch in zip(files[split], batches, strict=True)])
        parts[split] = ArrayPart(as_samples(images, "NCHW", source.label), indices[split], names_of)
    return Collection(kind, classes, parts, value_scale=255.0)


def _names(batches: list[tuple[str, int]]) -> Callable[[int], str]:
    starts = list(accumulate((count for _, count in batches), initial=0))

    def name(index: int) -> str:
        batch = bisect_right(starts, index) - 1
        return f"{batches[batch][0]}[{index - starts[batch]}]"

    return name
