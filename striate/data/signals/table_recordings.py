"""What the columns of a table of signals mean, and the recordings that its rows are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.data.file_kinds import DamagedFileError
from striate.data.options import Option, one_of, text, texts
from striate.data.reader import SPLIT_WORDS
from striate.data.signals.recordings import RECORDING_OPTIONS, TIME_UNITS, Recording, Unusable
from striate.data.signals.table_file import Heading, Table, read_heading, read_table, seconds_of
from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt

    from striate.data.file import File
    from striate.data.file_names import Told
    from striate.data.reader import ReadOptions

USUAL = {
    "id": ("id", "recording"),
    "time": ("time", "timestamp"),
    "label": ("label", "class", "activity"),
    "subject": ("subject", "user", "person", "participant"),
    "split": ("split",),
}
"""What columns with a meaning are called, in lower case, where no option says otherwise."""

OTHERS = frozenset(("path", "file", "filename", "text", "sentence", "sequence", "image", "mask"))
"""Columns that tables of other things have."""

_SMALL = 2**20
"""Tables of at most so many bytes are read into memory at once."""

_INDEX = ("", "unnamed: 0", "index")
"""What writing a table with its row numbers calls their column."""

TABLE_OPTIONS = (
    Option("id", None, "the column that tells recordings apart", *text()),
    Option("time", None, "the column of times", *text()),
    Option("time_unit", "s", "what times count, if they are numbers", *one_of(*TIME_UNITS)),
    Option("label", None, "the column of labels", *text()),
    Option("subject", None, "the column of subjects", *text()),
    Option("columns", None, "the columns that are channels, by default all others of numbers", *texts()),
    Option("targets", None, "columns of numbers to predict, or of 0 and 1 for several labels", *texts()),
    Option("task", None, "what targets are, by default numbers to predict", *one_of("regression", "multi-label")),
    *RECORDING_OPTIONS,
)


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column of a table is what, by name; None, or none, where there is no such column."""

    channels: tuple[str, ...]
    targets: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    label: str | None = None
    subject: str | None = None
    split: str | None = None
    time_is_text: bool = False


class Words(dict[str, int]):
    """Labels, each with the number that it has in targets."""

    def number(self, word: str) -> int:
        """The number of a label, a new one if it comes for the first time."""
        return self.setdefault(word, len(self))


def is_signals(file: File) -> bool:
    r"""Whether a table has columns of numbers that can be channels, and none by which tables of other things are known.

    >>> from striate.data.file import File
    >>> is_signals(File("a.csv", "", 0, b"time,ax,label\n0,0.5,up\n"))
    True
    >>> is_signals(File("a.csv", "", 0, b"path,label\n1,2\n"))
    False
    """
    try:
        heading = read_heading(file)
    except (DataError, ImportError):
        return False
    names = [name.lower() for name in heading.names]
    if heading.first is None or OTHERS & set(names):
        return False
    usual = {name for each in USUAL.values() for name in each}
    numbers = [name for name in heading.names if name.lower() not in usual and heading.is_number(name)]
    # A sentence is no name of a class.
    sentences = any(
        len(cell.split()) > 3 for name, cell in zip(heading.names, heading.first, strict=True) if name not in numbers
    )
    return bool(set(numbers) - set(_INDEX)) and not sentences


def roles_of(heading: Heading, own: Mapping[str, Any], label: str) -> Roles:
    """Find the roles of columns by the options and the usual names. Raises `DataError` if there are no channels."""
    lower = {name.lower(): name for name in reversed(heading.names)}
    found: dict[str, str | None] = {}
    for role, usual in USUAL.items():
        given = own.get(role)
        if given is not None and given not in heading.names:
            raise _no_column(role, given, heading, label)
        found[role] = given or next((lower[name] for name in usual if name in lower), None)
    targets = _listed(own.get("targets"))
    chosen = _listed(own.get("columns"))
    for name in (*targets, *chosen):
        if name not in heading.names:
            raise _no_column("targets" if name in targets else "columns", name, heading, label)
    taken = {*targets, *(name for role, name in found.items() if role != "label" or not targets)}
    channels = chosen or tuple(
        name for name in heading.names if name not in taken and name.lower() not in _INDEX and heading.is_number(name)
    )
    if not channels:
        raise DataError(
            "columns of numbers that are channels", f"{label} with {', '.join(heading.names)}", "Name them in columns."
        )
    if targets:
        found["label"] = None
    time = found["time"]
    return Roles(channels, targets, **found, time_is_text=time is not None and not heading.is_number(time))


def _listed(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(each.strip() for each in value.split(",")) if isinstance(value, str) else tuple(value)


def _no_column(option: str, name: str, heading: Heading, label: str) -> DataError:
    return DataError(
        f"{option} to name a column of {label}", f"{option}={name!r}", did_you_mean(name, filter(None, heading.names))
    )


def recordings_of(
    file: File, roles: Roles, options: ReadOptions, words: Words, name: str, tell: Callable[[str], Told | None]
) -> Iterator[Recording | Unusable]:
    """The recordings of a table; ``tell`` says what their names tell, or None for those to be left out.

    Those that cannot be read come as `Unusable`.
    """
    try:
        table, present = _columns(file, roles, options)
        values = np.stack([table.numbers[each] for each in roles.channels], axis=1).astype(np.float32)
        seconds = _seconds(table, present.get("time"), options.own, file.label)
    except DamagedFileError as error:
        yield Unusable(file.name, error)
        return
    by = present.get("id")
    if by is None and not name:
        # Nothing else tells the recordings of a long table apart.
        by = present.get("subject")
    for tag, rows in _rows_by_id(table, by):
        # Rows of a recording that lie together are a view, and take no memory again.
        called = f"{name}:{tag}" if name and tag else tag or name or file.name
        told = tell(called)
        if told is None:
            continue
        try:
            yield Recording(
                called,
                values[rows],
                _target(table, rows, roles, present.get("label"), words, told, f"{called} of {file.label}"),
                _only(table, rows, present.get("subject"), called) or told.subject,
                split_word(_only(table, rows, present.get("split"), called), called) or told.split,
                None if seconds is None else seconds[rows],
            )
        except DamagedFileError as error:
            yield Unusable(called, error)


def _columns(file: File, roles: Roles, options: ReadOptions) -> tuple[Table, dict[str, str]]:
    """Read what is needed, and say which roles have a column in this table."""
    if file.content is None and file.size <= _SMALL:
        file = replace(file, content=file.read())  # which is looked at several times
    heading = read_heading(file)
    missing = next((each for each in (*roles.channels, *roles.targets) if each not in heading.names), None)
    if missing is not None:
        raise DamagedFileError(
            f"the columns {', '.join(roles.channels)} in every table",
            f"{file.label} without {missing}",
            "Name the channels that all have with the option columns.",
        )
    present = {r: c for r in USUAL if (c := getattr(roles, r)) is not None and c in heading.names}
    texts = [column for role, column in present.items() if role != "time" or roles.time_is_text]
    times = [present["time"]] if "time" in present and not roles.time_is_text else []
    numbers = [*dict.fromkeys((*roles.channels, *roles.targets, *times))]
    return read_table(file, numbers, [*dict.fromkeys(texts)], options.budget), present


def _seconds(table: Table, column: str | None, own: Mapping[str, Any], label: str) -> npt.NDArray[np.float64] | None:
    if column is None:
        return None
    if column in table.texts:
        return seconds_of(table.texts[column], label)
    return table.numbers[column] * TIME_UNITS[own["time_unit"]]


def _rows_by_id(table: Table, column: str | None) -> Iterator[tuple[str, Any]]:
    if column is None:
        yield "", slice(None)
        return
    found = table.texts[column]
    order = np.argsort(found.codes, kind="stable")
    cuts = np.searchsorted(found.codes[order], np.arange(len(found.words) + 1))
    for code, word in enumerate(found.words):
        rows = order[cuts[code] : cuts[code + 1]]
        together = len(rows) and rows[-1] - rows[0] + 1 == len(rows)
        yield word, slice(int(rows[0]), int(rows[-1]) + 1) if together else rows


def _target(
    table: Table, rows: Any, roles: Roles, column: str | None, words: Words, told: Told, where: str
) -> npt.NDArray[Any]:
    if roles.targets:
        values = np.stack([table.numbers[name][rows] for name in roles.targets], axis=1)
        if not np.isfinite(values).all():
            raise DamagedFileError("targets for every sample", f"{where} with some missing", "Fill them in.")
        return values[:1] if len(values) and (values == values[0]).all() else values
    if told.label is not None or column is None:
        if told.label is None:
            raise DataError(
                "labels",
                where,
                "Name their column with the option label, put recordings into one folder per class, or list them.",
            )
        return np.array([words.number(told.label)])
    found = table.texts[column]
    codes = found.codes[rows]
    used = np.unique(codes)
    empty = [code for code in used.tolist() if not found.words[code]]
    if empty:
        raise DamagedFileError(
            "a label for every sample",
            f"{where} with {int((codes == empty[0]).sum())} without one",
            "Fill them in, or remove these rows.",
        )
    mapping = np.zeros(len(found.words), dtype=np.int64)
    mapping[used] = [words.number(found.words[code]) for code in used.tolist()]
    chosen: npt.NDArray[np.int64] = mapping[used] if len(used) == 1 else mapping[codes]
    return chosen


def _only(table: Table, rows: Any, column: str | None, called: str) -> str | None:
    if column is None:
        return None
    found = table.texts[column]
    used = np.unique(found.codes[rows]).tolist()
    if len(used) > 1:
        raise DataError(
            f"one {column} for each recording",
            f"{called} with {found.words[used[0]]} and {found.words[used[1]]}",
            "Tell recordings apart with the option id.",
        )
    return found.words[used[0]] or None if used else None


def split_word(word: str | None, where: str) -> str | None:
    """The part that a word means. Raises `DataError` for other words."""
    if word is None:
        return None
    if word.lower() not in SPLIT_WORDS:
        raise DataError(
            "a split of train, val or test", f"{word!r} for {where}", did_you_mean(word, ("train", "val", "test"))
        )
    return SPLIT_WORDS[word.lower()]
