"""Sequences of bases: the forms they come in, letters for several bases, lengths, strands, and what is refused."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.data import Preprocessing, load_data
from striate.data.file import file_on_disk
from striate.data.text.dna import IUPAC, DnaReader, one_hot
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}
SEQUENCES = {"EI": ["ACGTACGT", "AAAATTTT"], "N": ["CCCCGGGG", "TTTTTTTT", "GATTACAA"]}
LETTERS = "ACGT"


def sequence_of(inputs):
    return "".join(LETTERS[place] for place in inputs.argmax(0).tolist())


def write_form(root, form):
    named = [(f"{label}{n}", label, s) for label, found in SEQUENCES.items() for n, s in enumerate(found)]
    if form in ("last word", "key", "bars"):
        header = {"last word": ">{0} chr1 {1}", "key": ">{0} label={1} x=3", "bars": ">{0}|{1}"}[form]
        path = root / "a.fasta"
        text = "".join(f"{header.format(name, label)}\n{s[:5]}\n{s[5:].lower()}\n\n" for name, label, s in named)
        path.write_text("; a comment\n" + text)
    elif form == "class files":
        path = root / "set"
        path.mkdir()
        for label in SEQUENCES:
            text = "".join(f">{name}\n{s}\n" for name, its, s in named if its == label)
            (path / f"{label}.fa").write_text(text)
    elif form == "table":
        path = root / "a.csv"
        path.write_text("name,sequence,label\n" + "".join(f"{name},{s},{label}\n" for name, label, s in named))
    else:
        path = root / "a.data"
        path.write_text("".join(f"{label},   {name},\t\t {s.lower()}\n" for name, label, s in named))
    return path


@pytest.mark.parametrize("form", ["last word", "key", "bars", "class files", "table", "lines"])
def test_every_form_gives_the_same_sequences(tmp_path, form):
    dataset = load_data(write_form(tmp_path, form), **WHOLE)
    assert (dataset.kind, dataset.classes, dataset.normalise) == ("dna", ("EI", "N"), "none")
    assert (dataset.train.item_shape, dataset.train.dtype, dataset.value_scale) == ((4, 8), torch.uint8, 1.0)
    inputs, labels = dataset.train.fetch(range(5))
    found = {(sequence_of(row), dataset.classes[label]) for row, label in zip(inputs, labels.tolist(), strict=True)}
    assert found == {(s, label) for label, sequences in SEQUENCES.items() for s in sequences}
    assert (inputs.sum(1) == 1).all()
    assert dataset.train.name(0).endswith(":EI0")
    preprocessing = Preprocessing.fit(dataset)
    assert torch.equal(preprocessing(inputs), inputs.float())


def test_parts(tmp_path):
    for split, sequences in (("train", ["AAAA", "CCCC"]), ("test", ["GGGG", "TTTT"])):
        fasta = "".join(f">{place}|{place % 2}\n{s}\n" for place, s in enumerate(sequences))
        (tmp_path / f"{split}.fa").write_text(fasta)
        folder = tmp_path / "classes" / split
        folder.mkdir(parents=True)
        for place, s in enumerate(sequences):
            (folder / f"{place}.fa").write_text(f">x\n{s}\n")
    rows = "AAAA,0,train\nCCCC,1,training\nGGGG,0,test\nTTTT,1,test\n"
    (tmp_path / "a.csv").write_text("sequence,label,split\n" + rows)
    (tmp_path / "b.fa").write_text(">x|0|training\nAAAA\n>y|1|train\nCCCC\n>z|0|test\nGGGG\n>u|1|testing\nTTTT\n")
    for source in ("train.fa", "classes", "a.csv", "b.fa"):
        dataset = load_data(tmp_path / source, val_fraction=0)
        assert dataset.official == ("train", "test"), source
        for part, sequences in ((dataset.train, ["AAAA", "CCCC"]), (dataset.test, ["GGGG", "TTTT"])):
            inputs, labels = part.fetch([0, 1])
            assert (labels.tolist(), [sequence_of(row) for row in inputs]) == ([0, 1], sequences), source
    (tmp_path / "a.csv").unlink()
    (tmp_path / "b.fa").unlink()
    assert load_data(tmp_path / "train.fa").official == ("train", "test")


@given(st.text(alphabet=list(IUPAC), min_size=1, max_size=30))
def test_letters_stand_for_their_bases(sequence):
    rows = one_hot(sequence)
    for letter, column in zip(sequence, rows.T.tolist(), strict=True):
        bases = IUPAC[letter]
        assert column == [np.float32(1 / len(bases)) if base in bases else 0 for base in LETTERS]
    zeros = one_hot(sequence, ambiguous=False)
    assert torch.equal(zeros, torch.where(rows == 1, rows, 0))


def test_the_letters_are_all_sets_of_bases():
    sets = {frozenset(bases) for letter, bases in IUPAC.items() if letter not in "U."}
    assert sets == {frozenset(s) for count in range(5) for s in itertools.combinations(LETTERS, count)}


def test_ambiguous_letters_need_fractions(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sequence,label\nACGN,x\nACGD,y\n")
    dataset = load_data(path, **WHOLE)
    assert dataset.train.dtype == torch.float32
    last = dataset.train.fetch([0, 1])[0][:, :, 3]
    assert torch.allclose(last, torch.tensor([[1, 1, 1, 1], [4 / 3, 0, 4 / 3, 4 / 3]]) / 4)
    zeros = load_data(path, **WHOLE, options={"ambiguous": "zeros"})
    assert zeros.train.dtype == torch.uint8
    assert zeros.train.fetch([0])[0][0, :, 3].tolist() == [0, 0, 0, 0]
    path.write_text("sequence,label\nACG-,x\nACGU,y\n")
    assert load_data(path, **WHOLE).train.fetch([0, 1])[0][:, :, 3].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]


def test_lengths(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("name,sequence,label\na,AACGTT,x\nb,ACGT,y\nc,ACGT,y\n")
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert str(caught.value) == (
        "Expected sequences of one length, 4 bases as 2 of 3 have; received a.csv:a with 6. "
        "Give the option length, for example length=4: longer ones are cut, shorter ones filled up."
    )
    for given_length in ({"options": {"length": 4}}, {"image_size": 4}):
        dataset = load_data(path, **WHOLE, **given_length)
        assert sequence_of(dataset.train.fetch([0])[0][0]) == "ACGT"
        assert dataset.stored_sizes == {(6,): 1, (4,): 2}
    longer = load_data(path, **WHOLE, options={"length": 7})
    inputs = longer.train.fetch([0, 1])[0]
    assert inputs.sum(1).tolist() == [[1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0, 0]]


def test_the_other_strand_is_for_training_alone(tmp_path):
    path = tmp_path / "a.csv"
    random = np.random.default_rng(0)
    sequences = ["".join(random.choice(list(LETTERS), 9)) for _ in range(20)]
    path.write_text("sequence,label\n" + "".join(f"{s},{place % 2}\n" for place, s in enumerate(sequences)))
    plain = load_data(path)
    both = load_data(path, options={"reverse_complement": True})
    assert len(both.train) == 2 * len(plain.train)
    assert torch.equal(both.test.inputs, plain.test.inputs)
    complement = str.maketrans("ACGT", "TGCA")
    for index in range(len(plain.train)):
        other = index + len(plain.train)
        (one, two), labels = both.train.fetch([index, other])
        assert sequence_of(two) == sequence_of(one).translate(complement)[::-1]
        assert labels[0] == labels[1]
        assert both.train.name(other) == f"{both.train.name(index)} (other strand)"


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            "a.fa",
            ">a|x\nACGT\n>b|y\nACZT\n",
            (
                "Expected IUPAC's letters for bases, ACGTURYSWKMBDHVN-.; received 'Z' at base 3 in {path}, line 3. "
                "Check that these are bases, and write N where one is unknown."
            ),
        ),
        (
            "a.fa",
            ">a|x\n>b|y\nACT\n",
            "Expected a sequence of bases; received an empty one in {path}, line 1. Remove it.",
        ),
        (
            "a.fa",
            "ACGT\n",
            "Expected a FASTA file, whose first line begins with >; received 'ACGT' in {path}. Add headers.",
        ),
        (
            "a.fa",
            ">a\nACGT\n",
            (
                "Expected headers that name the class, such as >name label=x, >name|x or >name x; received '>a' in "
                "{path}, line 1. Add it, or write one file per class."
            ),
        ),
        (
            "a.csv",
            "sequence,label,split\nACGT,a,train\nACGT,b,\n",
            (
                "Expected sequences to train on, and a split for every sequence or for none; received {path} with "
                "train and no split. Fill in train, val or test everywhere."
            ),
        ),
        (
            "a.csv",
            "sequence,label\nACGT, \n",
            "Expected a label; received an empty one in {path}, line 2. Fill it in, or remove the line.",
        ),
        (
            "a.data",
            "x,a,ACGTACGT\n" * 60 + "y,ACGTACGT\n",
            "Expected a class, a name and a sequence; received 'y,ACGTACGT' in {path}, line 61. Part them by commas.",
        ),
    ],
)
def test_messages(tmp_path, name, content, text):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert str(caught.value) == text.format(path=path)


def test_a_class_without_sequences(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.fa").write_text("" if name == "b" else ">x\nACGT\n")
    with pytest.raises(DataError) as caught:
        load_data(tmp_path)
    assert str(caught.value) == (
        f"Expected sequences in every file; received {tmp_path}/b.fa without any. Add some, or remove the file."
    )


def test_bases_are_the_channels(tmp_path):
    with pytest.raises(DataError) as caught:
        load_data(write_form(tmp_path, "table"), channels=1)
    assert str(caught.value) == ("Expected no channels with bases; received channels=1. Leave it out: bases have four.")


def test_wrong_sequences_may_be_left_out(tmp_path):
    path = tmp_path / "a.fa"
    path.write_text(">a|x\nACGT\n>b|y\nACZT\n>c|y\nAAAA\n>d|y\n")
    with pytest.warns(UserWarning, match="2 damaged"):
        dataset = load_data(path, skip_corrupt=True, **WHOLE)
    assert [file.name for file in dataset.skipped] == ["a.fa:line 3", "a.fa:line 7"]
    assert len(dataset.train) == 2


def test_new_sequences_are_read_like_those_of_the_training_part(tmp_path):
    dataset = load_data(write_form(tmp_path, "lines"), **WHOLE)
    for name, content in (
        ("new.fa", ">one some words\nACGTACGT\n>two\nacgtacgtac\n"),
        ("new.csv", "name,sequence\none,ACGTACGT\ntwo,ACGTACGTAC\n"),
        ("new.txt", "x,one,ACGTACGT\n\ny,two,ACGTACGTAC\n"),
    ):
        path = tmp_path / name
        path.write_text(content)
        samples = DnaReader().read_new(file_on_disk(path, name), dataset.reading)
        assert [(n, sequence_of(inputs)) for n, inputs in samples] == [("one", "ACGTACGT"), ("two", "CGTACGTA")], name
        assert samples[0][1].shape == (4, 8)
    path.write_text("")
    with pytest.raises(DataError) as caught:
        DnaReader().read_new(file_on_disk(path, name), dataset.reading)
    assert str(caught.value) == f"Expected a file with sequences; received {path} without any. Give a FASTA file."
