"""NumPy arrays under all their documented names, and what is refused."""

import io
import struct
import zipfile

import numpy as np
import pytest
from data_files import digits_like

from striate.data import load_data
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [("x", "y"), ("X", "y"), ("images", "labels"), ("data", "labels"), ("data", "target"), ("inputs", "targets")],
)
@pytest.mark.parametrize("spelling", ["{}", "train_{}", "{}_train"])
def test_names(tmp_path, inputs, labels, spelling):
    images, classes = digits_like(9)
    arrays = {spelling.format(inputs): images, spelling.format(labels): classes}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    for source in (tmp_path / "a.npz", tmp_path, tmp_path / f"{spelling.format(inputs)}.npy"):
        dataset = load_data(source, **WHOLE)
        assert np.array_equal(dataset.train.inputs[:, 0], images)
        assert np.array_equal(dataset.train.labels, classes)


def test_parts_as_medmnist_and_keras_write_them(tmp_path):
    parts = {split: digits_like(9, seed) for seed, split in enumerate(("train", "val", "test"))}
    medmnist = {f"{s}_images": x for s, (x, _) in parts.items()} | {
        f"{s}_labels": y[:, None] for s, (_, y) in parts.items()
    }
    np.savez(tmp_path / "medmnist.npz", **medmnist)
    keras = {f"x_{s}": x for s, (x, _) in parts.items()} | {f"y_{s}": y for s, (_, y) in parts.items()}
    np.savez(tmp_path / "keras.npz", **keras)
    for name in ("medmnist.npz", "keras.npz"):
        dataset = load_data(tmp_path / name)
        assert dataset.official == ("train", "val", "test")
        for split, part in dataset.parts.items():
            assert np.array_equal(part.inputs[:, 0], parts[split][0])
            assert np.array_equal(part.labels, parts[split][1])


def test_signals_volumes_colours_layouts_and_class_names(tmp_path):
    labels = np.array([0, 1, 0, 1])
    shapes = {
        "signal": ((4, 50), (1, 50)),
        "channels": ((4, 50, 6), (6, 50)),
        "colour": ((4, 9, 8, 3), (3, 9, 8)),
        "volume": ((4, 9, 8, 7), (1, 9, 8, 7)),
        "colour_volume": ((4, 3, 9, 8, 7), (3, 9, 8, 7)),
    }
    for name, (shape, item) in shapes.items():
        np.savez(tmp_path / f"{name}.npz", x=np.random.default_rng(0).random(shape), y=labels)
        dataset = load_data(tmp_path / f"{name}.npz", **WHOLE)
        assert dataset.train.item_shape == item
        assert dataset.spatial_dims == len(item) - 1
        assert dataset.value_scale == 1
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 10, 12)), y=labels, layout="NLC", classes=np.array(["up", "down"]))
    dataset = load_data(tmp_path / "a.npz", **WHOLE)
    assert dataset.train.item_shape == (12, 10)
    assert dataset.classes == ("up", "down")
    assert load_data(tmp_path / "a.npz", layout="NCL", **WHOLE).train.item_shape == (10, 12)


def test_labels_as_texts_and_with_gaps(tmp_path):
    x = np.zeros((4, 20))
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["dog", "cat", "dog", "ant"]))
    dataset = load_data(tmp_path / "a.npz", **WHOLE)
    assert (dataset.classes, dataset.train.labels.tolist()) == (("ant", "cat", "dog"), [2, 1, 2, 0])
    np.savez(tmp_path / "a.npz", x=x, y=np.array([7.0, 3.0, 7.0, 12.0]))
    dataset = load_data(tmp_path / "a.npz", **WHOLE)
    assert (dataset.classes, dataset.train.labels.tolist()) == (("3", "7", "12"), [1, 0, 1, 2])


def test_one_array_with_its_labels_beside_it(tmp_path):
    np.save(tmp_path / "walks.npy", np.zeros((4, 20)))
    with pytest.raises(DataError) as caught:
        load_data(tmp_path / "walks.npy")
    assert str(caught.value) == (
        f"Expected labels beside {tmp_path}/walks.npy; received no file of such a name. "
        "Save them as walks_labels.npy in the same folder."
    )
    np.save(tmp_path / "walks_labels.npy", np.array([0, 1, 1, 0]))
    assert load_data(tmp_path / "walks.npy", **WHOLE).train.labels.tolist() == [0, 1, 1, 0]


def refused(path, **arrays):
    np.savez(path, **arrays)
    with pytest.raises(DataError) as caught:
        load_data(path)
    return str(caught.value)


def test_wrong_contents(tmp_path):
    path = tmp_path / "a.npz"
    x, y = np.zeros((4, 20)), np.array([0, 1, 0, 1])
    assert refused(path, a=x, b=y) == (
        "Expected arrays named x and y, images and labels, train_images and train_labels, or x_train and y_train; "
        f"received {path} with a, b. Save the arrays under such names."
    )
    assert refused(path, x=x, y=y[:3]) == (
        "Expected one label for every sample, and at least one sample; "
        f"received 4 samples in {path}[x], 3 labels in {path}[y]. Use the two files that belong together."
    )
    assert refused(path, x=x, y=np.eye(4)) == (
        f"Expected one label per sample, of shape (N,) or (N, 1); received {path}[y] of shape (4, 4). "
        "Turn one-hot rows into numbers with argmax(axis=1)."
    )
    assert refused(path, x=x, y=y - 1) == (
        f"Expected labels that are whole numbers from 0; received -1 in {path}[y]. Number the classes from 0."
    )
    assert refused(path, x=x, y=y + 0.5) == (
        f"Expected labels that are whole numbers from 0; received 0.5 in {path}[y]. Number the classes from 0."
    )
    assert refused(path, x=x, y=y, classes=np.array(["a", "b", "c"])) == (
        f"Expected training samples of every class; received {path} without any of class 'c'. "
        "Add samples of it, or remove the class."
    )
    assert refused(path, x=x, y=y * 0) == (
        f"Expected at least two classes; received {path} with only 0. "
        "Classification needs samples of two classes or more."
    )
    assert refused(path, x=np.array(["a", "b", "c", "d"]), y=y) == (
        f"Expected an array of numbers; received {path}[x] of dtype <U1. Save numbers."
    )
    assert refused(path, x_train=x, y_train=y, x_test=np.zeros((4, 30)), y_test=y) == (
        f"Expected samples of one shape and kind, 20 and 1 channel (float32) as in train; "
        f"received {path} with 30 and 1 channel (float32) in test. Give image_size, for example image_size=20."
    )
    assert refused(path, x_train=x, y_train=y, x_test=x, y_test=np.array(list("abca"))) == (
        f"Expected labels of one kind, all numbers or all texts; received {path}[y_test] with both. Write them alike."
    )


def test_words_in_arrays(tmp_path):
    """The layout and the names of the classes are arrays of texts, which may be bytes."""
    path = tmp_path / "a.npz"
    x, y = np.zeros((4, 20)), np.array([0, 1, 0, 1])
    known = "NCDHW, NCHW, NCL, NDHW, NDHWC, NHW, NHWC, NL, NLC"
    for words in ([], ["NL", "NL"]):
        assert refused(path, x=x, y=y, layout=np.array(words, dtype=str)) == (
            f"Expected a layout word; received layout={words!r}. Choose one of: {known}."
        )
    np.savez(path, x=x, y=y, layout=np.array(b"NL"), classes=np.array(["été".encode(), b"hiver"]))
    assert load_data(path).classes == ("été", "hiver")
    assert refused(path, x=x, y=y, classes=np.array([b"\xff", b"b"])).startswith(
        f"Expected labels in valid Unicode or UTF-8; received {path}[classes]: 'utf-8' codec can't decode byte 0xff"
    )


def test_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    assert refused(path, x=np.array([{}, {}], dtype=object), y=np.array([0, 1])) == (
        f"Expected an array of real numbers or texts; received {path}[x] of dtype object. "
        "Save it as a plain numeric array; objects are never unpickled."
    )


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def refused_npy(folder, data):
    (folder / "x.npy").write_bytes(data)
    np.save(folder / "y.npy", np.array([0, 1]))
    with pytest.raises(DataError) as caught:
        load_data(folder / "x.npy")
    return str(caught.value)


def test_damaged_arrays(tmp_path):
    good = npy_bytes(np.zeros((2, 20), np.uint8))
    path = tmp_path / "x.npy"
    assert refused_npy(tmp_path, good[:-3]) == (
        f"Expected 40 bytes for an array of shape (2, 20) and dtype uint8; received {path} with 37. "
        "The file is cut off or damaged: write or download it again."
    )
    assert refused_npy(tmp_path, b"PK" + good) == (
        f"Expected a NumPy array file; received {path}: the magic string is not correct; "
        "expected b'\\x93NUMPY', got b'PK\\x93NUM'. Write it with numpy.save or numpy.savez."
    )
    huge = good.replace(b"(2, 20)", b"(2, 99999999999)".ljust(7))
    head = len(good) - 40
    header = good[10:head].replace(b"(2, 20), }" + b" " * 8, b"(2, 2000000000), }")
    assert len(header) == head - 10
    assert huge != good
    assert refused_npy(tmp_path, good[:10] + header + good[head:]) == (
        f"Expected 4000000000 bytes for an array of shape (2, 2000000000) and dtype uint8; received {path} with 40. "
        "The file is cut off or damaged: write or download it again."
    )


def test_zip_bombs_and_damage(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((2, 2**24), np.uint8), y=np.array([0, 1]))
    assert path.stat().st_size < 2**17
    with pytest.raises(DataError) as caught:
        load_data(path, memory_limit=2**20)
    assert str(caught.value) == (
        f"Expected at most 1.0 MiB of decoded data; received {path}[x], which needs 32.0 MiB. "
        "Check that the file is what it should be, then raise memory_limit."
    )
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert str(caught.value) == (
        f"Expected a complete .npz file; received {path}: File is not a zip file. Write or download it again."
    )


def test_an_array_that_claims_less_than_it_inflates_to(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy_bytes(np.zeros((2, 2**16), np.uint8)))
        archive.writestr("y.npy", npy_bytes(np.array([0, 1])))
    size = len(npy_bytes(np.zeros((2, 2**16), np.uint8)))
    data = path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", 200))
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert str(caught.value) == (
        f"Expected a complete .npz file; received {path}[x]: Bad CRC-32 for file 'x.npy'. Write or download it again."
    )
