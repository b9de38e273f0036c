"""Resampling: the weighted metrics are those that measure, and intervals cover a known truth as often as they say."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from striate.errors import DataError
from striate.train.metrics import (
    Resampling,
    SegmentationCounts,
    classification_metrics,
    compare,
    intervals,
    metrics_of,
    multi_label_metrics,
    regression_metrics,
)
from striate.train.metrics.bootstrap import interval
from striate.train.metrics.intervals import _STATISTICS, segmentation_intervals, verification_intervals
from striate.train.metrics.ranking import Ranked


class Whole(Resampling):
    """Two resamples that both are the samples themselves: metrics of weights 1."""

    def weights(self) -> Any:
        yield torch.ones(2, self.size)

    def tables(self, cells: torch.Tensor, count: int) -> Any:
        yield torch.bincount(cells, minlength=count).double().repeat(2, 1)


def samples(task: str, count: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if task == "classification":
        labels = torch.arange(count) % 4
        logits = torch.randn(count, 4, generator=generator) + 1.5 * torch.eye(4)[labels]
        # Rounded, so that scores have ties.
        probabilities = (logits.softmax(1) * 20).round() + 1
        return (probabilities / probabilities.sum(1, keepdim=True)).double(), labels
    targets = torch.randn(count, 3, generator=generator)
    if task == "regression":
        return targets * 0.8 + 0.3 * torch.randn(count, 3, generator=generator) + 7, targets + 7
    truth = (targets > 0.3).float()
    return (truth + torch.randn(count, 3, generator=generator)).mul(3).round().sigmoid(), truth


@pytest.mark.parametrize(
    ("task", "measure"),
    [
        ("classification", classification_metrics),
        ("multi-label", multi_label_metrics),
        ("regression", regression_metrics),
    ],
)
def test_weights_of_one_change_nothing(task: Any, measure: Any) -> None:
    outputs, targets = samples(task)
    values = _STATISTICS[task](Whole(len(outputs), 2), outputs, targets)
    told = measure(outputs, targets)
    assert set(values) == set(told)
    for name, value in told.items():
        assert values[name].tolist() == pytest.approx([value, value], abs=1e-6), name


@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
def test_weights_are_repetitions(task: Any) -> None:
    """A resample is what one gets by repeating its samples."""
    outputs, targets = samples(task, 20)
    resampling = Resampling(20, 5, seed=1)
    weights = next(resampling.weights())
    measure = {
        "classification": classification_metrics,
        "multi-label": multi_label_metrics,
        "regression": regression_metrics,
    }[task]
    values = _STATISTICS[task](Resampling(20, 5, seed=1, groups=torch.arange(20)), outputs, targets)
    for row in range(5):
        places = torch.repeat_interleave(torch.arange(20), weights[row].long())
        for name, value in measure(outputs[places], targets[places]).items():
            if value is not None:
                assert float(values[name][row]) == pytest.approx(value, abs=1e-6), name


def test_many_rankings_at_once_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(30, generator=generator).mul(10).round()
    positive = torch.arange(30) % 3 == 0
    weights = torch.randint(0, 3, (4, 30), generator=generator).float()
    ranked = Ranked.of(weights, scores, positive)
    for row in range(4):
        kept = {"sample_weight": weights[row].numpy()}
        assert float(ranked.auroc()[row]) == pytest.approx(sk.roc_auc_score(positive, scores, **kept), abs=1e-6)
        precision = sk.average_precision_score(positive, scores, **kept)
        assert float(ranked.average_precision()[row]) == pytest.approx(precision, abs=1e-6)


def test_the_weighted_errors_of_verification_are_those_of_the_comparison() -> None:
    generator = torch.Generator().manual_seed(0)
    identities = torch.arange(60) % 12
    embeddings = torch.randn(12, 4, generator=generator)[identities] + torch.randn(60, 4, generator=generator)
    compared = compare(embeddings, identities)
    ranked = Ranked.of(torch.ones(1, len(compared.same)), compared.similarity, compared.same)
    told = compared.values()
    assert float(ranked.equal_error()) == pytest.approx(told["eer"])
    assert float(ranked.accepted_at(1e-2)) == pytest.approx(told["tar_at_far_1e-2"])
    assert float(ranked.accepted_at(1e-3)) == pytest.approx(told["tar_at_far_1e-3"])
    assert float(ranked.auroc()) == pytest.approx(told["auroc"], abs=1e-6)
    found = verification_intervals(Resampling(12, 200), compared, identities)
    for name, value in told.items():
        low, high = found[name]  # type: ignore[misc]
        assert low <= value <= high, name
        assert low < high


def test_a_draw_counts_every_sample() -> None:
    blocks = list(Resampling(7, 50).weights())
    assert torch.equal(torch.cat(blocks).sum(1), torch.full((50,), 7.0))
    assert torch.equal(blocks[0], next(Resampling(7, 50).weights()))
    assert not torch.equal(blocks[0], next(Resampling(7, 50, seed=1).weights()))
    table = torch.cat(list(Resampling(7, 50).tables(torch.tensor([0, 0, 3, 3, 3, 5, 5]), 6)))
    assert torch.equal(table.sum(1), torch.full((50,), 7.0).double())
    assert float(table[:, [1, 2, 4]].sum()) == 0
    assert table.mean(0)[[0, 3, 5]].tolist() == pytest.approx([2, 3, 2], abs=0.5)


def test_groups_are_drawn_whole() -> None:
    groups = torch.tensor([4, 4, 9, 9, 9, 2])
    weights = torch.cat(list(Resampling(6, 100, groups=groups).weights()))
    for name in (4, 9, 2):
        of_group = weights[:, groups == name]
        assert bool((of_group == of_group[:, :1]).all())
    assert set(weights[:, [0, 2, 5]].sum(1).tolist()) == {3.0}


def coverage(truth: float, draw: Any, name: str, task: Any = "classification", rounds: int = 200) -> float:
    """How often the interval of a metric holds the truth."""
    hits = 0
    for seed in range(rounds):
        outputs, targets, groups = draw(seed)
        found = intervals(task, Resampling(len(targets), 400, seed=seed, groups=groups), outputs, targets)[name]
        assert found is not None
        hits += found[0] <= truth <= found[1]
    return hits / rounds


def test_intervals_cover_a_known_truth() -> None:
    def draw(seed: int) -> Any:
        """Two classes, one three times as frequent, found with 90 % and 60 %: balanced accuracy 75 %."""
        generator = np.random.default_rng(seed)
        labels = (generator.random(200) < 0.25).astype(int)
        right = generator.random(200) < np.where(labels == 0, 0.9, 0.6)
        said = torch.from_numpy(np.where(right, labels, 1 - labels))
        return torch.nn.functional.one_hot(said, 2).double() * 0.8 + 0.1, torch.from_numpy(labels), None

    # 95 % within four standard errors of 200 rounds, and what percentiles lack for 50 samples of a class.
    assert 0.89 <= coverage(0.75, draw, "balanced_accuracy") <= 0.995


def test_intervals_of_errors_cover_a_known_truth() -> None:
    def draw(seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        targets = torch.randn(150, 1, generator=generator)
        return targets + 0.5 * torch.randn(150, 1, generator=generator), targets, None

    assert 0.88 <= coverage(0.5, draw, "rmse", "regression") <= 0.995
    assert 0.88 <= coverage(0.75, draw, "r2", "regression") <= 0.995


def test_samples_of_one_subject_need_groups() -> None:
    """Ten samples of a subject that all share its fate: counted one by one the interval is far too narrow."""

    def of(grouped: bool) -> Any:
        def draw(seed: int) -> Any:
            generator = np.random.default_rng(seed)
            groups = torch.arange(300) // 10
            right = torch.from_numpy(generator.random(30) < 0.7)[groups]
            labels = torch.arange(300) % 2
            said = torch.where(right, labels, 1 - labels)
            return torch.nn.functional.one_hot(said, 2).double(), labels, groups if grouped else None

        return draw

    assert coverage(0.7, of(True), "accuracy", rounds=100) >= 0.85
    assert coverage(0.7, of(False), "accuracy", rounds=100) <= 0.7


def test_segmentation_draws_whole_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = SegmentationCounts(3)
    targets = torch.randint(3, (20, 50), generator=generator)
    wrong = torch.rand(20, 50, generator=generator) < torch.linspace(0.05, 0.5, 20)[:, None]
    counts.add(torch.where(wrong, (targets + 1) % 3, targets), targets)
    found = segmentation_intervals(Resampling(20, 300), counts)
    assert tuple(found) == metrics_of("segmentation")
    for name, value in counts.values().items():
        low, high = found[name]  # type: ignore[misc]
        assert low < value < high
        # Samples differ far more than positions do: 1000 positions by themselves would give a third of it.
        assert high - low > 0.08


def test_too_few_values_are_no_interval() -> None:
    assert interval(torch.tensor([1.0, float("nan"), 2.0])) is None
    assert interval(torch.full((10,), float("nan"))) is None
    values = torch.cat((torch.arange(95.0), torch.full((5,), float("nan"))))
    assert interval(values) == pytest.approx((2.35, 91.65))


def test_one_resample_is_too_few() -> None:
    with pytest.raises(DataError) as error:
        Resampling(5, 1)
    assert str(error.value) == ("Expected 2 resamples or more; received 1. Use 1000, or 0 to go without intervals.")


def test_ten_thousand_samples_take_seconds() -> None:
    outputs, targets = samples("classification", 10_000)
    began = time.perf_counter()
    found = intervals("classification", Resampling(10_000, 1000), outputs, targets)
    assert time.perf_counter() - began < 20
    assert all(found.values())
