"""From recordings to a collection: windows or whole recordings, their targets, subjects and parts.

Windows lie within one recording. Without subjects and without parts of their own, whole recordings are drawn into
parts; a single recording is cut into blocks for that, so that windows which overlap never lie in two parts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from striate.data.conversion import convert_channels, pad_or_crop, resize, target_size
from striate.data.dataset import SkippedFile
from striate.data.file_kinds import DamagedFileError
from striate.data.file_names import as_labels, number_subjects
from striate.data.labels import index_labels
from striate.data.reader import SPLITS, Collection
from striate.data.samples import TensorSamples
from striate.data.signals.recordings import Recording, Unusable, prepare
from striate.data.signals.windows import Positions, WindowSamples, span_classes, span_means, window_starts
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from striate.data.dataset import Task
    from striate.data.reader import Part, ReadOptions

_RATE_TOLERANCE = 0.1
"""Rates that differ by more than this part are two rates, and not one that is not quite kept."""

_BLOCKS = 10
"""The blocks of a single recording, so that there are some for each part."""


@dataclass(frozen=True, slots=True)
class _Spans:
    """Where samples lie in the signals, from ``start`` to before ``end``, in which recording, and in which block."""

    start: Positions
    end: Positions
    owner: Positions
    block: Positions

    def chosen(self, which: npt.NDArray[Any]) -> _Spans:
        return _Spans(self.start[which], self.end[which], self.owner[which], self.block[which])


def collect(
    recordings: Iterable[Recording | Unusable],
    options: ReadOptions,
    *,
    kind: str,
    label: str,
    words: Sequence[str],
    classes: Sequence[str] | None = None,
    task: Task = "classification",
    ignored: tuple[str, ...] = (),
    reading: Mapping[str, Any] | None = None,
) -> Collection:
    """Make samples of recordings, in the order they come.

    ``words`` are the labels that the targets count, in any order, and ``classes`` the order to have if it is declared;
    for other tasks ``words`` name the columns of the targets. Recordings that `prepare` refuses, and those that come as
    `Unusable` already, are left out and listed where `ReadOptions.skip_corrupt` says so. Raises `DataError` for them
    otherwise, and for recordings that do not go together.
    """
    kept, skipped = _sieve(recordings, options, label)
    kept = _with_splits(kept, options.own, label)
    has_subjects = any(each.subject is not None for each in kept)
    subjects = number_subjects([each.subject for each in kept], label)
    signals, bounds = _end_to_end(kept, options, label)
    spans = _spans(bounds, options.own, single=len(kept) == 1 and not has_subjects)
    targets, keep = _targets(kept, bounds, spans, task, options.own["window_label"])
    spans, targets = spans.chosen(keep), targets[keep]
    of_part = np.array([each.split or "train" for each in kept])[spans.owner]
    places = {split: np.flatnonzero(of_part == split) for split in SPLITS if (of_part == split).any()}
    if "train" not in places:
        raise DataError(
            "recordings to train on", f"{label} with {', '.join(places) or 'none'} only", "Leave some for training."
        )
    if task == "classification":
        named = as_labels(words) if classes is None else np.array(list(words))
        where = {split: f"{label} ({split})" for split in places}
        known, indices = index_labels({s: named[targets[place]] for s, place in places.items()}, classes, where)
    else:
        known = tuple(words)
        indices = {split: torch.from_numpy(targets[place].astype(np.float32)) for split, place in places.items()}
    parts: dict[str, Part] = {}
    for split, place in places.items():
        chosen = spans.chosen(place)
        groups = None
        if subjects is not None:
            groups = subjects[torch.from_numpy(chosen.owner)]
        elif len(spans.start) > len(kept):
            groups = torch.from_numpy(chosen.block)
        parts[split] = _samples(signals, chosen, indices[split], groups, _namer(kept, bounds, chosen), options, label)
    return Collection(
        kind,
        known,
        parts,
        ignored=ignored,
        skipped=tuple(skipped),
        task=task,
        reading=dict(reading or {}),
        stored_sizes=Counter((length,) for length in (spans.end - spans.start).tolist()),
    )


def cut_new(recordings: Iterable[Recording], reading: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
    """The samples of new recordings, cut as `Dataset.reading` says, with their names: (C, L) each.

    Raises `DataError` as `collect` does.

    >>> recording = Recording("walk", np.zeros((7, 1)), np.array([0]))
    >>> [name for name, _ in cut_new([recording], {"window": 4, "step": 2})]
    ['walk[0:4]', 'walk[2:6]']
    """
    cut: list[tuple[str, torch.Tensor]] = []
    window = reading.get("window")
    for recording in recordings:
        ready = prepare(recording, reading)
        values = torch.from_numpy(np.ascontiguousarray(ready.values.T))
        if window is None:
            cut.append((ready.name, values))
            continue
        for start in window_starts(len(ready.values), window, reading.get("step") or window).tolist():
            cut.append((f"{ready.name}[{start}:{start + window}]", values[:, start : start + window]))
    return cut


def _sieve(
    recordings: Iterable[Recording | Unusable], options: ReadOptions, label: str
) -> tuple[list[Recording], list[SkippedFile]]:
    kept: list[Recording] = []
    skipped: list[SkippedFile] = []
    for recording in recordings:
        try:
            if isinstance(recording, Unusable):
                raise recording.error
            kept.append(prepare(recording, options.own))
        except DamagedFileError as error:
            if not options.skip_corrupt:
                raise
            skipped.append(SkippedFile(recording.name, error.received))
    if not kept:
        chosen = "" if options.own.get("select") is None else f" with {options.own['select']!r} in its name"
        raise DataError(
            f"at least one recording{chosen} that can be used",
            f"{label} with {len(skipped)} damaged ones" if skipped else f"{label} without any",
            "Correct the options, or replace the damaged recordings.",
        )
    _check_channels(kept)
    _check_rates(kept, options.own)
    return kept, skipped


def _check_channels(kept: Sequence[Recording]) -> None:
    first = kept[0]
    for each in kept:
        if each.values.shape[1] != first.values.shape[1]:
            raise DataError(
                f"recordings of the same channels, {first.values.shape[1]} as {first.name}",
                f"{each.name} with {each.values.shape[1]}",
                "Correct it, or leave it out.",
            )


def _check_rates(kept: Sequence[Recording], own: Mapping[str, Any]) -> None:
    if own.get("rate") is not None:
        return
    timed = [each for each in kept if each.seconds is not None and len(each.seconds) > 1]
    rates = np.array([1 / np.median(np.diff(each.seconds)) for each in timed if each.seconds is not None])
    if not len(rates):
        return
    usual = float(np.median(rates))
    other = np.flatnonzero(np.abs(rates / usual - 1) > _RATE_TOLERANCE)
    if len(other):
        raise DataError(
            f"recordings of one sampling rate, {usual:.4g} per second as most have",
            f"{timed[other[0]].name} with {rates[other[0]]:.4g} ({len(other)} of {len(rates)} differ)",
            f"Bring all to one rate, for example with rate={usual:.4g}.",
        )


def _with_splits(kept: Sequence[Recording], own: Mapping[str, Any], label: str) -> list[Recording]:
    listed = {split: _listed(own.get(f"{split}_subjects")) for split in ("test", "val")}
    wanted = set().union(*listed.values())
    if wanted:
        known = {each.subject for each in kept if each.subject is not None}
        if not wanted <= known:
            raise DataError(
                f"subjects among {', '.join(sorted(known)[:20]) or 'none, for no recording has one'}",
                f"{sorted(wanted - known)[0]!r} for {label}",
                "Correct test_subjects and val_subjects.",
            )
        by_subject = {subject: split for split, subjects in listed.items() for subject in subjects}
        return [replace(each, split=by_subject.get(each.subject or "", "train")) for each in kept]
    if any(each.split is None for each in kept) and any(each.split is not None for each in kept):
        missing = next(each.name for each in kept if each.split is None)
        raise DataError(
            "a split for every recording or for none",
            f"{label} without one for {missing}",
            "Fill in train, val or test everywhere, or leave it out.",
        )
    return list(kept)


def _listed(value: Any) -> set[str]:
    if value is None:
        return set()
    listed = value if isinstance(value, list | tuple) else str(value).split(",")
    return {str(each).strip() for each in listed}


def _end_to_end(kept: Sequence[Recording], options: ReadOptions, label: str) -> tuple[torch.Tensor, Positions]:
    """All values as (C, T), and where each recording begins in them, with the end of the last."""
    bounds = np.cumsum([0, *(len(each.values) for each in kept)], dtype=np.int64)
    channels = kept[0].values.shape[1]
    options.budget.take(int(bounds[-1]) * channels * 4, label)
    signals = torch.empty((channels, int(bounds[-1])))
    filled = signals.numpy()
    for each, start, end in zip(kept, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        filled[:, start:end] = each.values.T
    return convert_channels(signals[None], options.channels, label)[0], bounds


def _spans(bounds: Positions, own: Mapping[str, Any], *, single: bool) -> _Spans:
    window = own.get("window")
    if window is None:
        count = np.arange(len(bounds) - 1)
        return _Spans(bounds[:-1], bounds[1:], count, count)
    step = own.get("step") or window
    blocks = own.get("blocks") or (_BLOCKS if single else 1)
    starts, owners, of_block = [], [], []
    for owner, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        # A short recording has fewer blocks, so that each holds at least one window.
        pieces = max(min(blocks, (last - first) // window), 1)
        cuts = np.linspace(first, last, pieces + 1).astype(np.int64).tolist()
        for piece in range(pieces):
            found = cuts[piece] + window_starts(cuts[piece + 1] - cuts[piece], window, step)
            starts.append(found)
            owners.append(np.full(len(found), owner))
            of_block.append(np.full(len(found), owner * blocks + piece))
    start = np.concatenate(starts)
    return _Spans(start, start + window, np.concatenate(owners), np.concatenate(of_block))


def _targets(
    kept: Sequence[Recording], bounds: Positions, spans: _Spans, task: Task, rule: Any
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The target of each span, and which spans to keep."""
    if all(len(each.target) == 1 for each in kept):
        return np.concatenate([each.target for each in kept])[spans.owner], np.ones(len(spans.start), dtype=bool)
    every = np.concatenate(
        [each.target if len(each.target) > 1 else each.target.repeat(len(each.values), axis=0) for each in kept]
    )
    if task == "classification":
        return span_classes(every, spans.start, spans.end, rule)
    means = span_means(every, spans.start, spans.end)
    keep = np.ones(len(means), dtype=bool)
    if task == "regression":
        return means, keep
    if rule == "pure":
        keep = np.asarray(np.isclose(means, means.round()).all(axis=1))
    return (means >= 0.5).astype(np.float64), keep


def _namer(kept: Sequence[Recording], bounds: Positions, spans: _Spans) -> Callable[[int], str]:
    def name(index: int) -> str:
        owner = int(spans.owner[index])
        first, last = int(bounds[owner]), int(bounds[owner + 1])
        start, end = int(spans.start[index]), int(spans.end[index])
        whole = (start, end) == (first, last)
        return names[owner] if whole else f"{names[owner]}[{start - first}:{end - first}]"

    names = [each.name for each in kept]
    return name


def _samples(
    signals: torch.Tensor,
    spans: _Spans,
    targets: torch.Tensor,
    groups: torch.Tensor | None,
    name: Callable[[int], str],
    options: ReadOptions,
    label: str,
) -> WindowSamples | TensorSamples:
    lengths = spans.end - spans.start
    size = target_size(options.image_size, 1)
    if size is None:
        if (lengths != lengths[0]).any():
            raise DataError(
                "recordings of one length",
                f"{label} with lengths from {lengths.min()} to {lengths.max()}",
                "Cut them with the option window, or give image_size (with fit='pad' to cut and fill up with zeros).",
            )
        return WindowSamples(signals, torch.from_numpy(spans.start), int(lengths[0]), targets, name, groups=groups)
    options.budget.take(len(lengths) * signals.shape[0] * size[0] * 4, f"{label}, brought to {size[0]} samples,")
    inputs = torch.empty((len(lengths), signals.shape[0], *size))
    for length in np.unique(lengths).tolist():
        alike = torch.from_numpy(np.flatnonzero(lengths == length))
        for first in range(0, len(alike), 4096):
            some = alike[first : first + 4096]
            cut = signals.unfold(1, length, 1).transpose(0, 1)[torch.from_numpy(spans.start)[some]]
            inputs[some] = resize(cut, size) if options.fit == "resize" else pad_or_crop(cut, size)
    return TensorSamples(inputs, targets, name, groups=groups)
