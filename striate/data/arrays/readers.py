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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.data.arrays.parts import ARRAY_OPTIONS, INPUTS, collect_arrays
from striate.data.arrays.stored import StoredArray, stored_member, stored_npy
from striate.data.labels import texts
from striate.data.layout import check_layout
from striate.data.npy import read_npy
from striate.data.reader import SPLIT_WORDS, Collection, ReadOptions
from striate.data.source import Source, siblings
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from striate.data.file import File
    from striate.data.limits import Budget

PAIRS = (
    ("x", "y"),
    ("X", "y"),
    ("images", "labels"),
    ("data", "labels"),
    ("data", "target"),
    ("inputs", "targets"),
)
"""The names of samples and of their labels."""


class NpzReader:
    """Reads an .npz file by the documented names."""

    kind = "npz"
    summary = "an .npz file with x and y, images and labels, train_images and train_labels, x_train and y_train"
    options = ARRAY_OPTIONS

    def recognises(self, source: Source) -> str | None:
        """Recognise the extension."""
        return "an .npz file" if source.form == "file" and source.files[0].suffix == ".npz" else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the arrays. Raises `DataError` for damage, missing names, and counts that differ."""
        arrays = NpzArrays(source.files[0], options.budget)
        if options.layout is None and "layout" in arrays.names:
            words = texts(arrays.get("layout").reshape(-1), arrays.label("layout")).tolist()
            options = replace(options, layout=check_layout(words[0] if len(words) == 1 else words))
        pairs = _find_pairs(arrays.names, source.label, options.own.get("label"))
        return collect_arrays(self.kind, source.label, arrays, pairs, options)


class NpyReader:
    """Reads a folder of .npy files, or one of them with its labels beside it."""

    kind = "npy"
    summary = "a folder with x_train.npy, y_train.npy and so on, or one x.npy with y.npy beside it"
    options = ARRAY_OPTIONS

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
            pairs = _find_pairs(arrays.names, source.label, options.own.get("label"))
            return collect_arrays(self.kind, source.label, arrays, pairs, options)
        arrays = _Npys(siblings(Path(source.label).expanduser()), options.budget)
        stem = source.files[0].name[: -len(".npy")]
        labels = options.own.get("label") or _labels_beside(stem, arrays.names)
        if labels not in arrays.names:
            raise DataError(
                f"labels beside {source.label}",
                "no file of such a name",
                f"Save them as {stem}_labels.npy in the same folder.",
            )
        return collect_arrays(self.kind, source.label, arrays, {"train": (stem, labels)}, options)


class NpzArrays:
    """The arrays of an .npz file by name, each read when it is asked for. Raises `DataError` for damage."""

    def __init__(self, file: File, budget: Budget) -> None:
        self._file, self._budget = file, budget
        try:
            with file.open() as stream, zipfile.ZipFile(stream) as archive:
                self.names = frozenset(n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy"))
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise _damaged(file.label, error) from error

    def label(self, name: str) -> str:
        """What to call an array in messages."""
        return f"{self._file.label}[{name}]"

    def get(self, name: str) -> npt.NDArray[Any]:
        """Read one array of numbers or texts within the budget."""
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

    def stored(self, name: str) -> StoredArray | None:
        """Where the values of an array lie, if its rows can be read one by one."""
        return stored_member(self._file, name, self.label(name))


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

    def stored(self, name: str) -> StoredArray | None:
        return stored_npy(self._files[name])


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


def _find_pairs(names: frozenset[str], label: str, targets: str | None) -> dict[str, tuple[str, str]]:
    if targets is not None:
        inputs = next((name for name in INPUTS if name in names), None)
        if inputs is None or targets not in names:
            raise DataError(
                f"arrays {' or '.join(INPUTS)} and {targets}",
                f"{label} with {', '.join(sorted(names)[:10]) or 'nothing'}",
                "Correct the option label.",
            )
        return {"train": (inputs, targets)}
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
