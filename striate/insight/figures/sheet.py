"""The paper that figures are drawn on: sizes in inches, one style, text that any class name can be put into.

Matplotlib's object-oriented interface only: no figure is registered anywhere and no global setting is changed.
"""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from striate.errors import InputError
from striate.files import replacing

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from numpy.typing import NDArray

INK, GREY, FAINT = "#222222", "#6b6b6b", "#d9d9d9"
BLUE, ORANGE = "#0072B2", "#D55E00"
"""Of the palette of Okabe and Ito, which colour-blind readers can tell apart."""

SIGNED: Colormap = mpl.colormaps["RdBu_r"]
"""For values around zero: white is 0, red positive, blue negative."""

FORMATS = ("png", "pdf", "svg")


class Sheet:
    """A white figure with a title, addressed in inches from its top left corner."""

    def __init__(self, width: float, height: float, title: str, subtitle: str = "") -> None:
        self.width = max(width, MARGIN * 2 + 0.075 * max(len(title) * 1.25, len(subtitle)))
        self.height = height
        self.figure = Figure(figsize=(self.width, height), facecolor="white")
        FigureCanvasAgg(self.figure)
        self.text(MARGIN, 0.34, title, size=12, weight="bold")
        if subtitle:
            self.text(MARGIN, 0.57, subtitle, size=8.5, color=GREY)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """New axes without ticks, in a thin grey frame."""
        axes = self.figure.add_axes(
            (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        )
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(FAINT)
            spine.set_linewidth(0.6)
        return axes

    def text(self, left: float, top: float, text: str, *, size: float = 8.5, color: str = INK, **style: Any) -> None:
        """Text whose baseline is ``top`` inches below the upper edge."""
        self.figure.text(left / self.width, 1 - top / self.height, drawable(text), fontsize=size, color=color, **style)

    def caption(self, left: float, top: float, text: str, *, align: str = "left") -> None:
        """Small grey text, ``left`` being its left end, centre or right end as ``align`` says."""
        self.text(left, top, text, size=7.2, color=GREY, ha=align)

    def scale(self, left: float, top: float, width: float, colours: Colormap, norm: Normalize, label: str) -> None:
        """A horizontal bar that says which colour is which value."""
        axes = self.axes(left, top, width, 0.1)
        bar = self.figure.colorbar(ScalarMappable(norm, colours), cax=axes, orientation="horizontal")
        bar.outline.set_visible(False)
        low, high = float(norm.vmin or 0), float(norm.vmax or 0)
        ticks = [low, 0.0, high] if low < 0 < high else [low, high]
        bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
        axes.tick_params(labelsize=7.5, length=2, color=GREY, labelcolor=GREY)
        self.caption(left + width + 0.16, top + 0.09, label)


MARGIN = 0.35
TOP = 0.8
"""Where the content begins, below title and subtitle."""


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=["DejaVu Sans"]))).get_charmap())


def drawable(text: str, longest: int | None = None) -> str:
    r"""Text that the font can draw and that is not taken for mathematics, cut to ``longest`` characters.

    >>> print(drawable("a price in $, and a long name", longest=14))
    a price in \$,…
    """
    lines = "\n".join(
        "".join(
            character if ord(character) in _glyphs() and unicodedata.category(character)[0] != "C" else "\ufffd"
            for character in line
        )
        for line in text.split("\n")
    )
    if longest is not None and len(lines) > longest:
        lines = lines[: max(longest - 1, 1)] + "\u2026"
    return lines.replace("$", r"\$")


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write a figure as PNG, PDF or SVG, beside its place first and then renamed; folders are made as needed.

    Raises `InputError` for another suffix.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Sheet(3, 2, "empty").figure, Path(folder) / "empty.png").name
    'empty.png'
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise InputError(f"a file name ending in .{', .'.join(FORMATS)}", f"{path.name!r}", "Use .png for pictures.")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date or version inside, the same figure is the same file.
    metadata: dict[str, Any] = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
    with replacing(path) as beside:
        figure.savefig(beside, format=kind, dpi=dpi, metadata=metadata)
    return path


# Pictures of tensors -------------------------------------------------------------------------------------------------


def as_array(values: Any) -> NDArray[Any]:
    """A tensor or array as a NumPy array that can be drawn: floats for all but bytes, what is not finite as 0."""
    array = np.asarray(values.detach().cpu().float() if hasattr(values, "detach") else values)
    return array if array.dtype == np.uint8 else np.nan_to_num(array.astype(np.float32), posinf=0, neginf=0)


def flat(sample: NDArray[Any]) -> NDArray[Any]:
    """The middle slice of each volume of ``(C, D, H, W)``; signals and images as they are."""
    return sample[:, sample.shape[1] // 2] if sample.ndim == 4 else sample


def draw_input(axes: Axes, sample: Any) -> None:
    """Draw a network's input ``(C, *spatial)``: signals as lines, images in grey or colour, volumes by a slice."""
    array = flat(as_array(sample))
    if array.ndim == 2:
        for channel, colour in zip(array[:4], (INK, BLUE, ORANGE, GREY), strict=False):
            axes.plot(channel, color=colour, linewidth=0.9)
        axes.margins(x=0.01)
        return
    if array.shape[0] == 3:
        low, high = float(array.min()), float(array.max())
        shown = (np.moveaxis(array, 0, -1).astype(np.float32) - low) / (high - low or 1)
        axes.imshow(shown, interpolation="nearest", aspect="auto")
    else:
        axes.imshow(array[0], cmap="gray", interpolation="nearest", aspect="auto")


def draw_signed(axes: Axes, values: NDArray[Any], limit: float) -> None:
    """Draw one map or filter of one or two axes on a scale from ``-limit`` to ``limit``."""
    if values.ndim == 2:
        axes.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")
        return
    axes.axhline(0, color=FAINT, linewidth=0.6)
    if len(values) <= 16:
        colours = [SIGNED(0.88 if value >= 0 else 0.12) for value in values]
        axes.bar(range(len(values)), values, width=0.8, color=colours)
    else:
        axes.plot(values, color=BLUE, linewidth=0.8)
    axes.set_ylim(-1.08 * limit, 1.08 * limit)
    axes.margins(x=0.02)


def shape_of(sample: NDArray[Any]) -> tuple[float, float]:
    """Width and height in inches of a tile with a sample's proportions, the longer at most 1."""
    array = flat(sample)
    height, width = (0.62, 1.0) if array.ndim == 2 else array.shape[-2:]
    longest = max(height, width)
    return max(width / longest, 0.3), max(height / longest, 0.3)
