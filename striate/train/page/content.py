"""What a page is made of, before it is written: sections of sentences, facts, tables, pictures and listings."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.train.drawings import Drawing

_RESOLUTION = 144


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first cell of each row is its heading. Columns in ``right`` hold numbers."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI, with the words that stand for it."""

    source: str
    words: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under a heading. ``facts`` are names with values, ``listing`` is text of a fixed width."""

    name: str
    title: str
    sentences: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    listing: str = ""


def picture(drawing: Drawing) -> Picture:
    """Draw a figure into a data URI: SVG for lines and texts, PNG for pictures and clouds of points.

    >>> from striate.insight.figures import confusion_figure
    >>> from striate.train.drawings import Drawing
    >>> picture(Drawing("a", confusion_figure([[1, 0], [0, 1]], ["a", "b"]), "A matrix.")).source[:26]
    'data:image/svg+xml;base64,'
    """
    width, height = (round(96 * float(inches)) for inches in drawing.figure.get_size_inches())
    buffer = io.BytesIO()
    if drawing.lines:
        # Names inside an SVG are drawn at random otherwise, and the same run would give another file.
        with mpl.rc_context({"svg.hashsalt": drawing.name}):
            drawing.figure.savefig(buffer, format="svg", metadata={"Date": None})
        kind = "svg+xml"
    else:
        drawing.figure.savefig(buffer, format="png", dpi=_RESOLUTION, metadata={"Software": None})
        kind = "png"
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/{kind};base64,{encoded}", drawing.words, width, height)
