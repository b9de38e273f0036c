r"""Texts with a class each: words or characters as tokens of a vocabulary that the training part decides.

A source is one of these, as plain text or as a table (.csv, or .tsv with tabs):

- a file with a label before each line, ``1 a fine film`` or ``good<tab>a fine film``. A label before a space is a whole
  number, ``COARSE:fine`` as TREC has it, or ``__label__word`` as fastText has it; before a tab it may be anything;
- a table with the columns ``text`` and ``label``, and ``split`` if there is one;
- one file per class with a text a line, ``pos.txt`` and ``neg.txt``, or ``reviews.pos`` and ``reviews.neg``;
- a folder per class with a file per text.

Files of the first three kinds may be those of parts: a word of their names is train, val (dev, valid) or test, and
whoever names the folder, the common beginning, or the train file itself gets all. Folders train, val and test hold
classes. Lines end at ``\n`` alone.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from striate.data.dataset import SkippedFile
from striate.data.file_kinds import holds_sample
from striate.data.labels import index_labels
from striate.data.options import Option, one_of, text, whole_number, yes_or_no
from striate.data.reader import SPLIT_WORDS, Collection, ReadOptions
from striate.data.source import siblings
from striate.data.text.lines import (
    ENCODINGS,
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
from striate.data.text.sentences import Corpus, Sentences, encode, settle
from striate.data.text.tokenising import TOKENISERS, UNITS, tokeniser
from striate.data.text.word_vectors import read_vectors
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from striate.data.file import File
    from striate.data.samples import Samples
    from striate.data.source import Source

_PARTED = re.compile(r"(\d{1,6}|[A-Za-z]+:[A-Za-z]+|__label__\S+|[^\t]{0,200}(?=\t))(?:[ \t](.*)|)$", re.DOTALL)
_LETTER = re.compile(r"(?<![\d.])[^\W\d_]")
# Files that lie beside texts and are none.
_ASIDE = (".md", ".rst", ".json", ".xml", ".html", ".yaml", ".yml", ".toml", ".py", ".pdf", ".log", ".data")
_ASIDE_NAMES = ("readme", "license", "licence", "changelog", "notice")


class _TextFile(NamedTuple):
    split: str
    file: File
    form: str  # "table", "labelled", "class" or "document"
    label: str = ""


class _Entry(NamedTuple):
    """A file that may hold texts, with its part, and its name below the folder of that."""

    split: str
    name: str
    file: File


class _Text(NamedTuple):
    split: str
    label: str
    text: str
    line: int


class TextReader:
    """Reads texts by the forms above."""

    kind = "text"
    summary = (
        "a text file with a label before each line, a .csv file with the columns text and label, one file per class"
    )
    options: tuple[Option, ...] = (
        Option("unit", "words", "what a token is", *one_of(*UNITS)),
        Option(
            "tokeniser", "simple", "how words are cut: at punctuation too, or only at white space", *one_of(*TOKENISERS)
        ),
        Option("lowercase", True, "whether capitals count as small letters", *yes_or_no()),
        Option("encoding", "utf-8", "the encoding of the files", *one_of(*ENCODINGS)),
        Option("labels", "coarse", "what of labels such as DESC:manner is meant", *one_of("coarse", "fine")),
        Option("max_length", None, "tokens after which a text is cut (the longest training text)", *whole_number(1)),
        Option("min_length", 5, "tokens that texts are filled up to at least", *whole_number(1)),
        Option("min_count", 1, "how often the training part must have a token for it to be known", *whole_number(1)),
        Option("max_vocabulary", None, "the most tokens to know, the most frequent first", *whole_number(3)),
        Option("alphabet", None, "the characters to know, in place of those of the training part", *text()),
        Option("vectors", None, "a file of word vectors, word2vec's or GloVe's", *text()),
    )

    def recognises(self, source: Source) -> str | None:
        """Recognise by the first lines, or the first line of a table."""
        found = _text_files(source)
        if not found:
            return None
        splits = sorted({each.split for each in found if each.split}, key=list(SPLIT_WORDS.values()).index)
        what = {
            "table": "a table with the columns text and label",
            "labelled": "lines that begin with a label",
            "class": "one text file per class",
            "document": "a folder of text files per class",
        }[found[0].form]
        return f"{what}, for {', '.join(splits)}" if splits else what

    def read(self, source: Source, options: ReadOptions) -> Collection:
        """Read and cut all texts. Raises `DataError` naming the line at fault."""
        own = options.own
        _check_options(own, options.shortest)
        if options.channels is not None or options.image_size is not None:
            raise DataError(
                "neither channels nor image_size with texts",
                f"channels={options.channels} and image_size={options.image_size}",
                "Give the option max_length to cut texts.",
            )
        found = _text_files(source)
        corpus, skipped = Corpus(), list[SkippedFile]()
        cut = tokeniser(own["unit"], own["tokeniser"], own["lowercase"])
        for each in found:
            # Tokens are numbers of 4 bytes beside the decoded text.
            options.budget.take(5 * each.file.size, each.file.label)
            texts = list(_texts(each, own))
            if not texts:
                raise DataError(
                    "texts in every file", f"{each.file.label} without any", "Add some, or remove the file."
                )
            for found_text in texts:
                tokens = cut(found_text.text)
                if tokens:
                    corpus.add(found_text.split, tokens, found_text.label, (each.file.name, found_text.line))
                elif options.skip_corrupt:
                    skipped.append(SkippedFile(f"{each.file.name}:{found_text.line}", "a text without tokens"))
                else:
                    raise DataError(
                        "texts with at least one token",
                        f"{each.file.label}, line {found_text.line}, {found_text.text[:40]!r}",
                        "Remove it, or give skip_corrupt to leave such lines out.",
                    )
        classes, parts = _labelled(corpus, source.label)
        used = {each.file.name for each in found}
        collection = Collection(
            self.kind,
            classes,
            parts,
            ignored=tuple(file.name for file in source.files if file.name not in used) if len(used) > 1 else (),
            skipped=tuple(skipped),
            input_kind="tokens",
            normalise="none",
            stored_sizes=corpus.stored_sizes(),
        )
        return replace(
            collection, settle=functools.partial(_settled, collection, corpus, options=options, label=source.label)
        )

    def read_new(self, file: File, reading: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
        """The texts of a new file as tokens (L,) of the training vocabulary, with their names.

        The file has a text a line, or is a table with a column ``text``. Raises `DataError` for one without tokens.
        """
        cut = tokeniser(reading["unit"], reading["tokeniser"], reading["lowercase"])
        numbers = {token: number for number, token in enumerate(reading["vocabulary"])}
        content = decoded(file, reading["encoding"])
        if is_table(file):
            rows = ((row.line, row.fields["text"]) for row in read_table(file, content, ("text",)))
        else:
            rows = ((line, words) for line, words in enumerate(split_lines(content), 1))
        samples = []
        for line, words in rows:
            tokens = cut(words)
            if not tokens:
                raise DataError(
                    "a text in every line", f"{file.label}, line {line}, {words[:40]!r}", "Remove the line."
                )
            samples.append((f"{file.name}:{line}", encode(tokens, numbers, reading["length"])))
        if not samples:
            raise DataError("a file with a text a line", f"{file.label} without any", "Write one line per text.")
        return samples


def _check_options(own: Mapping[str, Any], shortest: int) -> None:
    if own["alphabet"] and own["unit"] != "characters":
        raise DataError(
            "unit=characters with an alphabet", f"unit={own['unit']}", "Give unit=characters, or no alphabet."
        )
    if own["vectors"] and own["unit"] != "words":
        raise DataError("unit=words with word vectors", f"unit={own['unit']}", "Give unit=words, or no vectors.")
    if own["max_length"] is not None and own["max_length"] < own["min_length"]:
        raise DataError(
            "max_length of at least min_length",
            f"max_length={own['max_length']} and min_length={own['min_length']}",
            "Lower min_length.",
        )
    if own["max_length"] is not None and own["max_length"] < shortest:
        raise DataError(
            f"max_length of at least {shortest}, the shortest texts that the network takes",
            f"max_length={own['max_length']}",
            "Raise it, or choose another network.",
        )


def _settled(
    collection: Collection, corpus: Corpus, parts: Mapping[str, Samples], *, options: ReadOptions, label: str
) -> Collection:
    sentences = {split: part for split, part in parts.items() if isinstance(part, Sentences)}
    own = {**options.own, "min_length": max(options.own["min_length"], options.shortest)}
    vocabulary, ready = settle(corpus, sentences, own, options.budget, label, options.reading)
    vectors = None
    if options.own["vectors"] and not options.reading:
        path = Path(options.own["vectors"]).expanduser()
        vectors = read_vectors(path, vocabulary, seed=options.seed)
    (length,) = ready["train"].item_shape
    reading = {**collection.reading, "length": length, "vocabulary": list(vocabulary)}
    return replace(collection, parts=ready, vocabulary=vocabulary, vectors=vectors, reading=reading)


def _labelled(corpus: Corpus, label: str) -> tuple[tuple[str, ...], dict[str, Samples]]:
    if "" in corpus.labels:
        if len(corpus.labels) > 1:
            raise DataError(
                "a split for every text or for none", f"{label} with texts of both kinds", "Fill it in everywhere."
            )
        train = ""
    else:
        train = "train"
    if train not in corpus.labels:
        raise DataError("texts to train on", f"{label} without any", "Add a train part.")
    whole = all(name.isdecimal() and len(name) < 10 for names in corpus.labels.values() for name in names)
    values = {
        split or "train": np.array([int(name) for name in names] if whole else names)
        for split, names in corpus.labels.items()
    }
    classes, indices = index_labels(values, None, {split: f"{label} ({split})" for split in values})
    return classes, {split or "train": corpus.samples(split, indices[split or "train"]) for split in corpus.labels}


def _texts(source: _TextFile, own: Mapping[str, Any]) -> Iterator[_Text]:
    content = decoded(source.file, own["encoding"])
    name = source.file.label
    if source.form == "document":
        yield _Text(source.split, source.label, content, 1)
    elif source.form == "class":
        for line, words in enumerate(split_lines(content), 1):
            yield _Text(source.split, source.label, words, line)
    elif source.form == "labelled":
        for line, words in enumerate(split_lines(content), 1):
            if not words.strip():
                yield _Text(source.split, "", "", line)
                continue
            where = f"{name}, line {line}"
            if not (parted := _PARTED.match(words)):
                raise DataError(
                    "a label before every text",
                    f"{words[:40]!r} in {where}",
                    "Part them by a tab, or number the labels.",
                )
            label, rest = parted.groups(default="")
            yield _Text(source.split, _label(label, own, where), rest, line)
    else:
        for row in read_table(source.file, content, ("text", "label")):
            where = f"{name}, line {row.line}"
            split = row.fields.get("split", "")
            called = split_called(split, where) if split.strip() else source.split
            yield _Text(called, _label(row.fields["label"], own, where), row.fields["text"], row.line)


def _label(label: str, own: Mapping[str, Any], where: str) -> str:
    label = label.strip().removeprefix("__label__")
    if not label:
        raise DataError("a label", f"an empty one in {where}", "Fill it in, or remove the line.")
    if own["labels"] == "coarse" and re.fullmatch(r"[A-Za-z]+:[A-Za-z]+", label):
        label = label.partition(":")[0]
    return label


def _form(file: File) -> str | None:
    """What a lone file holds: a table of texts, labelled lines, unlabelled lines ("class"), or no texts."""
    if is_table(file):
        return "table" if {"text", "label"} <= set(columns(file)) else None
    if holds_sample(file) or file.suffix in _ASIDE or any(word in file.base.lower() for word in _ASIDE_NAMES):
        return None
    lines = [line for line in head_lines(file) if line.strip()][:200]
    marked = [parted.group(2) or "" for line in lines if (parted := _PARTED.match(line))]
    # Tables of numbers have hardly a letter.
    if lines and len(marked) == len(lines):
        return "labelled" if _mostly_letters(marked) else None
    return "class" if lines and _mostly_letters(lines) else None


def _mostly_letters(lines: Sequence[str]) -> bool:
    return sum(_LETTER.search(line) is not None for line in lines) * 2 > len(lines)


def _text_files(source: Source) -> list[_TextFile]:
    """The files that hold texts, with their parts and forms; none if the source is something else."""
    if source.form == "name":
        return []
    if source.form == "file":
        return _of_file(source)
    tops = {file.name.partition("/")[0] for file in source.files if "/" in file.name}
    splits = {top: SPLIT_WORDS[top.lower()] for top in tops if top.lower() in SPLIT_WORDS}
    if not splits:
        return _of_folder([_Entry("", file.name, file) for file in source.files])
    entries = []
    for file in source.files:
        top, _, inside = file.name.partition("/")
        if top in splits and inside:
            entries.append(_Entry(splits[top], inside, file))
    return _of_folder(entries)


def _of_file(source: Source) -> list[_TextFile]:
    file = source.files[0]
    form = _form(file)
    if form not in ("table", "labelled"):
        return []
    split, rest = split_in_name(file.name)
    if split != "train":
        return [_TextFile("", file, form)]
    found = [_TextFile("train", file, form)]
    for other in siblings(Path(source.label).expanduser()):
        its_split, its_rest = split_in_name(other.name)
        if other.name != file.name and its_rest == rest and its_split in ("val", "test") and _form(other) == form:
            found.append(_TextFile(its_split, other, form))
    return found if len(found) > 1 else [_TextFile("", file, form)]


def _of_folder(entries: Sequence[_Entry]) -> list[_TextFile]:
    deep = [entry for entry in entries if "/" in entry.name]
    if deep:
        # Texts beside folders: it is not plain what belongs to what.
        aside = all(_form(entry.file) is None for entry in entries if "/" not in entry.name)
        return _documents(deep) if aside else []
    if any(holds_sample(entry.file) and not is_table(entry.file) for entry in entries):
        return []
    found = [(entry, form) for entry in entries if (form := _form(entry.file)) is not None]
    found = [(entry._replace(split=entry.split or split_in_name(entry.name)[0] or ""), form) for entry, form in found]
    if any(entry.split == "train" for entry, _ in found):
        found = [(entry, form) for entry, form in found if entry.split]
    plain = [entry for entry, form in found if form == "class"]
    # An empty file beside them is a class without texts, which is to be noticed.
    suffixes = {entry.file.suffix for entry in plain}
    plain += [entry for entry in entries if plain and not entry.file.size and entry.file.suffix in suffixes]
    labels = _class_labels([entry.name for entry in plain])
    if len(set(labels.values())) > 1:
        return [_TextFile(entry.split, entry.file, "class", labels[entry.name]) for entry in plain]
    marked = [_TextFile(entry.split, entry.file, form) for entry, form in found if form != "class"]
    splits = Counter(each.split for each in marked)
    twice = next((split for split, count in splits.items() if count > 1), None)
    if twice:
        names = [each.file.base for each in marked if each.split == twice]
        raise DataError(
            "one file of texts for each part",
            f"{' and '.join(names[:3])} for {twice}",
            "Give the train file itself: its name says which others belong to it.",
        )
    return [] if twice == "" else marked


def _class_labels(names: Sequence[str]) -> dict[str, str]:
    """The class that each file's name stands for."""
    bare = {name: split_in_name(name)[1] for name in names}
    rests = sorted(set(bare.values()))
    words = dict(zip(rests, own_words(rests), strict=True))
    return {name: words[rest] for name, rest in bare.items()}


def _documents(entries: Sequence[_Entry]) -> list[_TextFile]:
    texts = [entry for entry in entries if entry.file.suffix == ".txt"]
    # A look at the first file of each class tells; there may be very many.
    first = {PurePosixPath(entry.name).parts[0]: entry.file for entry in reversed(texts)}
    if any(holds_sample(entry.file) for entry in entries) or len(first) < 2:
        return []
    if any(_form(file) != "class" for file in first.values()):
        return []
    return [_TextFile(entry.split, entry.file, "document", PurePosixPath(entry.name).parts[0]) for entry in texts]
