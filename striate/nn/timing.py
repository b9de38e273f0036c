"""Fair comparisons of times: everything takes turns in one run, and medians are told with quartiles."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds per call: the median of the rounds, and the quartiles around it."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        """Summarise the rounds.

        >>> Times.of([3.0, 1.0, 2.0])
        Times(median=2.0, lower=1.5, upper=2.5)
        """
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0])
        lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(median, lower, upper)

    @property
    def median_ms(self) -> float:
        """The median in milliseconds."""
        return self.median * 1e3

    def to_dict(self) -> dict[str, float]:
        """Milliseconds, in JSON's types."""
        return {"median_ms": self.median * 1e3, "lower_ms": self.lower * 1e3, "upper_ms": self.upper * 1e3}


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    least_seconds: float = 0.005,
    clock: Callable[[], float] | None = None,
    pause: float = 0.0,
) -> dict[str, Times]:
    """Time functions without arguments against each other.

    Each is called twice to warm up, then every round measures all of them, beginning with another one each time, so
    that a machine that grows slower meanwhile treats all alike. One measurement repeats a short function until it takes
    ``least_seconds``. The collector of cyclic garbage is kept out. ``clock`` gives seconds; where PyTorch runs on one
    thread it is by default the time that this process has worked, which leaves out what else the machine does. With
    functions of several libraries ``pause`` for some hundredths of a second before each measurement, and call the
    function once: the threads of a library go on spinning for a while after its turn, on the processors of the next.

    >>> list(interleaved({"sum": lambda: sum(range(9)), "max": lambda: max(1, 2)}, rounds=3))
    ['sum', 'max']
    """
    clock = clock or (time.process_time if torch.get_num_threads() == 1 else time.perf_counter)
    names = list(functions)
    calls, seconds = {}, {name: list[float]() for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for name, function in functions.items():
            function()
            began = clock()
            function()
            calls[name] = max(1, round(least_seconds / max(clock() - began, 1e-9)))
            if calls[name] > 1:  # the second call of something short is still slow: look again
                calls[name] = max(
                    1, round(calls[name] * least_seconds / max(_seconds(function, calls[name], clock), 1e-9))
                )
        for turn in range(rounds):
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                if pause:
                    time.sleep(pause)
                    functions[name]()
                seconds[name].append(_seconds(functions[name], calls[name], clock) / calls[name])
    finally:
        if collecting:
            gc.enable()
    return {name: Times.of(values) for name, values in seconds.items()}


def _seconds(function: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(calls):
        function()
    return clock() - began
