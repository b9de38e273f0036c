"""Texts as rows of tokens of any length, and the vocabulary that the training part gives them."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from striate.data.samples import Indices, TensorSamples, as_indices
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from striate.data.limits import Budget

PADDING, UNKNOWN = "<pad>", "<unk>"
"""The names of tokens 0 and 1. A text that has them as words has unknown words there."""


@dataclass(slots=True)
class Corpus:
    """All texts of a source, part by part, with every different token stored once.

    >>> corpus = Corpus()
    >>> corpus.add("train", ["a", "b", "a"], "yes", ("good.txt", 1))
    >>> corpus.samples("train", torch.tensor([0])).lengths.tolist()
    [3]
    """

    # A token that is looked up for the first time gets the next number.
    tokens: defaultdict[str, int] = field(default_factory=lambda: defaultdict(count().__next__))
    labels: dict[str, list[str]] = field(default_factory=dict)
    _flat: dict[str, array[int]] = field(default_factory=dict)
    _lengths: dict[str, array[int]] = field(default_factory=dict)
    _places: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def add(self, split: str, tokens: Sequence[str], label: str, place: tuple[str, int]) -> None:
        """Add one text: its tokens, its label, and the file and line where it stands."""
        self._flat.setdefault(split, array("i")).extend(map(self.tokens.__getitem__, tokens))
        self._lengths.setdefault(split, array("i")).append(len(tokens))
        self.labels.setdefault(split, []).append(label)
        self._places.setdefault(split, []).append(place)

    def stored_sizes(self) -> Counter[tuple[int, ...]]:
        """How many texts there are of each length."""
        return Counter((length,) for lengths in self._lengths.values() for length in lengths)

    def samples(self, split: str, labels: torch.Tensor) -> Sentences:
        """The texts of one part."""
        places = self._places[split]
        flat = np.array(self._flat[split], dtype=np.int32)
        lengths = np.array(self._lengths[split], dtype=np.int64)
        longest = max(max(lengths) for lengths in self._lengths.values())
        return Sentences(flat, lengths, labels, lambda index: "{}:{}".format(*places[index]), longest)


class Sentences:
    """Samples of different lengths: rows of one flat array of numbers from 0, for one part of a data set.

    ``fetch`` gives them as tokens from 2 on, filled up with 0 to the length of the longest text of any part.
    """

    in_memory = True

    groups = None
    dtype = torch.int64

    def __init__(
        self,
        flat: npt.NDArray[np.int32],
        lengths: npt.NDArray[np.int64],
        labels: torch.Tensor,
        name: Callable[[int], str],
        longest: int,
    ) -> None:
        self.flat, self.lengths, self.labels, self._name, self._longest = flat, lengths, labels, name, longest

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The length of the longest text of any part."""
        return (self._longest,)

    def __len__(self) -> int:
        return len(self.labels)

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens and labels at these indices, in their order."""
        chosen = self.subset(indices)
        rows = padded(chosen.flat.astype(np.int64) + 2, chosen.lengths, self._longest)
        return torch.from_numpy(rows), chosen.labels

    def name(self, index: int) -> str:
        """The file and line where the text stands."""
        return self._name(index)

    def subset(self, indices: Indices) -> Sentences:
        """The texts at these indices."""
        chosen = as_indices(indices)
        places = chosen.numpy()
        starts, lengths = (np.cumsum(self.lengths) - self.lengths)[places], self.lengths[places]
        flat = self.flat[np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())]
        name, numbers = self._name, places.tolist()
        return Sentences(flat, lengths, self.labels[chosen], lambda index: name(numbers[index]), self._longest)


def padded(flat: npt.NDArray[Any], lengths: npt.NDArray[np.int64], length: int) -> npt.NDArray[Any]:
    """Rows of one flat array as a rectangle (N, length): longer ones cut at their end, shorter ones filled up with 0.

    >>> padded(np.array([5, 6, 7, 8]), np.array([3, 1]), 2).tolist()
    [[5, 6], [8, 0]]
    """
    rows = np.zeros((len(lengths), length), dtype=flat.dtype)
    within = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = within < length
    rows[np.repeat(np.arange(len(lengths)), lengths)[kept], within[kept]] = flat[kept]
    return rows


def build_vocabulary(counts: Mapping[str, int], min_count: int, most: int | None = None) -> tuple[str, ...]:
    """Padding, unknown, and every token that occurs ``min_count`` times: the most frequent first, then by letter.

    ``most`` is the largest size that the vocabulary may have.

    >>> build_vocabulary({"b": 2, "a": 2, "c": 5, "d": 1}, 2)
    ('<pad>', '<unk>', 'c', 'a', 'b')
    """
    kept = (token for token, number in counts.items() if number >= min_count and token not in (PADDING, UNKNOWN))
    ordered = sorted(kept, key=lambda token: (-counts[token], token))
    return (PADDING, UNKNOWN, *(ordered if most is None else ordered[: most - 2]))


def settle(
    corpus: Corpus,
    parts: Mapping[str, Sentences],
    own: Mapping[str, Any],
    budget: Budget,
    label: str,
    reading: Mapping[str, Any],
) -> tuple[tuple[str, ...], dict[str, TensorSamples]]:
    """Fix the vocabulary and the length by the training part, or by ``reading``, and give all parts as tokens of it.

    Raises `DataError` for a training part without a frequent token, and where the rectangle would not fit.
    """
    known = list(corpus.tokens)
    vocabulary: tuple[str, ...]
    if reading:
        vocabulary = tuple(reading["vocabulary"])
    elif own["alphabet"] is not None:
        vocabulary = (PADDING, UNKNOWN, *dict.fromkeys(own["alphabet"]))
    else:
        occurrences = np.bincount(parts["train"].flat, minlength=len(known)).tolist()
        counts = {token: number for token, number in zip(known, occurrences, strict=True) if number}
        vocabulary = build_vocabulary(counts, own["min_count"], own["max_vocabulary"])
    if len(vocabulary) == 2:
        raise DataError(
            f"tokens that occur {own['min_count']} times in the training part",
            f"{label} without any",
            "Lower min_count.",
        )
    numbers = {token: number for number, token in enumerate(vocabulary) if number > 1}
    small = len(vocabulary) <= np.iinfo(np.int16).max
    lookup = np.array([numbers.get(token, 1) for token in known], dtype=np.int16 if small else np.int32)
    length = reading.get("length") or max(own["max_length"] or int(parts["train"].lengths.max()), own["min_length"])
    texts = sum(map(len, parts.values()))
    budget.take(
        texts * length * lookup.itemsize, f"{label} as {texts} texts of {length} tokens (max_length would cut them)"
    )
    settled = {}
    for split, part in parts.items():
        rows = torch.from_numpy(padded(lookup[part.flat], part.lengths, length))
        settled[split] = TensorSamples(rows, part.labels, part.name)
    return vocabulary, settled


def encode(tokens: Sequence[str], numbers: Mapping[str, int], length: int) -> torch.Tensor:
    """One text as int64 tokens (length,): unknown ones are 1, what is missing 0, what is too long is cut.

    >>> encode(["good", "odd"], {"<pad>": 0, "<unk>": 1, "good": 2}, 4).tolist()
    [2, 1, 0, 0]
    """
    row = torch.zeros(length, dtype=torch.int64)
    found = [max(numbers.get(token, 1), 1) for token in tokens[:length]]
    row[: len(found)] = torch.tensor(found, dtype=torch.int64)
    return row
