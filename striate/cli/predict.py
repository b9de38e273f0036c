"""``striate predict``: what a run says about new files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_file, check_output_folder
from striate.cli.printing import print_json, print_table, say
from striate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from striate.train import PredictedMasks

_SHOWN = 5


@command(
    """
    striate predict runs/first photo.png --top-k 3
    striate predict runs/first scans/ --csv predictions.csv
    striate predict runs/first scans/ --json
    striate predict runs/cells images/ --out masks/
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
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the masks of segmentation (default: masks/ in the run)."),
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Of tiles of segmentation: the part that the next one shares (default: 0.5).")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV table here instead of printing.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Predict the classes of files or folders, with probabilities; for segmentation, masks of the files' own sizes."""
    if csv is not None and as_json:
        raise InputError("--csv or --json", "both", "Leave one out.")
    check_output_file(csv)
    check_output_folder(out)
    from striate.train import Run, predict, segment

    opened = Run.open(run)
    if opened.network.task == "segmentation":
        if top_k != 1 or calibrated:
            given = "--calibrated" if calibrated else "--top-k"
            raise InputError("options for masks", f"{given} with a run of segmentation", "Leave it out.")
        kept: dict[str, Any] = {} if overlap is None else {"overlap": overlap}
        masks = segment(
            opened, paths, out or opened.folder / "masks", weights=weights, skip_corrupt=skip_corrupt, **kept
        )
        _tell_masks(masks, opened.classes, csv, as_json)
        return
    if out is not None or overlap is not None:
        given = "--out" if out is not None else "--overlap"
        raise InputError("options for classes", f"{given} with a run of {opened.network.task}", "Leave it out.")
    predictions = predict(opened, paths, top_k=top_k, weights=weights, skip_corrupt=skip_corrupt, calibrated=calibrated)
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


def _tell_masks(masks: PredictedMasks, classes: Sequence[str], csv: Path | None, as_json: bool) -> None:
    if csv is not None:
        masks.save_csv(csv)
        say(f"Wrote {len(masks):,} masks, and a table of them to {csv}")
    elif as_json:
        print_json([found.to_dict() for found in masks])
    else:
        # What is not the background is of interest, and a table is only so wide.
        shown = list(classes[1 : _SHOWN + 1])
        rows = [(str(found.mask), *(f"{found.shares[name]:.2%}" for name in shown)) for found in masks]
        print_table(("mask", *shown), rows, right=shown)
