"""``striate look``: what a network learned to look for, and what it sees in one input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from striate.cli.app import command
from striate.cli.outputs import check_output_folder
from striate.cli.printing import say


@command(
    """
    striate look runs/first
    striate look runs/first photo.png --out pictures/
    striate look runs/first --sample 12 --split val
    """
)
def look_command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    input: Annotated[
        Path | None, typer.Argument(help="An image or .npy array; without it, a sample of the data.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Which sample of the data to look at.")] = 0,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="The part of the data it is taken from.")
    ] = "test",
    weights: Annotated[Literal["best", "last"], typer.Option(help="Which weights of the run.")] = "best",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the pictures (default: look/ in the run).")
    ] = None,
) -> None:
    """Draw the filters of every convolution and its maps for one input: before and after non-linearity and pooling."""
    check_output_folder(out)
    from striate.train import Run, look

    for path in look(Run.open(run), input, sample=sample, split=split, weights=weights, folder=out):
        say(str(path))
