"""Splitting off validation and test parts, class by class, the same on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Check that both lie in [0, 1) and leave something to train on. Raises `DataError`."""
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise DataError(
                f"{name} of at least 0 and below 1", f"{name}={value!r}", "Use 0.1 for a tenth, 0 for none."
            )
    if val_fraction + test_fraction >= 1:
        raise DataError(
            "val_fraction and test_fraction that leave a part to train on",
            f"{val_fraction} + {test_fraction}",
            "Lower one of them.",
        )


def check_seed(seed: int) -> int:
    """Check that the seed is a whole number from 0 to 2**32 - 1. Raises `DataError`."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise DataError("a seed from 0 to 4294967295", f"seed={seed!r}", "Use a whole number such as 0.")
    return seed


def stratified_split(labels: torch.Tensor, fractions: Sequence[float], seed: int) -> list[torch.Tensor]:
    """Draw one set of indices per fraction, and the rest last; each is sorted, and together they are all samples.

    Every class gives its share to each set, to within one sample, and the sets have the rounded total size as far as
    every class keeps at least one sample in the rest. The draw depends on ``labels`` and ``seed`` alone. Raises
    `DataError` for a seed out of range.

    >>> labels = torch.tensor([0] * 10 + [1] * 5)
    >>> test, rest = stratified_split(labels, [0.2], seed=0)
    >>> labels[test].bincount().tolist(), labels[rest].bincount().tolist()
    ([2, 1], [8, 4])
    """
    check_seed(seed)
    values = labels.numpy()
    classes, counts = np.unique(values, return_counts=True)
    quotas = []
    left = counts - 1
    for fraction in fractions:
        quota = np.minimum(_shares(counts, fraction), left)
        left = left - quota
        quotas.append(quota)
    drawn: list[list[np.ndarray]] = [[] for _ in range(len(fractions) + 1)]
    for place, label in enumerate(classes):
        # NumPy promises the stream of RandomState never to change; that of its newer generators may.
        order = np.random.RandomState([seed, int(label)]).permutation(np.flatnonzero(values == label))
        cuts = np.cumsum([quota[place] for quota in quotas])
        for group, indices in zip(drawn, np.split(order, cuts), strict=True):
            group.append(indices)
    return [torch.from_numpy(np.sort(np.concatenate(group)).astype(np.int64)) for group in drawn]


def grouped_split(groups: torch.Tensor, fractions: Sequence[float], seed: int) -> list[torch.Tensor]:
    """Draw whole groups for each fraction, and the rest last, so that no subject is on two sides.

    Like `stratified_split`, but groups are drawn in an order that the seed decides, each set taking groups as long as
    that brings its number of samples nearer to its share; a set with a share above 0 gets at least one group, as far as
    one is left for the rest.

    >>> groups = torch.tensor([7, 7, 3, 3, 5, 5])
    >>> drawn, rest = grouped_split(groups, [0.3], seed=0)
    >>> groups[drawn].unique().numel(), groups[rest].unique().numel()
    (1, 2)
    """
    check_seed(seed)
    values = groups.numpy()
    names, counts = np.unique(values, return_counts=True)
    waiting = list(np.random.RandomState(seed).permutation(len(names)))
    sets: list[list[int]] = []
    for fraction in fractions:
        share, size, taken = fraction * len(values), 0, list[int]()
        while fraction > 0 and len(waiting) > 1:
            count = int(counts[waiting[0]])
            if taken and abs(size + count - share) >= abs(size - share):
                break
            size += count
            taken.append(int(waiting.pop(0)))
        sets.append(taken)
    sets.append([int(place) for place in waiting])
    return [torch.from_numpy(np.flatnonzero(np.isin(values, names[taken]))) for taken in sets]


def folds(
    labels: torch.Tensor | None, groups: torch.Tensor | None, count: int, seed: int, size: int
) -> list[torch.Tensor]:
    """Cut ``size`` samples into ``count`` folds for cross-validation: whole groups, or class by class, or at random.

    The folds are of as equal sizes as that allows. With as many folds as groups each leaves one subject out. Raises
    `DataError` for fewer than two folds and for more folds than samples or groups.

    >>> [fold.tolist() for fold in folds(None, torch.tensor([1, 1, 2, 3]), 3, seed=0, size=4)]
    [[0, 1], [3], [2]]
    """
    check_seed(seed)
    units = size if groups is None else len(np.unique(groups.numpy()))
    if type(count) is not int or not 2 <= count <= units:
        raise DataError(
            f"from 2 to {units} folds, the number of {'samples' if groups is None else 'groups'}",
            f"{count!r} folds",
            "Use 5 or 10.",
        )
    random = np.random.RandomState(seed)
    place = np.empty(size, dtype=np.int64)
    if groups is not None:
        names, inverse, counts = np.unique(groups.numpy(), return_inverse=True, return_counts=True)
        # The largest first, each into the fold that has least; equals in an order of the seed.
        order = random.permutation(len(names))
        filled, fold_of = np.zeros(count, dtype=np.int64), np.empty(len(names), dtype=np.int64)
        for group in order[np.argsort(-counts[order], kind="stable")]:
            fold_of[group] = filled.argmin()
            filled[fold_of[group]] += counts[group]
        place = fold_of[inverse]
    else:
        order = random.permutation(size)
        if labels is not None:
            order = order[np.argsort(labels.numpy()[order], kind="stable")]
        place[order] = np.arange(size) % count
    return [torch.from_numpy(np.flatnonzero(place == fold)) for fold in range(count)]


def _shares(counts: np.ndarray, fraction: float) -> np.ndarray:
    # Largest remainders: every class gets its share rounded down, and the classes that lost most get one more until
    # the total is right. Ties go to the first class.
    exact = counts * fraction
    shares = np.floor(exact + 1e-9).astype(np.int64)
    missing = round(float(counts.sum() * fraction)) - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[: max(missing, 0)]] += 1
    return shares
