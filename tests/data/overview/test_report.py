"""The report on a data set, its contact sheet, limits, and the registry of readers."""

import json
import shutil

import numpy as np
import pytest
import torch
from data_files import class_folder, write_png
from PIL import Image

from striate.data import (
    Dataset,
    Preprocessing,
    TensorSamples,
    contact_sheet,
    describe,
    list_readers,
    load_data,
    register_reader,
)
from striate.data.limits import Budget, free_memory
from striate.data.reader import ArrayPart, Collection
from striate.errors import DataError


def faulty_set(tmp_path):
    root = tmp_path / "pets"
    class_folder(root / "train", count=12)
    class_folder(root / "test", count=4)
    for index in range(4):
        write_png(root / "test" / "dog" / f"{index}.png", 5000 + index)
        write_png(root / "test" / "cat" / f"{index}.png", 6000 + index)
    return root


def test_a_clean_set(tmp_path):
    root = faulty_set(tmp_path)
    report = describe(root, val_fraction=0)
    dataset = load_data(root, val_fraction=0)
    assert report.counts == {"train": {"cat": 12, "dog": 12}, "test": {"cat": 4, "dog": 4}}
    assert (report.kind, report.official, report.classes) == ("class-folder", ("train", "test"), ("cat", "dog"))
    assert (report.spatial_dims, report.channels, report.input_size) == (2, 1, (6, 5))
    assert (report.stored_sizes, report.dtype, report.value_scale) == ((((6, 5), 32),), "uint8", 255)
    assert (report.mean, report.std) == (Preprocessing.fit(dataset).mean, Preprocessing.fit(dataset).std)
    everything = torch.cat([dataset.train.inputs, dataset.test.inputs])
    assert report.value_range == (everything.min(), everything.max())
    assert (report.memory_bytes, report.in_memory) == (32 * 30, True)
    assert (report.duplicates, report.repeats, report.corrupt, report.ignored, report.warnings) == ((), 0, (), (), ())
    assert describe(dataset) == report


def test_everything_wrong_is_named(tmp_path):
    root = faulty_set(tmp_path)
    shutil.copy(root / "train" / "cat" / "1.png", root / "test" / "cat" / "same.png")
    shutil.copy(root / "train" / "cat" / "2.png", root / "train" / "dog" / "other.png")
    shutil.copy(root / "train" / "dog" / "3.png", root / "train" / "dog" / "again.png")
    (root / "train" / "cat" / "bad.png").write_bytes(b"broken")
    (root / "readme.txt").write_text("hello")
    for index in range(9):
        (root / "train" / "cat" / f"{index + 3}.png").unlink()
    report = describe(root, val_fraction=0, memory_limit=300)
    groups = {(group.names, group.parts, group.classes) for group in report.duplicates}
    assert groups == {
        (("train/cat/1.png", "test/cat/same.png"), ("train", "test"), ("cat", "cat")),
        (("train/cat/2.png", "train/dog/other.png"), ("train", "train"), ("cat", "dog")),
    }
    assert report.repeats == 1
    assert [(entry.name, entry.reason) for entry in report.corrupt] == [
        (
            "train/cat/bad.png",
            f"{root}/train/cat/bad.png, which cannot be decoded: its beginning is that of no known image format",
        )
    ]
    assert report.ignored == ("readme.txt",)
    assert report.warnings == (
        "Fewer than 10 training samples in cat (3).",
        "1 sample also in another part: scores on it will be too good.",
        "1 sample in more than one class.",
        "1 damaged file left out.",
        "1 other file not used, such as readme.txt.",
        "Needs 780 B, more than the memory limit: decoded anew for every epoch.",
    )
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["corrupt"][0]["name"] == "train/cat/bad.png"
    assert plain["duplicates"][0]["parts"] == ["train", "test"]
    assert plain["counts"] == report.counts


def test_unbalanced_empty_and_constant(tmp_path):
    x = np.zeros((70, 20), np.uint8)
    y = np.array([0] * 60 + [1] * 10)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    report = describe(tmp_path / "a.npz", val_fraction=0)
    assert "Unbalanced: 0 has 6.0 times the training samples of 1." in report.warnings
    assert "No test samples of 1." in report.warnings
    assert "All values are 0." in report.warnings


def dataset_of(inputs, classes=2, names=None):
    labels = torch.arange(len(inputs)) % classes
    names = names or tuple(f"class {label}" for label in range(classes))
    return Dataset("x", "test", "", names, TensorSamples(inputs, labels), None, None, 255.0, (), {})


@pytest.mark.parametrize("shape", [(1, 20), (6, 50), (1, 28, 28), (3, 9, 200), (4, 300, 100), (1, 8, 9, 10)])
def test_contact_sheet_has_a_row_per_class_and_a_column_per_sample(tmp_path, shape):
    inputs = torch.rand(12, *shape)
    path = contact_sheet(dataset_of(inputs), tmp_path / "sheet.png", columns=4)
    few = contact_sheet(dataset_of(inputs), tmp_path / "few.png", columns=2)
    many = contact_sheet(dataset_of(inputs, 4), tmp_path / "many.png", columns=2)
    with Image.open(path) as sheet, Image.open(few) as narrow, Image.open(many) as tall:
        assert sheet.format == "PNG"
        assert sheet.height == narrow.height
        assert sheet.width > narrow.width
        assert tall.height - 4 == 2 * (narrow.height - 4)
        assert np.asarray(sheet).std() > 10
    assert {entry.name for entry in tmp_path.iterdir()} == {"sheet.png", "few.png", "many.png"}


def test_contact_sheet_shows_the_pixels(tmp_path):
    inputs = torch.zeros(4, 3, 24, 24)
    inputs[1, 0] = 255
    with Image.open(contact_sheet(dataset_of(inputs), tmp_path / "a.png")) as sheet:
        pixels = np.asarray(sheet)
    # The first sample of the second class is red, 72 pixels wide; everything else is black, white or grey.
    red = (pixels == (255, 0, 0)).all(-1)
    assert red.sum() == 72 * 72
    assert red[:76].sum() == 0


def test_contact_sheet_of_many_classes_with_long_names(tmp_path):
    names = tuple(f"a very long name of a class that nobody would ever want to type {index}" for index in range(120))
    with Image.open(contact_sheet(dataset_of(torch.rand(240, 1, 8, 8), 120, names), tmp_path / "a.png")) as sheet:
        assert sheet.height == 100 * 76 + 4 + 22
        assert sheet.width < 500


def test_contact_sheet_messages(tmp_path):
    dataset = dataset_of(torch.rand(4, 1, 8, 8))
    with pytest.raises(DataError) as caught:
        contact_sheet(dataset, tmp_path / "no" / "a.png")
    assert str(caught.value) == (
        f"Expected a place where the picture can be written; received {tmp_path}/no/a.png: No such file or directory. "
        "Create the folder first."
    )
    with pytest.raises(DataError) as caught:
        contact_sheet(dataset, tmp_path / "a.png", columns=0)
    assert str(caught.value) == (
        "Expected at least one column; received columns=0. Use 10 for ten samples of each class."
    )


def test_options_are_checked():
    for options, text in (
        (
            {"channels": 2},
            "Expected channels of 1 (grey) or 3 (colour); received channels=2. Leave it out to keep what is stored.",
        ),
        (
            {"memory_limit": 0},
            (
                "Expected memory_limit to be a positive number of bytes; received memory_limit=0. "
                "Leave it out for half of the free memory."
            ),
        ),
        (
            {"image_size": 0},
            (
                "Expected image_size to be a positive integer, or 2 of them; received image_size=0. "
                "Give one size for all axes, or one for each of the 2."
            ),
        ),
    ):
        with pytest.raises(DataError) as caught:
            load_data("digits", **options)
        assert str(caught.value) == text
    with pytest.raises(DataError) as caught:
        TensorSamples(torch.zeros(2, 1, 3), torch.zeros(1))
    assert str(caught.value) == (
        "Expected one label per sample; received 2 samples and 1 labels. Give tensors of one length."
    )


def test_the_default_limit_is_half_of_the_free_memory():
    assert 0 < Budget().total <= free_memory()


class NotesReader:
    kind = "notes"
    summary = "a .txt file"
    options = ()

    def recognises(self, source):
        return "a .txt file" if source.files and source.files[0].suffix == ".txt" else None

    def read(self, source, options):
        return Collection(self.kind, ("a", "b"), {"train": ArrayPart(torch.rand(9, 1, 5), torch.arange(9) % 2, str)})


@pytest.mark.usefixtures("restored_readers")
def test_a_reader_of_ones_own(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    reader = register_reader(NotesReader())
    assert list_readers()[0] is reader
    assert load_data(tmp_path / "a.txt").train.item_shape == (1, 5)
    with pytest.raises(DataError) as caught:
        register_reader(NotesReader())
    assert str(caught.value) == (
        "Expected a kind of source without a reader; received a second one for 'notes'. Name it differently."
    )


@pytest.mark.parametrize("reader", list_readers(), ids=lambda reader: reader.kind)
def test_every_reader_declines_what_is_not_its_own(tmp_path, reader):
    from striate.data.source import open_source

    (tmp_path / "notes.txt").write_text("nothing to see")
    for path in (tmp_path, tmp_path / "notes.txt"):
        assert reader.recognises(open_source(path, Budget())) is None
    assert reader.summary
