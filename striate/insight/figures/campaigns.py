"""Pictures of many runs: how a search went, which settings go with which result, and the curves of several runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from striate.errors import InputError
from striate.insight.figures.sheet import BLUE, FAINT, GREY, INK, MARGIN, ORANGE, TOP, Sheet, drawable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", INK, GREY)
_STYLES = ("-", "--", ":", "-.")
READABLE_RUNS = len(_COLOURS) * len(_STYLES)
"""Up to so many runs can be told apart in one figure."""


def history_figure(
    numbers: Sequence[int],
    values: Sequence[float],
    complete: Sequence[bool],
    metric: str,
    *,
    rises: bool = True,
    title: str = "Search",
) -> Figure:
    """Draw the value of every trial, and a line along the best so far of those that are ``complete``.

    ``rises`` says whether more is better. Raises `InputError` if the lengths differ.

    >>> figure = history_figure([0, 1, 2], [0.5, 0.7, 0.6], [True, True, False], "val_accuracy")
    >>> [float(value) for value in figure.axes[0].lines[0].get_ydata()]
    [0.5, 0.7]
    """
    if not len(numbers) == len(values) == len(complete):
        raise InputError(
            "one number, value and state per trial",
            f"{len(numbers)}, {len(values)} and {len(complete)}",
            "Give one of each per trial.",
        )
    done = [(number, value) for number, value, ended in zip(numbers, values, complete, strict=True) if ended]
    left = [(number, value) for number, value, ended in zip(numbers, values, complete, strict=True) if not ended]
    sheet = Sheet(
        2 * MARGIN + 6.2, TOP + 3.55, title, f"{len(done)} complete trials" + (f", {len(left)} pruned" if left else "")
    )
    axes = sheet.axes(MARGIN + 0.5, TOP + 0.2, 5.5, 2.7)
    best = np.maximum if rises else np.minimum
    if done:
        places, told = zip(*done, strict=True)
        axes.plot(places, best.accumulate(told), color=ORANGE, linewidth=1.4, drawstyle="steps-post", label="best")
        axes.plot(places, told, "o", color=BLUE, markersize=4, label="complete")
    if left:
        axes.plot(*zip(*left, strict=True), "x", color=GREY, markersize=4, label="pruned")
    _plain(axes, "trial", metric)
    if done or left:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="best")
    return sheet.figure


def parallel_figure(
    columns: Mapping[str, Sequence[Any]],
    values: Sequence[float],
    metric: str,
    *,
    rises: bool = True,
    title: str = "Settings and results",
) -> Figure:
    """Draw a line per trial through an axis for each setting and one for the result, coloured by the result.

    ``columns`` holds the settings by name, one value per trial: numbers, or anything that is told apart by its text.
    Numbers above 0 that span more than a factor of 20 have a logarithmic axis. ``rises`` says whether more is better,
    which is dark and drawn last. Raises `InputError` if a column is not as long as ``values``.

    >>> figure = parallel_figure({"lr": [0.1, 0.001], "optimizer": ["sgd", "adam"]}, [0.5, 0.7], "val_accuracy")
    >>> len(figure.axes[0].collections[0].get_segments())
    2
    """
    for name, column in columns.items():
        if len(column) != len(values):
            raise InputError(
                f"one value per trial, {len(values)}", f"{len(column)} for {name!r}", "Use None where there is none."
            )
    scales = [_Scale(column) for column in columns.values()] + [_Scale(values)]
    names = [*columns, metric]
    gap = 1.5
    sheet = Sheet(2 * MARGIN + gap * len(scales), TOP + 3.6, title, f"{len(values)} complete trials")
    axes = sheet.axes(MARGIN + 0.45, TOP + 0.35, gap * (len(scales) - 1), 2.8)
    heights = np.array([scale.heights for scale in scales]).T
    order = np.argsort(np.asarray(values) * (1 if rises else -1), kind="stable")
    shade = Normalize(-0.25 * len(values), max(len(values) - 1, 1))
    lines = [np.column_stack((np.arange(len(scales)), heights[trial])) for trial in order]
    colours = [colormaps["Blues"](shade(place)) for place in range(len(order))]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.2))
    axes.set_xlim(0, len(scales) - 1)
    axes.set_ylim(-0.04, 1.04)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for place, (name, scale) in enumerate(zip(names, scales, strict=True)):
        axes.axvline(place, color=GREY, linewidth=0.8, zorder=3)
        for height, text in scale.ticks:
            axes.annotate(
                drawable(text, 14),
                (place, height),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7,
                color=INK,
                va="center",
                zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6},
            )
        raised = 0.14 if place % 2 else 0.0  # so that long names beside each other do not touch
        sheet.text(MARGIN + 0.45 + gap * place, TOP + 0.2 - raised, name[-26:], size=7.5, ha="center")
    return sheet.figure


class _Scale:
    """Where the values of a setting are on its axis, from 0 to 1, and what is written beside it."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.heights: list[float]
        self.ticks: list[tuple[float, str]]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        few = len({repr(value) for value in values}) <= 4
        if len(numbers) < len(values) or (few and all(isinstance(number, int) for number in numbers)):
            different = {repr(value): value for value in values}.values()
            kinds = sorted(different, key=lambda value: (str(type(value)), value or 0))
            place = {repr(kind): index / max(len(kinds) - 1, 1) for index, kind in enumerate(kinds)}
            self.heights = [place[repr(value)] for value in values]
            self.ticks = [(place[repr(kind)], "none" if kind is None else str(kind)) for kind in kinds]
            return
        low, high = min(numbers, default=0.0), max(numbers, default=1.0)
        log = low > 0 and high > 20 * low
        ends = (math.log(low), math.log(high)) if log else (low, high)
        span = (ends[1] - ends[0]) or 1.0
        self.heights = [((math.log(value) if log else value) - ends[0]) / span for value in numbers]
        shares = (0.0, 0.5, 1.0) if high > low else (0.0,)
        told = [ends[0] + share * (ends[1] - ends[0]) for share in shares]
        self.ticks = [(share, f"{math.exp(at) if log else at:.3g}") for share, at in zip(shares, told, strict=True)]


def comparison_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], metric: str, title: str = "Comparison of runs"
) -> Figure:
    """Draw the curve of a metric for several runs: ``{run: (epochs, values)}``.

    Raises `InputError` for more runs than can be told apart, and for curves whose lengths differ.

    >>> len(comparison_figure({"a": ([1, 2], [0.5, 0.7]), "b": ([1], [0.6])}, "val_accuracy").axes[0].lines)
    2
    """
    if len(curves) > READABLE_RUNS:
        raise InputError(f"at most {READABLE_RUNS} runs in a figure", f"{len(curves)} runs", "Choose fewer: --filter.")
    sheet = Sheet(2 * MARGIN + 8.2, TOP + max(3.85, 0.19 * len(curves) + 0.6), title, f"{len(curves)} runs")
    axes = sheet.axes(MARGIN + 0.5, TOP + 0.2, 4.6, 3.0)
    for place, (name, (epochs, values)) in enumerate(curves.items()):
        if len(epochs) != len(values):
            raise InputError("one value per epoch", f"{len(values)} for {len(epochs)} in {name}", "Give as many.")
        axes.plot(
            epochs,
            values,
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_STYLES[place // len(_COLOURS)],
            linewidth=1.5,
            marker="o" if len(epochs) <= 15 else None,
            markersize=3,
            label=drawable(name, 44),
        )
    _plain(axes, "epoch", metric)
    if curves:
        axes.legend(
            frameon=False, fontsize=7.5, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.02, 1.02), handlelength=2.5
        )
    return sheet.figure


def _plain(axes: Axes, across: str, metric: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, labelcolor=GREY, color=FAINT, length=3)
    axes.set_xlabel(across, fontsize=8.5, color=GREY)
    axes.set_title(drawable(metric.replace("_", " ")), loc="left", fontsize=9.5, color=INK)
