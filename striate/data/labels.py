"""From the labels a source holds to class names and indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def index_labels(
    parts: Mapping[str, npt.NDArray[Any]], names: Sequence[str] | None, labels: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
    """Turn labels per part into class names and int64 indices per part; ``labels`` says where each part is from.

    Whole numbers from 0 index into ``names`` where there are names. Without names the classes are the labels that occur
    in the train part, in order: numbers by value, texts by letter. Labels are (N,) or (N, 1). Raises `DataError` for
    labels of another shape or kind, out of range, or that the train part does not have.

    >>> parts = {"train": np.array([3, 1, 3]), "test": np.array([1])}
    >>> classes, indices = index_labels(parts, None, {"train": "y_train.npy", "test": "y_test.npy"})
    >>> classes, indices["train"].tolist(), indices["test"].tolist()
    (('1', '3'), [1, 0, 1], [0])
    """
    flat = {split: _flat(values, labels[split]) for split, values in parts.items()}
    if names is not None and all(values.dtype.kind == "i" for values in flat.values()):
        return tuple(names), {split: _in_range(values, len(names), labels[split]) for split, values in flat.items()}
    known = np.unique(flat["train"]) if names is None else np.array(list(names))
    indices = {}
    for split, values in flat.items():
        if values.dtype.kind != known.dtype.kind:
            raise DataError(
                "labels of one kind, all numbers or all texts", f"{labels[split]} with both", "Write them alike."
            )
        order = np.argsort(known)
        places = np.minimum(np.searchsorted(known, values, sorter=order), len(known) - 1)
        wrong = known[order[places]] != values
        if wrong.any():
            raise DataError(
                f"labels among the {len(known)} classes {'of the train part' if names is None else 'that are named'}",
                f"{values[wrong][0]!s} in {labels[split]}, {int(wrong.sum())} in all",
                "Correct the labels, or add samples of that class to the train part.",
            )
        indices[split] = torch.from_numpy(order[places].astype(np.int64))
    return tuple(str(value) for value in known), indices


def _flat(values: npt.NDArray[Any], label: str) -> npt.NDArray[Any]:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(
            "one label per sample, of shape (N,) or (N, 1)",
            f"{label} of shape {values.shape}",
            "Turn one-hot rows into numbers with argmax(axis=1).",
        )
    if values.dtype.kind in "US":
        return texts(values, label)
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    if (whole != values).any() or (whole < 0).any():
        wrong = values[(whole != values) | (whole < 0)][0]
        raise DataError("labels that are whole numbers from 0", f"{wrong!s} in {label}", "Number the classes from 0.")
    return whole


def texts(values: npt.NDArray[Any], label: str) -> npt.NDArray[Any]:
    """Decode an array of bytes as UTF-8 and leave any other as it is. Raises `DataError` for what is no Unicode.

    >>> texts(np.array([b"cat"]), "y")
    array(['cat'], dtype='<U3')
    """
    try:
        decoded = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        decoded.tolist()
    except ValueError as error:
        raise DataError("labels in valid Unicode or UTF-8", f"{label}: {error}", "Write the labels again.") from error
    return decoded


def _in_range(values: npt.NDArray[Any], classes: int, label: str) -> torch.Tensor:
    wrong = values >= classes
    if wrong.any():
        raise DataError(
            f"labels from 0 to {classes - 1}, one of {classes} classes",
            f"{values[wrong][0]} in {label}, {int(wrong.sum())} such labels in all",
            "Correct the labels, or name every class.",
        )
    return torch.from_numpy(values)


def check_counts(images: int, labels: int, image_label: str, label_label: str) -> None:
    """Check that there are as many labels as samples, and at least one. Raises `DataError`."""
    if images != labels or not images:
        raise DataError(
            "one label for every sample, and at least one sample",
            f"{images} samples in {image_label}, {labels} labels in {label_label}",
            "Use the two files that belong together.",
        )
