"""Texts: the forms they come in, tokens, the vocabulary of the training part, padding, and what is refused."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.data import load_data
from striate.data.file import file_on_disk
from striate.data.registry import list_readers
from striate.data.text.lines import split_in_name, split_lines
from striate.data.text.reader import TextReader
from striate.data.text.sentences import build_vocabulary, encode, padded
from striate.data.text.tokenising import tokeniser
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}
GOOD = ["a fine film", "what a joy !", "fine , moving"]
BAD = ["dull", "a waste of time , a bore", "no joy here"]


def lines(path, texts, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(end.join(texts) + end, encoding="utf-8", newline="")
    return path


def words_of(dataset, part, index):
    return [dataset.vocabulary[token] for token in part.fetch([index])[0][0].tolist() if token]


def texts_of(dataset, part):
    return {
        (" ".join(words_of(dataset, part, index)), dataset.classes[int(part.labels[index])])
        for index in range(len(part))
    }


WANTED = {(text, "good") for text in GOOD} | {(text, "bad") for text in BAD}


def write_form(root, form):
    if form == "labelled":
        return lines(root / "all.txt", [f"good\t{text}" for text in GOOD] + [f"bad\t{text}" for text in BAD])
    if form == "fasttext":
        return lines(
            root / "all", [f"__label__good {text}" for text in GOOD] + [f"__label__bad {text}" for text in BAD]
        )
    if form == "csv":
        rows = ["id,text,label", *(f'1,"{t}",good' for t in GOOD), *(f'2,"{t}", bad' for t in BAD)]
        return lines(root / "a.csv", rows)
    if form == "tsv":
        return lines(root / "a.tsv", ["label\ttext", *(f"good\t{t}" for t in GOOD), *(f"bad\t{t}" for t in BAD)])
    if form == "class files":
        lines(root / "set" / "good.txt", GOOD)
        lines(root / "set" / "bad.txt", BAD, "\r\n")
        return root / "set"
    if form == "documents":
        for label, texts in (("good", GOOD), ("bad", BAD)):
            for number, text in enumerate(texts):
                lines(root / "set" / label / f"{number}.txt", text.split(" ", 1))
        return root / "set"
    raise AssertionError(form)


FORMS = ["labelled", "fasttext", "csv", "tsv", "class files", "documents"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_texts(tmp_path, form):
    dataset = load_data(write_form(tmp_path, form), **WHOLE)
    assert (dataset.kind, dataset.input_kind, dataset.task, dataset.normalise) == (
        "text",
        "tokens",
        "classification",
        "none",
    )
    assert dataset.classes == ("bad", "good")
    assert texts_of(dataset, dataset.train) == WANTED
    assert dataset.input_size == (7,)
    assert dataset.spatial_dims == 1
    assert dataset.in_channels == len(dataset.vocabulary) == 2 + len({w for t in GOOD + BAD for w in t.split()})
    assert dataset.train.dtype == torch.int64


def test_polarity_files_by_the_beginning_of_their_names(tmp_path):
    lines(tmp_path / "reviews.pos", GOOD)
    lines(tmp_path / "reviews.neg", BAD)
    lines(tmp_path / "reviews.all", ["0 other", "1 texts"])
    dataset = load_data(tmp_path / "reviews", **WHOLE)
    assert (dataset.classes, len(dataset.train), dataset.ignored) == (("neg", "pos"), 6, ("all",))
    assert dataset.train.name(1) == "neg:2"


def test_parts_in_files_folders_and_columns(tmp_path):
    everything = {"train": [0, 1, 1, 0], "dev": [1, 0], "test": [1]}
    for split, labels in everything.items():
        texts = [f"{label} the {split} text of {label}" for label in labels]
        lines(tmp_path / "a" / f"set.{split}", texts)
        lines(tmp_path / "b" / f"{split}.tsv", ["text\tlabel", *(f"{text[2:]}\t{text[0]}" for text in texts)])
        for label in (0, 1):
            chosen = [text[2:] for text in texts if text[0] == str(label)]
            if chosen:
                lines(tmp_path / "c" / split / f"{label}.txt", chosen)
    rows = [f"the {split} text of {label},{label},{split}" for split, labels in everything.items() for label in labels]
    lines(tmp_path / "d.csv", ["text,label,split", *rows])
    for source in ("a", "a/set", "a/set.train", "b", "b/train.tsv", "c", "d.csv"):
        dataset = load_data(tmp_path / source)
        assert dataset.official == ("train", "val", "test"), source
        found = {
            split: Counter(dataset.classes[label] for label in part.labels.tolist())
            for split, part in dataset.parts.items()
        }
        assert found == {"train": {"0": 2, "1": 2}, "val": {"0": 1, "1": 1}, "test": {"1": 1}}, source
        # "dev" and "test" were not in the training part.
        assert words_of(dataset, dataset.test, 0) == ["the", "<unk>", "text", "of", "1"], source


def test_two_candidates_for_a_part(tmp_path):
    for name in ("Q.train.all", "Q.train.raw"):
        lines(tmp_path / name, ["0 what is it", "1 who is it"])
    with pytest.raises(DataError) as caught:
        load_data(tmp_path / "Q")
    assert str(caught.value) == (
        "Expected one file of texts for each part; received train.all and train.raw for train. "
        "Give the train file itself: its name says which others belong to it."
    )
    assert load_data(tmp_path / "Q.train.raw", **WHOLE).train.name(0) == "Q.train.raw:1"


def test_coarse_and_fine_labels(tmp_path):
    path = lines(tmp_path / "a.raw", ["DESC:manner How ?", "DESC:def What ?", "NUM:date When ?"] * 2)
    assert load_data(path, **WHOLE).classes == ("DESC", "NUM")
    assert load_data(path, **WHOLE, options={"labels": "fine"}).classes == ("DESC:def", "DESC:manner", "NUM:date")


def test_the_vocabulary_is_that_of_the_training_part(tmp_path):
    """Counted by hand over what the split left for training, by frequency and then by letter."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("abcdefghij"), random.integers(1, 6))) for _ in range(60)]
    path = lines(tmp_path / "a.txt", [f"{number % 2} {text} only{number}" for number, text in enumerate(texts)])
    options = {"min_length": 1, "tokeniser": "spaces"}
    dataset = load_data(path, seed=3, options=options)
    places = {
        split: [int(part.name(i).split(":")[1]) - 1 for i in range(len(part))] for split, part in dataset.parts.items()
    }
    assert sorted(place for part in places.values() for place in part) == list(range(60))
    counts = Counter(word for place in places["train"] for word in [*texts[place].split(), f"only{place}"])
    assert dataset.vocabulary == ("<pad>", "<unk>", *sorted(counts, key=lambda word: (-counts[word], word)))
    assert dataset.input_size == (max(len(texts[place].split()) for place in places["train"]) + 1,)
    for split in ("val", "test"):
        for index, place in enumerate(places[split]):
            wanted = [word if word in counts else "<unk>" for word in [*texts[place].split(), f"only{place}"]]
            assert words_of(dataset, dataset.parts[split], index) == wanted[: dataset.input_size[0]]
    fold = load_data(path, fold=(0, 3), options=options)
    assert not {f"only{int(fold.test.name(i).split(':')[1]) - 1}" for i in range(len(fold.test))} & set(fold.vocabulary)


def test_lengths_are_cut_filled_and_counted(tmp_path):
    path = lines(tmp_path / "a.txt", ["0 a b c d e f g", "1 a b", "1 a"])
    dataset = load_data(path, **WHOLE, options={"max_length": 6})
    assert dataset.input_size == (6,)
    assert words_of(dataset, dataset.train, 0) == list("abcdef")
    assert dataset.stored_sizes == {(7,): 1, (2,): 1, (1,): 1}
    short = load_data(path, **WHOLE, options={"max_length": 2, "min_length": 2})
    assert short.train.fetch([0, 2])[0].tolist() == [[2, 3], [2, 0]]
    assert load_data(path, **WHOLE, options={"min_length": 9}).input_size == (9,)


def test_rare_words_and_small_vocabularies(tmp_path):
    path = lines(tmp_path / "a.txt", ["0 a a a b b c", "1 a b d <unk> <pad>"])
    options = {"tokeniser": "spaces"}
    assert load_data(path, **WHOLE, options={**options, "min_count": 2}).vocabulary == ("<pad>", "<unk>", "a", "b")
    dataset = load_data(path, **WHOLE, options={**options, "max_vocabulary": 3})
    assert dataset.vocabulary == ("<pad>", "<unk>", "a")
    # Words that are called like the two special tokens are unknown words, never padding.
    assert dataset.train.fetch([1])[0].tolist() == [[2, 1, 1, 1, 1, 0]]
    with pytest.raises(DataError) as caught:
        load_data(path, **WHOLE, options={"min_count": 9})
    assert str(caught.value) == (
        f"Expected tokens that occur 9 times in the training part; received {path} without any. Lower min_count."
    )


def test_characters(tmp_path):
    path = lines(tmp_path / "a.txt", ["0 Ab a", "1 bé"])
    dataset = load_data(path, **WHOLE, options={"unit": "characters"})
    assert dataset.vocabulary == ("<pad>", "<unk>", "a", "b", " ", "é")
    assert dataset.train.fetch([0, 1])[0].tolist() == [[2, 3, 4, 2, 0], [3, 5, 0, 0, 0]]
    fixed = load_data(path, **WHOLE, options={"unit": "characters", "alphabet": "ab", "lowercase": False})
    assert fixed.train.fetch([0, 1])[0].tolist() == [[1, 3, 1, 2, 0], [3, 1, 0, 0, 0]]


def test_encodings_and_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"0 caf\xe9 one\x85two\n1 th\xe9\n")
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert str(caught.value) == (
        f"Expected a text in utf-8; received {path}, line 1, with the byte 0xe9 that is not. "
        "Give the option encoding=latin-1, or save it as UTF-8."
    )
    dataset = load_data(path, **WHOLE, options={"encoding": "latin-1"})
    assert texts_of(dataset, dataset.train) == {("café one two", "0"), ("thé", "1")}
    path.write_bytes(b"\xef\xbb\xbf0 a\r\n1 b\r\n")
    dataset = load_data(path, **WHOLE)
    assert (dataset.classes, dataset.vocabulary[2:]) == (("0", "1"), ("a", "b"))
    assert split_lines("a\rb\x0b\n\nc") == ["a\rb\x0b", "", "c"]


def test_empty_texts(tmp_path):
    path = lines(tmp_path / "a.txt", ["0 a", "1 b", "1 --", "", "0 c", "0"])
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert str(caught.value) == (
        f"Expected texts with at least one token; received {path}, line 3, '--'. "
        "Remove it, or give skip_corrupt to leave such lines out."
    )
    with pytest.warns(UserWarning, match=r"3 damaged .* first a.txt:3: a text without tokens"):
        dataset = load_data(path, skip_corrupt=True, **WHOLE)
    assert ([file.name for file in dataset.skipped], len(dataset.train)) == (["a.txt:3", "a.txt:4", "a.txt:6"], 3)


@pytest.mark.parametrize(
    ("name", "content", "options", "text"),
    [
        (
            "a.csv",
            "text,label\na,\n",
            {},
            "Expected a label; received an empty one in {path}, line 2. Fill it in, or remove the line.",
        ),
        (
            "a.csv",
            "text,label\na\n",
            {},
            (
                "Expected 2 fields, as in the first line; received {path}, line 2. "
                "Put fields that contain separators in double quotes."
            ),
        ),
        (
            "a.csv",
            "text,label,text\na,b,c\n",
            {},
            (
                "Expected a table with the columns text, label, every column once; received {path} with 'text', "
                "'label', 'text'. Name the columns in the first line."
            ),
        ),
        (
            "a.csv",
            "text,label,split\na,b,trian\n",
            {},
            "Expected a split of train, val or test; received 'trian' in {path}, line 2. Did you mean 'train'?",
        ),
        (
            "a.csv",
            "text,label,split\na,b,train\nc,d,\n",
            {},
            (
                "Expected a split for every text or for none; received {path} with texts of both kinds. "
                "Fill it in everywhere."
            ),
        ),
        (
            "a.csv",
            "text,label,split\na,b,test\n",
            {},
            "Expected texts to train on; received {path} without any. Add a train part.",
        ),
        (
            "a.csv",
            "text,label,split\na,b,train\nx,c,train\ny,d,test\n",
            {},
            (
                "Expected labels among the 2 classes of the train part; received d in {path} (test), 1 in all. "
                "Correct the labels, or add samples of that class to the train part."
            ),
        ),
        (
            "a.csv",
            "text,label\na,b\nc,b\n",
            {},
            (
                "Expected at least two classes; received {path} with only b. "
                "Classification needs samples of two classes or more."
            ),
        ),
        (
            "a.txt",
            "1 aa\n0 bb\n" * 200 + "neither\n",
            {},
            (
                "Expected a label before every text; received 'neither' in {path}, line 401. "
                "Part them by a tab, or number the labels."
            ),
        ),
        (
            "a.txt",
            "1 aa\n0 bb\n",
            {"max_length": 2},
            "Expected max_length of at least min_length; received max_length=2 and min_length=5. Lower min_length.",
        ),
        (
            "a.txt",
            "1 aa\n0 bb\n",
            {"alphabet": "abc"},
            "Expected unit=characters with an alphabet; received unit=words. Give unit=characters, or no alphabet.",
        ),
        (
            "a.txt",
            "1 aa\n0 bb\n",
            {"unit": "characters", "vectors": "a"},
            "Expected unit=words with word vectors; received unit=characters. Give unit=words, or no vectors.",
        ),
    ],
)
def test_messages(tmp_path, name, content, options, text):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        load_data(path, options=options)
    assert str(caught.value) == text.format(path=path)


def test_a_text_of_many_tokens_asks_for_a_limit(tmp_path):
    path = lines(tmp_path / "a.txt", ["0 " + "a " * 3000, *["1 b"] * 200])
    with pytest.raises(DataError, match=r"201 texts of 3000 tokens \(max_length would cut them\)"):
        load_data(path, memory_limit=200_000, **WHOLE)
    assert len(load_data(path, memory_limit=200_000, options={"max_length": 20}, **WHOLE).train) == 201


def test_a_class_without_texts(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text("" if name == "b" else f"a text of {name}\n")
    with pytest.raises(DataError) as caught:
        load_data(tmp_path)
    assert str(caught.value) == (
        f"Expected texts in every file; received {tmp_path}/b.txt without any. Add some, or remove the file."
    )


def test_texts_have_no_channels(tmp_path):
    with pytest.raises(DataError) as caught:
        load_data(lines(tmp_path / "a.txt", ["0 a", "1 b"]), image_size=9)
    assert str(caught.value) == (
        "Expected neither channels nor image_size with texts; received channels=None and image_size=9. "
        "Give the option max_length to cut texts."
    )


def test_binary_files_are_no_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 aa\n1 bb\n" * 10_000)
    with path.open("ab") as stream:
        stream.write(b"0 \0\n")
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert str(caught.value) == (
        f"Expected a text file; received {path} with NUL bytes, which is none. Check that it is the right file."
    )


def test_other_folders_are_left_to_others(tmp_path):
    from striate.data.limits import Budget
    from striate.data.source import open_source

    reader = next(reader for reader in list_readers() if reader.kind == "text")
    table = "  2.8858451e-001 -2.0294171e-002\n" * 5
    for name, content in (
        ("numbers.txt", table),
        ("y.txt", "1\n2\n"),
        ("a.csv", "path,label\na.png,1\n"),
        ("prose.txt", "Once upon a time\nthere was a text.\n"),
        ("empty.txt", ""),
        ("old.csv", "text,label\ra,b\rc,d\r"),
    ):
        (tmp_path / name).write_text(content)
        assert reader.recognises(open_source(tmp_path / name, Budget())) is None, name
    (tmp_path / "set").mkdir()
    for name, content in (("README.md", "A set.\n"), ("a.txt", "words\n"), ("b.png", "")):
        (tmp_path / "set" / name).write_text(content)
        assert reader.recognises(open_source(tmp_path / "set", Budget())) is None, name


def test_new_texts_are_read_like_those_of_the_training_part(tmp_path):
    dataset = load_data(write_form(tmp_path, "csv"), **WHOLE)
    path = lines(tmp_path / "new.txt", ["A FINE mess", "joy"])
    samples = TextReader().read_new(file_on_disk(path, path.name), dataset.reading)
    assert [name for name, _ in samples] == ["new.txt:1", "new.txt:2"]
    found = [[dataset.vocabulary[token] for token in tokens.tolist()] for _, tokens in samples]
    assert found == [["a", "fine", "<unk>", *["<pad>"] * 4], ["joy", *["<pad>"] * 6]]
    assert samples[0][1].dtype == torch.int64
    table = lines(tmp_path / "new.csv", ["id,text", '7,"joy, joy"'])
    assert TextReader().read_new(file_on_disk(table, table.name), dataset.reading)[0][1].tolist()[0] > 1
    for content, message in (
        ("joy\n\n", "Expected a text in every line; received {path}, line 2, ''. Remove the line."),
        ("", "Expected a file with a text a line; received {path} without any. Write one line per text."),
    ):
        path.write_text(content)
        with pytest.raises(DataError) as caught:
            TextReader().read_new(file_on_disk(path, path.name), dataset.reading)
        assert str(caught.value) == message.format(path=path)


def test_a_sample_is_the_same_before_and_after_the_vocabulary(tmp_path):
    """Rows before are numbered by first appearance; both name the same words."""
    from striate.data.text.sentences import Corpus

    corpus = Corpus()
    for number, text in enumerate(GOOD + BAD):
        corpus.add("train", text.split(), "x", ("a", number))
    samples = corpus.samples("train", torch.arange(6))
    known = list(corpus.tokens)
    rows, labels = samples.fetch([4, 0])
    assert labels.tolist() == [4, 0]
    assert [[known[token - 2] for token in row if token] for row in rows.tolist()] == [BAD[1].split(), GOOD[0].split()]
    again = samples.subset([5, 4]).subset([1])
    assert (again.name(0), again.labels.tolist(), again.fetch([0])[0].tolist()) == ("a:4", [4], rows[:1].tolist())
    assert (len(samples), samples.item_shape, samples.groups) == (6, (7,), None)


@given(st.lists(st.lists(st.integers(1, 9), max_size=7), min_size=1, max_size=6), st.integers(1, 8))
def test_padding_is_that_of_a_plain_loop(rows, length):
    flat = np.array([value for row in rows for value in row], dtype=np.int64)
    lengths = np.array([len(row) for row in rows])
    assert padded(flat, lengths, length).tolist() == [(row + [0] * length)[:length] for row in rows]


@given(st.text(max_size=60))
def test_tokens_have_no_white_space_and_lose_no_letter(text):
    for rule in ("simple", "spaces"):
        tokens = tokeniser("words", rule, False)(text)
        assert all(token and not token.isspace() and token.strip() == token for token in tokens)
        letters = [letter for letter in text if letter.isalpha()]
        assert [letter for token in tokens for letter in token if letter.isalpha()] == letters


def test_small_parts():
    assert build_vocabulary({"b": 1, "a": 1}, 1, 3) == ("<pad>", "<unk>", "a")
    assert encode(["<pad>", "<unk>"], {"<pad>": 0, "<unk>": 1}, 3).tolist() == [1, 1, 0]
    assert split_in_name("Q_TRAIN.ts") == ("train", "Q_.ts")
