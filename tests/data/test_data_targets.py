"""Several labels, numbers, identities and subjects, from manifests, arrays and folders."""

import numpy as np
import pytest
import torch
from data_files import class_folder, write_png

from striate.data import load_data
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}


def refused(source, **options):
    with pytest.raises(DataError) as caught:
        load_data(source, **options)
    return str(caught.value)


@pytest.fixture
def table(tmp_path):
    """Writes a manifest of as many images as it has lines."""

    def write(text):
        header, *lines = text.split("\n")
        for index in range(len(lines)):
            write_png(tmp_path / f"{index}.png", index)
        rows = [f"{index}.png,{line}" for index, line in enumerate(lines)]
        (tmp_path / "a.csv").write_text("\n".join([f"path,{header}", *rows]) + "\n")
        return tmp_path / "a.csv"

    return write


def test_a_column_per_label(table):
    path = table("cat,dog,note\n1,0,1\n0,0,0\n1,1,1")
    dataset = load_data(path, **WHOLE, options={"task": "multi-label", "targets": ["cat", "dog"]})
    assert (dataset.task, dataset.classes, dataset.outputs) == ("multi-label", ("cat", "dog"), 2)
    assert dataset.train.labels.dtype == torch.float32
    assert dataset.train.fetch([2, 0])[1].tolist() == [[1, 1], [1, 0]]
    assert load_data(path, **WHOLE, options={"task": "multi-label"}).classes == ("cat", "dog", "note")
    path = table("cat,dog\n1,0\n0,2")
    assert refused(path, options={"task": "multi-label"}) == (
        f"Expected 0 or 1 for every label of every sample; received 2.0 in row 2 of {path} (train). "
        "Write 1 where a label holds, and 0 where it does not."
    )


@pytest.mark.parametrize("mark", ["|", ";"])
def test_labels_joined_in_one_column(table, mark):
    path = table(f"label,split\ncat{mark}dog,train\n,train\n dog ,train\ncat,test")
    dataset = load_data(path, val_fraction=0, options={"task": "multi-label"})
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert dataset.test.labels.tolist() == [[1, 0]]
    path = table(f"label,split\ncat{mark}dog,train\nowl,test")
    assert refused(path, options={"task": "multi-label"}) == (
        f"Expected labels among the 2 of the train part; received 'owl' in {path}, part test. "
        "Correct the label, or add samples with it to the train part."
    )
    assert "labels joined by | or ;" in refused(table("label\n\n"), options={"task": "multi-label"})


def test_numbers_to_predict(table):
    path = table("age,height\n31.5,1.7\n2,0.9\n80,1.6")
    dataset = load_data(path, **WHOLE, options={"task": "regression"})
    assert (dataset.task, dataset.classes) == ("regression", ("age", "height"))
    assert np.allclose(dataset.train.labels, [[31.5, 1.7], [2, 0.9], [80, 1.6]])
    one = load_data(path, **WHOLE, options={"task": "regression", "targets": "height"})
    assert (one.classes, one.train.labels.shape) == (("height",), (3, 1))
    assert load_data(table("label\n1.5\n2"), **WHOLE, options={"task": "regression"}).classes == ("label",)
    path = table("age\n3\nold")
    assert refused(path, options={"task": "regression"}) == (
        f"Expected a number in column 'age'; received 'old' in {path}, line 3. Fill it in, or remove the line."
    )
    path = table("age\n3\nnan")
    assert refused(path, options={"task": "regression"}) == (
        f"Expected finite numbers to predict; received {path} (train) with nan in row 2 (1 such in all). "
        "Fill them in, or leave the samples out."
    )


def test_columns_that_are_not_there(table):
    path = table("age\n3\n4")
    assert refused(path) == (
        f"Expected one column label; received {path} with 'path', 'age'. Name the columns with the option targets; for "
        "several say task=multi-label or task=regression."
    )
    assert refused(path, options={"task": "regression", "targets": "agee"}) == (
        f"Expected columns agee of targets; received {path} without 'agee'. Did you mean 'age'?"
    )
    assert "a column 'who' of subjects" in refused(path, options={"targets": "age", "subject": "who"})
    assert load_data(path, **WHOLE, options={"targets": "age"}).classes == ("3", "4")


def test_subjects_of_a_manifest(table):
    path = table("label,subject\na,ann\nb,ann\na,bob\nb,bob\na,eve\nb,eve")
    dataset = load_data(path, val_fraction=0, test_fraction=0.3)
    assert dataset.train.groups.tolist() == [0, 0, 1, 1] or dataset.test.groups.unique().numel() == 1
    assert not set(dataset.train.groups.tolist()) & set(dataset.test.groups.tolist())
    dataset = load_data(path, val_fraction=0, options={"test_subjects": ["bob"]})
    assert [dataset.test.name(index) for index in range(2)] == ["2.png", "3.png"]
    assert dataset.official == ("train", "test")
    for options, told in (
        ({"test_subjects": ["tom"]}, "'tom' in test_subjects"),
        ({"test_subjects": ["ann"], "val_subjects": ["ann"]}, "'ann' in test_subjects"),
        ({"test_subjects": ["ann", "bob", "eve"]}, "with all held out"),
    ):
        assert told in refused(path, options=options)
    assert "to hold subjects out" in refused(table("label\na\nb"), options={"test_subjects": ["ann"]})
    assert "a subject for every recording or for none" in refused(table("label,subject\na,ann\nb,"))


def test_arrays_of_numbers_and_labels(tmp_path):
    x = np.random.default_rng(0).random((6, 30))
    path = tmp_path / "a.npz"
    np.savez(path, x=x, y=np.linspace(0, 1, 6))
    dataset = load_data(path, **WHOLE, options={"task": "regression"})
    assert (dataset.classes, dataset.train.labels.shape) == (("y",), (6, 1))
    np.savez(path, x=x, y=np.ones((6, 2)), classes=np.array(["age", "height"]))
    assert load_data(path, **WHOLE, options={"task": "regression"}).classes == ("age", "height")
    np.savez(path, x=x, y=np.eye(6)[:, :3])
    dataset = load_data(path, **WHOLE, options={"task": "multi-label"})
    assert (dataset.classes, dataset.train.labels.dtype) == (("y0", "y1", "y2"), torch.float32)
    np.savez(path, x=x, y=np.eye(6)[:, :3], classes=np.array(["a", "b"]))
    assert "a name for each of 3 targets" in refused(path, options={"task": "multi-label"})
    np.savez(path, x=x, y=np.full(6, np.inf))
    assert "finite numbers to predict" in refused(path, options={"task": "regression"})
    np.savez(path, x=x, y=np.array(["a"] * 6))
    assert "numbers, one row per sample" in refused(path, options={"task": "regression"})


def test_subjects_of_arrays(tmp_path):
    x, action = np.random.default_rng(0).integers(0, 256, (8, 9, 7), np.uint8), np.arange(8) % 2
    path = tmp_path / "a.npz"
    np.savez(path, x=x, action=action, subject=np.arange(8) // 2 + 1)
    options = {"label": "action", "test_subjects": [2, 4]}
    dataset = load_data(path, val_fraction=0, options=options)
    assert np.array_equal(dataset.test.inputs[:, 0], x[[2, 3, 6, 7]])
    assert dataset.test.labels.tolist() == [0, 1, 0, 1]
    assert dataset.test.name(2) == "x[6]"
    assert dataset.train.groups.tolist() == [0, 0, 2, 2]
    dataset = load_data(path, val_fraction=0, test_fraction=0.5, options={"label": "action"})
    assert not set(dataset.train.groups.tolist()) & set(dataset.test.groups.tolist())
    assert "'9' in" not in refused(path, options={**options, "test_subjects": [9]})
    assert "9 in test_subjects" in refused(path, options={**options, "test_subjects": [9]})
    assert refused(path, options={"label": "activity"}) == (
        f"Expected arrays x or X or images or data or inputs and activity; received {path} with action, subject, x. "
        "Correct the option label."
    )
    np.savez(path, x=x, y=action, subject=np.arange(7))
    assert "a subject for each of 8 samples" in refused(path)
    np.savez(path, x_train=x, y_train=action, x_test=x, y_test=action, subject_train=action, subject_test=action + 1)
    dataset = load_data(path, val_fraction=0)
    assert (dataset.train.groups.tolist(), dataset.test.groups.tolist()) == ([0, 1] * 4, [1, 2] * 4)


def test_identities_by_folder_and_by_name(tmp_path):
    folders = class_folder(tmp_path / "people", ("ann", "bob", "cat", "dan", "eve"), count=3)
    dataset = load_data(folders, val_fraction=0, test_fraction=0.4, options={"task": "verification"})
    assert (dataset.task, dataset.outputs, len(dataset.classes)) == ("verification", 3, 5)
    assert sorted(set(dataset.train.labels.tolist())) == [0, 1, 2]
    assert sorted(set(dataset.test.labels.tolist())) == [3, 4]
    flat = tmp_path / "flat"
    for name in ("ann", "bob", "cat"):
        for index in range(2):
            write_png(flat / f"{name}_{index}.png", index)
    options = {"task": "verification", "name_pattern": r"(?P<label>[a-z]+)_\d", "test_pattern": "^cat"}
    dataset = load_data(flat, val_fraction=0, options=options)
    assert (dataset.classes, dataset.outputs, dataset.test.labels.tolist()) == (("ann", "bob", "cat"), 2, [2, 2])


def test_identities_need_not_be_in_every_part(tmp_path, table):
    class_folder(tmp_path / "p" / "train", ("ann", "bob"))
    class_folder(tmp_path / "p" / "test", ("cat", "dan"))
    dataset = load_data(tmp_path / "p", val_fraction=0, options={"task": "verification"})
    assert (dataset.classes, dataset.outputs) == (("ann", "bob", "cat", "dan"), 2)
    assert "only in test" in refused(tmp_path / "p")
    path = table("label,split\nann,train\nbob,train\ncat,test")
    dataset = load_data(path, val_fraction=0, options={"task": "verification"})
    assert dataset.test.labels.tolist() == [2]
    x = np.random.default_rng(0).integers(0, 256, (4, 9, 7), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(4), x_test=x, y_test=np.arange(4) + 4)
    dataset = load_data(tmp_path / "a.npz", val_fraction=0, options={"task": "verification"})
    assert (dataset.outputs, dataset.test.labels.tolist()) == (4, [4, 5, 6, 7])
