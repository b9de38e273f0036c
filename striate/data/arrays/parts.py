"""From named arrays to a collection: inputs in memory or on disk, targets of every task, subjects and their parts.

Without the option ``task`` targets are classes, or masks where they have the axes of the inputs. ``task`` says that
they are several labels (a column of 0 and 1 each), numbers to predict (one column or several) or identities. Subjects
come from an array ``subject`` or ``subjects``, or the one that the option names; where they are known whole subjects
are drawn into parts, or go where ``test_subjects`` and ``val_subjects`` say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from striate.data.arrays.stored import StoredArray, StoredSamples
from striate.data.class_names import check_class_names
from striate.data.conversion import convert_channels, target_size
from striate.data.labels import check_counts, index_labels, texts
from striate.data.layout import as_samples, find_layout
from striate.data.options import Option, one_of, text, whole_number
from striate.data.reader import ArrayPart, Collection, ReadOptions
from striate.data.samples import TensorSamples
from striate.data.segmentation.masks import ClassTable, Lookup, Mask, fit_pair, found_classes
from striate.data.subjects import SUBJECT_OPTIONS, number_over_parts, split_by_subjects
from striate.data.targets import identities, labels_to_predict, named_targets, numbers_to_predict
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from striate.data.dataset import Task
    from striate.data.reader import Part

TASKS: tuple[Task, ...] = ("classification", "multi-label", "regression", "segmentation", "verification")

ARRAY_OPTIONS = (
    Option("task", None, "what targets are, where they are not classes or masks", *one_of(*TASKS)),
    Option("label", None, "the array of targets, if it is called otherwise than documented", *text()),
    Option("subject", None, "the array that says of whom each sample is", *text()),
    *SUBJECT_OPTIONS,
    Option("void", None, "the number in masks of positions that are ignored", *whole_number(0, 2**24)),
)

INPUTS = ("x", "X", "images", "data", "inputs")
"""What inputs are called where the option names the targets."""

_SUBJECTS = ("subject", "subjects")


class Arrays(Protocol):
    """Arrays by name."""

    names: frozenset[str]

    def get(self, name: str) -> npt.NDArray[Any]:
        """Read one of them within the budget."""

    def label(self, name: str) -> str:
        """What to call one in messages."""

    def stored(self, name: str) -> StoredArray | None:
        """Where its values lie on disk, if its rows can be read one by one."""


@dataclass(frozen=True)
class _Rows:
    """Names of samples by the array they are from and their row in it."""

    base: str
    rows: tuple[int, ...] | None = None

    def __call__(self, index: int) -> str:
        return f"{self.base}[{index if self.rows is None else self.rows[index]}]"


def collect_arrays(
    kind: str, source: str, arrays: Arrays, pairs: Mapping[str, tuple[str, str]], options: ReadOptions
) -> Collection:
    """Make a collection of the arrays that ``pairs`` names for each part, inputs first.

    Inputs that do not fit into memory are left on disk where they can be. Raises `DataError` for arrays that do not fit
    each other or the task.
    """
    labels = {split: arrays.label(pair[1]) for split, pair in pairs.items()}
    inputs, raw, layout = _read(arrays, pairs, options)
    task = options.own.get("task") or _task(raw["train"], layout)
    subjects = _subjects(arrays, pairs, options.own, {split: len(values) for split, values in raw.items()})
    names = _names(arrays)
    void: int | None = None
    masks: dict[str, torch.Tensor] = {}
    targets: dict[str, torch.Tensor] = {}
    if task == "segmentation":
        classes, void, masks = _masks(raw, labels, names, options.own.get("void"), source)
    else:
        classes, targets = _targets(task, raw, labels, names, source)
    groups = number_over_parts(subjects, source) if subjects else {}
    parts: dict[str, Part] = {}
    for split, (image, _) in pairs.items():
        found = inputs[split]
        if task == "segmentation":
            if isinstance(found, StoredArray):
                # Masks of what does not fit would not fit either; shards hold such sets.
                found = as_samples(arrays.get(image), layout, arrays.label(image))
            parts[split] = _with_masks(found, masks[split], image, void, options, groups.get(split), labels[split])
        elif isinstance(found, StoredArray):
            parts[split] = StoredSamples.wanted(found, layout, targets[split], image, options, groups=groups.get(split))
        else:
            parts[split] = ArrayPart(found, targets[split], _Rows(image), groups.get(split))
    if any(options.own.get(option.name) is not None for option in SUBJECT_OPTIONS):
        parts = _held_out(parts, subjects, options.own, source)
    scale = 255.0 if inputs["train"].dtype in (torch.uint8, np.uint8) else 1.0
    return Collection(kind, classes, parts, scale, task=task, void=void)


def _read(
    arrays: Arrays, pairs: Mapping[str, tuple[str, str]], options: ReadOptions
) -> tuple[dict[str, torch.Tensor | StoredArray], dict[str, npt.NDArray[Any]], str]:
    """Inputs, targets as they are, and the layout."""
    stored = {split: arrays.stored(image) for split, (image, _) in pairs.items()}
    known = {split: array for split, array in stored.items() if array is not None}
    on_disk = len(known) == len(pairs) and sum(array.nbytes for array in known.values()) > options.budget.left
    found: dict[str, torch.Tensor | StoredArray] = {}
    raw: dict[str, npt.NDArray[Any]] = {}
    layout = options.layout
    for split, (image, target) in pairs.items():
        label = arrays.label(image)
        values = known[split] if on_disk else arrays.get(image)
        raw[split] = arrays.get(target)
        if values.dtype.kind not in "biuf" or not values.shape:
            raise DataError("an array of numbers", f"{label} of dtype {values.dtype}", "Save numbers.")
        count = len(raw[split]) if raw[split].ndim else 0
        check_counts(values.shape[0], count, label, arrays.label(target))
        layout = layout or find_layout(values.shape, label)
        found[split] = values if isinstance(values, StoredArray) else as_samples(values, layout, label)
    return found, raw, layout or ""


def _names(arrays: Arrays) -> list[str] | None:
    if "classes" not in arrays.names:
        return None
    names = [str(name) for name in texts(arrays.get("classes").reshape(-1), arrays.label("classes")).tolist()]
    check_class_names(names, arrays.label("classes"))
    return names


def _task(targets: npt.NDArray[Any], layout: str) -> Task:
    spatial = len(layout.replace("C", "")) - 1
    masked = targets.ndim == spatial + 1 and spatial > 1 and targets.dtype.kind in "biu" and 1 not in targets.shape[1:]
    return "segmentation" if masked else "classification"


def _subjects(
    arrays: Arrays, pairs: Mapping[str, tuple[str, str]], own: Mapping[str, Any], counts: Mapping[str, int]
) -> dict[str, list[str]]:
    given = own.get("subject")
    found = {}
    for split, (image, _) in pairs.items():
        # x_train has its subjects in subject_train, train_images in train_subject.
        wanted = [given] if given is not None else list(_SUBJECTS)
        spelled = [
            name
            for word in wanted
            for name in (*([word] if len(pairs) == 1 else []), *(image.replace(key, word) for key in INPUTS))
            if name in arrays.names and name != image
        ]
        if not spelled:
            continue
        values = arrays.get(spelled[0])
        if values.shape != (counts[split],):
            raise DataError(
                f"a subject for each of {counts[split]} samples",
                f"{arrays.label(spelled[0])} of shape {values.shape}",
                "Save one entry per sample.",
            )
        found[split] = [str(name) for name in texts(values, arrays.label(spelled[0])).tolist()]
    if (given is not None or found) and len(found) < len(pairs):
        raise DataError(
            f"an array {given or next(iter(_SUBJECTS))} of subjects for every part",
            f"arrays {', '.join(sorted(arrays.names)[:20])}",
            "Name it with the option subject, and add it for every part.",
        )
    return found


def _targets(
    task: Task,
    raw: Mapping[str, npt.NDArray[Any]],
    labels: Mapping[str, str],
    names: Sequence[str] | None,
    source: str,
) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
    if task == "classification":
        return index_labels(raw, names, labels)
    if task == "verification":
        return identities(raw, names, source)
    make = numbers_to_predict if task == "regression" else labels_to_predict
    targets = {split: make(values, labels[split]) for split, values in raw.items()}
    counts = {targets[split].shape[1] for split in targets}
    if len(counts) > 1:
        raise DataError("as many targets in every part", f"{source} with {sorted(counts)}", "Save the same columns.")
    return named_targets(names, counts.pop(), "y", source), targets


def _masks(
    raw: Mapping[str, npt.NDArray[Any]],
    labels: Mapping[str, str],
    names: Sequence[str] | None,
    void: int | None,
    source: str,
) -> tuple[tuple[str, ...], int | None, dict[str, torch.Tensor]]:
    for split, values in raw.items():
        if values.dtype.kind not in "biu" or (values.dtype.kind == "i" and (values < 0).any()):
            raise DataError(
                "label ids that are whole numbers from 0", f"{labels[split]} of {values.dtype}", "Save them as uint8."
            )
    if names is not None:
        table = ClassTable(tuple(names), tuple(range(len(names))))
    else:
        table = found_classes((n for values in raw.values() for n in np.unique(values)), void, f"masks of {source}")
    lookup = Lookup(table, void)
    masks = {
        split: torch.stack([lookup(Mask(torch.from_numpy(one.astype(np.int64))), labels[split]) for one in values])
        for split, values in raw.items()
    }
    return lookup.names, lookup.void, masks


def _with_masks(
    inputs: torch.Tensor,
    masks: torch.Tensor,
    image: str,
    void: int | None,
    options: ReadOptions,
    groups: torch.Tensor | None,
    label: str,
) -> TensorSamples:
    if inputs.shape[2:] != masks.shape[1:]:
        raise DataError(
            f"masks of the size of their inputs, {tuple(inputs.shape[2:])}",
            f"{label} of shape {tuple(masks.shape)}",
            "Save one number for every position.",
        )
    inputs = convert_channels(inputs, options.channels, image)
    size = target_size(options.image_size, inputs.ndim - 2)
    if size is not None:
        fill = 0 if void is None else void
        pairs = [fit_pair(one, mask, size, options.fit, fill) for one, mask in zip(inputs, masks, strict=True)]
        inputs, masks = torch.stack([one for one, _ in pairs]), torch.stack([mask for _, mask in pairs])
    return TensorSamples(inputs, masks, _Rows(image), groups=groups)


def _held_out(
    parts: Mapping[str, Part], subjects: Mapping[str, list[str]], own: Mapping[str, Any], source: str
) -> dict[str, Part]:
    if len(parts) > 1 or not subjects:
        raise DataError(
            "one array of samples and an array of their subjects to hold subjects out of",
            f"{source} with {'parts of its own' if len(parts) > 1 else 'no subjects'}",
            "Name the array with the option subject, or leave test_subjects and val_subjects out.",
        )
    whole = parts["train"]
    rows = split_by_subjects(subjects["train"], own, source)
    made: dict[str, Part] = {}
    for split, places in rows.items():
        chosen = torch.tensor(places, dtype=torch.int64)
        if isinstance(whole, ArrayPart):
            made[split] = ArrayPart(
                whole.inputs[chosen],
                whole.labels[chosen],
                _Rows(whole.name.base if isinstance(whole.name, _Rows) else "x", tuple(places)),
                None if whole.groups is None else whole.groups[chosen],
            )
        elif isinstance(whole, TensorSamples | StoredSamples):
            made[split] = whole.subset(chosen)
    return made
