"""Learning-rate schedules, each a formula of the step, so that a resumed run needs no history to know its rate.

With ``warmup_epochs`` the rate first rises linearly, ``(t + 1) / W`` of the schedule's own first value over the ``W``
steps of the warm-up, and the schedule runs over the steps that remain. In the formulas ``t`` counts those steps from 0,
``T`` is how many there are, and the value multiplies the optimiser's ``learning_rate``. Plateau alone has a memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from striate.train.best import rises
from striate.train.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Schedule(Section):
    section: ClassVar[str] = "schedule"
    warmup_epochs: float = Field(default=0.0, ge=0)


class Constant(_Schedule):
    """The learning rate itself, from first step to last."""

    name: Literal["constant"] = "constant"

    def factor(self, t: int, total: int, steps_per_epoch: int) -> float:
        """Return 1.

        >>> Constant().factor(5, 10, 2)
        1.0
        """
        return 1.0


class Step(_Schedule):
    """Multiplied by ``gamma`` after every ``every_epochs`` epochs."""

    name: Literal["step"] = "step"
    every_epochs: int = Field(default=5, ge=1)
    gamma: float = Field(default=0.5, gt=0, le=1)

    def factor(self, t: int, total: int, steps_per_epoch: int) -> float:
        """Return ``gamma ** floor(t / (every_epochs * steps_per_epoch))``.

        >>> [Step(every_epochs=1).factor(t, 4, 2) for t in range(4)]
        [1.0, 1.0, 0.5, 0.5]
        """
        return float(self.gamma ** (t // (self.every_epochs * steps_per_epoch)))


class Cosine(_Schedule):
    """Half a cosine from 1 down to ``final_factor`` (Loshchilov and Hutter, SGDR, 2017, without restarts)."""

    name: Literal["cosine"] = "cosine"
    final_factor: float = Field(default=0.0, ge=0, le=1)

    def factor(self, t: int, total: int, steps_per_epoch: int) -> float:
        """Return ``final + (1 - final) * (1 + cos(pi * t / T)) / 2``.

        >>> Cosine().factor(5, 10, 2)
        0.5
        """
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * t / total)) / 2


class Polynomial(_Schedule):
    """Down to nothing by a power of what is left: a straight line for power 1.

    Sources: power 1 is SqueezeNet's (Iandola and others, 2016), 0.9 DeepLab's (Chen and others, 2017).
    """

    name: Literal["polynomial"] = "polynomial"
    power: float = Field(default=1.0, gt=0)

    def factor(self, t: int, total: int, steps_per_epoch: int) -> float:
        """Return ``(1 - t / T) ** power``.

        >>> [Polynomial().factor(t, 4, 2) for t in range(4)]
        [1.0, 0.75, 0.5, 0.25]
        """
        return float((1 - t / total) ** self.power)


class WarmRestarts(_Schedule):
    """Half a cosine from 1 down to ``final_factor``, again and again.

    The first takes ``cycle_epochs``, and each one ``cycle_growth`` times as long as the one before. Source: Loshchilov
    and Hutter, SGDR: Stochastic gradient descent with warm restarts, 2017.
    """

    name: Literal["warm_restarts"] = "warm_restarts"
    cycle_epochs: int = Field(default=4, ge=1)
    cycle_growth: int = Field(default=2, ge=1)
    final_factor: float = Field(default=0.0, ge=0, le=1)

    def factor(self, t: int, total: int, steps_per_epoch: int) -> float:
        """Return ``final + (1 - final) * (1 + cos(pi * s / S)) / 2`` in step ``s`` of a cycle of ``S`` steps.

        >>> [round(WarmRestarts(cycle_epochs=1).factor(t, 6, 2), 3) for t in range(6)]
        [1.0, 0.5, 1.0, 0.854, 0.5, 0.146]
        """
        length = self.cycle_epochs * steps_per_epoch
        while t >= length:
            t, length = t - length, length * self.cycle_growth
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * t / length)) / 2


class OneCycle(_Schedule):
    """Up by half a cosine during the first ``rise`` of the steps, then down by half a cosine to almost nothing.

    It starts at ``1 / start_divisor`` of the learning rate, its peak, and ends at ``1 / end_divisor`` of where it
    started. Momentum is not cycled. Source: Smith and Topin, Super-convergence, 2018; the numbers are PyTorch's.
    """

    name: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(default=0.3, gt=0, lt=1)
    start_divisor: float = Field(default=25.0, ge=1)
    end_divisor: float = Field(default=1e4, ge=1)

    def factor(self, t: int, total: int, steps_per_epoch: int) -> float:
        """Return the height of the cycle at step ``t``; the peak is at step ``rise * T - 1``.

        >>> [round(OneCycle(rise=0.5).factor(t, 4, 2), 3) for t in range(4)]
        [0.04, 1.0, 0.5, 0.0]
        """
        start = 1 / self.start_divisor
        peak = self.rise * total - 1
        if t <= peak:
            return _half_cosine(start, 1.0, t / peak if peak > 0 else 1.0)
        return _half_cosine(1.0, start / self.end_divisor, (t - peak) / (total - 1 - peak))


class Plateau(_Schedule):
    """Multiplied by ``gamma`` when ``metric`` has not improved by ``min_delta`` for more than ``patience`` epochs."""

    name: Literal["plateau"] = "plateau"
    metric: str = "val_loss"
    gamma: float = Field(default=0.1, gt=0, lt=1)
    patience: int = Field(default=3, ge=0)
    min_delta: float = Field(default=1e-4, ge=0)

    def factor(self, t: int, total: int, steps_per_epoch: int) -> float:
        """Return 1: what the plateaus have taken off is known to `LearningRate` only.

        >>> Plateau().factor(5, 10, 2)
        1.0
        """
        return 1.0


Schedule: TypeAlias = Constant | Step | Cosine | Polynomial | WarmRestarts | OneCycle | Plateau
ScheduleSettings: TypeAlias = Annotated[Schedule, Field(discriminator="name")]


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


class Patience:
    """Counts the epochs since a metric last improved by more than ``min_delta``: up or down, as is better for it.

    A metric that is missing has not improved.

    >>> patience = Patience("val_loss", min_delta=0.1)
    >>> [patience.stale_after(loss) for loss in (1.0, 0.95, 0.8, 0.8)]
    [0, 1, 0, 1]
    """

    def __init__(self, metric: str, min_delta: float) -> None:
        self.metric = metric
        self.min_delta = min_delta
        self.best: float | None = None
        self.stale = 0

    def stale_after(self, value: float | None) -> int:
        """Take the metric of one more epoch and return how many epochs in a row brought no improvement."""
        sign = 1 if rises(self.metric) else -1
        gain = -math.inf if value is None else math.inf if self.best is None else sign * (value - self.best)
        if gain > self.min_delta:
            self.best, self.stale = value, 0
        else:
            self.stale += 1
        return self.stale


class LearningRate:
    """The learning rate of every step of a run of ``epochs * steps_per_epoch`` steps.

    >>> rate = LearningRate(Constant(warmup_epochs=2.0), 0.1, steps_per_epoch=2, epochs=5)
    >>> [round(rate.at(step), 3) for step in range(5)]
    [0.025, 0.05, 0.075, 0.1, 0.1]
    """

    def __init__(
        self,
        settings: Schedule,
        learning_rate: float,
        *,
        steps_per_epoch: int,
        epochs: int,
    ) -> None:
        self._settings = settings
        self._peak = learning_rate
        self._steps_per_epoch = steps_per_epoch
        self._warmup = round(settings.warmup_epochs * steps_per_epoch)
        self._total = max(epochs * steps_per_epoch - self._warmup, 1)
        self.reductions = 0
        self.patience = Patience(settings.metric, settings.min_delta) if isinstance(settings, Plateau) else None

    def at(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 0."""
        t = min(max(step - self._warmup, 0), self._total - 1)
        rate = self._peak * self._settings.factor(t, self._total, self._steps_per_epoch)
        if isinstance(self._settings, Plateau):
            rate *= self._settings.gamma**self.reductions
        return rate * (step + 1) / self._warmup if step < self._warmup else rate

    def epoch_ended(self, metrics: Mapping[str, float]) -> None:
        """Let a plateau schedule see the metrics of an epoch."""
        if not isinstance(self._settings, Plateau) or self.patience is None:
            return
        if self.patience.stale_after(metrics.get(self.patience.metric)) > self._settings.patience:
            self.reductions += 1
            self.patience.stale = 0
