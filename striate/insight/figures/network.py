"""Pictures of a network's inside: its filters, and the maps it makes of an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize

from striate.insight.figures.sheet import (
    MARGIN,
    SIGNED,
    TOP,
    Sheet,
    as_array,
    draw_input,
    draw_signed,
    flat,
    shape_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from striate.insight.feature_maps import Stage

GAP = 0.08
_STEP_TITLES = {"convolution": "convolution", "activation": "non-linearity", "pooling": "pooling"}


def filter_figure(weight: Tensor, name: str = "", *, limit: int = 64) -> Figure:
    """Draw the filters of one convolution, ``(C_out, C_in // groups, *kernel_size)``.

    White is zero, red positive, blue negative, on one scale for the layer. Filters of one input channel fill a grid;
    those of three in 2-D are drawn in colour; with more channels each filter is a row, with its channels (and in 3-D
    the slices of each) as columns. At most ``limit`` tiles of a grid, or 16 rows and columns, are drawn, and the
    subtitle says how many there are. 1-D filters are bars, or lines when long.

    >>> import torch
    >>> filter_figure(torch.randn(6, 1, 5, 5), "features.0").axes[0].get_images()[0].get_array().shape
    (5, 5)
    """
    array = as_array(weight)
    count, channels, spatial_dims = array.shape[0], array.shape[1], array.ndim - 2
    scale = float(np.abs(array).max()) or 1.0
    size = " x ".join(map(str, array.shape[2:]))
    described = f"{count} filters of {size} over {channels} channel{'s' * (channels != 1)}"
    columns = min(8, count)
    starts = range(0, min(count, limit), columns)
    labels: list[str] = []
    if spatial_dims == 2 and channels == 3:
        coloured = np.moveaxis(0.5 + array / (2 * scale), 1, -1)
        tiles = [list(coloured[start : min(start + columns, limit)]) for start in starts]
    elif channels == 1 and spatial_dims < 3:
        tiles = [list(array[start : min(start + columns, limit), 0]) for start in starts]
    else:
        # Slices are further columns.
        flattened = array.reshape(count, -1, *array.shape[-2:]) if spatial_dims == 3 else array
        depth = array.shape[2] if spatial_dims == 3 else 1
        tiles = [list(row[:16]) for row in flattened[:16]]
        labels = [
            f"{column // depth}:{column % depth}" if depth > 1 else f"{column}" for column in range(len(tiles[0]))
        ]
    shown = sum(map(len, tiles))
    total = count * (channels if labels else 1) * (array.shape[2] if labels and spatial_dims == 3 else 1)
    if shown < total:
        described += f"; the first {len(tiles)} x {len(tiles[0])} tiles are shown"
    if labels:
        described += "; a row is a filter, a column a channel" + (":slice" if spatial_dims == 3 else "")
    side = 0.62 if labels else 0.8
    width, height = (side * part for part in (shape_of(array[0]) if spatial_dims == 1 else _proportions(tiles[0][0])))
    left, top = MARGIN + (0.3 if labels else 0), TOP + (0.16 if labels else 0)
    sheet = Sheet(
        left + len(tiles[0]) * (width + GAP) + MARGIN,
        top + len(tiles) * (height + GAP) + 0.62,
        f"Filters of {name}" if name else "Filters",
        described,
    )
    for row, entries in enumerate(tiles):
        for column, tile in enumerate(entries):
            axes = sheet.axes(left + column * (width + GAP), top + row * (height + GAP), width, height)
            if tile.ndim == 3:
                axes.imshow(tile, interpolation="nearest", aspect="auto")
            else:
                draw_signed(axes, tile, scale)
        if labels:
            sheet.caption(left - 0.12, top + row * (height + GAP) + height / 2 + 0.04, f"{row}", align="right")
    for column, label in enumerate(labels):
        sheet.caption(left + column * (width + GAP) + width / 2, top - 0.07, label, align="center")
    bottom = top + len(tiles) * (height + GAP) + 0.14
    if tiles[0][0].ndim == 3:
        sheet.caption(left, bottom + 0.1, f"red, green and blue weights; mid grey is 0, full colour {scale:.3g}")
    elif spatial_dims == 1:
        sheet.caption(left, bottom + 0.1, f"vertical range -{scale:.3g} to {scale:.3g}")
    else:
        sheet.scale(left, bottom, 1.2, SIGNED, Normalize(-scale, scale), "weight")
    return sheet.figure


def _proportions(tile: NDArray[Any]) -> tuple[float, float]:
    height, width = tile.shape[:2]
    longest = max(height, width)
    return max(width / longest, 0.3), max(height / longest, 0.3)


def feature_map_figure(stage: Stage, input: Tensor, *, sample: int = 0, limit: int = 16) -> Figure:
    """Draw what a convolution made of an input ``(N, C, *spatial)``, and what its non-linearity and pooling made of it.

    The steps stand under one another, channel by channel, on one scale: white is zero, red positive, blue negative. The
    input is beside them. Signals are lines, volumes their middle slices. At most ``limit`` channels are drawn, and the
    subtitle says how many there are.

    >>> import torch
    >>> from striate.insight import feature_maps
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    >>> image = torch.rand(1, 1, 8, 8)
    >>> len(feature_map_figure(feature_maps(net, image)["0"], image).axes)  # input, 2 x 4 maps, scale
    10
    """
    steps = {step: as_array(maps[sample]) for step, maps in stage.steps.items()}
    maps = steps["convolution"]
    count, shown = maps.shape[0], min(maps.shape[0], limit)
    # A few extremes would leave everything else pale.
    scale = float(np.quantile(np.abs(np.concatenate([step.ravel() for step in steps.values()])), 0.998)) or 1.0
    columns = min(8, shown)
    groups = -(-shown // columns)
    width, height = shape_of(maps)
    source = as_array(input[sample] if input.ndim == maps.ndim + 1 else input)
    input_width, input_height = (1.7 * part for part in shape_of(source))
    labels = max(len(_STEP_TITLES[step]) for step in steps) * 0.065 + 0.25
    left = MARGIN + input_width + 0.4 + labels
    group_height = len(steps) * (height + GAP) + 0.2
    body = max(groups * group_height, input_height + 0.3)
    size = " x ".join(map(str, maps.shape[1:]))
    described = f"{count} maps of {size}" + (f", the first {shown} shown" if shown < count else "")
    if maps.ndim == 4:
        described += ", middle slices"
    arrow = " \u2192 "
    sheet = Sheet(
        left + columns * (width + GAP) + MARGIN,
        TOP + body + 0.5,
        f"Maps of {stage.name}: {arrow.join(_STEP_TITLES[step] for step in steps)}",
        described,
    )
    draw_input(sheet.axes(MARGIN, TOP + 0.15, input_width, input_height), source)
    sheet.caption(MARGIN, TOP + 0.08, f"input {' x '.join(map(str, source.shape))}")
    for channel in range(shown):
        group, column = divmod(channel, columns)
        for row, values in enumerate(steps.values()):
            top = TOP + 0.15 + group * group_height + row * (height + GAP)
            draw_signed(sheet.axes(left + column * (width + GAP), top, width, height), flat(values)[channel], scale)
        sheet.caption(
            left + column * (width + GAP) + width / 2, TOP + 0.08 + group * group_height, f"{channel}", align="center"
        )
    for group in range(groups):
        for row, (step, values) in enumerate(steps.items()):
            middle = TOP + 0.15 + group * group_height + row * (height + GAP) + height / 2
            sheet.text(left - 0.12, middle, _STEP_TITLES[step], size=8, ha="right")
            sheet.caption(left - 0.12, middle + 0.14, " x ".join(map(str, values.shape[1:])), align="right")
    bottom = TOP + body + 0.12
    if maps.ndim == 2:
        sheet.caption(left, bottom + 0.1, f"vertical range -{scale:.3g} to {scale:.3g}")
    else:
        sheet.scale(left, bottom, 1.2, SIGNED, Normalize(-scale, scale), "value")
    return sheet.figure
