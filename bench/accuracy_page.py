"""Writes the tables of docs/accuracy.md from the results that bench/accuracy.py has left.

python bench/accuracy_page.py
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from machine import result_file

from striate.files import replacing
from striate.units import readable_count

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
HEADS = ("| recipe | network |", "| year | network |")
"""How the first lines of both tables begin, by which they are found."""

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """The rows of the results, without the notes above them."""
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def told_last(rows: list[Row]) -> list[Row]:
    """One row of each recipe: of several runs the last, which sums them up."""
    return list({row["recipe"]: row for row in rows}.values())


def percent(value: str) -> str:
    """A share in per cent, with one digit behind the point."""
    return f"{float(value) * 100:.1f}"


def measured(row: Row) -> str:
    """What the number is of."""
    return ", ".join(filter(None, (row["metric"].replace("_", " "), row["run"])))


def reached(row: Row) -> str:
    """The number, its interval or range, and the others that belong to it."""
    between = f" ({percent(row['low'])} to {percent(row['high'])})" if row["low"] else ""
    return "; ".join(filter(None, (percent(row["value"]) + between, row["more"].replace("_", " "))))


def others(row: Row) -> str:
    """What others have reached."""
    return f"{percent(row['reference'])}: {row['source']}" if row["reference"] else "-"


def compared(row: Row) -> str:
    """Whether that is as good, and what must be known about it."""
    return "; ".join(filter(None, (row["within_1.5_points"] or "-", row["about"])))


def epochs(row: Row) -> str:
    """Seconds an epoch, and how many there were."""
    return f"{float(row['seconds_per_epoch']):.1f}, {row['epochs']}"


def of_task(row: Row) -> tuple[str, ...]:
    """The cells of the first table."""
    network = (f"`{row['recipe']}`", f"`{row['network']}`", readable_count(int(row["parameters"])))
    return (*network, epochs(row), measured(row), reached(row), others(row), compared(row))


def of_history(row: Row) -> tuple[str, ...]:
    """The cells of the second table."""
    settings = row["recipe"].rpartition("-")[2]
    cost = (readable_count(int(row["parameters"])), readable_count(int(row["macs"])))
    return (row["year"], f"`{row['network']}`", settings, *cost, epochs(row), percent(row["value"]))


def replaced(text: str, head: str, rows: list[tuple[str, ...]]) -> str:
    """The page with other rows below a table's head."""
    lines = text.splitlines()
    first = next((place for place, line in enumerate(lines) if line.startswith(head)), None)
    if first is None:
        raise SystemExit(f"{PAGE} has no table that begins with {head}")
    first += 2  # the heads, and the line below them
    end = next((place for place in range(first, len(lines)) if not lines[place].startswith("|")), len(lines))
    table = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([*lines[:first], *table, *lines[end:], ""])


def main() -> None:
    """Write the page anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of which results to tell")
    rows = told_last(read(result_file("accuracy", parser.parse_args().threads)))
    history = [of_history(row) for row in rows if row["recipe"].startswith("history/")]
    tasks = [of_task(row) for row in rows if not row["recipe"].startswith("history/")]
    text = PAGE.read_text(encoding="utf-8")
    for head, table in zip(HEADS, (tasks, history), strict=True):
        text = replaced(text, head, table)
    with replacing(PAGE) as beside:
        beside.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
