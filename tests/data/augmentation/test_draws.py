"""Random numbers: the published sequence, their distributions, and what they do and do not depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.augmentation import Draws
from striate.data.augmentation.draws import _GOLDEN, _mix, _word
from striate.errors import DataError

MASK = 2**64 - 1


def splitmix(state, count):
    """SplitMix64 in whole numbers of Python."""
    numbers = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(z ^ (z >> 31))
    return numbers


def test_the_mixing_is_splitmix64():
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert splitmix(1234567, 5) == known
    steps = np.arange(1, 6, dtype=np.uint64) * _word(_GOLDEN)
    assert _mix(_word(1234567) + steps).tolist() == known
    many = _mix(_word(MASK - 3) + np.arange(1, 1001, dtype=np.uint64) * _word(_GOLDEN))
    assert many.tolist() == splitmix(MASK - 3, 1000)


def test_the_beginning_of_a_stream_does_not_depend_on_its_length():
    draws = Draws(5, 2, [11])
    assert np.array_equal(draws._words("x", 9)[:, :4], draws._words("x", 4))
    assert torch.equal(draws.uniform("x", shape=(9,))[:, :4], draws.uniform("x", shape=(4,)))


INDICES = st.lists(st.integers(0, 2**40), min_size=1, max_size=20)


@settings(deadline=None, max_examples=50)
@given(INDICES, st.integers(0, 2**32 - 1), st.integers(0, 500), st.data())
def test_a_samples_numbers_depend_on_nothing_but_itself(indices, seed, epoch, data):
    draws = Draws(seed, epoch, indices).named("a")
    place = data.draw(st.integers(0, len(indices) - 1))
    alone = Draws(seed, epoch, torch.tensor([indices[place]])).named("a")
    alone.uniform("something else", shape=(5,))
    shape = data.draw(st.sampled_from([(), (1,), (3,), (2, 3), (0,)]))
    for ask in (
        lambda some: some.uniform("s", -2, 3, shape),
        lambda some: some.normal("s", 1, 2, shape),
        lambda some: some.integers("s", 3, 9, shape),
        lambda some: some.chance("s", 0.4, shape),
        lambda some: some.permutation("s", 6),
        lambda some: some.beta("s", 0.3),
    ):
        whole, one = ask(draws), ask(alone)
        assert len(whole) == len(indices)
        assert torch.equal(whole[place], one[0])
        assert torch.equal(ask(draws), whole)
        assert torch.equal(ask(draws.at(torch.tensor([place])))[0], one[0])
    assert draws.uniform("s", shape=shape).shape == (len(indices), *shape)


def test_seed_epoch_sample_name_and_stream_all_matter():
    usual = Draws(0, 0, [0]).named("flip").uniform("p", shape=(4,))
    others = [
        Draws(1, 0, [0]).named("flip").uniform("p", shape=(4,)),
        Draws(0, 1, [0]).named("flip").uniform("p", shape=(4,)),
        Draws(0, 0, [1]).named("flip").uniform("p", shape=(4,)),
        Draws(0, 0, [0]).named("crop").uniform("p", shape=(4,)),
        Draws(0, 0, [0]).named("flip").uniform("q", shape=(4,)),
        Draws(0, 0, [0]).uniform("p", shape=(4,)),
    ]
    everything = torch.cat([usual, *others]).flatten()
    assert len(everything.unique()) == len(everything)


@pytest.mark.parametrize("along", ["samples", "stream", "epochs", "seeds"])
def test_uniform_numbers_are_uniform(along):
    count = 64000
    numbers = {
        "samples": lambda: Draws(0, 0, range(count)).uniform("x"),
        "stream": lambda: Draws(0, 0, [0]).uniform("x", shape=(count,))[0],
        "epochs": lambda: torch.cat([Draws(0, epoch, range(32)).uniform("x") for epoch in range(count // 32)]),
        "seeds": lambda: torch.cat([Draws(seed, 0, range(32)).uniform("x") for seed in range(count // 32)]),
    }[along]()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # Chi-square with 255 degrees of freedom: mean 255, standard deviation 22.6.
    counts = torch.histc(numbers, 256, 0, 1)
    chi_square = ((counts - count / 256) ** 2 / (count / 256)).sum()
    assert 170 < chi_square < 350
    # Pairs of neighbours on a grid of 16 x 16.
    pairs = (numbers[0::2] * 16).long() * 16 + (numbers[1::2] * 16).long()
    counts = pairs.bincount(minlength=256).float()
    chi_square = ((counts - count / 512) ** 2 / (count / 512)).sum()
    assert 170 < chi_square < 350


def test_streams_samples_and_epochs_are_independent():
    count = 40000
    draws = Draws(3, 1, range(count + 1))
    columns = torch.stack(
        [
            draws.uniform("a")[:-1],
            draws.uniform("a")[1:],
            draws.uniform("b")[:-1],
            draws.named("a").uniform("a")[:-1],
            Draws(3, 2, range(count)).uniform("a"),
            Draws(4, 1, range(count)).uniform("a"),
            draws.uniform("a", shape=(2,))[:-1, 1],
        ]
    )
    correlations = torch.corrcoef(columns) - torch.eye(7)
    assert correlations.abs().max() < 5 / math.sqrt(count)


def test_normal_numbers_are_normal():
    numbers = Draws(0, 0, range(100)).normal("x", shape=(999,)).double()
    assert abs(numbers.mean()) < 0.02
    assert abs(numbers.std() - 1) < 0.02
    assert abs((numbers**3).mean()) < 0.05
    assert abs((numbers**4).mean() - 3) < 0.1
    # Counts between the deciles of the normal distribution: chi-square with 9 degrees of freedom.
    deciles = torch.special.ndtri(torch.arange(1, 10).double() / 10)
    counts = torch.bucketize(numbers.flatten(), deciles).bincount(minlength=10).double()
    assert ((counts - 9990) ** 2 / 9990).sum() < 30
    shifted = Draws(0, 0, range(100)).normal("x", 5, 0.5, (999,))
    torch.testing.assert_close(shifted.double(), 5 + 0.5 * numbers)
    halves = Draws(0, 0, range(5000)).normal("x", shape=(2,))
    assert abs(torch.corrcoef(halves.T)[0, 1]) < 0.07


def test_whole_numbers_are_even_and_within_their_limits():
    numbers = Draws(0, 0, range(1000)).integers("x", -3, 4, (60,))
    assert numbers.dtype == torch.int64
    counts = (numbers.flatten() + 3).bincount(minlength=7).double()
    assert len(counts) == 7
    assert ((counts - 60000 / 7) ** 2 / (60000 / 7)).sum() < 25
    high = torch.arange(1, 1001)
    limited = Draws(0, 0, range(1000)).integers("x", 0, high)
    assert bool((limited < high).all())
    assert limited[0] == 0


def test_chance_is_never_for_nought_and_always_for_one():
    draws = Draws(0, 0, range(20000))
    assert not draws.chance("x", 0).any()
    assert draws.chance("x", 1).all()
    assert abs(draws.chance("x", 0.3).float().mean() - 0.3) < 0.015
    assert draws.chance("x", 0.5).dtype == torch.bool


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 8.0])
def test_beta_numbers_have_the_moments_of_beta(alpha):
    numbers = Draws(0, 0, range(20000)).beta("x", alpha).double()
    assert bool(((numbers >= 0) & (numbers <= 1)).all())
    assert abs(numbers.mean() - 0.5) < 0.015
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(numbers.var() - variance) < 0.03 * variance + 0.001
    if alpha == 1.0:  # uniform
        counts = torch.histc(numbers, 64, 0, 1)
        assert ((counts - 312.5) ** 2 / 312.5).sum() < 110


def test_orders_are_even():
    orders = Draws(0, 0, range(6000)).permutation("x", 3)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(3).expand(6000, 3))
    counts = (orders * torch.tensor([9, 3, 1])).sum(1).bincount()
    counts = counts[counts > 0].double()
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 25


NO_PLACES = (
    "Expected a list of places in the training part, counted from 0; received indices of shape {} and type {}. "
    "Give the indices that the batch was fetched with."
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "Expected a whole seed of at least 0; received seed=-1. Count from 0."),
        ({"epoch": 1.5}, "Expected a whole epoch of at least 0; received epoch=1.5. Count from 0."),
        ({"indices": torch.zeros(2, 2)}, NO_PLACES.format((2, 2), "float32")),
        ({"indices": [-1]}, NO_PLACES.format((1,), "int64")),
    ],
)
def test_what_cannot_be_drawn_for_is_refused(arguments, message):
    with pytest.raises(DataError) as caught:
        Draws(**{"seed": 0, "epoch": 0, "indices": [0]} | arguments)
    assert str(caught.value) == message


def test_no_samples_have_no_numbers():
    draws = Draws(0, 0, [])
    assert draws.uniform("x", shape=(3,)).shape == (0, 3)
    assert draws.beta("x", 0.5).shape == (0,)
