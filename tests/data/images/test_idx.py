"""IDX files: what is read, and what is refused."""

import gzip

import numpy as np
import pytest
import torch
from data_files import digits_like, idx_bytes, write_idx
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data import load_data
from striate.data.file import File
from striate.data.images.idx import read_idx
from striate.data.limits import Budget
from striate.errors import DataError


def mnist_like(folder, zipped=True):
    train, test = digits_like(12), digits_like(6, seed=1)
    write_idx(folder, "train-", *train, zipped=zipped)
    write_idx(folder, "t10k-", *test, zipped=zipped)
    return train, test


@pytest.mark.parametrize("zipped", [True, False])
def test_official_names(tmp_path, zipped):
    train, test = mnist_like(tmp_path, zipped)
    dataset = load_data(tmp_path, val_fraction=0)
    assert (dataset.kind, dataset.official, dataset.val) == ("idx", ("train", "test"), None)
    assert np.array_equal(dataset.train.inputs[:, 0], train[0])
    assert np.array_equal(dataset.test.inputs[:, 0], test[0])
    assert np.array_equal(dataset.test.labels, test[1])
    assert dataset.classes == ("0", "1", "2")
    assert dataset.test.name(2).startswith("t10k-images-idx3-ubyte")
    assert dataset.test.name(2).endswith("[2]")


def test_a_missing_validation_part_comes_out_of_the_training_part(tmp_path):
    mnist_like(tmp_path)
    dataset = load_data(tmp_path, val_fraction=0.25)
    assert [len(part) for part in dataset.parts.values()] == [9, 3, 6]
    assert sorted(dataset.val.labels.tolist()) == [0, 1, 2]


def test_prefix_single_file_and_class_names(tmp_path):
    write_idx(tmp_path, "emnist-letters-train-", *digits_like(9))
    write_idx(tmp_path, "emnist-digits-train-", *digits_like(6, classes=2))
    by_prefix = load_data(tmp_path / "emnist-letters", val_fraction=0, test_fraction=0)
    by_file = load_data(tmp_path / "emnist-letters-train-images-idx3-ubyte.gz", val_fraction=0, test_fraction=0)
    assert len(by_prefix.train) == len(by_file.train) == 9
    assert torch.equal(by_prefix.train.inputs, by_file.train.inputs)
    alone = tmp_path / "alone"
    write_idx(alone, "train-", *digits_like(9))
    (alone / "classes.txt").write_text("zero\none\ntwo\n")
    assert load_data(alone, val_fraction=0, test_fraction=0).classes == ("zero", "one", "two")


def test_an_unpacked_copy_beside_the_archive_is_taken_once(tmp_path):
    images, labels = digits_like(9)
    write_idx(tmp_path, "train-", images, labels)
    write_idx(tmp_path, "train-", images, labels, zipped=False)
    assert len(load_data(tmp_path, val_fraction=0, test_fraction=0).train) == 9


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["uint8", "int8", "int16", "int32", "float32", "float64"]),
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.booleans(),
)
def test_every_type_and_shape_comes_back(dtype, shape, zipped):
    array = (np.random.default_rng(0).random(shape) * 100).astype(dtype)
    data = gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array)
    found = read_idx(File("a", "a", len(data), data), Budget(10**6))
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def idx_file(data, name="train-images-idx3-ubyte"):
    return File(name, name, len(data), data)


ARRAY = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            idx_bytes(ARRAY, b"\x89PNG"),
            (
                "Expected an IDX file, which begins with two zero bytes, a type and 1 to 5 axes; "
                "received train-images-idx3-ubyte, which begins with 0x89504e47. "
                "Check that it is the file its name says, and download it again."
            ),
        ),
        (
            idx_bytes(ARRAY)[:9],
            (
                "Expected a complete IDX file; received train-images-idx3-ubyte, cut off within its header. "
                "Download it again."
            ),
        ),
        (
            idx_bytes(ARRAY)[:-1],
            (
                "Expected 18 bytes of values, for the shape (2, 3, 3) in the header; "
                "received train-images-idx3-ubyte with 17. The file is cut off or damaged: download it again."
            ),
        ),
        (
            idx_bytes(ARRAY) + b"x",
            (
                "Expected 18 bytes of values, for the shape (2, 3, 3) in the header; "
                "received train-images-idx3-ubyte with more. The file is cut off or damaged: download it again."
            ),
        ),
        (
            gzip.compress(idx_bytes(ARRAY))[:-12],
            (
                "Expected a complete IDX file; received train-images-idx3-ubyte: Compressed file ended before the "
                "end-of-stream marker was reached. Download it again."
            ),
        ),
        (
            gzip.compress(idx_bytes(np.zeros((100, 10, 10), np.uint8))),
            (
                "Expected at most 1000 B of decoded data; received train-images-idx3-ubyte, which needs 9.8 KiB. "
                "Check that the file is what it should be, then raise memory_limit."
            ),
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_damaged_files(data, text):
    with pytest.raises(DataError) as caught:
        read_idx(idx_file(data), Budget(1000))
    assert str(caught.value) == text


def test_a_bomb_is_refused_before_it_is_inflated():
    # The header promises 4 GiB; the 64 MiB of zeros that follow would take long to inflate and are never touched.
    head = b"\0\0\x08\x03" + (1 << 12).to_bytes(4, "big") + (1 << 10).to_bytes(4, "big") * 2
    data = gzip.compress(head + bytes(2**26), 1)
    with pytest.raises(DataError, match=r"which needs 4.0 GiB"):
        read_idx(idx_file(data), Budget(2**30))


def test_counts_that_differ(tmp_path):
    images, labels = digits_like(9)
    write_idx(tmp_path, "train-", images, labels[:8], zipped=False)
    with pytest.raises(DataError) as caught:
        load_data(tmp_path)
    assert str(caught.value) == (
        "Expected one label for every sample, and at least one sample; "
        f"received 9 samples in {tmp_path}/train-images-idx3-ubyte, 8 labels in {tmp_path}/train-labels-idx1-ubyte. "
        "Use the two files that belong together."
    )


def test_labels_out_of_range(tmp_path):
    images, labels = digits_like(9)
    write_idx(tmp_path, "train-", images, labels)
    write_idx(tmp_path, "t10k-", images, labels + 1)
    with pytest.raises(DataError) as caught:
        load_data(tmp_path)
    assert str(caught.value) == (
        "Expected labels among the 3 classes of the train part; "
        f"received 3 in {tmp_path}/t10k-labels-idx1-ubyte.gz, 3 in all. "
        "Correct the labels, or add samples of that class to the train part."
    )
    (tmp_path / "classes.txt").write_text("a\nb")
    with pytest.raises(DataError) as caught:
        load_data(tmp_path)
    assert str(caught.value) == (
        "Expected labels from 0 to 1, one of 2 classes; "
        f"received 2 in {tmp_path}/t10k-labels-idx1-ubyte.gz, 6 such labels in all. "
        "Correct the labels, or name every class."
    )
    (tmp_path / "classes.txt").write_text("a\na")
    with pytest.raises(DataError) as caught:
        load_data(tmp_path)
    assert str(caught.value) == (
        f"Expected class names that differ and are not empty; received 'a' in {tmp_path}/classes.txt. "
        "Write each name once, one per line."
    )


def test_missing_and_ambiguous_files(tmp_path):
    write_idx(tmp_path, "a-train-", *digits_like(9))
    write_idx(tmp_path, "b-train-", *digits_like(9))
    with pytest.raises(DataError) as caught:
        load_data(tmp_path)
    assert str(caught.value) == (
        f"Expected one IDX data set; received {tmp_path} with both 'a' and 'b'. "
        "Give the folder followed by the beginning of the names of one of them."
    )
    (tmp_path / "a-train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError) as caught:
        load_data(tmp_path / "a")
    assert str(caught.value) == (
        "Expected IDX files in pairs of images and labels; "
        f"received {tmp_path}/a-train-images-idx3-ubyte.gz without its labels. "
        "Put its labels beside it, under the same name with 'labels'."
    )
    write_idx(tmp_path / "only", "t10k-", *digits_like(9))
    with pytest.raises(DataError) as caught:
        load_data(tmp_path / "only")
    assert str(caught.value) == (
        f"Expected an IDX file of training images; received {tmp_path}/only with only test. Add the train files."
    )
