"""Batches of samples in a given order, without worker processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from striate.data import TensorSamples

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from striate.data import Samples


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


def batches(
    samples: Samples, order: torch.Tensor, bounds: list[tuple[int, int]]
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield (indices, inputs, labels) of each batch of ``order``.

    What is in memory is indexed when its turn comes. Anything else is fetched one batch ahead on a thread, so that
    files are decoded while the network computes.

    >>> import torch
    >>> samples = TensorSamples(torch.arange(4.0).reshape(4, 1, 1), torch.arange(4))
    >>> [labels.tolist() for _, _, labels in batches(samples, torch.tensor([3, 1, 0, 2]), [(0, 2), (2, 4)])]
    [[3, 1], [0, 2]]
    """
    if isinstance(samples, TensorSamples):
        for start, end in bounds:
            indices = order[start:end]
            yield indices, *samples.fetch(indices)
        return
    with ThreadPoolExecutor(max_workers=1) as ahead:
        turns = [order[start:end] for start, end in bounds]
        waiting = [ahead.submit(samples.fetch, turns[0])] if turns else []
        for place, indices in enumerate(turns):
            inputs, labels = waiting.pop().result()
            if place + 1 < len(turns):
                waiting.append(ahead.submit(samples.fetch, turns[place + 1]))
            yield indices, inputs, labels
