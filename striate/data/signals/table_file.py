"""CSV and Parquet files as columns of numbers and of texts.

CSV is UTF-8 with one line of column names; fields are separated by commas, semicolons or tabs, whichever the first line
has most of. Empty fields and the usual words for a missing number are NaN. Where pyarrow is installed it does the
reading of plain CSV files, several times faster; what it refuses is read by the standard library, which says where the
fault lies. Parquet needs it.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.data.extras import extra
from striate.data.file_kinds import DamagedFileError
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from striate.data.file import File
    from striate.data.limits import Budget

SUFFIXES = (".csv", ".tsv", ".parquet")
"""The extensions of tables."""

_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "#n/a"))
_BLOCK = 2**20
"""Bytes that Arrow reads at a time."""

_CHUNK = 2**10
"""Rows at a time: few enough for the caches, many enough for the work of NumPy to count."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: the different ones in the order they appear, and which one each row has, int64."""

    words: tuple[str, ...]
    codes: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Table:
    """The columns that were asked for: numbers float64 with NaN where they are missing, and texts."""

    rows: int
    numbers: dict[str, npt.NDArray[np.float64]]
    texts: dict[str, Texts]


@dataclass(frozen=True, slots=True)
class Heading:
    """The names of the columns, and the first row, which tells numbers from texts; None if there is no row."""

    names: tuple[str, ...]
    first: tuple[str, ...] | None

    def is_number(self, name: str) -> bool:
        """Whether the column begins with a number, or with nothing."""
        if self.first is None:
            return False
        return _is_number(self.first[self.names.index(name)])


def read_heading(file: File) -> Heading:
    r"""Read names and first row. Raises `DamagedFileError` for what is no table, `DataError` for repeated names.

    >>> from striate.data.file import File
    >>> heading = read_heading(File("a.csv", "a.csv", 12, b"x,label\n0.5,up\n"))
    >>> heading.names, heading.is_number("x"), heading.is_number("label")
    (('x', 'label'), True, False)
    """
    if file.suffix == ".parquet":
        heading = _parquet_heading(file)
    else:
        with _opened(file) as stream:
            rows = _csv_rows(stream, file)
            names = next(rows, [])
            first = next(rows, None)
        if first is not None and len(first) != len(names):
            raise _ragged(file, 1, first, len(names))
        heading = Heading(tuple(names), None if first is None else tuple(first))
    if not any(heading.names):
        raise DamagedFileError("a table with named columns", f"{file.label}, which has none", "Name them first.")
    twice = next((name for name in heading.names if name and heading.names.count(name) > 1), None)
    if twice is not None:
        raise DataError("columns with names of their own", f"{twice!r} twice in {file.label}", "Rename one of them.")
    return heading


def read_table(file: File, numbers: Sequence[str], texts: Sequence[str], budget: Budget) -> Table:
    r"""Read these columns. Raises `DamagedFileError` naming the row at fault.

    >>> from striate.data.file import File
    >>> from striate.data.limits import Budget
    >>> table = read_table(File("a.csv", "a.csv", 26, b"x,label\n0.5,up\n,down\n2,up\n"), ["x"], ["label"], Budget())
    >>> table.numbers["x"].tolist(), table.texts["label"].words, table.texts["label"].codes.tolist()
    ([0.5, nan, 2.0], ('up', 'down'), [0, 1, 0])
    """
    if file.suffix == ".parquet":
        return _parquet(file, numbers, texts, budget)
    budget.take(file.size, file.label)
    return _arrow_csv(file, numbers, texts) or _plain_csv(file, numbers, texts)


def seconds_of(texts: Texts, label: str) -> npt.NDArray[np.float64]:
    """Dates with times (ISO 8601; UTC where they do not say) as seconds. Raises `DamagedFileError`.

    >>> texts = Texts(("2024-05-01 10:00:00.5", "2024-05-01T10:00:02"), np.array([0, 1]))
    >>> np.diff(seconds_of(texts, "x")).tolist()
    [1.5]
    """
    moments = np.empty(len(texts.words))
    for place, word in enumerate(texts.words):
        try:
            when = datetime.fromisoformat(word)
        except ValueError as error:
            raise DamagedFileError(
                "times as numbers or as dates such as 2024-05-01 10:00:00.25",
                f"{word!r} in {label}",
                "Write them so.",
            ) from error
        moments[place] = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return moments[texts.codes]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in _MISSING
    return True


def _opened(file: File) -> io.TextIOWrapper:
    return io.TextIOWrapper(file.open(), "utf-8-sig", newline="")


def _csv_rows(stream: io.TextIOWrapper, file: File) -> Iterator[list[str]]:
    """The rows that are not blank, the names of the columns first, without spaces around those."""
    try:
        head = stream.readline()
        delimiter = max(",;\t", key=head.count)
        names = next(csv.reader([head], delimiter=delimiter, strict=True), [])
        yield [name.strip() for name in names]
        yield from filter(None, csv.reader(stream, delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DamagedFileError("a CSV file in UTF-8", f"{file.label}: {error}", "Save it as UTF-8.") from error


def _plain_csv(file: File, numbers: Sequence[str], texts: Sequence[str]) -> Table:
    found: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in numbers}
    codes: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in texts}
    words: dict[str, dict[str, int]] = {name: {} for name in texts}
    count = 0
    with _opened(file) as stream:
        rows = _csv_rows(stream, file)
        names = next(rows)
        while chunk := list(islice(rows, _CHUNK)):
            wrong = next((place for place, row in enumerate(chunk) if len(row) != len(names)), None)
            if wrong is not None:
                raise _ragged(file, count + wrong + 1, chunk[wrong], len(names))
            columns = dict(zip(names, zip(*chunk, strict=True), strict=True))
            for name in numbers:
                found[name].append(_numbers(columns[name], f"column {name!r} of {file.label}", count))
            for name in texts:
                index = words[name]
                stripped = map(str.strip, columns[name])
                codes[name].append(np.array([index.setdefault(word, len(index)) for word in stripped], dtype=np.int64))
            count += len(chunk)
    return Table(
        count,
        {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in found.items()},
        {
            name: Texts(tuple(words[name]), np.concatenate(parts) if parts else np.empty(0, np.int64))
            for name, parts in codes.items()
        },
    )


def _ragged(file: File, row: int, fields: Sequence[str], expected: int) -> DamagedFileError:
    return DamagedFileError(
        f"{expected} fields in every row, as in the first line",
        f"{file.label} with {len(fields)} in row {row}",
        "Correct the row, and put fields that contain the separator in double quotes.",
    )


def _numbers(fields: Sequence[str], where: str, before: int) -> npt.NDArray[np.float64]:
    try:
        return np.fromiter(map(float, fields), np.float64, len(fields))
    except ValueError:
        values = np.empty(len(fields))
        for place, text in enumerate(fields):
            if not _is_number(text):
                raise DamagedFileError(
                    f"numbers in {where}",
                    f"{where}: {text!r} in row {before + place + 1}",
                    "Correct it, or say with the options which columns are channels.",
                ) from None
            values[place] = np.nan if text.strip().lower() in _MISSING else float(text)
        return values


def _arrow_csv(file: File, numbers: Sequence[str], texts: Sequence[str]) -> Table | None:
    try:
        import pyarrow as pa
        from pyarrow import csv as arrow
    except ImportError:
        return None
    with _opened(file) as stream:
        head = stream.readline()
        delimiter = max(",;\t", key=head.count)
        names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    types = {**dict.fromkeys(numbers, pa.float64()), **dict.fromkeys(texts, pa.string())}
    try:
        with file.open() if file.content is None else pa.BufferReader(file.content) as stream:
            table = arrow.read_csv(
                stream,
                # Threads are for more than one block.
                read_options=arrow.ReadOptions(column_names=names, skip_rows=1, use_threads=file.size > _BLOCK),
                parse_options=arrow.ParseOptions(delimiter=delimiter),
                convert_options=arrow.ConvertOptions(
                    column_types=types, include_columns=list(types), strings_can_be_null=False
                ),
            )
    except (pa.ArrowException, ValueError):
        # The other way of reading accepts more, and names the row where it does not.
        return None
    return _from_arrow(table, numbers, texts)


def _from_arrow(table: Any, numbers: Sequence[str], texts: Sequence[str]) -> Table:
    made: dict[str, Texts] = {}
    for name in texts:
        column = table[name].combine_chunks().dictionary_encode()
        words: dict[str, int] = {}
        # Spaces around words do not make them different.
        merged = np.array(
            [words.setdefault(str(word).strip(), len(words)) for word in column.dictionary.to_pylist()], dtype=np.int64
        )
        made[name] = Texts(tuple(words), merged[column.indices.to_numpy()] if len(column) else np.empty(0, np.int64))
    values = {name: np.array(table[name].to_numpy(), dtype=np.float64) for name in numbers}
    return Table(table.num_rows, values, made)


def _parquet_file(file: File) -> Any:
    arrow, parquet = (extra(name, "tables", file.label) for name in ("pyarrow", "pyarrow.parquet"))
    try:
        return parquet.ParquetFile(io.BytesIO(file.read()))
    except (arrow.ArrowException, OSError) as error:
        raise _damaged(file, error) from error


def _damaged(file: File, error: Exception) -> DamagedFileError:
    return DamagedFileError("a complete Parquet file", f"{file.label}: {error}", "Write or download it again.")


def _parquet_heading(file: File) -> Heading:
    import pyarrow as pa

    schema = _parquet_file(file).schema_arrow
    plain = [pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_boolean(t) for t in schema.types]
    # What would stand in a CSV file: a number, or a word that is none.
    return Heading(tuple(schema.names), tuple("0" if number else "text" for number in plain))


def _parquet(file: File, numbers: Sequence[str], texts: Sequence[str], budget: Budget) -> Table:
    import pyarrow as pa

    opened = _parquet_file(file)
    wanted = [*numbers, *texts]
    budget.take(opened.metadata.num_rows * len(wanted) * 8, file.label)
    try:
        table = opened.read(columns=wanted)
        for name in wanted:
            place = table.schema.get_field_index(name)
            column = table[name].cast(pa.float64() if name in numbers else pa.string())
            if name in texts:
                column = column.fill_null("")
            table = table.set_column(place, name, column)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from error
    return _from_arrow(table, numbers, texts)
