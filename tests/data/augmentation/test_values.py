"""What changes values in place: against Pillow, numpy and plain loops."""

import colorsys
import math

import numpy as np
import pytest
import torch
from augmentation_cases import batch_of, draws_of, facts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageEnhance, ImageOps

from striate.data.augmentation import (
    Augmentation,
    BaseDropout,
    BiasField,
    Brightness,
    ChannelDropout,
    Contrast,
    Erasing,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grey,
    Hue,
    IntensityScale,
    IntensityShift,
    Jitter,
    MagnitudeWarp,
    Posterize,
    Saturation,
    Scaling,
    Sharpness,
    Solarize,
    SpecAugment,
    colour,
)
from striate.data.augmentation.fields import channel_mean, channel_std, smooth_field
from striate.data.augmentation.hiding import box
from striate.data.augmentation.intensity import blurred

COLOUR = facts_of((9, 11), 3, value_scale=255.0)
PIXELS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def as_tensor(pixels):
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float().unsqueeze(0) / 255


def as_pixels(tensor):
    return (tensor[0] * 255).numpy().transpose(1, 2, 0)


@settings(deadline=None, max_examples=60)
@given(PIXELS, st.integers(1, 8))
def test_posterize_is_pillows(pixels, bits):
    truth = np.asarray(ImageOps.posterize(Image.fromarray(pixels), bits))
    assert np.array_equal(as_pixels(colour.posterize(as_tensor(pixels), torch.tensor([bits]))), truth)


@settings(deadline=None, max_examples=60)
@given(PIXELS, st.integers(0, 256))
def test_solarize_is_pillows(pixels, threshold):
    truth = np.asarray(ImageOps.solarize(Image.fromarray(pixels), threshold))
    result = as_pixels(colour.solarize(as_tensor(pixels), torch.tensor([threshold / 255])))
    assert np.array_equal(result.round(4), truth)


@settings(deadline=None, max_examples=60)
@given(PIXELS)
def test_equalize_is_pillows(pixels):
    truth = np.asarray(ImageOps.equalize(Image.fromarray(pixels)))
    assert np.array_equal(as_pixels(colour.equalize(as_tensor(pixels))), truth)


def test_equalize_of_a_large_image_is_pillows():
    pixels = np.random.default_rng(0).normal(90, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    truth = np.asarray(ImageOps.equalize(Image.fromarray(pixels)))
    assert len(np.unique(truth)) > 60
    assert np.array_equal(as_pixels(colour.equalize(as_tensor(pixels))), truth)


@settings(deadline=None, max_examples=60)
@given(PIXELS)
def test_autocontrast_is_pillows(pixels):
    truth = np.asarray(ImageOps.autocontrast(Image.fromarray(pixels)))
    # Pillow rounds down to a level.
    difference = as_pixels(colour.autocontrast(as_tensor(pixels))) - truth
    assert difference.min() > -0.01
    assert difference.max() < 1.01


@settings(deadline=None, max_examples=60)
@given(PIXELS, st.floats(0, 2))
def test_sharpness_is_pillows(pixels, factor):
    truth = np.asarray(ImageEnhance.Sharpness(Image.fromarray(pixels)).enhance(factor))
    result = as_pixels(colour.adjust_sharpness(as_tensor(pixels), torch.tensor([factor]), COLOUR))
    # Pillow rounds the smoothed picture (by half a level, times 1 - factor) and the blend (by one).
    assert np.abs(result - truth).max() < 1.6


@pytest.mark.parametrize(
    ("adjust", "pillow"),
    [
        (colour.adjust_brightness, ImageEnhance.Brightness),
        (colour.adjust_contrast, ImageEnhance.Contrast),
        (colour.adjust_saturation, ImageEnhance.Color),
    ],
    ids=["brightness", "contrast", "saturation"],
)
@settings(deadline=None, max_examples=40)
@given(PIXELS, st.floats(0, 2))
def test_enhancements_are_pillows(adjust, pillow, pixels, factor):
    truth = np.asarray(pillow(Image.fromarray(pixels)).enhance(factor))
    result = as_pixels(adjust(as_tensor(pixels), torch.tensor([factor]), COLOUR))
    # Pillow rounds the grey picture, its mean and the blend.
    assert np.abs(result - truth).max() < 2.1


@settings(deadline=None, max_examples=30)
@given(PIXELS, st.floats(-0.5, 0.5))
def test_hue_is_colorsys(pixels, turn):
    result = as_pixels(colour.adjust_hue(as_tensor(pixels), torch.tensor([turn])))
    for place in np.ndindex(pixels.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixels[place] / 255))
        truth = np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)) * 255
        assert np.abs(result[place] - truth).max() < 0.01


def test_sharpness_of_every_rank_is_plain_loops():
    for rank in (1, 2, 3):
        inputs = torch.randn(1, 1, *(5,) * rank)
        smooth = colour.adjust_sharpness(inputs, torch.tensor([0.0]), facts_of((5,) * rank))
        sample = inputs[0, 0].numpy()
        middle = (2,) * rank
        window = sample[(slice(1, 4),) * rank]
        assert smooth[0, 0][middle].item() == pytest.approx(
            (window.sum() + 4 * sample[middle]) / (3**rank + 4), abs=1e-5
        )
        assert smooth[0, 0][(0,) * rank] == inputs[0, 0][(0,) * rank]
        thin = torch.randn(1, 1, *(5,) * (rank - 1), 2)
        assert colour.adjust_sharpness(thin, torch.tensor([0.0]), facts_of(thin.shape[2:])) is thin


def test_without_a_full_white_nothing_is_cut_off():
    facts = facts_of((4,), 2)
    inputs = torch.tensor([[[-50.0, 20.0, 80.0, 30.0], [1.0, 2.0, 3.0, 4.0]]])
    twice = torch.tensor([2.0])
    assert torch.equal(colour.adjust_brightness(inputs, twice, facts), inputs * 2)
    mean = inputs.mean(2, keepdim=True)
    assert torch.equal(colour.adjust_contrast(inputs, twice, facts), mean + 2 * (inputs - mean))
    white = facts_of((4,), 2, value_scale=255.0)
    assert colour.adjust_brightness(inputs, twice, white).max() == 1


NOTHING = [
    Brightness(strength=0),
    Contrast(strength=0),
    Saturation(strength=0),
    Sharpness(strength=0),
    Hue(turn=0),
    Gamma(gamma=(1, 1)),
    Posterize(bits=8, p=1.0),
    Solarize(threshold=2, p=1.0),
    GaussianNoise(std=(0, 0)),
    GaussianBlur(sigma=(0, 0)),
    GaussianBlur(sigma=(0.001, 0.001)),
    IntensityScale(factor=(1, 1)),
    IntensityShift(strength=0),
    BiasField(strength=0),
    ChannelDropout(rate=0),
    SpecAugment(frequency_masks=0, time_masks=0),
    SpecAugment(frequency_width=0, time_width=0),
    Erasing(area=(0, 0), p=1.0),
    Grey(p=0),
]


@pytest.mark.parametrize("transform", NOTHING, ids=lambda transform: transform.name)
@pytest.mark.parametrize("value_scale", [1.0, 255.0, 65535.0])
def test_nothing_to_do_leaves_every_bit(transform, value_scale):
    facts = facts_of((9, 11), 3, value_scale=value_scale)
    if transform.needs_white and not facts.bounded:
        return
    inputs, targets, indices = batch_of(facts, 6)
    if value_scale == 65535.0:
        inputs = torch.randint(0, 65536, inputs.shape).float()
    changed, same = Augmentation([transform], facts, seed=0)(inputs, targets, indices, 0)
    assert torch.equal(changed, inputs.float())
    assert same is targets


@pytest.mark.parametrize("transform", [Scaling(factor=(1, 1)), MagnitudeWarp(strength=0), Jitter(std=(0, 0))])
def test_nothing_to_do_leaves_every_bit_of_a_signal(transform):
    inputs = torch.randn(4, 3, 20)
    assert torch.equal(transform.change(inputs, draws_of(4), facts_of((20,), 3)), inputs)


@pytest.mark.parametrize("size", [(40,), (14, 9), (7, 6, 5)])
def test_blur_is_a_convolution_in_float64(size):
    inputs = torch.randn(2, 2, *size, dtype=torch.float64)
    sigma, radius = torch.tensor([0.6, 1.3]), 4
    truth = inputs.numpy()
    for axis in range(2, inputs.ndim):
        padded = np.pad(
            truth, [(radius, radius) if place == axis else (0, 0) for place in range(truth.ndim)], "reflect"
        )
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis)
        bells = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma.double().numpy()[:, None]) ** 2)
        bells /= bells.sum(1, keepdims=True)
        truth = np.einsum("n...k,nk->n...", windows, bells)
    torch.testing.assert_close(
        blurred(inputs.float(), sigma, radius).double(), torch.from_numpy(truth), atol=1e-5, rtol=0
    )


def test_noise_has_its_strength_in_white_or_in_the_channels_deviation():
    white = facts_of((40, 40), 1, value_scale=255.0)
    grey = torch.full((50, 1, 40, 40), 0.5)
    noisy = GaussianNoise(std=(0.05, 0.05)).change(grey, draws_of(50), white)
    assert (noisy - grey).std().item() == pytest.approx(0.05, rel=0.02)
    signal = torch.randn(50, 2, 400) * torch.tensor([100.0, 0.01]).reshape(1, 2, 1) + 7
    noise = (Jitter(std=(0.1, 0.1)).change(signal, draws_of(50), facts_of((400,), 2)) - signal) / channel_std(signal)
    assert noise.std(dim=(0, 2)).tolist() == pytest.approx([0.1, 0.1], rel=0.03)
    strengths = GaussianNoise(std=(0.0, 0.2)).change(grey, draws_of(50), white).std(dim=(1, 2, 3))
    assert strengths.min() < 0.03
    assert 0.15 < strengths.max() < 0.22


def test_gains_are_within_their_limits():
    ones = torch.ones(3000, 2, 5)
    facts = facts_of((5,), 2)
    scaled = IntensityScale(factor=(0.5, 2)).change(ones, draws_of(3000), facts)
    assert torch.equal(scaled, scaled[:, :1, :1].expand_as(scaled))
    assert 0.499 < scaled.min() < 0.51
    assert 1.95 < scaled.max() < 2.001
    each = Scaling(factor=(0.5, 2)).change(ones, draws_of(3000), facts)[:, :, 0]
    assert abs(torch.corrcoef(each.log().T)[0, 1]) < 0.06
    alternating = torch.tensor([10.0, -10.0] * 4).repeat(3000, 1, 1)
    shift = (IntensityShift(strength=0.3).change(alternating, draws_of(3000), facts_of((8,))) - alternating) / 10
    assert 0.29 < shift.max() <= 0.3001
    assert shift.mean().abs() < 0.01


def test_bias_and_magnitude_are_smooth_gains():
    draws = draws_of(5)
    volume = torch.rand(5, 2, 12, 10, 8) + 0.5
    gain = BiasField(strength=0.3).change(volume, draws, facts_of((12, 10, 8), 2)) / volume
    torch.testing.assert_close(gain[:, 0], gain[:, 1])
    truth = smooth_field(draws.normal("field", 0, 0.3, (1, 3, 3, 3)), (12, 10, 8)).exp()
    torch.testing.assert_close(gain[:, :1], truth)
    signal = torch.rand(5, 2, 30) + 0.5
    curve = MagnitudeWarp().change(signal, draws, facts_of((30,), 2)) / signal
    torch.testing.assert_close(curve, 1 + smooth_field(draws.normal("curve", 0, 0.2, (2, 4)), (30,)))


def test_gamma_is_a_power():
    white = facts_of((8,), value_scale=255.0)
    inputs = torch.rand(6, 1, 8)
    draws = draws_of(6)
    bent = Gamma(gamma=(0.5, 2)).change(inputs, draws, white)
    power = draws.uniform("gamma", math.log(0.5), math.log(2)).exp().reshape(6, 1, 1)
    torch.testing.assert_close(bent, inputs**power)
    free = inputs * 70 - 30
    bent = Gamma(gamma=(0.5, 2)).change(free, draws, facts_of((8,)))
    low, high = free.amin(2, keepdim=True), free.amax(2, keepdim=True)
    torch.testing.assert_close(bent, ((free - low) / (high - low)) ** power * (high - low) + low, atol=1e-4, rtol=1e-4)
    flat = torch.full((2, 1, 4), 3.0)
    assert torch.equal(Gamma().change(flat, draws_of(2), facts_of((4,))), flat)


def test_grey_is_pillows():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    grey = as_pixels(Grey(p=1.0).change(as_tensor(pixels), draws_of(1), COLOUR))
    truth = np.asarray(Image.fromarray(pixels).convert("L"))
    assert np.abs(grey - truth[..., None]).max() < 0.51


@pytest.mark.parametrize("size", [(50,), (20, 30), (12, 14, 10)])
@pytest.mark.parametrize("value_scale", [1.0, 255.0])
@pytest.mark.parametrize("fill", ["random", "mean", "zero"])
def test_erasing_hides_one_box_of_the_area(size, value_scale, fill):
    facts = facts_of(size, 2, value_scale=value_scale)
    inputs = torch.rand(300, 2, *size) + 0.001
    changed = Erasing(p=1.0, area=(0.1, 0.3), ratio=2, fill=fill).change(inputs, draws_of(300), facts)
    hidden = (changed != inputs).any(1)
    area = hidden.flatten(1).float().mean(1)
    assert 0.05 < area.min() < 0.15
    assert 0.25 < area.max() < 0.4
    for axis in range(1, hidden.ndim):
        others = tuple(other for other in range(1, hidden.ndim) if other != axis)
        along = hidden.amax(others) if others else hidden
        assert bool((along.int().diff(dim=1).abs().sum(1) <= 2).all())  # one piece
        assert along[:, 0].any()  # boxes reach both ends
        assert along[:, -1].any()
    values = changed[hidden.unsqueeze(1).expand_as(changed)]
    if fill == "zero":
        assert bool((values == 0).all())
    elif fill == "mean":
        means = channel_mean(inputs).expand_as(inputs)[hidden.unsqueeze(1).expand_as(changed)]
        assert torch.equal(values, means)
    elif facts.bounded:
        assert abs(values.mean() - 0.5) < 0.01
        assert abs(values.std() - 12**-0.5) < 0.01
    else:
        assert abs(values.std() - inputs.std()) < 0.02


def test_boxes_are_numpys():
    starts, stops = torch.tensor([[0, 2], [1, 1]]), torch.tensor([[2, 3], [1, 4]])
    inside = box(starts, stops, (3, 5))
    truth = np.zeros((2, 1, 3, 5), dtype=bool)
    truth[0, 0, 0:2, 2:3] = True
    assert np.array_equal(inside.numpy(), truth)


def test_channels_drop_out_but_never_all():
    inputs = torch.rand(5000, 3, 4) + 0.1
    changed = ChannelDropout(rate=0.3).change(inputs, draws_of(5000), facts_of((4,), 3))
    gone = (changed == 0).all(2)
    assert torch.equal(changed[~gone], inputs[~gone])
    assert gone.float().mean().item() == pytest.approx(0.3 - 0.3**3 / 3, abs=0.012)
    last = ChannelDropout(rate=1).change(inputs, draws_of(5000), facts_of((4,), 3))
    kept = (last != 0).all(2)
    assert bool((kept.sum(1) == 1).all())
    assert kept.float().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_dropped_bases_are_a_quarter_of_each():
    sequences = torch.eye(4)[torch.randint(0, 4, (2000, 30))].mT.contiguous()
    changed = BaseDropout(rate=0.2).change(sequences, draws_of(2000), facts_of((30,), 4))
    dropped = (changed != sequences).any(1)
    assert bool((changed.mT[dropped] == 0.25).all())
    assert dropped.float().mean().item() == pytest.approx(0.2, abs=0.01)


def test_spec_augment_hides_bands_with_the_mean():
    facts = facts_of((40, 100))
    inputs = torch.randn(400, 1, 40, 100)
    transform = SpecAugment(frequency_masks=1, frequency_width=0.25, time_masks=0)
    changed = transform.change(inputs, draws_of(400), facts)
    rows = (changed != inputs).all(3)[:, 0]
    assert torch.equal(rows, (changed != inputs).any(3)[:, 0])
    widths = rows.sum(1)
    assert widths.min() == 0
    assert widths.max() == 10
    assert widths.float().mean().item() == pytest.approx(5, abs=0.5)
    assert bool((rows.int().diff(dim=1).abs().sum(1) <= 2).all())
    assert torch.equal(changed[rows.unsqueeze(1)], channel_mean(inputs).expand(400, 1, 40, 100)[rows.unsqueeze(1)])
    columns = (SpecAugment(frequency_masks=0).change(inputs, draws_of(400), facts) != inputs).all(2)[:, 0]
    assert columns.sum(1).max() <= 20


def test_statistics_are_numpys():
    inputs = torch.randn(5, 3, 7, 9)
    numbers = inputs.double().numpy()
    torch.testing.assert_close(
        channel_mean(inputs).flatten().double(), torch.from_numpy(numbers.mean((2, 3)).flatten())
    )
    torch.testing.assert_close(channel_std(inputs).flatten().double(), torch.from_numpy(numbers.std((2, 3)).flatten()))
