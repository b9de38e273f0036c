"""The time a run has taken, the time since its last checkpoint, and the share of an epoch spent waiting for data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.train.feed import Feed
    from striate.train.report import Reporter

STARVED = 0.2
"""From this share of an epoch on, waiting for data is warned about."""

_SHORTEST = 2.0  # seconds; the shares of shorter epochs say little


class Clock:
    """The time a run has taken over all its sessions, and the time since its last checkpoint.

    >>> Clock(before=100.0).seconds() >= 100
    True
    """

    def __init__(self, before: float) -> None:
        self._before, self._began, self._saved = before, time.perf_counter(), time.perf_counter()
        self._epoch_began, self._warned = self._began, False

    def seconds(self) -> float:
        """Seconds of training and validation in all sessions."""
        return self._before + time.perf_counter() - self._began

    def since_saved(self) -> float:
        """Seconds since the last checkpoint, or since the session began."""
        return time.perf_counter() - self._saved

    def saved(self) -> None:
        """Note that a checkpoint is written."""
        self._saved = time.perf_counter()

    def epoch_began(self, feed: Feed) -> None:
        """Note that the training of an epoch begins, or goes on."""
        self._epoch_began, feed.waited = time.perf_counter(), 0.0

    def epoch_trained(self, feed: Feed, reporter: Reporter, workers: int) -> None:
        """Tell what share of the epoch's training went into waiting for data, and once what to do if it is large."""
        seconds = time.perf_counter() - self._epoch_began
        share = feed.waited / seconds if seconds else 0.0
        reporter.fed(share)
        if share > STARVED and seconds > _SHORTEST and not self._warned:
            self._warned = True
            reporter.said(
                f"Reading starves the network: {share:.0%} of the epoch was spent waiting for data. Raise data.workers "
                f"(now {workers}) towards the number of processors, augment less, or store the samples in a form that "
                "is read faster, such as arrays of their final size."
            )
