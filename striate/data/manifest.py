"""A CSV file that lists samples: columns ``path`` and ``label``, and possibly ``split``.

Paths are relative to the folder of the CSV file and may not leave it. Labels may be any texts; the classes are the
ones in the train part, by number if all are whole numbers and by letter otherwise. ``split`` is train, val or test (or
valid, validation ...). The file is UTF-8 with commas, its first line names the columns, others are left alone.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from striate.data.file import File, file_on_disk, is_file
from striate.data.labels import index_labels
from striate.data.reader import SPLIT_WORDS, Collection, FilePart, ReadOptions
from striate.data.source import check_link
from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from striate.data.options import Option
    from striate.data.source import Source


class ManifestReader:
    """Reads a CSV manifest and lists its files."""

    kind = "manifest"
    summary = "a .csv file with the columns path, label and (if wanted) split"
    options: tuple[Option, ...] = ()

    def recognises(self, source: Source) -> str | None:
        """Recognise the extension."""
        return "a .csv file" if source.form == "file" and source.files[0].suffix == ".csv" else None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """List the files. Raises `DataError` naming the line at fault."""
        manifest = source.files[0]
        options.budget.take(manifest.size, manifest.label)
        files: dict[str, list[File]] = {}
        labels: dict[str, list[str]] = {}
        root = Path(manifest.label).parent
        resolved = root.resolve()
        lines: dict[str, int] = {}
        for line, row in _rows(manifest):
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
            files.setdefault(split, []).append(file)
            labels.setdefault(split, []).append(_label(row["label"], where))
        if "" in files and len(files) > 1:
            raise DataError(
                "a split in every row or in none",
                f"{manifest.label} with {len(files[''])} rows without one",
                "Fill in train, val or test everywhere, or leave the column out.",
            )
        whole = all(text.isdecimal() and len(text) < 10 for texts in labels.values() for text in texts)
        values = {(s or "train"): np.array([int(t) for t in texts] if whole else texts) for s, texts in labels.items()}
        if "train" not in values:
            raise DataError("rows of the split train", f"{manifest.label} without any", "Add a train part.")
        classes, indices = index_labels(values, None, {split: f"{manifest.label} ({split})" for split in values})
        parts = {
            (split or "train"): FilePart(tuple(listed), indices[split or "train"]) for split, listed in files.items()
        }
        return Collection(self.kind, classes, parts)


def _rows(manifest: File) -> list[tuple[int, dict[str, str]]]:
    try:
        text = manifest.read().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = list(reader.fieldnames or ())
        if columns.count("path") != 1 or columns.count("label") != 1 or columns.count("split") > 1:
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
