"""Augmentation of tokens: padding stays padding, and words are dropped, deleted and exchanged as often as said."""

import pytest
import torch
from augmentation_cases import batch_of, draws_of, facts_of

from striate.data.augmentation import Augmentation, WordDeletion, WordDropout, WordSwap

FACTS = facts_of((12,), channels=50, input_kind="tokens")


def texts(count):
    inputs, _, _ = batch_of(FACTS, count)
    return inputs


def test_word_dropout_makes_words_unknown():
    inputs = texts(4000)
    changed = WordDropout(rate=0.2).change(inputs, draws_of(4000), FACTS)
    words = inputs != 0
    dropped = changed != inputs
    assert bool((changed[dropped] == 1).all())
    assert not (dropped & ~words).any()
    assert abs(dropped[words].float().mean() - 0.2) < 0.01
    assert bool((WordDropout(rate=1.0).change(inputs, draws_of(4000), FACTS) == words.long()).all())


def test_word_deletion_leaves_a_shorter_text_in_order():
    inputs = texts(3000)
    changed = WordDeletion(rate=0.3).change(inputs, draws_of(3000), FACTS)
    kept = 0
    for before, after in zip(inputs.tolist(), changed.tolist(), strict=True):
        words = [token for token in before if token]
        left = [token for token in after if token]
        assert left
        assert after == left + [0] * (12 - len(left))
        remaining = iter(words)
        assert all(token in remaining for token in left)  # a subsequence
        kept += len(left)
    # A text of one word cannot lose it, and few others lose all.
    assert abs(kept / (inputs != 0).sum() - 0.7) < 0.04
    single = WordDeletion(rate=1.0).change(inputs, draws_of(3000), FACTS)
    assert bool(((single != 0).sum(1) == 1).all())
    full = torch.arange(2, 14).repeat(6000, 1)
    survivors = WordDeletion(rate=1.0).change(full, draws_of(6000), FACTS)[:, 0]
    counts = (survivors - 2).bincount(minlength=12).double()
    assert ((counts - 500) ** 2 / 500).sum() < 32


def test_padding_before_a_text_stays_where_nothing_is_deleted():
    inputs = torch.tensor([[0, 0, 5, 6], [0, 0, 0, 0]])
    assert torch.equal(WordDeletion(rate=0.0).change(inputs, draws_of(2), FACTS), inputs)
    assert torch.equal(WordDeletion(rate=1.0).change(inputs, draws_of(2), FACTS)[1], inputs[1])


@pytest.mark.parametrize("swaps", [0, 1, 3])
def test_word_swap_exchanges_words_alone(swaps):
    inputs = texts(500)
    changed = WordSwap(swaps=swaps).change(inputs, draws_of(500), FACTS)
    assert torch.equal(changed.sort(dim=1).values, inputs.sort(dim=1).values)
    assert torch.equal(changed == 0, inputs == 0)
    distinct = torch.arange(2, 14).repeat(500, 1)
    moved = (WordSwap(swaps=swaps).change(distinct, draws_of(500), FACTS) != distinct).sum(1)
    assert moved.max() <= 2 * swaps
    assert (swaps == 0) == (moved.max() == 0)
    left_padded = torch.tensor([[0, 0, 5, 6]]).repeat(50, 1)
    assert {tuple(row) for row in WordSwap(swaps=swaps).change(left_padded, draws_of(50), FACTS).tolist()} <= {
        (0, 0, 5, 6),
        (0, 0, 6, 5),
    }


def test_tokens_stay_tokens_and_the_batch_stays_as_it_was():
    inputs, targets, indices = batch_of(FACTS, 20)
    before = inputs.clone()
    changed, same = Augmentation.from_settings(["strong"], FACTS, seed=0)(inputs, targets, indices, 0)
    assert changed.dtype == torch.int64
    assert same is targets
    assert torch.equal(inputs, before)
    assert not torch.equal(changed, inputs)
