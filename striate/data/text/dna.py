"""DNA and RNA as one row per base: FASTA files, and tables.

A source is one of these:

- a FASTA file (.fa, .fasta, .fna, .ffn, .fas) whose headers name the class: ``>name label=EI``, ``>name|EI``,
  ``>name|EI|test`` with the part, or ``>name EI`` with the class as the last word;
- FASTA files of parts, ``train.fa`` and ``test.fa``, or one FASTA file per class, in folders train and test or not;
- a table (.csv, .tsv) with the columns ``sequence`` and ``label``, and ``split`` if there is one;
- lines of class, name and sequence with commas between them, as the UCI repository has splice junctions and promoters.

Inputs are (N, 4, L), the rows A, C, G and T (or U), in small letters or large. A letter of IUPAC's that stands for
several bases has a part of each, N a quarter of each, and a gap (``-`` or ``.``) has none. Inputs are uint8 where every
letter is one base, and float32 otherwise; they are not normalised.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from striate.data.dataset import SkippedFile
from striate.data.labels import index_labels
from striate.data.options import Option, one_of, whole_number, yes_or_no
from striate.data.reader import SPLIT_WORDS, Collection, ReadOptions
from striate.data.samples import TensorSamples
from striate.data.source import siblings
from striate.data.text.lines import (
    columns,
    decoded,
    head_lines,
    is_table,
    own_words,
    read_table,
    split_called,
    split_in_name,
    split_lines,
)
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from striate.data.file import File
    from striate.data.samples import Samples
    from striate.data.source import Source

BASES = "ACGT"
"""The channels, in order."""

IUPAC = {
    "A": "A",
    "C": "C",
    "G": "G",
    "T": "T",
    "U": "T",
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
    "-": "",
    ".": "",
}
"""What each letter stands for."""

FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".fas")

_LETTERS = re.escape("".join(IUPAC))
_LINE = re.compile(rf"\s*[^,\s][^,]*,[^,]*,\s*[{_LETTERS}]{{8,}}\s*", re.IGNORECASE)
_WRONG = re.compile(rf"[^{_LETTERS}]")


class DnaReader:
    """Reads labelled sequences of bases."""

    kind = "dna"
    summary = "a FASTA file with classes in its headers, one FASTA file per class, a .csv file with sequence and label"
    options: tuple[Option, ...] = (
        Option("length", None, "bases that sequences are cut or filled up to, around their middle", *whole_number(1)),
        Option("ambiguous", "fractions", "what a letter for several bases becomes", *one_of("fractions", "zeros")),
        Option("reverse_complement", False, "whether to train on the other strand of each sequence too", *yes_or_no()),
    )

    def recognises(self, source: Source) -> str | None:
        """Recognise extensions, the first line of a table, or lines of class, name and sequence."""
        found = _dna_files(source)
        if not found:
            return None
        what = {
            "fasta": "FASTA",
            "table": "a table with the columns sequence and label",
            "lines": "lines of class, name and sequence",
        }[found[0].form]
        return f"{what}, one file per class" if found[0].label else what

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read all sequences. Raises `DataError` naming the line at fault."""
        if options.channels is not None:
            raise DataError("no channels with bases", f"channels={options.channels}", "Leave it out: bases have four.")
        found = _dna_files(source)
        gathered: dict[str, _Part] = {}
        skipped: list[SkippedFile] = []
        for each in found:
            options.budget.take(2 * each.file.size, each.file.label)
            records = list(_records(each))
            if not records:
                raise DataError(
                    "sequences in every file", f"{each.file.label} without any", "Add some, or remove the file."
                )
            for record in records:
                try:
                    sequence = checked_sequence(record.sequence, f"{each.file.label}, {record.place}")
                except DataError as error:
                    if not options.skip_corrupt:
                        raise
                    skipped.append(SkippedFile(f"{each.file.name}:{record.place}", error.received))
                    continue
                part = gathered.setdefault(record.split, _Part())
                part.sequences.append(sequence)
                part.labels.append(record.label)
                part.names.append(f"{each.file.name}:{record.name}")
        if "" in gathered and len(gathered) == 1:
            gathered = {"train": gathered[""]}
        if "train" not in gathered or "" in gathered:
            raise DataError(
                "sequences to train on, and a split for every sequence or for none",
                f"{source.label} with {' and '.join(word or 'no split' for word in gathered) or 'none'}",
                "Fill in train, val or test everywhere.",
            )
        values = {split: np.array(part.labels) for split, part in gathered.items()}
        classes, indices = index_labels(values, None, {split: f"{source.label} ({split})" for split in values})
        length = _common_length(gathered, options)
        fractions = options.own["ambiguous"] == "fractions"
        count = sum(len(part.sequences) for part in gathered.values()) * (1 + options.own["reverse_complement"])
        ambiguous = fractions and any(set(s) - set("ACGTU-.") for part in gathered.values() for s in part.sequences)
        dtype = torch.float32 if ambiguous else torch.uint8
        options.budget.take(
            count * 4 * length * dtype.itemsize, f"{source.label} as {count} sequences of {length} bases"
        )
        parts = {}
        for split, part in gathered.items():
            rows = torch.stack([one_hot(sequence, length, ambiguous=fractions) for sequence in part.sequences])
            parts[split] = TensorSamples(rows.to(dtype), indices[split], part.names.__getitem__)
        used = {each.file.name for each in found}
        sizes: Counter[tuple[int, ...]] = Counter(
            (len(sequence),) for part in gathered.values() for sequence in part.sequences
        )
        collection = Collection(
            self.kind,
            classes,
            parts,
            ignored=tuple(file.name for file in source.files if file.name not in used) if source.form != "file" else (),
            skipped=tuple(skipped),
            normalise="none",
            reading={"length": length},
            stored_sizes=sizes,
        )
        if not options.own["reverse_complement"]:
            return collection
        return replace(collection, settle=lambda parts: replace(collection, parts=_with_other_strand(parts)))

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
        """The sequences of a new FASTA file, a table, or lines that end in a sequence, as (4, L), with their names."""
        length, fractions = reading["length"], reading["ambiguous"] == "fractions"
        samples = []
        for record in _unlabelled(file):
            where = f"{file.label}, {record.place}"
            sequence = checked_sequence(record.sequence, where)
            samples.append((record.name, one_hot(sequence, length, ambiguous=fractions)))
        if not samples:
            raise DataError("a file with sequences", f"{file.label} without any", "Give a FASTA file.")
        return samples


def checked_sequence(text: str, where: str) -> str:
    """A sequence in capitals, without white space. Raises `DataError` for an empty one and for other letters.

    >>> checked_sequence("acg tn", "here")
    'ACGTN'
    """
    sequence = "".join(text.split()).upper()
    if not sequence:
        raise DataError("a sequence of bases", f"an empty one in {where}", "Remove it.")
    wrong = _WRONG.search(sequence)
    if wrong:
        raise DataError(
            f"IUPAC's letters for bases, {''.join(IUPAC)}",
            f"{wrong.group()!r} at base {wrong.start() + 1} in {where}",
            "Check that these are bases, and write N where one is unknown.",
        )
    return sequence


def one_hot(sequence: str, length: int | None = None, *, ambiguous: bool = True) -> torch.Tensor:
    """Bases as columns of (4, L), float32: rows A, C, G, T; several bases share 1, or are all 0 without ``ambiguous``.

    A longer sequence than ``length`` is cut to its middle, a shorter one has zeros on both sides.

    >>> one_hot("ACGTR").T.tolist()[3:]
    [[0.0, 0.0, 0.0, 1.0], [0.5, 0.0, 0.5, 0.0]]
    """
    table = _TABLE if ambiguous else np.where(_TABLE == 1, _TABLE, 0)
    rows = torch.from_numpy(table[np.frombuffer(sequence.encode("latin-1"), np.uint8)].T.copy())
    if length is None or length == len(sequence):
        return rows
    missing = length - len(sequence)
    before = missing // 2
    return torch.nn.functional.pad(rows, (before, missing - before))


def _table() -> npt.NDArray[np.float32]:
    table = np.zeros((256, 4), dtype=np.float32)
    for letter, bases in IUPAC.items():
        for base in bases:
            table[[ord(letter), ord(letter.lower())], BASES.index(base)] = 1 / len(bases)
    return table


_TABLE = _table()


@dataclass(slots=True)
class _Part:
    sequences: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


class _DnaFile(NamedTuple):
    split: str
    file: File
    form: str  # "fasta", "table" or "lines"
    label: str = ""


class _Record(NamedTuple):
    name: str
    sequence: str
    place: str
    label: str = ""
    split: str = ""


def _with_other_strand(parts: Mapping[str, Samples]) -> dict[str, Samples]:
    """Training sequences twice: A and T, and C and G, change places, and the order of bases is turned round."""
    train = parts["train"]
    count = len(train)
    inputs, labels = train.fetch(range(count))
    both = torch.cat([inputs, inputs.flip(1, 2)])

    def name(index: int) -> str:
        return train.name(index) if index < count else f"{train.name(index - count)} (other strand)"

    return {**parts, "train": TensorSamples(both, torch.cat([labels, labels]), name)}


def _common_length(gathered: Mapping[str, _Part], options: ReadOptions) -> int:
    size = options.image_size
    wanted = size[0] if isinstance(size, tuple) and len(size) == 1 else size
    if wanted is not None and not isinstance(wanted, tuple):
        return int(wanted)
    known = options.reading.get("length", options.own["length"])
    if known is not None:
        return int(known)
    named = [(len(s), name) for part in gathered.values() for s, name in zip(part.sequences, part.names, strict=True)]
    lengths = Counter(length for length, _ in named)
    usual = lengths.most_common(1)[0][0]
    other = next(((length, name) for length, name in named if length != usual), None)
    if other is not None:
        raise DataError(
            f"sequences of one length, {usual} bases as {lengths[usual]} of {len(named)} have",
            f"{other[1]} with {other[0]}",
            f"Give the option length, for example length={usual}: longer ones are cut, shorter ones filled up.",
        )
    return usual


def _records(source: _DnaFile) -> Iterator[_Record]:
    file, content = source.file, decoded(source.file, "latin-1")
    if source.form == "table":
        for row in read_table(file, content, ("sequence", "label")):
            where = f"{file.label}, line {row.line}"
            split = row.fields.get("split", "")
            part = split_called(split, where) if split.strip() else source.split
            name = row.fields.get("name") or str(row.line)
            label = _label(row.fields["label"], where)
            yield _Record(name, row.fields["sequence"], f"line {row.line}", label, part)
    elif source.form == "lines":
        for line, words in enumerate(split_lines(content), 1):
            if not words.strip():
                continue
            fields = [word.strip() for word in words.split(",")]
            if len(fields) != 3:
                raise DataError(
                    "a class, a name and a sequence",
                    f"{words[:40]!r} in {file.label}, line {line}",
                    "Part them by commas.",
                )
            yield _Record(
                fields[1], fields[2], f"line {line}", _label(fields[0], f"{file.label}, line {line}"), source.split
            )
    else:
        for header, sequence, line in fasta_records(file, content):
            name, given, called = _header(header)
            where = f"{file.label}, line {line}"
            if source.label:
                given, called = source.label, None
            if given is None:
                raise DataError(
                    "headers that name the class, such as >name label=x, >name|x or >name x",
                    f"{'>' + header[:60]!r} in {where}",
                    "Add it, or write one file per class.",
                )
            part = split_called(called, where) if called else source.split
            yield _Record(name, sequence, f"line {line}", given, part)


def _label(text: str, where: str) -> str:
    if not text.strip():
        raise DataError("a label", f"an empty one in {where}", "Fill it in, or remove the line.")
    return text.strip()


def fasta_records(file: File, content: str) -> Iterator[tuple[str, str, int]]:
    r"""The headers, sequences and first lines of a FASTA file. Raises `DataError` for one that begins otherwise.

    >>> from striate.data.file import File
    >>> list(fasta_records(File("a.fa", "a.fa", 0), ">one x\nAC\nGT\n>two y\nTT\n"))
    [('one x', 'ACGT', 1), ('two y', 'TT', 4)]
    """
    header, begun, bases = None, 0, list[str]()
    for line, words in enumerate(split_lines(content), 1):
        # A semicolon begins a comment.
        if words.startswith(">"):
            if header is not None:
                yield header, "".join(bases), begun
            header, begun, bases = words[1:].strip(), line, []
        elif words.strip() and not words.startswith(";"):
            if header is None:
                raise DataError(
                    "a FASTA file, whose first line begins with >", f"{words[:40]!r} in {file.label}", "Add headers."
                )
            bases.append(words.strip())
    if header is not None:
        yield header, "".join(bases), begun


def _header(header: str) -> tuple[str, str | None, str | None]:
    name, *words = header.split() or [""]
    given = dict(re.findall(r"\b(label|class|split)=(\S+)", header))
    label = given.get("label", given.get("class"))
    if label is not None:
        return name, label, given.get("split")
    pieces = [piece.strip() for piece in header.split("|")]
    if len(pieces) in (2, 3) and all(pieces):
        return pieces[0], pieces[1], pieces[2] if len(pieces) == 3 else None
    return name, words[-1] if words else None, None


def _unlabelled(file: File) -> Iterator[_Record]:
    content = decoded(file, "latin-1")
    if is_table(file):
        for row in read_table(file, content, ("sequence",)):
            yield _Record(row.fields.get("name") or str(row.line), row.fields["sequence"], f"line {row.line}")
    elif content.lstrip().startswith((">", ";")):
        for header, sequence, line in fasta_records(file, content):
            yield _Record(header.split()[0] if header else str(line), sequence, f"line {line}")
    else:
        for line, words in enumerate(split_lines(content), 1):
            if words.strip():
                *_, name, sequence = ("", str(line), *(word.strip() for word in words.split(",")))
                yield _Record(name, sequence, f"line {line}")


def _form(file: File) -> str | None:
    if file.suffix in FASTA_SUFFIXES:
        return "fasta"
    if is_table(file) and {"sequence", "label"} <= set(columns(file)):
        return "table"
    if file.suffix in (".data", ".csv", ".txt"):
        lines = [line for line in head_lines(file) if line.strip()][:50]
        return "lines" if lines and all(_LINE.fullmatch(line) for line in lines) else None
    return None


def _dna_files(source: Source) -> list[_DnaFile]:
    if source.form == "name":
        return []
    if source.form == "file":
        return _of_file(source)
    folders = {file.name.partition("/")[0] for file in source.files if "/" in file.name}
    splits = {folder: SPLIT_WORDS[folder.lower()] for folder in folders if folder.lower() in SPLIT_WORDS}
    entries = [
        (splits.get(file.name.partition("/")[0], ""), file.name.partition("/")[2] if splits else file.name, file)
        for file in source.files
    ]
    entries = [(split, name, file) for split, name, file in entries if bool(split) == bool(splits) and "/" not in name]
    found = [(split, name, file) for split, name, file in entries if _form(file) in ("fasta", "table")]
    if not found:
        return []
    if any(split_in_name(name)[0] == "train" for split, name, _ in found if not split):
        return [_DnaFile(part, f, str(_form(f))) for _, name, f in found if (part := split_in_name(name)[0])]
    names = sorted({name for _, name, _ in found})
    words = dict(zip(names, own_words(names), strict=True))
    if len(names) > 1 and all(_form(file) == "fasta" for _, _, file in found):
        return [_DnaFile(split, file, "fasta", words[name]) for split, name, file in found]
    return [_DnaFile(split, file, str(_form(file))) for split, _, file in found]


def _of_file(source: Source) -> list[_DnaFile]:
    file = source.files[0]
    form = _form(file)
    if form is None:
        return []
    split, rest = split_in_name(file.name)
    beside = siblings(Path(source.label).expanduser()) if split == "train" else ()
    parts = [(part, other) for other in beside for part, its in [split_in_name(other.name)] if part and its == rest]
    others = [_DnaFile(part, other, form) for part, other in parts if part != "train" and _form(other) == form]
    return [_DnaFile("train", file, form), *others] if others else [_DnaFile("", file, form)]
