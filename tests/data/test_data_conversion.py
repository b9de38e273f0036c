"""Channels and sizes against Pillow and PyTorch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import load_data
from striate.data.conversion import convert_channels, pad_or_crop, resize, target_size
from striate.data.layout import as_samples, check_layout, find_layout
from striate.errors import DataError


def test_grey_is_pillows_luma():
    pixels = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    wanted = np.asarray(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).convert("L"))
    assert np.array_equal(convert_channels(pixels[None], 1, "x")[0, 0].numpy(), wanted)
    floats = convert_channels(pixels[None].float(), 1, "x")[0, 0].numpy()
    assert np.abs(floats - wanted).max() <= 0.501


def test_colour_from_grey_repeats_it():
    grey = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2)
    assert torch.equal(convert_channels(grey, 3, "x"), grey.repeat(1, 3, 1, 1))


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def triangle_weights(old, new):
    """The definition: a triangle around each new pixel's centre, as wide as the scale, normalised. (new, old)."""
    centres = (torch.arange(new, dtype=torch.float64)[:, None] + 0.5) * (old / new)
    distances = (torch.arange(old, dtype=torch.float64) + 0.5 - centres).abs()
    weights = (1 - distances / max(old / new, 1)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, st.integers(1, 3), st.integers(1, 2))
def test_resize_is_the_antialiased_triangle_filter(old, new, channels, count):
    inputs = torch.rand(count, channels, *old, dtype=torch.float64)
    rows, columns = triangle_weights(old[0], new[0]), triangle_weights(old[1], new[1])
    torch.testing.assert_close(resize(inputs, new), rows @ inputs @ columns.T, atol=1e-12, rtol=0)


@settings(max_examples=50, deadline=None)
@given(sizes, sizes)
def test_resize_of_bytes_is_pillows_bilinear(old, new):
    pixels = torch.randint(0, 256, (1, 1, *old), dtype=torch.uint8)
    picture = Image.fromarray(pixels[0, 0].numpy()).resize(new[::-1], Image.Resampling.BILINEAR)
    assert np.abs(resize(pixels, new)[0, 0].int().numpy() - np.asarray(picture).astype(int)).max() <= 2


def test_resize_of_signals_and_volumes_goes_axis_by_axis():
    volume = torch.rand(2, 1, 6, 7, 8, dtype=torch.float64)
    ramp = torch.arange(8.0).reshape(1, 1, 8)
    assert resize(volume, (3, 7, 4)).shape == (2, 1, 3, 7, 4)
    slices = torch.stack([resize(volume[:, :, index], (5, 4)) for index in range(6)], 2)
    torch.testing.assert_close(resize(volume, (6, 5, 4)), slices)
    # Halving with a triangle of weights 1, 3, 3, 1 keeps a ramp a ramp away from its ends.
    torch.testing.assert_close(resize(ramp, (4,))[0, 0, 1:3], torch.tensor([2.5, 4.5]))


def test_one_sample_is_resized_as_in_a_batch():
    batch = torch.randint(0, 256, (5, 3, 9, 14), dtype=torch.uint8)
    alone = torch.cat([resize(item[None], (6, 20)) for item in batch])
    assert torch.equal(resize(batch, (6, 20)), alone)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((9, 50), "NL"),
        ((9, 28, 28), "NHW"),
        ((9, 8, 8), "NHW"),
        ((9, 16, 63), "NHW"),
        ((9, 16, 64), "NCL"),
        ((9, 17, 900), "NHW"),
        ((9, 128, 6), "NLC"),
        ((9, 32, 32, 3), "NHWC"),
        ((9, 3, 32, 32), "NCHW"),
        ((9, 64, 64, 64), "NDHW"),
        ((9, 1, 28, 28, 28), "NCDHW"),
        ((9, 16, 112, 112, 3), "NDHWC"),
    ],
)
def test_layout_rule(shape, layout):
    assert find_layout(shape, "x") == layout


@pytest.mark.parametrize("shape", [(9,), (9, 3, 32, 3), (9, 8, 8, 8, 8), (9, 3, 8, 8, 3), (1, 2, 3, 4, 5, 6)])
def test_ambiguous_layout(shape):
    with pytest.raises(DataError) as caught:
        find_layout(shape, "x.npy")
    assert str(caught.value) == (
        "Expected an array of samples with 2 to 5 axes, whose channel axis has 1 to 4 entries; "
        f"received x.npy of shape {shape}. "
        "Name the axes with layout, one of NL, NCL, NLC, NHW, NCHW, NHWC, NDHW, NCDHW, NDHWC."
    )


def test_as_samples_moves_channels_and_converts_numbers():
    array = np.arange(2 * 5 * 4 * 3, dtype=np.int64).reshape(2, 5, 4, 3)
    samples = as_samples(array, None, "x")
    assert samples.dtype == torch.float32
    assert torch.equal(samples, torch.from_numpy(array).permute(0, 3, 1, 2).float())
    assert as_samples(array.astype(np.uint8), "NDHW", "x").shape == (2, 1, 5, 4, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: convert_channels(torch.zeros(1, 4, 2, 2), 3, "a.npy"),
            (
                "Expected samples with 3 channels, or grey and colour ones to convert; received a.npy with 4. "
                "Leave channels out, or set it to 4."
            ),
        ),
        (
            lambda: target_size((32, 0), 2),
            (
                "Expected image_size to be a positive integer, or 2 of them; received image_size=(32, 0). "
                "Give one size for all axes, or one for each of the 2."
            ),
        ),
        (
            lambda: load_data("digits", image_size=2.5),
            (
                "Expected image_size to be a positive integer, or 2 of them; received image_size=2.5. "
                "Give one size for all axes, or one for each of the 2."
            ),
        ),
        (
            lambda: target_size((32,), 3),
            (
                "Expected image_size to be a positive integer, or 3 of them; received image_size=(32,). "
                "Give one size for all axes, or one for each of the 3."
            ),
        ),
        (
            lambda: check_layout("NCWH"),
            "Expected a layout word; received layout='NCWH'. Did you mean 'NCHW' or 'NCDHW'?",
        ),
        (
            lambda: as_samples(np.zeros((2, 3)), "NCL", "a.npy"),
            (
                "Expected an array with 3 axes for layout NCL; received a.npy of shape (2, 3). "
                "Give the layout that it has."
            ),
        ),
        (
            lambda: as_samples(np.zeros((0, 3)), None, "a.npy"),
            "Expected an array without empty axes; received a.npy of shape (0, 3). Check how it was written.",
        ),
        (
            lambda: as_samples(np.array([[1.0, np.nan, np.inf]]), None, "a.npy"),
            (
                "Expected finite values; received a.npy with 2 that are NaN or infinite in float32. "
                "Clean or rescale the data first."
            ),
        ),
    ],
)
def test_messages(call, text):
    with pytest.raises(DataError) as caught:
        call()
    assert str(caught.value) == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3))
def test_pad_or_crop_keeps_the_middle(axes):
    inputs = torch.arange(1, 1 + math.prod(stored for stored, _ in axes)).reshape(1, 1, *(stored for stored, _ in axes))
    found = pad_or_crop(inputs, tuple(wanted for _, wanted in axes), value=-1)
    expected = inputs[0, 0].numpy()
    for axis, (stored, wanted) in enumerate(axes):
        start = (stored - wanted) // 2 if stored > wanted else 0
        expected = np.take(expected, range(start, start + min(stored, wanted)), axis)
        before = max(wanted - stored, 0) // 2
        after = max(wanted - stored, 0) - before
        widths = [(before, after) if each == axis else (0, 0) for each in range(len(axes))]
        expected = np.pad(expected, widths, constant_values=-1)
    assert np.array_equal(found[0, 0].numpy(), expected)
