"""Texts in files: lines, tables, and what the words in file names mean."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, NamedTuple

from striate.data.reader import SPLIT_WORDS
from striate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from striate.data.file import File

ENCODINGS = (
    "utf-8",
    "latin-1",
    "iso8859-2",
    "cp1250",
    "cp1251",
    "cp1252",
    "koi8-r",
    "gb18030",
    "big5",
    "shift_jis",
    "euc-jp",
    "euc-kr",
)
"""Encodings that texts may be in."""

_HEAD = 2**16
_SPLIT = re.compile(r"([-_. ]+)")


class Row(NamedTuple):
    """A row of a table: the line that it ends in, and its fields by column."""

    line: int
    fields: dict[str, str]


def decoded(file: File, encoding: str) -> str:
    r"""The content of a text file, without a byte order mark. Raises `DataError` for another encoding and for NULs.

    >>> from striate.data.file import File
    >>> decoded(File("a.txt", "a.txt", 4, b"caf\xe9"), "latin-1")
    'café'
    """
    data = file.read()
    if b"\0" in data:
        raise DataError(
            "a text file", f"{file.label} with NUL bytes, which is none", "Check that it is the right file."
        )
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        other = "utf-8" if encoding != "utf-8" else "latin-1"
        raise DataError(
            f"a text in {encoding}",
            f"{file.label}, line {line}, with the byte 0x{data[error.start]:02x} that is not",
            f"Give the option encoding={other}, or save it as UTF-8.",
        ) from error


def split_lines(content: str) -> list[str]:
    r"""The lines of a text, parted by ``\n`` or ``\r\n`` and by nothing else; an empty one at the end is none.

    Python's ``splitlines`` would also part at other characters, such as the 0x85 that old texts have for an ellipsis.

    >>> split_lines("a\x85b\r\nc\n")
    ['a\x85b', 'c']
    """
    lines = content.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def head_lines(file: File) -> list[str]:
    """The first whole lines of a file that looks like a text, at most 64 KiB; none of one that does not."""
    if not file.size:
        return []
    with file.open() as stream:
        data = stream.read(_HEAD)
    if b"\0" in data:
        return []
    lines = split_lines(data.removeprefix(b"\xef\xbb\xbf").decode("latin-1"))
    # The last line may have been cut by the limit.
    return lines[:-1] if len(lines) > 1 and len(data) == _HEAD else lines


def is_table(file: File) -> bool:
    """Whether the name is that of a table: .csv, or .tsv with tabs."""
    return file.suffix in (".csv", ".tsv")


def columns(file: File) -> list[str]:
    """The names in the first line of a table."""
    try:
        return next(csv.reader(head_lines(file)[:1], delimiter=_delimiter(file)), [])
    except csv.Error:
        return []


def read_table(file: File, content: str, wanted: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a table with a header, which must have each of the columns ``wanted`` once.

    Raises `DataError` naming the line at fault.
    """
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=_delimiter(file))
    try:
        names = list(reader.fieldnames or ())
        if any(names.count(name) != 1 for name in wanted) or len(set(names)) != len(names):
            raise DataError(
                f"a table with the columns {', '.join(wanted)}, every column once",
                f"{file.label} with {', '.join(map(repr, names)) or 'no columns'}",
                "Name the columns in the first line.",
            )
        for row in reader:
            # csv gives None for the fields of a short row and puts those of a long one under the key None.
            if None in row or None in row.values():
                raise DataError(
                    f"{len(names)} fields, as in the first line",
                    f"{file.label}, line {reader.line_num}",
                    "Put fields that contain separators in double quotes.",
                )
            yield Row(reader.line_num, row)
    except csv.Error as error:
        raise DataError(
            "a table", f"{file.label}, line {reader.line_num}: {error}", "Close all quotes, or save it again."
        ) from error


def _delimiter(file: File) -> str:
    return "\t" if file.suffix == ".tsv" else ","


def split_called(word: str, where: str) -> str:
    """The part that a word stands for: train, val or test. Raises `DataError`.

    >>> split_called("Dev", "a.csv, line 2")
    'val'
    """
    if word.strip().lower() not in SPLIT_WORDS:
        raise DataError(
            "a split of train, val or test", f"{word!r} in {where}", did_you_mean(word, ("train", "val", "test"))
        )
    return SPLIT_WORDS[word.strip().lower()]


def split_in_name(name: str) -> tuple[str | None, str]:
    """The part that a word of a file's name stands for, if any, and the name without that word.

    Words are parted by dots, hyphens, underscores and spaces.

    >>> split_in_name("stsa.binary.dev"), split_in_name("pos.txt")
    (('val', 'stsa.binary.'), (None, 'pos.txt'))
    """
    pieces = _SPLIT.split(name)
    for place, piece in enumerate(pieces):
        if piece.lower() in SPLIT_WORDS:
            return SPLIT_WORDS[piece.lower()], "".join([*pieces[:place], *pieces[place + 1 :]])
    return None, name


def own_words(names: Sequence[str]) -> list[str]:
    """What tells file names apart: the words that not all have at their beginning or end.

    >>> own_words(["rt-polarity.pos", "rt-polarity.neg"]), own_words(["good.txt", "bad news.txt"])
    (['pos', 'neg'], ['good', 'bad news'])
    """
    split = [_SPLIT.split(name) for name in names]
    while all(len(words) > 1 for words in split) and len({words[0] for words in split}) == 1:
        split = [words[1:] for words in split]
    while all(len(words) > 1 for words in split) and len({words[-1] for words in split}) == 1:
        split = [words[:-1] for words in split]
    return ["".join(words).strip("-_. ") for words in split]
