"""What a report says of tokens, numbers, masks, labels, identities, subjects and lengths, as plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from striate.data.dataset import Dataset

MOST_FREQUENT = 20
"""How many of the most frequent tokens are listed."""

BINS = 10
"""Bars of a histogram."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Whole numbers at a glance: the smallest, the middle one, the one that 95 % do not exceed, and the largest.

    >>> Spread.of({1: 10, 7: 9, 50: 1})
    Spread(smallest=1, median=1, most=7, largest=50)
    """

    smallest: int
    median: int
    most: int
    largest: int

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> Spread:
        """Of how often each number occurs; at least one must."""
        ordered = sorted((value, count) for value, count in counts.items() if count)
        total = sum(count for _, count in ordered)

        def reaching(share: float) -> int:
            seen = 0
            for value, count in ordered:
                seen += count
                if seen >= share * total:
                    return value
            return ordered[-1][0]

        return cls(ordered[0][0], reaching(0.5), reaching(0.95), ordered[-1][0])


@dataclass(frozen=True, slots=True)
class TokenSummary:
    """Texts: the size of the vocabulary with padding and unknown, its most frequent tokens, and what does not fit.

    ``unknown`` is the share of tokens that the vocabulary does not have, per part, ``cut`` how many texts of all parts
    lost their ends to ``length``.
    """

    vocabulary: int
    most_frequent: tuple[tuple[str, int], ...]
    unknown: dict[str, float]
    length: int
    cut: int
    with_vectors: bool


@dataclass(frozen=True, slots=True)
class NumberSummary:
    """A number to predict in one part: its spread, and a histogram of equal bins (``edges`` has one more entry)."""

    smallest: float
    median: float
    largest: float
    mean: float
    std: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MaskSummary:
    """Masks of one part: how much of all places each class covers, in how many samples it occurs, and what is void."""

    shares: dict[str, float]
    samples: dict[str, int]
    void: float


@dataclass(frozen=True, slots=True)
class LabelSummary:
    """Several labels a sample in one part: how many on average, and how many samples have none."""

    per_sample: float
    without: int


@dataclass(frozen=True, slots=True)
class SubjectSummary:
    """Of whom the samples of one part are: how many subjects, and of how many samples each has."""

    subjects: int
    samples: Spread


@dataclass(frozen=True, slots=True)
class SharedSubjects:
    """Subjects that are in two parts, and how many samples of the first part are theirs."""

    part: str
    other: str
    subjects: int
    samples: int


def token_summary(dataset: Dataset, counts: Mapping[str, torch.Tensor]) -> TokenSummary:
    """Of token counts (V,) per part, without padding."""
    train = counts["train"].clone()
    train[:2] = 0
    top = train.argsort(descending=True, stable=True)[:MOST_FREQUENT].tolist()
    (length,) = dataset.input_size
    return TokenSummary(
        vocabulary=len(dataset.vocabulary),
        most_frequent=tuple((dataset.vocabulary[token], int(train[token])) for token in top if train[token]),
        unknown={name: float(found[1]) / max(int(found.sum()), 1) for name, found in counts.items()},
        length=length,
        cut=sum(count for (stored, *_), count in dataset.stored_sizes.items() if stored > length),
        with_vectors=dataset.vectors is not None,
    )


def number_summaries(dataset: Dataset) -> dict[str, dict[str, NumberSummary]]:
    """Of every number to predict, by part."""
    return {
        name: {part: _number_summary(samples.labels[:, place]) for part, samples in dataset.parts.items()}
        for place, name in enumerate(dataset.classes)
    }


def _number_summary(values: torch.Tensor) -> NumberSummary:
    wide = values.double()
    low, high = float(wide.min()), float(wide.max())
    # Equal values make one bar.
    bins = BINS if high > low else 1
    places = ((wide - low) / ((high - low) or 1) * bins).long().clamp(0, bins - 1)
    return NumberSummary(
        low,
        float(wide.median()),
        high,
        float(wide.mean()),
        float(wide.std(correction=0)),
        tuple(low + (high - low) * edge / bins for edge in range(bins + 1)),
        tuple(torch.bincount(places, minlength=bins).tolist()),
    )


def mask_summary(dataset: Dataset, places: torch.Tensor, samples: torch.Tensor, void: int) -> MaskSummary:
    """Of places and of samples with each class (K,), and of void places."""
    known = max(int(places.sum()), 1)
    # Where void is one of the classes it is none to learn.
    named = [(label, name) for label, name in enumerate(dataset.classes) if label != dataset.void]
    return MaskSummary(
        {name: int(places[label]) / known for label, name in named},
        {name: int(samples[label]) for label, name in named},
        void / max(known + void, 1),
    )


def label_summaries(dataset: Dataset) -> dict[str, LabelSummary]:
    """Of how many labels samples have, by part."""
    found = {}
    for name, part in dataset.parts.items():
        held = part.labels.sum(1)
        found[name] = LabelSummary(float(held.mean()), int((held == 0).sum()))
    return found


def subject_summaries(dataset: Dataset) -> dict[str, SubjectSummary]:
    """Of subjects, or of the identities to verify, by part; empty if nobody knows them."""
    of_part = _subjects(dataset)
    return {
        name: SubjectSummary(len(found), Spread.of(Counter(found.values()))) for name, found in of_part.items() if found
    }


def shared_subjects(dataset: Dataset) -> tuple[SharedSubjects, ...]:
    """Every pair of parts with a subject in common, the one that is evaluated on first."""
    of_part = _subjects(dataset)
    names = list(of_part)
    pairs = []
    for place, name in enumerate(names):
        for other in names[:place]:
            both = of_part[name].keys() & of_part[other].keys()
            if both:
                pairs.append(SharedSubjects(name, other, len(both), sum(of_part[name][each] for each in both)))
    return tuple(pairs)


def _subjects(dataset: Dataset) -> dict[str, Counter[int]]:
    found: dict[str, Counter[int]] = {}
    for name, part in dataset.parts.items():
        groups = part.labels if dataset.task == "verification" and part.groups is None else part.groups
        if groups is not None:
            found[name] = Counter(groups.tolist())
    return found
