"""Pictures of scores: curves of rates, calibration, and bars with intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from striate.errors import InputError
from striate.insight.figures.sheet import BLUE, FAINT, GREY, INK, MARGIN, ORANGE, TOP, Sheet, drawable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666", "#8C6BB1")
"""The palette of Okabe and Ito without its yellow, which is hard to see on white, and with a grey and a violet."""

NAMED_CURVES = len(COLOURS)
"""So many curves have colours and names; more are grey, with their mean in blue."""

SIDE = 3.6


def roc_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    areas: Mapping[str, float],
    title: str = "Receiver operating characteristic",
    *,
    equal_error: float | None = None,
    logarithmic: bool = False,
) -> Figure:
    """Draw curves of true positive rates over false positive ones, by name, with the ``areas`` below them.

    Each curve is (false positive rates, true positive rates). ``equal_error`` marks where the two errors are equal;
    ``logarithmic`` spreads the small false rates, which matter for verification. Raises `InputError` for a curve whose
    two lengths differ.

    >>> figure = roc_figure({"cat": ([0, 0, 1], [0, 1, 1])}, {"cat": 1.0})
    >>> figure.axes[0].get_legend().get_texts()[0].get_text()
    'cat  1.000'
    """
    sheet, axes = _curve_sheet(curves, areas, title, "area under the curve")
    low = 1.0
    if logarithmic:
        positive = [rate for rates, _ in curves.values() for rate in rates if rate > 0]
        low = 10.0 ** math.floor(math.log10(min(positive, default=0.1)))
        axes.set_xscale("log")
        axes.set_xlim(low, 1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    line = np.geomspace(low, 1, 100) if logarithmic else np.array([0.0, 1.0])
    axes.plot(line, line, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    if equal_error is not None:
        axes.plot([equal_error], [1 - equal_error], "o", markersize=6, markerfacecolor="none", markeredgecolor=INK)
        sheet.caption(MARGIN + 0.55, sheet.height - 0.12, f"circle: equal error rate {100 * equal_error:.2f} %")
    axes.set_xlabel("false positive rate", fontsize=8.5, color=GREY)
    axes.set_ylabel("true positive rate", fontsize=8.5, color=GREY)
    return sheet.figure


def precision_recall_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    areas: Mapping[str, float],
    title: str = "Precision and recall",
) -> Figure:
    """Draw curves of precision over recall, by name, with the average precision of each.

    Each curve is (recalls, precisions). Raises `InputError` for a curve whose two lengths differ.

    >>> len(precision_recall_figure({"cat": ([0, 1], [1, 0.5])}, {"cat": 0.75}).axes[0].lines)
    1
    """
    sheet, axes = _curve_sheet(curves, areas, title, "average precision")
    axes.set_xlabel("recall", fontsize=8.5, color=GREY)
    axes.set_ylabel("precision", fontsize=8.5, color=GREY)
    return sheet.figure


def _curve_sheet(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], areas: Mapping[str, float], title: str, area: str
) -> tuple[Sheet, Axes]:
    for name, (across, up) in curves.items():
        if len(across) != len(up):
            raise InputError("curves of points", f"{name!r} with {len(across)} and {len(up)}", "Give pairs.")
    named = len(curves) <= NAMED_CURVES
    labels = {name: f"{drawable(name, 20)}  {areas[name]:.3f}" for name in curves}
    beside = 0.45 + 0.075 * max(map(len, labels.values()), default=0) if named else 0.2
    sheet = Sheet(MARGIN + 0.55 + SIDE + beside + MARGIN, TOP + SIDE + 0.75, title, f"{area}: {_mean_of(areas)}")
    axes = sheet.axes(MARGIN + 0.55, TOP + 0.1, SIDE, SIDE)
    plain(axes)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.015)
    for place, (name, (across, up)) in enumerate(curves.items()):
        colour = COLOURS[place] if named else "#b9c4cc"
        axes.plot(across, up, color=colour, linewidth=1.5 if named else 0.7, label=labels[name], zorder=2)
    if not named:
        grid = np.linspace(0, 1, 201)
        mean = np.mean([_interpolated(grid, across, up) for across, up in curves.values()], axis=0)
        axes.plot(grid, mean, color=BLUE, linewidth=1.8, label=f"mean of {len(curves)}", zorder=3)
        axes.legend(handles=axes.lines[-1:], frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
    elif curves:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.02))
    return sheet, axes


def _interpolated(grid: Any, across: Sequence[float], up: Sequence[float]) -> Any:
    order = np.argsort(np.asarray(across), kind="stable")
    return np.interp(grid, np.asarray(across)[order], np.asarray(up)[order])


def _mean_of(areas: Mapping[str, float]) -> str:
    if not areas:
        return "none"
    mean = sum(areas.values()) / len(areas)
    return f"{mean:.4f}" if len(areas) == 1 else f"{mean:.4f} on average over {len(areas)}"


def plain(axes: Axes) -> None:
    """Give axes ticks, a faint grid, and lines on two sides only."""
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, labelcolor=GREY, color=FAINT, length=3, which="both")


def reliability_figure(
    edges: Sequence[float],
    counts: Sequence[int],
    accuracy: Sequence[float | None],
    confidence: Sequence[float | None],
    title: str = "Calibration",
    *,
    subtitle: str = "",
) -> Figure:
    """Draw a reliability diagram: accuracy and mean confidence of each bin of confidence, and how many samples it has.

    ``edges`` has one entry more than the others; accuracy and confidence of an empty bin are None. Raises `InputError`
    for other lengths.

    >>> figure = reliability_figure([0, 0.5, 1], [0, 4], [None, 0.5], [None, 0.9])
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['accuracy', 'samples']
    """
    lengths = {len(edges) - 1, len(counts), len(accuracy), len(confidence)}
    if len(lengths) > 1:
        raise InputError("one more edge than bins", f"lengths {sorted(lengths)}", "Give one of each per bin.")
    low = 0.25
    sheet = Sheet(2 * MARGIN + 0.75 + SIDE, TOP + SIDE + low * SIDE + 0.95, title, subtitle)
    axes = sheet.axes(MARGIN + 0.55, TOP + 0.1, SIDE, SIDE)
    below = sheet.axes(MARGIN + 0.55, TOP + SIDE + 0.25, SIDE, low * SIDE)
    starts, widths = np.asarray(edges[:-1], dtype=float), np.diff(np.asarray(edges, dtype=float))
    told = np.asarray(counts) > 0
    right, sure = np.nan_to_num(np.asarray(accuracy, float)), np.nan_to_num(np.asarray(confidence, float))
    for each in (axes, below):
        plain(each)
        each.set_xlim(0, 1)
    axes.set_ylim(0, 1.0)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=3)
    edge: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.6, "align": "edge"}
    axes.bar(starts[told], right[told], widths[told], color=BLUE, label="accuracy", **edge)
    across = np.stack((starts[told], (starts + widths)[told]))
    axes.plot(across, np.stack((sure[told],) * 2), color=ORANGE, linewidth=2, solid_capstyle="butt")
    axes.plot([], [], color=ORANGE, linewidth=2, label="confidence")
    axes.set_ylabel("accuracy", fontsize=8.5, color=GREY)
    axes.set_xticklabels([])
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    below.bar(starts, counts, widths, color="#9fb6c6", **edge)
    below.set_ylabel("samples", fontsize=8.5, color=GREY)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.set_xlabel("confidence", fontsize=8.5, color=GREY)
    return sheet.figure


def bars_figure(
    names: Sequence[str],
    values: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None],
    title: str,
    subtitle: str = "",
    *,
    limit: int = 60,
) -> Figure:
    """Draw a bar per class with its confidence interval, on a scale from 0 to 1; of more than ``limit`` the lowest.

    A value of None leaves its row empty. Raises `InputError` if the lengths differ.

    >>> len(bars_figure(["cat", "dog"], [0.9, 0.8], [(0.85, 0.95), None], "Recall").axes[0].patches)
    2
    """
    if not len(names) == len(values) == len(intervals):
        lengths = f"{len(names)}, {len(values)} and {len(intervals)}"
        raise InputError("as many names as values and intervals", lengths, "Give one of each per class.")
    order = list(range(len(names)))
    if len(order) > limit:
        order = sorted(order, key=lambda place: (values[place] is None, values[place] or 0.0))[:limit]
        subtitle = f"{subtitle}; the lowest {limit} of {len(names)}".lstrip("; ")
    shown = [drawable(names[place], 22) for place in order]
    label, row, wide = 0.25 + 0.078 * max(map(len, shown), default=1), 0.27, 3.6
    height = row * max(len(order), 1)
    sheet = Sheet(MARGIN + label + wide + 0.65 + MARGIN, TOP + height + 0.6, title, subtitle)
    axes = sheet.axes(MARGIN + label, TOP + 0.05, wide, height)
    plain(axes)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_yticks(range(len(order)), shown)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8.5)
    for line, place in enumerate(order):
        value, interval = values[place], intervals[place]
        if value is None:
            continue
        axes.barh(line, value, height=0.62, color=BLUE)
        if interval is not None:
            axes.plot(interval, [line, line], color=INK, linewidth=1.1, solid_capstyle="butt")
            for bound in interval:
                axes.plot([bound, bound], [line - 0.16, line + 0.16], color=INK, linewidth=1.1)
        sheet.text(MARGIN + label + wide + 0.08, TOP + 0.05 + row * (line + 0.62), f"{value:.3f}", size=8)
    return sheet.figure
