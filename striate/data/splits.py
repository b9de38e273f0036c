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


def _shares(counts: np.ndarray, fraction: float) -> np.ndarray:
    # Largest remainders: every class gets its share rounded down, and the classes that lost most get one more until
    # the total is right. Ties go to the first class.
    exact = counts * fraction
    shares = np.floor(exact + 1e-9).astype(np.int64)
    missing = round(float(counts.sum() * fraction)) - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[: max(missing, 0)]] += 1
    return shares
