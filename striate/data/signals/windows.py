"""Windows over long signals, cut when they are fetched, so that overlap takes no memory.

All signals lie end to end in one tensor. A span is a stretch of it, from ``start`` to before ``end``: one sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from striate.data.samples import as_indices
from striate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from striate.data.samples import Indices

Positions = npt.NDArray[np.int64]


class WindowSamples:
    """Windows of one length out of signals (C, T), float32; the one at ``starts[i]`` has the target ``targets[i]``.

    ``name`` gives each window's name by its index. Subsets share the signals. Raises `DataError` for a window that
    reaches beyond the signals.

    >>> samples = WindowSamples(torch.arange(6.0).reshape(1, 6), torch.tensor([0, 2]), 4, torch.tensor([0, 1]))
    >>> samples.fetch([1, 0])[0].tolist()
    [[[2.0, 3.0, 4.0, 5.0]], [[0.0, 1.0, 2.0, 3.0]]]
    """

    in_memory = True

    def __init__(
        self,
        signals: torch.Tensor,
        starts: torch.Tensor,
        window: int,
        targets: torch.Tensor,
        name: Callable[[int], str] = str,
        *,
        groups: torch.Tensor | None = None,
    ) -> None:
        if len(starts) and (int(starts.min()) < 0 or int(starts.max()) + window > signals.shape[1]):
            raise DataError(
                f"windows of {window} samples within the {signals.shape[1]} there are",
                f"starts from {int(starts.min())} to {int(starts.max())}",
                "Lower window.",
            )
        self.labels, self.groups = targets, groups
        self._signals, self._starts, self._window, self._name = signals, starts, window, name
        # Every window there could be, as a view (T - window + 1, C, window). NumPy gathers from it ten times as fast as
        # PyTorch does.
        windows = np.lib.stride_tricks.sliding_window_view(signals.numpy(), window, axis=1) if len(starts) else None
        self._views = None if windows is None else windows.transpose(1, 0, 2)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one window, (C, window)."""
        return self._signals.shape[0], self._window

    @property
    def dtype(self) -> torch.dtype:
        """The type of the inputs."""
        return self._signals.dtype

    def __len__(self) -> int:
        return len(self._starts)

    def fetch(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """The windows (n, C, window) and targets at these indices, in their order."""
        chosen = as_indices(indices)
        if self._views is None or not len(chosen):
            return self._signals.new_empty((0, *self.item_shape)), self.labels[chosen]
        inputs = np.ascontiguousarray(self._views[self._starts[chosen].numpy()])
        return torch.from_numpy(inputs), self.labels.index_select(0, chosen)

    def name(self, index: int) -> str:
        """What the window is called: its recording, and from where to where."""
        return self._name(index)

    def subset(self, indices: Indices) -> WindowSamples:
        """The windows at these indices, out of the same memory."""
        chosen = as_indices(indices)
        places, name, groups = chosen.tolist(), self._name, self.groups
        return WindowSamples(
            self._signals,
            self._starts[chosen],
            self._window,
            self.labels[chosen],
            lambda index: name(places[index]),
            groups=None if groups is None else groups[chosen],
        )


def window_starts(length: int, window: int, step: int) -> Positions:
    """Where windows begin that lie within ``length`` samples; what is left at the end is dropped.

    >>> window_starts(10, window=4, step=3).tolist()
    [0, 3, 6]
    """
    return np.arange(0, length - window + 1, step, dtype=np.int64)


def span_classes(
    codes: npt.NDArray[np.integer[Any]], starts: Positions, ends: Positions, rule: Literal["majority", "pure"]
) -> tuple[Positions, npt.NDArray[np.bool_]]:
    """The class that most samples of each span have, and whether to keep the span: all, or those of one class alone.

    ``codes`` (T,) counts classes from 0. Of classes with equally many samples the lowest wins.

    >>> span_classes(np.array([0, 0, 1, 1, 1]), np.array([0, 2]), np.array([3, 5]), "pure")
    (array([0, 1]), array([False,  True]))
    """
    best = np.zeros(len(starts), dtype=np.int64)
    most = np.zeros(len(starts), dtype=np.int64)
    counts = np.zeros(len(codes) + 1, dtype=np.int64)
    for code in range(int(codes.max(initial=-1)) + 1):
        np.cumsum(codes == code, out=counts[1:])
        found = counts[ends] - counts[starts]
        better = found > most
        best[better], most[better] = code, found[better]
    return best, most == ends - starts if rule == "pure" else np.ones(len(starts), dtype=bool)


def span_means(values: npt.NDArray[np.float64], starts: Positions, ends: Positions) -> npt.NDArray[np.float64]:
    """The mean of values (T, K) over each span, (N, K).

    >>> span_means(np.array([[1.0], [2.0], [6.0]]), np.array([0, 1]), np.array([2, 3]))
    array([[1.5],
           [4. ]])
    """
    # Sums from the overall mean, so that constants come out exactly and little is lost in long recordings.
    middle = values.mean(0) if len(values) else np.zeros(values.shape[1])
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values - middle, axis=0, out=sums[1:])
    return middle + (sums[ends] - sums[starts]) / (ends - starts)[:, None]
