"""The readers, in the order in which they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import striate.data.signals.audio
import striate.data.volumes.binvox
import striate.data.volumes.nifti
import striate.data.volumes.video  # noqa: F401 - each registers its kind of files
from striate.data.arrays.readers import NpyReader, NpzReader
from striate.data.file_kinds import holds_sample
from striate.data.folders.class_folder import ClassFolderReader
from striate.data.folders.manifest import ManifestReader
from striate.data.folders.named_files import NamedFilesReader
from striate.data.images.cifar import CifarBinaryReader, CifarPythonReader
from striate.data.images.digits import DigitsReader
from striate.data.images.idx import IdxReader
from striate.data.segmentation.reader import SegmentationReader
from striate.data.shards.reader import ShardReader
from striate.data.signals.activity_text import ActivityTextReader
from striate.data.signals.recordings_npz import RecordingsNpzReader
from striate.data.signals.tables import SignalTableReader, SignalTablesReader
from striate.data.signals.time_series_archive import TimeSeriesArchiveReader
from striate.data.text.dna import DnaReader
from striate.data.text.reader import TextReader
from striate.data.volumes.dicom import DicomReader
from striate.errors import DataError

if TYPE_CHECKING:
    from striate.data.reader import Reader
    from striate.data.source import Source

# The folder of classes comes last: it takes any folder in whose sub-folders there are images. The manifest takes any
# table, so whoever knows one by its columns comes before.
_READERS: list[Reader] = [
    DigitsReader(),
    RecordingsNpzReader(),
    NpzReader(),
    IdxReader(),
    CifarBinaryReader(),
    CifarPythonReader(),
    NpyReader(),
    TimeSeriesArchiveReader(),
    ActivityTextReader(),
    DnaReader(),
    TextReader(),
    SignalTableReader(),
    SignalTablesReader(),
    ManifestReader(),
    ShardReader(),
    SegmentationReader(),
    DicomReader(),
    NamedFilesReader(),
    ClassFolderReader(),
]


def list_readers() -> tuple[Reader, ...]:
    """All readers, in the order in which they are asked.

    >>> [reader.kind for reader in list_readers()][:4]
    ['digits', 'recordings-npz', 'npz', 'idx']
    """
    return tuple(_READERS)


def register_reader(reader: Reader) -> Reader:
    """Add a reader, which is asked before all others. Raises `DataError` if one of its kind is there already."""
    if any(known.kind == reader.kind for known in _READERS):
        raise DataError(
            "a kind of source without a reader", f"a second one for {reader.kind!r}", "Name it differently."
        )
    _READERS.insert(0, reader)
    return reader


def recognise(source: Source) -> tuple[Reader, str]:
    """The reader that takes this source, and by what it knows it.

    Raises `DataError` that lists what could have been given when there is none.

    >>> from striate.data.limits import Budget
    >>> from striate.data.source import open_source
    >>> reader, why = recognise(open_source("digits", Budget()))
    >>> reader.kind, why
    ('digits', 'the name of a built-in data set')
    """
    for reader in _READERS:
        why = reader.recognises(source)
        if why is not None:
            return reader, why
    if source.form in ("folder", "archive") and any(holds_sample(file) for file in source.files):
        raise DataError(
            "images in one sub-folder per class",
            f"{source.label} with images but no sub-folders",
            "Sort them into one folder per class, or list them with their labels in a CSV file.",
        )
    if source.form == "file" and holds_sample(source.files[0]):
        raise DataError(
            "a data set", f"{source.label}, a single image", "Give the folder that holds one sub-folder per class."
        )
    raise DataError(
        f"a data set: {'; '.join(reader.summary for reader in _READERS)}",
        f"{source.label}, which is none of them",
        "Check the path, or convert it to one of these.",
    )
