"""Loading a data set: recognise, read, convert, split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from striate.data.dataset import Dataset
from striate.data.decoding import Decoder
from striate.data.gathering import gather
from striate.data.layout import check_layout
from striate.data.limits import Budget
from striate.data.reader import SPLITS, ReadOptions
from striate.data.registry import recognise
from striate.data.samples import Samples, TensorSamples
from striate.data.source import open_source
from striate.data.splits import check_fractions, check_seed, stratified_split
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def load_data(
    source: str | Path,
    *,
    seed: int = 0,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
    skip_corrupt: bool = False,
    memory_limit: int | None = None,
    layout: str | None = None,
) -> Dataset:
    """Load a labelled data set from a file, a folder, an archive or a built-in name, whatever its kind.

    Parts that the source has are kept. A missing test or validation part is split off the training part: that fraction
    of it, class by class, drawn with ``seed``; a fraction of 0 gives no such part. ``channels`` (1 or 3) converts
    between grey and colour, ``image_size`` resizes (see `striate.data.conversion`), ``layout`` names the axes of arrays
    (see `striate.data.layout`).

    The decoded set is kept in memory if it fits into ``memory_limit`` bytes, by default half of the free memory;
    otherwise files are decoded when they are fetched, with the same results. Sets that are stored as arrays must fit.

    Raises `DataError` naming the file for anything that cannot be used. With ``skip_corrupt`` damaged files are left
    out instead, with a `SkippedFileWarning` of their number, and listed in ``Dataset.skipped``.

    >>> dataset = load_data("digits28", val_fraction=0)
    >>> dataset.train.item_shape, dataset.val, len(dataset.test)
    ((1, 28, 28), None, 359)
    """
    check_fractions(val_fraction, test_fraction)
    check_seed(seed)
    if channels not in (None, 1, 3):
        raise DataError(
            "channels of 1 (grey) or 3 (colour)", f"channels={channels!r}", "Leave it out to keep what is stored."
        )
    if layout is not None:
        check_layout(layout)
    budget = Budget(memory_limit)
    opened = open_source(source, budget)
    reader, reason = recognise(opened)
    collection = reader.read(opened, ReadOptions(budget, layout))
    if len(collection.classes) < 2:
        raise DataError(
            "at least two classes",
            f"{opened.label} with only {', '.join(collection.classes) or 'none'}",
            "Classification needs samples of two classes or more.",
        )
    # What is neither a size nor sizes is told of where the number of axes is known.
    size: Any = tuple(image_size) if isinstance(image_size, Iterable) else image_size
    decoder = Decoder(channels, size, layout)
    made = gather(collection, decoder, skip_corrupt, budget, opened.label)
    _check_classes(made.parts["train"], collection.classes, opened.label)
    parts = _split(made.parts, val_fraction, test_fraction, seed)
    return Dataset(
        source=opened.label,
        kind=collection.kind,
        reason=reason,
        classes=collection.classes,
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        value_scale=made.value_scale,
        official=tuple(split for split in SPLITS if split in made.parts) if len(made.parts) > 1 else (),
        stored_sizes=made.stored_sizes,
        skipped=tuple(made.skipped),
        ignored=collection.ignored,
        in_memory=all(isinstance(part, TensorSamples) for part in parts.values()),
    )


def _check_classes(train: Samples, classes: tuple[str, ...], label: str) -> None:
    counts = torch.bincount(train.labels, minlength=len(classes))
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count == 0:
            raise DataError(
                "training samples of every class",
                f"{label} without any of class {name!r}",
                "Add samples of it, or remove the class.",
            )


def _split(parts: dict[str, Samples], val_fraction: float, test_fraction: float, seed: int) -> dict[str, Samples]:
    wanted = {"test": test_fraction, "val": val_fraction}
    missing = {name: fraction for name, fraction in wanted.items() if name not in parts and fraction > 0}
    if not missing:
        return parts
    train = parts["train"]
    *drawn, rest = stratified_split(train.labels, list(missing.values()), seed)
    split = {name: train.subset(indices) for name, indices in zip(missing, drawn, strict=True) if len(indices)}
    return {**parts, **split, "train": train.subset(rest)}
