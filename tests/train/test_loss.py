from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from striate.data import TensorSamples
from striate.errors import ConfigError
from striate.models.outputs import WithAuxiliary
from striate.train.loss import (
    Auto,
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    DiceCrossEntropy,
    Focal,
    HalfSquared,
    Huber,
    SquaredError,
    total_loss,
)
from striate.train.settling import settled_loss


@settings(max_examples=50)
@given(smoothing=st.floats(0, 0.9), seed=st.integers(0, 100))
def test_label_smoothing_is_cross_entropy_with_softened_targets(smoothing: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (5,), generator=generator)
    targets = torch.full((5, 4), smoothing / 4, dtype=torch.float64)
    targets[torch.arange(5), labels] += 1 - smoothing
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    expected = -(targets * probabilities.log()).sum(1).mean()
    torch.testing.assert_close(CrossEntropy(label_smoothing=smoothing)(logits, labels), expected)


@pytest.mark.parametrize(("output", "error"), [([0.2, 0.4, 0.1, 0.3], 0.55), ([0.1, 0.1, 0.7, 0.1], 0.06)])
def test_total_error_of_the_worked_examples(output: list[float], error: float) -> None:
    """The network's probabilities are the example's outputs when its logits are their logarithms."""
    logits = torch.tensor([output], dtype=torch.float64).log()
    assert HalfSquared()(logits, torch.tensor([2])).item() == pytest.approx(error, rel=1e-12)
    assert HalfSquared()(logits + 3, torch.tensor([2])).item() == pytest.approx(error, rel=1e-12)


def test_auxiliary_heads_add_their_weighted_losses() -> None:
    loss, labels = CrossEntropy(label_smoothing=0.1), torch.tensor([0, 2])
    main, first, second = torch.randn(3, 2, 4).unbind()
    together = total_loss(loss, WithAuxiliary(main, (first, second), (0.3, 0.5)), labels)
    torch.testing.assert_close(together, loss(main, labels) + 0.3 * loss(first, labels) + 0.5 * loss(second, labels))
    assert torch.equal(total_loss(loss, main, labels), loss(main, labels))


# Class weights, focal loss, labels, numbers and masks ----------------------------------------------------------------


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_class_weights_multiply_and_the_mean_is_over_samples() -> None:
    logits, labels = drawn(5, 3), torch.tensor([0, 0, 1, 2, 1])
    weights = [0.5, 2.0, 3.0]
    each = -logits.log_softmax(1)[torch.arange(5), labels] * torch.tensor(weights, dtype=torch.float64)[labels]
    torch.testing.assert_close(CrossEntropy(class_weights=weights)(logits, labels), each.mean())
    # In pieces, as accumulated gradients take it, it is the same.
    pieces = sum(
        CrossEntropy(class_weights=weights)(logits[part], labels[part]) * len(labels[part]) / 5
        for part in (slice(0, 2), slice(2, 5))
    )
    torch.testing.assert_close(pieces, each.mean())


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(class_weights=[1.0, 2.0, 0.5]), Focal(gamma=1.5)])
def test_soft_targets_mix_the_losses_of_hard_ones(loss: Any) -> None:
    logits = drawn(4, 3)
    one, other = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 1, 0, 1])
    planes = torch.eye(3, dtype=torch.float64)
    mixed = loss(logits, 0.3 * planes[one] + 0.7 * planes[other])
    torch.testing.assert_close(mixed, 0.3 * loss(logits, one) + 0.7 * loss(logits, other))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_the_formula_of_the_paper(gamma: float) -> None:
    logits, labels = drawn(6, 4), torch.tensor([0, 1, 2, 3, 1, 1])
    weights = [1.0, 0.25, 4.0, 2.0]
    expected = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        probability = math.exp(row[label]) / sum(map(math.exp, row))
        expected -= weights[label] * (1 - probability) ** gamma * math.log(probability) / 6
    assert Focal(gamma=gamma, class_weights=weights)(logits, labels).item() == pytest.approx(expected, rel=1e-12)


def test_binary_losses_by_hand() -> None:
    logits, targets = drawn(4, 2), torch.tensor([[1.0, 0], [0, 0], [1, 1], [0, 1]], dtype=torch.float64)
    weights, gamma = [3.0, 0.5], 2.0
    entropy = focal = 0.0
    for row, truth in zip(logits.tolist(), targets.tolist(), strict=True):
        for logit, true, weight in zip(row, truth, weights, strict=True):
            p = 1 / (1 + math.exp(-logit))
            entropy -= (weight * math.log(p) if true else math.log(1 - p)) / 8
            focal -= (weight * (1 - p) ** gamma * math.log(p) if true else p**gamma * math.log(1 - p)) / 8
    assert BinaryCrossEntropy(class_weights=weights)(logits, targets).item() == pytest.approx(entropy, rel=1e-12)
    assert BinaryFocal(gamma=gamma, class_weights=weights)(logits, targets).item() == pytest.approx(focal, rel=1e-12)


def test_errors_of_numbers() -> None:
    outputs, targets = drawn(5, 2), drawn(5, 2, seed=1)
    difference = outputs - targets
    torch.testing.assert_close(SquaredError()(outputs, targets), difference.square().mean())
    huber = torch.where(difference.abs() <= 0.5, difference.square() / 2, 0.5 * (difference.abs() - 0.25))
    torch.testing.assert_close(Huber(delta=0.5)(outputs, targets), huber.mean())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_dice_and_entropy_per_position_leave_void_out(rank: int) -> None:
    shape = (4,) * rank
    logits = drawn(2, 3, *shape)
    masks = torch.randint(0, 3, (2, *shape), generator=torch.Generator().manual_seed(1))
    masks[:, 0] = 200
    flat = logits.movedim(1, -1)[masks != 200]
    labels = masks[masks != 200]
    said, true = flat.softmax(1), torch.eye(3, dtype=torch.float64)[labels]
    dice = (2 * (said * true).sum(0) + 1) / (said.sum(0) + true.sum(0) + 1)
    entropy = torch.nn.functional.cross_entropy(flat, labels)
    torch.testing.assert_close(CrossEntropy(void=200)(logits, masks), entropy)
    torch.testing.assert_close(DiceCrossEntropy(dice=0.5, void=200)(logits, masks), entropy + (1 - dice.mean()) / 2)
    torch.testing.assert_close(Focal(gamma=0.0, void=200)(logits, masks), entropy)


def test_masks_of_nothing_but_void_have_no_loss() -> None:
    masks = torch.full((1, 2), 9)
    assert CrossEntropy(void=9)(drawn(1, 3, 2), masks).item() == 0


def test_balanced_weights_from_counts(made: Any) -> None:
    labels = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    dataset = made(train=TensorSamples(torch.zeros(60, 1, 4, 4), labels))
    weights = settled_loss(Auto(class_weights="balanced"), dataset).class_weights
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy()))
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1)

    labels = torch.tensor([[1.0, 0], [0, 0], [0, 0], [1, 0]])
    dataset = made(task="multi-label", classes=("a", "b"), train=TensorSamples(torch.zeros(4, 1, 4, 4), labels))
    assert settled_loss(Auto(class_weights="balanced"), dataset).class_weights == [1.0, 1.0]

    masks = torch.tensor([[[0, 0, 0, 1], [7, 7, 0, 1]]] * 70)
    dataset = made(
        task="segmentation", classes=("a", "b"), void=7, train=TensorSamples(torch.zeros(70, 1, 2, 4), masks)
    )
    assert settled_loss(Auto(class_weights="balanced"), dataset).class_weights == pytest.approx([6 / 8, 6 / 4])


def test_an_open_loss_cannot_be_computed() -> None:
    with pytest.raises(ConfigError) as error:
        Auto()(torch.zeros(1, 2), torch.zeros(1).long())
    assert str(error.value).startswith("Expected the loss of a run, which knows its task; received loss.name='auto'. ")
