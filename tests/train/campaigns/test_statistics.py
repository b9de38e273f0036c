"""Means and intervals, against SciPy and a calculation by hand."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from striate.train.campaigns.statistics import spread, students_t


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 29, 30, 99, 100, 1000])
def test_students_t_is_scipys(degrees):
    assert students_t(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-9)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_a_spread_without_overlap_is_the_usual_t_interval(values):
    measured = spread(values)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * error
    assert measured.count == len(values)
    assert measured.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert measured.deviation == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-9)
    assert measured.interval == pytest.approx((np.mean(values) - half, np.mean(values) + half), rel=1e-6, abs=1e-6)


def test_overlap_widens_the_interval_as_nadeau_and_bengio_say():
    # Five folds: the variance of the mean is (1/5 + 1/4) s^2 in place of s^2 / 5.
    values = [0.9, 0.8, 0.85, 0.95, 0.7]
    plain, corrected = spread(values), spread(values, overlap=1 / 4)
    ratio = (corrected.interval[1] - corrected.mean) / (plain.interval[1] - plain.mean)
    assert ratio == pytest.approx(math.sqrt((1 / 5 + 1 / 4) / (1 / 5)))
    assert (corrected.mean, corrected.deviation) == (plain.mean, plain.deviation)


def test_one_run_has_a_mean_and_no_interval():
    assert spread([0.5]).to_dict() == {"count": 1, "mean": 0.5, "deviation": None, "interval": None}


def test_the_interval_holds_the_truth_in_95_of_100_cases():
    random = np.random.default_rng(0)
    held = [low < 3 < high for low, high in (spread(list(random.normal(3, 2, 4))).interval for _ in range(2000))]
    assert 0.935 < np.mean(held) < 0.965
