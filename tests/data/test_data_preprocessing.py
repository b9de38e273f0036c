"""Preprocessing: what is learned, what is applied, and what is read for prediction."""

import numpy as np
import pytest
import torch
from data_files import class_folder, png_bytes, write_png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import Preprocessing, load_data, read_input, write_output
from striate.data.file_kinds import sample_suffixes
from striate.data.moments import Moments
from striate.errors import DataError


def colour_set(tmp_path):
    return class_folder(tmp_path / "pets", count=10, channels=3)


def test_statistics_come_from_the_training_part_alone(tmp_path):
    dataset = load_data(colour_set(tmp_path))
    learned = Preprocessing.fit(dataset)
    values = dataset.train.inputs.double() / 255
    torch.testing.assert_close(torch.tensor(learned.mean, dtype=torch.float64), values.mean((0, 2, 3)))
    torch.testing.assert_close(torch.tensor(learned.std, dtype=torch.float64), values.std((0, 2, 3), correction=0))
    assert learned.channels == 3
    assert learned.size == (6, 5)
    scaled = learned(dataset.train.inputs)
    assert scaled.dtype == torch.float32
    means = torch.tensor(learned.mean).reshape(1, 3, 1, 1)
    stds = torch.tensor(learned.std).reshape(1, 3, 1, 1)
    torch.testing.assert_close(scaled, ((dataset.train.inputs / 255 - means) / stds).float(), atol=1e-5, rtol=1e-5)


def test_statistics_do_not_depend_on_where_samples_lie(tmp_path):
    root = colour_set(tmp_path)
    assert Preprocessing.fit(load_data(root)) == Preprocessing.fit(load_data(root, memory_limit=100))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.booleans(), st.floats(-1e6, 1e6))
def test_moments_of_chunks_are_those_of_the_whole(counts, as_bytes, offset):
    def chunk(count):
        drawn = torch.randint(0, 256, (count, 2, 7), dtype=torch.uint8)
        return drawn if as_bytes else drawn.double() + offset

    chunks = [chunk(count) for count in counts]
    moments = Moments(2)
    for part in chunks:
        moments.add(part)
    whole = torch.cat(chunks).double()
    torch.testing.assert_close(moments.mean, whole.mean((0, 2)))
    torch.testing.assert_close(moments.std, whole.std((0, 2), correction=0))


@pytest.mark.parametrize("offset", [0.0, 300.0, -1e4])
def test_samples_scaled_one_by_one(offset):
    preprocessing = Preprocessing(2, (5, 6), 1.0, (0.0, 0.0), (1.0, 1.0), "sample")
    values = np.random.default_rng(0).normal(offset, 20, (3, 2, 5, 6)).astype(np.float32)
    values[1, 0] = 0.1 + offset  # which never changes
    given = torch.from_numpy(values.copy())
    found = preprocessing(given).numpy()
    exact = values.astype(np.float64)
    exact = (exact - exact.mean((2, 3), keepdims=True)) / np.maximum(exact.std((2, 3), keepdims=True), 1e-9)
    exact[1, 0] = 0
    assert np.abs(found - exact).max() < 2e-3
    assert np.abs(found[1, 0]).max() < 2e-3
    assert torch.equal(given, torch.from_numpy(values))
    levels = torch.from_numpy(values.clip(0, 255).astype(np.uint8))
    assert torch.equal(preprocessing(levels), preprocessing(levels.float()))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_inputs_are_left_as_they_are(dtype):
    preprocessing = Preprocessing(1, (4,), 255.0, (0.5,), (0.25,))
    inputs = torch.tensor([[[0, 51, 102, 255]]], dtype=dtype)
    before = inputs.clone()
    assert torch.allclose(preprocessing(inputs), torch.tensor([[[-2, -1.2, -0.4, 2]]]))
    assert torch.equal(inputs, before)
    if dtype.is_floating_point:
        inputs.requires_grad_()
        assert torch.autograd.grad(preprocessing(inputs).sum(), inputs)[0].ne(0).all()


def test_a_constant_channel_is_left_finite(tmp_path):
    x = np.random.default_rng(0).random((8, 2, 30)).astype(np.float32)
    x[:, 1] = 3
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(8) % 2)
    learned = Preprocessing.fit(load_data(tmp_path / "a.npz"))
    assert learned.std[1] == 1
    assert (learned(torch.from_numpy(x))[:, 1] == 0).all()


def test_round_trip_through_plain_data(tmp_path):
    learned = Preprocessing.fit(load_data(colour_set(tmp_path)))
    again = Preprocessing.from_dict(learned.to_dict())
    assert again == learned
    batch = torch.randint(0, 256, (2, 3, 6, 5), dtype=torch.uint8)
    assert torch.equal(again(batch), learned(batch))


GREY = Preprocessing(1, (6, 5), 255.0, (0.5,), (0.25,))


def test_read_converts_pictures_to_the_training_data(tmp_path):
    pixels = write_png(tmp_path / "a.png")
    assert torch.equal(GREY.read(tmp_path / "a.png"), torch.from_numpy(pixels)[None, None])
    write_png(tmp_path / "big.png", size=(12, 9), channels=3)
    assert GREY.read(str(tmp_path / "big.png")).shape == (1, 1, 6, 5)
    digits = Preprocessing(1, (6, 5), 16.0, (0.5,), (0.25,))
    torch.testing.assert_close(digits.read(tmp_path / "a.png")[0, 0], torch.from_numpy(pixels) * (16 / 255))
    deep = np.full((6, 5), 65535, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert GREY.read(tmp_path / "deep.png").unique().tolist() == [255]


def test_read_gives_what_the_data_set_gives(tmp_path):
    root = colour_set(tmp_path)
    dataset = load_data(root, channels=1, image_size=(4, 8))
    read = Preprocessing.fit(dataset).read(root / dataset.train.name(3))
    assert torch.equal(read, dataset.train.fetch([3])[0])


@pytest.mark.parametrize("shape", [(2, 9), (9, 2)])
def test_read_takes_arrays_with_channels_first_or_last(tmp_path, shape):
    signal = Preprocessing(2, (9,), 1.0, (0.0, 0.0), (1.0, 1.0))
    values = np.random.default_rng(0).random(shape)
    np.save(tmp_path / "a.npy", values)
    wanted = values if shape == (2, 9) else values.T
    assert np.array_equal(signal.read(tmp_path / "a.npy")[0], wanted.astype(np.float32))


def test_read_takes_volumes(tmp_path):
    volume = Preprocessing(1, (4, 5, 6), 255.0, (0.0,), (1.0,))
    values = np.random.default_rng(0).integers(0, 256, (4, 5, 6), np.uint8)
    np.save(tmp_path / "a.npy", values)
    assert np.array_equal(volume.read(tmp_path / "a.npy")[0, 0], values)


def test_read_messages(tmp_path):
    def refused(path, preprocessing=GREY):
        with pytest.raises(DataError) as caught:
            preprocessing.read(path)
        return str(caught.value)

    path = tmp_path / "photo.png"
    write_png(path)
    assert refused(tmp_path / "phot.png") == (
        f"Expected a file that exists; received {tmp_path}/phot.png. Did you mean 'photo.png'?"
    )
    assert refused("/nowhere/a.png") == "Expected a file that exists; received /nowhere/a.png. Check the path."
    (tmp_path / "a.txt").write_text("")
    assert refused(tmp_path / "a.txt") == (
        f"Expected a file of one of the kinds {', '.join(sample_suffixes())}; received {tmp_path}/a.txt. "
        "Convert it to one of them."
    )
    path.write_bytes(png_bytes(np.zeros((9, 9)))[:45])
    assert refused(path).startswith(f"Expected a complete image file; received {path}, which cannot be decoded: ")
    signal = Preprocessing(2, (9,), 1.0, (0.0, 0.0), (1.0, 1.0))
    write_png(path)
    assert refused(path, signal) == (
        f"Expected a .npy file with one sample of 1 spatial axes; received {path}, an image. "
        "Give the kind of data that the network was trained on."
    )
    np.save(tmp_path / "a.npy", np.zeros((3, 9)))
    assert refused(tmp_path / "a.npy", signal) == (
        f"Expected one sample of 2 channels and 1 spatial axes; received {tmp_path}/a.npy of shape (3, 9). "
        "Save it with shape (2, 9)."
    )


def test_wrong_inputs():
    with pytest.raises(DataError) as caught:
        GREY(torch.zeros(2, 3, 6, 5))
    assert str(caught.value) == (
        "Expected inputs of shape (N, 1, size, size); received inputs of shape (2, 3, 6, 5). "
        "Read files with read(), which brings them to this shape."
    )


SETTINGS = {"channels": 1, "size": [6, 5], "value_scale": 255.0, "mean": [0.5], "std": [0.25]}


@pytest.mark.parametrize(
    ("change", "expected", "received"),
    [
        ({"channels": 0}, "channels of whole numbers from 1", "channels=0"),
        ({"size": []}, "size with 1 to 3 entries", "size=()"),
        ({"size": [6, 0]}, "size of whole numbers from 1", "size=0"),
        ({"size": 6}, "size to be a list", "size=6"),
        ({"value_scale": 0}, "value_scale of 1 finite positive numbers", "value_scale=(0,)"),
        ({"mean": [float("nan")]}, "mean of 1 finite numbers", "mean=(nan,)"),
        ({"mean": [0.5, 0.5]}, "mean of 1 finite numbers", "mean=(0.5, 0.5)"),
        ({"std": [0.0]}, "std of 1 finite positive numbers", "std=(0.0,)"),
        ({"std": ["1"]}, "std of 1 finite positive numbers", "std=('1',)"),
        (
            {"colour": 1},
            "the settings channels, size, value_scale, mean, std",
            "channels, colour, mean, size, std, value_scale",
        ),
    ],
)
def test_settings_that_cannot_be(change, expected, received):
    with pytest.raises(DataError) as caught:
        Preprocessing.from_dict({**SETTINGS, **change})
    assert str(caught.value) == (
        f"Expected preprocessing with {expected}; received {received}. "
        "Use the settings that were saved with the network."
    )


def test_single_samples_are_read_and_written(tmp_path):
    values = torch.tensor([[[-3.0, 0.4, 254.6, 300.0]]])
    write_output(values, tmp_path / "a.png")
    assert read_input(tmp_path / "a.png").tolist() == [[[0, 0, 255, 255]]]
    write_output(values, tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), values)
    colour = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    write_output(colour, tmp_path / "c.png")
    assert torch.equal(read_input(tmp_path / "c.png"), colour)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.npy", "c.png"}


def test_writing_messages(tmp_path):
    for values, name, text in (
        (
            torch.zeros(1, 2, 2),
            "a.doc",
            (
                "Expected a file name that ends in .npy, .bmp, .jpg, .jpeg, .png, .tif, .tiff, .webp; "
                f"received {tmp_path}/a.doc. Name it so, for example out.png."
            ),
        ),
        (
            torch.zeros(2, 2),
            "a.png",
            (
                "Expected values of shape (1, H, W) or (3, H, W) for a picture; "
                f"received values of shape (2, 2) for {tmp_path}/a.png. Write them to a .npy file."
            ),
        ),
        (
            torch.zeros(1, 2, 2),
            "no/a.png",
            (
                "Expected a place where the file can be written; "
                f"received {tmp_path}/no/a.png: No such file or directory. Create the folder first."
            ),
        ),
    ):
        with pytest.raises(DataError) as caught:
            write_output(values, tmp_path / name)
        assert str(caught.value) == text
