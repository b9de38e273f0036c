"""``striate predict``: what a run says about new files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_file
from striate.cli.printing import print_json, print_table, say
from striate.errors import InputError


@command(
    """
    striate predict runs/first photo.png --top-k 3
    striate predict runs/first scans/ --csv predictions.csv
    striate predict runs/first scans/ --json
    """
)
def predict_command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders to look through.")],
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many classes to tell per file.")] = 1,
    weights: Annotated[Literal["best", "last"], typer.Option(help="Which weights of the run.")] = "best",
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Go on without files that cannot be read.")
    ] = False,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Use the temperature that `striate evaluate --calibrate` fitted.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV table here instead of printing.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Predict the classes of files or folders, with probabilities."""
    if csv is not None and as_json:
        raise InputError("--csv or --json", "both", "Leave one out.")
    check_output_file(csv)
    from striate.train import Run, predict

    predictions = predict(
        Run.open(run), paths, top_k=top_k, weights=weights, skip_corrupt=skip_corrupt, calibrated=calibrated
    )
    if csv is not None:
        predictions.save_csv(csv)
        say(f"Wrote {len(predictions):,} predictions to {csv}")
    elif as_json:
        print_json([prediction.to_dict() for prediction in predictions])
    else:
        rows = [
            ("" if place else str(prediction), answer.label, f"{answer.probability:.4f}")
            for prediction in predictions
            for place, answer in enumerate(prediction.answers)
        ]
        print_table(("file", "class", "probability"), rows, right=("probability",))
