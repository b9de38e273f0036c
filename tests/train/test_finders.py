"""Trying out learning rates and batch sizes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from striate.errors import ConfigError
from striate.train import finders
from striate.train.finders import RateTrial, SizeTrial, find_batch_size, find_learning_rate, rate_figure, size_figure

if TYPE_CHECKING:
    from pathlib import Path


def test_rates_grow_by_equal_factors_and_nothing_is_left(
    make_config: Any, dataset: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_config(optimizer={"name": "sgd"}, model={"name": "tiny", "options": {"dropout": 0.0}})
    trial = find_learning_rate(config, dataset=dataset, lowest=1e-4, highest=1e3, steps=80)
    assert trial.suggestion is not None
    assert 1e-3 < trial.suggestion < 10
    assert len(trial.rates) == len(trial.losses) == len(trial.smoothed)
    factors = [after / before for before, after in zip(trial.rates, trial.rates[1:], strict=False)]
    assert factors == pytest.approx([1e7 ** (1 / 79)] * len(factors))
    assert list(tmp_path.iterdir()) == []
    assert find_learning_rate(config, dataset=dataset, lowest=1e-4, highest=1e3, steps=80) == trial


@pytest.mark.parametrize("end", [50.0, float("nan"), float("inf")])
def test_it_ends_when_the_loss_explodes(make_config: Any, dataset: Any, monkeypatch: Any, end: float) -> None:
    told = iter([2.0, 1.0, 0.5, end, end])
    monkeypatch.setattr(finders._Trial, "train", lambda self, turns, rate: next(told))
    trial = find_learning_rate(make_config(), dataset=dataset)
    assert trial.losses == (2.0, 1.0, 0.5)
    assert trial.suggestion == trial.rates[0]


def test_smoothing_is_a_corrected_moving_average(make_config: Any, dataset: Any) -> None:
    trial = find_learning_rate(make_config(), dataset=dataset, steps=5)
    weights = [0.9 ** (4 - step) for step in range(5)]
    expected = sum(w * loss for w, loss in zip(weights, trial.losses, strict=True)) / sum(weights)
    assert trial.smoothed[-1] == pytest.approx(expected)


def test_the_steepest_fall() -> None:
    assert finders._steepest([1.0, 2.0, 3.0, 4.0], [5.0, 4.5, 2.0, 9.0]) == 2.0
    assert finders._steepest([1.0, 2.0], [1.0, 2.0]) is None
    assert finders._steepest([], []) is None


def test_random_numbers_are_left_as_found(make_config: Any, dataset: Any) -> None:
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    find_learning_rate(make_config(), dataset=dataset, steps=3)
    find_batch_size(make_config(), dataset=dataset, largest=8)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected


def test_rates_out_of_order(make_config: Any, dataset: Any) -> None:
    with pytest.raises(ConfigError) as error:
        find_learning_rate(make_config(), dataset=dataset, lowest=1.0, highest=0.1)
    assert str(error.value) == (
        "Expected rates with 0 < lowest < highest, and 3 steps or more; received 1 to 0.1 in 100 steps. Leave them out."
    )


def test_batch_sizes_up_to_the_data(make_config: Any, dataset: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(finders, "_SECONDS", 0.0)
    monkeypatch.setattr(finders, "_GAIN", 0.0)
    trials, suggestion = find_batch_size(make_config(accumulate=3), dataset=dataset)
    assert [trial.batch_size for trial in trials] == [8, 16, 32]
    assert all(trial.samples_per_second and trial.peak_bytes for trial in trials)
    fastest = max(trial.samples_per_second or 0.0 for trial in trials)
    assert suggestion == min(trial.batch_size for trial in trials if (trial.samples_per_second or 0.0) >= 0.9 * fastest)


def test_the_smallest_that_is_fast_enough(make_config: Any, dataset: Any, monkeypatch: Any) -> None:
    speeds = {8: 100.0, 16: 190.0, 32: 210.0, 64: 205.0, 128: 200.0, 256: 999.0}
    monkeypatch.setattr(
        finders, "_timed", lambda config, data: SizeTrial(config.batch_size, speeds[config.batch_size], 1)
    )
    big = dataset.train.subset(list(range(53)) * 10)
    trials, suggestion = find_batch_size(make_config(), dataset=type(dataset)(**_fields(dataset) | {"train": big}))
    assert [trial.batch_size for trial in trials] == [8, 16, 32, 64, 128]
    assert suggestion == 16


def test_where_memory_runs_out(make_config: Any, dataset: Any, monkeypatch: Any) -> None:
    def fails(self: Any, turns: Any, rate: float) -> float:
        if sum(len(turn.indices) for turn in turns) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return 0.0

    monkeypatch.setattr(finders._Trial, "train", fails)
    monkeypatch.setattr(finders, "_SECONDS", 0.0)
    trials, suggestion = find_batch_size(make_config(), dataset=dataset)
    assert (trials[-1].batch_size, trials[-1].samples_per_second, suggestion) == (16, None, 8)


def test_figures() -> None:
    assert rate_figure(RateTrial((0.1, 1.0), (1.0, 2.0), (1.0, 1.5), None)).axes
    assert size_figure([SizeTrial(8, 10.0, 5), SizeTrial(16, None, None)], 8).axes


def _fields(dataset: Any) -> dict[str, Any]:
    return {name: getattr(dataset, name) for name in dataset.__dataclass_fields__}
