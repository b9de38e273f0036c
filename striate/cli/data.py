"""``striate data``: what a data set is, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_file
from striate.cli.printing import print_facts, print_json, print_table, say
from striate.cli.printing import report as tell
from striate.units import readable_bytes, readable_size

if TYPE_CHECKING:
    from striate.data import DataReport


@command(
    """
    striate data digits28
    striate data mnist/ --sheet mnist.png
    striate data photos/ --image-size 64 --json
    """
)
def data_command(
    source: Annotated[str, typer.Argument(help="digits, digits28, or a file or folder.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Write the contact sheet here (default: contact-sheet.png).", show_default=False)
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Resize images to this height and width.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 for grey, 3 for colour (default: as stored).")] = None,
    val_fraction: Annotated[float, typer.Option(help="Part of the training data kept for validation.")] = 0.1,
    test_fraction: Annotated[float, typer.Option(help="Part kept for testing, if the data has no test part.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Decides what is split off.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, and draw no sheet unless --sheet is given.")
    ] = False,
) -> None:
    """Show what was recognised: counts per class and part, sizes, values, duplicates, damaged files, a picture."""
    check_output_file(sheet)
    from striate.data import contact_sheet, describe, load_leniently

    dataset = load_leniently(
        source,
        image_size=image_size,
        channels=channels,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )
    report = describe(dataset)
    drawn = contact_sheet(dataset, sheet or Path("contact-sheet.png")) if sheet or not as_json else None
    if as_json:
        print_json(report.to_dict())
        return
    _print(report)
    say(f"\nContact sheet: {drawn}")


def _print(report: DataReport) -> None:
    sizes = ", ".join(f"{readable_size(size)} ({count:,})" for size, count in report.stored_sizes[:5])
    more = f" and {len(report.stored_sizes) - 5} more" if len(report.stored_sizes) > 5 else ""
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (report.mean, report.std))
    totals = {part: sum(counts.values()) for part, counts in report.counts.items()}
    print_facts(
        [
            ("source", report.source),
            ("recognised as", f"{report.kind}, by {report.reason}"),
            ("samples", f"{sum(totals.values()):,}"),
            ("shape", f"{report.channels} x {readable_size(report.input_size)}, {report.dtype}"),
            ("stored sizes", sizes + more),
            ("values", f"{report.value_range[0]:g} to {report.value_range[1]:g}"),
            ("training mean, std", f"{mean}, {std} (of values divided by {report.value_scale:g})"),
            ("memory", readable_bytes(report.memory_bytes)),
        ]
    )
    headings = [part if part in report.official else f"{part} (split off)" for part in totals]
    rows = [(name, *(f"{report.counts[part][name]:,}" for part in totals)) for name in report.classes[:50]]
    if len(report.classes) > 50:
        rows.append((f"... {len(report.classes) - 50} more classes", *("" for _ in totals)))
    say("")
    print_table(["class", *headings], [*rows, ("all", *(f"{count:,}" for count in totals.values()))], right=headings)
    for duplicate in report.duplicates[:10]:
        pairs = zip(duplicate.names, duplicate.parts, duplicate.classes, strict=True)
        say("Duplicate: " + " = ".join(f"{n} ({p}, {c})" for n, p, c in pairs))
    if len(report.duplicates) > 10:
        say(f"... {len(report.duplicates) - 10} more duplicates (--json lists them all)")
    if report.repeats:
        say(f"{report.repeats} more groups of equal samples lie within one part and class.")
    for file in report.corrupt:
        say(f"Damaged: {file.name}: {file.reason}")
    for warning in report.warnings:
        tell("Warning", warning, style="yellow")
