"""Trying out learning rates and batch sizes before a run: nothing is kept but the numbers."""

from __future__ import annotations

import math
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric

from striate.data import Preprocessing
from striate.errors import ConfigError
from striate.memory import peak_bytes
from striate.models import model_entry
from striate.train.feed import Feed, step_turns
from striate.train.fine_tuning import Freezing
from striate.train.loop import augmentation_of, load
from striate.train.loss import total_loss
from striate.train.network import Network, load_initial
from striate.train.optimizer import build_optimizer
from striate.train.randomness import seeded
from striate.train.regularisation import regularise
from striate.train.sampling import repetitions, sampled_order
from striate.train.settling import settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from striate.data import Dataset
    from striate.train.config import RunConfig
    from striate.train.feed import Turn

_SMOOTHING = 0.9
_HOPELESS = 4.0  # times the best loss so far
_SECONDS = 0.5  # that a batch size is timed for, at least
_GAIN = 1.05  # a batch twice as large that is not so much faster ends the search
_GOOD_ENOUGH = 0.9


@dataclass(frozen=True, slots=True)
class RateTrial:
    """What was found: the rates tried, the loss at each and smoothed, and the rate to begin with (None: none fits)."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None


@dataclass(frozen=True, slots=True)
class SizeTrial:
    """A batch size: samples per second, and the bytes that the process, or the GPU, had at most; both None: no room."""

    batch_size: int
    samples_per_second: float | None
    peak_bytes: int | None


def find_learning_rate(
    config: RunConfig,
    *,
    dataset: Dataset | None = None,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
) -> RateTrial:
    """Train for a moment with a rate that grows from step to step, and see where the loss falls fastest.

    Network, data, loss and optimiser are those of the configuration, without its schedule and teacher. Rates grow by
    equal factors; the trial ends early when the smoothed loss is four times the least, or not finite. The suggestion is
    the rate at the steepest fall of the smoothed loss, or None if it never falls. Random number generators are left as
    found. Source: Smith, Cyclical learning rates for training neural networks, 2017.

    ::

        find_learning_rate(RunConfig(model="lenet", data="digits28")).suggestion
    """
    if not 0 < lowest < highest or steps < 3:
        raise ConfigError(
            "rates with 0 < lowest < highest, and 3 steps or more",
            f"{lowest:g} to {highest:g} in {steps} steps",
            "Leave them out.",
        )
    factor = (highest / lowest) ** (1 / (steps - 1))
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    mean = 0.0
    with _trial(config, dataset) as trial:
        for step, turns in zip(range(steps), trial.steps(), strict=False):
            rate = lowest * factor**step
            loss = trial.train(turns, rate)
            mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
            smooth = mean / (1 - _SMOOTHING ** (step + 1))
            if not math.isfinite(loss) or smooth > _HOPELESS * min(smoothed, default=math.inf):
                break
            rates.append(rate)
            losses.append(loss)
            smoothed.append(smooth)
    return RateTrial(tuple(rates), tuple(losses), tuple(smoothed), _steepest(rates, smoothed))


def find_batch_size(
    config: RunConfig, *, dataset: Dataset | None = None, largest: int | None = None
) -> tuple[list[SizeTrial], int]:
    """Time steps with batches of 8, 16, 32 and so on, and suggest the smallest that is about as fast as the fastest.

    The search ends at ``largest``, by default the size of the training part, where memory runs out, or where doubling
    gains less than 5 % twice in a row. Returns the trials and the suggestion: the smallest size with 90 % of the most
    samples per second.

    ::

        trials, suggestion = find_batch_size(RunConfig(model="lenet", data="digits28"))
    """
    dataset = load(config) if dataset is None else dataset
    end = min(largest or len(dataset.train), len(dataset.train))
    trials: list[SizeTrial] = []
    without_gain = 0
    for size in (2**power for power in range(3, 31)):
        if (size > end and trials) or without_gain == 2:
            break
        trial = _timed(config.model_copy(update={"batch_size": min(size, end), "accumulate": 1}), dataset)
        best = max((each.samples_per_second or 0.0 for each in trials), default=0.0)
        trials.append(trial)
        if trial.samples_per_second is None:
            break
        without_gain = 0 if trial.samples_per_second > _GAIN * best else without_gain + 1
    speeds = {each.batch_size: each.samples_per_second for each in trials if each.samples_per_second is not None}
    if not speeds:
        raise ConfigError(
            "memory for a batch of 8 samples", "none left", "Choose a smaller network, or smaller inputs."
        )
    return trials, min(size for size, speed in speeds.items() if speed >= _GOOD_ENOUGH * max(speeds.values()))


def rate_figure(trial: RateTrial) -> Figure:
    """Draw the loss against the learning rate, with the suggestion marked.

    >>> figure = rate_figure(RateTrial((0.01, 0.1, 1.0), (2.0, 1.0, 3.0), (2.0, 1.4, 2.0), 0.1))
    >>> figure.axes[0].get_xscale()
    'log'
    """
    from striate.insight.figures.sheet import BLUE, GREY

    told = "the loss never fell" if trial.suggestion is None else f"suggestion: {trial.suggestion:.2g}"
    figure, axes = _panel("Loss by learning rate", told, "learning rate", "loss", trial.suggestion)
    axes.set_xscale("log")
    axes.plot(trial.rates, trial.losses, color=GREY, linewidth=0.8)
    axes.plot(trial.rates, trial.smoothed, color=BLUE)
    return figure


def size_figure(trials: list[SizeTrial], suggestion: int) -> Figure:
    """Draw the samples per second against the batch size, with the suggestion marked.

    >>> size_figure([SizeTrial(8, 100.0, 2**20), SizeTrial(16, None, None)], 8).axes[0].get_xscale()
    'log'
    """
    from matplotlib.ticker import ScalarFormatter

    from striate.insight.figures.sheet import BLUE

    told = f"suggestion: {suggestion}"
    figure, axes = _panel("Speed by batch size", told, "batch size", "samples per second", suggestion)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    done = [trial for trial in trials if trial.samples_per_second is not None]
    axes.plot([t.batch_size for t in done], [t.samples_per_second or 0.0 for t in done], color=BLUE, marker="o")
    axes.set_ylim(bottom=0)
    return figure


def _panel(title: str, told: str, across: str, up: str, marked: float | None) -> tuple[Figure, Axes]:
    from matplotlib.ticker import AutoLocator

    from striate.insight.figures.sheet import GREY, MARGIN, ORANGE, TOP, Sheet

    sheet = Sheet(2 * MARGIN + 6.2, TOP + 3.4, title, told)
    axes = sheet.axes(MARGIN + 0.6, TOP + 0.1, 5.4, 2.6)
    axes.yaxis.set_major_locator(AutoLocator())
    axes.tick_params(labelsize=8, color=GREY, labelcolor=GREY)
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    if marked is not None:
        axes.axvline(marked, color=ORANGE, linestyle="--", linewidth=1)
    return sheet.figure, axes


class _Trial:
    """A network with what trains it, for steps that are not kept."""

    def __init__(self, config: RunConfig, dataset: Dataset, feed: Feed) -> None:
        self._config, self._dataset, self._feed = config, dataset, feed
        self._network = Network.of(config, dataset)
        self._preprocessing = Preprocessing.from_dict(self._network.preprocessing)
        self._fabric = Fabric(accelerator=config.device, devices=1, precision=config.precision)
        module = self._network.build()
        regularise(module, config.model, model_entry(self._network.name))
        if config.fine_tuning.weights:
            load_initial(module, config.fine_tuning.weights)
        plain = build_optimizer(config.optimizer, module, fused=config.precision != "16-mixed")
        self._groups = plain.param_groups
        self._model, self._optimizer = self._fabric.setup(module, plain)
        self._network.try_out(self._model, self._preprocessing, dataset.train, self._fabric)
        self._model.train()
        Freezing(module, config.fine_tuning).apply(0)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._fabric.device

    def steps(self) -> Iterator[list[Turn]]:
        """The turns of step after step, of epoch after epoch."""
        config, train = self._config, self._dataset.train
        for epoch in count():
            order = sampled_order(train, config.sampling, config.seed, epoch)
            keys = repetitions(order, len(train)) if config.augmentation else None
            step: list[Turn] = []
            for turn in step_turns(order, keys, epoch, batch_size=config.batch_size, accumulate=config.accumulate):
                step.append(turn)
                if turn.last:
                    yield step
                    step = []

    def train(self, turns: list[Turn], rate: float) -> float:
        """Do one step and return its loss."""
        total = 0.0
        for turn, inputs, targets in self._feed(turns):
            given: tuple[Tensor, Tensor] = self._fabric.to_device((inputs, targets))
            output = self._model(self._preprocessing(given[0]))
            loss = total_loss(self._config.loss, output, self._network.scaled(given[1])) * turn.share
            self._fabric.backward(loss)
            total += loss.item()
        for group in self._groups:
            group["lr"] = rate * group["scale"]
        if self._config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.gradient_clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return total


@contextmanager
def _trial(config: RunConfig, dataset: Dataset | None) -> Iterator[_Trial]:
    dataset = load(config) if dataset is None else dataset
    config = settled(config, dataset)
    augment = augmentation_of(config, dataset)
    with seeded(config.seed), Feed(dataset.parts, augment, config.data.workers) as feed:
        yield _Trial(config, dataset, feed)


def _timed(config: RunConfig, dataset: Dataset) -> SizeTrial:
    size = config.batch_size
    try:
        with _trial(config, dataset) as trial:
            on_gpu = trial.device.type == "cuda"
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            else:
                peak_bytes(anew=True)
            turns = next(trial.steps())
            trial.train(turns, 0.0)  # the first step compiles kernels and makes the optimiser's state
            began, times = time.perf_counter(), list[float]()
            while time.perf_counter() - began < _SECONDS or len(times) < 3:
                step_began = time.perf_counter()
                trial.train(turns, 0.0)
                times.append(time.perf_counter() - step_began)
            peak = torch.cuda.max_memory_allocated() if on_gpu else peak_bytes()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "memory" in str(error):
            return SizeTrial(size, None, None)
        raise
    # The median, because other programs disturb some of the steps.
    return SizeTrial(size, sum(len(turn.indices) for turn in turns) / statistics.median(times), peak)


def _steepest(rates: list[float], smoothed: list[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest per factor of the rate, before its least value."""
    least = min(range(len(smoothed)), key=smoothed.__getitem__, default=0)
    falls = {place: smoothed[place + 1] - smoothed[place] for place in range(least)}
    steepest = min(falls, key=falls.__getitem__, default=None)
    return None if steepest is None or falls[steepest] >= 0 else rates[steepest]
