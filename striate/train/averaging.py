"""Weights averaged over training, which are evaluated and kept in place of those that the optimiser moves."""

from __future__ import annotations

import math
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch.nn.modules.batchnorm import _BatchNorm

from striate.train.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor, nn


class NoAveraging(Section):
    """The trained weights as they are."""

    section: ClassVar[str] = "averaging"
    name: Literal["none"] = "none"


class EMA(Section):
    """An exponential moving average, taken after every step: ``average += (1 - d) * (weights - average)``.

    ``d`` rises to ``decay`` as ``(1 + t) / (10 + t)`` with the steps ``t``, so that the first weights are soon
    forgotten. Buffers, such as the statistics of batch norms, are averaged alike. Source: Polyak and Juditsky,
    Acceleration of stochastic approximation by averaging, 1992; the warm-up is TensorFlow's.
    """

    section: ClassVar[str] = "averaging"
    name: Literal["ema"] = "ema"
    decay: float = Field(default=0.999, ge=0, lt=1)

    def decay_at(self, t: int) -> float:
        """The decay of step ``t``, counted from 0.

        >>> [round(EMA(decay=0.9).decay_at(t), 3) for t in (0, 10, 1000)]
        [0.1, 0.55, 0.9]
        """
        return min(self.decay, (1 + t) / (10 + t))


class SWA(Section):
    """Stochastic weight averaging: the mean of the weights at the ends of the epochs from ``start`` of the run on.

    There the learning rate is constant: ``learning_rate``, or what the schedule had come to (0). The statistics of
    batch norms are learned anew for the average. Source: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, Averaging
    weights leads to wider optima and better generalization, 2018.
    """

    section: ClassVar[str] = "averaging"
    name: Literal["swa"] = "swa"
    start: float = Field(default=0.75, ge=0, lt=1)
    learning_rate: float = Field(default=0.0, ge=0)

    def first_epoch(self, epochs: int) -> int:
        """The first epoch, counted from 0, whose weights are averaged.

        >>> SWA(start=0.75).first_epoch(12)
        9
        """
        return min(math.ceil(self.start * epochs), epochs - 1)


AveragingSettings: TypeAlias = Annotated[NoAveraging | EMA | SWA, Field(discriminator="name")]


class Average:
    """The averaged copy of a network; without averaging, the network itself.

    >>> layer = torch.nn.Linear(1, 1, bias=False)
    >>> average = Average(layer, EMA(decay=0.9), epochs=1)
    >>> _ = layer.weight.data.add_(1.0)
    >>> average.stepped()
    >>> round((layer.weight - average.module.weight).item(), 4)
    0.1
    """

    def __init__(self, module: nn.Module, settings: NoAveraging | EMA | SWA, *, epochs: int) -> None:
        self._trained, self._settings = module, settings
        self.copy = None if isinstance(settings, NoAveraging) else deepcopy(module).requires_grad_(False)
        self._first = settings.first_epoch(epochs) if isinstance(settings, SWA) else 0
        self.count = 0  # how many states of the network are averaged
        self._pairs: list[tuple[Tensor, Tensor]] = []
        if self.copy is not None:
            given = module.state_dict(keep_vars=True)
            self._pairs = [(mine.detach(), given[name].detach()) for name, mine in self.copy.state_dict().items()]

    @property
    def module(self) -> nn.Module:
        """The network to evaluate and to keep."""
        return self._trained if self.copy is None or not self.count else self.copy

    def rates(self, scheduled: Callable[[int], float], steps_per_epoch: int) -> Callable[[int], float]:
        """The learning rate by step: that of the schedule, but constant where the ends of epochs are averaged."""
        settings, first = self._settings, self._first * steps_per_epoch
        if not isinstance(settings, SWA):
            return scheduled
        return lambda step: scheduled(step) if step < first else settings.learning_rate or scheduled(first)

    @torch.no_grad()
    def stepped(self) -> None:
        """Take the weights after a step into a moving average."""
        if isinstance(self._settings, EMA):
            self._move(1 - self._settings.decay_at(self.count))

    @torch.no_grad()
    def epoch_ended(self, epoch: int) -> bool:
        """Take the weights at the end of an epoch into the mean, once; say whether batch norms must be learned anew."""
        if not isinstance(self._settings, SWA) or epoch < self._first:
            return False
        if self.count == epoch - self._first:  # not if an interrupted validation of this epoch begins again
            self._move(1 / (self.count + 1))
        return any(True for _ in self.norms())

    def norms(self) -> Iterator[_BatchNorm]:
        """The batch norms of the average that keep statistics."""
        modules: Iterable[nn.Module] = () if self.copy is None else self.copy.modules()
        return (module for module in modules if isinstance(module, _BatchNorm) and module.track_running_stats)

    @contextmanager
    def learning_norms(self) -> Iterator[None]:
        """While it is entered, the plain mean of what the average is shown becomes the statistics of its batch norms.

        All else is in evaluation, so that dropout neither changes them nor draws random numbers.
        """
        self.module.eval()
        momenta = [(norm, norm.momentum) for norm in self.norms()]
        try:
            for norm, _ in momenta:
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
            yield
        finally:
            for norm, momentum in momenta:
                norm.momentum = momentum
                norm.eval()

    def state_dict(self) -> dict[str, Any] | None:
        """The average, or None if there is none."""
        return None if self.copy is None else {"count": self.count, "weights": self.copy.state_dict()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take back what `state_dict` gave."""
        if self.copy is not None and state is not None:
            self.copy.load_state_dict(state["weights"])
            self.count = state["count"]

    def _move(self, share: float) -> None:
        """Go ``share`` of the way from the average to the network; what is no float is copied."""
        self.count += 1
        floats = [(mine, given) for mine, given in self._pairs if mine.is_floating_point()]
        if floats:
            mine, given = (list(tensors) for tensors in zip(*floats, strict=True))
            torch._foreach_lerp_(mine, given, share)
        for ours, theirs in self._pairs:
            if not ours.is_floating_point():
                ours.copy_(theirs)
