"""Loading a data set: recognise, read, convert, split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from striate.data.dataset import Dataset, Normalise, Task
from striate.data.decoding import Decoder
from striate.data.file_kinds import file_kinds
from striate.data.gathering import gather
from striate.data.layout import check_layout
from striate.data.limits import Budget
from striate.data.options import Option, resolve
from striate.data.reader import SPLITS, ArrayPart, Collection, FilePart, Reader, ReadOptions
from striate.data.registry import recognise
from striate.data.samples import RelabelledSamples, Samples
from striate.data.source import open_source
from striate.data.splits import check_fractions, check_seed, folds, grouped_split, stratified_split
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
    fit: Literal["resize", "pad"] = "resize",
    normalise: Normalise | None = None,
    fold: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    shortest: int = 1,
    reading: Mapping[str, Any] | None = None,
) -> Dataset:
    """Load a labelled data set from a file, a folder, an archive or a built-in name, whatever its kind.

    Parts that the source has are kept. A missing test or validation part is split off the training part: that fraction
    of it, class by class, drawn with ``seed``; a fraction of 0 gives no such part. Where the source says of whom
    samples are, whole subjects are drawn. With ``fold`` (k, n) the k-th (from 0) of n folds is the test part, and a
    test part of the source itself is left out. ``channels`` (1 or 3) converts between grey and colour, ``image_size``
    resizes (see `striate.data.conversion`) or, with ``fit`` "pad", cuts and fills up with zeros around the middle;
    ``layout`` names the axes of arrays (see `striate.data.layout`). ``normalise`` takes the place of what the kind of
    source proposes (see `Dataset`). ``options`` are those of the kind of source, and of the kinds of files in it.
    ``shortest`` is how many tokens a network takes at least: shorter texts are filled up. ``reading`` is that of
    another `Dataset` whose network is to see this one: texts become tokens of its vocabulary, sounds get its rate.

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
    if fit not in ("resize", "pad"):
        raise DataError("fit of 'resize' or 'pad'", f"fit={fit!r}", "Leave it out to resize.")
    if normalise is not None and normalise not in get_args(Normalise):
        words = ", ".join(map(repr, get_args(Normalise)))
        raise DataError(f"normalise to be one of {words}", f"normalise={normalise!r}", "Leave it out for the usual.")
    opened = open_source(source, budget)
    reader, reason = recognise(opened)
    # What is neither a size nor sizes is told of where the number of axes is known.
    size: Any = tuple(image_size) if isinstance(image_size, Iterable) else image_size
    own = _own_options(reader, options or {})
    same = reading if reading and reading.get("kind") == reader.kind else {}
    collection = reader.read(
        opened, ReadOptions(budget, layout, own, channels, size, fit, skip_corrupt, seed, shortest, same)
    )
    _check_count(collection, opened.label)
    of_files = _file_options(collection, reader, options or {}, reading or {})
    decoder = Decoder(channels, size, fit, {"layout": layout, **of_files})
    made = gather(collection, decoder, skip_corrupt, budget, opened.label)
    if collection.task == "classification":
        _check_classes(made.parts["train"], collection.classes, opened.label)
    parts = _split(made.parts, val_fraction, test_fraction, seed, collection.task, fold)
    if collection.settle is not None:
        collection = collection.settle(parts)
        parts = {split: part for split, part in collection.parts.items() if not isinstance(part, ArrayPart | FilePart)}
    classes = collection.classes
    if collection.task == "verification":
        classes, parts = _trained_first(classes, parts)
    return Dataset(
        source=opened.label,
        kind=collection.kind,
        reason=reason,
        classes=classes,
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        value_scale=made.value_scale,
        official=tuple(split for split in SPLITS if split in made.parts) if len(made.parts) > 1 and not fold else (),
        stored_sizes=made.stored_sizes,
        skipped=tuple(made.skipped),
        ignored=collection.ignored,
        in_memory=all(part.in_memory for part in parts.values()),
        task=collection.task,
        input_kind=collection.input_kind,
        vocabulary=collection.vocabulary,
        void=collection.void,
        normalise=normalise or _proposed(collection),
        reading={"kind": collection.kind, "fit": fit, **own, **of_files, **collection.reading},
        vectors=collection.vectors,
    )


def _own_options(reader: Reader, given: Mapping[str, Any]) -> dict[str, Any]:
    ours = {option.name for option in reader.options}
    foreign = {option.name for option in _options_of_files()} - ours
    return resolve({name: value for name, value in given.items() if name not in foreign}, reader.options, reader.kind)


def _options_of_files() -> list[Option]:
    # The layout is an argument of its own, because it is for arrays of many samples too.
    return [option for kind in file_kinds() for option in kind.options if option.name != "layout"]


def _file_options(
    collection: Collection, reader: Reader, given: Mapping[str, Any], reading: Mapping[str, Any]
) -> dict[str, Any]:
    """The options for files that were given, or are those of ``reading``, if files of the collection take them."""
    files = [file for part in collection.parts.values() if isinstance(part, FilePart) for file in part.files]
    suffixes = {file.suffix for file in files}
    kinds = [kind for kind in file_kinds() if suffixes & set(kind.suffixes)]
    known = [option for kind in kinds for option in kind.options if option.name != "layout"]
    ours = {option.name for option in reader.options}
    theirs = {option.name: reading.get(option.name) for option in known}
    wanted = {name: value for name, value in {**theirs, **given}.items() if value is not None and name not in ours}
    resolved = resolve(wanted, known, f"the files of a {collection.kind} source")
    found = {name: value for name, value in resolved.items() if name in wanted}
    for kind in kinds:
        if kind.agree is not None:
            found |= kind.agree([file for file in files if file.suffix in kind.suffixes], resolved)
    return found


def _proposed(collection: Collection) -> Normalise:
    """What files propose, all of them alike, or else the reader."""
    suffixes = {file.suffix for part in collection.parts.values() if isinstance(part, FilePart) for file in part.files}
    words = {kind.normalise for kind in file_kinds() if suffixes & set(kind.suffixes)}
    return words.pop() if len(words) == 1 else collection.normalise


def _check_count(collection: Collection, label: str) -> None:
    fewest = 2 if collection.task in ("classification", "segmentation", "verification") else 1
    if len(collection.classes) < fewest:
        raise DataError(
            "at least two classes" if fewest == 2 else "at least one label or number to predict",
            f"{label} with only {', '.join(collection.classes) or 'none'}",
            f"{collection.task.capitalize()} needs samples of {'two classes' if fewest == 2 else 'one'} or more.",
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


def _split(
    parts: dict[str, Samples],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    task: Task,
    fold: Sequence[int] | None,
) -> dict[str, Samples]:
    train = parts["train"]
    if fold is not None:
        place, count = _checked_fold(fold)
        drawn = folds(_classes_of(train, task), _subjects_of(train, task), count, seed, len(train))
        rest = torch.cat([indices for other, indices in enumerate(drawn) if other != place]).sort().values
        parts = {**parts, "train": train.subset(rest), "test": train.subset(drawn[place])}
        train = parts["train"]
    wanted = {"test": test_fraction, "val": val_fraction}
    missing = {name: fraction for name, fraction in wanted.items() if name not in parts and fraction > 0}
    if not missing:
        return parts
    subjects, classes = _subjects_of(train, task), _classes_of(train, task)
    if subjects is not None:
        *sets, rest = grouped_split(subjects, list(missing.values()), seed)
    else:
        labels = torch.zeros(len(train), dtype=torch.int64) if classes is None else classes
        *sets, rest = stratified_split(labels, list(missing.values()), seed)
    split = {name: train.subset(indices) for name, indices in zip(missing, sets, strict=True) if len(indices)}
    return {**parts, **split, "train": train.subset(rest)}


def _trained_first(classes: tuple[str, ...], parts: dict[str, Samples]) -> tuple[tuple[str, ...], dict[str, Samples]]:
    """Renumber identities so that those of the training part come first."""
    trained = sorted(set(parts["train"].labels.tolist()))
    order = [*trained, *sorted(set(range(len(classes))) - set(trained))]
    mapping = torch.tensor(order).argsort()
    renamed = tuple(classes[place] for place in order)
    return renamed, {split: RelabelledSamples(samples, mapping) for split, samples in parts.items()}


def _classes_of(train: Samples, task: Task) -> torch.Tensor | None:
    return train.labels if task == "classification" else None


def _subjects_of(train: Samples, task: Task) -> torch.Tensor | None:
    # Who was learned cannot be verified: whole identities are held out.
    return train.labels if task == "verification" and train.groups is None else train.groups


def _checked_fold(fold: Any) -> tuple[int, int]:
    whole = isinstance(fold, tuple | list) and len(fold) == 2 and all(type(each) is int for each in fold)
    if not whole or not 0 <= fold[0] < fold[1]:
        raise DataError(
            "fold to be (k, n), the k-th of n folds from 0", f"fold={fold!r}", "Use (0, 5) for the first of five."
        )
    return fold[0], fold[1]
