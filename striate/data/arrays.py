"""NumPy arrays: an .npz file, a folder of .npy files, or one .npy file with its labels beside it.

Samples and labels are found by name: ``x``/``y``, ``X``/``y``, ``images``/``labels``, ``data``/``labels``,
``data``/``target`` or ``inputs``/``targets``; ``train``, ``val`` or ``test`` may stand before (MedMNIST:
``train_images``) or after (Keras: ``x_train``), joined by ``_``. An array ``classes`` of texts names the classes, and a
text ``layout`` in an .npz names the axes (see `layout`). One file ``x.npy`` has its labels in ``y.npy`` by the same
pairs, and ``walks.npy`` in ``walks_labels.npy``. Objects are never read, so nothing is unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from striate.data.class_names import check_class_names
from striate.data.labels import check_counts, index_labels, texts
from striate.data.layout import as_samples, check_layout, find_layout
from striate.data.npy import read_npy
from striate.data.reader import SPLIT_WORDS, ArrayPart, Collection, ReadOptions, numbered
from striate.data.source import Source, siblings
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from striate.data.file import File
    from striate.data.limits import Budget
    from striate.data.options import Option

PAIRS = (
    ("x", "y"),
    ("X", "y"),
    ("images", "labels"),
    ("data", "labels"),
    ("data", "target"),
    ("inputs", "targets"),
)
"""The names of samples and of their labels."""


class _Arrays(Protocol):
    names: frozenset[str]

    def get(self, name: str) -> npt.NDArray[Any]: ...

    def label(self, name: str) -> str: ...


class NpzReader:
    """Reads an .npz file by the documented names."""

    kind = "npz"
    summary = "an .npz file with x and y, images and labels, train_images and train_labels, x_train and y_train"
    options: tuple[Option, ...] = ()

    def recognises(self, source: Source) -> str | None:
        """Recognise the extension."""
        return "an .npz file" if source.form == "file" and source.files[0].suffix == ".npz" else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the arrays. Raises `DataError` for damage, missing names, and counts that differ."""
        arrays = _Npz(source.files[0], options.budget)
        return _collection(self.kind, source, arrays, _find_pairs(arrays.names, source.label), options)


class NpyReader:
    """Reads a folder of .npy files, or one of them with its labels beside it."""

    kind = "npy"
    summary = "a folder with x_train.npy, y_train.npy and so on, or one x.npy with y.npy beside it"
    options: tuple[Option, ...] = ()

    def recognises(self, source: Source) -> str | None:
        """Recognise the extension, and in a folder the documented names at its top."""
        if source.form == "file":
            return "an .npy file" if source.files[0].suffix == ".npy" else None
        names = _npy_names(source.files)
        return "arrays named by the documented pairs" if _pairs_among(names) else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the arrays. Raises `DataError` for damage, missing labels, and counts that differ."""
        if source.form != "file":
            arrays = _Npys(source.files, options.budget)
            return _collection(self.kind, source, arrays, _find_pairs(arrays.names, source.label), options)
        arrays = _Npys(siblings(Path(source.label).expanduser()), options.budget)
        stem = source.files[0].name[: -len(".npy")]
        labels = _labels_beside(stem, arrays.names)
        if labels is None:
            raise DataError(
                f"labels beside {source.label}",
                "no file of such a name",
                f"Save them as {stem}_labels.npy in the same folder.",
            )
        return _collection(self.kind, source, arrays, {"train": (stem, labels)}, options)


class _Npz:
    def __init__(self, file: File, budget: Budget) -> None:
        self._file, self._budget = file, budget
        try:
            with file.open() as stream, zipfile.ZipFile(stream) as archive:
                self.names = frozenset(n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy"))
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise _damaged(file.label, error) from error

    def label(self, name: str) -> str:
        return f"{self._file.label}[{name}]"

    def get(self, name: str) -> npt.NDArray[Any]:
        try:
            with self._file.open() as stream, zipfile.ZipFile(stream) as archive:
                member = archive.getinfo(f"{name}.npy")
                with archive.open(member) as content:
                    # The size noted in the archive is as much as it will ever inflate.
                    return read_npy(content, member.file_size, self.label(name), self._budget.take)  # type: ignore[arg-type]
        except DataError:
            raise
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
            raise _damaged(self.label(name), error) from error


class _Npys:
    def __init__(self, files: Iterable[File], budget: Budget) -> None:
        self._files = {name: file for file in files if (name := _npy_name(file)) is not None}
        self._budget = budget
        self.names = frozenset(self._files)

    def label(self, name: str) -> str:
        return self._files[name].label

    def get(self, name: str) -> npt.NDArray[Any]:
        file = self._files[name]
        with file.open() as stream:
            return read_npy(stream, file.size, file.label, self._budget.take)


def _damaged(label: str, error: Exception) -> DataError:
    return DataError("a complete .npz file", f"{label}: {error}", "Write or download it again.")


def _npy_name(file: File) -> str | None:
    return file.name[: -len(".npy")] if file.suffix == ".npy" and "/" not in file.name else None


def _npy_names(files: Iterable[File]) -> frozenset[str]:
    return frozenset(name for file in files if (name := _npy_name(file)) is not None)


def _labels_beside(stem: str, names: frozenset[str]) -> str | None:
    for _, pair in _spellings():
        if pair[0] == stem and pair[1] in names:
            return pair[1]
    return f"{stem}_labels" if f"{stem}_labels" in names else None


def _spellings() -> Iterable[tuple[str, tuple[str, str]]]:
    for inputs, labels in PAIRS:
        yield "", (inputs, labels)
        for word in SPLIT_WORDS:
            yield word, (f"{word}_{inputs}", f"{word}_{labels}")
            yield word, (f"{inputs}_{word}", f"{labels}_{word}")


def _pairs_among(names: frozenset[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for word, pair in _spellings():
        if set(pair) <= names:
            found.setdefault(SPLIT_WORDS.get(word, "all"), pair)
    return found


def _find_pairs(names: frozenset[str], label: str) -> dict[str, tuple[str, str]]:
    found = _pairs_among(names)
    if "train" not in found and "all" in found:
        # One pair without a split; a stray validation or test array beside it keeps its meaning.
        found["train"] = found["all"]
    found.pop("all", None)
    if "train" not in found:
        shown = ", ".join(sorted(names)[:10]) or "nothing"
        raise DataError(
            "arrays named x and y, images and labels, train_images and train_labels, or x_train and y_train",
            f"{label} with {shown}",
            "Save the arrays under such names.",
        )
    return found


def _collection(
    kind: str, source: Source, arrays: _Arrays, pairs: Mapping[str, tuple[str, str]], options: ReadOptions
) -> Collection:
    layout = options.layout
    if layout is None and source.form == "file" and kind == "npz" and "layout" in arrays.names:
        words = texts(arrays.get("layout").reshape(-1), arrays.label("layout")).tolist()
        layout = check_layout(words[0] if len(words) == 1 else words)
    inputs = {}
    labels = {}
    for split, (images, targets) in pairs.items():
        values, classes = arrays.get(images), arrays.get(targets)
        if values.dtype.kind not in "biuf" or values.ndim == 0:
            raise DataError("an array of numbers", f"{arrays.label(images)} of dtype {values.dtype}", "Save numbers.")
        check_counts(len(values), len(classes) if classes.ndim else 0, arrays.label(images), arrays.label(targets))
        if layout is None:
            layout = find_layout(values.shape, arrays.label(images))
        inputs[split], labels[split] = as_samples(values, layout, arrays.label(images)), classes
    names = None
    if "classes" in arrays.names:
        names = [str(name) for name in texts(arrays.get("classes").reshape(-1), arrays.label("classes")).tolist()]
        check_class_names(names, arrays.label("classes"))
    known, indices = index_labels(labels, names, {split: arrays.label(pair[1]) for split, pair in pairs.items()})
    parts = {split: ArrayPart(inputs[split], indices[split], numbered(images)) for split, (images, _) in pairs.items()}
    scale = 255.0 if inputs["train"].dtype == torch.uint8 else 1.0
    return Collection(kind, known, parts, scale)
