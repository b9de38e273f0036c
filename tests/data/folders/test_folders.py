"""Folders of classes, archives of them, manifests, and files that do not belong."""

import io
import os
import tarfile
import warnings

import numpy as np
import pytest
import torch
from data_files import class_folder, digits_like, png_bytes, tar_of, write_idx, write_png
from PIL import Image

from striate.data import FileSamples, SkippedFileWarning, TensorSamples, list_readers, load_data
from striate.data.file_kinds import sample_suffixes
from striate.data.source import absolute_source
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}
KINDS = ", ".join(sample_suffixes())


def refused(source, **options):
    with pytest.raises(DataError) as caught:
        load_data(source, **options)
    return str(caught.value)


def test_classes_are_sub_folders_in_alphabetical_order(tmp_path):
    root = class_folder(tmp_path / "pets", ("dog", "ant", "cat"), count=3)
    (root / "cat" / "deeper").mkdir()
    extra = write_png(root / "cat" / "deeper" / "x.png", 7)
    (root / "notes.txt").write_text("hello")
    (root / ".DS_Store").write_text("clutter")
    dataset = load_data(root, **WHOLE)
    assert dataset.classes == ("ant", "cat", "dog")
    assert (dataset.kind, dataset.ignored) == ("class-folder", ("notes.txt",))
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    place = [dataset.train.name(index) for index in range(10)].index("cat/deeper/x.png")
    assert np.array_equal(dataset.train.inputs[place, 0], extra)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "Testing")])
def test_official_parts(tmp_path, names):
    for name, count in zip(names, (4, 3, 2), strict=True):
        class_folder(tmp_path / name, count=count)
    dataset = load_data(tmp_path)
    assert [len(part) for part in dataset.parts.values()] == [8, 6, 4]
    assert dataset.official == ("train", "val", "test")


def test_a_class_called_train_is_a_class(tmp_path):
    assert load_data(class_folder(tmp_path, ("plane", "train")), **WHOLE).classes == ("plane", "train")


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(".tar", "w"), (".TAR.gz", "w:gz"), (".tar.bz2", "w:bz2"), (".tgz", "w:gz"), (".tar.xz", "w:xz")],
)
def test_archives_equal_their_folder(tmp_path, suffix, mode):
    root = class_folder(tmp_path / "pets")
    path = tar_of(root, tmp_path / f"pets{suffix}", mode)
    folder, archive = load_data(root), load_data(path)
    for name, part in folder.parts.items():
        assert torch.equal(part.inputs, archive.parts[name].inputs)
        assert [part.name(i) for i in range(len(part))] == [archive.parts[name].name(i) for i in range(len(part))]
    assert {entry.name for entry in tmp_path.iterdir()} == {"pets", path.name}


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    root = class_folder(tmp_path / "pets", count=8)
    first = load_data(root, seed=5)
    scan = os.scandir

    def backwards(path):
        return iter(sorted(scan(path), key=lambda entry: entry.name, reverse=True))

    monkeypatch.setattr(os, "scandir", backwards)
    second = load_data(root, seed=5)
    for name, part in first.parts.items():
        assert torch.equal(part.inputs, second.parts[name].inputs)


@pytest.mark.parametrize("options", [{}, {"channels": 1}, {"channels": 3, "image_size": (4, 9)}])
def test_on_demand_gives_the_same_as_in_memory(tmp_path, options):
    root = class_folder(tmp_path / "pets", count=20, channels=3)
    (root / "cat" / "3.png").write_bytes(b"no image")
    with pytest.warns(SkippedFileWarning):
        memory = load_data(root, skip_corrupt=True, **options)
    with pytest.warns(SkippedFileWarning):
        demand = load_data(root, skip_corrupt=True, memory_limit=100, **options)
    assert (memory.in_memory, demand.in_memory) == (True, False)
    assert memory.skipped == demand.skipped
    assert memory.stored_sizes == demand.stored_sizes == {(6, 5): 39}
    for name, part in memory.parts.items():
        other = demand.parts[name]
        assert isinstance(part, TensorSamples)
        assert isinstance(other, FileSamples)
        assert (part.item_shape, part.dtype, len(part)) == (other.item_shape, other.dtype, len(other))
        order = torch.randperm(len(part))
        for mine, theirs in zip(part.fetch(order), other.fetch(order), strict=True):
            assert torch.equal(mine, theirs)
        assert [part.name(i) for i in range(len(part))] == [other.name(i) for i in range(len(other))]
        assert other.fetch([])[0].shape == (0, *part.item_shape)
        assert torch.equal(part.subset([1, 0]).inputs, other.subset([1, 0]).fetch([0, 1])[0])


def test_a_file_that_changes_while_in_use(tmp_path):
    root = class_folder(tmp_path / "pets")
    samples = load_data(root, memory_limit=100, **WHOLE).train
    write_png(root / "cat" / "0.png", size=(9, 9))
    with pytest.raises(DataError) as caught:
        samples.fetch([0])
    assert str(caught.value) == (
        "Expected a sample of shape (1, 6, 5), as when the data set was opened; "
        f"received {root}/cat/0.png of shape (1, 9, 9). Do not change the files while they are in use."
    )
    (root / "cat" / "0.png").unlink()
    with pytest.raises(DataError) as caught:
        samples.fetch([0])
    assert str(caught.value) == (
        f"Expected a file that can be read; received {root}/cat/0.png: No such file or directory. "
        "Check that it exists and its permissions."
    )


def test_damaged_images(tmp_path):
    root = class_folder(tmp_path / "pets", count=4)
    bad = root / "dog" / "1.png"
    bad.write_bytes(bad.read_bytes()[:50])
    (root / "dog" / "2.png").write_bytes(b"")
    text = refused(root)
    assert text == (
        f"Expected a complete image file; received {bad}, which cannot be decoded: image file is truncated. "
        "Replace or remove it."
    )
    with pytest.warns(SkippedFileWarning) as caught:
        dataset = load_data(root, skip_corrupt=True, **WHOLE)
    assert [str(warning.message) for warning in caught] == [
        (
            f"2 damaged files of {root} are left out, first dog/1.png: {bad}, which cannot be decoded: "
            "image file is truncated"
        )
    ]
    assert [entry.name for entry in dataset.skipped] == ["dog/1.png", "dog/2.png"]
    assert dataset.skipped[1].reason == f"{root}/dog/2.png, which cannot be decoded: it is empty"
    assert len(dataset.train) == 6
    for name in ("0", "3"):
        (root / "dog" / f"{name}.png").write_bytes(b"GIF")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedFileWarning)
        assert refused(root, skip_corrupt=True) == (
            f"Expected training samples of every class; received {root} without any of class 'dog'. "
            "Add samples of it, or remove the class."
        )
        for index in range(4):
            (root / "cat" / f"{index}.png").write_bytes(b"GIF")
        assert refused(root, skip_corrupt=True) == (
            f"Expected at least one file that can be decoded; received {root} without any. Replace the damaged files."
        )


def test_mixed_sizes_channels_and_bits(tmp_path):
    root = class_folder(tmp_path / "pets")
    odd = root / "dog" / "3.png"
    write_png(odd, size=(7, 9))
    assert refused(root) == (
        f"Expected samples of one shape and kind, 6 x 5 and 1 channel (uint8) as in {root}/cat/0.png; "
        f"received {odd} with 7 x 9 and 1 channel (uint8). Give image_size, for example image_size=6."
    )
    assert load_data(root, image_size=8).train.item_shape == (1, 8, 8)
    write_png(odd, channels=3)
    assert refused(root, skip_corrupt=True) == (
        f"Expected samples of one shape and kind, 6 x 5 and 1 channel (uint8) as in {root}/cat/0.png; "
        f"received {odd} with 6 x 5 and 3 channels (uint8). Give channels=1 for grey or channels=3 for colour."
    )
    assert load_data(root, channels=3).train.item_shape == (3, 6, 5)
    Image.fromarray(np.zeros((6, 5), np.uint16)).save(odd)
    assert refused(root) == (
        f"Expected samples of one shape and kind, 6 x 5 and 1 channel (uint8) as in {root}/cat/0.png; "
        f"received {odd} with 6 x 5 and 1 channel (float32). Save all of them with the same number of bits."
    )
    odd.unlink()
    np.save(root / "dog" / "3.npy", np.zeros(40))
    assert refused(root) == (
        f"Expected samples of one shape and kind, 6 x 5 and 1 channel (uint8) as in {root}/cat/0.png; "
        f"received {root}/dog/3.npy with 40 and 1 channel (float32). "
        "Keep signals, images and volumes in data sets of their own."
    )


def test_classes_without_images(tmp_path):
    root = class_folder(tmp_path / "pets")
    (root / "emu").mkdir()
    text = f"Expected images in the folder of every class; received none in {root}/emu. "
    text += f"Put images of the kinds {KINDS} there, or remove the folder."
    assert refused(root) == text
    (root / "emu" / "readme.txt").write_text("later")
    assert refused(root) == text
    split = tmp_path / "split"
    class_folder(split / "train")
    class_folder(split / "test", ("cat", "cow"))
    assert refused(split) == (
        f"Expected test/ to have the classes of train/; received {split} with 'cow' only in test/. "
        "Add 'cow' to train/, or remove it."
    )
    only = tmp_path / "only"
    class_folder(only / "val")
    class_folder(only / "test")
    assert refused(only) == f"Expected a train folder; received {only} with only test, val. Add it, or name it train."


def test_unrecognised_sources(tmp_path):
    empty = tmp_path / "empty"
    (empty / "cat").mkdir(parents=True)
    assert refused(empty) == (
        f"Expected a folder with files in it; received {empty}, which is empty. "
        "Put one sub-folder of images per class into it."
    )
    flat = tmp_path / "flat"
    write_png(flat / "a.png")
    assert refused(flat) == (
        f"Expected images in one sub-folder per class; received {flat} with images but no sub-folders. "
        "Sort them into one folder per class, or list them with their labels in a CSV file; "
        "if their names hold the label, say where with the option name_pattern."
    )
    assert refused(flat / "a.png") == (
        f"Expected a data set; received {flat}/a.png, a single image. "
        "Give the folder that holds one sub-folder per class."
    )
    (flat / "a.doc").write_text("?")
    assert refused(flat / "a.doc") == (
        f"Expected a data set: {'; '.join(reader.summary for reader in list_readers())}; received {flat}/a.doc, "
        "which is none of them. Check the path, or convert it to one of these."
    )
    os.mkfifo(flat / "pipe")
    assert refused(flat / "pipe") == (
        f"Expected a file or folder; received {flat}/pipe, which is a device or pipe. Write it to a file first."
    )


def test_paths_that_do_not_exist(tmp_path, monkeypatch):
    (tmp_path / "flowers").mkdir()
    assert refused(tmp_path / "flower") == (
        f"Expected a file, a folder or a built-in data set that exists; received {tmp_path}/flower. "
        f"Did you mean '{tmp_path}/flowers'?"
    )
    monkeypatch.chdir(tmp_path)
    assert refused("flower") == (
        "Expected a file, a folder or a built-in data set that exists; received flower. Did you mean 'flowers'?"
    )
    assert refused("digit") == (
        "Expected a file, a folder or a built-in data set that exists; received digit. "
        "Did you mean 'digits' or 'digits28'?"
    )


def test_links(tmp_path):
    root = class_folder(tmp_path / "pets")
    (root / "cat" / "in.png").symlink_to(root / "cat" / "0.png")
    assert len(load_data(root, **WHOLE).train) == 13
    outside = tmp_path / "secret.png"
    write_png(outside)
    link = root / "cat" / "out.png"
    link.symlink_to(outside)
    assert refused(root) == (
        f"Expected links that stay inside {root}; received {link}, which leads to {outside}. "
        "Copy what it leads to into the folder, or remove the link."
    )
    link.unlink()
    link.symlink_to(root / "nothing")
    assert refused(root) == (f"Expected links that lead to a file; received {link}, a broken link. Mend or remove it.")
    link.unlink()
    link.symlink_to(root)
    assert refused(root) == (
        f"Expected folders without cycles; received {link}, a link to a folder it lies in. Remove it."
    )


def hostile_tar(path, name, kind=tarfile.REGTYPE, content=b"", link=""):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.size, member.linkname = kind, len(content), link
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png"])
def test_archive_members_that_leave_it(tmp_path, name):
    path = hostile_tar(tmp_path / "a.tar.gz", name, content=b"x")
    assert refused(path) == (
        f"Expected members that stay inside the archive; received {name!r} in {path}. "
        "Do not use this archive: it is unsafe."
    )
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_archive_members_that_are_no_files(tmp_path, kind):
    path = hostile_tar(tmp_path / "a.tar.gz", "cat/1.png", kind, link="/etc/passwd")
    assert refused(path) == (
        f"Expected an archive of plain files and folders; received 'cat/1.png' in {path}, a link or device. "
        "Pack it again with tar --dereference --hard-dereference."
    )


@pytest.mark.parametrize("pax", [False, True])
def test_archive_bombs(tmp_path, pax):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("cat/1.png")
        if pax:
            # A header is inflated by the tar reader itself, before any member is seen.
            member.pax_headers = {"comment": "0" * 2**24}
            archive.addfile(member)
        else:
            member.size = 2**24
            archive.addfile(member, io.BytesIO(bytes(2**24)))
    with pytest.raises(DataError, match=r"Expected at most .* of decoded data; received .*a\.tar\.gz, which needs"):
        load_data(path, memory_limit=2**20)


def test_damaged_archives(tmp_path):
    path = tar_of(class_folder(tmp_path / "pets"), tmp_path / "a.tar.gz")
    path.write_bytes(path.read_bytes()[:-300])
    assert refused(path) == (
        f"Expected a complete tar archive; received {path}: Compressed file ended before the end-of-stream marker "
        "was reached. Download or pack it again."
    )
    path.write_bytes(b"hello")
    assert refused(path).startswith(f"Expected a complete tar archive; received {path}: ")


def manifest(folder, text):
    path = folder / "list.csv"
    path.write_text(text)
    return path


def test_manifest(tmp_path):
    root = class_folder(tmp_path, count=4)
    splits = ("train", "train", "valid", "TEST")
    rows = [f"{name}/{i}.png,{name},{split}" for name in ("cat", "dog") for i, split in enumerate(splits)]
    dataset = load_data(manifest(root, "\n".join(["path,label,split", *rows])))
    assert (dataset.kind, dataset.classes) == ("manifest", ("cat", "dog"))
    assert [len(part) for part in dataset.parts.values()] == [4, 2, 2]
    assert dataset.val.name(1) == "dog/2.png"
    numbers = [f"cat/{index}.png,{label},x" for index, label in enumerate((10, 9, 10, 9))]
    dataset = load_data(manifest(root, "\n".join(["path,label,note", *numbers])), **WHOLE)
    assert (dataset.classes, dataset.train.labels.tolist()) == (("9", "10"), [1, 0, 1, 0])


@pytest.mark.parametrize(
    ("text", "expected", "received", "remedy"),
    [
        (
            "file,label\n",
            "a CSV file with one column path, one column label and at most one column split",
            "{} with 'file', 'label'",
            "Name the columns in the first line, with commas between them.",
        ),
        (
            "path;label\ncat/0.png;a\n",
            "a CSV file with one column path, one column label and at most one column split",
            "{} with 'path;label'",
            "Name the columns in the first line, with commas between them.",
        ),
        (
            "path,label,label\ncat/0.png,a,b\n",
            "a CSV file with one column path, one column label and at most one column split",
            "{} with 'path', 'label', 'label'",
            "Name the columns in the first line, with commas between them.",
        ),
        (
            "",
            "a CSV file with one column path, one column label and at most one column split",
            "{} with no columns",
            "Name the columns in the first line, with commas between them.",
        ),
        (
            "path,label\ncat/0.png,a\ncat/1.png,b\n./cat/0.png,b\n",
            "every file in one line",
            "'cat/0.png' in lines 2 and 4 of {}",
            "Remove one of them.",
        ),
        (
            "path,label\n" + "x" * 300 + ".png,a\n",
            "a file that exists",
            "'" + "x" * 300 + ".png' in {}, line 2",
            "Correct the path, or remove the line.",
        ),
        (
            "path,label\n",
            "rows that list samples",
            "{} without any",
            "Write one line per sample.",
        ),
        (
            "path,label\ncat/0.png\n",
            "2 fields, as in the first line",
            "{}, line 2",
            "Put fields that contain commas in double quotes.",
        ),
        (
            "path,label\ncat/0.png, \n",
            "a label",
            "an empty one in {}, line 2",
            "Fill it in, or remove the line.",
        ),
        (
            "path,label\ncat/9.png,a\n",
            "a file that exists",
            "'cat/9.png' in {}, line 2",
            "Correct the path, or remove the line.",
        ),
        (
            "path,label,split\ncat/0.png,a,tset\n",
            "a split of train, val or test",
            "'tset' in {}, line 2",
            "Did you mean 'test'?",
        ),
        (
            "path,label,split\ncat/0.png,a,\ncat/1.png,b,train\n",
            "a split in every row or in none",
            "{} with 1 rows without one",
            "Fill in train, val or test everywhere, or leave the column out.",
        ),
        (
            "path,label,split\ncat/0.png,a,test\n",
            "rows of the split train",
            "{} without any",
            "Add a train part.",
        ),
        (
            "path,label\n../secret.png,a\n",
            "paths relative to the CSV file and inside its folder",
            "'../secret.png' in {}, line 2",
            "Put the CSV file above the samples and list them from there.",
        ),
        (
            "path,label\n/etc/passwd,a\n",
            "paths relative to the CSV file and inside its folder",
            "'/etc/passwd' in {}, line 2",
            "Put the CSV file above the samples and list them from there.",
        ),
    ],
)
def test_manifest_messages(tmp_path, text, expected, received, remedy):
    root = class_folder(tmp_path / "root")
    write_png(tmp_path / "secret.png")
    path = manifest(root, text)
    assert refused(path) == f"Expected {expected}; received {received.format(path)}. {remedy}"


def test_manifest_links_may_not_leave_its_folder(tmp_path):
    root = class_folder(tmp_path / "root")
    write_png(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    assert refused(manifest(root, "path,label\nlink.png,a\n")) == (
        f"Expected links that stay inside {root}; received {root}/link.png, which leads to {tmp_path}/secret.png. "
        "Copy what it leads to into the folder, or remove the link."
    )


def test_signals_and_volumes_as_files(tmp_path):
    for index in range(6):
        (tmp_path / f"c{index % 2}").mkdir(exist_ok=True)
        np.save(tmp_path / f"c{index % 2}" / f"{index}.npy", np.full((50, 3), index / 7))
    dataset = load_data(tmp_path, **WHOLE)
    assert (dataset.spatial_dims, dataset.train.item_shape, dataset.train.dtype) == (1, (3, 50), torch.float32)
    assert dataset.train.inputs[:, 0, 0].tolist() == pytest.approx([0, 2 / 7, 4 / 7, 1 / 7, 3 / 7, 5 / 7])


def test_png_bytes_is_what_the_tests_think():
    assert png_bytes([[1, 2]]).startswith(b"\x89PNG")


# Names ---------------------------------------------------------------------------------------------------------------


def test_names_that_are_no_text(tmp_path):
    root = class_folder(tmp_path / "pets")
    (root / "cat").rename(root / "caf\udce9")
    expected = "Expected names of files and folders in UTF-8; received {}. Rename it."
    assert refused(root) == expected.format(ascii(f"{root}/caf\udce9"))
    assert refused(tar_of(root, tmp_path / "pets.tar")) == expected.format(ascii("pets/caf\udce9"))
    assert refused(f"{root}/caf\udce9") == expected.format(ascii(f"{root}/caf\udce9"))


def test_sources_that_cannot_exist():
    assert refused("") == (
        "Expected a file, a folder or a built-in data set; received an empty text. Write . for this folder."
    )
    name = "x" * 300
    assert refused(name) == (
        f"Expected a file, a folder or a built-in data set that exists; received {name}. "
        "Choose one of: digits, digits28."
    )


def test_sources_from_another_folder(tmp_path, monkeypatch):
    """A relative source, or the beginning of the names of IDX files, means the same when it is made absolute."""
    write_idx(tmp_path / "idx", "set-train-", *digits_like(9))
    class_folder(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    for given in ("pets", "./pets", "idx/set"):
        absolute = absolute_source(given)
        assert absolute == str(tmp_path / given)
        assert load_data(absolute).kind == load_data(given).kind
    assert absolute_source("digits") == "digits"
    assert absolute_source("pest") == "pest"


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch, order):
    root = class_folder(tmp_path / "pets", count=9)
    expected = load_data(root)
    scan = os.scandir
    monkeypatch.setattr(
        "striate.data.source.os.scandir", lambda path: sorted(scan(path), key=lambda e: e.name)[::order]
    )
    for limit in (None, 100):
        dataset = load_data(root, memory_limit=limit)
        assert dataset.in_memory == (limit is None)
        for name, part in expected.parts.items():
            other = dataset.parts[name]
            assert [other.name(i) for i in range(len(other))] == [part.name(i) for i in range(len(part))]
            assert torch.equal(other.labels, part.labels)
            assert torch.equal(other.fetch(range(len(other)))[0], part.fetch(range(len(part)))[0])
