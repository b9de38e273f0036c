"""New files as samples like those of the training data, for prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.data.conversion import pad_or_crop, resize
from striate.data.reader import ReadsNew, ReadsSeveral
from striate.data.registry import list_readers
from striate.data.single import existing_file
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

    from striate.data.preprocessing import Preprocessing


def reads_files(preprocessing: Preprocessing) -> bool:
    """Whether every file is one sample, as images are; else a reader finds the samples in a file.

    >>> from striate.data import Preprocessing, load_data
    >>> reads_files(Preprocessing.fit(load_data("digits")))
    True
    """
    return _reader(preprocessing) is None


def read_samples(path: str | Path, preprocessing: Preprocessing) -> list[tuple[str, Tensor]]:
    """Read a new file as what the training data would have made of it: names, and samples as stored.

    A sample is (C, *size), or (size,) for tokens. A file that is one sample is called by its path; of others the reader
    names the windows, lines or sequences. Raises `DataError` naming the file.

    ::

        for name, sample in read_samples("walk.csv", run.preprocessing):
            print(name, sample.shape)
    """
    reader = _reader(preprocessing)
    if reader is None:
        return [(str(path), preprocessing.read(path)[0])]
    found = reader.read_new(existing_file(path), preprocessing.reading)
    return [(name, _fitted(sample, preprocessing, name)) for name, sample in found]


def files_to_read(files: Iterable[Path], preprocessing: Preprocessing, *, others: bool = False) -> list[Path]:
    """Of several files those to read, each once, where a sample lies in several files; else all of them.

    Files that hold no samples, but labels for example, are left out, or kept with ``others``.
    """
    reader = _reader(preprocessing)
    if not isinstance(reader, ReadsSeveral):
        return list(files)
    found = ((file, reader.first_of(file.name, preprocessing.reading)) for file in files)
    return list(dict.fromkeys(file.with_name(name or file.name) for file, name in found if name or others))


def _reader(preprocessing: Preprocessing) -> ReadsNew | None:
    kind = preprocessing.reading.get("kind")
    reader = next((reader for reader in list_readers() if reader.kind == kind), None)
    return reader if isinstance(reader, ReadsNew) else None


def _fitted(sample: Tensor, preprocessing: Preprocessing, name: str) -> Tensor:
    channels, size = preprocessing.channels, preprocessing.size
    if preprocessing.input_kind == "tokens":
        return sample
    if sample.ndim != 1 + len(size) or sample.shape[0] != channels:
        raise DataError(
            f"samples of {channels} channels and {len(size)} spatial axes",
            f"{name} of shape {tuple(sample.shape)}",
            "Give the kind of data that the network was trained on.",
        )
    fit = pad_or_crop if preprocessing.reading.get("fit") == "pad" else resize
    return fit(sample.unsqueeze(0), size)[0]
