"""A CSV file that lists samples: columns ``path`` and ``label``, and possibly ``split`` and ``subject``.

Paths are relative to the folder of the CSV file and may not leave it. Labels may be any texts; the classes are the
ones in the train part, by number if all are whole numbers and by letter otherwise. ``split`` is train, val or test (or
valid, validation ...). The file is UTF-8 with commas, its first line names the columns, others are left alone.

The option ``task`` says that targets are something else: "multi-label" takes a column of 0 and 1 per label, or one
column of labels joined by ``|`` or ``;``; "regression" takes columns of numbers; "verification" takes labels as
identities. ``targets`` names the columns; without it they are ``label``, or all that have no other meaning.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from striate.data.file import File, file_on_disk, is_file
from striate.data.labels import index_labels
from striate.data.options import Option, one_of, text, texts
from striate.data.reader import SPLIT_WORDS, SPLITS, Collection, FilePart, ReadOptions
from striate.data.source import check_link
from striate.data.subjects import SUBJECT_OPTIONS, number_over_parts, split_by_subjects
from striate.data.targets import identities, joined_labels, labels_to_predict, numbers_to_predict
from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from striate.data.dataset import Task
    from striate.data.source import Source

_TASKS: tuple[Task, ...] = ("classification", "multi-label", "regression", "verification")


class _Line(NamedTuple):
    """A sample: its file, what the row says, and where it stands, for messages."""

    file: File
    row: Mapping[str, str]
    where: str


class ManifestReader:
    """Reads a CSV manifest and lists its files."""

    kind = "manifest"
    summary = "a .csv file with the columns path, label and (if wanted) split"
    options = (
        Option("task", None, "what targets are, where they are not classes", *one_of(*_TASKS)),
        Option("targets", None, "the columns of targets", *texts()),
        Option("subject", None, "the column that says of whom samples are, by default subject", *text()),
        *SUBJECT_OPTIONS,
    )

    def recognises(self, source: Source) -> str | None:
        """Recognise the extension."""
        return "a .csv file" if source.form == "file" and source.files[0].suffix == ".csv" else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """List the files. Raises `DataError` naming the line at fault."""
        manifest, own = source.files[0], options.own
        options.budget.take(manifest.size, manifest.label)
        task: Task = own.get("task") or "classification"
        rows = _rows(manifest)
        subject = _subject_column(rows[0][1], own.get("subject"), manifest)
        columns = _target_columns(list(rows[0][1]), task, own.get("targets"), subject, manifest)
        parts = _parts(rows, manifest, subject, own)
        classes, targets = _targets(task, columns, parts, manifest)
        groups: dict[str, torch.Tensor] = {}
        if subject is not None:
            known = {split: [line.row[subject].strip() or None for line in lines] for split, lines in parts.items()}
            groups = number_over_parts(known, manifest.label)
        listed: dict[str, FilePart] = {
            split: FilePart(tuple(line.file for line in lines), targets[split], groups.get(split))
            for split, lines in parts.items()
        }
        return Collection(self.kind, classes, listed, task=task)


def _subject_column(row: Mapping[str, str], given: str | None, manifest: File) -> str | None:
    if given is not None and given not in row:
        raise DataError(f"a column {given!r} of subjects", manifest.label, did_you_mean(given, row))
    return given or ("subject" if "subject" in row else None)


def _target_columns(
    columns: Sequence[str], task: Task, given: Any, subject: str | None, manifest: File
) -> tuple[str, ...]:
    if given is not None:
        wanted = (given,) if isinstance(given, str) else tuple(given)
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise DataError(
                f"columns {', '.join(wanted)} of targets",
                f"{manifest.label} without {missing[0]!r}",
                did_you_mean(missing[0], columns),
            )
    elif "label" in columns:
        wanted = ("label",)
    else:
        wanted = tuple(name for name in columns if name not in ("path", "split", subject))
        if task in ("classification", "verification"):
            wanted = ()
    single = task in ("classification", "verification")
    if not wanted or (single and len(wanted) != 1):
        raise DataError(
            "one column label" if single else "columns of targets",
            f"{manifest.label} with {', '.join(map(repr, columns))}",
            "Name the columns with the option targets; for several say task=multi-label or task=regression.",
        )
    return wanted


def _parts(
    rows: Sequence[tuple[int, dict[str, str]]], manifest: File, subject: str | None, own: Mapping[str, Any]
) -> dict[str, list[_Line]]:
    """The lines of each part, train first."""
    found: dict[str, list[_Line]] = {}
    root = Path(manifest.label).parent
    resolved = root.resolve()
    lines: dict[str, int] = {}
    for line, row in rows:
        where = f"{manifest.label}, line {line}"
        split = _split(row, where)
        file = _file(row["path"], root, resolved, where)
        # A file listed twice could be learned from and tested on, or have two labels.
        if lines.setdefault(file.name, line) != line:
            raise DataError(
                "every file in one line",
                f"{file.name!r} in lines {lines[file.name]} and {line} of {manifest.label}",
                "Remove one of them.",
            )
        found.setdefault(split, []).append(_Line(file, row, where))
    if "" in found and len(found) > 1:
        raise DataError(
            "a split in every row or in none",
            f"{manifest.label} with {len(found[''])} rows without one",
            "Fill in train, val or test everywhere, or leave the column out.",
        )
    if any(own.get(option.name) is not None for option in SUBJECT_OPTIONS):
        if "" not in found or subject is None:
            raise DataError(
                "a column of subjects and no column split, to hold subjects out",
                manifest.label,
                "Name the column with the option subject, or leave test_subjects and val_subjects out.",
            )
        every = found.pop("")
        places = split_by_subjects([each.row[subject].strip() for each in every], own, manifest.label)
        found = {split: [every[place] for place in chosen] for split, chosen in places.items()}
    if "" in found:
        found["train"] = found.pop("")
    if "train" not in found:
        raise DataError("rows of the split train", f"{manifest.label} without any", "Add a train part.")
    return {split: found[split] for split in SPLITS if split in found}


def _targets(
    task: Task, columns: Sequence[str], parts: Mapping[str, Sequence[_Line]], manifest: File
) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
    if task == "regression" or (task == "multi-label" and len(columns) > 1):
        make = numbers_to_predict if task == "regression" else labels_to_predict
        found = {}
        for split, lines in parts.items():
            values = np.array([[_number(line.row[name], name, line.where) for name in columns] for line in lines])
            found[split] = make(values, f"{manifest.label} ({split})")
        return tuple(columns), found
    if task == "multi-label":
        texts_of = {split: [line.row[columns[0]] for line in lines] for split, lines in parts.items()}
        return joined_labels(texts_of, manifest.label)
    words = {split: [_label(line.row[columns[0]], line.where) for line in lines] for split, lines in parts.items()}
    whole = all(word.isdecimal() and len(word) < 10 for listed in words.values() for word in listed)
    values_of = {s: np.array([int(word) for word in listed] if whole else listed) for s, listed in words.items()}
    if task == "verification":
        return identities(values_of, None, manifest.label)
    return index_labels(values_of, None, {split: f"{manifest.label} ({split})" for split in values_of})


def _number(text_given: str, column: str, where: str) -> float:
    try:
        return float(text_given)
    except ValueError:
        raise DataError(
            f"a number in column {column!r}", f"{text_given!r} in {where}", "Fill it in, or remove the line."
        ) from None


def _rows(manifest: File) -> list[tuple[int, dict[str, str]]]:
    try:
        text = manifest.read().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = list(reader.fieldnames or ())
        if columns.count("path") != 1 or len(set(columns)) != len(columns):
            raise DataError(
                "a CSV file with one column path, one column label and at most one column split",
                f"{manifest.label} with {', '.join(map(repr, columns)) or 'no columns'}",
                "Name the columns in the first line, with commas between them.",
            )
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("a CSV file in UTF-8", f"{manifest.label}: {error}", "Save it as UTF-8 with commas.") from error
    if not rows:
        raise DataError("rows that list samples", f"{manifest.label} without any", "Write one line per sample.")
    for line, row in rows:
        # csv gives None for the fields of a short row and puts those of a long one under the key None.
        if None in row or None in row.values():
            raise DataError(
                f"{len(columns)} fields, as in the first line",
                f"{manifest.label}, line {line}",
                "Put fields that contain commas in double quotes.",
            )
    return rows


def _split(row: dict[str, str], where: str) -> str:
    word = row.get("split", "").strip().lower()
    if word and word not in SPLIT_WORDS:
        raise DataError(
            "a split of train, val or test", f"{word!r} in {where}", did_you_mean(word, ("train", "val", "test"))
        )
    return SPLIT_WORDS.get(word, "")


def _label(text: str, where: str) -> str:
    if not text.strip():
        raise DataError("a label", f"an empty one in {where}", "Fill it in, or remove the line.")
    return text.strip()


def _file(text: str, root: Path, resolved: Path, where: str) -> File:
    name = PurePosixPath(text.strip().replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or not name.parts or Path(text.strip()).is_absolute():
        raise DataError(
            "paths relative to the CSV file and inside its folder",
            f"{text!r} in {where}",
            "Put the CSV file above the samples and list them from there.",
        )
    path = root / name
    if not is_file(path):
        raise DataError("a file that exists", f"{text!r} in {where}", "Correct the path, or remove the line.")
    check_link(path, resolved)
    return file_on_disk(path, str(name))
