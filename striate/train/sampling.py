"""In which order an epoch takes the samples, from seed and epoch alone: each once, or every class as often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from striate.train.randomness import epoch_order

if TYPE_CHECKING:
    from torch import Tensor

    from striate.data import Samples


def sampled_order(samples: Samples, sampling: Literal["shuffled", "balanced"], seed: int, epoch: int) -> Tensor:
    """Return the indices of an epoch, as a run's ``sampling`` says."""
    if sampling == "balanced":
        return balanced_order(samples.labels, seed, epoch)
    return epoch_order(len(samples), seed, epoch)


def balanced_order(labels: Tensor, seed: int, epoch: int) -> Tensor:
    """Return an epoch of ``len(labels)`` places in which every class that occurs comes as often, to within one place.

    Rare classes are repeated: all their samples equally often, to within once. Of frequent ones a part is taken, drawn
    anew for each epoch. Classes take turns in having the odd places.

    >>> order = balanced_order(torch.tensor([0] * 9 + [1] * 3), seed=0, epoch=0)
    >>> sorted(order.tolist())[6:]
    [9, 9, 10, 10, 11, 11]
    """
    values = labels.numpy()
    classes = np.unique(values)
    share, odd = divmod(len(values), len(classes))
    chosen = []
    for place, label in enumerate(classes):
        members = np.flatnonzero(values == label)
        wanted = share + ((place - epoch * odd) % len(classes) < odd)
        rounds = -(-wanted // len(members))
        # Whole rounds come in any order, since all is shuffled in the end.
        last = _permutation(len(members), seed, epoch, place)[: wanted - (rounds - 1) * len(members)]
        chosen += [members] * (rounds - 1) + [members[last]]
    drawn = torch.from_numpy(np.concatenate(chosen))
    return drawn[epoch_order(len(drawn), seed, epoch)]


def repetitions(order: Tensor, size: int) -> Tensor:
    """Return a number for each place of an order that is different for each time that a sample is repeated.

    The first time it is the sample's index, the next time ``size`` more, and so on.

    >>> repetitions(torch.tensor([2, 0, 2, 2]), size=3).tolist()
    [2, 0, 5, 8]
    """
    by_sample = order.argsort(stable=True)
    arranged = order[by_sample]
    starts = torch.searchsorted(arranged, arranged)
    times = torch.arange(len(order)) - starts
    keys = torch.empty_like(order)
    keys[by_sample] = arranged + size * times
    return keys


def _permutation(size: int, *key: int) -> np.ndarray:
    # NumPy promises that SeedSequence and PCG64 keep their streams.
    words = np.random.PCG64(np.random.SeedSequence([*key, 1])).random_raw(size)
    return np.argsort(words, kind="stable")
