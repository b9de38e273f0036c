"""Whole images of tiles: put together again, and what is said of tiles blended."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import TensorSamples, load_data
from striate.data.segmentation.tiles import Blend, Tiling
from striate.data.segmentation.wholes import WholeSamples
from striate.errors import DataError

SIZES = {"a": (20, 17), "b": (9, 30), "c": (5, 6), "d": (12, 8), "e": (21, 11)}


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(3)
    stored = {}
    for what in ("images", "masks"):
        (tmp_path / what).mkdir()
    for name, size in SIZES.items():
        image, mask = random.integers(0, 256, size, np.uint8), random.integers(0, 3, size).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
        stored[f"images/{name}.png"] = image, mask
    return tmp_path, stored


@pytest.mark.parametrize("memory", [None, 1])
def test_images_are_those_that_were_cut(folder, memory):
    root, stored = folder
    options = {"patch": [8, 7], "overlap": 0.3}
    dataset = load_data(root, options=options, memory_limit=memory, val_fraction=0.2, test_fraction=0.2)
    seen = {}
    for part in dataset.parts.values():
        assert part.in_memory == (memory is None)
        wholes = WholeSamples(part)
        assert len(wholes) == len(wholes.groups) == len(set(wholes.groups.tolist()))
        for index in range(len(wholes)):
            inputs, masks = wholes.fetch([index])
            assert (inputs.dtype, masks.dtype) == (torch.uint8, torch.int64)
            seen[wholes.name(index)] = inputs[0, 0].numpy(), masks[0].numpy()
    assert seen.keys() == stored.keys()
    for name, pair in stored.items():
        assert all(np.array_equal(one, other) for one, other in zip(seen[name], pair, strict=True)), name


def test_the_order_of_tiles_does_not_matter(folder):
    root, stored = folder
    train = load_data(root, options={"patch": 8}, val_fraction=0, test_fraction=0).train
    wholes = WholeSamples(train.subset(torch.randperm(len(train))))
    for index in range(len(wholes)):
        assert np.array_equal(wholes.fetch([index])[0][0, 0].numpy(), stored[wholes.name(index)][0])


def test_what_is_no_image(folder):
    root, _ = folder
    train = load_data(root, options={"patch": 8}, val_fraction=0, test_fraction=0).train
    with pytest.raises(DataError) as error:
        WholeSamples(train).fetch([0, 1])
    assert str(error.value) == "Expected images of one size; received 2 of several. Fetch them one by one."
    with pytest.raises(DataError) as error:
        WholeSamples(train.subset([0, 8])).fetch([0])
    assert str(error.value).startswith("Expected all tiles of an image; received images/a.png with ")
    assert str(error.value).endswith(" positions that none covers. Keep the tiles of an image in one part.")
    with pytest.raises(DataError, match="names of tiles with 1 axes"):
        WholeSamples(TensorSamples(torch.zeros(2, 1, 4), torch.zeros(2, 4).long()))


def blended_by_hand(shape, tiles, said):
    total, weight = np.zeros((2, *shape)), np.zeros(shape)
    for start, values in said:
        for place in np.ndindex(*tiles.size):
            position = tuple(np.add(start, place))
            if all(p < n for p, n in zip(position, shape, strict=True)):
                squares = sum(((p - (n - 1) / 2) / (n / 8)) ** 2 for p, n in zip(place, tiles.size, strict=True))
                total[(slice(None), *position)] += math.exp(-squares / 2) * values[(slice(None), *place)]
                weight[position] += math.exp(-squares / 2)
    return total / weight


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.8]),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_blending_is_the_weighed_mean(shape, overlap, data):
    tiles = Tiling(tuple(data.draw(st.integers(2, 6)) for _ in shape), overlap)
    random = np.random.default_rng(0)
    said = [(start, random.random((2, *tiles.size))) for start in tiles.starts(shape)]
    blend = Blend(tiles, shape)
    for start, values in said:
        blend.add(start, torch.from_numpy(values).float())
    whole = blend.whole().numpy()
    assert whole.shape == (2, *shape)
    assert np.allclose(whole, blended_by_hand(shape, tiles, said), rtol=1e-4, atol=1e-6)


def test_tiles_fade_into_each_other():
    tiles = Tiling((16,), 0.5)
    blend = Blend(tiles, (24,))
    for start, value in zip(tiles.starts((24,)), (0.0, 1.0), strict=True):
        blend.add(start, torch.full((1, 16), value))
    (line,) = blend.whole()
    assert (line[:8] == 0).all()
    assert (line[16:] == 1).all()
    assert (line.diff() >= 0).all()
    assert line[8] < 0.01
    assert line[15] > 0.99
    assert line.diff().max() < 0.5
