"""Batches of samples in a given order: fetched, augmented, and if asked for prepared by worker processes.

What a batch holds depends on its `Turn` alone, so that any number of workers gives the same batches in the same order.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from striate.train.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from torch import Tensor

    from striate.data import Samples


class Augment(Protocol):
    """Changes inputs as stored, with their targets, by draws that depend on seed, epoch and index alone."""

    def __call__(self, inputs: Tensor, targets: Tensor, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the changed batch; targets may become soft ones."""


class Turn(NamedTuple):
    """What a batch is made of: samples of a part, and what their augmentation is drawn by (None: none).

    With gradients accumulated, several batches make a step: ``share`` is this one's share of its samples, and ``last``
    says that the step ends with it. Of several processes each has a piece of every batch (see `piece_of`); a share of 0
    says that its samples count for nothing.
    """

    part: str
    indices: Tensor
    keys: Tensor | None = None
    epoch: int = 0
    share: float = 1.0
    last: bool = True


class Source:
    """Prepares the batch of a turn, in whatever process it is called."""

    def __init__(self, parts: Mapping[str, Samples], augment: Augment | None = None) -> None:
        self.parts, self.augment = dict(parts), augment

    def __call__(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """Return inputs and targets."""
        inputs, targets = self.parts[turn.part].fetch(turn.indices)
        if self.augment is None or turn.keys is None:
            return inputs, targets
        return self.augment(inputs, targets, turn.keys, turn.epoch)


class Feed:
    """Gives batches turn by turn, and measures how long they were waited for (``waited``, in seconds).

    Without ``workers`` samples in memory are prepared when their turn comes, and files one batch ahead on a thread, so
    that they are decoded while the network computes. Processes are started at the first batch and end with the feed.
    Raises what the samples raise, and `RunError` when a worker is killed.

    >>> from striate.data import TensorSamples
    >>> samples = TensorSamples(torch.arange(4.0).reshape(4, 1, 1), torch.arange(4))
    >>> with Feed({"train": samples}) as feed:
    ...     [targets.tolist() for _, _, targets in feed([Turn("train", torch.tensor([3, 1]))])]
    [[3, 1]]
    """

    def __init__(self, parts: Mapping[str, Samples], augment: Augment | None = None, workers: int = 0) -> None:
        self.waited = 0.0
        self._source = Source(parts, augment)
        self._workers = Workers(self._source, workers) if workers else None

    def __call__(self, turns: Iterable[Turn]) -> Iterator[tuple[Turn, Tensor, Tensor]]:
        """Yield (turn, inputs, targets) of each turn."""
        prepared = self._prepared(turns)
        while True:
            began = time.perf_counter()
            batch = next(prepared, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def _prepared(self, turns: Iterable[Turn]) -> Iterator[tuple[Turn, Tensor, Tensor]]:
        if self._workers is not None:
            return self._workers(list(turns))
        if all(samples.in_memory for samples in self._source.parts.values()):
            return ((turn, *self._source(turn)) for turn in turns)
        return self._ahead(list(turns))

    def _ahead(self, turns: list[Turn]) -> Iterator[tuple[Turn, Tensor, Tensor]]:
        with ThreadPoolExecutor(max_workers=1) as ahead:
            waiting = [ahead.submit(self._source, turns[0])] if turns else []
            for place, turn in enumerate(turns):
                inputs, targets = waiting.pop().result()
                if place + 1 < len(turns):
                    waiting.append(ahead.submit(self._source, turns[place + 1]))
                yield turn, inputs, targets

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._workers is not None:
            self._workers.close()


def batch_bounds(size: int, batch_size: int) -> list[tuple[int, int]]:
    """Cut ``size`` samples into batches, as (start, end); the last may be shorter.

    A single sample left over joins the batch before it, because batch normalisation cannot learn from one.

    >>> batch_bounds(7, 3)
    [(0, 3), (3, 7)]
    >>> batch_bounds(8, 3)
    [(0, 3), (3, 6), (6, 8)]
    """
    starts = list(range(0, size, batch_size))
    if len(starts) > 1 and batch_size > 1 and size - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], size], strict=True))


def in_order(part: str, size: int, batch_size: int, first: int = 0) -> Iterator[Turn]:
    """The turns of ``size`` samples of a part in their own order, as they are stored, from ``first`` on.

    >>> [turn.indices.tolist() for turn in in_order("val", 5, 3)]
    [[0, 1, 2], [3, 4]]
    """
    return (Turn(part, torch.arange(first + start, first + end)) for start, end in batch_bounds(size, batch_size))


def piece_of(turn: Turn, place: int, count: int) -> Turn:
    """Return the piece of a batch that the process ``place`` of ``count`` computes; together they are the batch.

    Pieces begin at even places, so that neighbours who are mixed stay together. Where there is nothing left for a
    process, it gets one sample that counts for nothing, because all have to keep in step.

    >>> turn = Turn("train", torch.arange(5))
    >>> [(piece.indices.tolist(), piece.share) for piece in (piece_of(turn, place, 2) for place in range(2))]
    [([0, 1], 0.4), ([2, 3, 4], 0.6)]
    >>> piece_of(Turn("train", torch.tensor([7])), 0, 2)
    Turn(part='train', indices=tensor([7]), keys=None, epoch=0, share=0.0, last=True)
    """
    size = len(turn.indices)
    pairs = -(-size // 2)
    start, end = (min(2 * (pairs * each // count), size) for each in (place, place + 1))
    chosen = slice(start, end) if end > start else slice(0, 1)
    keys = None if turn.keys is None else turn.keys[chosen]
    return turn._replace(indices=turn.indices[chosen], keys=keys, share=turn.share * (end - start) / size)


def step_turns(
    order: Tensor, keys: Tensor | None, epoch: int, *, batch_size: int, accumulate: int = 1, first: int = 0
) -> Iterator[Turn]:
    """The turns of an epoch of training from its step ``first`` on; a step takes ``accumulate`` batches.

    Steps are cut as batches of ``batch_size * accumulate`` samples would be, and then into batches.

    >>> turns = step_turns(torch.arange(10), None, 0, batch_size=2, accumulate=3)
    >>> [(len(turn.indices), round(turn.share, 3), turn.last) for turn in turns]
    [(2, 0.333, False), (2, 0.333, False), (2, 0.333, True), (2, 0.5, False), (2, 0.5, True)]
    """
    for begin, end in batch_bounds(len(order), batch_size * accumulate)[first:]:
        pieces = [(0, end - begin)] if accumulate == 1 else batch_bounds(end - begin, batch_size)
        for start, stop in pieces:
            place = slice(begin + start, begin + stop)
            share = (stop - start) / (end - begin)
            yield Turn("train", order[place], None if keys is None else keys[place], epoch, share, begin + stop == end)


def batches(samples: Samples, order: Tensor, bounds: list[tuple[int, int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (indices, inputs, targets) of each batch of ``order``, as stored.

    >>> from striate.data import TensorSamples
    >>> samples = TensorSamples(torch.arange(4.0).reshape(4, 1, 1), torch.arange(4))
    >>> [labels.tolist() for _, _, labels in batches(samples, torch.tensor([3, 1, 0, 2]), [(0, 2), (2, 4)])]
    [[3, 1], [0, 2]]
    """
    with Feed({"": samples}) as feed:
        for turn, inputs, targets in feed(Turn("", order[start:end]) for start, end in bounds):
            yield turn.indices, inputs, targets
