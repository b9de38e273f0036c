"""Human-activity sets in fixed-width text, as UCI HAR comes."""

import numpy as np
import pytest

from striate.data import Preprocessing, load_data
from striate.data.new_files import files_to_read, read_samples, reads_files
from striate.errors import DataError


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.asarray(values).reshape(len(values), -1)
    number = "{:d}" if rows.dtype.kind == "i" else "{: 16.7e}"
    path.write_text("\n".join("".join(number.format(value) for value in row.tolist()) for row in rows) + "\n")


def har(root, counts=(6, 4), features=True):
    random = np.random.default_rng(0)
    stored = {}
    for split, count in zip(("train", "test"), counts, strict=True):
        folder = root / split
        signals = random.normal(size=(2, count, 8))
        for name, values in zip(("body_acc_x", "total_acc_y"), signals, strict=True):
            write(folder / "Inertial Signals" / f"{name}_{split}.txt", values)
        if features:
            write(folder / f"X_{split}.txt", random.normal(size=(count, 5)))
        write(folder / f"y_{split}.txt", np.arange(count) % 2 + 1)
        write(folder / f"subject_{split}.txt", np.arange(count) // 2 + (1 if split == "train" else 20))
        stored[split] = signals
    (root / "activity_labels.txt").write_text("1 WALKING\n2 SITTING\n")
    (root / "README.txt").write_text("about\n")
    return stored


def test_signals_with_subjects_and_names(tmp_path):
    stored = har(tmp_path)
    dataset = load_data(tmp_path, val_fraction=0)
    assert (dataset.kind, dataset.classes, dataset.official) == (
        "activity-text",
        ("WALKING", "SITTING"),
        ("train", "test"),
    )
    assert np.allclose(dataset.train.fetch(range(6))[0], stored["train"].transpose(1, 0, 2), atol=1e-6)
    assert dataset.test.labels.tolist() == [0, 1, 0, 1]
    assert dataset.train.groups.tolist() == [1, 1, 2, 2, 3, 3]
    assert dataset.test.groups.tolist() == [20, 20, 21, 21]
    assert set(dataset.ignored) == {"README.txt", "train/X_train.txt", "test/X_test.txt"}
    validated = load_data(tmp_path)
    assert not set(validated.val.groups.tolist()) & set(validated.train.groups.tolist())


def test_features(tmp_path):
    har(tmp_path)
    assert load_data(tmp_path, options={"inputs": "features"}).train.item_shape == (1, 5)
    (tmp_path / "activity_labels.txt").unlink()
    for split in ("train", "test"):
        for path in (tmp_path / split / "Inertial Signals").iterdir():
            path.unlink()
    dataset = load_data(tmp_path)
    assert (dataset.classes, dataset.train.item_shape) == (("1", "2"), (1, 5))


def cut_line(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda root: cut_line(root / "train/y_train.txt"),
            (
                "Expected 5 lines in train/Inertial Signals/body_acc_x_train.txt, as in train/y_train.txt; "
                "received 6 in {root}. Use files that belong together."
            ),
        ),
        (
            lambda root: cut_line(root / "train/subject_train.txt"),
            (
                "Expected 6 lines in train/subject_train.txt, as in train/y_train.txt; received 5 in {root}. "
                "Use files that belong together."
            ),
        ),
        (
            lambda root: write(root / "train/y_train.txt", np.array([0.5] * 6)),
            (
                "Expected one whole number from 0 in every line; received {root}/train/y_train.txt. "
                "Use the numbers of classes or subjects."
            ),
        ),
        (
            lambda root: write(root / "test/Inertial Signals/body_acc_x_test.txt", np.full((4, 8), np.nan)),
            (
                "Expected finite values; received {root}/test/Inertial Signals/body_acc_x_test.txt with 32 "
                "that are not. "
                "Clean the data first."
            ),
        ),
        (
            lambda root: write(root / "test/Inertial Signals/body_acc_x_test.txt", np.zeros((4, 7))),
            (
                "Expected signals with as many samples in every window; received 7 in "
                "test/Inertial Signals/body_acc_x_test.txt and 8 in test/Inertial "
                "Signals/total_acc_y_test.txt of {root}. "
                "Use files that belong together."
            ),
        ),
        (
            lambda root: (root / "activity_labels.txt").write_text("1 WALKING\n"),
            "Expected a name for every class in activity_labels.txt; received {root} without one for 2. Add it.",
        ),
        (
            lambda root: (root / "activity_labels.txt").write_text("1 WALKING\nSITTING\n"),
            (
                "Expected lines with a number and the name of its class, each once; received 'SITTING' in "
                "{root}/activity_labels.txt. Correct it."
            ),
        ),
        (
            lambda root: (root / "test/y_test.txt").unlink(),
            "Expected y_test.txt, which train has too; received {root} without it. Add it, or give the option inputs.",
        ),
    ],
)
def test_refused(tmp_path, spoil, message):
    har(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError) as error:
        load_data(tmp_path)
    assert str(error.value) == message.format(root=tmp_path)


def test_ragged_lines_are_named(tmp_path):
    har(tmp_path)
    path = tmp_path / "train" / "Inertial Signals" / "body_acc_x_train.txt"
    path.write_text(path.read_text() + " 1.0 2.0\n")
    with pytest.raises(DataError, match=f"Expected as many numbers in every line; received {path}: .*row 7"):
        load_data(tmp_path)


def test_new_windows_are_read_like_those_of_the_training_part(tmp_path):
    stored = har(tmp_path)["test"]
    dataset = load_data(tmp_path)
    preprocessing = Preprocessing.fit(dataset)
    assert not reads_files(preprocessing)
    folder = tmp_path / "test" / "Inertial Signals"
    found = read_samples(folder / "body_acc_x_test.txt", preprocessing)
    assert [name for name, _ in found] == [f"body_acc_x_test.txt:{line}" for line in range(1, 5)]
    assert np.allclose(np.stack([window.numpy() for _, window in found]), stored.transpose(1, 0, 2), atol=1e-6)
    # Any file of a set stands for the first of it; labels, subjects and features are none.
    files = [path for path in sorted(tmp_path.rglob("*.txt")) if path.parent.name != "train"]
    first = [folder / "body_acc_x_test.txt", tmp_path / "train" / "Inertial Signals" / "body_acc_x_train.txt"]
    assert sorted(files_to_read(files, preprocessing)) == sorted(first)
    assert files_to_read([folder / "total_acc_y_test.txt"], preprocessing) == first[:1]


def test_new_features(tmp_path):
    har(tmp_path)
    preprocessing = Preprocessing.fit(load_data(tmp_path, options={"inputs": "features"}))
    values = np.random.default_rng(4).normal(size=(3, 5))
    write(tmp_path / "new.txt", values)
    found = read_samples(tmp_path / "new.txt", preprocessing)
    assert [name for name, _ in found] == ["new.txt:1", "new.txt:2", "new.txt:3"]
    assert np.allclose(np.stack([window.numpy() for _, window in found])[:, 0], values, atol=1e-6)
    files = [tmp_path / "test" / name for name in ("X_test.txt", "subject_test.txt", "y_test.txt")]
    assert files_to_read(files, preprocessing) == files[:1]


def test_new_files_that_are_refused(tmp_path):
    har(tmp_path)
    preprocessing = Preprocessing.fit(load_data(tmp_path))
    folder = tmp_path / "new"
    write(folder / "body_acc_x_new.txt", np.zeros((2, 8)))

    def message(path):
        with pytest.raises(DataError) as error:
            read_samples(path, preprocessing)
        return str(error.value)

    assert message(folder / "body_acc_x_new.txt") == (
        f"Expected total_acc_y_new.txt beside body_acc_x_new.txt, as in training; received {folder} without it. "
        "Put the files of all signals into one folder."
    )
    assert message(tmp_path / "test" / "y_test.txt") == (
        "Expected a file of signals, such as body_acc_x_new.txt with total_acc_y_new.txt beside it; "
        f"received {tmp_path}/test/y_test.txt. Name the files as those of the training data."
    )
    write(folder / "total_acc_y_new.txt", np.zeros((3, 8)))
    assert message(folder / "body_acc_x_new.txt") == (
        f"Expected 2 lines in total_acc_y, as in body_acc_x_new.txt; received 3 in {folder}/body_acc_x_new.txt. "
        "Use files that belong together."
    )
    for name in ("body_acc_x", "total_acc_y"):
        write(folder / f"{name}_new.txt", np.zeros((2, 9)))
    assert message(folder / "body_acc_x_new.txt") == (
        f"Expected 8 numbers in every line, as in training; received 9 in {folder}/body_acc_x_new.txt. "
        "Give windows that were cut alike."
    )
