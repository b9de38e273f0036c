"""Orders in which every class comes as often."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.train import Quiet, fit
from striate.train.sampling import balanced_order, repetitions


@settings(max_examples=100, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=5, max_size=80), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_every_class_comes_as_often_and_its_samples_too(labels: list[int], seed: int, epoch: int) -> None:
    given_labels = torch.tensor(labels)
    order = balanced_order(given_labels, seed, epoch)
    assert len(order) == len(labels)
    times = torch.bincount(given_labels[order])[given_labels.unique()]
    assert times.max() - times.min() <= 1
    for label in given_labels.unique():
        of_each = torch.bincount(order, minlength=len(labels))[given_labels == label]
        assert of_each.max() - of_each.min() <= 1
    assert torch.equal(order, balanced_order(given_labels, seed, epoch))


def test_over_the_epochs_frequent_classes_show_all_their_samples() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    seen = torch.cat([balanced_order(labels, 0, epoch) for epoch in range(20)])
    counts = torch.bincount(seen, minlength=100)
    assert counts.min() > 0
    assert counts[90:].sum() == counts[:90].sum() == 1000
    assert set(counts[90:].tolist()) == {100}
    assert not torch.equal(balanced_order(labels, 0, 0), balanced_order(labels, 0, 1))
    assert not torch.equal(balanced_order(labels, 0, 0), balanced_order(labels, 1, 0))


def test_odd_places_go_round() -> None:
    labels = torch.tensor([0, 1, 2] * 7 + [0])  # 22 places for 3 classes: one of them gets an eighth
    extra = [int(torch.bincount(labels[balanced_order(labels, 0, epoch)]).argmax()) for epoch in range(6)]
    assert sorted(extra) == [0, 0, 1, 1, 2, 2]


def test_orders_stay_what_they_are() -> None:
    """A checkpoint written today must find this order tomorrow."""
    assert balanced_order(torch.tensor([0] * 6 + [1] * 2), seed=1, epoch=2).tolist() == KNOWN_ORDER


KNOWN_ORDER = [7, 7, 4, 0, 1, 2, 6, 6]


@settings(max_examples=50, deadline=None)
@given(order=st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_repeated_samples_have_numbers_of_their_own(order: list[int]) -> None:
    keys = repetitions(torch.tensor(order), 10)
    assert len(set(keys.tolist())) == len(order)
    assert (keys % 10).tolist() == order
    first = {index: place for place, index in reversed(list(enumerate(order)))}
    assert all(int(keys[place]) == index for index, place in first.items())


@pytest.mark.parametrize("sampling", ["shuffled", "balanced"])
def test_what_a_run_is_shown(make_config: Any, made: Any, folder: Any, sampling: str) -> None:
    from striate.data import TensorSamples

    shown: list[int] = []

    class Watched(TensorSamples):
        def fetch(self, indices: Any) -> Any:
            if isinstance(indices, torch.Tensor):
                shown.extend(self.labels[indices].tolist())
            return super().fetch(indices)

    labels = torch.tensor([0] * 40 + [1] * 10 + [2] * 10)
    train = Watched(torch.zeros(60, 1, 4, 4, dtype=torch.uint8), labels)
    config = make_config(sampling=sampling, epochs=1, schedule="constant")
    fit(config, folder, dataset=made(train=train, val=None), reporter=Quiet())
    counted = torch.bincount(torch.tensor(shown[-60:]))
    assert counted.tolist() == ([20, 20, 20] if sampling == "balanced" else [40, 10, 10])
