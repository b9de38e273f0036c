from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from striate.train.schedule import (
    Constant,
    Cosine,
    LearningRate,
    OneCycle,
    Patience,
    Plateau,
    Polynomial,
    Step,
    WarmRestarts,
)

PEAK = 0.25
SCHEDULES = [Constant, Step, Cosine, Polynomial, WarmRestarts, OneCycle, Plateau]


def rates(schedule: Any, epochs: int, steps_per_epoch: int) -> list[float]:
    rate = LearningRate(schedule, PEAK, steps_per_epoch=steps_per_epoch, epochs=epochs)
    return [rate.at(step) for step in range(epochs * steps_per_epoch)]


def torchs(make: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler, seen = make(optimizer), []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings(action="ignore"):
            scheduler.step()
    return seen


def test_constant() -> None:
    assert rates(Constant(), 2, 3) == [PEAK] * 6


@settings(max_examples=50, deadline=None)
@given(epochs=st.integers(1, 6), steps=st.integers(1, 5), every=st.integers(1, 4), gamma=st.floats(0.01, 1))
def test_step_is_pytorchs(epochs: int, steps: int, every: int, gamma: float) -> None:
    mine = rates(Step(every_epochs=every, gamma=gamma), epochs, steps)
    assert mine == pytest.approx(
        torchs(lambda optimizer: lr_scheduler.StepLR(optimizer, every * steps, gamma), epochs * steps)
    )


@settings(max_examples=50, deadline=None)
@given(epochs=st.integers(1, 6), steps=st.integers(1, 5), final=st.floats(0, 1))
def test_cosine_is_pytorchs(epochs: int, steps: int, final: float) -> None:
    total = epochs * steps
    mine = rates(Cosine(final_factor=final), epochs, steps)
    theirs = torchs(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, total, PEAK * final), total)
    assert mine == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(epochs=st.integers(1, 6), steps=st.integers(1, 5), power=st.floats(0.1, 3))
def test_polynomial_is_pytorchs(epochs: int, steps: int, power: float) -> None:
    total = epochs * steps
    mine = rates(Polynomial(power=power), epochs, steps)
    theirs = torchs(lambda optimizer: lr_scheduler.PolynomialLR(optimizer, total, power), total)
    assert mine == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(epochs=st.integers(2, 6), steps=st.integers(2, 5), rise=st.floats(0.3, 0.9))
def test_one_cycle_is_pytorchs(epochs: int, steps: int, rise: float) -> None:
    total = epochs * steps

    def make(optimizer: Any) -> Any:
        return lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=total, pct_start=rise, cycle_momentum=False)

    assert rates(OneCycle(rise=rise), epochs, steps) == pytest.approx(torchs(make, total), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    epochs=st.integers(1, 9),
    steps=st.integers(1, 5),
    first=st.integers(1, 4),
    growth=st.integers(1, 3),
    final=st.floats(0, 1),
)
def test_warm_restarts_are_pytorchs(epochs: int, steps: int, first: int, growth: int, final: float) -> None:
    total = epochs * steps
    mine = rates(WarmRestarts(cycle_epochs=first, cycle_growth=growth, final_factor=final), epochs, steps)

    def make(optimizer: Any) -> Any:
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first * steps, growth, eta_min=PEAK * final)

    assert mine == pytest.approx(torchs(make, total), abs=1e-12)


def test_one_cycle_in_numbers() -> None:
    mine = rates(OneCycle(rise=0.5), 2, 5)
    assert mine[0] == pytest.approx(PEAK / 25)
    assert mine[4] == pytest.approx(PEAK)
    assert mine[-1] == pytest.approx(PEAK / 25 / 1e4)
    assert mine[2] == pytest.approx(PEAK * (1 + 1 / 25) / 2)


@settings(max_examples=50)
@given(
    schedule=st.sampled_from(SCHEDULES),
    epochs=st.integers(1, 4),
    steps=st.integers(1, 4),
)
def test_every_schedule_stays_between_zero_and_its_peak(schedule: Any, epochs: int, steps: int) -> None:
    for warmup in (0.0, 0.5):
        assert all(0 < rate <= PEAK * (1 + 1e-12) for rate in rates(schedule(warmup_epochs=warmup), epochs, steps))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_leads_to_the_schedule_of_the_remaining_steps(schedule: Any) -> None:
    warmed = rates(schedule(warmup_epochs=1.5), 4, 4)
    bare = LearningRate(schedule(), PEAK, steps_per_epoch=4, epochs=4)
    bare._total = 16 - 6
    assert warmed[:6] == pytest.approx([bare.at(0) * share / 6 for share in range(1, 7)])
    assert warmed[6:] == pytest.approx([bare.at(step) for step in range(10)])


@settings(max_examples=50, deadline=None)
@given(losses=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=20), patience=st.integers(0, 3))
def test_plateau_is_pytorchs(losses: list[float], patience: int) -> None:
    mine = LearningRate(
        Plateau(patience=patience, gamma=0.5, min_delta=0.1), PEAK, steps_per_epoch=1, epochs=len(losses)
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=0.1, threshold_mode="abs", eps=0.0
    )
    # The two subtract in different orders, so a loss within rounding of the threshold may count for one only.
    best = math.inf
    for epoch, loss in enumerate(losses):
        if abs(best - loss - 0.1) < 1e-9:
            return
        best = min(best, loss)
        mine.epoch_ended({"val_loss": loss})
        theirs.step(loss)
        assert mine.at(epoch) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_accuracy_improves_upwards_and_errors_downwards() -> None:
    patience = Patience("val_accuracy", min_delta=0.0)
    assert [patience.stale_after(value) for value in (0.5, 0.4, None, 0.6)] == [0, 1, 2, 0]
    patience = Patience("val_rmse", min_delta=0.0)
    assert [patience.stale_after(value) for value in (0.5, 0.4, 0.5, 0.6)] == [0, 0, 1, 2]
