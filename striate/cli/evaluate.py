"""``striate evaluate``: how good a run is, and where it errs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from striate.cli.app import command, output, print_json, table

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
    from striate.train import Run, evaluate, save_evaluation

    opened = Run.open(run)
    result = evaluate(opened, split, weights=weights, source=data)
    saved = save_evaluation(result, opened, out)
    if as_json:
        print_json(result.to_dict())
        return
    _print(result)
    output.print("Wrote " + ", ".join(map(str, saved)), markup=False, soft_wrap=True)


def _print(result: Evaluation) -> None:
    low, high = result.interval
    output.print(
        f"[bold]{result.accuracy:.2%}[/] correct: {result.correct:,} of {result.count:,} {result.split} samples "
        f"(95 % confidence interval {low:.2%} to {high:.2%}), loss {result.loss:.4f}",
        soft_wrap=True,
    )
    numbers = ("precision", "recall", "F1", "samples")
    scores = table("class", *numbers, right=numbers)
    for score in result.classes:
        scores.add_row(
            score.name, f"{score.precision:.3f}", f"{score.recall:.3f}", f"{score.f1:.3f}", f"{score.support:,}"
        )
    output.print(scores)
    if result.mistakes:
        listed = table("surest mistakes", "is", "taken for", "probability", right=("probability",))
        for mistake in result.mistakes[:5]:
            listed.add_row(mistake.name, mistake.true, mistake.predicted, f"{mistake.probability:.3f}")
        output.print(listed)
