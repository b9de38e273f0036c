"""Calibration errors by hand, and a temperature that is known."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize_scalar
from torchmetrics.functional.classification import multiclass_calibration_error

from striate.errors import DataError
from striate.train.metrics import brier_score, calibrate, calibration_error, reliability


def sampled(count: int, sharpness: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose labels are drawn by their own probabilities, then multiplied."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(count, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return sharpness * logits, labels


def test_bins_by_hand() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.85, 0.15], [0.45, 0.55], [1.0, 0.0]])
    found = reliability(probabilities, torch.tensor([0, 1, 1, 0]), bins=5)
    assert found.counts == (0, 0, 1, 0, 3)  # 0.55 | 0.95, 0.85 and 1.0: the last bin has both its edges
    assert found.accuracy[2] == 1.0
    assert found.accuracy[4] == pytest.approx(2 / 3)
    assert found.confidence[4] == pytest.approx(2.8 / 3)
    assert found.accuracy[0] is None
    assert found.error == pytest.approx(0.25 * 0.45 + 0.75 * (2.8 / 3 - 2 / 3))
    assert found.to_dict()["accuracy"][0] is None


def test_equal_bins_are_torchmetrics() -> None:
    logits, labels = sampled(500, 2.0)
    probabilities = logits.softmax(1)
    theirs = float(multiclass_calibration_error(probabilities, labels, 4, n_bins=15))
    assert calibration_error(probabilities, labels) == pytest.approx(theirs, abs=1e-6)


def test_adaptive_bins_hold_equal_numbers() -> None:
    logits, labels = sampled(100, 1.0)
    found = reliability(logits.softmax(1), labels, scheme="adaptive")
    assert sum(found.counts) == 100
    assert max(found.counts) - min(found.counts) <= 1
    assert list(found.edges) == sorted(found.edges)
    few = reliability(logits[:3].softmax(1), labels[:3], scheme="adaptive")
    assert few.counts == (1, 1, 1)


def test_brier_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    expected = ((0.3**2 + 0.2**2 + 0.1**2) + (0.1**2 + 0.6**2 + 0.7**2)) / 2
    assert brier_score(probabilities, torch.tensor([0, 2])) == pytest.approx(expected)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0, 10.0])
def test_the_temperature_is_found(sharpness: float) -> None:
    logits, labels = sampled(4000, sharpness)
    found = calibrate(logits, labels)
    double = logits.double()
    best = minimize_scalar(
        lambda inverse: float(torch.nn.functional.cross_entropy(double * inverse, labels)),
        bounds=(0.02, 50.0),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert found.temperature == pytest.approx(1 / best.x, rel=1e-4)
    assert found.temperature == pytest.approx(sharpness, rel=0.06)
    assert found.log_loss_after <= found.log_loss_before + 1e-12
    assert found.log_loss_after == pytest.approx(best.fun, rel=1e-9)
    assert found.ece_after < 0.03
    assert found.count == 4000


def test_nothing_to_calibrate_on() -> None:
    with pytest.raises(DataError) as error:
        calibrate(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert str(error.value) == (
        "Expected samples to fit a temperature to; received none. Give a part of the data that has some."
    )
