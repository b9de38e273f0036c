"""Mixup and CutMix: pairs, shares and soft targets."""

import pytest
import torch
from augmentation_cases import batch_of, draws_of, facts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.augmentation import Augmentation, CutMix, Mixup
from striate.data.augmentation.mixing import soft_targets

SIZES = st.integers(1, 3).flatmap(lambda rank: st.lists(st.integers(1, 7), min_size=rank, max_size=rank))
MIXES = [Mixup(alpha=1.0), CutMix(alpha=1.0)]


@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(1, 9), st.sampled_from(MIXES), st.floats(0, 1))
def test_a_pair_keeps_its_sum_and_its_targets_too(size, count, mix, p):
    facts = facts_of(size, 2)
    inputs, targets, indices = batch_of(facts, count)
    mixed, soft = Augmentation([type(mix)(p=p)], facts, seed=0)(inputs, targets, indices, 0)
    even = count // 2 * 2
    one_hot = torch.nn.functional.one_hot(targets, 5).float()
    torch.testing.assert_close(mixed[0:even:2] + mixed[1:even:2], inputs[0:even:2] + inputs[1:even:2])
    torch.testing.assert_close(soft[0:even:2] + soft[1:even:2], one_hot[0:even:2] + one_hot[1:even:2])
    torch.testing.assert_close(soft.sum(1), torch.ones(count))
    assert torch.equal(mixed[even:], inputs[even:])  # without a partner
    assert torch.equal(soft[even:], one_hot[even:])
    assert bool((soft >= 0).all())


def test_mixup_blends_inputs_and_targets_by_one_share():
    facts = facts_of((3,), outputs=2)
    inputs = torch.tensor([[[1.0, 1, 1]], [[0.0, 0, 0]]] * 200)
    targets = torch.tensor([0, 1] * 200)
    mixed, soft = Mixup(alpha=1.0)(inputs, targets, draws_of(400), facts)
    torch.testing.assert_close(mixed[:, 0, 0], soft[:, 0])
    shares = soft[0::2, 0]
    assert abs(shares.mean() - 0.5) < 0.06
    assert abs(shares.std() - 12**-0.5) < 0.03


@pytest.mark.parametrize("size", [(40,), (20, 30), (10, 9, 11)])
def test_cutmix_exchanges_one_box_and_as_much_of_the_targets(size):
    facts = facts_of(size, outputs=2)
    inputs = torch.tensor([1.0, 0.0] * 300).reshape(600, 1, *(1,) * len(size)).expand(600, 1, *size).contiguous()
    mixed, soft = CutMix()(inputs, torch.tensor([0, 1] * 300), draws_of(600), facts)
    torch.testing.assert_close(mixed.flatten(1).mean(1), soft[:, 0])
    assert set(mixed.unique().tolist()) == {0.0, 1.0}
    foreign = mixed[0::2, 0] == 0
    for axis in range(1, foreign.ndim):
        others = tuple(other for other in range(1, foreign.ndim) if other != axis)
        along = foreign.amax(others) if others else foreign
        assert bool((along.int().diff(dim=1).abs().sum(1) <= 2).all())
    boxes = foreign.flatten(1).float().mean(1)
    assert boxes.min() < 0.05
    assert boxes.max() > 0.6


def test_cutmix_moves_masks_with_their_inputs():
    facts = facts_of((12, 12), task="segmentation")
    masks = torch.arange(1, 9).reshape(8, 1, 1).expand(8, 12, 12).contiguous()
    mixed, moved = CutMix()(masks.unsqueeze(1).float(), masks, draws_of(8), facts)
    assert torch.equal(mixed[:, 0].long(), moved)
    assert not torch.equal(moved, masks)


def test_targets_of_several_numbers_are_mixed_as_they_are():
    for task in ("multi-label", "regression"):
        facts = facts_of((4,), task=task)
        inputs, targets, indices = batch_of(facts, 6)
        augment = Augmentation([Mixup(alpha=1.0)], facts, seed=0)
        mixed, soft = augment(inputs, targets, indices, 0)
        share = (mixed[0::2, 0, 0] - inputs[1::2, 0, 0]) / (inputs[0::2, 0, 0] - inputs[1::2, 0, 0])
        own = share.unsqueeze(1)
        torch.testing.assert_close(soft[0::2], own * targets[0::2] + (1 - own) * targets[1::2], atol=1e-4, rtol=1e-4)
        assert not augment.softens


def test_one_mix_after_the_other_goes_on_with_soft_targets():
    facts = facts_of((8, 8), outputs=5)
    inputs, targets, indices = batch_of(facts, 6)
    augment = Augmentation(MIXES, facts, seed=0)
    _, soft = augment(inputs, targets, indices, 0)
    assert augment.softens
    assert soft.shape == (6, 5)
    torch.testing.assert_close(soft.sum(1), torch.ones(6))
    assert soft_targets(soft, facts) is soft


@pytest.mark.parametrize("mix", MIXES, ids=["mixup", "cutmix"])
def test_even_pieces_of_an_epoch_have_the_pairs_of_the_whole(mix):
    facts = facts_of((6, 6), 2)
    inputs, targets, indices = batch_of(facts, 12)
    augment = Augmentation([mix], facts, seed=1)
    whole, soft = augment(inputs, targets, indices, 4)
    for start, end in ((0, 2), (2, 8), (8, 12)):
        part, part_soft = augment(inputs[start:end], targets[start:end], indices[start:end], 4)
        assert torch.equal(part, whole[start:end])
        assert torch.equal(part_soft, soft[start:end])


def test_pairs_that_chance_leaves_out_stay_as_they_are():
    facts = facts_of((5,), outputs=3)
    inputs, targets, indices = batch_of(facts, 2000)
    mixed, soft = Augmentation([Mixup(alpha=1.0, p=0.25)], facts, seed=0)(inputs, targets % 3, indices.repeat(2), 0)
    kept = (mixed == inputs).all(2).all(1)
    assert torch.equal(kept[0::2], kept[1::2])
    assert abs(kept.float().mean() - 0.75) < 0.05
    assert bool((soft[kept].amax(1) == 1).all())
