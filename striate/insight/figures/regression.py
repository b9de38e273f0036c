"""Pictures of predicted numbers: what was said over what is true, and what is left between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from striate.errors import InputError
from striate.insight.figures.scoring import plain
from striate.insight.figures.sheet import BLUE, GREY, INK, MARGIN, ORANGE, TOP, Sheet, as_array, drawable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 5000
MOST_OUTPUTS = 8

SIDE = 2.7


def regression_figure(
    true: Any, predicted: Any, names: Sequence[str], title: str = "Predicted and true", *, seed: int = 0
) -> Figure:
    """Draw predictions ``(n, outputs)`` over the truth, and their residuals, one row per output.

    Of more than 5000 samples so many are drawn, chosen by ``seed``; of more than 8 outputs the first 8. Raises
    `InputError` if the shapes differ or do not fit the names.

    >>> import torch
    >>> true = torch.rand(10, 1)
    >>> [axes.get_xlabel() for axes in regression_figure(true, true + 0.1, ["age"]).axes]
    ['true age', 'predicted age']
    """
    truth, said = as_array(true), as_array(predicted)
    if truth.shape != said.shape or truth.ndim != 2 or truth.shape[1] != len(names):
        raise InputError(
            f"true and predicted values of shape (n, {len(names)})",
            f"{truth.shape} and {said.shape}",
            "Give one column per name.",
        )
    count, shown = len(truth), min(len(names), MOST_OUTPUTS)
    drawn = np.arange(count)
    if count > MOST_POINTS:
        drawn = np.sort(np.random.default_rng(seed).choice(count, MOST_POINTS, replace=False))
    told = f"{count:,} samples" + (f", {MOST_POINTS:,} drawn" if count > MOST_POINTS else "")
    told += f"; the first {shown} of {len(names)} outputs" if shown < len(names) else ""
    row = SIDE + 0.75
    sheet = Sheet(2 * MARGIN + 2 * (SIDE + 0.75), TOP + shown * row, title, told)
    for place in range(shown):
        one, other = truth[drawn, place], said[drawn, place]
        top, name = TOP + 0.1 + place * row, drawable(names[place], 24)
        axes = sheet.axes(MARGIN + 0.45, top, SIDE, SIDE)
        _scatter(axes, one, other)
        low, high = min(one.min(), other.min()), max(one.max(), other.max())
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xlabel(f"true {name}", fontsize=8.5, color=GREY)
        axes.set_ylabel(f"predicted {name}", fontsize=8.5, color=GREY)
        axes = sheet.axes(MARGIN + 0.45 + SIDE + 0.75, top, SIDE, SIDE)
        _scatter(axes, other, other - one)
        axes.axhline(0, color=INK, linewidth=0.8)
        mean = float((said[:, place] - truth[:, place]).mean())
        axes.axhline(mean, color=ORANGE, linewidth=1)
        axes.set_title(f"mean residual {mean:.3g}", loc="right", fontsize=8, color=ORANGE)
        axes.set_xlabel(f"predicted {name}", fontsize=8.5, color=GREY)
        axes.set_ylabel("residual", fontsize=8.5, color=GREY)
    return sheet.figure


def _scatter(axes: Axes, across: Any, up: Any) -> None:
    plain(axes)
    alpha = float(np.clip(60 / np.sqrt(max(len(across), 1)) / 3, 0.15, 0.8))
    axes.scatter(across, up, s=9, color=BLUE, alpha=alpha, linewidths=0)
