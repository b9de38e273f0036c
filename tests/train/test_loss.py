from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.models.outputs import WithAuxiliary
from striate.train.loss import CrossEntropy, HalfSquared, total_loss


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
