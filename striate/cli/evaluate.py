"""``striate evaluate``: how good a run is, and where it errs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_folder
from striate.cli.printing import print_json, print_table, say

if TYPE_CHECKING:
    from striate.train import Evaluation


@command(
    """
    striate evaluate runs/first
    striate evaluate runs/first --split val --json
    striate evaluate runs/first --data other-images/
    """
)
def evaluate_command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    data: Annotated[str | None, typer.Option("--data", "-d", help="Other data with the same classes.")] = None,
    split: Annotated[Literal["train", "val", "test", "all"], typer.Option(help="Which part of the data.")] = "test",
    weights: Annotated[Literal["best", "last"], typer.Option(help="Which weights of the run.")] = "best",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the pictures and JSON (default: evaluation/ in the run)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Test a run: accuracy with its confidence interval, per-class scores, confusion matrix, worst mistakes."""
    check_output_folder(out)
    from striate.train import Run, evaluate, save_evaluation

    opened = Run.open(run)
    result = evaluate(opened, split, weights=weights, source=data)
    saved = save_evaluation(result, opened, out)
    if as_json:
        print_json(result.to_dict())
        return
    _print(result)
    say(f"\nWrote {', '.join(path.name for path in saved)} in {saved[0].parent}")


def _print(result: Evaluation) -> None:
    low, high = result.interval
    say(
        f"{result.accuracy:.2%} correct: {result.correct:,} of {result.count:,} {result.split} samples "
        f"(95 % confidence interval {low:.2%} to {high:.2%}), loss {result.loss:.4f}\n"
    )
    numbers = ("precision", "recall", "F1", "samples")
    rows = [
        (score.name, f"{score.precision:.3f}", f"{score.recall:.3f}", f"{score.f1:.3f}", f"{score.support:,}")
        for score in result.classes
    ]
    print_table(("class", *numbers), rows, right=numbers)
    if result.mistakes:
        say("")
        print_table(
            ("surest mistakes", "is", "taken for", "probability"),
            [(each.name, each.true, each.predicted, f"{each.probability:.3f}") for each in result.mistakes[:5]],
            right=("probability",),
        )
