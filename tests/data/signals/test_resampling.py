"""Resampling against what is known of sines, and against SciPy's."""

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.signals.resampling import resample_even, resample_uneven
from striate.errors import DataError

INNER = slice(100, -100)


def sine(hertz, rate, seconds=4.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize(("old", "new"), [(8000, 4000), (44100, 16000), (8000, 11025), (1000, 999), (250, 100)])
def test_tones_below_half_the_new_rate_stay_as_they_are(old, new):
    hertz = 0.3 * min(old, new)
    made = resample_even(torch.from_numpy(sine(hertz, old)).float()[None], old, new)[0].numpy()
    wanted = sine(hertz, new)
    assert len(made) == -(-int(old * 4) * new // old)
    assert np.abs(made - wanted[: len(made)])[INNER].max() < 2e-3


@pytest.mark.parametrize(("old", "new"), [(8000, 4000), (44100, 16000), (400, 100)])
def test_tones_above_half_the_new_rate_are_gone_instead_of_aliased(old, new):
    made = resample_even(torch.from_numpy(sine(0.56 * new, old)).float()[None], old, new)[0].numpy()
    assert np.abs(made[INNER]).max() < 1e-3


def test_like_scipy():
    noise = np.random.default_rng(0).normal(size=4000).cumsum()
    made = resample_even(torch.from_numpy(noise).float()[None], 3, 1)[0].numpy()
    wanted = scipy.signal.resample_poly(noise, 1, 3, window=("kaiser", 9.0))
    assert np.corrcoef(made[INNER], wanted[INNER])[0, 1] > 0.9999


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 300), st.floats(-5, 5))
@settings(max_examples=50, deadline=None)
def test_constants_and_lengths_for_any_ratio(old, new, length, value):
    made = resample_even(torch.full((2, length), value), old, new)
    assert made.shape == (2, -(-length * new // old))
    assert torch.allclose(made, torch.tensor(value).float(), atol=1e-5)


def test_rates_in_no_simple_ratio_are_refused():
    with pytest.raises(DataError) as error:
        resample_even(torch.zeros(1, 10), 44100, 16001)
    assert str(error.value) == (
        "Expected sampling rates in a simple ratio; received 44100 to 16001. Resample to a rounder rate, such as 16000."
    )


def test_uneven_times_are_interpolated():
    random = np.random.default_rng(0)
    seconds = np.arange(2001) / 100 + random.uniform(-0.004, 0.004, 2001) * (np.arange(2001) % 2000 > 0)
    values = np.stack([np.sin(2 * np.pi * seconds), np.full(2001, 9.8)], axis=1)
    made, times = resample_uneven(values, seconds, rate=25)
    assert (made.shape, made.dtype) == ((501, 2), np.float32)
    assert np.allclose(times, np.arange(501) / 25)
    assert np.abs(made[20:-20, 0] - np.sin(2 * np.pi * times[20:-20])).max() < 0.002
    assert np.allclose(made[:, 1], 9.8, atol=1e-5)


def test_uneven_to_a_lower_rate_does_not_alias():
    seconds = 5 + np.arange(4000) / 100
    made, times = resample_uneven(np.sin(2 * np.pi * 13 * seconds)[:, None], seconds, rate=20)
    assert np.abs(made[20:-20]).max() < 0.01
    assert times[0] == 5


def test_even_times_at_their_own_rate_change_nothing():
    values = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    made, _ = resample_uneven(values, np.arange(50) / 103.0, rate=103.0)
    assert np.allclose(made, values, atol=1e-5)
    up, _ = resample_uneven(np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 2.0]), rate=2)
    assert np.allclose(up[:, 0], [0, 0.5, 1, 1.5, 2])
