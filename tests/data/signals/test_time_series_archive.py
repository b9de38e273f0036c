"""The .ts files of the time-series archive."""

import numpy as np
import pytest

from striate.data import load_data
from striate.data.file import file_on_disk
from striate.data.gathering import SkippedFileWarning
from striate.data.registry import list_readers
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}

HEAD = "# About the set\n@problemName Toy\n@timeStamps false\n@missing false\n@univariate true\n"
LABELS = "@classLabel true b a\n"


def write(path, cases, head=HEAD + LABELS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "@data\n" + "\n".join(cases) + "\n")
    return path


def test_univariate_in_two_files(tmp_path):
    write(tmp_path / "Toy_TRAIN.ts", ["1,2,3:b", "4,5,6:a", "", "# a remark", "7,8,9:b"])
    write(tmp_path / "Toy_TEST.ts", ["0,0.5,-1e2:a"])
    for source in (tmp_path, tmp_path / "Toy_TRAIN.ts"):
        dataset = load_data(source, val_fraction=0)
        assert (dataset.kind, dataset.classes, dataset.official) == ("ts", ("b", "a"), ("train", "test"))
        assert dataset.train.fetch(range(3))[0][:, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
        assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([0, 1, 0], [1])
        assert dataset.test.fetch([0])[0].tolist() == [[[0, 0.5, -100]]]
        assert dataset.train.name(2) == "Toy_TRAIN.ts[2]"
    lone = write(tmp_path / "other" / "Toy.ts", ["1,2:b", "1,3:a"])
    assert load_data(lone, **WHOLE).train.item_shape == (1, 2)


def test_multivariate_of_unequal_lengths(tmp_path):
    path = write(
        tmp_path / "Toy.ts", ["1,2,3:4,5,6:b", "1,2:3,4:a"], HEAD + "@dimensions 2\n@equalLength false\n" + LABELS
    )
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE)
    assert str(error.value).startswith(f"Expected recordings of one length; received {path} with lengths from 2 to 3.")
    dataset = load_data(path, **WHOLE, image_size=4, fit="pad")
    assert dataset.train.fetch([1, 0])[0].tolist() == [
        [[0, 1, 2, 0], [0, 3, 4, 0]],
        [[1, 2, 3, 0], [4, 5, 6, 0]],
    ]


def test_missing_values(tmp_path):
    path = write(tmp_path / "Toy.ts", ["1,?,3:b", "4,5,6:a"])
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE)
    assert str(error.value) == (
        "Expected samples without NaN; received Toy.ts[0] with 1, first at sample 1 of channel 0. "
        "Clean the data, or fill gaps with missing='interpolate'."
    )
    dataset = load_data(path, **WHOLE, options={"missing": "interpolate"})
    assert dataset.train.fetch([0])[0].tolist() == [[[1, 2, 3]]]


def test_regression(tmp_path):
    path = write(tmp_path / "Toy.ts", ["1,2:0.5", "3,4:-1", "5,6:7"], HEAD + "@targetLabel true\n")
    dataset = load_data(path, **WHOLE)
    assert (dataset.task, dataset.train.labels.tolist()) == ("regression", [[0.5], [-1], [7]])


def test_new_series(tmp_path):
    dataset = load_data(write(tmp_path / "Toy.ts", ["1,2:b", "3,4:a"]), **WHOLE)
    reader = next(reader for reader in list_readers() if reader.kind == "ts")
    new = write(tmp_path / "new.ts", ["5,6:b"])
    ((name, values),) = reader.read_new(file_on_disk(new, "new.ts"), dataset.reading)
    assert (name, values.tolist()) == ("new.ts[0]", [[5, 6]])
    new = write(tmp_path / "new.ts", ["5,6"], HEAD + "@classLabel false\n")
    assert np.array_equal(reader.read_new(file_on_disk(new, "new.ts"), dataset.reading)[0][1], [[5, 6]])


def test_videos_with_that_extension_are_something_else(tmp_path):
    (tmp_path / "a.ts").write_bytes(b"\x47\x40\x11\x10" + bytes(200))
    with pytest.raises(DataError, match=r"which is none of them"):
        load_data(tmp_path / "a.ts")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("1,x:b", ("Expected values separated by commas; received {path}, line 8: could not convert "
         "string to float: 'x'. "
         "Correct the line.")),
        ("1,2:c", "Expected a class among b, a; received {path}, line 8, with 'c'. Correct the line."),
        ("1,2:3:b", ("Expected dimensions of one length within a case; received {path}, line 8, with lengths 2, 1. "
         "Correct the line, or remove it.")),
        ("12", ("Expected dimensions and a label, separated by colons; received {path}, line 8, with one field. "
         "Correct the line, or remove it.")),
        ("(0,1):b", ("Expected dimensions and a label, separated by colons; received {path}, line 8, with time stamps. "
         "Correct the line, or remove it.")),
        (":b", "Expected a recording with samples; received Toy.ts[0], which is empty. Remove it."),
    ],
)  # fmt: skip
def test_damaged_cases_are_named_or_skipped(tmp_path, case, message):
    path = write(tmp_path / "Toy.ts", [case, "1,2:a", "3,4:b"])
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE)
    assert str(error.value) == message.format(path=path)
    with pytest.warns(SkippedFileWarning):
        dataset = load_data(path, **WHOLE, skip_corrupt=True)
    assert ([name for name, _ in dataset.skipped], len(dataset.train)) == (["Toy.ts[0]"], 2)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            HEAD.replace("@timeStamps false", "@timeStamps true") + LABELS,
            (
                "Expected values without time stamps; received {path} with @timeStamps true. "
                "Write the series at even times, or as a table with a column of times."
            ),
        ),
        (
            HEAD,
            (
                "Expected classes or numbers to predict; received {path} with neither @classLabel true nor "
                "@targetLabel true. Use a file for classification or regression."
            ),
        ),
        (
            HEAD + "@dimensions 3\n" + LABELS,
            "Expected 3 dimensions, as the header says; received {path}, line 9, with 1. Correct the line.",
        ),
    ],
)
def test_refused_headers(tmp_path, head, message):
    path = write(tmp_path / "Toy.ts", ["1,2:b", "3,4:a"], head)
    with pytest.raises(DataError) as error:
        load_data(path, **WHOLE)
    assert str(error.value) == message.format(path=path)


def test_files_that_do_not_go_together(tmp_path):
    path = tmp_path / "Toy.ts"
    path.write_text(HEAD + LABELS)
    with pytest.raises(DataError) as error:
        load_data(path)
    assert str(error.value) == (
        f"Expected a line @data after the header; received {path} without one. Download or write it again."
    )
    write(tmp_path / "Toy_TRAIN.ts", ["1,2:b", "3,4:a"])
    write(tmp_path / "Toy_TEST.ts", ["1,2:b"], HEAD + "@classLabel true b c\n")
    with pytest.raises(DataError) as error:
        load_data(tmp_path / "Toy_TRAIN.ts")
    assert str(error.value) == (
        f"Expected the classes b, a in both files; received {tmp_path}/Toy_TEST.ts with b, c. "
        "Use the two files that belong together."
    )
    write(tmp_path / "Other_TRAIN.ts", ["1,2:b", "3,4:a"])
    with pytest.raises(DataError) as error:
        load_data(tmp_path)
    assert str(error.value) == (
        f"Expected one NAME_TRAIN.ts with its NAME_TEST.ts; received {tmp_path} with Other, Toy. "
        "Give the file NAME_TRAIN.ts of the data set that you mean."
    )
