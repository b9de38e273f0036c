"""``striate runs``: all runs below a folder, side by side."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_file
from striate.cli.printing import print_json, print_table, say
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.train.campaigns import Comparison


@command(
    """
    striate runs
    striate runs runs/search --sort val_accuracy --columns run,val_accuracy,optimizer.learning_rate
    striate runs --filter "data=digits28 and val_accuracy>0.9" --differences --plot curves.png
    """
)
def runs_command(
    folder: Annotated[Path, typer.Argument(help="A folder with runs below it.")] = Path("runs"),
    condition: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="CONDITION", help="Which runs: NAME=VALUE (or != < <= > >= ~) with and, or, not, ()."
        ),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="A column or setting; metrics begin with the best; - turns it round.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Columns or settings to show, with commas between.")] = None,
    differences: Annotated[
        bool, typer.Option("--differences", help="Show the settings in which the chosen runs differ.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the chosen runs' curves into one figure (.png, .pdf or .svg).")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Which column to draw (default: the one that decided).")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all columns and settings.")] = False,
) -> None:
    """Compare runs: networks, data, best epochs, test metrics, sizes and times; choose, sort and draw them."""
    if as_csv and as_json:
        raise InputError("--csv or --json", "both", "Leave one out.")
    check_output_file(plot)
    from striate.train.campaigns import find_runs

    found = find_runs(folder)
    if condition is not None:
        found = found.where(condition)
    if sort is not None:
        found = found.ordered(sort)
    shown = found.columns
    if columns is not None:
        shown = tuple(name.strip() for name in columns.split(",") if name.strip())
        found.check(shown)
    drawn = _draw(found, metric, plot) if plot is not None else ""
    if as_json:
        print_json(_plain(found))
    elif as_csv:
        typer.echo(_csv(found, shown, differences), nl=False)
    else:
        _tell(found, shown, differences)
        say(drawn) if drawn else None


def _tell(found: Comparison, shown: tuple[str, ...], differences: bool) -> None:
    if not found.rows:
        say("No runs.")
    else:
        right = tuple(name for name in shown if any(isinstance(row[name], int | float) for row in found.rows))
        print_table(shown, [[_text(row[name], name) for name in shown] for row in found.rows], right=right)
    if differences and len(found.rows) > 1:
        different = found.differences()
        say("")
        if different:
            rows = [[_text(row["run"]), *(_text(row.settings.get(name)) for name in different)] for row in found.rows]
            print_table(("settings that differ", *different), rows)
        else:
            say("All settings are the same.")
    if found.broken:
        say(f"\n{len(found.broken)} broken:")
        for each in found.broken:
            say(f"  {each.folder}: {each.reason}")


def _plain(found: Comparison) -> dict[str, Any]:
    return {
        "runs": [{"folder": str(row.folder), **row.values, "settings": row.settings} for row in found.rows],
        "broken": [{"folder": str(each.folder), "reason": each.reason} for each in found.broken],
    }


def _csv(found: Comparison, shown: tuple[str, ...], differences: bool) -> str:
    names = dict.fromkeys((*shown, *(found.differences() if differences else ())))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in found.rows:
        writer.writerow(["" if row[name] is None else row[name] for name in names])
    return text.getvalue()


def _draw(found: Comparison, metric: str | None, path: Path) -> str:
    from striate.insight import figures

    decided = {row.metric for row in found.rows}
    if metric is None and len(decided) > 1:
        raise InputError("--metric, where runs were decided by different ones", ", ".join(sorted(decided)), "Pick one.")
    chosen = metric if metric is not None else next(iter(decided), "val_accuracy")
    curves = {
        str(row["run"]): ([each.epoch for each in row.history if chosen in each], values)
        for row in found.rows
        if (values := [each[chosen] for each in row.history if chosen in each])
    }
    if not curves:
        raise InputError("a metric that some run has", f"{chosen!r}", "See metrics.csv of a run.")
    return f"\nDrew {chosen} of {len(curves)} runs in {figures.save(figures.comparison_figure(curves, chosen), path)}"


def _text(value: Any, name: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, float) and name.startswith(("train_", "val_", "test_")):
        return f"{value:.4f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
