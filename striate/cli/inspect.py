"""``striate inspect``: what a network is, layer by layer."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.app import command
from striate.cli.numbers import parse_shape
from striate.cli.printing import print_facts, print_json, print_table, say
from striate.cli.target import open_target


@command(
    """
    striate inspect lenet
    striate inspect two_conv --input 3x32x32x32 --classes 2
    striate inspect runs/first --json
    """
)
def inspect_command(
    model: Annotated[str, typer.Argument(help="A run's folder, or the name of a network (see `striate models`).")],
    input: Annotated[
        str | None,
        typer.Option(
            help="One input's shape, channels first, such as 1x28x28; its rank decides the network's. "
            "Of tokens, such as words, the number of different ones stands first: 256x1024."
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes, for a network that is not a run (default: as published).")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Number of inputs; macs and memory count all of them.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show a network: per layer shape, parameters, macs, flops, activation memory, receptive field; and totals."""
    from striate.insight import summary

    target = open_target(model, parse_shape(input) if input is not None else None, classes)
    result = summary(target.model, target.blank(batch))
    if as_json:
        print_json(result.to_dict())
        return
    print_table(result.headings, [row.cells() for row in result.rows], right=result.headings[3:])
    say("")
    print_facts(result.totals())
    for note in result.notes:
        say(f"Note: {note}")
