"""Pictures of how well a network does: confusion matrix, worst mistakes, learning curves, one prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from striate.errors import InputError
from striate.insight.figures.sheet import (
    BLUE,
    FAINT,
    GREY,
    INK,
    MARGIN,
    ORANGE,
    TOP,
    Sheet,
    as_array,
    draw_input,
    drawable,
    shape_of,
)
from striate.insight.figures.tiles import nothing_figure, texts_figure, tiles_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

PALE = "#9fb6c6"

READABLE_CLASSES = 30
"""Up to so many classes the matrix has a number in every cell and a label on every row."""


def confusion_figure(
    counts: Any, classes: Sequence[str], title: str = "Confusion matrix", *, unit: str = "samples"
) -> Figure:
    """Draw a confusion matrix ``(true, predicted)`` of counts of a ``unit``, shaded by the share of each true class.

    Up to 30 classes every cell has its count; beyond, shading alone, labels as room allows, and a list of the most
    frequent confusions. Raises `InputError` if the matrix is not square or does not fit the classes.

    >>> len(confusion_figure([[5, 1], [0, 4]], ["cat", "dog"]).axes[0].texts)  # zeros are left blank
    3
    """
    matrix = np.asarray(counts.cpu() if hasattr(counts, "cpu") else counts)
    number = len(classes)
    if matrix.shape != (number, number):
        raise InputError(
            f"a confusion matrix of {number} x {number}, one row and column per class",
            f"shape {matrix.shape}",
            "Count every class, also those without samples.",
        )
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    total, right = int(matrix.sum()), int(np.trace(matrix))
    accuracy = f", {100 * right / total:.2f} % right" if total else ""
    readable = number <= READABLE_CLASSES
    cell = min(max(4.6 / number, 0.34), 0.62) if readable else 5.6 / number
    side = cell * number
    longest = 18
    names = [drawable(name, longest) for name in classes]
    label = 0.25 + 0.075 * max(map(len, names), default=1)
    beside = 2.9 if not readable else 0.0
    upright = 0.075 * max(map(len, names), default=0) < cell if readable else False
    left, top = MARGIN + label + 0.2, TOP + 0.1
    below = 0.25 if upright else label
    sheet = Sheet(
        left + side + MARGIN + beside,
        top + side + below + 0.95,
        title,
        f"{total:,} {unit}{accuracy}; rows are the true classes",
    )
    axes = sheet.axes(left, top, side, side)
    # The square root makes rare confusions visible; the bar shows it.
    norm = PowerNorm(0.5, 0, 1)
    colours = colormaps["Blues"]
    axes.imshow(share, cmap=colours, norm=norm, interpolation="nearest", aspect="auto")
    step = 1 if readable else math.ceil(number * 0.13 / side)
    ticks = list(range(0, number, step))
    size = 8.5 if readable else 6.5
    axes.set_xticks(ticks, [names[tick] for tick in ticks], rotation=0 if upright else 90)
    axes.set_yticks(ticks, [names[tick] for tick in ticks])
    axes.tick_params(length=0, labelsize=size, labelcolor=INK)
    axes.set_xlabel("predicted", fontsize=9, color=GREY)
    axes.set_ylabel("true", fontsize=9, color=GREY)
    if readable:
        digits = max(len(str(int(matrix.max(initial=0)))), 2)
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = norm(share[row, column]) > 0.55
            axes.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                fontsize=min(9.0, 90 * cell / digits),
                color="white" if dark else INK,
            )
    else:
        _list_confusions(sheet, matrix, names, left + side + 0.35, top)
    bar = sheet.axes(left, sheet.height - 0.42, min(side, 1.6), 0.1)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=colours, norm=norm, aspect="auto", extent=(0, 1, 0, 1))
    bar.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    bar.tick_params(length=2, labelsize=7.5, labelcolor=GREY, color=GREY)
    sheet.text(left + min(side, 1.6) + 0.25, sheet.height - 0.33, "share of the true class", size=7.5, color=GREY)
    return sheet.figure


def _list_confusions(sheet: Sheet, matrix: Any, names: list[str], left: float, top: float) -> None:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = [index for index in np.argsort(-wrong, axis=None, kind="stable")[:20] if wrong.flat[index]]
    sheet.text(left, top + 0.1, "most frequent confusions", size=9, weight="bold")
    for line, index in enumerate(order):
        true, predicted = divmod(int(index), len(names))
        sheet.text(left + 0.3, top + 0.36 + 0.2 * line, str(wrong.flat[index]), size=8, ha="right")
        text = f"{names[true]} \u2192 {names[predicted]}".replace(r"\$", "$")
        sheet.text(left + 0.4, top + 0.36 + 0.2 * line, text, size=8)


def mistakes_figure(
    inputs: Tensor | Sequence[str],
    true: Sequence[str],
    predicted: Sequence[str],
    probabilities: Sequence[float],
    title: str = "Worst mistakes",
    *,
    limit: int = 20,
) -> Figure:
    """Draw wrongly classified samples ``(N, C, *spatial)``, in the order given, with what was said and how surely.

    Texts are written out. ``probabilities`` are those of the predicted classes. Raises `InputError` if the lengths
    differ.

    >>> import torch
    >>> len(mistakes_figure(torch.rand(2, 1, 8, 8), ["3", "5"], ["8", "6"], [0.9, 0.6]).axes)
    2
    """
    lengths = (len(inputs), len(true), len(predicted), len(probabilities))
    if len(set(lengths)) > 1:
        raise InputError(
            "as many inputs as true classes, predicted classes and probabilities",
            f"{', '.join(map(str, lengths))}",
            "Give one of each per mistake.",
        )
    count, shown = lengths[0], min(lengths[0], limit)
    if not shown:
        return nothing_figure(title, "None: every sample was classified correctly.")
    said = [f"said {_cut(predicted[i], 16)}  {_percent(probabilities[i])}" for i in range(shown)]
    truth = [f"true {_cut(true[i], 16)}" for i in range(shown)]
    subtitle = f"the {shown} surest of {count}" if shown < count else f"{count} in all"
    if isinstance(inputs, Sequence):
        return texts_figure(inputs[:shown], truth, said, title, subtitle)
    return tiles_figure(inputs[:shown], truth, said, title, subtitle)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def _percent(probability: float) -> str:
    # A network is never quite sure.
    return ">99.9 %" if 0.999 < probability < 1 else f"{probability:.1%}".replace("%", " %")


def curves_figure(
    epochs: Sequence[float],
    loss: Mapping[str, Sequence[float]],
    accuracy: Mapping[str, Sequence[float]] | None = None,
    title: str = "Learning curves",
    *,
    best_epoch: float | None = None,
    metric: str = "accuracy",
    percent: bool = True,
    lower_is_better: bool = False,
) -> Figure:
    """Draw loss and accuracy per epoch, one line for each part of the data (``{"train": [...], "val": [...]}``).

    Accuracies are shares from 0 to 1; that of the last part at ``best_epoch`` is marked, or its first best one where
    none is given. Another ``metric`` takes their place by its name, told in ``percent`` or as it is. Missing values are
    NaN. Raises `InputError` if a curve is not as long as ``epochs``, or
    ``best_epoch`` is not one of them.

    >>> figure = curves_figure([1, 2], {"train": [2.0, 1.0], "val": [2.1, 1.3]}, {"val": [0.5, 0.8]})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['loss', 'accuracy']
    """
    panels = {"loss": loss} | ({metric: accuracy} if accuracy else {})
    for name, curves in panels.items():
        for part, values in curves.items():
            if len(values) != len(epochs):
                raise InputError(
                    f"one {name} per epoch, {len(epochs)}", f"{len(values)} for {part!r}", "Fill gaps with NaN."
                )
    if best_epoch is not None and best_epoch not in epochs:
        drawn = f"{min(epochs):g} to {max(epochs):g}" if epochs else "none"
        raise InputError(
            f"best_epoch to be one of the epochs, {drawn}", f"best_epoch={best_epoch!r}", "Leave it out if unknown."
        )
    width, height = 3.7, 2.5
    sheet = Sheet(2 * MARGIN + len(panels) * (width + 0.6), TOP + height + 0.85, title, f"{len(epochs)} epochs")
    for index, (name, curves) in enumerate(panels.items()):
        axes = sheet.axes(MARGIN + 0.35 + index * (width + 0.6), TOP + 0.25, width, height)
        _draw_curves(axes, epochs, curves)
        axes.set_title(drawable(name.replace("_", " ")), loc="left", fontsize=9.5, color=INK)
        if name == metric:
            if percent:
                axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
            _mark_best(axes, epochs, curves, best_epoch, percent=percent, sign=-1 if lower_is_better else 1)
    return sheet.figure


def _draw_curves(axes: Axes, epochs: Sequence[float], curves: Mapping[str, Sequence[float]]) -> None:
    for colour, (part, values) in zip((BLUE, ORANGE, GREY, INK), curves.items(), strict=False):
        marker = "o" if len(epochs) <= 15 else None
        axes.plot(epochs, values, color=colour, linewidth=1.6, marker=marker, markersize=3.5, label=drawable(part))
    finite = [value for values in curves.values() for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > 50 * min(finite):
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, labelcolor=GREY, color=FAINT, length=3, which="both")
    axes.set_xlabel("epoch", fontsize=8.5, color=GREY)
    if curves:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="best")


def _mark_best(
    axes: Axes,
    epochs: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    best_epoch: float | None,
    *,
    percent: bool,
    sign: int,
) -> None:
    part, values = list(curves.items())[-1]
    candidates = [
        (value, epoch)
        for value, epoch in zip(values, epochs, strict=True)
        if math.isfinite(value) and best_epoch in (None, epoch)
    ]
    if not candidates:
        return
    best, epoch = max(candidates, key=lambda candidate: sign * candidate[0])  # the first of equals
    axes.plot([epoch], [best], "o", markersize=7, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1)
    told = f"{100 * best:.2f} %" if percent else f"{best:.4g}"
    text = f"best {part} {told} at epoch {epoch:g}"
    axes.set_title(drawable(text), loc="right", fontsize=8, color=GREY)


def prediction_figure(
    input: Tensor, classes: Sequence[str], probabilities: Sequence[float], *, true: str | None = None, top: int = 5
) -> Figure:
    """Draw a sample ``(C, *spatial)`` beside its ``top`` most probable classes.

    ``classes`` and ``probabilities`` run over all classes. Raises `InputError` if their lengths differ.

    >>> import torch
    >>> figure = prediction_figure(torch.rand(1, 8, 8), ["cat", "dog"], [0.2, 0.8])
    >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]
    ['dog', 'cat']
    """
    values = [float(value) for value in probabilities]
    if len(values) != len(classes):
        raise InputError(
            f"one probability per class, {len(classes)}", f"{len(values)}", "Give the whole softmax output."
        )
    order = sorted(range(len(values)), key=lambda index: -values[index])[:top]
    array = as_array(input)
    width, height = (2.2 * part for part in shape_of(array))
    names = [drawable(classes[index], 24) for index in order]
    label = 0.2 + 0.085 * max(map(len, names), default=1)
    body = max(height, 0.36 * len(order))
    said = f"{classes[order[0]]}, {_percent(values[order[0]])}"
    subtitle = "" if true is None else f"true class: {true}"
    sheet = Sheet(2 * MARGIN + width + 0.3 + label + 3.0 + 0.5, TOP + body + 0.3, _cut(said, 48), subtitle)
    draw_input(sheet.axes(MARGIN, TOP, width, height), array)
    axes = sheet.axes(MARGIN + width + 0.3 + label, TOP, 3.0, 0.36 * len(order))
    shares = [values[index] for index in order]
    colours = [
        ORANGE if true is not None and classes[index] != true and place == 0 else BLUE
        for place, index in enumerate(order)
    ]
    axes.barh(range(len(order)), shares, height=0.62, color=[colours[0], *(["#9fb6c6"] * (len(order) - 1))])
    axes.set_xlim(0, 1)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_yticks(range(len(order)), names)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    for place, share in enumerate(shares):
        inside = share > 0.8
        axes.text(
            share - 0.015 if inside else share + 0.015,
            place,
            _percent(share),
            ha="right" if inside else "left",
            va="center",
            fontsize=8.5,
            color="white" if inside else INK,
        )
    return sheet.figure
