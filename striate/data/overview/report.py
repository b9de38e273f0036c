"""What a data set is and what is wrong with it, as plain data."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from striate.data.dataset import Dataset, SkippedFile, Task
from striate.data.gathering import SkippedFileWarning
from striate.data.loading import load_data
from striate.data.overview.summaries import (
    LabelSummary,
    MaskSummary,
    NumberSummary,
    SharedSubjects,
    Spread,
    SubjectSummary,
    TokenSummary,
    label_summaries,
    mask_summary,
    number_summaries,
    shared_subjects,
    subject_summaries,
    token_summary,
)
from striate.data.preprocessing import Preprocessing
from striate.units import readable_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from striate.data.samples import Samples

FEW = 10
"""Classes with fewer training samples are warned of."""

UNBALANCED = 5.0
"""Data sets whose largest class has more than this many times the samples of the smallest are warned of."""

_CHUNK_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Samples with exactly the same values: their names, the part and the class of each, in one order."""

    names: tuple[str, ...]
    parts: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def crosses_parts(self) -> bool:
        """Whether a part that is evaluated on shares the sample with another one."""
        return len(set(self.parts)) > 1

    @property
    def labels_differ(self) -> bool:
        """Whether the same sample is in several classes."""
        return len(set(self.classes)) > 1


@dataclass(frozen=True, slots=True)
class DataReport:
    """Everything that ``striate data`` prints.

    ``counts`` are samples per part and class or label (for masks those with the class in them), ``sizes`` samples per
    part; ``official`` names the parts that come from the source; ``stored_sizes`` are (size, number) pairs before
    resizing; ``value_range`` is over all parts; ``mean`` and ``std`` are per channel, of the training part, in units of
    ``value_scale``; ``memory_bytes`` is the size of all decoded samples.
    ``duplicates`` are groups of equal samples that cross parts or have different labels, ``repeats`` counts the others;
    texts with unknown words are not compared, for these could be different words.

    What there is beyond that depends on the data: ``lengths`` of signals and texts as stored, ``tokens`` of texts,
    ``numbers`` to predict by name and part, ``masks`` and ``labels_held`` by part, ``subjects`` by part (for
    verification the identities), and ``shared_subjects``, who are on two sides of a split.
    """

    source: str
    kind: str
    reason: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    official: tuple[str, ...]
    spatial_dims: int
    channels: int
    input_size: tuple[int, ...]
    stored_sizes: tuple[tuple[tuple[int, ...], int], ...]
    dtype: str
    value_scale: float
    value_range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    memory_bytes: int
    in_memory: bool
    duplicates: tuple[Duplicate, ...]
    repeats: int
    corrupt: tuple[SkippedFile, ...]
    ignored: tuple[str, ...]
    warnings: tuple[str, ...]
    task: Task = "classification"
    input_kind: str = "values"
    normalise: str = "dataset"
    sizes: dict[str, int] = field(default_factory=dict)
    lengths: Spread | None = None
    tokens: TokenSummary | None = None
    numbers: dict[str, dict[str, NumberSummary]] = field(default_factory=dict)
    masks: dict[str, MaskSummary] = field(default_factory=dict)
    labels_held: dict[str, LabelSummary] = field(default_factory=dict)
    subjects: dict[str, SubjectSummary] = field(default_factory=dict)
    shared_subjects: tuple[SharedSubjects, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain lists, texts and numbers, for JSON."""
        plain = asdict(self)
        plain["corrupt"] = [{"name": name, "reason": reason} for name, reason in self.corrupt]
        return plain


def describe(source: str | Path | Dataset, **options: Any) -> DataReport:
    """Look through a whole data set. ``options`` are those of `load_data`; a loaded data set is taken as it is.

    Damaged files are always left out and listed. Equal samples are found by a hash of their decoded values. Raises
    `DataError` as `load_data` does for everything else.

    >>> report = describe("digits")
    >>> report.counts["test"]["0"], report.value_range, len(report.duplicates)
    (36, (0.0, 16.0), 0)
    """
    dataset = source if isinstance(source, Dataset) else load_leniently(source, **options)
    preprocessing = Preprocessing.fit(dataset)
    survey = _survey(dataset)
    counts = {name: _counts(part, dataset, survey.masks.get(name)) for name, part in dataset.parts.items()}
    stored = Counter[int]()
    for size, count in dataset.stored_sizes.items():
        if len(size) == 1:
            stored[size[0]] += count
    report = DataReport(
        source=dataset.source,
        kind=dataset.kind,
        reason=dataset.reason,
        classes=dataset.classes,
        counts=counts,
        official=dataset.official,
        spatial_dims=dataset.spatial_dims,
        channels=dataset.in_channels,
        input_size=dataset.input_size,
        stored_sizes=tuple(sorted(dataset.stored_sizes.items(), key=lambda pair: (-pair[1], pair[0]))),
        dtype=str(dataset.train.dtype).removeprefix("torch."),
        value_scale=dataset.value_scale,
        value_range=survey.value_range,
        mean=preprocessing.mean,
        std=preprocessing.std,
        memory_bytes=sum(_bytes(part) for part in dataset.parts.values()),
        in_memory=dataset.in_memory,
        duplicates=survey.duplicates,
        repeats=survey.repeats,
        corrupt=dataset.skipped,
        ignored=dataset.ignored,
        warnings=(),
        task=dataset.task,
        input_kind=dataset.input_kind,
        normalise=dataset.normalise,
        sizes={name: len(part) for name, part in dataset.parts.items()},
        lengths=Spread.of(stored) if stored else None,
        tokens=token_summary(dataset, survey.tokens) if dataset.input_kind == "tokens" else None,
        numbers=number_summaries(dataset) if dataset.task == "regression" else {},
        masks=survey.masks,
        labels_held=label_summaries(dataset) if dataset.task == "multi-label" else {},
        subjects=subject_summaries(dataset),
        shared_subjects=shared_subjects(dataset),
    )
    return replace(report, warnings=tuple(_warnings(report)))


def load_leniently(source: str | Path, **options: Any) -> Dataset:
    """Load a data set as `load_data` does, but leave damaged files out without a warning, for a report to list.

    >>> load_leniently("digits").skipped
    ()
    """
    with warnings.catch_warnings():
        # The report lists what was left out.
        warnings.simplefilter("ignore", SkippedFileWarning)
        return load_data(source, **{**options, "skip_corrupt": True})


def _counts(part: Samples, dataset: Dataset, masks: MaskSummary | None) -> dict[str, int]:
    if masks is not None:
        return masks.samples
    if dataset.task == "regression":
        return {}
    if dataset.task == "multi-label":
        counts = part.labels.sum(0).long().tolist()
    else:
        counts = torch.bincount(part.labels, minlength=len(dataset.classes)).tolist()
    return dict(zip(dataset.classes, counts, strict=True))


def _bytes(part: Samples) -> int:
    return len(part) * math.prod(part.item_shape) * part.dtype.itemsize


@dataclass(frozen=True, slots=True)
class _Survey:
    value_range: tuple[float, float]
    duplicates: tuple[Duplicate, ...]
    repeats: int
    tokens: dict[str, torch.Tensor]
    masks: dict[str, MaskSummary]


def _survey(dataset: Dataset) -> _Survey:
    """Look at every sample once."""
    low, high = math.inf, -math.inf
    seen: dict[bytes, list[tuple[str, int]]] = {}
    tokens, masks = {}, {}
    of_tokens, classes = dataset.input_kind == "tokens", len(dataset.classes)
    for name, part in dataset.parts.items():
        found = torch.zeros(dataset.in_channels if of_tokens else 0, dtype=torch.int64)
        covered, present, void = torch.zeros(classes).long(), torch.zeros(classes).long(), 0
        for start, inputs, targets in _chunks(part):
            low, high = min(low, float(inputs.min())), max(high, float(inputs.max()))
            comparable = (inputs != 1).all(1).tolist() if of_tokens else None
            for place, row in enumerate(inputs.flatten(1).numpy()):
                if comparable is None or comparable[place]:
                    seen.setdefault(hashlib.blake2b(row.data, digest_size=16).digest(), []).append(
                        (name, start + place)
                    )
            if of_tokens:
                found += torch.bincount(inputs.flatten(), minlength=len(found))
            if dataset.task == "segmentation":
                places = _covered(targets, classes, dataset.void)
                covered += places.sum(0)
                present += (places > 0).sum(0)
                void += targets.numel() - int(places.sum())
        found[:1] = 0
        tokens[name] = found
        if dataset.task == "segmentation":
            masks[name] = mask_summary(dataset, covered, present, void)
    groups = [_group(dataset, places) for places in seen.values() if len(places) > 1]
    told = tuple(group for group in groups if group.crosses_parts or group.labels_differ)
    return _Survey((low, high), told, len(groups) - len(told), tokens, masks)


def _covered(masks: torch.Tensor, classes: int, void: int | None) -> torch.Tensor:
    """How many places of each mask each class covers, (n, classes)."""
    rows = []
    for mask in masks.flatten(1):
        known = mask if void is None else mask[mask != void]
        rows.append(torch.bincount(known, minlength=classes)[:classes])
    return torch.stack(rows)


def _chunks(part: Samples) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    step = max(_CHUNK_BYTES // max(math.prod(part.item_shape), 1), 1)
    for start in range(0, len(part), step):
        yield start, *part.fetch(range(start, min(start + step, len(part))))


def _group(dataset: Dataset, places: list[tuple[str, int]]) -> Duplicate:
    parts = dataset.parts
    return Duplicate(
        tuple(parts[name].name(index) for name, index in places),
        tuple(name for name, _ in places),
        tuple(_target(dataset, parts[name].labels[index]) for name, index in places),
    )


def _target(dataset: Dataset, target: torch.Tensor) -> str:
    """The target of one sample in words; of a mask, which `Samples.labels` does not have, nothing."""
    if dataset.task == "segmentation":
        return ""
    if dataset.task == "multi-label":
        return (
            ", ".join(name for name, held in zip(dataset.classes, target.tolist(), strict=True) if held) or "no label"
        )
    if dataset.task == "regression":
        return ", ".join(f"{name} {value:g}" for name, value in zip(dataset.classes, target.tolist(), strict=True))
    return dataset.classes[int(target)]


def _warnings(report: DataReport) -> Iterator[str]:
    for shared in report.shared_subjects:
        who = "SUBJECT" if report.task != "verification" else "IDENTITY"
        yield (
            f"THE SAME {who} ON BOTH SIDES: {shared.subjects} of the {report.subjects[shared.part].subjects} in "
            f"{shared.part}, with {shared.samples} of its {report.sizes[shared.part]} samples, also in {shared.other}. "
            f"Scores on {shared.part} will be too good: keep all samples of one {who.lower()} in one part."
        )
    if report.task in ("classification", "multi-label"):
        yield from _balance_warnings(report)
    if report.masks:
        absent = [name for name, share in report.masks["train"].shares.items() if not share]
        if absent:
            yield f"No place of {_listed(absent)} in the training masks."
    held = report.labels_held.get("train")
    if held and held.without:
        yield f"{held.without} training {_plural('sample', held.without)} without any label."
    for name, of_part in report.numbers.items():
        if of_part["train"].smallest == of_part["train"].largest:
            yield f"{name} is always {of_part['train'].smallest:g} in the training part."
    if report.tokens and report.tokens.cut:
        total = sum(report.sizes.values())
        yield (
            f"{report.tokens.cut} of {total} {_plural('text', total)} cut to {report.tokens.length} tokens, "
            "the length of the longest training text or max_length."
        )
    crossing = sum(group.crosses_parts for group in report.duplicates)
    if crossing:
        yield f"{crossing} {_plural('sample', crossing)} also in another part: scores on it will be too good."
    differing = sum(group.labels_differ for group in report.duplicates)
    if differing:
        where = (
            "in more than one class" if report.task in ("classification", "verification") else "with several targets"
        )
        yield f"{differing} {_plural('sample', differing)} {where}."
    if report.corrupt:
        yield f"{len(report.corrupt)} damaged {_plural('file', len(report.corrupt))} left out."
    if report.ignored:
        count = len(report.ignored)
        yield f"{count} other {_plural('file', count)} not used, such as {report.ignored[0]}."
    if report.value_range[0] == report.value_range[1]:
        yield f"All values are {report.value_range[0]:g}."
    if not report.in_memory:
        yield f"Needs {readable_bytes(report.memory_bytes)}, more than the memory limit: decoded anew for every epoch."


def _balance_warnings(report: DataReport) -> Iterator[str]:
    train = report.counts["train"]
    few = [f"{name} ({count})" for name, count in train.items() if count < FEW]
    if few:
        yield f"Fewer than {FEW} training samples in {_listed(few)}."
    largest, smallest = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
    if train[largest] > UNBALANCED * train[smallest] > 0:
        ratio = train[largest] / train[smallest]
        yield f"Unbalanced: {largest} has {ratio:.1f} times the training samples of {smallest}."
    for part, counts in report.counts.items():
        missing = [name for name, count in counts.items() if count == 0]
        if missing:
            yield f"No {part} samples of {_listed(missing)}."


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
