"""Sets larger than memory: arrays read row by row, tar shards, packing, and worker processes."""

import io
import json
import multiprocessing
import os
import pickle
import tarfile

import nibabel
import numpy as np
import pytest
import torch
from data_files import class_folder, write_png

from striate.data import TensorSamples, load_data
from striate.data.arrays.stored import StoredSamples
from striate.data.items import ItemSamples
from striate.data.shards.packing import pack
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}


def refused(call, *arguments, **options):
    with pytest.raises(DataError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def same(one, two):
    """Whether two data sets hold the same samples in the same order in the same parts."""
    assert (one.classes, one.task, one.void, one.value_scale) == (two.classes, two.task, two.void, two.value_scale)
    assert list(one.parts) == list(two.parts)
    for split, part in one.parts.items():
        other = two.parts[split]
        rows = torch.randperm(len(part), generator=torch.Generator().manual_seed(1))
        assert len(part) == len(other)
        for mine, theirs in zip(part.fetch(rows), other.fetch(rows), strict=True):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs)
        assert torch.equal(part.labels, other.labels)
        assert (part.groups is None) == (other.groups is None)
        assert part.groups is None or torch.equal(part.groups, other.groups)
    return True


@pytest.fixture
def arrays(tmp_path):
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (40, 9, 8, 3), np.uint8)
    y = np.arange(40) % 3
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "a.npz", x=x, y=y, subject=np.arange(40) // 4)
    np.savez_compressed(tmp_path / "b.npz", x=x, y=y)
    return tmp_path


@pytest.mark.parametrize("name", ["x.npy", "a.npz"])
@pytest.mark.parametrize("options", [{}, {"image_size": 5, "channels": 1}, {"image_size": (12, 4), "fit": "pad"}])
def test_arrays_that_do_not_fit_are_read_from_disk(arrays, name, options):
    memory = load_data(arrays / name, **options)
    disk = load_data(arrays / name, **options, memory_limit=4000)
    assert isinstance(memory.train, TensorSamples)
    assert isinstance(disk.train, StoredSamples)
    assert not disk.in_memory
    assert same(memory, disk)
    assert [disk.test.name(i) for i in range(3)] == [memory.test.name(i) for i in range(3)]
    assert len(disk.train.fetch([])[0]) == 0


def test_arrays_that_cannot_be_left_on_disk(arrays):
    assert "which needs 8.4 KiB" in refused(load_data, arrays / "b.npz", memory_limit=4000)
    np.save(arrays / "x.npy", np.asfortranarray(np.load(arrays / "x.npy")))
    assert "which needs 8.4 KiB" in refused(load_data, arrays / "x.npy", memory_limit=4000)


def test_an_array_that_is_cut_short_while_in_use(arrays):
    train = load_data(arrays / "x.npy", **WHOLE, memory_limit=4000).train
    os.truncate(arrays / "x.npy", 5000)
    assert refused(train.fetch, [39]) == (
        f"Expected a file that stays as it was when the data set was opened; received {arrays / 'x.npy'}, which "
        "cannot be "
        "read to its end. Do not change the files while they are in use."
    )


def test_values_on_disk_that_are_not_finite_are_noticed_when_they_are_read(tmp_path):
    x = np.zeros((20, 30), np.float32)
    x[7, 3] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(20) % 2)
    train = load_data(tmp_path, **WHOLE, memory_limit=1000).train
    assert torch.equal(train.fetch([6, 8])[0], torch.zeros(2, 1, 30))
    assert "1 that are NaN or infinite" in refused(train.fetch, [7])


def write_shard(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in samples:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def png(tmp_path, seed=0, **options):
    pixels = write_png(tmp_path / "one.png", seed, **options)
    return (tmp_path / "one.png").read_bytes(), pixels


def test_shards_as_webdataset_writes_them(tmp_path):
    pixels = []
    for shard in range(2):
        samples = []
        for index in range(3):
            data, array = png(tmp_path, 3 * shard + index)
            samples += [(f"{shard}{index}.png", data), (f"{shard}{index}.cls", str(index % 2).encode())]
            pixels.append(array)
        write_shard(tmp_path / "set" / f"a-{shard:06d}.tar", samples)
    dataset = load_data(tmp_path / "set", **WHOLE)
    assert (dataset.kind, dataset.reason, dataset.classes) == ("shards", "2 tar shards", ("0", "1"))
    inputs, labels = dataset.train.fetch([5, 0, 2])
    assert np.array_equal(inputs[:, 0].numpy(), np.stack(pixels)[[5, 0, 2]])
    assert labels.tolist() == [0, 0, 0]
    assert dataset.train.name(4) == "11.png"
    assert load_data(tmp_path / "set", **WHOLE, image_size=4, channels=3).train.item_shape == (3, 4, 4)


def test_parts_of_shards(tmp_path):
    data, _ = png(tmp_path)
    samples = [
        (f"{index}.{kind}", content)
        for index in range(4)
        for kind, content in (("png", data), ("cls", b"cat" if index % 2 else b"dog"))
    ]
    for name in ("train-000000.tar", "train-000001.tar", "val-000000.tar", "test/x.tar"):
        write_shard(tmp_path / "set" / name, samples)
    dataset = load_data(tmp_path / "set")
    assert {split: len(part) for split, part in dataset.parts.items()} == {"train": 8, "val": 4, "test": 4}
    assert dataset.classes == ("cat", "dog")


def test_masks_in_shards(tmp_path):
    data, _ = png(tmp_path)
    _, mask = png(tmp_path, size=(6, 5))
    mask = (mask > 99).astype(np.uint8)
    stream = io.BytesIO()
    np.save(stream, mask)
    samples = [
        member for index in range(3) for member in ((f"{index}.png", data), (f"{index}.mask.npy", stream.getvalue()))
    ]
    write_shard(tmp_path / "set" / "a.tar", samples)
    dataset = load_data(tmp_path / "set", **WHOLE)
    assert (dataset.task, dataset.classes) == ("segmentation", ("0", "1"))
    assert np.array_equal(dataset.train.fetch([2])[1][0].numpy(), mask)
    assert load_data(tmp_path / "set", **WHOLE, options={"patch": 3}).train.item_shape == (1, 3, 3)
    write_shard(tmp_path / "set" / "b.tar", samples[:1])
    assert "a mask for every sample" in refused(load_data, tmp_path / "set")


def test_shards_that_are_refused(tmp_path):
    data, _ = png(tmp_path)
    good = [("0.png", data), ("0.cls", b"0"), ("1.png", data), ("1.cls", b"1")]

    def told(samples):
        path = write_shard(tmp_path / "set" / "a.tar", samples)
        return refused(load_data, path.parent)

    assert "0.png of" in told([good[0], *good[2:]])
    assert "one input per sample" in told([*good, ("1.npy", data)])
    assert "one input per sample" in told([*good, ("2.cls", b"1")])
    assert "twice in" in told([*good, ("1.png", data)])
    assert "labels in UTF-8 and JSON" in told([*good, ("2.png", data), ("2.json", b"{")])
    whole = write_shard(tmp_path / "set" / "a.tar", good).read_bytes()
    (tmp_path / "set" / "a.tar").write_bytes(whole[:700])
    assert "unexpected end of data" in refused(load_data, tmp_path / "set")
    entry = tarfile.TarInfo("0.png")
    entry.size = 2**31
    (tmp_path / "set" / "a.tar").write_bytes(entry.tobuf() + bytes(1024))
    assert "whose file '0.png' has 2147483648 bytes. It is cut off or damaged" in refused(load_data, tmp_path / "set")
    (tmp_path / "set" / "a.tar").write_bytes(b"no tar" * 200)
    assert "a complete, uncompressed tar" in refused(load_data, tmp_path / "set")
    with tarfile.open(tmp_path / "set" / "a.tar", "w") as archive:
        entry = tarfile.TarInfo("0.png")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    assert "a link or device" in refused(load_data, tmp_path / "set")
    write_shard(tmp_path / "set" / "a.tar", good)
    for text in (
        "[]",
        "{",
        '{"format": 2}',
        '{"format": 1, "task": "x", "classes": []}',
        '{"format": 1, "classes": [1]}',
    ):
        (tmp_path / "set" / "dataset.json").write_text(text)
        assert "a dataset.json as striate pack writes it" in refused(load_data, tmp_path / "set")
    facts = {"format": 1, "task": "classification", "classes": ["0", "2"]}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(facts))
    assert "classes among the 2 declared; received '1' of 1.png" in refused(load_data, tmp_path / "set")


def test_facts_that_do_not_fit_the_samples(tmp_path):
    data, _ = png(tmp_path)

    def told(samples, options=None, **facts):
        write_shard(tmp_path / "set" / "a.tar", samples)
        if facts:
            (tmp_path / "set" / "dataset.json").write_text(json.dumps({"format": 1, **facts}))
        return refused(load_data, tmp_path / "set", options=options or {})

    classes = [("0.png", data), ("0.cls", b"0"), ("1.png", data), ("1.cls", b"1")]
    assert "samples with masks to cut into tiles" in told(classes, {"patch": 3})
    grouped = [*classes, ("2.png", data), ("2.cls", b"1"), ("2.json", b'{"group": 3}')]
    assert "a whole number as the group of every sample" in told(grouped)
    assert "2 numbers as targets in .json" in told(classes, task="regression", classes=["a", "b"])
    (tmp_path / "set" / "dataset.json").unlink()
    (tmp_path / "set" / "a.tar").rename(tmp_path / "set" / "test-0.tar")
    assert "shards with samples to train on" in refused(load_data, tmp_path / "set")


def test_a_shard_that_changes_while_in_use(tmp_path):
    root = class_folder(tmp_path / "pets", count=20)
    pack(root, tmp_path / "shards")
    train = load_data(tmp_path / "shards", **WHOLE, memory_limit=900).train
    os.truncate(tmp_path / "shards" / "train-000000.tar", 600)
    assert "a shard as it was when the data set was opened" in refused(train.fetch, [30])


def test_packed_folders_are_the_same_set(tmp_path):
    root = class_folder(tmp_path / "pets", ("cat", "dog.s"), count=9)
    packed = pack(root, tmp_path / "shards", shard_bytes=20_000)
    assert packed.samples == {"train": 18}
    assert packed.shards["train"] > 1
    assert all(entry.stat().st_size <= 20_480 for entry in (tmp_path / "shards").glob("*.tar"))
    assert same(load_data(root), load_data(tmp_path / "shards"))
    first = (tmp_path / "shards" / "train-000000.tar").read_bytes()
    with tarfile.open(tmp_path / "shards" / "train-000000.tar") as archive:
        assert archive.getnames()[:2] == ["cat/0.png", "cat/0.cls"]
        assert archive.extractfile("cat/0.png").read() == (root / "cat" / "0.png").read_bytes()
    pack(root, tmp_path / "again", shard_bytes=20_000)
    assert (tmp_path / "again" / "train-000000.tar").read_bytes() == first


def test_packed_arrays_are_the_same_set(arrays, tmp_path):
    pack(arrays / "a.npz", tmp_path / "shards")
    assert same(load_data(arrays / "a.npz"), load_data(tmp_path / "shards"))
    np.savez(
        tmp_path / "r.npz", x=np.random.default_rng(0).random((6, 2, 30)), y=np.random.default_rng(0).random((6, 2))
    )
    pack(tmp_path / "r.npz", tmp_path / "numbers", options={"task": "regression"})
    assert same(load_data(tmp_path / "r.npz", options={"task": "regression"}), load_data(tmp_path / "numbers"))
    pack("digits", tmp_path / "digits")
    assert same(load_data("digits"), load_data(tmp_path / "digits"))


def test_packed_masks_are_the_same_set_whatever_their_sizes(tmp_path):
    for folder, scale in (("images", 9), ("labels", 1)):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for index in range(4):
            array = (np.random.default_rng(index).integers(0, 3, (4, 5, 6 + index)) * scale).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "set" / folder / f"{index}.nii.gz")
    pack(tmp_path / "set", tmp_path / "shards", options={"void": 2})
    options = {"image_size": (8, 5, 4), "fit": "pad"}
    whole = load_data(tmp_path / "set", **options, options={"void": 2})
    assert same(whole, load_data(tmp_path / "shards", **options))
    tiles = load_data(tmp_path / "set", options={"void": 2, "patch": 4})
    assert same(tiles, load_data(tmp_path / "shards", options={"patch": 4}))


def test_what_cannot_be_packed(tmp_path):
    root = class_folder(tmp_path / "pets")
    assert "a positive size of shards" in refused(pack, root, tmp_path / "out", shard_bytes=0)
    assert refused(pack, root, root).startswith("Expected a new folder for the shards")
    (root / "cat" / "0.png").write_bytes(b"")
    assert "options of the files of a class-folder source" in refused(
        pack, root, tmp_path / "out", options={"spacing": 1}
    )
    assert not [entry for entry in tmp_path.iterdir() if entry.name != "pets"]


def every_kind(tmp_path, arrays):
    """A set on demand of each class of samples."""
    root = class_folder(tmp_path / "pets", count=20)
    pack(root, tmp_path / "shards")
    return [
        load_data(root, memory_limit=900),
        load_data(tmp_path / "shards", memory_limit=900),
        load_data(arrays / "a.npz", memory_limit=900),
    ]


def test_samples_on_demand_go_to_other_processes(tmp_path, arrays):
    for dataset in every_kind(tmp_path, arrays):
        part = dataset.train
        assert not isinstance(part, TensorSamples)
        expected = part.fetch([3, 1])
        for mine, theirs in zip(pickle.loads(pickle.dumps(part)).fetch([3, 1]), expected, strict=True):  # noqa: S301
            assert torch.equal(mine, theirs)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_samples_are_fetched_in_worker_processes(tmp_path, arrays, way):
    for dataset in every_kind(tmp_path, arrays):
        part = dataset.train
        expected = part.fetch([3, 1])[0].sum().item()
        context = multiprocessing.get_context(way)
        if way == "spawn" and not isinstance(part, ItemSamples):
            continue
        with context.Pool(1) as pool:
            assert pool.apply_async(total, (part,)).get(60) == expected


def total(part):
    return part.fetch([3, 1])[0].sum().item()
