"""Pictures of segmentation: input, truth, prediction and errors side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from striate.errors import InputError
from striate.insight.figures.sheet import GREY, MARGIN, TOP, Sheet, as_array, draw_input, drawable, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

FOREGROUND = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#A6761D")
"""Colours of the classes after background, most of them of the palette of Okabe and Ito."""

MISSED, INVENTED, CONFUSED = "#D55E00", "#0072B2", "#F0E442"

_HEADINGS = ("input", "truth", "prediction", "errors")
_OPACITY = 0.55


def overlay_figure(
    inputs: Tensor | Sequence[Tensor],
    truths: Tensor | Sequence[Tensor],
    predictions: Tensor | Sequence[Tensor],
    classes: Sequence[str],
    captions: Sequence[str],
    title: str = "Segmentation",
    *,
    void: int | None = None,
) -> Figure:
    """Draw samples ``(C, *spatial)`` with the labels ``(*spatial)`` they have and were given, one row per sample.

    Volumes are shown by their middle slice along the first axis. Class 0 is left clear; ``void`` is grey in the
    truth and no error. Errors are missed, invented, or taken for another class. Raises `InputError` if the lengths or
    sizes differ.

    >>> import torch
    >>> labels = torch.zeros(1, 8, 8, dtype=torch.long)
    >>> figure = overlay_figure(torch.rand(1, 1, 8, 8), labels, labels, ["ground", "cell"], ["first"])
    >>> len(figure.axes)
    4
    """
    if not len(inputs) == len(truths) == len(predictions) == len(captions):
        lengths = f"{len(inputs)}, {len(truths)}, {len(predictions)} and {len(captions)}"
        raise InputError("as many truths, predictions and captions as inputs", lengths, "Give one of each per sample.")
    samples = [as_array(sample) for sample in inputs]
    masks = [[np.asarray(mask) for mask in each] for each in (truths, predictions)]
    for place, sample in enumerate(samples):
        for mask in (masks[0][place], masks[1][place]):
            if mask.shape != sample.shape[1:]:
                raise InputError(
                    f"labels of size {sample.shape[1:]}", f"{mask.shape}", "Give one label per position of the input."
                )
    sizes = [(1.9 * wide, 1.9 * high) for wide, high in map(shape_of, samples)]
    width = max((wide for wide, _ in sizes), default=1.9)
    below = sum(high + 0.32 for _, high in sizes)
    key = _key(classes, void)
    per_line = max(int((4 * (width + 0.12)) / 1.5), 1)
    lines = -(-len(key) // per_line)
    sheet = Sheet(2 * MARGIN + 4 * (width + 0.12), TOP + 0.2 + below + 0.22 * lines + 0.2, title)
    for column, heading in enumerate(_HEADINGS):
        sheet.text(MARGIN + column * (width + 0.12), TOP, heading, size=9, color=GREY)
    top = TOP + 0.12
    for (wide, high), sample, caption, true, said in zip(sizes, samples, captions, *masks, strict=True):
        shades = (None, _shaded(true, void), _shaded(said, None), _errors(true, said, void))
        for column, shade in enumerate(shades):
            axes = sheet.axes(MARGIN + column * (width + 0.12), top, wide, high)
            draw_input(axes, sample)
            if shade is not None:
                _lay_over(axes, shade)
        sheet.caption(MARGIN, top + high + 0.14, drawable(caption, 90))
        top += high + 0.32
    for place, (name, colour) in enumerate(key):
        line, column = divmod(place, per_line)
        top = sheet.height - 0.22 * (lines - line) - 0.02
        sheet.text(MARGIN + 1.5 * column, top, "\u25a0", size=10, color=colour)
        sheet.caption(MARGIN + 1.5 * column + 0.18, top, drawable(name, 20))
    return sheet.figure


def _key(classes: Sequence[str], void: int | None) -> list[tuple[str, Any]]:
    named = [(name, colour_of(place)) for place, name in enumerate(classes) if place not in (0, void)][:16]
    errors = [("error: missed", MISSED), ("error: invented", INVENTED)]
    if len(named) > 1:
        errors.append(("error: other class", CONFUSED))
    return [*named, *errors, *([("void", "#999999")] if void is not None else [])]


def colour_of(label: int) -> tuple[float, float, float]:
    """The colour of a class other than background; they repeat after 26.

    >>> colour_of(1) == to_rgb("#009E73")
    True
    """
    if label <= len(FOREGROUND):
        return to_rgb(FOREGROUND[label - 1])
    shade = colormaps["tab20"]((label - len(FOREGROUND) - 1) % 20)
    return (shade[0], shade[1], shade[2])


def _middle(mask: NDArray[Any]) -> NDArray[Any]:
    return mask[mask.shape[0] // 2] if mask.ndim == 3 else mask


def _shaded(mask: NDArray[Any], void: int | None) -> NDArray[np.float32]:
    flat = _middle(mask)
    shade = np.zeros((*flat.shape, 4), np.float32)
    for label in np.unique(flat).tolist():
        if label == void:
            shade[flat == label] = (0.6, 0.6, 0.6, _OPACITY)
        elif label:
            shade[flat == label] = (*colour_of(label), _OPACITY)
    return shade


def _errors(true: NDArray[Any], said: NDArray[Any], void: int | None) -> NDArray[np.float32]:
    true, said = _middle(true), _middle(said)
    wrong = (true != said) & (true != (-1 if void is None else void))
    shade = np.zeros((*true.shape, 4), np.float32)
    for where, colour in ((said == 0, MISSED), (true == 0, INVENTED), ((true != 0) & (said != 0), CONFUSED)):
        shade[wrong & where] = (*to_rgb(colour), 0.9)
    return shade


def _lay_over(axes: Axes, shade: NDArray[np.float32]) -> None:
    if shade.ndim == 3:
        axes.imshow(shade, interpolation="nearest", aspect="auto")
        return
    low, high = axes.get_ylim()
    across = axes.get_xlim()
    axes.imshow(shade[None], interpolation="nearest", aspect="auto", extent=(-0.5, len(shade) - 0.5, low, high))
    axes.set_xlim(across)
    axes.set_ylim(low, high)
