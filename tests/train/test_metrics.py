"""The metrics of every task, against scikit-learn and what can be counted by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from striate.errors import DataError
from striate.train.metrics import (
    METRICS,
    Collected,
    SegmentationCounts,
    classification_metrics,
    compare,
    is_better,
    meter_of,
    metrics_of,
    multi_label_metrics,
    output_scores,
    regression_metrics,
    verification_metrics,
)

if TYPE_CHECKING:
    from torch import Tensor

TASKS = ("classification", "multi-label", "regression", "segmentation", "verification")


def random_classes(count: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 1
    return logits.softmax(1), labels


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_every_task_tells_its_metrics_in_their_order(task: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    meter = meter_of(task, classes=3)
    for _ in range(2):
        outputs, targets = {
            "classification": (torch.randn(6, 3, generator=generator), torch.arange(6) % 3),
            "multi-label": (torch.randn(6, 3, generator=generator), torch.eye(3).repeat(2, 1)),
            "regression": (torch.randn(6, 3, generator=generator), torch.randn(6, 3, generator=generator)),
            "segmentation": (torch.randn(6, 3, 5, generator=generator), torch.arange(30).reshape(6, 5) % 3),
            "verification": (torch.randn(6, 3, generator=generator), torch.arange(6) % 3),
        }[task]
        meter.add(outputs, targets)
    told = meter.values()
    assert tuple(told) == metrics_of(task)
    assert len(meter) == 12
    for name, value in told.items():
        assert isinstance(value, float)
        assert task in METRICS[name].tasks
        assert METRICS[name].meaning


@pytest.mark.parametrize("task", TASKS)
def test_meters_merge(task: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (8, 3, 4) if task == "segmentation" else (8, 3)
    outputs = torch.randn(shape, generator=generator)
    targets = {
        "multi-label": torch.eye(3).repeat(3, 1)[:8],
        "regression": outputs + 1,
        "segmentation": torch.arange(32).reshape(8, 4) % 3,
    }.get(task, torch.arange(8) % 3)
    whole, one, other = (meter_of(task, classes=3) for _ in range(3))
    whole.add(outputs, targets)
    one.add(outputs[:3], targets[:3])
    other.add(outputs[3:], targets[3:])
    one.merge(other)
    assert one.values() == whole.values()


def test_better_is_higher_or_lower() -> None:
    assert is_better("accuracy", 0.9, 0.8)
    assert not is_better("accuracy", 0.8, 0.8)
    assert is_better("eer", 0.1, 0.2)
    assert not is_better("log_loss", math.nan, 3.0)
    assert is_better("log_loss", 3.0, math.nan)
    assert not is_better("auroc", None, None)


# Classification ------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(count=st.integers(5, 60), classes=st.integers(2, 6), seed=st.integers(0, 1000))
def test_classification_is_scikit_learns(count: int, classes: int, seed: int) -> None:
    probabilities, labels = random_classes(count, classes, seed)
    told = classification_metrics(probabilities, labels)
    predicted = probabilities.argmax(1)
    present = sorted(set(labels.tolist()))
    exact = probabilities.double() / probabilities.double().sum(1, keepdim=True)
    recalls = sk.recall_score(labels, predicted, labels=present, average=None, zero_division=0.0)
    assert told["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert told["balanced_accuracy"] == pytest.approx(recalls.mean())
    assert told["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro", zero_division=0.0))
    assert told["log_loss"] == pytest.approx(sk.log_loss(labels, exact, labels=range(classes)), rel=1e-5)
    if len(present) < classes:
        assert told["auroc"] is told["average_precision"] is None
        return
    truth = np.eye(classes)[labels]
    assert told["auroc"] == pytest.approx(sk.roc_auc_score(truth, probabilities, average="macro"), abs=1e-6)
    assert told["average_precision"] == pytest.approx(
        sk.average_precision_score(truth, probabilities, average="macro"), abs=1e-6
    )


def test_a_certain_mistake_has_a_finite_loss() -> None:
    told = classification_metrics(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1]))
    assert told["log_loss"] == pytest.approx(-math.log(torch.finfo(torch.float32).tiny) / 2)


# Several labels ------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(count=st.integers(4, 50), labels=st.integers(1, 5), seed=st.integers(0, 1000))
def test_multi_label_is_scikit_learns(count: int, labels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(count, labels, generator=generator) < 0.4).float()
    probabilities = torch.rand(count, labels, generator=generator)
    told = multi_label_metrics(probabilities, targets)
    truth, decided = targets.numpy().astype(int), (probabilities.numpy() >= 0.5).astype(int)
    f1 = [sk.f1_score(truth[:, j], decided[:, j], zero_division=0.0) for j in range(labels)]
    assert told["macro_f1"] == pytest.approx(np.mean(f1), abs=1e-6)
    assert told["micro_f1"] == pytest.approx(sk.f1_score(truth.ravel(), decided.ravel(), zero_division=0.0), abs=1e-6)
    assert told["subset_accuracy"] == pytest.approx((truth == decided).all(1).mean())
    assert told["hamming"] == pytest.approx((truth != decided).mean(), abs=1e-6)
    both = [j for j in range(labels) if 0 < truth[:, j].sum() < count]
    if not both:
        assert told["auroc"] is told["mean_average_precision"] is None
        return
    scores = probabilities.numpy()
    precision = [sk.average_precision_score(truth[:, j], scores[:, j]) for j in both]
    assert told["mean_average_precision"] == pytest.approx(np.mean(precision), abs=1e-5)
    areas = [sk.roc_auc_score(truth[:, j], scores[:, j]) for j in both]
    assert told["auroc"] == pytest.approx(np.mean(areas), abs=1e-5)


# Numbers -------------------------------------------------------------------------------------------------------------


def test_regression_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(40, 3, generator=generator) * torch.tensor([1.0, 100.0, 0.01]) + 5
    outputs = targets + torch.randn(40, 3, generator=generator) * torch.tensor([0.5, 20.0, 0.02])
    told = regression_metrics(outputs, targets)
    true, said = targets.double().numpy(), outputs.double().numpy()
    assert told["mae"] == pytest.approx(sk.mean_absolute_error(true, said))
    assert told["rmse"] == pytest.approx(
        np.mean([sk.root_mean_squared_error(true[:, j], said[:, j]) for j in range(3)])
    )
    assert told["r2"] == pytest.approx(sk.r2_score(true, said))
    assert told["pearson"] == pytest.approx(np.mean([np.corrcoef(true[:, j], said[:, j])[0, 1] for j in range(3)]))
    for j, score in enumerate(output_scores(outputs, targets, ["a", "b", "c"])):
        assert (score.name, score.mae) == ("abc"[j], pytest.approx(np.abs(true - said)[:, j].mean()))


def test_constants_leave_nothing_to_explain() -> None:
    still = torch.ones(4, 1)
    assert regression_metrics(still, still) == {"mae": 0.0, "rmse": 0.0, "r2": None, "pearson": None}
    moving = torch.arange(4.0)[:, None]
    told = regression_metrics(still, moving)
    assert told["r2"] is not None
    assert told["pearson"] is None
    assert regression_metrics(moving[:1], moving[:1])["r2"] is None


# Segmentation --------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 4), classes=st.integers(2, 4), void=st.booleans(), seed=st.integers(0, 1000))
def test_segmentation_is_counted(samples: int, classes: int, void: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (samples, 3, 4), generator=generator)
    targets[0, 0, 0] = 1
    if void:
        targets[torch.rand(targets.shape, generator=generator) < 0.2] = 255
    outputs = torch.randn(samples, classes, 3, 4, generator=generator)
    counts = SegmentationCounts(classes, 255 if void else None)
    for place in range(samples):  # one by one, as batches of any size must give the same
        counts.add(outputs[place : place + 1], targets[place : place + 1])
    said, true = outputs.argmax(1).numpy(), targets.numpy()
    kept = true != 255
    for label, score in enumerate(counts.scores([str(each) for each in range(classes)])):
        both = ((said == label) & (true == label) & kept).sum()
        either = (((said == label) | (true == label)) & kept).sum()
        assert score.support == ((true == label) & kept).sum()
        if either == 0:
            assert score.iou is score.dice is None
        else:
            assert score.iou == pytest.approx(both / either)
            assert score.dice == pytest.approx(2 * both / (both + either))
    told = counts.values()
    assert told["pixel_accuracy"] == pytest.approx((said == true)[kept].mean())
    known = [score.iou for score in counts.scores([str(each) for each in range(classes)])[1:] if score.iou is not None]
    assert told["mean_iou"] == pytest.approx(np.mean(known))


def test_dice_of_each_volume() -> None:
    """By hand: the first volume has 2 of 3 and 1 spare (Dice 4/6), the second lacks the class in both."""
    counts = SegmentationCounts(2)
    counts.add(torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]), torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0]]))
    told = counts.values()
    assert told["mean_sample_dice"] == pytest.approx(4 / 6)
    assert told["mean_dice"] == pytest.approx(4 / 6)
    assert told["pixel_accuracy"] == pytest.approx(8 / 10)


def test_a_void_class_among_the_classes_is_left_out() -> None:
    counts = SegmentationCounts(3, void=2)
    counts.add(torch.tensor([[0, 1, 2, 1]]), torch.tensor([[0, 1, 2, 2]]))
    assert counts.values()["mean_iou"] == 1.0
    assert [score.name for score in counts.scores(["ground", "cell", "void"])] == ["ground", "cell"]


# Verification --------------------------------------------------------------------------------------------------------


def test_verification_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    identities = torch.arange(60) % 12
    embeddings = torch.randn(12, 8, generator=generator)[identities] + torch.randn(60, 8, generator=generator)
    found = compare(embeddings, identities)
    unit = torch.nn.functional.normalize(embeddings.double(), dim=1).numpy()
    first, second = np.triu_indices(60, 1)
    similarity = (unit[first] * unit[second]).sum(1)
    same = (identities[first] == identities[second]).numpy()
    assert found.possible == len(found.same) == 60 * 59 // 2
    assert np.allclose(found.similarity.numpy(), similarity)
    told = found.values()
    assert told["auroc"] == pytest.approx(sk.roc_auc_score(same, similarity), abs=1e-6)
    false, true, _ = sk.roc_curve(same, similarity, drop_intermediate=False)
    assert told["tar_at_far_1e-2"] == pytest.approx(true[false <= 0.01].max(), abs=1e-6)
    assert told["tar_at_far_1e-3"] == pytest.approx(true[false <= 0.001].max(), abs=1e-6)
    # At the threshold, as many are wrongly accepted as are wrongly rejected, to a pair or two.
    accepted = similarity >= found.threshold
    assert accepted[~same].mean() == pytest.approx(found.eer, abs=2 / same.sum())
    assert (~accepted[same]).mean() == pytest.approx(found.eer, abs=2 / same.sum())


def test_many_pairs_are_sampled_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    identities = torch.arange(200) % 40
    embeddings = torch.randn(40, 4, generator=generator)[identities] + torch.randn(200, 4, generator=generator)
    whole, part, again = compare(embeddings, identities), *(compare(embeddings, identities, most=3000) for _ in "ab")
    assert len(part.same) == 3000
    assert part.possible == 200 * 199 // 2
    assert int(part.same.sum()) == 40 * 10  # true pairs are few, and all kept
    assert len({tuple(pair) for pair in part.pairs.T.tolist()}) == 3000
    assert bool((part.pairs[0] < part.pairs[1]).all()) or bool((part.pairs[0] != part.pairs[1]).all())
    assert bool((part.same == (identities[part.pairs[0]] == identities[part.pairs[1]])).all())
    assert torch.equal(part.pairs, again.pairs)
    assert part.eer == pytest.approx(whole.eer, abs=0.03)


def test_nothing_to_verify() -> None:
    assert set(verification_metrics(torch.eye(3), torch.tensor([0, 1, 2])).values()) == {None}
    with pytest.raises(DataError) as error:
        compare(torch.eye(3), torch.tensor([0, 0, 0]))
    assert str(error.value) == (
        "Expected pairs of one identity and pairs of two; received 3 samples of 1 identities. "
        "Give two samples or more of each of two identities or more."
    )


def test_identical_features_are_half_wrong() -> None:
    found = compare(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]))
    assert (found.eer, found.values()["auroc"]) == (0.5, 0.5)


def test_what_is_collected_is_kept_as_given() -> None:
    meter = Collected("classification")
    meter.add(torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor([0, 2]))
    assert meter.outputs.dtype == torch.float32
    assert meter.targets.tolist() == [0, 2]
