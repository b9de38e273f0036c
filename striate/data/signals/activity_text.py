"""Human-activity sets as folders of fixed-width text, as UCI HAR comes (Anguita et al., 2013).

In ``train`` and ``test`` lie ``y_train.txt`` with one class number a line, ``subject_train.txt`` (optional), and one
window a line: either ``Inertial Signals/NAME_train.txt``, a file for each channel, or ``X_train.txt``, features that
were computed from the signals. ``activity_labels.txt`` names the numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from striate.data.file import file_on_disk
from striate.data.labels import index_labels
from striate.data.limits import Budget
from striate.data.options import Option, one_of
from striate.data.reader import SPLIT_WORDS, SPLITS, ArrayPart, Collection, ReadOptions, numbered
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from striate.data.file import File
    from striate.data.source import Source

_NAME = re.compile(rf"(?:.*/)?(?P<what>[^/]+)_(?P<split>{'|'.join(SPLIT_WORDS)})\.txt", re.IGNORECASE)
_NEW = re.compile(r"(?P<what>.+)_[^_]+\.txt", re.IGNORECASE)
_SIGNALS = "inertial signals"
_CLASSES = "activity_labels.txt"


class ActivityTextReader:
    """Reads windows of signals, or features, from text with one window a line."""

    kind = "activity-text"
    summary = "a folder with y_train.txt and Inertial Signals/NAME_train.txt or X_train.txt, as UCI HAR has it"
    options = (
        Option("inputs", "signals", "the signals, or the features computed from them", *one_of("signals", "features")),
    )

    def recognises(self, source: Source) -> str | None:
        """Recognise labels and inputs by their names."""
        if source.form not in ("folder", "archive"):
            return None
        found = _listed(source).get("train", {})
        inputs = [name for name in found if name == "x" or name.startswith(_SIGNALS)]
        return "y_train.txt beside signals or features in text" if "y" in found and inputs else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the windows. Raises `DataError` naming the file at fault."""
        listed = _listed(source)
        signals = sorted(name for name in listed["train"] if name.startswith(_SIGNALS))
        wanted = signals if signals and options.own["inputs"] == "signals" else ["x"]
        parts: dict[str, ArrayPart] = {}
        labels: dict[str, npt.NDArray[Any]] = {}
        used: set[str] = set()
        for split in (split for split in SPLITS if split in listed):
            files = listed[split]
            missing = next((name for name in ("y", *wanted) if name not in files), None)
            if missing is not None:
                raise DataError(
                    f"{missing}_{split}.txt, which train has too",
                    f"{source.label} without it" if split != "train" else source.label,
                    "Add it, or give the option inputs.",
                )
            channels = [_matrix(files[name], options) for name in wanted]
            labels[split] = _column(files["y"], options)
            sizes = {files[name].name: matrix.shape for name, matrix in zip(wanted, channels, strict=True)}
            _check_sizes(sizes, len(labels[split]), files["y"].name, source.label)
            groups = None
            if "subject" in files:
                found = _column(files["subject"], options)
                sizes = {files["subject"].name: (len(found), 1)}
                _check_sizes(sizes, len(labels[split]), files["y"].name, source.label)
                groups = torch.from_numpy(found)
            inputs = torch.from_numpy(np.stack(channels, axis=1))
            parts[split] = ArrayPart(inputs, torch.from_numpy(labels[split]), numbered(split), groups)
            used.update(files[name].name for name in ("y", *wanted, *(["subject"] if groups is not None else [])))
        names = _class_names(source)
        unnamed = next(
            (int(c) for found in labels.values() for c in np.unique(found) if names and c not in names), None
        )
        if unnamed is not None:
            raise DataError(
                f"a name for every class in {_CLASSES}", f"{source.label} without one for {unnamed}", "Add it."
            )
        order = None
        if names:
            present = [code for code in sorted(names) if code in labels["train"]]
            order = [names[code] for code in present]
            labels = {split: np.array([names[code] for code in found.tolist()]) for split, found in labels.items()}
        classes, indices = index_labels(labels, order, {split: f"{source.label} ({split})" for split in parts})
        made = {s: ArrayPart(part.inputs, indices[s], part.name, part.groups) for s, part in parts.items()}
        ignored = tuple(file.name for file in source.files if file.name not in used and file.base != _CLASSES)
        reading = {
            "channels": [name.removeprefix(f"{_SIGNALS}/") for name in wanted],
            "length": parts["train"].inputs.shape[2],
        }
        return Collection(self.kind, classes, made, ignored=ignored, reading=reading)

    def first_of(self, name: str, reading: Mapping[str, Any]) -> str | None:
        """The file of the first channel, for a file of any; None for labels, subjects and the like.

        >>> ActivityTextReader().first_of("acc_y_new.txt", {"channels": ["acc_x", "acc_y"]})
        'acc_x_new.txt'
        """
        match = _NEW.fullmatch(name)
        channels = reading["channels"]
        if match is None or match["what"].lower() not in channels:
            return None
        # The case of a name is that of its file.
        return name if match["what"].lower() == channels[0] else f"{channels[0]}{name[len(match['what']) :]}"

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
        """The windows of a new file as (C, L), with their names; the other channels are read from beside it.

        The file is that of the first channel, or of the only one, and has a window a line. Raises `DataError`.
        """
        options = ReadOptions(Budget())
        windows = [_matrix(each, options) for each in _channels(file, reading["channels"])]
        sizes = {name: matrix.shape for name, matrix in zip(reading["channels"], windows, strict=True)}
        _check_sizes(sizes, len(windows[0]), file.name, file.label)
        if windows[0].shape[1] != reading["length"]:
            raise DataError(
                f"{reading['length']} numbers in every line, as in training",
                f"{windows[0].shape[1]} in {file.label}",
                "Give windows that were cut alike.",
            )
        stacked = torch.from_numpy(np.stack(windows, axis=1))
        return [(f"{file.name}:{line}", window) for line, window in enumerate(stacked, 1)]


def _channels(file: File, channels: Sequence[str]) -> list[File]:
    """The files of all channels, beside that of the first."""
    if len(channels) == 1:
        return [file]
    ending = file.name[len(channels[0]) :]
    if not file.name.lower().startswith(channels[0]) or not ending.startswith("_"):
        raise DataError(
            f"a file of signals, such as {channels[0]}_new.txt with {channels[1]}_new.txt beside it",
            file.label,
            "Name the files as those of the training data.",
        )
    found = [file]
    beside = {each.name.lower(): each for each in Path(file.label).parent.iterdir()}
    for channel in channels[1:]:
        other = beside.get(f"{channel}{ending}".lower())
        if other is None:
            raise DataError(
                f"{channel}{ending} beside {file.name}, as in training",
                f"{Path(file.label).parent} without it",
                "Put the files of all signals into one folder.",
            )
        found.append(file_on_disk(other, other.name))
    return found


def _listed(source: Source) -> dict[str, dict[str, File]]:
    """The files of each part by what they hold, in lower case; signals with their folder before."""
    found: dict[str, dict[str, File]] = {}
    for file in source.files:
        match = _NAME.fullmatch(file.name)
        if match is not None:
            what = match["what"].lower()
            if file.folder.lower().endswith(_SIGNALS):
                what = f"{_SIGNALS}/{what}"
            found.setdefault(SPLIT_WORDS[match["split"].lower()], {})[what] = file
    return found


def _matrix(file: File, options: ReadOptions) -> npt.NDArray[np.float32]:
    options.budget.take(file.size, file.label)
    try:
        with file.open() as stream:
            values = np.loadtxt(stream, dtype=np.float32, ndmin=2, encoding="utf-8")
    except (ValueError, UserWarning) as error:
        raise DataError("as many numbers in every line", f"{file.label}: {error}", "Download it again.") from error
    bad = values.size - int(np.isfinite(values).sum())
    if bad or not values.size:
        raise DataError(
            "finite values", f"{file.label} with {f'{bad} that are not' if bad else 'none'}", "Clean the data first."
        )
    return values


def _column(file: File, options: ReadOptions) -> npt.NDArray[np.int64]:
    values = _matrix(file, options)
    whole = values.astype(np.int64)
    if values.shape[1] != 1 or (whole != values).any() or (whole < 0).any():
        raise DataError(
            "one whole number from 0 in every line", f"{file.label}", "Use the numbers of classes or subjects."
        )
    return whole[:, 0]


def _check_sizes(sizes: Mapping[str, tuple[int, ...]], count: int, against: str, label: str) -> None:
    for name, shape in sizes.items():
        if shape[0] != count:
            raise DataError(
                f"{count} lines in {name}, as in {against}", f"{shape[0]} in {label}", "Use files that belong together."
            )
    lengths = {shape[1] for shape in sizes.values()}
    if len(lengths) > 1:
        first, other = (next(name for name, shape in sizes.items() if shape[1] == n) for n in sorted(lengths)[:2])
        raise DataError(
            "signals with as many samples in every window",
            f"{min(lengths)} in {first} and {sorted(lengths)[1]} in {other} of {label}",
            "Use files that belong together.",
        )


def _class_names(source: Source) -> dict[int, str]:
    file = next((file for file in source.files if file.base.lower() == _CLASSES), None)
    if file is None:
        return {}
    names: dict[int, str] = {}
    for line in file.read().decode("utf-8", errors="replace").splitlines():
        number, _, name = line.strip().partition(" ")
        if not line.strip():
            continue
        if not number.isdecimal() or not name.strip() or int(number) in names or name.strip() in names.values():
            raise DataError(
                "lines with a number and the name of its class, each once", f"{line!r} in {file.label}", "Correct it."
            )
        names[int(number)] = name.strip()
    return names
