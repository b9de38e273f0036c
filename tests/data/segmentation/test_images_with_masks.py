"""Images with masks: pairing, what masks may hold, tiles, and what is refused."""

import itertools
import pickle

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import SkippedFileWarning, TensorSamples, load_data
from striate.data.items import ItemSamples
from striate.data.segmentation.masks import ClassTable, Lookup, Mask, resize_nearest
from striate.data.segmentation.tiles import Tiling, stitch, tile_place
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}


def write(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    if mode == "P":
        image = image.convert("P") if image.mode != "L" else image
        image.putpalette([255 - value for value in range(256) for _ in range(3)])
    image.save(path)


def pairs(root, count=4, size=(6, 5), classes=3, images="images", masks="masks", ending="", mode=None):
    """Writes images and masks; returns the arrays (N, H, W)."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (count, *size)), random.integers(0, classes, (count, *size))
    for index in range(count):
        write(root / images / f"{index}.png", x[index])
        write(root / masks / f"{index}{ending}.png", y[index], mode)
    return x, y


def refused(source, **options):
    with pytest.raises(DataError) as caught:
        load_data(source, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("images", "masks", "ending", "mode"),
    [
        ("images", "masks", "", None),
        ("image", "label", "_mask", None),
        ("imagesTr", "labelsTr", "", "P"),
        ("Images/deep", "Labels/deep", "_gt", None),
    ],
)
def test_pairs_by_name(tmp_path, images, masks, ending, mode):
    x, y = pairs(tmp_path, images=images, masks=masks, ending=ending, mode=mode)
    dataset = load_data(tmp_path, **WHOLE)
    assert (dataset.kind, dataset.task, dataset.classes, dataset.void) == (
        "segmentation",
        "segmentation",
        tuple("012"),
        None,
    )
    assert dataset.outputs == 3
    assert dataset.train.labels.shape == (4, 0)
    inputs, targets = dataset.train.fetch([2, 0])
    assert (inputs.dtype, targets.dtype) == (torch.uint8, torch.int64)
    assert np.array_equal(inputs[:, 0].numpy(), x[[2, 0]])
    assert np.array_equal(targets.numpy(), y[[2, 0]])


@pytest.mark.parametrize("order", ["{split}/{kind}", "{kind}/{split}"])
def test_parts_of_the_source(tmp_path, order):
    for split, count in (("train", 4), ("val", 2)):
        pairs(
            tmp_path,
            count,
            images=order.format(split=split, kind="images"),
            masks=order.format(split=split, kind="masks"),
        )
    write(tmp_path / order.format(split="test", kind="images") / "9.png", np.zeros((6, 5)))
    dataset = load_data(tmp_path, test_fraction=0)
    assert {split: len(part) for split, part in dataset.parts.items()} == {"train": 4, "val": 2}
    assert dataset.official == ("train", "val")
    assert dataset.ignored == (order.format(split="test", kind="images") + "/9.png",)


def test_binary_masks_are_two_classes(tmp_path):
    _, y = pairs(tmp_path, classes=2)
    for index in range(4):
        write(tmp_path / "masks" / f"{index}.png", y[index] * 255)
    dataset = load_data(tmp_path, **WHOLE)
    assert dataset.classes == ("0", "255")
    assert dataset.reading["label_ids"] == [0, 255]
    assert np.array_equal(dataset.train.fetch(range(4))[1].numpy(), y)


def test_void_positions(tmp_path):
    _, y = pairs(tmp_path)
    y[0, 0] = 255
    write(tmp_path / "masks" / "0.png", y[0])
    assert refused(tmp_path) == (
        f"Expected label ids from 0 on without gaps, or masks of 0 and 255; received masks of {tmp_path} with 0, 1, 2, "
        "255. Give void=255 if that marks what is to be ignored, or classes, a file with a line name,id for each."
    )
    dataset = load_data(tmp_path, **WHOLE, options={"void": 255})
    assert (dataset.classes, dataset.void) == (("0", "1", "2"), 255)
    assert np.array_equal(dataset.train.fetch(range(4))[1].numpy(), y)
    # The number 0 cannot stay what it is when it is no class: it would be the first one.
    dataset = load_data(tmp_path, **WHOLE, options={"void": 0, "classes": named(tmp_path, "b,1\nc,2\nd,255")})
    expected = np.select([y == 1, y == 2, y == 255], [0, 1, 2], 255)
    assert (dataset.classes, dataset.void) == (("b", "c", "d"), 255)
    assert np.array_equal(dataset.train.fetch(range(4))[1].numpy(), expected)


def named(root, text, name="names.csv"):
    (root / name).write_text(text)
    return name


def test_declared_classes(tmp_path):
    _, y = pairs(tmp_path)
    named(tmp_path, "sky\nroad\ncar\nperson\n", "classes.txt")
    dataset = load_data(tmp_path, **WHOLE)
    assert (dataset.classes, dataset.ignored) == (("sky", "road", "car", "person"), ())
    assert np.array_equal(dataset.train.fetch(range(4))[1].numpy(), y)
    wrong = int((y[0] == 2).sum())
    assert refused(tmp_path, options={"classes": named(tmp_path, "sky\nroad")}) == (
        f"Expected label ids among the 2 declared classes; received {tmp_path / 'masks/0.png'} with 2 at {wrong} "
        "positions. "
        "Correct the mask, declare the class, or give void if the number marks what is to be ignored."
    )
    for text in ("a,1\nb", "a,x", "a,1\nb,1", "a\na", "a,1,#12", "a,1,300 0 0", ""):
        assert refused(tmp_path, options={"classes": named(tmp_path, text)}).startswith("Expected ")
    assert refused(tmp_path, options={"classes": "none.csv"}) == (
        "Expected a file of classes that exists; received classes='none.csv'. Name one beside images and masks."
    )


def test_coloured_masks(tmp_path):
    _, y = pairs(tmp_path)
    colours = np.array([[0, 0, 0], [128, 0, 0], [0, 200, 7]])
    for index in range(4):
        write(tmp_path / "masks" / f"{index}.png", colours[y[index]])
    assert refused(tmp_path) == (
        "Expected masks of numbers, or a file that says which class has which colour; received "
        f"{tmp_path}/masks/0.png, "
        "an RGB image with colours. Give classes, a file with a line name,id,colour for each."
    )
    named(tmp_path, "name,id,colour\nsky,0,#000000\nroad,1,128 0 0\ncar,2,#00c807\n", "classes.csv")
    dataset = load_data(tmp_path, **WHOLE)
    assert dataset.classes == ("sky", "road", "car")
    assert np.array_equal(dataset.train.fetch(range(4))[1].numpy(), y)
    write(tmp_path / "masks" / "0.png", np.full((6, 5, 3), 9))
    assert "with #090909 at 30 positions" in refused(tmp_path)


@given(
    classes=st.lists(st.integers(0, 2**17), min_size=1, max_size=6, unique=True),
    void=st.none() | st.integers(0, 2**17),
    data=st.data(),
)
def test_numbers_become_classes_however_large_they_are(classes, void, data):
    classes = [number for number in classes if number != void] or [1 if void == 0 else 0]
    lookup = Lookup(ClassTable(tuple(f"c{number}" for number in classes), tuple(classes)), void)
    known = {number: place for place, number in enumerate(classes)}
    if void is not None:
        known[void] = lookup.void
    ids = data.draw(st.lists(st.sampled_from([*known]), min_size=1, max_size=9))
    assert lookup(Mask(torch.tensor(ids)), "a.png").tolist() == [known[number] for number in ids]
    stranger = data.draw(st.integers(-1, 2**40).filter(lambda number: number not in known))
    with pytest.raises(DataError, match=f"a.png with {stranger} at 1 positions"):
        lookup(Mask(torch.tensor([*ids, stranger])), "a.png")


def test_masks_move_with_their_images(tmp_path):
    x, y = pairs(tmp_path)
    dataset = load_data(tmp_path, **WHOLE, image_size=(12, 10))
    inputs, targets = dataset.train.fetch([1])
    assert inputs.shape == (1, 1, 12, 10)
    assert np.array_equal(targets[0].numpy(), np.kron(y[1], np.ones((2, 2))))
    dataset = load_data(tmp_path, **WHOLE, image_size=(8, 3), fit="pad", options={"void": 255})
    inputs, targets = dataset.train.fetch([1])
    assert np.array_equal(targets[0].numpy(), np.pad(y[1][:, 1:4], ((1, 1), (0, 0)), constant_values=255))
    assert np.array_equal(inputs[0, 0].numpy(), np.pad(x[1][:, 1:4], ((1, 1), (0, 0))))
    assert list(dataset.stored_sizes) == [(6, 5)]


def test_volumes_with_labels(tmp_path):
    random = np.random.default_rng(1)
    affines = [np.diag([1, 1, 2, 1.0]), np.diag([-1, 1, 2, 1.0])]
    x, y = random.random((2, 3, 4, 5), np.float32), random.integers(0, 2, (2, 3, 4, 5)).astype(np.uint8)
    for folder, arrays in (("images", x), ("labels", y)):
        (tmp_path / folder).mkdir()
        for index, array in enumerate(arrays):
            # A mask may be stored in another orientation than its image.
            flip = index == 1 and folder == "labels"
            nibabel.save(
                nibabel.Nifti1Image(array[::-1] if flip else array, affines[flip]),
                tmp_path / folder / f"{index}.nii.gz",
            )
    dataset = load_data(tmp_path, **WHOLE)
    inputs, targets = dataset.train.fetch([0, 1])
    assert (dataset.spatial_dims, dataset.normalise) == (3, "sample")
    assert np.array_equal(inputs[:, 0].numpy(), x.transpose(0, 3, 2, 1))
    assert np.array_equal(targets.numpy(), y.transpose(0, 3, 2, 1))
    assert load_data(tmp_path, **WHOLE, options={"spacing": 1}).train.fetch([0])[1].shape == (1, 10, 4, 3)
    nibabel.save(nibabel.Nifti1Image(y[0], np.diag([1, 1, 3, 1.0])), tmp_path / "labels" / "0.nii.gz")
    assert refused(tmp_path) == (
        f"Expected an image and a mask of one spacing; received {tmp_path}/images/0.nii.gz with 2 x 1 x 1 mm and "
        "its mask "
        "with 3 x 1 x 1. Resample the mask to its image."
    )


def test_stacks_of_pages(tmp_path):
    random = np.random.default_rng(2)
    x, y = random.integers(0, 256, (3, 6, 5), np.uint8), random.integers(0, 2, (3, 6, 5), np.uint8)
    for folder, pages in (("images", x), ("masks", y)):
        (tmp_path / folder).mkdir()
        first, *rest = map(Image.fromarray, pages)
        first.save(tmp_path / folder / "a.tif", save_all=True, append_images=rest)
    inputs, targets = load_data(tmp_path, **WHOLE, options={"pages": "volume"}).train.fetch([0])
    assert np.array_equal(inputs[0, 0].numpy(), x)
    assert np.array_equal(targets[0].numpy(), y)


def test_pairs_that_are_refused(tmp_path):
    pairs(tmp_path)
    (tmp_path / "masks" / "3.png").unlink()
    assert refused(tmp_path) == (
        f"Expected a mask for every image, of the same name; received images/3.png of {tmp_path} without one, 1 "
        "such in "
        "all. Add a mask, or remove the image."
    )
    (tmp_path / "images" / "3.png").unlink()
    write(tmp_path / "masks" / "7.png", np.zeros((6, 5)))
    assert "Expected an image for every mask" in refused(tmp_path)
    write(tmp_path / "images" / "7.png", np.zeros((6, 5)))
    write(tmp_path / "masks" / "7.png", np.zeros((6, 4)))
    assert refused(tmp_path) == (
        f"Expected an image and a mask of one size; received {tmp_path}/images/7.png of 6 x 5 and "
        f"{tmp_path}/masks/7.png "
        "of 6 x 4. Save the mask at the size of its image."
    )
    with pytest.warns(SkippedFileWarning, match="7.png"):
        assert len(load_data(tmp_path, **WHOLE, skip_corrupt=True).train) == 3
    (tmp_path / "masks" / "7.png").unlink()
    write(tmp_path / "masks" / "7.jpg", np.zeros((6, 5)))
    assert "masks in a format that keeps every number" in refused(tmp_path)


def test_mixed_sizes_are_answered_with_a_size_or_tiles(tmp_path):
    pairs(tmp_path)
    write(tmp_path / "images" / "9.png", np.zeros((9, 9)))
    write(tmp_path / "masks" / "9.png", np.zeros((9, 9)))
    assert refused(tmp_path) == (
        "Expected samples of one shape and kind, 6 x 5 and 1 channel (uint8) as in images/0.png; received "
        "images/9.png of "
        f"{tmp_path} with 9 x 9 and 1 channel (uint8). Give image_size or patch for one size, and channels=1 or "
        "channels=3 "
        "for grey or colour."
    )
    dataset = load_data(tmp_path, **WHOLE, options={"patch": 7, "overlap": 0})
    assert (len(dataset.train), dataset.train.item_shape) == (8, (1, 7, 7))


def test_subjects_by_name(tmp_path):
    random = np.random.default_rng(3)
    for name in ("ann_1", "ann_2", "bob_1", "cat_1", "cat_2"):
        write(tmp_path / "images" / f"{name}.png", random.integers(0, 256, (4, 4)))
        write(tmp_path / "masks" / f"{name}.png", np.eye(4))
    options = {"name_pattern": r"(?P<subject>[a-z]+)_\d"}
    assert load_data(tmp_path, **WHOLE, options=options).train.groups.tolist() == [0, 0, 1, 2, 2]
    dataset = load_data(tmp_path, val_fraction=0, options={"test_pattern": "^cat|/cat"})
    assert [dataset.test.name(index) for index in range(2)] == ["images/cat_1.png", "images/cat_2.png"]
    assert len(load_data(tmp_path, **WHOLE, options={"select": "ann"}).train) == 2


@pytest.fixture
def large(tmp_path):
    x, y = pairs(tmp_path, count=6, size=(20, 17), classes=2)
    return tmp_path, x, y


def test_tiles_in_memory_and_on_demand_are_the_same(large):
    root, x, _ = large
    options = {"patch": [8, 6], "overlap": 0.25}
    memory, demand = load_data(root, options=options), load_data(root, options=options, memory_limit=2000)
    assert (memory.in_memory, demand.in_memory) == (True, False)
    assert isinstance(memory.train, TensorSamples)
    assert isinstance(demand.train, ItemSamples)
    for split, part in memory.parts.items():
        other = demand.parts[split]
        rows = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
        for one, two in zip(part.fetch(rows), other.fetch(rows), strict=True):
            assert torch.equal(one, two)
        assert [part.name(index) for index in range(len(part))] == [other.name(index) for index in range(len(part))]
        copied = pickle.loads(pickle.dumps(other)).subset(rows[:3])  # noqa: S301
        assert torch.equal(copied.fetch([1])[0], part.fetch([rows[1]])[0])
    # No image has tiles in two parts.
    images = [{tile_place(part.name(i))[0] for i in range(len(part))} for part in memory.parts.values()]
    assert sum(map(len, images)) == len(set.union(*images)) == len(x)


def test_tiles_are_stitched_to_what_they_were_cut_from(large):
    root, x, _ = large
    samples = load_data(root, **WHOLE, options={"patch": 8}).train
    inputs, _ = samples.fetch(range(len(samples)))
    whole = stitch(inputs.float(), [samples.name(index) for index in range(len(samples))])
    assert {name: tuple(value.shape) for name, value in whole.items()} == {
        f"images/{i}.png": (1, 20, 17) for i in range(6)
    }
    for index in range(6):
        assert np.array_equal(whole[f"images/{index}.png"][0].numpy(), x[index])


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    data=st.data(),
    overlap=st.sampled_from([0.0, 0.25, 0.5]),
)
def test_tiles_cover_everything_and_overlap_enough(shape, data, overlap):
    size = tuple(data.draw(st.integers(3, 9)) for _ in shape)
    tiling = Tiling(size, overlap)
    values = torch.arange(np.prod(shape)).reshape(shape).float()
    starts = tiling.starts(shape)
    tiles = torch.stack([tiling.cut(values, start, -1) for start in starts])
    assert tiles.shape[1:] == size
    names = [tiling.name("a", start, shape) for start in starts]
    assert torch.equal(stitch(tiles[:, None], names)["a"][0], values)
    for axis, length in enumerate(size):
        places = sorted({start[axis] for start in starts})
        steps = [after - before for before, after in itertools.pairwise(places)]
        assert all(step <= max(length * (1 - overlap), 1) for step in steps)


def test_what_cannot_be_stitched():
    outputs = torch.zeros(1, 2, 3)
    for names, told in (
        (["a.png"], "names of tiles with 1 axes"),
        (["a.png[0:3, 0:3]"], "names of tiles with 1 axes"),
        (["a.png[2:5]"], "a.png with 2 positions that none covers"),
        ([], "1 outputs and 0 names"),
    ):
        with pytest.raises(DataError, match=told.replace("[", r"\[")):
            stitch(outputs, names)


def test_patch_of_another_rank(large):
    assert refused(large[0], options={"patch": [4, 4, 4]}) == (
        "Expected patch to be one size, or 2 of them; received patch=[4, 4, 4] for images/0.png of size 20 x 17. "
        "Give a size for each axis."
    )
    assert "patch to be a whole number" in refused(large[0], options={"patch": 0})


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_nearest_is_that_of_pytorch(height, width, rows, columns):
    mask = torch.arange(height * width).reshape(height, width)
    expected = torch.nn.functional.interpolate(mask[None, None].double(), (rows, columns), mode="nearest-exact")
    assert torch.equal(resize_nearest(mask, (rows, columns)), expected[0, 0].long())


def test_arrays_with_masks(tmp_path):
    random = np.random.default_rng(4)
    x, y = random.integers(0, 256, (5, 6, 7), np.uint8), random.integers(0, 3, (5, 6, 7), np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=y, classes=np.array(["sky", "road", "car"]))
    dataset = load_data(tmp_path / "a.npz", **WHOLE)
    assert (dataset.task, dataset.classes) == ("segmentation", ("sky", "road", "car"))
    assert np.array_equal(dataset.train.fetch([3, 1])[1].numpy(), y[[3, 1]])
    assert load_data(tmp_path / "a.npz", **WHOLE, image_size=12).train.fetch([0])[1].shape == (1, 12, 12)
    np.savez(tmp_path / "b.npz", x=x, y=y[:, :, :6])
    assert "Expected masks of the size of their inputs, (6, 7)" in refused(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=x, y=np.where(y == 2, 9, y))
    assert "label ids from 0 on without gaps" in refused(tmp_path / "c.npz")
    dataset = load_data(tmp_path / "c.npz", **WHOLE, options={"void": 9})
    assert (dataset.classes, dataset.void) == (("0", "1"), 9)
    np.savez(tmp_path / "d.npz", x=x, y=-y.astype(int))
    assert "label ids that are whole numbers from 0" in refused(tmp_path / "d.npz")


def test_folders_that_are_refused(tmp_path):
    pairs(tmp_path)
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "images" / "0.bmp")
    assert "Expected one image of each name; received images/0.bmp and images/0.png" in refused(tmp_path)
    for split in ("val", "test"):
        pairs(tmp_path / "b", images=f"{split}/images", masks=f"{split}/masks")
    assert "images with masks to train on" in refused(tmp_path / "b")
    pairs(tmp_path / "c")
    (tmp_path / "c" / "classes.txt").write_bytes(b"\xff\xfe\x00")
    assert "class names in UTF-8" in refused(tmp_path / "c")
    (tmp_path / "c" / "classes.txt").write_bytes(b"a" * (2**20 + 1))
    assert "class names of at most 1 MiB" in refused(tmp_path / "c")
    (tmp_path / "c" / "classes.txt").unlink()
    (tmp_path / "c" / "masks" / "0.png").write_bytes(b"")
    assert "a complete mask" in refused(tmp_path / "c")


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (np.full((6, 5), 0.5), "label ids that are whole numbers from 0"),
        (np.full((6, 5), -1), "label ids that are whole numbers from 0"),
        (np.array(["a"] * 6), "a mask of numbers with one to three axes"),
        (np.zeros((0, 5)), "a mask of numbers with one to three axes"),
    ],
)
def test_arrays_that_are_no_masks(tmp_path, mask, told):
    pairs(tmp_path)
    (tmp_path / "masks" / "0.png").unlink()
    np.save(tmp_path / "masks" / "0.npy", mask)
    assert told in refused(tmp_path)
    np.save(tmp_path / "masks" / "0.npy", np.ones((6, 5)))
    assert load_data(tmp_path, **WHOLE).train.fetch([0])[1].unique().tolist() == [1]


def test_one_hot_volumes_are_no_masks(tmp_path):
    for folder, array in (("images", np.zeros((3, 4, 5))), ("labels", np.zeros((3, 4, 5, 2)))):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / folder / "a.nii")
    assert "Turn one-hot channels into numbers with argmax" in refused(tmp_path)


def test_an_image_that_changes_while_in_use(large):
    root, *_ = large
    train = load_data(root, **WHOLE, memory_limit=500).train
    write(root / "images" / "0.png", np.zeros((9, 9)))
    write(root / "masks" / "0.png", np.zeros((9, 9)))
    with pytest.raises(DataError, match="as when the data set was opened"):
        train.fetch([0])
