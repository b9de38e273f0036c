"""CIFAR in both versions, and pickles that must not be trusted."""

import contextlib
import io
import os
import pickle
import pickletools

import numpy as np
import pytest
from data_files import tar_of
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data import load_data
from striate.data.images.pickles import read_pickle
from striate.errors import DataError

NAMES = ["airplane", "automobile", "bird"]


def batches(count=6, classes=3):
    random = np.random.default_rng(0)
    return [
        (
            random.integers(0, 256, (count, 3072), np.uint8),
            [int(label) % classes for label in range(index, index + count)],
        )
        for index in range(6)
    ]


def write_binary(folder):
    folder.mkdir()
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    for name, (data, labels) in zip(names, batches(), strict=True):
        records = np.concatenate([np.array(labels, np.uint8)[:, None], data], 1)
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return folder


def write_python(folder, protocol=2):
    folder.mkdir()
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for name, (data, labels) in zip(names, batches(), strict=True):
        content = {b"data": data, b"labels": labels, b"batch_label": b"x", b"filenames": [b"a.png"] * len(labels)}
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [n.encode() for n in NAMES]}, protocol))
    return folder


def check(dataset):
    wanted = batches()
    images = np.concatenate([data for data, _ in wanted[:5]]).reshape(-1, 3, 32, 32)
    assert np.array_equal(dataset.train.inputs, images)
    assert dataset.train.labels.tolist() == [label for _, labels in wanted[:5] for label in labels]
    assert np.array_equal(dataset.test.inputs, wanted[5][0].reshape(-1, 3, 32, 32))
    assert dataset.classes == tuple(NAMES)
    assert dataset.official == ("train", "test")
    assert dataset.train.name(7).startswith("data_batch_2")
    assert dataset.train.name(7).endswith("[1]")


def test_binary_version(tmp_path):
    folder = write_binary(tmp_path / "cifar-10-batches-bin")
    check(load_data(folder, val_fraction=0))
    check(load_data(tar_of(folder, tmp_path / "cifar-10-binary.tar.gz"), val_fraction=0))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_python_version(tmp_path, protocol):
    folder = write_python(tmp_path / "cifar-10-batches-py", protocol)
    check(load_data(folder, val_fraction=0))
    check(load_data(tar_of(folder, tmp_path / "cifar-10-python.tar.gz"), val_fraction=0))


def test_python_version_as_python_2_wrote_it(tmp_path):
    # Texts as SHORT_BINSTRING and BINSTRING, long ago module names: what the file at the official site holds.
    data = bytes(range(256)) * 12
    batch = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
        b"\x87Rq\x05(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00" + data + b"tbU\x06labelsq\x08]q\tK\x01au."
    )
    found = read_pickle(io.BytesIO(batch), "data_batch_1")
    assert found["labels"] == [1]
    assert found["data"].tobytes() == data
    assert found["data"].shape == (1, 3072)


@pytest.mark.parametrize("python", [True, False])
def test_cifar100_uses_fine_labels(tmp_path, python):
    (data, fine), coarse = batches()[0], [9, 8, 7, 6, 5, 4]
    for name in ("train", "test"):
        if python:
            content = {"data": data, "fine_labels": fine, "coarse_labels": coarse}
            (tmp_path / name).write_bytes(pickle.dumps(content, 2))
        else:
            pair = np.stack([np.array(coarse), np.array(fine)], 1).astype(np.uint8)
            (tmp_path / f"{name}.bin").write_bytes(np.concatenate([pair, data], 1).tobytes())
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": NAMES, "coarse_label_names": ["x"]}, 2))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(NAMES))
    if not python:
        (tmp_path / "meta").unlink()
    dataset = load_data(tmp_path, val_fraction=0)
    assert dataset.kind == ("cifar-python" if python else "cifar-binary")
    assert dataset.train.labels.tolist() == fine
    assert np.array_equal(dataset.train.inputs.flatten(1), data)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def refusal(data):
    with pytest.raises(DataError) as caught:
        read_pickle(io.BytesIO(data), "data_batch_1")
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_call_is_refused_and_nothing_runs(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    text = refusal(pickle.dumps({"data": Evil()}, protocol))
    assert text == (
        "Expected a pickle of plain numbers, texts and NumPy arrays in a dictionary; "
        f"received data_batch_1, which contains a call of {os.mkdir.__module__}.mkdir. "
        "Do not trust this file; download the data set from its own site."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch pwned'\ntR.",
        b"(S'touch pwned'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch pwned'\no.",
        b"\x80\x02cos\nsystem\nU\x01x\x85\x81.",
        b"\x80\x02}(U\x01acbuiltins\neval\nU\x011\x85Rus.",
        b"\x80\x02cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.",
        b"\x80\x02cnumpy.core.multiarray\nscalar\n(tR.",
        b"\x80\x02U\x07../evilQ.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02}U\x01a}b.",
    ],
)
def test_hand_written_attacks_are_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    assert "received data_batch_1" in refusal(data)
    assert list(tmp_path.iterdir()) == []


def test_shared_lists_do_not_grow():
    # Forty lists, each holding the one before twice: 2**40 entries if anything writes them out.
    data = b"\x80\x02]q\x00" + b"".join(
        b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(40)
    )
    for end in (b".", b"R.", b"\x93.", b"U\x01b\x86R.", b"b."):
        assert len(refusal(data + end)) < 400


@pytest.mark.parametrize("cut", [1, 5, 40, 200])
def test_cut_off_pickles(cut):
    data = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, 2)
    assert refusal(data[:-cut]).startswith("Expected a complete pickle file; received data_batch_1: ")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_pickles_give_data_or_a_data_error(data):
    good = bytearray(pickle.dumps({"data": np.zeros((1, 4), np.uint8), "labels": [0, 1]}, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        assert isinstance(read_pickle(io.BytesIO(bytes(good)), "x"), dict)


def test_plain_data_comes_back_as_from_pickle():
    content = {"a": [1, 2.5, None, True, "ü", -(2**70)], "b": {"c": (1, (2,), ())}, "e": np.arange(6.0).reshape(2, 3).T}
    for protocol in range(5):
        found = read_pickle(io.BytesIO(pickletools.optimize(pickle.dumps(content, protocol))), "x")
        assert found["a"] == content["a"]
        assert found["b"] == content["b"]
        assert np.array_equal(found["e"], content["e"])


def load_text(folder):
    with pytest.raises(DataError) as caught:
        load_data(folder)
    return str(caught.value)


def test_broken_binary_files(tmp_path):
    folder = write_binary(tmp_path / "c")
    batch = folder / "data_batch_2.bin"
    batch.write_bytes(batch.read_bytes()[:-1])
    assert load_text(folder) == (
        f"Expected whole records of 3073 bytes; received {batch} of 18437 bytes. "
        "The file is cut off or damaged: download it again."
    )
    batch.write_bytes(b"\x07" + bytes(3072))
    assert load_text(folder) == (
        f"Expected labels from 0 to 2, one of 3 classes; received 7 in {folder} (train), 1 such labels in all. "
        "Correct the labels, or name every class."
    )
    batch.unlink()
    assert load_text(folder) == (
        f"Expected all files of CIFAR, data_batch_2.bin among them; received {folder} without it. Download it again."
    )


def test_broken_python_files(tmp_path):
    folder = write_python(tmp_path / "c")
    batch = folder / "data_batch_3"
    batch.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, "1"]}, 2))
    assert load_text(folder) == (
        f"Expected a list of whole numbers from 0 under labels; received {batch}. Download the data set again."
    )
    batch.write_bytes(pickle.dumps({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]}, 2))
    assert load_text(folder) == (
        f"Expected a uint8 array of rows of 3072 under data; received {batch}. Download the data set again."
    )
    batch.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, 2))
    assert load_text(folder) == (
        "Expected one label for every sample, and at least one sample; "
        f"received 2 samples in {batch} (data), 1 labels in {batch} (labels). Use the two files that belong together."
    )
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": 3}, 2))
    assert load_text(folder) == (
        f"Expected a list of class names under label_names; received {folder}/batches.meta. "
        "Download the data set again."
    )
