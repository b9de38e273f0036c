"""Mel filters and spectrograms against the published formulas, in float64 and one band at a time."""

import math

import numpy as np
import pytest
import scipy.signal
import torch

from striate.data.signals.log_mel import hz_to_mel, log_mel, mel_filters, mel_to_hz
from striate.errors import DataError


def test_scales_at_known_points():
    # O'Shaughnessy's formula, and the tables of Slaney's toolbox: linear to 1000 Hz = 15 mels, 6400 Hz = 42.
    assert math.isclose(float(hz_to_mel(440, "htk")), 2595 * math.log10(1 + 440 / 700))
    assert math.isclose(float(hz_to_mel(60)), 0.9)
    assert np.allclose(hz_to_mel([110, 220, 440]), [1.65, 3.3, 6.6])
    assert math.isclose(float(hz_to_mel(6400)), 42)
    for scale in ("slaney", "htk"):
        hertz = np.linspace(0, 20000, 101)
        assert np.allclose(mel_to_hz(hz_to_mel(hertz, scale), scale), hertz)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_filters_are_triangles_of_area_one(scale):
    rate, fft, mels = 16000, 1024, 30
    filters = mel_filters(rate, fft, mels, 50.0, 7000.0, scale).double().numpy()
    edges = mel_to_hz(np.linspace(hz_to_mel(50, scale), hz_to_mel(7000, scale), mels + 2), scale)
    for band in range(mels):
        left, centre, right = edges[band : band + 3]
        for place in range(fft // 2 + 1):
            hertz = place * rate / fft
            slope = min((hertz - left) / (centre - left), (right - hertz) / (right - centre))
            assert math.isclose(filters[band, place], max(slope, 0) * 2 / (right - left), rel_tol=1e-5, abs_tol=1e-9)
    # The last bands are wide enough for the sum to come near to the integral.
    assert np.allclose(filters[-5:].sum(1) * rate / fft, 1, atol=0.02)


def test_first_filter_of_librosas_default():
    # librosa.filters.mel(sr=22050, n_fft=2048) has 0.01618285 at [0, 1], as its documentation shows (0.016).
    assert abs(float(mel_filters(22050, 2048, 128, 0.0, 11025.0)[0, 1]) - 0.016) < 5e-4


@pytest.mark.parametrize(("rate", "length"), [(8000, 4000), (16000, 777), (8000, 10)])
def test_spectrogram_against_scipy(rate, length):
    waveform = np.random.default_rng(0).normal(size=length)
    window, hop = round(rate * 0.025), round(rate * 0.01)
    fft = 2 ** math.ceil(math.log2(window))
    made = log_mel(torch.from_numpy(waveform).float()[None], rate, mels=20)[0].numpy()
    padded = np.pad(waveform, fft // 2)
    hann = np.pad(scipy.signal.get_window("hann", window), ((fft - window) // 2, (fft - window + 1) // 2))
    frames = [padded[start : start + fft] * hann for start in range(0, length + 1, hop)]
    power = np.abs(np.fft.rfft(np.array(frames), axis=1)) ** 2
    filters = mel_filters(rate, fft, 20, 0.0, rate / 2).double().numpy()
    decibels = 10 * np.log10(np.maximum(filters @ power.T, 1e-10))
    wanted = np.maximum(decibels, decibels.max() - 80)
    assert made.shape == wanted.shape == (20, 1 + length // hop)
    assert np.abs(made - wanted).max() < 1e-2


def test_a_tone_is_loudest_in_its_band_and_silence_is_flat():
    rate = 8000
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(rate) / rate)[None]
    made = log_mel(tone, rate, mels=40)
    edges = mel_to_hz(np.linspace(0, hz_to_mel(4000), 42))
    band = int(made[0, :, 50].argmax())
    assert edges[band] < 1000 < edges[band + 2]
    assert made.max() - made.min() <= 80.001
    assert (log_mel(torch.zeros(2, 800), rate, mels=40) == -100).all()


def test_bands_without_a_frequency_are_counted():
    edges = mel_to_hz(np.linspace(0, hz_to_mel(4000), 202))
    bins = np.arange(129) * 8000 / 256
    empty = [not ((bins > edges[band]) & (bins < edges[band + 2])).any() for band in range(200)]
    with pytest.raises(DataError, match=f"200 bands of which {sum(empty)} hold none"):
        mel_filters(8000, 256, 200, 0.0, 4000.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"f_min": 100.0, "f_max": 5000.0},
            (
                "Expected 0 <= f_min < f_max <= 4000 Hz, half the sampling rate; received f_min=100, f_max=5000. "
                "Correct them, or leave them out for the whole range."
            ),
        ),
        (
            {"mels": 200},
            (
                "Expected mel bands that each hold a frequency; received 200 bands of which 25 hold none of the 129 "
                "frequencies at 8000 Hz. Lower mels, or raise window_ms or f_min."
            ),
        ),
        (
            {"window_ms": 0.1},
            (
                "Expected window_ms and hop_ms that hold samples at 8000 Hz; received window_ms=0.1, "
                "hop_ms=10. Raise them."
            ),
        ),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(DataError) as error:
        log_mel(torch.zeros(1, 800), 8000, **settings)
    assert str(error.value) == message
