"""Splits are stratified, complete, and decided by the labels and the seed alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.splits import check_fractions, check_seed, folds, grouped_split, stratified_split
from striate.errors import DataError

labels_lists = st.lists(st.integers(0, 5), min_size=1, max_size=80)
fractions = st.tuples(st.floats(0, 0.45), st.floats(0, 0.45))


@settings(max_examples=100, deadline=None)
@given(labels_lists, fractions, st.integers(0, 2**32 - 1))
def test_every_sample_is_drawn_once_and_classes_keep_their_shares(labels, shares, seed):
    values = torch.tensor(labels)
    parts = stratified_split(values, shares, seed)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(values)))
    counts = values.bincount(minlength=6)
    left = counts.clone()
    for part, share in zip(parts, shares, strict=False):
        drawn = values[part].bincount(minlength=6)
        assert (part.diff() > 0).all()
        assert (drawn <= counts * share + 1).all()
        # A class may give less than its share only where all but one of what is left of it are drawn.
        assert ((drawn >= (counts * share).floor()) | (drawn >= left - 1)).all()
        left -= drawn
    assert (values[parts[-1]].bincount(minlength=6)[counts > 0] >= 1).all()


@settings(max_examples=50, deadline=None)
@given(labels_lists, fractions)
def test_the_same_seed_gives_the_same_split(labels, shares):
    values = torch.tensor(labels)
    for first, second in zip(
        stratified_split(values, shares, 7), stratified_split(values.clone(), shares, 7), strict=True
    ):
        assert torch.equal(first, second)


def test_total_is_the_rounded_fraction():
    values = torch.arange(10).repeat_interleave(7)
    test, val, rest = stratified_split(values, [0.2, 0.1], seed=0)
    assert [len(test), len(val), len(rest)] == [14, 7, 49]


def test_known_draw_never_changes():
    values = torch.tensor([0, 1] * 10)
    test, _ = stratified_split(values, [0.3], seed=3)
    assert test.tolist() == [0, 2, 3, 7, 11, 18]


def test_another_seed_gives_another_split():
    values = torch.zeros(100, dtype=torch.int64)
    assert not torch.equal(stratified_split(values, [0.5], 0)[0], stratified_split(values, [0.5], 1)[0])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: check_fractions(-0.1, 0.2),
            (
                "Expected val_fraction of at least 0 and below 1; received val_fraction=-0.1. "
                "Use 0.1 for a tenth, 0 for none."
            ),
        ),
        (
            lambda: check_fractions(0.1, "half"),
            (
                "Expected test_fraction of at least 0 and below 1; received test_fraction='half'. "
                "Use 0.1 for a tenth, 0 for none."
            ),
        ),
        (
            lambda: check_fractions(0.5, 0.5),
            (
                "Expected val_fraction and test_fraction that leave a part to train on; received 0.5 + 0.5. "
                "Lower one of them."
            ),
        ),
        (
            lambda: check_seed(-1),
            "Expected a seed from 0 to 4294967295; received seed=-1. Use a whole number such as 0.",
        ),
    ],
)
def test_messages(call, text):
    with pytest.raises(DataError) as caught:
        call()
    assert str(caught.value) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), fractions, st.integers(0, 2**32 - 1))
def test_no_group_is_on_two_sides(groups, shares, seed):
    values = torch.tensor(groups)
    parts = grouped_split(values, shares, seed)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(values)))
    sides = [set(values[part].tolist()) for part in parts]
    assert sum(map(len, sides)) == len(set(groups))
    assert sides[-1]
    largest = int(values.bincount().max())
    for part, share in zip(parts, shares, strict=False):
        # As near to the share as whole groups come, as long as there are groups.
        assert len(part) <= share * len(values) + largest


@settings(max_examples=100, deadline=None)
@given(labels_lists.filter(lambda labels: len(labels) >= 2), st.integers(2, 10), st.integers(0, 2**32 - 1))
def test_folds_are_even_and_of_all_classes(labels, count, seed):
    count, values = min(count, len(labels)), torch.tensor(labels)
    drawn = folds(values, None, count, seed, len(values))
    assert torch.equal(torch.cat(drawn).sort().values, torch.arange(len(values)))
    sizes = [len(fold) for fold in drawn]
    assert max(sizes) - min(sizes) <= 1
    shares = torch.stack([values[fold].bincount(minlength=6) for fold in drawn])
    assert ((shares.max(0).values - shares.min(0).values) <= 1).all()


def test_as_many_folds_as_groups_leave_one_out_each():
    groups = torch.tensor([4, 4, 4, 1, 2, 2])
    drawn = folds(torch.zeros(6), groups, 3, 0, 6)
    assert sorted(set(groups[fold].tolist()).pop() for fold in drawn) == [1, 2, 4]
    assert all(len(set(groups[fold].tolist())) == 1 for fold in drawn)


@pytest.mark.parametrize(
    ("groups", "count", "text"),
    [
        (None, 1, "Expected from 2 to 6 folds, the number of samples; received 1 folds. Use 5 or 10."),
        (
            torch.tensor([1, 1, 1, 2, 2, 2]),
            3,
            "Expected from 2 to 2 folds, the number of groups; received 3 folds. Use 5 or 10.",
        ),
    ],
)
def test_messages_of_folds(groups, count, text):
    with pytest.raises(DataError) as caught:
        folds(None, groups, count, 0, 6)
    assert str(caught.value) == text
