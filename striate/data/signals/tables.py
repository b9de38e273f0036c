"""Tables of signals: one row per sample in time, as CSV or Parquet.

One long table holds all recordings, told apart by a column of ids; without one it is a single recording. A folder holds
one recording per file. Columns are found by name or by option: ``id`` (or recording), ``time`` (or timestamp),
``label`` (or class, activity), ``subject`` (or user, person, participant) and ``split``; all others that hold numbers
are channels, unless ``columns`` names these. In a folder the label is in ``labels.csv`` (columns file, label, and
possibly subject and split), in the table itself, in the names of the files, or the name of the sub-folder.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.data.file_kinds import DamagedFileError, holds_sample
from striate.data.file_names import Names, Told, without_suffix
from striate.data.limits import Budget
from striate.data.options import Option, text
from striate.data.reader import SPLIT_WORDS, Collection, ReadOptions
from striate.data.signals.cutting import collect, cut_new
from striate.data.signals.recordings import Recording, Unusable
from striate.data.signals.table_file import SUFFIXES, read_heading, read_table
from striate.data.signals.table_recordings import (
    TABLE_OPTIONS,
    Roles,
    Words,
    is_signals,
    recordings_of,
    roles_of,
    split_word,
)
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import torch

    from striate.data.dataset import Task
    from striate.data.file import File
    from striate.data.source import Source


class SignalTableReader:
    """Reads one long table."""

    kind = "signal-table"
    summary = "a .csv, .tsv or .parquet file with one row per sample in time, and columns such as id, time, label"
    options = TABLE_OPTIONS

    def recognises(self, source: Source) -> str | None:
        """Recognise columns of numbers beside those with a meaning."""
        if source.form != "file" or source.files[0].suffix not in SUFFIXES:
            return None
        return "a table with columns of numbers" if is_signals(source.files[0]) else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the recordings. Raises `DataError` naming the recording or the row at fault."""
        file = source.files[0]
        roles = roles_of(read_heading(file), options.own, file.label)
        words = Words()
        names = Names(options.own)
        found = recordings_of(
            file, roles, options, words, "", lambda name: names.read(name) if names.take(name) else None
        )
        return _collected(self.kind, source, found, roles, options, words, ())

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
        """The windows of a new table with the same channels, or its recordings if there are no windows."""
        return read_new_table(file, reading)


class SignalTablesReader:
    """Reads a folder of tables with one recording each."""

    kind = "signal-tables"
    summary = "a folder (or tar archive) of .csv, .tsv or .parquet files with one recording each"
    options = (
        *TABLE_OPTIONS,
        Option("labels", "labels.csv", "the file with the columns file, label, subject and split", *text()),
    )

    def recognises(self, source: Source) -> str | None:
        """Recognise a folder of tables with columns of numbers and without samples or arrays."""
        tables = [file for file in source.files if file.suffix in SUFFIXES]
        if source.form not in ("folder", "archive") or not tables:
            return None
        if any(holds_sample(file) or file.suffix in (".npz", ".npy") for file in source.files):
            return None
        # The largest is the least likely to be a list of labels.
        return "tables with columns of numbers" if is_signals(max(tables, key=lambda file: file.size)) else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the recordings. Raises `DataError` naming the file at fault."""
        given = _read_labels(source, options)
        names = Names(options.own)
        listed = source.find(options.own["labels"])
        tables = [
            f for f in source.files if f.suffix in SUFFIXES and f != listed and (given is None or f.name in given)
        ]
        tables = [file for file in tables if names.take(without_suffix(file.name))]
        if not tables:
            raise DataError(
                "tables with one recording each",
                f"{source.label} without any",
                "Correct the list of labels, or select.",
            )
        splits = _split_folders(tables)
        roles = _common_roles(tables, options)
        words = Words()

        def found() -> Iterator[Recording | Unusable]:
            for file in tables:
                told = _told(file, names, given, splits, roles)
                yield from recordings_of(file, roles, options, words, file.name, partial(_as_told, told))

        used = {file.name for file in tables}
        ignored = tuple(file.name for file in source.files if file.name not in used and file != listed)
        return _collected(self.kind, source, found(), roles, options, words, ignored)

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
        """The windows of a new table with the same channels, or its recordings if there are no windows."""
        return read_new_table(file, reading)


def read_new_table(file: File, reading: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
    """The samples of a new table, cut as those of the training data, named ``file[start:end]``.

    Raises `DataError` if a column is missing or a recording cannot be used.
    """
    heading = read_heading(file)
    missing = next((name for name in reading["columns"] if name not in heading.names), None)
    if missing is not None:
        raise DataError(
            f"the columns {', '.join(reading['columns'])}",
            f"{file.label} without {missing}",
            f"Its columns are {', '.join(heading.names)}; name them as in the training data.",
        )
    # Labels and subjects are not needed any more, and may be missing.
    found = {role: reading.get(role) for role in ("id", "time") if reading.get(role) in heading.names}
    time = found.get("time")
    roles = Roles(
        tuple(reading["columns"]),
        id=found.get("id"),
        time=time,
        time_is_text=time is not None and not heading.is_number(time),
    )
    made: list[Recording] = []
    own = {**{option.name: option.default for option in TABLE_OPTIONS}, **reading}
    for each in recordings_of(file, roles, ReadOptions(Budget(), own=own), Words(), file.name, lambda _: Told("")):
        if isinstance(each, Unusable):
            raise each.error
        made.append(each)
    return cut_new(made, own)


def _read_labels(source: Source, options: ReadOptions) -> dict[str, Told] | None:
    name = options.own["labels"]
    file = source.find(name)
    if file is None:
        if name != "labels.csv":
            raise DataError(f"the file {name!r}, as the option labels says", source.label, "Correct the option.")
        return None
    heading = read_heading(file)
    columns = [column for column in ("file", "label", "subject", "split") if column in heading.names]
    if columns[:2] != ["file", "label"]:
        raise DataError(
            "a list with the columns file and label, and possibly subject and split",
            f"{file.label} with {', '.join(heading.names)}",
            "Name the columns so.",
        )
    table = read_table(file, (), columns, options.budget)
    rows = {c: [table.texts[c].words[code] for code in table.texts[c].codes.tolist()] for c in columns}
    found: dict[str, Told] = {}
    for place, listed in enumerate(rows["file"]):
        label = rows["label"][place]
        if listed in found or source.find(listed) is None or not label:
            what = "listed twice" if listed in found else "without a label" if not label else "which does not exist"
            raise DataError(
                "files that exist, each once, with a label", f"{listed!r} in {file.label}, {what}", "Correct the list."
            )
        told = {key: rows[key][place] or None for key in ("subject", "split") if key in rows}
        found[listed] = Told(label, told.get("subject"), split_word(told.get("split"), listed))
    return found


def _common_roles(tables: Sequence[File], options: ReadOptions) -> Roles:
    """The roles of columns in the first table that can be read; the others must have the same channels."""
    *others, last = tables
    for file in others:
        try:
            return roles_of(read_heading(file), options.own, file.label)
        except DamagedFileError:
            if not options.skip_corrupt:
                raise
    return roles_of(read_heading(last), options.own, last.label)


def _split_folders(tables: Sequence[File]) -> dict[str, str]:
    """The top folders that are parts, if all are."""
    tops = {file.name.split("/")[0] for file in tables if "/" in file.name}
    found = {top: SPLIT_WORDS[top.lower()] for top in tops if top.lower() in SPLIT_WORDS}
    return found if len(found) == len(tops) and "train" in found.values() else {}


def _told(file: File, names: Names, given: Mapping[str, Told] | None, splits: Mapping[str, str], roles: Roles) -> Told:
    """What is known of a recording without opening it; a list comes before names, and names before folders."""
    listed = Told() if given is None else given[file.name]
    named = names.read(without_suffix(file.name))
    folders = file.name.split("/")[:-1]
    above = splits.get(folders[0]) if folders else None
    folder = next(iter(folders[above is not None :]), None)
    label = listed.label or named.label or (folder if roles.label is None else None)
    return Told(label, listed.subject or named.subject, listed.split or named.split or above)


def _as_told(told: Told, name: str) -> Told:
    return told


def _collected(
    kind: str,
    source: Source,
    found: Iterable[Recording | Unusable],
    roles: Roles,
    options: ReadOptions,
    words: Words,
    ignored: tuple[str, ...],
) -> Collection:
    recordings = list(found)
    task: Task = (options.own["task"] or "regression") if roles.targets else "classification"
    if task == "multi-label":
        for each in recordings:
            if isinstance(each, Recording) and not np.isin(each.target, (0, 1)).all():
                raise DataError(
                    "targets of 0 and 1 for several labels",
                    f"{each.name} with other numbers",
                    "Leave the option task out to predict numbers.",
                )
    return collect(
        recordings,
        options,
        kind=kind,
        label=source.label,
        words=roles.targets or tuple(words),
        task=task,
        ignored=ignored,
        reading={"columns": list(roles.channels), "id": roles.id, "time": roles.time},
    )
