"""``striate data`` for texts, subjects and numbers, its options, and the list of kinds."""

import json

import numpy as np
import pytest

from striate.data import load_data
from striate.data.augmentation import augmented_sheet
from striate.train.sampling import sampled_order


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "reviews.csv"
    rows = [f'"{word} film number {number}",{word}' for number in range(20) for word in ("good", "bad")]
    path.write_text("\n".join(["text,label", *rows, ",good"]) + "\n", encoding="utf-8")
    return path


def test_texts_are_told_in_words(striate, texts):
    done = striate("data", texts, "--data-option", "unit=words", "--data-option", "min_count=2")
    assert done.exit_code == 0, done.output
    for line in (
        "recognised as   text, by a table with the columns text and label",
        "samples         40",
        "stored lengths  4\n",
        "Damaged: reviews.csv:42: a text without tokens",
    ):
        assert line.strip() in done.stdout, done.stdout
    assert "film (28), number (28)" in done.stdout
    assert "1 damaged file left out." in done.stderr
    told = json.loads(striate("data", texts, "--json").stdout)
    assert told["input_kind"] == "tokens"
    assert told["tokens"]["length"] == 5
    assert told["sizes"] == {"train": 28, "val": 4, "test": 8}


def test_the_same_subject_is_told_first(striate, tmp_path):
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        x_train=random.normal(size=(20, 1, 50)),
        y_train=np.arange(20) % 2,
        x_test=random.normal(size=(6, 1, 50)),
        y_test=np.arange(6) % 2,
        subject_train=np.arange(20) % 5,
        subject_test=np.array([4, 4, 7, 7, 8, 8]),
    )
    done = striate("data", tmp_path / "a.npz", "--val-fraction", 0, "--data-option", "subject=subject")
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(
        "Warning: THE SAME SUBJECT ON BOTH SIDES: 1 of the 3 in test, with 2 of its 6 samples"
    )
    assert "subjects" in done.stdout


def test_folds_sizes_and_scaling(striate, tmp_path):
    told = json.loads(striate("data", "digits", "--fold", "1/3", "--normalise", "sample", "--json").stdout)
    assert told["sizes"]["test"] == 599
    assert told["normalise"] == "sample"
    np.savez(tmp_path / "a.npz", x=np.zeros((6, 10, 12)), y=np.arange(6) % 2)
    words = ("data", tmp_path / "a.npz", "--layout", "NLC", "--image-size", 16, "--fit", "pad", "--json")
    told = json.loads(striate(*words).stdout)
    assert (told["channels"], told["input_size"]) == (12, [16])
    done = striate("data", tmp_path / "a.npz", "--view", "pictures")
    assert done.exit_code == 0, done.output


def test_kinds_and_their_options(striate):
    done = striate("data", "--kinds")
    assert done.exit_code == 0, done.output
    assert "Options of text (--data-option KEY=VALUE)" in done.stdout
    told = json.loads(striate("data", "--kinds", "--json").stdout)
    sources = {source["kind"]: source for source in told["sources"]}
    options = {option["name"]: option for option in sources["dna"]["options"]}
    assert options["ambiguous"]["default"] == "fractions"
    assert options["length"]["expected"] == "a whole number of at least 1"
    assert (told["files"][0]["kind"], ".png" in told["files"][0]["extensions"]) == ("image", True)
    for kind in [*sources, *(file["kind"] for file in told["files"])]:
        assert kind in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json"], "Expected a data set, or --kinds; received neither. See `striate data --help`."),
        (["digits", "--fold", "2"],
         "Expected --fold K/N, the K-th of N folds from 0; received '2'. Use 0/5 for the first of 5."),
        (["digits", "--fold", "3/3"],
         ("Expected fold to be (k, n), the k-th of n folds from 0; received fold=(3, 3). "
         "Use (0, 5) for the first of five.")),
        (["digits", "--data-option", "a=1", "--data-option", "a=2"],
         "Expected every option once; received a as 1 and 2. Leave one out."),
        (["digits", "--data-option", "a=1"], "Expected options of digits: none; received a=1. Leave it out."),
        (["digits", "--view", "clips"],
         "Expected a view for samples of 2 spatial axes; received view=clips. Use pictures or spectrograms."),
    ],
)  # fmt: skip
def test_refused(refused, words, message):
    assert refused("data", *words) == message


def test_a_sheet_of_augmented_samples(striate, texts, tmp_path):
    done = striate("data", "digits", "--augment", "flip:p=1", "--augmented", "flipped.png", "--seed", 3)
    assert done.exit_code == 0, done.output
    assert "Augmented: flipped.png" in done.stdout
    order = sampled_order(load_data("digits", seed=3).train, "shuffled", 3, 0)
    expected = augmented_sheet(
        load_data("digits", seed=3), [{"name": "flip", "p": 1.0}], tmp_path / "b.png", seed=3, order=lambda _: order
    )
    assert (tmp_path / "flipped.png").read_bytes() == expected.read_bytes()
    done = striate("data", texts, "--augment", "standard", "--json")
    json.loads(done.stdout)
    assert (tmp_path / "augmented.png").exists()


def test_augmentation_that_cannot_be_drawn(refused, tmp_path):
    assert refused("data", "digits", "--augmented", "a.png") == (
        "Expected --augment with --augmented; received --augmented alone. Say what to draw: --augment standard."
    )
    assert "transforms as name:parameter=value" in refused("data", "digits", "--augment", "flip:p")
    assert "the name of a transform or preset" in refused("data", "digits", "--augment", "flop")
    assert "Add a file name" in refused("data", "digits", "--augment", "flip", "--augmented", tmp_path)
    assert list(tmp_path.iterdir()) == []
