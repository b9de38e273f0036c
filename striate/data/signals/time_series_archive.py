"""The .ts files of the UCR/UEA time-series archive (Bagnall et al., 2018; Dau et al., 2019).

A header of lines that begin with ``@`` says what follows ``@data``: one case a line, dimensions separated by colons,
values by commas, ``?`` for a missing one, and last the class (``@classLabel true a b``) or the number to predict
(``@targetLabel true``). NAME_TRAIN.ts and NAME_TEST.ts belong together. Time stamps in brackets (``@timeStamps true``)
are not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.data.file_kinds import DamagedFileError
from striate.data.signals.cutting import collect, cut_new
from striate.data.signals.recordings import RECORDING_OPTIONS, Recording, Unusable
from striate.data.source import siblings
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from striate.data.file import File
    from striate.data.reader import Collection, ReadOptions
    from striate.data.source import Source

_PAIR = re.compile(r"(?P<name>.+)_(?P<split>TRAIN|TEST)\.ts", re.IGNORECASE)
_FLAGS = ("timestamps", "missing", "univariate", "equallength", "targetlabel")


@dataclass(slots=True)
class _Header:
    """What stands before the cases: flags, declared classes (None without them), and the number of dimensions."""

    flags: dict[str, bool] = field(default_factory=dict)
    classes: list[str] | None = None
    dimensions: int | None = None


class TimeSeriesArchiveReader:
    """Reads a .ts file, or a folder with NAME_TRAIN.ts and NAME_TEST.ts."""

    kind = "ts"
    summary = "a .ts file of the time-series archive, or a folder with NAME_TRAIN.ts and NAME_TEST.ts"
    options = RECORDING_OPTIONS

    def recognises(self, source: Source) -> str | None:
        """Recognise the extension and the beginning, which is that of no video."""
        if source.form == "file":
            return "a .ts file with a header" if _is_archive_file(source.files[0]) else None
        found = [file for file in source.files if _PAIR.fullmatch(file.name)]
        if source.form in ("folder", "archive") and found and _is_archive_file(found[0]):
            return "NAME_TRAIN.ts and NAME_TEST.ts"
        return None

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read the cases. Raises `DataError` naming file and line."""
        files = _files_of(source)
        header = _Header()
        words: dict[str, int] = {}
        recordings: list[Recording | Unusable] = []
        for split, file in files.items():
            options.budget.take(file.size, file.label)
            recordings += _cases(file, split if len(files) > 1 else None, header, words)
        regression = header.flags.get("targetlabel", False)
        if not regression and header.classes is None:
            raise DataError(
                "classes or numbers to predict",
                f"{source.label} with neither @classLabel true nor @targetLabel true",
                "Use a file for classification or regression.",
            )
        classes = header.classes
        if classes is not None:
            # Declared in their order; a class of which there is no case in the training part is found later.
            words = {word: place for place, word in enumerate(classes)}
        used = {file.name for file in files.values()}
        return collect(
            recordings,
            options,
            kind=self.kind,
            label=source.label,
            words=["target"] if regression else list(words),
            classes=None if regression else classes,
            task="regression" if regression else "classification",
            ignored=tuple(file.name for file in source.files if file.name not in used),
        )

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
        """The series of a new file, whose classes are not looked at."""
        made = []
        for case in _cases(file, None, _Header(), {}):
            if isinstance(case, Unusable):
                raise case.error
            made.append(case)
        return cut_new(made, reading)


def _is_archive_file(file: File) -> bool:
    if file.suffix != ".ts":
        return False
    with file.open() as stream:
        beginning = stream.read(2**16)
    for line in beginning.splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith(b"#"):
            return stripped.startswith(b"@") and b"\0" not in beginning
    return bool(beginning) and all(not b or b.startswith(b"#") for b in map(bytes.strip, beginning.splitlines()))


def _files_of(source: Source) -> dict[str, File]:
    """The training file, and the test file if there is one."""
    if source.form == "file":
        given = source.files[0]
        match = _PAIR.fullmatch(given.name)
        if match is None or match["split"].upper() == "TEST":
            return {"train": given}
        listed = siblings(Path(source.label).expanduser())
        mate = next((f for f in listed if f.name.lower() == f"{match['name']}_test.ts".lower()), None)
        return {"train": given} if mate is None else {"train": given, "test": mate}
    pairs: dict[str, dict[str, File]] = {}
    for file in source.files:
        match = _PAIR.fullmatch(file.name)
        if match is not None:
            pairs.setdefault(match["name"], {})[match["split"].lower()] = file
    if len(pairs) > 1 or "train" not in next(iter(pairs.values())):
        raise DataError(
            "one NAME_TRAIN.ts with its NAME_TEST.ts",
            f"{source.label} with {', '.join(sorted(pairs)[:5])}{'' if len(pairs) > 1 else ' for testing only'}",
            "Give the file NAME_TRAIN.ts of the data set that you mean.",
        )
    found = next(iter(pairs.values()))
    return {split: found[split] for split in ("train", "test") if split in found}


def _cases(file: File, split: str | None, header: _Header, words: dict[str, int]) -> Iterator[Recording | Unusable]:
    try:
        lines = file.read().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError("a .ts file in UTF-8", f"{file.label}: {error}", "Save it as UTF-8.") from error
    start = _read_header(lines, header, file)
    count = 0
    for number, line in enumerate(lines[start:], start=start + 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name = f"{file.name}[{count}]"
        try:
            yield _case(stripped, name, f"{file.label}, line {number}", split, header, words)
        except DamagedFileError as error:
            yield Unusable(name, error)
        count += 1


def _read_header(lines: list[str], header: _Header, file: File) -> int:
    """Read up to ``@data``, and give the line after it."""
    classes: list[str] | None = None
    for place, line in enumerate(lines):
        word, _, rest = line.strip().partition(" ")
        word, values = word.lower(), rest.split()
        if word == "@data":
            if header.classes is not None and classes != header.classes:
                raise DataError(
                    f"the classes {', '.join(header.classes)} in both files",
                    f"{file.label} with {', '.join(classes or ()) or 'none'}",
                    "Use the two files that belong together.",
                )
            header.classes = classes
            return place + 1
        if word == "@classlabel" and values[:1] and values[0].lower() == "true":
            classes = values[1:]
        elif word in ("@dimensions", "@dimension") and values and values[0].isdecimal():
            header.dimensions = int(values[0])
        elif word[1:] in _FLAGS and values:
            header.flags[word[1:]] = values[0].lower() == "true"
            if header.flags.get("timestamps"):
                raise DataError(
                    "values without time stamps",
                    f"{file.label} with @timeStamps true",
                    "Write the series at even times, or as a table with a column of times.",
                )
    raise DataError("a line @data after the header", f"{file.label} without one", "Download or write it again.")


def _case(line: str, name: str, where: str, split: str | None, header: _Header, words: dict[str, int]) -> Recording:
    *texts, last = line.split(":")
    labelled = header.classes is not None or header.flags.get("targetlabel", False)
    if not labelled:
        texts.append(last)
    if line.startswith("(") or not texts:
        raise DamagedFileError(
            "dimensions and a label, separated by colons",
            f"{where}, with {'time stamps' if line.startswith('(') else 'one field'}",
            "Correct the line, or remove it.",
        )
    if header.dimensions is not None and len(texts) != header.dimensions:
        raise DamagedFileError(
            f"{header.dimensions} dimensions, as the header says", f"{where}, with {len(texts)}", "Correct the line."
        )
    series = [_numbers(text, where) for text in texts]
    if len({len(each) for each in series}) > 1:
        raise DamagedFileError(
            "dimensions of one length within a case",
            f"{where}, with lengths {', '.join(str(len(each)) for each in series)}",
            "Correct the line, or remove it.",
        )
    label = last.strip()
    if header.flags.get("targetlabel"):
        target = _numbers(label, where)[None]
        if target.shape != (1, 1) or not np.isfinite(target).all():
            raise DamagedFileError("a number to predict", f"{where}, with {label!r}", "Correct the line.")
        return Recording(name, np.stack(series, axis=1), target, None, split)
    if header.classes:
        if label not in header.classes:
            raise DamagedFileError(
                f"a class among {', '.join(header.classes[:20])}", f"{where}, with {label!r}", "Correct the line."
            )
        code = header.classes.index(label)
    else:
        code = words.setdefault(label, len(words))
    return Recording(name, np.stack(series, axis=1), np.array([code]), None, split)


def _numbers(text: str, where: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    stripped = text.strip()
    if not stripped:
        return np.empty(0)
    try:
        return np.array((stripped.replace("?", "nan") if "?" in stripped else stripped).split(","), dtype=np.float64)
    except ValueError as error:
        raise DamagedFileError("values separated by commas", f"{where}: {error}", "Correct the line.") from error
