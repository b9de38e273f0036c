"""Targets beyond one class per sample: several labels, numbers to predict, identities."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from striate.data.class_names import check_class_names
from striate.data.labels import index_labels
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

_SEPARATORS = re.compile(r"[|;]")


def numbers_to_predict(values: npt.NDArray[Any], label: str) -> torch.Tensor:
    """Numbers (N,) or (N, K) as float32 (N, K). Raises `DataError` for other shapes, texts, NaN and infinities.

    >>> numbers_to_predict(np.array([1.5, 2]), "y")
    tensor([[1.5000],
            [2.0000]])
    """
    values = _matrix(values, label)
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise DataError(
            "finite numbers to predict",
            f"{label} with {values[bad][0]} in row {int(np.argwhere(bad)[0][0]) + 1} ({int(bad.sum())} such in all)",
            "Fill them in, or leave the samples out.",
        )
    return torch.from_numpy(numbers)


def labels_to_predict(values: npt.NDArray[Any], label: str) -> torch.Tensor:
    """A column of 0 and 1 per label, (N, K), as float32. Raises `DataError` for any other value.

    >>> labels_to_predict(np.array([[1, 0], [1, 1]]), "y").tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    values = _matrix(values, label)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        raise DataError(
            "0 or 1 for every label of every sample",
            f"{values[wrong][0]} in row {int(np.argwhere(wrong)[0][0]) + 1} of {label}",
            "Write 1 where a label holds, and 0 where it does not.",
        )
    return torch.from_numpy(values.astype(np.float32))


def _matrix(values: npt.NDArray[Any], label: str) -> npt.NDArray[Any]:
    if values.dtype.kind not in "biuf" or values.ndim not in (1, 2) or 0 in values.shape:
        raise DataError(
            "numbers, one row per sample",
            f"{label} of shape {values.shape} and dtype {values.dtype}",
            "Save an array of shape (N,) or (N, K).",
        )
    return values[:, None] if values.ndim == 1 else values


def joined_labels(parts: Mapping[str, Sequence[str]], label: str) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
    """Labels joined by ``|`` or ``;`` as columns of 0 and 1, float32; an empty text has none of them.

    The labels are those of the train part, by letter. Raises `DataError` for others elsewhere, and if there are none.

    >>> names, targets = joined_labels({"train": ["cat|dog", "", "dog"]}, "a.csv")
    >>> names, targets["train"].tolist()
    (('cat', 'dog'), [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    """
    split = {
        part: [{word.strip() for word in _SEPARATORS.split(text)} - {""} for text in texts]
        for part, texts in parts.items()
    }
    names = sorted(set().union(*split["train"]))
    if not names:
        raise DataError("labels joined by | or ;", f"{label} without any in the train part", "Fill them in.")
    check_class_names(names, label)
    place = {name: index for index, name in enumerate(names)}
    targets = {}
    for part, rows in split.items():
        matrix = torch.zeros((len(rows), len(names)))
        for row, words in enumerate(rows):
            unknown = sorted(words - set(place))
            if unknown:
                raise DataError(
                    f"labels among the {len(names)} of the train part",
                    f"{unknown[0]!r} in {label}, part {part}",
                    "Correct the label, or add samples with it to the train part.",
                )
            matrix[row, [place[word] for word in words]] = 1
        targets[part] = matrix
    return tuple(names), targets


def named_targets(names: Sequence[str] | None, count: int, base: str, label: str) -> tuple[str, ...]:
    """Names for ``count`` targets: those given, or ``base`` and numbers. Raises `DataError` for another number of them.

    >>> named_targets(None, 2, "y", "a.npz"), named_targets(None, 1, "y", "a.npz")
    (('y0', 'y1'), ('y',))
    """
    if names is None:
        return (base,) if count == 1 else tuple(f"{base}{index}" for index in range(count))
    if len(names) != count:
        raise DataError(
            f"a name for each of {count} targets", f"{len(names)} names in {label}", "Name every target once."
        )
    return tuple(names)


def identities(
    raw: Mapping[str, npt.NDArray[Any]], names: Sequence[str] | None, source: str
) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
    """Names and indices of identities, those of every part, because nobody has to be in two of them.

    >>> identities({"train": np.array(["ann"]), "test": np.array(["bob"])}, None, "x")
    (('ann', 'bob'), {'train': tensor([0]), 'test': tensor([1])})
    """
    every = np.concatenate([values.reshape(-1) for values in raw.values()])
    known, indices = index_labels({"train": every}, names, {"train": source})
    cuts = np.cumsum([values.size for values in raw.values()])[:-1].tolist()
    return known, dict(zip(raw, indices["train"].tensor_split(cuts), strict=True))
