"""An .npz file of recordings that lie end to end: recording i is ``x[offsets[i]:offsets[i + 1]]``, with x (T, C).

Labels are numbers or texts, one per sample or one per recording, in ``y``, ``labels`` or ``label``, or the array that
the option ``label`` names; ``classes`` may name the classes. ``subject`` (or ``subjects``) and ``split`` hold one entry
per recording, ``names`` their names, which the patterns of `striate.data.file_names` can read instead. The option
``time`` names an array of the times of samples. An array is never unpickled.
"""

from __future__ import annotations

import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.data.arrays.readers import NpzArrays
from striate.data.class_names import check_class_names
from striate.data.file_names import Names
from striate.data.labels import texts
from striate.data.limits import Budget
from striate.data.options import Option, one_of, text
from striate.data.reader import SPLIT_WORDS, Collection, ReadOptions
from striate.data.signals.cutting import collect, cut_new
from striate.data.signals.recordings import RECORDING_OPTIONS, TIME_UNITS, Recording
from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    import torch

    from striate.data.file import File
    from striate.data.source import Source

_LABELS = ("y", "labels", "label")
_SUBJECTS = ("subject", "subjects")


class RecordingsNpzReader:
    """Reads recordings that lie end to end in one array."""

    kind = "recordings-npz"
    summary = "an .npz file with x and offsets, recordings end to end, and their labels"
    options = (
        Option("label", None, "the array of labels", *text()),
        Option("subject", None, "the array of subjects", *text()),
        Option("time", None, "the array of the times of samples", *text()),
        Option("time_unit", "s", "what times count", *one_of(*TIME_UNITS)),
        *RECORDING_OPTIONS,
    )

    def recognises(self, source: Source) -> str | None:
        """Recognise arrays named x and offsets."""
        if source.form != "file" or source.files[0].suffix != ".npz":
            return None
        try:
            with source.files[0].open() as stream, zipfile.ZipFile(stream) as archive:
                found = {"x.npy", "offsets.npy"} <= set(archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return None
        return "an .npz file with x and offsets" if found else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the recordings. Raises `DataError` for arrays that do not fit together."""
        arrays = NpzArrays(source.files[0], options.budget)
        own = options.own
        values, offsets = _values(arrays)
        name = _find("label", own["label"], _LABELS, arrays)
        if name is None:
            shown = ", ".join(sorted(arrays.names))
            raise DataError(
                "labels", f"{source.label} with {shown}", "Name their array with the option label, or save it as y."
            )
        classes = None
        if "classes" in arrays.names:
            classes = [str(w) for w in texts(arrays.get("classes").reshape(-1), arrays.label("classes")).tolist()]
            check_class_names(classes, arrays.label("classes"))
        codes, words = _codes(arrays.get(name), classes, arrays.label(name))
        count = len(offsets) - 1
        if len(codes) not in (count, len(values)):
            raise DataError(
                f"one label for each of {count} recordings or of {len(values)} samples",
                f"{arrays.label(name)} with {len(codes)}",
                "Use the arrays that belong together.",
            )
        return collect(
            _recordings(arrays, values, offsets, codes, own),
            options,
            kind=self.kind,
            label=source.label,
            words=words,
            classes=classes,
        )

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
        """The windows of a new file with x and offsets, or its recordings if there are no windows."""
        arrays = NpzArrays(file, Budget())
        values, offsets = _values(arrays)
        return cut_new(_recordings(arrays, values, offsets, np.zeros(len(offsets) - 1, np.int64), reading), reading)


def _values(arrays: NpzArrays) -> tuple[npt.NDArray[Any], list[int]]:
    values, offsets = arrays.get("x"), arrays.get("offsets")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise DataError(
            "numbers of shape (samples, channels)",
            f"{arrays.label('x')} of shape {values.shape} and dtype {values.dtype}",
            "Save recordings end to end, one row per sample.",
        )
    whole = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) > 1
    if not whole or offsets[0] != 0 or offsets[-1] != len(values) or (offsets[1:] < offsets[:-1]).any():
        raise DataError(
            f"offsets that ascend from 0 to {len(values)}, the number of samples",
            f"{arrays.label('offsets')} of {'other values' if whole else 'another kind'}",
            "Save where each recording begins, and where the last one ends.",
        )
    return values, [int(place) for place in offsets.tolist()]


def _find(role: str, given: str | None, usual: Sequence[str], arrays: NpzArrays) -> str | None:
    if given is not None and given not in arrays.names:
        raise DataError(f"{role} to name an array", f"{role}={given!r}", did_you_mean(given, arrays.names))
    return given or next((name for name in usual if name in arrays.names), None)


def _codes(
    labels: npt.NDArray[Any], classes: Sequence[str] | None, label: str
) -> tuple[npt.NDArray[np.int64], Sequence[str]]:
    """Labels as numbers that count words, and the words."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and bool((labels == np.round(labels)).all()))
    if labels.ndim != 1 or (labels.dtype.kind not in "US" and not whole) or (whole and (labels < 0).any()):
        raise DataError(
            "labels that are texts or whole numbers from 0",
            f"{label} of shape {labels.shape} and dtype {labels.dtype}",
            "Number the classes from 0.",
        )
    if classes is not None and whole:
        if len(labels) and int(labels.max()) >= len(classes):
            raise DataError(
                f"labels from 0 to {len(classes) - 1}, one of {len(classes)} classes",
                f"{int(labels.max())} in {label}",
                "Correct the labels, or name every class.",
            )
        return labels.astype(np.int64), classes
    words, codes = np.unique(labels.astype(np.int64) if whole else texts(labels, label), return_inverse=True)
    return codes.astype(np.int64), [str(word) for word in words.tolist()]


def _recordings(
    arrays: NpzArrays,
    values: npt.NDArray[Any],
    offsets: Sequence[int],
    codes: npt.NDArray[np.int64],
    own: Mapping[str, Any],
) -> Iterator[Recording]:
    count = len(offsets) - 1
    called = _column(arrays, "names", count) or [f"x[{index}]" for index in range(count)]
    of_subject = _find("subject", own.get("subject"), _SUBJECTS, arrays)
    subjects = None if of_subject is None else _column(arrays, of_subject, count)
    splits = _column(arrays, "split", count)
    seconds = None
    if own.get("time") is not None:
        name = _find("time", own["time"], (), arrays)
        seconds = arrays.get(str(name))
        if seconds.shape != (len(values),) or seconds.dtype.kind not in "iuf":
            raise DataError(
                f"a number for each of {len(values)} samples",
                f"{arrays.label(own['time'])} of shape {seconds.shape} and dtype {seconds.dtype}",
                "Name the array of times.",
            )
        # From the first one, so that nanoseconds since 1970 keep all their digits.
        seconds = (seconds - seconds[:1]).astype(np.float64) * TIME_UNITS[own["time_unit"]]
    names = Names(own)
    per_sample = len(codes) != count
    for index, (start, end) in enumerate(pairwise(offsets)):
        if not names.take(called[index]):
            continue
        told = names.read(called[index])
        split = None if splits is None else SPLIT_WORDS.get(splits[index].lower())
        if splits is not None and split is None:
            raise DataError(
                "a split of train, val or test",
                f"{splits[index]!r} in {arrays.label('split')}",
                did_you_mean(splits[index], ("train", "val", "test")),
            )
        yield Recording(
            called[index],
            values[start:end],
            codes[start:end] if per_sample else codes[index : index + 1],
            told.subject if subjects is None else subjects[index],
            told.split or split,
            None if seconds is None else seconds[start:end],
        )


def _column(arrays: NpzArrays, name: str, count: int) -> list[str] | None:
    """One text for each recording."""
    if name not in arrays.names:
        return None
    found = arrays.get(name)
    if found.shape != (count,):
        raise DataError(
            f"an entry for each of {count} recordings",
            f"{arrays.label(name)} of shape {found.shape}",
            "Use the arrays that belong together.",
        )
    return [str(word) for word in texts(found, arrays.label(name)).tolist()]
