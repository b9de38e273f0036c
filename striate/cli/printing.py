"""What commands print with: sentences, tables and JSON, on a terminal, in a pipe or in a file.

Sentences are broken by the terminal and never here, so that what is piped on keeps its lines. Texts from outside (names
of files and classes) are never taken for Rich's markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.segment import Segment
    from rich.table import Table
    from rich.text import Text

output = Console(highlight=False)
messages = Console(stderr=True, highlight=False)

_NARROW = 24  # characters that a column of prose keeps, however narrow the terminal
_CUT = 16  # and one whose texts end in an ellipsis


def say(text: str) -> None:
    """Print a sentence, or a name, on standard output as it is."""
    output.print(text, markup=False, soft_wrap=True)


def terminal_width() -> int | None:
    """The number of characters in a line of the terminal; None where standard output goes to a pipe or a file."""
    return output.width if output.is_terminal else None


def say_paragraph(text: str) -> None:
    """Print an empty line and a paragraph of prose, broken between words on a terminal and not broken elsewhere."""
    import textwrap

    line = " ".join(text.split())
    say("\n" + (textwrap.fill(line, width) if (width := terminal_width()) else line))


def report(label: str, text: str, *, style: str = "bold red") -> None:
    """Print a labelled message on standard error."""
    from rich.text import Text

    messages.print(Text.assemble((f"{label}: ", style), text), soft_wrap=True)


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), cut: bool = False
) -> None:
    """Print rows below headings; the columns in ``right`` are right-aligned. A row of one text is a heading by itself.

    Only the last column, where it is not right-aligned, is broken into lines on a narrow terminal, or with ``cut``
    ended by an ellipsis so that every row is one line. A table that is still too wide, or that goes to a pipe or a
    file, keeps its natural width.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        breaks = place == len(headings) - 1 and heading not in right
        made.add_column(heading, justify="right" if heading in right else "left", no_wrap=not breaks)
    for row in rows:
        texts = [Text(text, no_wrap=cut, overflow="ellipsis" if cut else None) for text in row]
        made.add_row(*texts, style="bold" if len(row) == 1 < len(headings) else None)
    longest = max((len(row[-1]) for row in rows if len(row) == len(headings)), default=0)
    _print(made, prose=longest if headings[-1] not in right else 0, least_prose=_CUT if cut else _NARROW)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and what they stand for, in two columns."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column()
    for name, text in facts:
        made.add_row(name, Text(text))
    _print(made, prose=max(len(text) for _, text in facts))


def print_json(value: object) -> None:
    """Print JSON on standard output, never wrapped or coloured."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print(made: Table, *, prose: int, least_prose: int = _NARROW) -> None:
    # The natural width, and the least at which nothing but the column of prose is broken.
    from rich.segment import Segment

    wide = output.options.update(max_width=100_000)
    natural = output.measure(made, options=wide).maximum
    least = natural - max(prose - least_prose, 0)
    width = natural if not output.is_terminal else max(min(natural, output.width), least)
    for line in output.render_lines(made, output.options.update(width=width), pad=False):
        output.print(_stripped(Segment.simplify(line)), soft_wrap=True)


def _stripped(line: Iterable[Segment]) -> Text:
    from rich.text import Text

    text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
    text.rstrip()
    return text
